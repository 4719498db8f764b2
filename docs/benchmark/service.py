"""Speed of the service: films a core, and a hundred clients at once; a folder of a model is asked.

``python docs/benchmark/service.py MODEL_FOLDER`` starts ``helpers.serve`` on this machine, and
writes ``service.json`` beside this script. The clients are threads of one process on the same
cores: what they need is part of what they wait for.
"""

import concurrent.futures
import datetime
import http.client
import io
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from helpers.studies import describe_machine

N_CLIENTS, N_REPEATS = 100, 5
# Pixels of a side: films in a request, requests.
BATCHES = {64: (32, 40), 1024: (8, 10)}


def encode(rng, side):
    """Return a film of noise, the largest file that a PNG of this size can be."""
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def used_seconds(pid):
    """Return the seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_batches(url, pid, rng):
    """Return films a second and core, for each size of films."""
    speeds = {}
    for side, (n_films, n_requests) in BATCHES.items():
        files = [("films", encode(rng, side)) for _ in range(n_films)]
        requests.post(f"{url}/predict", files=files, timeout=60).raise_for_status()
        before = used_seconds(pid)
        for _ in range(n_requests):
            requests.post(f"{url}/predict", files=files, timeout=60).raise_for_status()
        speeds[side] = round(n_films * n_requests / (used_seconds(pid) - before))
    return speeds


def measure_clients(url, rng):
    """Return, for each repeat, the seconds of every client, or None where it got no answer."""
    form = requests.Request("POST", url, files={"films": encode(rng, 64)}).prepare()
    address = urllib.parse.urlsplit(url).netloc

    def ask(together):
        together.wait()
        start = time.perf_counter()
        client = http.client.HTTPConnection(address, timeout=60)  # costs a client least
        try:
            client.request("POST", "/predict", form.body, dict(form.headers))
            if client.getresponse().status != 200:
                return None
        except OSError:
            return None
        finally:
            client.close()
        return round(time.perf_counter() - start, 3)

    repeats = []
    for _ in range(N_REPEATS):
        together = threading.Barrier(N_CLIENTS)
        with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as clients:
            repeats.append(list(clients.map(ask, [together] * N_CLIENTS)))
    return repeats


def main(folder):
    """Measure, and write the report."""
    command = [sys.executable, "-m", "helpers.serve", folder, "--port", "0"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        found = filter(None, (re.search(r"running on (\S+)", line) for line in service.stderr))
        url, rng = next(found)[1], np.random.default_rng(0)
        speeds = measure_batches(url, service.pid, rng)
        repeats = measure_clients(url, rng)
    finally:
        service.terminate()
        service.communicate()
    answered = [seconds for repeat in repeats for seconds in repeat if seconds is not None]
    report = {
        "measured_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
        "films_a_core_and_second": speeds,
        "clients": N_CLIENTS,
        "lost": sum(map(len, repeats)) - len(answered),
        "median_s": statistics.median(answered),
        "percentile_95_s": round(float(np.percentile(answered, 95)), 3),
        "within_a_second": round(np.mean(np.array(answered) <= 1), 3),
    }
    text = json.dumps(report, indent=2) + "\n"
    Path(__file__).with_name("service.json").write_text(text, "utf-8")
    print(text, end="")


if __name__ == "__main__":
    main(sys.argv[1])
