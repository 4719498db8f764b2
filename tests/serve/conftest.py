"""Fixtures of the service: a model folder by the contract, and a server in a process of its own."""

import contextlib
import hashlib
import http.client
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import pytest
from PIL import Image

SIDE = 64


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Write a model folder of an untrained network, for films of 64 pixels."""
    import keras

    from helpers.models import build_small_cnn

    folder = tmp_path_factory.mktemp("served") / "model"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    films = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="films")
    scaled = keras.layers.Rescaling(1 / 255)(films)
    model = keras.Model(films, build_small_cnn(SIDE)(scaled, training=False), name="chest_xrays")
    model(np.zeros((1, SIDE, SIDE, 1), np.uint8))
    with warnings.catch_warnings():  # Keras and tf2onnx use NumPy in ways of before
        warnings.simplefilter("ignore")
        model.save(folder / "model.keras")
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
    draws = np.random.default_rng(0).normal((2.0, 0.5), 0.2, (200, 2))
    calibration = {"slope": 2.0, "intercept": 0.5, "draws": draws.tolist()}
    signature = {
        "name": "chest_xrays",
        "version": "1",
        "task": "any finding vs none",
        "classes": ["none", "any finding"],
        "input": {"name": "films", "dtype": "uint8", "shape": [None, SIDE, SIDE, 1]},
        "output": {"name": "logit", "dtype": "float32", "shape": [None, 1]},
        "calibration": calibration,
        "threshold": 0.4,
    }
    (folder / "signature.json").write_text(json.dumps(signature))
    (folder / "card.json").write_text(json.dumps({"Limits": ["Not for clinical use."]}))
    (folder / "card.md").write_text("# Not for clinical use\n")
    write_sums(folder)
    return folder


def write_sums(folder):
    """Write the hashes of all files, as sha256sum does."""
    paths = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    (folder / "SHA256SUMS").write_text("".join(lines))


@contextlib.contextmanager
def start_server(folder, *options, python=sys.executable):
    """Start ``python -m helpers.serve`` on a free port, and end it as Ctrl-C does."""
    command = [str(python), "-m", "helpers.serve", str(folder), "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            while not (found := re.search(r"running on http://([\d.]+):(\d+)", read_log(log))):
                assert process.poll() is None, read_log(log)
                time.sleep(0.05)
            yield Server(process, found[1], int(found[2]), log)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait()  # pytest ends a test that waits in vain
            finally:
                process.kill()


def read_log(log):
    """Return what was written into a file by another process."""
    log.seek(0)
    return log.read()


class Server:
    """A running service: its process, where it is, and how it is asked."""

    def __init__(self, process, host, port, log):
        self.process, self.host, self.port, self.log = process, host, port, log
        self.url = f"http://{host}:{port}"

    def messages(self):
        """Return what the server has written."""
        return read_log(self.log)

    def memory(self):
        """Return the megabytes that the process has for itself."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"RssAnon:\s+(\d+)", file.read())[1]) / 1024

    def ask(self, method, path, body=None, headers=None):
        """Send one request; return status, headers and body."""
        connection = http.client.HTTPConnection(self.host, self.port)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post_films(self, path, *contents, name="films"):
        """Send files as a form does; return status and JSON."""
        body, kind = make_form(*contents, name=name)
        status, _, text = self.ask("POST", path, body, {"content-type": kind})
        return status, json.loads(text)

    def post_json(self, path, value):
        """Send JSON; return status and JSON."""
        kind = {"content-type": "application/json"}
        status, _, text = self.ask("POST", path, json.dumps(value).encode(), kind)
        return status, json.loads(text)


def make_form(*contents, name="films", boundary="films-of-the-test"):
    """Return the body of a form with files, and its content type."""
    parts = []
    for place, content in enumerate(contents):
        head = f'Content-Disposition: form-data; name="{name}"; filename="film{place}.png"'
        parts += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), content, b"\r\n"]
    return b"".join(
        [*parts, f"--{boundary}--\r\n".encode()]
    ), f"multipart/form-data; boundary={boundary}"


def encode(array, kind="PNG", **options):
    """Return an image file of an array or a Pillow image."""
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def server(model_folder):
    """Serve the folder for all tests."""
    with start_server(model_folder) as running:
        yield running
