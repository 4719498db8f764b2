"""Bare loop: the floor, a plain Keras loop over the hospitals in one process.

A script, run by its path, so that it does not import Substra. It says how long its own compute
took, without the imports.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from work import Work, find_samples


def run_loop(work: Work, folder: str | Path) -> dict[str, float]:
    """Train at every hospital in turn, as plain as Keras allows, and evaluate.

    Parameters
    ----------
    work : Work
        What to do.
    folder : path
        The hospitals' films.

    Returns
    -------
    dict of str to float
        ``compute_s``: seconds from the end of the imports to the end of the work.
    """
    import keras

    from helpers.data import ChestXrayDataset
    from helpers.models import build_cnn
    from helpers.openers.chest_xray_opener import ChestXrayOpener

    start = time.perf_counter()
    opener, rng = ChestXrayOpener(), np.random.default_rng(0)
    for splits in find_samples(folder, work.hospitals).values():
        model = build_cnn(work.size, work.filters)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
        train = ChestXrayDataset(opener.get_data([splits["train"]]), is_inference=False)
        test = ChestXrayDataset(opener.get_data([splits["test"]]), is_inference=True)
        for _ in range(work.rounds + 1):
            for _ in range(work.updates):
                model.train_on_batch(*train[rng.integers(0, len(train), work.batch)])
            model.predict_on_batch(test[np.arange(len(test))])
    return {"compute_s": time.perf_counter() - start}


if __name__ == "__main__":
    print(json.dumps(run_loop(Work.from_json(sys.argv[1]), sys.argv[2])))
