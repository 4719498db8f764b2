"""The run itself: from settings to a folder with the model, what it predicts, and how it was made.

The folder has ``model.keras``, ``run.json``, ``predictions.csv``, ``scores.csv`` and, if there were
tasks, ``tasks.csv``.
"""

import contextlib
import datetime
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import pandas as pd
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state

from helpers.data import (
    ChestXrayDataset,
    HospitalFilms,
    assign_hospitals,
    check_hospitals,
    label_films,
    make_hospitals,
    split_patients,
)
from helpers.evaluation import auc, train_until_best
from helpers.local_mode import Federation
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.results import score_films
from helpers.strategies import Metered, Traffic

_VERSIONS = ("federated-chest-xrays", "tensorflow", "keras", "numpy", "substra", "substrafl")
_SCORED = ("valid", "test")
_COLUMNS = ["hospital", "split", "patient", "label", "logit", "sex", "age", "view"]


def run_experiment(settings: Any) -> pd.DataFrame:
    """Train across the hospitals, keep the round that does best on validation films, and write it.

    Parameters
    ----------
    settings : omegaconf.DictConfig
        As :func:`helpers.run.compose_settings` returns them. The folder is ``settings.folder``.

    Returns
    -------
    pandas.DataFrame
        Indexed by hospital: ``valid`` and ``test``, the AUC of the kept model.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range, or the films cannot be used.
    """
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(settings, resolve=True)
    samples, data, is_synthetic = _prepare(settings)
    strategy = _make_strategy(settings, augmented=not is_synthetic)
    with contextlib.ExitStack() as stack:
        tracked = None
        if settings.tracking:
            from helpers.tracking import track

            tracking = track(settings.name, plain, folder=settings.tracking_folder)
            tracked = stack.enter_context(tracking)
        federation = stack.enter_context(Federation(samples))
        algo, scores, best, tasks, sent = _train(federation, strategy, settings)
        parts = [score_films(algo, samples, split).assign(split=split) for split in _SCORED]
        predictions = pd.concat(parts).rename(columns={"score": "logit"})[_COLUMNS]
        groups = predictions.groupby(["hospital", "split"])
        result = groups.apply(lambda own: auc(own["label"], own["logit"])).unstack()
        about = {
            "name": settings.name,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "data": data,
            "synthetic": is_synthetic,
            "task": settings.task,
            "image_size": settings.image_size,
            "hospitals": {name: _count(own) for name, own in samples.items()},
            "algorithm": type(algo).__name__,
            "strategy": settings.strategy_name,
            "settings": plain,
            "seed": settings.seed,
            "rounds": int(scores["round"].max()),
            "best_round": best.round,
            "bytes": {"sent_per_hospital_and_round": sent},
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in _VERSIONS},
        }
        folder = Path(settings.folder)
        folder.mkdir(parents=True, exist_ok=True)
        algo.model.save(folder / "model.keras")
        tables = {"predictions": predictions, "scores": scores, "tasks": tasks}
        for name, table in tables.items():
            if table is not None:
                table.to_csv(folder / f"{name}.csv", index=False)
        text = json.dumps(about, indent=2, ensure_ascii=False)
        (folder / "run.json").write_text(text + "\n", "utf-8")
        if tracked:
            _log(tracked, algo.model, scores, best, tasks, sent, result)
    return result


def _prepare(settings):
    """Return the samples, a sentence about the films, and whether they are synthetic."""
    if settings.samples is not None:
        places = sorted(path.parent for path in Path(settings.samples).glob("*/*/sample.json"))
        if not places:
            raise ValueError(
                f"Expected samples as a folder with HOSPITAL/SPLIT. Received {settings.samples!r}."
            )
        samples = {}
        for place in places:
            samples.setdefault(place.parent.name, {})[place.name] = place
        source = json.loads((places[0] / "sample.json").read_text("utf-8"))["source"]
        return samples, f"prepared films of {source}", source.startswith("synthetic")
    from hydra.utils import instantiate

    radiographs, how = instantiate(settings.data, _convert_="all"), settings.hospitals
    labels = label_films(radiographs.table, settings.task)
    if how.by is None:
        films = make_hospitals(
            radiographs.table, labels, n_hospitals=how.number, seed=settings.seed
        )
    else:
        films = radiographs.table[labels.notna()]
        options = {"n_hospitals": how.number, "alpha": how.alpha, "labels": labels[films.index]}
        films = assign_hospitals(films, how.by, seed=settings.seed, **options)
        films = split_patients(films, labels=labels[films.index], seed=settings.seed)
        check_hospitals(films, labels[films.index])
    films = HospitalFilms(radiographs, labels, films, settings.task)
    samples = films.prepare(settings.image_size)
    samples = {name: samples[name] for name in list(samples)[: how.first]}
    return samples, str(radiographs), radiographs.is_synthetic


def _make_strategy(settings, *, augmented):
    """Build the strategy with its algorithm."""
    from hydra.utils import instantiate

    def make(part, **options):
        return instantiate(settings[part], _convert_="all", **options)

    build = make("model", _partial_=True)
    if augmented if settings.augment is None else settings.augment:
        from helpers.models import augment

        build = augment(build)
    algo = make("algorithm", _partial_=True)(
        model=build,
        loss=make("loss"),
        optimizer=make("optimizer"),
        index_generator=NpIndexGenerator(settings.batch_size, settings.updates, seed=settings.seed),
        dataset=ChestXrayDataset,
        seed=settings.seed,
    )
    return make("strategy", _partial_=True)(algo=algo, metric_functions={"auc": auc})


def _train(federation, strategy, settings):
    """Return the kept algorithm, scores, the best round, tasks, and what a hospital sends."""
    traffic = Traffic()

    def run(num_rounds):
        how = {"num_rounds": num_rounds, "eval_every": settings.eval_every, "split": "valid"}
        if settings.tasks:
            return federation.execute(strategy, **how)
        nonlocal traffic
        traffic = Traffic()
        return federation.simulate(Metered(strategy, traffic), **how)

    step = settings.step or settings.rounds
    result, scores, best = train_until_best(
        run, step=step, max_rounds=settings.rounds, patience=settings.patience
    )
    # The last hospital has the round's model also where models travel from one to the next.
    name, client = list(federation.clients.items())[-1]
    n_sent, tasks = len(federation.clients) * int(scores["round"].max()), None
    if settings.tasks:
        algo, tasks = download_algo_state(client, result.key, best.round), federation.tasks()
        received = tasks.groupby(tasks["operation"] == "aggregate")["received"].sum()
        sent = received.get(True) or received.sum()
    else:
        algo = federation.algos(result)[name, best.round]
        sent = traffic.count(reader="aggregation") or traffic.count()
    return algo, scores, best, tasks, round(sent / n_sent)


def _count(splits):
    """Count films, patients and ill films of one hospital."""
    counts = {}
    for split, folder in splits.items():
        films = ChestXrayOpener().get_data([folder])["metadata"]
        counts[split] = {
            "films": len(films),
            "patients": int(films["patient"].nunique()),
            "ill": int(films["label"].sum()),
        }
    return counts


def _log(tracked, model, scores, best, tasks, sent, result):
    """Log the run."""
    from helpers.plots import plot_rounds

    values = {
        f"kept {split} auc/{name}": result.loc[name, split]
        for name in result.index
        for split in _SCORED
    }
    ax = plot_rounds({("federated", "all"): scores}, {("federated", "all"): best})
    tracked.log(
        scores,
        split="valid",
        tasks=tasks,
        values=values | {"best round": best.round, "sent bytes": sent},
        figures={"rounds": ax.figure},
        model=model,
    )
