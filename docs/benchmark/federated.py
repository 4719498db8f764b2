"""Federated: the same work by federated averaging, in memory or as tasks of local mode.

A script with three arms, ``simulate``, ``ours`` and ``stock``, and ``imports``, which imports what
they import and ends.
"""

import functools
import json
import sys
import tempfile
from pathlib import Path

from work import Work, find_samples


def run_federation(arm: str, work: Work, folder: str | Path) -> dict[str, float]:
    """Train by federated averaging and evaluate every round.

    Parameters
    ----------
    arm : {"imports", "simulate", "ours", "stock"}
        Import only; in memory; forked tasks; Substra's own tasks.
    work : Work
        What to do.
    folder : path
        The hospitals' films.

    Returns
    -------
    dict of str to float
        ``n_tasks`` of the compute plan, where there is one, and ``train_s``, the median wall time
        of a training task in seconds, where tasks are timed.

    Raises
    ------
    RuntimeError
        If a result was not computed but cached.
    """
    if arm == "ours":
        from helpers.local_mode import start_server

        start_server()
    import keras
    from substrafl.index_generator import NpIndexGenerator
    from substrafl.strategies import FedAvg

    from helpers.algorithms import TFFedAvgAlgo
    from helpers.data import ChestXrayDataset
    from helpers.evaluation import auc
    from helpers.local_mode import Federation
    from helpers.models import build_cnn

    if arm == "imports":
        return {}
    algo = TFFedAvgAlgo(
        model=functools.partial(build_cnn, work.size, work.filters),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=work.batch, num_updates=work.updates),
        dataset=ChestXrayDataset,
        seed=0,
    )
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    samples = find_samples(folder, work.hospitals)
    if arm != "ours":
        with Federation(samples, fast=False) as federation:
            if arm == "simulate":
                federation.simulate(strategy, num_rounds=work.rounds)
                return {}
            plan, _ = federation.execute(strategy, num_rounds=work.rounds)
            return {"n_tasks": plan.task_count}
    # A store of its own: nothing that an earlier run has left may be used.
    with (
        tempfile.TemporaryDirectory() as store,
        Federation(samples, store=store, use_cache=False) as federation,
    ):
        federation.execute(strategy, num_rounds=work.rounds)
        tasks = federation.tasks()
    if tasks["cached"].any():
        raise RuntimeError("Expected every task to be run. Received results from the store.")
    train_s = tasks.loc[tasks["operation"] == "train", "wall"].median()
    return {"n_tasks": len(tasks), "train_s": round(float(train_s), 4)}


if __name__ == "__main__":
    print(json.dumps(run_federation(sys.argv[1], Work.from_json(sys.argv[2]), sys.argv[3])))
