"""Opener's cost: seconds and memory to open a hospital's films and to read one training's batches.

A script, so that the memory is that of a process which does nothing else. Memory-mapped films are
not counted: they lie in the system's file cache, which is given up as soon as memory is short.
"""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
from work import Work, find_samples


def measure_opener(work: Work, folder: str | Path) -> dict[str, float | None]:
    """Open the first hospital's films as a training task does, and read its batches.

    Parameters
    ----------
    work : Work
        What to do.
    folder : path
        The hospitals' films.

    Returns
    -------
    dict of str to float
        ``opener_s``: seconds; ``opener_memory``: bytes that this added to the process's own
        memory, and ``process_memory``: all of that. None where the system does not tell
        (elsewhere than Linux).
    """
    from helpers.openers.chest_xray_opener import ChestXrayOpener

    (splits,) = find_samples(folder, 1).values()
    rng = np.random.default_rng(0)
    before = _own_memory()
    start = time.perf_counter()
    data = ChestXrayOpener().get_data([splits["train"]])
    for _ in range(work.updates):
        films = rng.integers(0, len(data["images"]), work.batch)
        data["images"][films].astype(np.float32)
    seconds = time.perf_counter() - start
    after = _own_memory()
    return {
        "opener_s": round(seconds, 4),
        "opener_memory": None if after is None else after - before,
        "process_memory": after,
    }


def _own_memory():
    """Read from Linux how many bytes of memory belong to this process alone; None elsewhere."""
    try:
        status = Path("/proc/self/status").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


if __name__ == "__main__":
    print(json.dumps(measure_opener(Work.from_json(sys.argv[1]), sys.argv[2])))
