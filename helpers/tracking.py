"""Tracking: runs kept by MLflow (SQLite and files) and shown by TensorBoard, on this machine only.

MLflow's usage statistics are turned off, unless ``MLFLOW_DISABLE_TELEMETRY`` is set otherwise.
"""

import contextlib
import io
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import keras
import pandas as pd
import tensorflow as tf
from filelock import FileLock
from matplotlib.figure import Figure

FOLDER = Path("results", "tracking")
_EXPERIMENT, _MODEL = "federated chest X-rays", "model.keras"
_UNITS = {"wall": "seconds", "sent": "sent bytes", "received": "received bytes"}


@dataclass(frozen=True)
class TrackedRun:
    """A run that is being tracked, as :func:`track` yields it; ``run_id`` is MLflow's."""

    client: Any
    run_id: str

    def log(
        self,
        scores: pd.DataFrame | None = None,
        *,
        split: str = "test",
        tasks: pd.DataFrame | None = None,
        values: Mapping[str, float] | None = None,
        figures: Mapping[str, Figure] | None = None,
        model: keras.Model | None = None,
    ) -> None:
        """Log what a run has returned; every part is optional, and may come in a call of its own.

        Parameters
        ----------
        scores : pandas.DataFrame
            As :meth:`helpers.local_mode.Federation.execute` returns them: ``"test auc/Northfield"``
            by round, and ``"test auc/mean"`` over the hospitals.
        split : str, default="test"
            The split that was scored.
        tasks : pandas.DataFrame
            As :meth:`helpers.local_mode.Federation.tasks` returns it: ``"sent bytes/Northfield"``
            by round, averaging as ``aggregation``; and ``tasks.csv``. Cached tasks took no time.
        values, figures : mapping of str to float, or to matplotlib.figure.Figure
            Numbers of the whole run; figures, which stay open.
        model : keras.Model
            Kept as a file, for :func:`load_tracked_model`.
        """
        from mlflow.entities import Metric

        rows = [(name, 0, value) for name, value in (values or {}).items()]
        if scores is not None:
            means = scores.groupby(["round", "metric"], as_index=False)["value"].mean()
            for row in pd.concat([scores, means.assign(hospital="mean")]).itertuples():
                rows.append((f"{split} {row.metric}/{row.hospital}", row.round, row.value))
        if tasks is not None:
            place = tasks["hospital"].where(tasks["operation"] != "aggregate", "aggregation")
            sums = tasks.groupby([place, "round"])[list(_UNITS)].sum().stack()
            rows += [(f"{_UNITS[kind]}/{at}", step, n) for (at, step, kind), n in sums.items()]
            self.client.log_text(self.run_id, tasks.to_csv(index=False), "tasks.csv")
        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, int(step)) for name, step, value in rows]
        for start in range(0, len(metrics), 1000):  # MLflow takes so many at once
            self.client.log_batch(self.run_id, metrics[start : start + 1000])
        for metric in metrics:
            tf.summary.scalar(metric.key, metric.value, step=metric.step)
        for name, figure in (figures or {}).items():
            self.client.log_figure(self.run_id, figure, f"{name}.png")
            figure.savefig(png := io.BytesIO(), format="png")
            tf.summary.image(name, tf.io.decode_png(png.getvalue())[None], step=0)
        if model is not None:
            with tempfile.TemporaryDirectory() as folder:
                model.save(path := Path(folder, _MODEL))
                self.client.log_artifact(self.run_id, path)


@contextlib.contextmanager
def track(
    name: str, parameters: Mapping[str, Any] | None = None, *, folder: str | Path = FOLDER
) -> Iterator[TrackedRun]:
    """Track the run inside a ``with`` statement; a run that fails is marked as failed.

    Parameters
    ----------
    name : str
        Name of the run.
    parameters : mapping of str to object, optional
        Settings; nested ones get names such as ``"optimizer.learning_rate"``.
    folder : path, default="results/tracking"
        Where all runs are kept: ``mlflow.db``, ``artifacts`` and ``tensorboard``.

    Yields
    ------
    TrackedRun
        What its ``log`` is given is written for both tools.

    Raises
    ------
    ImportError
        If MLflow is not installed.
    """
    folder = Path(folder).resolve()
    client, experiment = _open(folder)
    from mlflow.entities import Param
    from tensorboard.plugins.hparams import api

    flat = dict(_flatten(parameters or {}))
    run_id = client.create_run(experiment, run_name=name).info.run_id
    client.log_batch(run_id, params=[Param(key, value) for key, value in flat.items()])
    writer = tf.summary.create_file_writer(str(folder / "tensorboard" / f"{name}-{run_id[:6]}"))
    status = "FAILED"
    try:
        with writer.as_default():
            api.hparams(flat, run_id)
            yield TrackedRun(client, run_id)
        status = "FINISHED"
    finally:
        writer.close()
        client.set_terminated(run_id, status)


def load_tracked_model(run_id: str, folder: str | Path = FOLDER) -> keras.Model:
    """Load the model of a tracked run, in Keras' safe mode; its weights are those that were logged.

    Parameters
    ----------
    run_id : str
        MLflow's identifier of the run.
    folder : path, default="results/tracking"
        Where the runs are kept.

    Returns
    -------
    keras.Model
        The model.

    Raises
    ------
    ValueError
        If the run has no model.
    """
    artifacts = _open(Path(folder).resolve())[0].get_run(run_id).info.artifact_uri
    path = Path(url2pathname(urlsplit(artifacts).path), _MODEL)
    if not path.is_file():
        raise ValueError(f"Expected a run that has logged a model. Received {run_id}, without one.")
    return keras.models.load_model(path)


def _flatten(settings, before=""):
    """Yield each setting with the names of what it is in, as text."""
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        yield from _flatten(value, f"{before}{key}.") if inner else [(f"{before}{key}", str(value))]


def _open(folder):
    """Return MLflow's client of a folder, and the experiment's identifier; make what is missing."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # not that it creates its tables
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        needed = 'pip install "federated-chest-xrays[tracking]"'
        raise ImportError(f"Tracking needs MLflow: {needed}") from error
    folder.mkdir(parents=True, exist_ok=True)
    # Of runs that start side by side, one makes the tables; SQLAlchemy 2.1 warns of MLflow's use.
    with FileLock(folder / ".lock"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        found = client.get_experiment_by_name(_EXPERIMENT)
        if found is None:
            client.create_experiment(_EXPERIMENT, (folder / "artifacts").as_uri())
    return client, client.get_experiment_by_name(_EXPERIMENT).experiment_id
