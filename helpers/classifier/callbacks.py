"""Callbacks: what happens around the epochs of Keras' own training loop."""

from pathlib import Path

import keras
import numpy as np

from helpers.classifier.checkpoint import read_description, save_checkpoint
from helpers.classifier.messages import say
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc, balanced_accuracy


class FilmBatches(keras.utils.PyDataset):
    """Shuffled batches of one of our datasets, for Keras' ``fit``.

    Parameters
    ----------
    dataset : helpers.data.ChestXrayDataset or helpers.data.WeightedChestXrayDataset
        Films with their labels, and weights if there are any.
    batch_size : int
        Films of a batch; the last one of an epoch may have fewer.
    seed : int
        Seed of the order, together with the epoch's number.
    """

    def __init__(self, dataset: ChestXrayDataset, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self._dataset = dataset
        self._batch_size, self._seed = batch_size, seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle the films: the order depends on seed and epoch alone."""
        self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._dataset))

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, ...]:
        """Read one batch: films, labels, and weights if there are any."""
        place = number * self._batch_size
        return self._dataset[self._order[place : place + self._batch_size]]


class SeedEpochs(keras.callbacks.Callback):
    """Let an epoch's draws depend on the seed and the epoch's number alone.

    After an interruption, a training then draws what it would have drawn without the pause. Keras'
    backup alone does not keep the seeds of dropout.

    Parameters
    ----------
    batches : FilmBatches
        The training batches.
    seed : int
        The seed.
    """

    def __init__(self, batches: FilmBatches, seed: int) -> None:
        super().__init__()
        self._batches, self._seed = batches, seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Seed the order of the films and every dropout layer."""
        self._batches.start_epoch(epoch)
        for number, layer in enumerate(self.model.layers):
            if isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator):
                state = np.random.default_rng([self._seed, epoch, number]).integers(2**31, size=2)
                layer.seed_generator.state.assign(state)


class KeepBest(keras.callbacks.Callback):
    """Validate after each epoch with the project's metrics, and save the best model.

    An existing checkpoint is replaced only by a better model, also by a later run.
    Adds ``val_loss``, ``val_auc`` and ``val_balanced_accuracy`` to the epoch's logs, so that the
    callbacks after it see them.

    Parameters
    ----------
    dataset : helpers.data.ChestXrayDataset
        The validation films, with labels.
    path : pathlib.Path
        The checkpoint.
    description : dict
        The description in the checkpoint; ``score`` and ``epoch`` are added.
    batch_size : int
        Films of a batch.
    """

    def __init__(
        self,
        dataset: ChestXrayDataset,
        path: Path,
        description: dict,
        *,
        batch_size: int,
    ) -> None:
        super().__init__()
        self._dataset, self._path = dataset, path
        self._description, self._batch_size = description, batch_size
        self.best = read_description(path)["score"] if path.exists() else -np.inf

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Score the validation films; save the model if it is better than all before."""
        logits, labels = self._predict()
        data = {"labels": labels.ravel().astype(int)}
        score = balanced_accuracy(data, logits)
        logs |= {
            "val_loss": float(self.model.compute_loss(None, labels, logits, training=False)),
            "val_auc": auc(data, logits),
            "val_balanced_accuracy": score,
        }
        if score > self.best:
            self.best = score
            description = self._description | {"score": score, "epoch": epoch + 1}
            save_checkpoint(self.model, self._path, description)

    def _predict(self):
        """Predict all validation films; return logits and labels, shape (n, 1) each."""
        films = np.arange(len(self._dataset))
        logits, labels = [], []
        for place in films[:: self._batch_size]:
            x, y = self._dataset[films[place : place + self._batch_size]]
            logits.append(self.model.predict_on_batch(x))
            labels.append(y)
        return np.concatenate(logits), np.concatenate(labels)


class PrintEpochs(keras.callbacks.Callback):
    """Print one line for each epoch, where there is no terminal for a bar."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print losses and scores of the epoch."""
        values = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
        of = self.params["epochs"]
        print(say("epoch {n} of {of}: {values}", n=epoch + 1, of=of, values=values), flush=True)
