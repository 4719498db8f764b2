"""The network in the browser: its numbers are those of Keras, in Node and in Chromium."""

import base64
import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from sphinx.errors import ExtensionError

from helpers.data import read_image, resize_image
from helpers.models import augment, build_cnn

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "docs" / "_static"
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser_model(load_from_docs):
    return load_from_docs("browser_model")


def _find(*names):
    found = [path for path in map(shutil.which, names) if path]
    return found[0] if found else pytest.skip(f"no {names[0]} on this machine")


@pytest.fixture
def open_page(tmp_path):
    """Return a function that opens a file in Chromium: the page's text in the end, and its log."""
    program = _find(*BROWSERS)

    def open_page(path):
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=20000",
            "--enable-logging=stderr",
            "--dump-dom",
        ]
        ended = subprocess.run(
            [program, *options, path.as_uri()], capture_output=True, check=True, timeout=120
        )
        return ended.stdout.decode(), ended.stderr.decode()

    return open_page


@pytest.fixture(params=["node", "chromium"])
def run_script(request, tmp_path):
    """Return a function that runs the scripts and a text, and returns what its ``result`` is."""
    scripts = [STATIC / "network.js", STATIC / "film.js"]
    if request.param == "node":
        program = _find("node")

        def run(text):
            end = "Promise.resolve(result).then((r) => console.log(JSON.stringify(r)));"
            texts = [*(script.read_text("utf-8") for script in scripts), text, end]
            (tmp_path / "script.js").write_text("\n".join(texts), "utf-8")
            ended = subprocess.run(
                [program, tmp_path / "script.js"], capture_output=True, text=True, check=True
            )
            return json.loads(ended.stdout)

        return run
    open_page = request.getfixturevalue("open_page")

    def run(text):
        tags = "".join(f'<script src="{script.as_uri()}"></script>' for script in scripts)
        end = "Promise.resolve(result).then((r) => (out.textContent = JSON.stringify(r)));"
        page = tmp_path / "page.html"
        body = f'<pre id="out"></pre>{tags}<script>{text}\n{end}</script>'
        page.write_text(f'<!doctype html><meta charset="utf-8">{body}', "utf-8")
        text, log = open_page(page)
        found = re.search(r'<pre id="out">(.+?)</pre>', text, re.DOTALL)
        assert found, log
        return json.loads(html.unescape(found[1]))

    return run


def _with_any_weights(model, rng):
    """Give a model weights of which none is 0 or 1, as Keras' first ones partly are."""
    weights = model.get_weights()
    model.set_weights([rng.normal(0.1, 0.3, weight.shape) for weight in weights])
    return model


@pytest.mark.parametrize(
    "build",
    [
        functools.partial(build_cnn, 48),
        functools.partial(build_cnn, 45),
        augment(functools.partial(build_cnn, 32, (8, 16))),
    ],
    ids=["even", "odd", "augmented"],
)
def test_the_script_computes_what_keras_computes(browser_model, run_script, rng, build):
    model = _with_any_weights(build(), rng)
    films = rng.integers(0, 256, (3, *model.input_shape[1:3]), dtype=np.uint8)
    logits, features, maps = browser_model.compute(model, films)
    exported = {
        "layers": browser_model.export_layers(model),
        "films": [browser_model.encode_film(film) for film in films],
    }
    results = run_script(
        f"const exported = {json.dumps(exported)};\n"
        "const layers = decodeLayers(exported.layers);\n"
        "const result = exported.films.map((film) => {\n"
        "  const { logit, features, map } = runNetwork(layers, decodeBytes(film));\n"
        "  return { logit, features: [...features], shape: map.shape, map: [...map.data] };\n"
        "});"
    )
    for result, logit, of_film, heat in zip(results, logits, features, maps, strict=True):
        assert result["logit"] == pytest.approx(logit, rel=0, abs=1e-4)
        assert result["features"] == pytest.approx(of_film, rel=0, abs=1e-4)
        np.testing.assert_allclose(np.reshape(result["map"], result["shape"]), heat, atol=1e-4)


def test_the_map_is_the_logit_before_the_mean(browser_model, rng):
    model = _with_any_weights(build_cnn(48), rng)
    films = rng.integers(0, 256, (2, 48, 48), dtype=np.uint8)
    logits, _, maps = browser_model.compute(model, films)
    until_mean = keras.Model(model.input, model.get_layer("features").input)
    channels = until_mean.predict(films[..., None] / 255, verbose=0)
    kernel, bias = model.get_layer("logit").get_weights()
    np.testing.assert_allclose(maps, np.einsum("nhwc,c->nhw", channels, kernel[:, 0]), atol=1e-5)
    np.testing.assert_allclose(maps.mean((1, 2)) + bias, logits, atol=1e-5)


def test_similar_films_have_the_largest_cosine(browser_model, run_script, rng):
    features = rng.random((30, 5)).astype(np.float32)
    features[7] = 0  # a film without any feature is similar to none
    lengths = np.linalg.norm(features, axis=1)
    cosines = features[1:] @ features[0] / np.maximum(lengths[1:] * lengths[0], 1e-9)
    others = browser_model.encode_floats(features[1:])
    found = run_script(
        f"const others = decodeTensor({json.dumps(others)});\n"
        f"const result = findSimilar(Float32Array.from({features[0].tolist()}), others, 3);"
    )
    assert [film["index"] for film in found] == np.argsort(-cosines)[:3].tolist()
    assert [film["cosine"] for film in found] == pytest.approx(sorted(cosines)[:-4:-1], abs=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (333, 512), (100, 70), (30, 20)])
def test_films_are_resized_as_the_hospitals_resize_them(browser_model, run_script, rng, shape):
    film = rng.integers(0, 256, shape, dtype=np.uint8)
    resized = run_script(
        f"const film = decodeBytes('{browser_model.encode_film(film)}');\n"
        f"const result = [...resizeFilm(film, {shape[1]}, {shape[0]}, 48)];"
    )
    expected = resize_image(film, 48).astype(int)
    # Pillow may do the columns first, and rounds in between.
    assert np.abs(np.reshape(resized, (48, 48)) - expected).max() <= (shape != (64, 64))


@pytest.mark.parametrize("run_script", ["chromium"], indirect=True)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_file_is_read_as_the_hospitals_read_it(run_script, rng, tmp_path, mode):
    pixels = rng.integers(0, 256, (60, 50, 4), dtype=np.uint8)
    pixels[..., 3] = 255 * (pixels[..., 3] > 100)  # browsers round the colours below half a veil
    image = Image.fromarray(pixels, "RGBA") if mode == "RGBA" else Image.fromarray(pixels[..., :3])
    image.convert(mode).save(tmp_path / "film.png")
    read = run_script(
        f"const file = new Blob([decodeBytes('{_encode(tmp_path / 'film.png')}')]);\n"
        "const result = readFilm(file, 48).then((film) => [...film]);"
    )
    expected = resize_image(read_image(tmp_path, "film.png"), 48).astype(int)
    assert np.abs(np.reshape(read, (48, 48)) - expected).max() <= 1


def _encode(path):
    return base64.b64encode(path.read_bytes()).decode()


def _chain(*steps):
    inputs = x = keras.Input((16, 16, 1))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x, name="chain")


def test_what_the_script_does_not_compute_is_refused_by_name(browser_model):
    with pytest.raises(ExtensionError, match="'block1_norm', a BatchNormalization"):
        browser_model.export_layers(build_cnn(32, normalization="batch"))
    mean, relu = layers.GlobalAveragePooling2D(), layers.ReLU()
    with pytest.raises(ExtensionError, match=r"padding='same'.*Received 'valid' in 'narrow'"):
        browser_model.export_layers(_chain(layers.Conv2D(8, 3, name="narrow"), mean))
    with pytest.raises(ExtensionError, match="'chain', which ends in"):
        browser_model.export_layers(_chain(mean, layers.Dense(1), relu))
    shared = [layers.Conv2D(8, 3, padding="same"), relu, layers.Conv2D(8, 3, padding="same"), relu]
    model = _chain(*shared, mean, layers.Dense(1))
    with pytest.raises(ExtensionError, match=r"Expected a chain of layers\. Received 'chain'"):
        browser_model.compute(model, np.full((1, 16, 16), 200, dtype=np.uint8))


def test_scripts_open_no_connection():
    for script in STATIC.glob("*.js"):
        text = script.read_text("utf-8")
        assert not re.search(r"https?:|fetch\(|XMLHttp|WebSocket|sendBeacon|EventSource", text)


def _build_site(folder, model=None):
    """Build a site of the one page; the page's links to others lead nowhere."""
    docs, results = folder / "docs", folder / "examples" / "results"
    docs.mkdir(exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "docs" / "try_it.rst", docs)
    (docs / "conf.py").write_text(
        f"import functools, sys\nsys.path.insert(0, {str(ROOT / 'docs')!r})\n"
        "import browser_model as b\n"
        "b.make_radiographs = functools.partial(b.make_radiographs, n_films=600, size=32)\n"
        "extensions, root_doc = ['browser_model'], 'try_it'\n"
        f"html_static_path = [{str(STATIC)!r}]\n",
        "utf-8",
    )
    if model is not None:
        model.save(results / "federated_chest_xrays.keras")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", docs, folder / "site"],
        # A folder that is not there: films of patients are not even read.
        env=os.environ | {"PYTHONPATH": str(ROOT), "CHEST_XRAYS": str(folder / "patients")},
        capture_output=True,
        check=True,
    )
    return folder / "site" / "try_it.html"


def test_without_a_model_the_page_says_how_to_get_one(browser_model, tmp_path):
    browser_model.export(SimpleNamespace(srcdir=tmp_path))  # neither needs nor writes anything
    assert list(tmp_path.iterdir()) == []
    text = _build_site(tmp_path).read_text("utf-8")
    assert "It is there once" in text
    assert "Not for clinical use" in text
    for absent in ("model.js", "try-films", "No film of a patient"):
        assert absent not in text


CLICKS = """<script>addEventListener("load", async () => {
  const answers = [];
  const answer = document.getElementById("try-answer");
  const note = () => answers.push({ ...answer.dataset, text: answer.textContent });
  for (const button of document.querySelectorAll("#try-films button")) { button.click(); note(); }
  const input = document.getElementById("try-file");
  for (const [bytes, name] of FILES) {
    const transfer = new DataTransfer();
    transfer.items.add(new File([decodeBytes(bytes)], name));
    const before = answer.textContent;
    input.files = transfer.files;
    input.dispatchEvent(new Event("change"));
    while (answer.textContent === before) await new Promise((done) => setTimeout(done, 50));
    note();
  }
  const out = Object.assign(document.createElement("pre"), { id: "out" });
  out.textContent = JSON.stringify({
    answers,
    pressed: document.querySelectorAll('[aria-pressed="true"]').length,
    similar: [...document.querySelectorAll("#try-similar img")].map(({ alt }) => alt),
    canvas: document.getElementById("try-film").getAttribute("aria-label"),
  });
  document.body.append(out);
});</script>"""


@pytest.mark.slow
def test_the_page_answers_as_keras_does(open_page, rng, tmp_path):
    model = _with_any_weights(build_cnn(32), rng)
    _build_site(tmp_path)
    page = _build_site(tmp_path, model)  # the page is read again, as there is a model now
    text = page.read_text("utf-8")
    assert "It is there once" not in text
    assert "No film of a patient" in text.replace("\n", " ")
    exported = (page.parent / "_static" / "model.js").read_text("utf-8")
    exported = json.loads(exported.removeprefix("const exported = ").removesuffix(";\n"))
    films = exported["films"]
    Image.fromarray(_film(films[0])).save(tmp_path / "film.png")
    files = [[_encode(tmp_path / "film.png"), "film.png"], [_encode(STATIC / "site.css"), "a.png"]]
    page.write_text(text + CLICKS.replace("FILES", json.dumps(files)), "utf-8")
    shown, log = open_page(page)
    result = json.loads(html.unescape(re.search(r'<pre id="out">(.+?)</pre>', shown)[1]))
    *chosen, dropped, broken = result["answers"]
    pixels = np.stack([_film(film) for film in films])[..., None] / 255
    logits = model.predict(pixels, verbose=0)[:, 0]
    assert [float(answer["logit"]) for answer in chosen] == pytest.approx(logits, rel=0, abs=1e-4)
    for answer, logit, film in zip(chosen, logits, films, strict=True):
        assert f"probability of a finding {1 / (1 + np.exp(-logit)):.2f}" in answer["text"]
        assert film["findings"] in answer["text"]
    assert float(dropped["logit"]) == pytest.approx(logits[0], rel=0, abs=1e-4)
    assert "sent nowhere" in dropped["text"]
    assert "Received “a.png”, which this browser cannot read" in broken["text"]
    assert result["pressed"] == 0
    assert result["similar"] == ["Similar film 1", "Similar film 2", "Similar film 3"]
    assert result["canvas"] == "Your film, with its heat map of 2 × 2"
    assert sum(film["findings"] == "No Finding" for film in films) == len(films) / 2 == 6
    assert "CONSOLE" not in log


def _film(exported):
    pixels = np.frombuffer(base64.b64decode(exported["pixels"]), np.uint8)
    return pixels.reshape(2 * [int(pixels.size**0.5)])
