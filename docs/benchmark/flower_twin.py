"""Flower twin: the same work in Flower's simulation, with its own FedAvg and the same network.

A script for an environment of its own, which has Flower, Ray, Keras and TensorFlow, and neither
Substra nor pandas. The client is written as Flower's TensorFlow quickstart writes it: a model
built anew for each message, weights as NumPy arrays. Flower has no round 0; one round more makes
the same number of local trainings and evaluations.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from work import Work, find_samples


def read_films(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the films and labels of one sample folder.

    Parameters
    ----------
    folder : path
        A sample as :func:`helpers.data.prepare_samples` writes it.

    Returns
    -------
    images : numpy.memmap of uint8, shape (n, H, W, 1)
        Grey levels.
    labels : numpy.ndarray of float32, shape (n, 1)
        Labels 0 or 1.
    """
    images = np.load(Path(folder, "images.npy"), mmap_mode="r", allow_pickle=False)
    with Path(folder, "metadata.csv").open(encoding="utf-8", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    return images, np.array(labels, dtype=np.float32)[:, None]


def build_client(work: Work, folder: str | Path) -> Any:
    """Write Flower's client.

    Parameters
    ----------
    work : Work
        What to do.
    folder : path
        The hospitals' films.

    Returns
    -------
    flwr.clientapp.ClientApp
        The client.
    """
    import flwr
    from flwr.clientapp import ClientApp

    app = ClientApp()
    hospitals = list(find_samples(folder, work.hospitals).values())

    def start(message, context, split):
        import keras

        from helpers.models import build_cnn

        keras.backend.clear_session()
        model = build_cnn(work.size, work.filters)
        model.set_weights(message.content["arrays"].to_numpy_ndarrays())
        images, labels = read_films(hospitals[context.node_config["partition-id"]][split])
        return keras, model, images, labels

    def reply(message, **records):
        return flwr.app.Message(content=flwr.app.RecordDict(records), reply_to=message)

    @app.train()
    def train(message, context):
        keras, model, images, labels = start(message, context, "train")
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
        rng = np.random.default_rng(message.content["config"]["server-round"])
        for _ in range(work.updates):
            films = rng.integers(0, len(images), work.batch)
            model.train_on_batch(images[films].astype(np.float32) / 255, labels[films])
        return reply(
            message,
            arrays=flwr.app.ArrayRecord(model.get_weights()),
            metrics=flwr.app.MetricRecord({"num-examples": len(images)}),
        )

    @app.evaluate()
    def evaluate(message, context):
        _, model, images, labels = start(message, context, "test")
        # As our algorithm does: a graph traced for one prediction would cost more than it saves.
        logits = np.concatenate(
            [
                model(images[first : first + work.batch].astype(np.float32) / 255, training=False)
                for first in range(0, len(images), work.batch)
            ]
        )
        accuracy = float(np.mean((logits > 0) == (labels > 0)))
        metrics = {"accuracy": accuracy, "num-examples": len(images)}
        return reply(message, metrics=flwr.app.MetricRecord(metrics))

    return app


def build_server(work: Work, done: dict[str, int]) -> Any:
    """Write Flower's server: its own FedAvg.

    Parameters
    ----------
    work : Work
        What to do.
    done : dict of str to int
        Gets ``trainings`` and ``evaluations``, the answers that arrived: Flower goes on when a
        client fails.

    Returns
    -------
    flwr.serverapp.ServerApp
        The server.
    """
    import flwr
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

    from helpers.models import build_cnn

    app = ServerApp()

    def count(kind):
        def aggregate(contents, key):
            done[kind] = done.get(kind, 0) + len(contents)
            return aggregate_metricrecords(contents, key)

        return aggregate

    @app.main()
    def main(grid, context):
        del context
        weights = build_cnn(work.size, work.filters).get_weights()
        strategy = FedAvg(
            min_train_nodes=work.hospitals,
            min_evaluate_nodes=work.hospitals,
            min_available_nodes=work.hospitals,
            train_metrics_aggr_fn=count("trainings"),
            evaluate_metrics_aggr_fn=count("evaluations"),
        )
        strategy.start(grid, flwr.app.ArrayRecord(weights), num_rounds=work.rounds + 1)

    return app


def run_twin(work: Work, folder: str | Path) -> dict[str, int]:
    """Run Flower's simulation.

    Parameters
    ----------
    work : Work
        What to do.
    folder : path
        The hospitals' films.

    Returns
    -------
    dict of str to int
        ``trainings`` and ``evaluations`` that were done.

    Raises
    ------
    RuntimeError
        If a client failed.
    """
    from flwr.simulation import run_simulation

    done = {}
    run_simulation(
        build_server(work, done),
        build_client(work, folder),
        work.hospitals,
        # One core for each client, so that hospitals run side by side as ours do.
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    expected = work.hospitals * (work.rounds + 1)
    if done != {"trainings": expected, "evaluations": expected}:
        raise RuntimeError(
            f"Expected {expected} trainings and evaluations. Received {done}. See the log above."
        )
    return done


if __name__ == "__main__":
    print(json.dumps(run_twin(Work.from_json(sys.argv[1]), sys.argv[2])))
