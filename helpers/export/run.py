"""Run: what is to be known of a training, in the words that the model card takes."""

import datetime
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from helpers.openers.chest_xray_opener import ChestXrayOpener

_PACKAGES = ("federated-chest-xrays", "tensorflow", "keras", "numpy", "substra", "substrafl")


def describe_run(samples: Mapping[str, Mapping[str, Path]], **facts: Any) -> dict[str, Any]:
    """Describe a run for :func:`export_model`: its films, today's date, and the versions of here.

    Parameters
    ----------
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    **facts
        What only the run knows: ``name``, ``data`` (a sentence), ``synthetic``, ``task``,
        ``algorithm``, ``strategy``, ``settings``, ``seed``, ``rounds``, ``best_round``, ``bytes``.

    Returns
    -------
    dict
        The facts; ``date``; ``hospitals``, with the numbers of ``films``, ``patients`` and ``ill``
        films of each split; and ``versions``.
    """
    counts = {
        hospital: {split: _count_films(folder) for split, folder in splits.items()}
        for hospital, splits in samples.items()
    }
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return facts | {"date": today, "hospitals": counts, "versions": versions}


def _count_films(folder):
    """Count the films, patients and ill films of a sample."""
    films = ChestXrayOpener().get_data([folder])["metadata"]
    patients, ill = films["patient"].nunique(), int(films["label"].sum())
    return {"films": len(films), "patients": patients, "ill": ill}
