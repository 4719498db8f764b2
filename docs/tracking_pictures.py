"""Make the pictures of MLflow's and TensorBoard's web pages that page 71 shows.

Run it from the root, with Chromium on the PATH::

    make .venv/tools/mlflow/.installed
    .venv/bin/python docs/tracking_pictures.py
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "docs" / "_static"
MLFLOW = ROOT / ".venv" / "tools" / "mlflow" / "bin" / "mlflow"
RUNS = [
    "FedAvg strategy=fed_avg",
    "FedProx strategy=fed_prox algorithm.proximal_mu=1",
    "Slow optimizer.learning_rate=5e-4",
]
SIZE = 1280, 900


def main():
    """Run three experiments, serve both pages, and take a picture of each."""
    with tempfile.TemporaryDirectory() as folder:
        tracking = Path(folder, "tracking")
        shared = ["tasks=true", "tracking=true", f"tracking_folder={tracking}"]
        shared += [
            "model=small_cnn",
            "image_size=32",
            "rounds=4",
            "hospitals.first=2",
            f"folder={folder}/run",
        ]
        for run in RUNS:
            words = [*f"name={run}".split(), *shared]
            subprocess.run([sys.executable, "-m", "helpers.run", *words], check=True, cwd=ROOT)
        database = f"sqlite:///{tracking / 'mlflow.db'}"
        served = [MLFLOW, "server", "--backend-store-uri", database, "--workers", "1", "--port"]
        picture(served, "#/experiments/1/runs?compareRunsMode=CHART", "tracking_mlflow.png", 25)
        board = [sys.executable, "-m", "tensorboard.main", "--logdir", tracking / "tensorboard"]
        picture([*board, "--port"], "#timeseries", "tracking_tensorboard.png", 15)


def picture(command, address, name, seconds):
    """Serve a page, wait until it answers, and keep a picture of it with few colors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen([*command, str(port)], env=environment)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
                break
            time.sleep(1)
        options = [
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--screenshot={STATIC / name}",
        ]
        options += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--timeout={1000 * seconds}"]
        url = f"http://127.0.0.1:{port}/{address}"
        subprocess.run(["chromium", *options, url], check=True)
    finally:
        server.terminate()
        server.wait()
    with Image.open(STATIC / name) as shot:
        shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
            STATIC / name, optimize=True
        )


if __name__ == "__main__":
    main()
