"""Train one network across the hospitals, and compare it with each hospital's own: `make run`."""

import logging
from pathlib import Path

import hydra
import keras
import matplotlib.pyplot as plt
import pandas as pd
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.model_loading import download_algo_state
from substrafl.strategies import FedAvg

import film_opener
import network
from film_opener import IMAGE_SIZE, FilmOpener
from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc, find_best_round
from helpers.local_mode import Federation, train_best
from make_films import make_films
from network import build_network

HERE = Path(__file__).parent
# What the tasks import, besides installed packages.
LOCAL_CODE = [network.__file__, film_opener.__file__]


def make_strategy(settings):
    """Return federated averaging of the network, scored by the AUC."""
    algo = TFFedAvgAlgo(
        model=build_network,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(settings.learning_rate),
        index_generator=NpIndexGenerator(
            batch_size=settings.batch_size, num_updates=settings.updates, seed=settings.seed
        ),
        dataset=ChestXrayDataset,
        seed=settings.seed,
    )
    return FedAvg(algo=algo, metric_functions={"auc": auc})


def train(settings, folder):
    """Train alone and together; return the AUC on each hospital's test films.

    Parameters
    ----------
    settings : omegaconf.DictConfig
        As in configuration.yaml.
    folder : pathlib.Path
        Where the films are: ``HOSPITAL/{train,valid,test}``.

    Returns
    -------
    scores : pandas.DataFrame
        A row for each hospital: ``films``, the number it trains on; ``alone`` and ``together``.
    network : keras.Model
        The network that was trained together, after the round that is best on validation films.
    """
    hospitals, num_rounds = list(settings.hospitals), settings.rounds
    splits = ("train", "valid", "test")
    samples = {name: {split: folder / name / split for split in splits} for name in hospitals}
    with Federation(samples, opener=film_opener.__file__) as federation:
        compute_plan, curve = federation.execute(
            make_strategy(settings), split="valid", num_rounds=num_rounds, local_code=LOCAL_CODE
        )
        best, client = find_best_round(curve).round, federation.clients[hospitals[0]]
        together = download_algo_state(client, compute_plan.key, round_idx=best)
        alone = {
            name: train_best(
                federation,
                make_strategy(settings),
                num_rounds=num_rounds,
                train_on=[name],
                valid_on=[name],
            ).algo
            for name in hospitals
        }
    rows = {}
    for name in hospitals:
        films = FilmOpener().get_data([samples[name]["test"]])
        rows[name] = {
            "films": len(FilmOpener().get_data([samples[name]["train"]])["labels"]),
            "alone": auc(films, alone[name].predict(films)),
            "together": auc(films, together.predict(films)),
        }
    return pd.DataFrame.from_dict(rows, orient="index"), together.model


def write_page(scores, folder):
    """Write the table and the figure of the scores, and the page that shows both."""
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    for arm, mark in {"alone": "o", "together": "s"}.items():
        ax.plot(scores[arm], scores.index, mark, label=arm, markersize=8)
    ax.axvline(0.5, color="0.8", zorder=0)
    ax.set(xlabel="AUC on the hospital's own test films; 0.5 is chance", xlim=(0.4, 1))
    ax.margins(y=0.4)
    ax.legend()
    figure.savefig(folder / "auc.png", dpi=150)
    plt.close(figure)
    scores.to_csv(folder / "scores.csv", index_label="hospital")
    shown = scores.round(3)
    lines = ["# Results", "", "| hospital | " + " | ".join(shown) + " |", "| --- " * 4 + "|"]
    lines += [f"| {row[0]} | " + " | ".join(map(str, row[1:])) + " |" for row in shown.itertuples()]
    better = [name for name, row in scores.iterrows() if row["together"] > row["alone"]]
    said = f"Together is better than alone at {len(better)} of {len(scores)} hospitals"
    lines += ["", f"{said}; one seed, no clinical result.", "", "![AUC by hospital](auc.png)"]
    (folder / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


@hydra.main(version_base=None, config_path=".", config_name="configuration")
def main(settings):
    """Make films where there are none, train, and write the results."""
    set_logging_level(logging.ERROR)
    results = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    data = HERE / "data"
    make_films(
        data, settings.hospitals, n_films=settings.films, size=IMAGE_SIZE, seed=settings.seed
    )
    scores, trained = train(settings, data)
    trained.save(results / "network.keras")
    write_page(scores, results)
    print((results / "README.md").read_text("utf-8"))


if __name__ == "__main__":
    main()
