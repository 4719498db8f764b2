"""The run: from settings to a folder with the model, what it predicts, and how it was made."""

import contextlib
import functools
import json
from pathlib import Path

import pandas as pd
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state

from helpers.data import ChestXrayDataset, HospitalFilms, label_films, make_hospitals
from helpers.data.patients import check_labels
from helpers.evaluation import auc, train_until_best
from helpers.export import describe_run
from helpers.local_mode import Federation
from helpers.results import score_films
from helpers.strategies import Metered, Traffic

_PLACES = ("folder", "samples", "tracking_folder")  # on this machine: nobody else's business
_COLUMNS = ["hospital", "split", "patient", "label", "logit", "sex", "age", "view"]


def run_experiment(settings: DictConfig) -> pd.DataFrame:
    """Train across the hospitals, keep the round that is best on validation films, and write it.

    ``settings.folder`` gets ``model.keras``, ``run.json``, ``predictions.csv`` (validation and test
    films), ``scores.csv`` and, of a run through tasks, ``tasks.csv``.

    Parameters
    ----------
    settings : omegaconf.DictConfig
        As :func:`helpers.run.compose_settings` returns them.

    Returns
    -------
    pandas.DataFrame
        Indexed by hospital: ``test`` and ``valid``, the AUC of the kept model.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range, or the films cannot be used.
    """
    from helpers.models import remove_augmentation

    plain = OmegaConf.to_container(settings, resolve=True)
    with contextlib.ExitStack() as stack:
        if settings.tracking:
            from helpers.tracking import track

            tracking = track(settings.name, plain, folder=settings.tracking_folder)
            tracked = stack.enter_context(tracking)
        samples, data, is_synthetic = _prepare_films(settings)
        federation = stack.enter_context(Federation(samples))
        strategy = _make_strategy(settings, augmented=not is_synthetic)
        algo, scores, best, tasks, sent = _train(federation, strategy, settings)
        parts = [
            score_films(algo, samples, split).assign(split=split) for split in ("valid", "test")
        ]
        predictions = pd.concat(parts).rename(columns={"score": "logit"})[_COLUMNS]
        groups = predictions.groupby(["hospital", "split"])[["label", "logit"]]
        result = groups.apply(lambda own: auc(own["label"], own["logit"])).unstack()
        about = describe_run(
            samples,
            name=settings.name,
            data=data,
            synthetic=is_synthetic,
            task=settings.task,
            image_size=settings.image_size,
            algorithm=type(algo).__name__,
            strategy=settings.strategy_name,
            settings={key: value for key, value in plain.items() if key not in _PLACES},
            seed=settings.seed,
            rounds=int(scores["round"].max()),
            best_round=best.round,
            bytes={"sent_per_hospital_and_round": sent},
        )
        folder = Path(settings.folder)
        folder.mkdir(parents=True, exist_ok=True)
        model = remove_augmentation(algo.model)
        model.save(folder / "model.keras")
        for name, table in {"predictions": predictions, "scores": scores, "tasks": tasks}.items():
            if table is not None:
                table.to_csv(folder / f"{name}.csv", index=False)
        text = json.dumps(about, indent=2, ensure_ascii=False)
        (folder / "run.json").write_text(text + "\n", "utf-8")
        if settings.tracking:
            import matplotlib.pyplot as plt

            from helpers.plots import plot_rounds

            ax = plot_rounds({("federated", "all"): scores}, {("federated", "all"): best})
            values = {
                f"kept {split} auc/{name}": v for (split, name), v in result.unstack().items()
            }
            values |= {"best round": best.round, "sent bytes": sent}
            tracked.log(scores, split="valid", tasks=tasks, values=values, model=model)
            tracked.log(figures={"rounds": ax.figure})
            plt.close(ax.figure)
    return result


def _prepare_films(settings):
    """Return the samples, a sentence about the films, and whether they are synthetic."""
    if settings.samples is not None:
        samples = {}
        for file in sorted(Path(settings.samples).glob("*/*/sample.json")):
            samples.setdefault(file.parts[-3], {})[file.parts[-2]] = file.parent
            about = json.loads(file.read_text("utf-8"))
            if "findings" in about:
                raise ValueError(
                    f"Expected samples with one label. Received {file.parent.name!r} with labels "
                    f"of {about['findings']}. Prepare them for one finding."
                )
            source = about["source"]
        if not samples:
            raise ValueError(
                f"Expected samples as a folder with HOSPITAL/SPLIT. Received {settings.samples!r}."
            )
        return samples, f"prepared films of {source!r}", source.startswith("synthetic")
    radiographs, how = _make(settings.data)(), settings.hospitals
    labels = check_labels(radiographs.table, label_films(radiographs.table, settings.task))
    options = {"by": how.by, "n_hospitals": how.number, "alpha": how.alpha, "seed": settings.seed}
    films = make_hospitals(radiographs.table, labels, **options)
    films = HospitalFilms(radiographs, labels, films, settings.task)
    samples = films.prepare(settings.image_size)
    samples = {name: samples[name] for name in list(samples)[: how.first]}
    return samples, str(radiographs), radiographs.is_synthetic


def _make(part):
    """Return what ``_target_`` names with its other settings as arguments.

    Hydra's own partial function would need Hydra in every task.
    """
    options = {key: value for key, value in part.items() if key != "_target_"}
    return functools.partial(get_object(part["_target_"]), **instantiate(options, _convert_="all"))


def _make_strategy(settings, *, augmented):
    """Make the strategy with its algorithm."""
    build = _make(settings.model)
    if augmented if settings.augment is None else settings.augment:
        from helpers.models import augment

        build = augment(build)
    algo = _make(settings.algorithm)(
        model=build,
        loss=_make(settings.loss)(),
        optimizer=_make(settings.optimizer)(),
        index_generator=NpIndexGenerator(settings.batch_size, settings.updates, seed=settings.seed),
        dataset=ChestXrayDataset,
        seed=settings.seed,
    )
    return _make(settings.strategy)(algo=algo, metric_functions={"auc": auc})


def _train(federation, strategy, settings):
    """Return the kept algorithm, scores, the best round, tasks, and bytes sent in a round."""
    traffic = []

    def train(num_rounds):
        how = {"num_rounds": num_rounds, "eval_every": settings.eval_every, "split": "valid"}
        if settings.tasks:
            return federation.execute(strategy, **how)
        traffic.append(Traffic())
        return federation.simulate(Metered(strategy, traffic[-1]), **how)

    step = settings.step or settings.rounds
    trained, scores, best = train_until_best(
        train, step=step, max_rounds=settings.rounds, patience=settings.patience
    )
    # The last hospital has the round's model also where models travel from one to the next.
    (*_, (hospital, client)), tasks = federation.clients.items(), None
    if settings.tasks:
        algo, tasks = download_algo_state(client, trained.key, best.round), federation.tasks()
        read = tasks.groupby(tasks["operation"] == "aggregate")["received"].sum()
        sent = read.get(True) or read.sum()
    else:
        algo = federation.algos(trained)[hospital, best.round]
        sent = traffic[-1].count(reader="aggregation") or traffic[-1].count()
    return algo, scores, best, tasks, round(sent / len(federation.clients) / scores["round"].max())
