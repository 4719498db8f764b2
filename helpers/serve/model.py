"""Served model: a model folder, checked before it is loaded, and what it says of films."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnxruntime

from helpers.model_folder import check_folder

_BATCH = 32  # films at once: more are no faster, and need more memory


class ServedModel:
    """A model folder as helpers.export writes it, computed by ONNX Runtime on one core a call."""

    def __init__(self, folder: str | Path, fingerprint: str | None = None) -> None:
        self._folder, self._network = Path(folder), None
        check_folder(folder, fingerprint=fingerprint)
        needed = ("signature.json", "card.json", "model.onnx")
        if absent := [name for name in needed if not (self._folder / name).is_file()]:
            raise ValueError(
                f"Expected a folder that helpers.export wrote. Received {str(folder)!r} without "
                f"{', '.join(absent)}. Export the model again."
            )
        texts = [
            (self._folder / f"{name}.json").read_text("utf-8") for name in ("signature", "card")
        ]
        # What is no number in JSON has no value.
        signature, self.card = (json.loads(text, parse_constant=lambda _: None) for text in texts)
        self.name, self.version = signature["name"], str(signature["version"])
        self.classes, self._threshold = signature["classes"], signature["threshold"]
        self.side = signature["input"]["shape"][1]
        fitted = signature["calibration"]
        self._lines = np.array([(fitted["slope"], fitted["intercept"]), *fitted["draws"]])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # or the memory of the largest request is kept
        self._session = onnxruntime.InferenceSession(
            (self._folder / "model.onnx").read_bytes(), options, ["CPUExecutionProvider"]
        )
        entry, wanted = self._session.get_inputs()[0], [self.side, self.side, 1]
        if entry.type != "tensor(uint8)" or entry.shape[1:] != wanted:
            raise ValueError(
                f"Expected a network of uint8 films of shape {wanted}. Received {entry.type} of "
                f"shape {entry.shape[1:]}. Export the model again."
            )
        films = np.random.default_rng(0).integers(0, 256, (8, self.side, self.side), dtype=np.uint8)
        if not np.isfinite(self.predict(films)).all():
            raise ValueError(
                "Expected a network with finite outputs. Received NaN or infinity: its training "
                "diverged. Train it again with a smaller learning rate."
            )

    def predict(self, films: np.ndarray) -> np.ndarray:
        """Return logits, float32 of shape (n,), of uint8 films of shape (n, side, side)."""
        name = self._session.get_inputs()[0].name
        parts = (films[place : place + _BATCH, ..., None] for place in range(0, len(films), _BATCH))
        return np.concatenate([self._session.run(None, {name: part})[0][:, 0] for part in parts])

    def judge(self, films: np.ndarray, names: list[str]) -> list[dict]:
        """Return what is said of each film; the band is the middle 95 % of the draws."""
        logits = self.predict(films).astype(float)
        drawn = (1 + np.tanh((np.outer(logits, self._lines[:, 0]) + self._lines[:, 1]) / 2)) / 2
        low, high = np.percentile(drawn[:, 1:], (2.5, 97.5), axis=1)
        said = [self.classes[int(level >= self._threshold)] for level in drawn[:, 0]]
        columns = (names, *(x.tolist() for x in (logits, drawn[:, 0], low, high)), said)
        keys = ("film", "logit", "probability", "low", "high", "class")
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]

    @staticmethod
    def can_explain() -> bool:
        """Return whether maps can be computed: whether the extra is installed."""
        return all(importlib.util.find_spec(name) for name in ("keras", "xplique"))

    def explain(self, films: np.ndarray) -> np.ndarray:
        """Return maps by Grad-CAM, float32 of shape (n, side, side); imports TensorFlow."""
        import keras

        from helpers.explanation.attribution import explain

        if self._network is None:  # the network itself is a layer, after that which scales films
            model = keras.saving.load_model(self._folder / "model.keras", safe_mode=True)
            self._network = next(x for x in model.layers if isinstance(x, keras.Model))
        return explain(self._network, films[..., None], "grad_cam")
