"""Cost of masks: what secure aggregation adds at one hospital, by weights and by hospitals.

``python docs/benchmark/masking.py`` writes ``masking.json`` beside this script. A message is made
as a hospital makes it: weighted, rounded, and masked against every other hospital. Its processor
time is compared with that of the smallest case, and its bytes with those of float32.
"""

import datetime
import json
import os
import time
from pathlib import Path

import numpy as np

from helpers.exchange.masking import FixedPoint, Masker, public_key
from helpers.studies import describe_machine

N_WEIGHTS, N_HOSPITALS, N_REPEATS = (10**5, 10**6, 10**7), (4, 16, 64), 3


def measure_message(n_weights, n_hospitals):
    """Return the seconds of a core for one message, the least of a few, and its bytes."""
    update = np.random.default_rng(0).normal(0, 0.01, n_weights).astype("float32")
    others = [public_key(os.urandom(32)) for _ in range(n_hospitals - 1)]
    seconds = []
    for number in range(N_REPEATS):
        start = time.process_time()
        code = FixedPoint(4.0 * 10_000, n_hospitals, bits=32)
        masker = Masker(os.urandom(32), others, plan=b"benchmark")
        message = masker.mask(code.encode(update.astype("float64").clip(-4, 4) * 500), str(number))
        seconds.append(time.process_time() - start)
    return min(seconds), message.nbytes


def main():
    """Measure all cases and write them."""
    cases = []
    for n_weights in N_WEIGHTS:
        for n_hospitals in N_HOSPITALS:
            seconds, nbytes = measure_message(n_weights, n_hospitals)
            case = {"weights": n_weights, "hospitals": n_hospitals, "seconds": round(seconds, 4)}
            cases.append(case | {"bytes_over_float32": nbytes / (4 * n_weights)})
            print(case)
    report = {"measured_on": datetime.date.today().isoformat(), "machine": describe_machine()}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(report | {"cases": cases}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
