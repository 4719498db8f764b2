"""The service: what it answers, what it refuses, and how it ends, over HTTP to a real server."""

import concurrent.futures
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from scipy.special import expit

from helpers.data.images import decode_image, resize_image
from helpers.model_folder import check_folder
from helpers.serve import make_app
from tests.serve.conftest import SIDE, encode, make_form, start_server, write_sums

SHAPED = "/v1/models/chest_xrays"
NOTICE = "For teaching and research only, not for clinical use."


@pytest.fixture
def film(rng):
    return rng.integers(0, 256, (90, 70), dtype=np.uint8)


def _logits(folder, films):
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(None, {session.get_inputs()[0].name: films[..., None]})[0][:, 0]


def test_a_film_is_read_as_for_training_and_calibrated(server, model_folder, film, tmp_path):
    deep = film.astype(np.uint16) * 250  # a 16-bit film
    Image.fromarray(deep).save(tmp_path / "deep.png")
    said = server.post_films("/predict", encode(film), (tmp_path / "deep.png").read_bytes())
    assert said[0] == 200
    read = [film, decode_image(tmp_path / "deep.png")[0]]
    logits = _logits(model_folder, np.stack([resize_image(one, SIDE) for one in read]))
    fitted = json.loads((model_folder / "signature.json").read_text())["calibration"]
    for name, logit, one in zip(
        ("film0.png", "film1.png"), logits, said[1]["predictions"], strict=True
    ):
        drawn = [expit(slope * logit + intercept) for slope, intercept in fitted["draws"]]
        assert one["film"] == name
        assert one["logit"] == pytest.approx(logit, rel=0, abs=1e-5)
        assert one["probability"] == pytest.approx(expit(2 * logit + 0.5), rel=0, abs=1e-5)
        band = np.percentile(drawn, (2.5, 97.5))
        assert (one["low"], one["high"]) == pytest.approx(band, rel=0, abs=1e-5)
        assert one["class"] == ("any finding" if one["probability"] >= 0.4 else "none")
    assert said[1]["notice"] == NOTICE


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, SIDE, 1)])
def test_arrays_files_and_tensorflow_servings_shape_agree(server, rng, shape):
    films = rng.integers(0, 256, (40, *shape), dtype=np.uint8)  # more than one batch
    files = [encode(film.reshape(SIDE, SIDE)) for film in films]
    by_file = server.post_films("/predict", *files)[1]["predictions"]
    by_array = server.post_json("/predict", {"films": films.tolist()})[1]["predictions"]
    shaped = server.post_json(f"{SHAPED}:predict", {"instances": films.tolist()})[1]
    logits = [one["logit"] for one in by_file]
    assert [one["logit"] for one in by_array] == logits
    assert shaped == {"predictions": [[logit] for logit in logits]}


def test_every_answer_says_that_it_is_not_for_clinical_use(server, film):
    form, kind = make_form(encode(film))
    asked = [("GET", path) for path in ("/", "/health", "/card", "/metrics", SHAPED, "/nothing")]
    asked += [("POST", path) for path in ("/predict", f"{SHAPED}:predict", "/health")]
    for method, path in asked:
        _, headers, body = server.ask(method, path, form, {"content-type": kind})
        assert headers["x-notice"] == NOTICE
        if path not in ("/metrics", SHAPED):
            assert "not for clinical use" in body.decode(), path


def test_state_card_and_metrics(server, film, model_folder):
    server.post_films("/predict", encode(film))
    health = json.loads(server.ask("GET", "/health")[2])
    assert health["status"] == "ok"
    assert health["side"] == SIDE
    assert "any finding" in health["classes"]
    state = json.loads(server.ask("GET", SHAPED)[2])["model_version_status"][0]
    assert state["state"] == "AVAILABLE"
    assert state["version"] == "1"
    card = json.loads((model_folder / "card.json").read_text())
    assert json.loads(server.ask("GET", "/card")[2])["card"] == card
    server.ask("GET", "/no/such/route")
    metrics = server.ask("GET", "/metrics")[2].decode()
    assert 'chest_xrays_answers_total{route="/predict",status="200"}' in metrics
    assert 'chest_xrays_answers_total{route="other",status="404"}' in metrics
    assert set(re.findall(r'route="([^"]+)"', metrics)) <= {
        *("/", "/health", "/card", "/metrics", "/predict", "/explain"),
        *(SHAPED, f"{SHAPED}:predict", "other"),
    }


def _huge_png(width, height):
    """Return the header of a film that would need gigabytes, and nothing else."""
    small = bytearray(encode(np.zeros((16, 16), np.uint8)))
    small[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


def _moving():
    rng = np.random.default_rng(0)
    films = [Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)) for _ in range(2)]
    return encode(films[0], "GIF", save_all=True, append_images=films[1:])


FILM = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
NO_FILMS = {
    "text": (b"age,sex\n60,F\n" * 20, 415, "Expected an image in a format of PNG, JPEG"),
    "nothing": (b"", 415, "Expected an image in a format"),
    "DICOM": (bytes(128) + b"DICM" + bytes(500), 415, "is DICOM: export its pixels as PNG"),
    "format": (encode(FILM, "ICO"), 415, "Expected an image in a format"),
    "truncated": (encode(FILM)[:1500], 422, "Expected a whole image"),
    "bomb": (_huge_png(65_000, 65_000), 413, "Expected at most 16,777,216 pixels"),
    "larger bomb": (_huge_png(5000, 5000), 413, "has 5000 × 5000"),
    "moving": (_moving(), 422, "has several"),
    "small": (encode(FILM[:, :8]), 422, "at least 16 pixels on each side"),
    "empty": (encode(np.full((60, 60), 7, np.uint8)), 422, "has the grey level 7 everywhere"),
    "float": (encode(FILM.astype(np.float32), "TIFF"), 422, "Expected a whole image"),
}


@pytest.mark.parametrize("kind", NO_FILMS)
def test_what_is_no_film_is_refused_with_a_sentence(server, kind):
    content, status, sentence = NO_FILMS[kind]
    for path, name in (("/predict", "films"), (f"{SHAPED}:predict", "instances")):
        answer = server.post_films(path, encode(FILM), content, name=name)
        assert answer[0] == status
        assert sentence in answer[1]["error"]
        assert answer[1]["error"].endswith(".")
    if kind not in ("nothing", "text"):
        assert "film1.png" in answer[1]["error"] or "format" in answer[1]["error"]


GOOD = FILM[:1].repeat(SIDE, 0)[:, :1].repeat(SIDE, 1).tolist()
NO_ARRAYS = {
    "no JSON": (b"{", 400),
    "no object": (b"[]", 400),
    "no films": (b"{}", 400),
    "deep": (b"[" * 100_000, 400),
    "encoding": (b"\xff\xfe\xff", 400),
    "none": ({"films": []}, 422),
    "text": ({"films": "film"}, 422),
    "a number": ({"films": [10**12]}, 422),
    "numbers": ({"films": [[10**12] * SIDE] * SIDE}, 422),
    "rows": ({"films": [[[1] * SIDE] * (SIDE - 1)]}, 422),
    "ragged": ({"films": [[[1] * SIDE] * (SIDE - 1) + [[1]]]}, 422),
    "range": ({"films": [[[256] + [1] * (SIDE - 1)] * SIDE]}, 422),
    "negative": ({"films": [[[-1] + [1] * (SIDE - 1)] * SIDE]}, 422),
    "floats": ({"films": [[[0.5] + [1] * (SIDE - 1)] * SIDE]}, 422),
    "texts": ({"films": [[["x" * 1000] + [1] * (SIDE - 1)] * SIDE]}, 422),
    "channels": ({"films": [[[[1, 2, 3]] * SIDE] * SIDE]}, 422),
    "empty": ({"films": [[[9] * SIDE] * SIDE]}, 422),
    "too many": ({"films": [0] * 65}, 413),
    "too large": (b" " * 5_000_000, 413),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_what_are_no_films_as_arrays_is_refused(server, kind):
    value, expected = NO_ARRAYS[kind]
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    status, _, text = server.ask("POST", "/predict", body, {"content-type": "application/json"})
    assert status == expected, text
    assert json.loads(text)["error"].startswith("Expected ")


def test_forms_that_are_none_are_refused(server, film):
    form, kind = make_form(encode(film))
    many, _ = make_form(*[encode(film)] * 65)
    other, _ = make_form(encode(film), name="image")
    field = form.replace(b'; filename="film0.png"', b"")
    for body, type_, expected in (
        (form, "multipart/form-data", 400),
        (form, "multipart/form-data; boundary=other", 400),
        (form, kind + "; charset=undefined", 400),
        (form, "image/png", 415),
        (form, "application/dicom", 415),
        (form[:-80], kind, 422),
        (many, kind, 400),
        (other, kind, 422),
        (field, kind, 422),
        (b"", kind, 422),
    ):
        status, _, text = server.ask("POST", "/predict", body, {"content-type": type_})
        assert status == expected, (type_, text)
        assert json.loads(text)["error"].startswith("Expected ")


def test_a_name_of_any_letters_is_returned(server, film):
    form, kind = make_form(encode(film))
    form = form.replace(b"film0.png", "Röntgen \U0001f9b4.png".encode())
    _, _, text = server.ask("POST", "/predict", form, {"content-type": kind})
    assert json.loads(text)["predictions"][0]["film"] == "Röntgen \U0001f9b4.png"
    form = form.replace("ö".encode(), b"\\ud800")
    kind += "; charset=unicode_escape"
    status, _, text = server.ask("POST", "/predict", form, {"content-type": kind})
    assert status == 200
    assert json.loads(text)["predictions"][0]["film"].startswith("R\ud800ntgen")


def test_a_large_body_is_refused_while_it_is_sent(server):
    """Its sender gets the answer, although nothing beyond the limit is kept."""
    before = server.memory()
    status, answer = server.post_films("/predict", bytes(60_000_000))
    assert status == 413
    assert "at most 33,554,432 bytes" in answer["error"]
    assert server.post_films("/predict", bytes(20_000_000))[0] == 413  # the limit of one file
    assert server.memory() - before < 50


def test_a_hundred_clients_at_once_lose_no_request(server, film):
    form, kind = make_form(encode(film))
    together = threading.Barrier(100)

    def ask(_):
        together.wait()
        return server.ask("POST", "/predict", form, {"content-type": kind})

    with concurrent.futures.ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(ask, range(100)))
    assert [status for status, _, _ in answers] == [200] * 100
    assert len({text for _, _, text in answers}) == 1


def test_slow_and_excess_requests_are_turned_away(model_folder, film):
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with start_server(model_folder, "--requests", "1", "--seconds", "1") as server:
        with socket.create_connection((server.host, server.port)) as slow:
            slow.sendall(head.encode())
            time.sleep(0.3)
            status, headers, text = server.ask("POST", "/predict", b"{}")
            assert status == 429
            assert headers["retry-after"] == "1"
            assert "fewer requests at once" in json.loads(text)["error"]
            assert server.ask("GET", "/health")[0] == 200
            assert b" 408 " in slow.recv(100)
        with socket.create_connection((server.host, server.port)) as lost:
            lost.sendall(head.encode())  # and it ends before its body
        time.sleep(0.3)
        assert server.post_films("/predict", encode(film))[0] == 200
        assert "Traceback" not in server.messages()


def test_ctrl_c_ends_it_cleanly(model_folder):
    with start_server(model_folder) as server:
        assert server.host == "127.0.0.1"
        server.process.send_signal(signal.SIGINT)
        server.process.wait()
        assert server.process.returncode == 0
        assert "Traceback" not in server.messages()
        assert "Finished server process" in server.messages()


def test_it_predicts_without_tensorflow(server, film):
    assert server.post_films("/predict", encode(film))[0] == 200
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" in loaded
    assert "tensorflow" not in loaded


@pytest.mark.slow
def test_maps_are_those_of_explain(model_folder, film):
    import keras

    from helpers.explanation import explain

    with start_server(model_folder, "--seconds", "200") as server:
        status, answer = server.post_films("/explain", encode(film))
        assert status == 200
        assert answer["method"] == "grad_cam"
        refused = server.post_films("/explain", b"text")
        assert refused[0] == 415
    network = keras.saving.load_model(model_folder / "model.keras").layers[-1]
    with warnings.catch_warnings():  # of TensorFlow Probability, which imports distutils
        warnings.simplefilter("ignore")
        expected = explain(network, resize_image(film, SIDE)[None, ..., None])
    np.testing.assert_allclose([answer["predictions"][0]["map"]], expected, rtol=1e-4, atol=1e-6)


def _run(*arguments, **options):
    command = [sys.executable, "-m", "helpers.serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_changed_folder_is_refused_before_it_is_loaded(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    signature = folder / "signature.json"
    signature.write_text(signature.read_text().replace("0.4", "0.9"))
    ended = _run(folder)
    assert ended.returncode == 1
    assert "changed: signature.json" in ended.stderr
    assert "Traceback" not in ended.stderr
    write_sums(folder)
    with pytest.raises(ValueError, match="another fingerprint"):
        make_app(folder, fingerprint=check_folder(model_folder))
    (folder / "more.py").touch()
    with pytest.raises(ValueError, match=r"additional: more\.py"):
        make_app(folder)
    (folder / "more.py").unlink()
    (folder / "model.onnx").unlink()
    with pytest.raises(ValueError, match=r"missing: model\.onnx"):
        make_app(folder)
    write_sums(folder)
    with pytest.raises(ValueError, match=r"without model\.onnx"):
        make_app(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="without SHA256SUMS"):
        make_app(folder)


def test_the_command_says_what_it_expects(model_folder):
    assert "Expected limits above 0" in _run(model_folder, "--films", "0").stderr
    assert _run(model_folder, "--films", "many").returncode == 2
    text = _run("--help").stdout
    assert "--body-bytes" in text
    assert "127.0.0.1" in text


def test_without_its_packages_it_says_how_to_install_them():
    program = "import sys, runpy; sys.modules['uvicorn'] = None; runpy.run_module('helpers.serve')"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert 'pip install "federated-chest-xrays[service]"' in ended.stderr
    assert "Traceback" not in ended.stderr
