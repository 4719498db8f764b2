import json
import os
import shutil
import signal
import subprocess
import zipfile

import keras
import numpy as np
import pytest

from helpers.data.files import hash_file
from helpers.export import FORMATS, check_folder, export_model, load_predictor

pytestmark = [
    pytest.mark.slow,
    # Keras asks TensorFlow for arrays without NumPy 2's argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),
]


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of the model folder."""
    return shutil.copytree(exported.folder, tmp_path / "model")


def write_sums(folder):
    """Do as one would who changes files and their checksums."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    names = [line.partition("  ")[2] for line in lines]
    sums = "".join(f"{hash_file(folder / name)}  {name}\n" for name in names)
    (folder / "SHA256SUMS").write_text(sums)


def test_the_folder_has_what_it_promises(exported):
    folder = exported.folder
    files = {path.name for path in folder.iterdir()}
    assert files == {*FORMATS.values(), "signature.json", "card.json", "card.md", "SHA256SUMS"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert check_folder(folder) == exported.fingerprint == hash_file(folder / "SHA256SUMS")
    check_folder(folder, fingerprint=exported.fingerprint)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask():
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def test_the_signature_says_what_goes_in_and_out(exported):
    signature = json.loads((exported.folder / "signature.json").read_text())
    assert list(signature) == [
        *("name", "version", "task", "classes", "input", "output", "calibration", "threshold"),
    ]
    assert signature["classes"] == ["none", "any finding"]
    assert signature["input"] == {"name": "films", "dtype": "uint8", "shape": [None, 16, 16, 1]}
    assert signature["output"] == {"name": "logit", "dtype": "float32", "shape": [None, 1]}
    assert len(signature["version"]) == 12


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_loaded_from_the_checked_folder(exported, name):
    films = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    expected = exported.model.predict(films.astype(np.float32) / 255, verbose=0)
    answer = load_predictor(exported.folder, name, fingerprint=exported.fingerprint)(films)
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_every_fault_is_named(folder):
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    (folder / "card.md").unlink()
    (folder / "saved_model" / "assets" / "extra.py").write_text("")
    (folder / "link").symlink_to("/")
    said = (
        r"Received changed: model\.onnx; missing: card\.md; "
        r"additional: link, saved_model/assets/extra\.py\. Load nothing"
    )
    with pytest.raises(ValueError, match=said):
        load_predictor(folder, "onnx")


def test_a_file_in_place_of_which_there_is_a_link_is_changed(folder):
    content = folder.parent / "elsewhere"
    (folder / "model.onnx").rename(content)
    (folder / "model.onnx").symlink_to(content)
    with pytest.raises(ValueError, match=r"changed: model\.onnx"):
        check_folder(folder)


def test_new_checksums_have_another_fingerprint(folder, exported):
    (folder / "card.md").write_text("All is well.")
    write_sums(folder)
    received = check_folder(folder)
    with pytest.raises(ValueError, match=f"another fingerprint: {received}"):
        check_folder(folder, fingerprint=exported.fingerprint)


def test_other_folders_and_formats_are_refused(tmp_path, exported):
    with pytest.raises(ValueError, match="without SHA256SUMS"):
        check_folder(tmp_path)
    with pytest.raises(ValueError, match=r"among \['keras', .*Received 'pickle'"):
        load_predictor(exported.folder, "pickle")


def test_code_in_a_keras_file_is_not_executed(folder):
    """Someone puts a Lambda that writes a file into the model, and checksums to match."""
    trace = folder.parent / "executed"

    path = str(trace)
    intrude = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.Flatten()(intrude(inputs))
    keras.Model(inputs, keras.layers.Dense(1)(x)).save(folder / "model.keras")
    trace.unlink()  # building it has called the function
    with pytest.raises(ValueError, match=r"changed: model\.keras"):
        load_predictor(folder, "keras")
    write_sums(folder)
    with pytest.raises(ValueError, match=r"(?s)lambda.*safe_mode"):
        load_predictor(folder, "keras")
    assert not trace.exists()


def test_a_function_of_python_in_a_keras_file_is_not_called(folder):
    """Someone lets the configuration name a function of the standard library."""
    trace = folder.parent / "executed"
    with zipfile.ZipFile(folder / "model.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    config |= {"module": "os", "class_name": "mkdir", "config": {"path": str(trace)}}
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        for name, content in (files | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)
    write_sums(folder)
    with pytest.raises((TypeError, ValueError)):
        load_predictor(folder, "keras")
    assert not trace.exists()


def test_a_former_folder_is_replaced_or_kept_whole(folder, exported, run, predictions):
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(1, 1, activation=abs)(inputs))
    broken = keras.Model(inputs, keras.layers.Dense(1)(x), name="broken")
    with pytest.raises(ValueError, match="Received 'broken'"):
        export_model(broken, folder, run=run, predictions=predictions)
    assert check_folder(folder) == exported.fingerprint
    (folder / "old").touch()
    renamed = run | {"name": "second"}
    fingerprint = export_model(exported.model, folder, run=renamed, predictions=predictions)
    assert check_folder(folder) == fingerprint != exported.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_other_files_are_never_replaced(exported, run, predictions, tmp_path, kind):
    target = tmp_path / "mine"
    (target if kind == "file" else target / "thesis.txt").parent.mkdir(exist_ok=True)
    (target if kind == "file" else target / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="so that it is not replaced"):
        export_model(exported.model, target, run=run, predictions=predictions)
    assert target.exists()


EXPORT = """
import json, signal, sys
from pathlib import Path
import keras, pandas as pd
from helpers.export import export_model
folder = Path(sys.argv[1])
model = keras.models.load_model(folder / "small.keras")

class Run(dict):
    def __getitem__(self, name):
        if list(folder.glob("out/.exporting-*/new/*")):
            print("half", flush=True)
            signal.pause()
        return super().__getitem__(name)

run, films = Run(json.loads((folder / "run.json").read_text())), pd.read_csv(folder / "films.csv")
export_model(model, folder / "out" / "model", run=run, predictions=films)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_export_leaves_no_folder(
    start_script, exported, run, predictions, tmp_path, how
):
    exported.model.save(tmp_path / "small.keras")
    (tmp_path / "run.json").write_text(json.dumps(run))
    predictions.to_csv(tmp_path / "films.csv", index=False)
    process = start_script(EXPORT, tmp_path)
    assert "half\n" in iter(process.stdout.readline, "")
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL or "KeyboardInterrupt" in errors
    assert not (tmp_path / "out" / "model").exists()
    if how == signal.SIGINT:
        assert not list((tmp_path / "out").iterdir())
