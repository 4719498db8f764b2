"""Make the pictures of MLflow's and TensorBoard's web pages that page 71 shows.

Run it from the root, with Chromium and Node::

    make .venv/tools/mlflow/.installed docs/site_check/node_modules
    .venv/bin/python docs/tracking_pictures.py
"""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import requests
from PIL import Image

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "docs" / "_static"
MLFLOW = ROOT / ".venv" / "tools" / "mlflow" / "bin" / "mlflow"
RUNS = [
    "FedAvg strategy=fed_avg",
    "FedProx strategy=fed_prox algorithm.proximal_mu=1",
    "Slow optimizer.learning_rate=5e-4",
]
BROWSER = """
import { chromium } from "playwright-core";
const [address, path] = process.argv.slice(-2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium" });
const page = await browser.newPage({ viewport: { width: 1500, height: 850 } });
await page.goto(address);
await page.waitForTimeout(30000); // both draw in their own time
const assistant = page.getByRole("button", { name: "Close" });
if (await assistant.count()) await assistant.first().click();
await page.mouse.move(0, 0);
await page.waitForTimeout(3000);
await page.screenshot({ path });
await browser.close();
"""
FOLDER = ROOT / "results" / "pictures"


def main():
    """Run three experiments, serve both pages, and take a picture of each."""
    tracking = FOLDER / "tracking"
    if not tracking.is_dir():
        shared = ["tasks=true", "tracking=true", f"tracking_folder={tracking}", "rounds=4"]
        shared += ["model=small_cnn", "image_size=32", "hospitals.first=2", f"folder={FOLDER}/run"]
        for run in RUNS:
            words = [*f"name={run}".split(), *shared]
            subprocess.run([sys.executable, "-m", "helpers.run", *words], check=True, cwd=ROOT)
    database = f"sqlite:///{tracking / 'mlflow.db'}"
    served = [MLFLOW, "server", "--backend-store-uri", database, "--workers", "1", "--port"]
    with contextlib.closing(sqlite3.connect(tracking / "mlflow.db")) as runs:
        ids = json.dumps([run for (run,) in runs.execute("SELECT run_uuid FROM runs")])
    metric = '"valid auc/mean"'
    curves = f'#/metric?runs={ids}&metric={metric}&experiments=["1"]&plot_metric_keys=[{metric}]'
    picture(served, f"{quote(curves, safe='#/?=&')}&x_axis=step", "tracking_mlflow.png")
    board = [sys.executable, "-m", "tensorboard.main", "--logdir", tracking / "tensorboard"]
    tags = "?tagFilter=%5Evalid|%5Esent.*/&smoothing=0#timeseries"
    picture([*board, "--port"], tags, "tracking_tensorboard.png")


def picture(command, address, name):
    """Serve a page, wait until it answers, and keep a picture of it with few colors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen([*command, str(port)], env=environment)
    try:
        for _ in range(120):
            with contextlib.suppress(requests.RequestException):
                requests.get(f"http://127.0.0.1:{port}", timeout=5)
                break
            time.sleep(1)
        words = [f"http://127.0.0.1:{port}/{address}", str(STATIC / name)]
        subprocess.run(
            ["node", "--input-type=module", "-e", BROWSER, "--", *words],
            check=True,
            cwd=ROOT / "docs" / "site_check",
        )
    finally:
        server.terminate()
        server.wait()
    with Image.open(STATIC / name) as shot:
        shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(
            STATIC / name, optimize=True
        )


if __name__ == "__main__":
    main()
