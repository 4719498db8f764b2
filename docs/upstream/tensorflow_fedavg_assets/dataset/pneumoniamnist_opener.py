import pathlib

import numpy as np
import substratools as tools


class PneumoniaMnistOpener(tools.Opener):
    def fake_data(self, n_samples=None):
        n_samples = 100 if n_samples is None else n_samples
        rng = np.random.default_rng(0)

        return {
            "images": rng.integers(256, size=(n_samples, 28, 28, 1), dtype=np.uint8),
            "labels": rng.integers(2, size=n_samples),
        }

    def get_data(self, folders):
        # Every data sample is a folder; a task may be given several.
        folders = [pathlib.Path(folder) for folder in folders]

        return {
            "images": np.concatenate([np.load(folder / "images.npy") for folder in folders]),
            "labels": np.concatenate([np.load(folder / "labels.npy") for folder in folders]),
        }
