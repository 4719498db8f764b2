"""Torch twin: the same work with SubstraFL's own PyTorch class, in Substra's own tasks.

A script: a class that is written in a script travels with the algorithm, as a user's would, and
a task imports nothing of this package for it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from work import Work, find_samples


def build_algorithm(work: Work) -> Any:
    """Write the twin of ``TFFedAvgAlgo``: the same blocks, optimizer and batches.

    Parameters
    ----------
    work : Work
        What to do.

    Returns
    -------
    substrafl.algorithms.pytorch.TorchFedAvgAlgo
        The algorithm.
    """
    import torch
    from substrafl.algorithms.pytorch import TorchFedAvgAlgo
    from substrafl.index_generator import NpIndexGenerator

    # Tasks get plain values, not a class that they would have to import from here.
    filters, batch, updates = tuple(work.filters), work.batch, work.updates

    class Films(torch.utils.data.Dataset):
        def __init__(self, data_from_opener, is_inference):
            self.images = data_from_opener["images"]
            self.labels = data_from_opener["labels"]
            self.is_inference = is_inference

        def __len__(self):
            return len(self.images)

        def __getitem__(self, film):
            x = torch.from_numpy(self.images[film].transpose(2, 0, 1).astype(np.float32) / 255)
            return x if self.is_inference else (x, torch.tensor([float(self.labels[film])]))

    def build_network():
        layers, before = [], 1
        for number, channels in enumerate(filters, start=1):
            stride = 2 if number == 1 else 1
            layers.append(torch.nn.Conv2d(before, channels, 3, stride, padding=1))
            if number < len(filters):
                layers.append(torch.nn.MaxPool2d(2))
            layers += [torch.nn.GroupNorm(8, channels), torch.nn.ReLU()]
            before = channels
        layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.2)]
        return torch.nn.Sequential(*layers, torch.nn.Linear(before, 1))

    class Twin(TorchFedAvgAlgo):
        def __init__(self):
            torch.manual_seed(0)
            model = build_network()
            super().__init__(
                model=model,
                criterion=torch.nn.BCEWithLogitsLoss(),
                optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
                index_generator=NpIndexGenerator(batch_size=batch, num_updates=updates),
                dataset=Films,
            )

    return Twin()


def run_twin(work: Work, folder: str | Path) -> dict[str, int]:
    """Train the twin by federated averaging and evaluate every round.

    Parameters
    ----------
    work : Work
        What to do.
    folder : path
        The hospitals' films.

    Returns
    -------
    dict of str to int
        ``n_tasks`` of the compute plan.
    """
    from substrafl.strategies import FedAvg

    from helpers.evaluation import auc
    from helpers.local_mode import Federation

    # SubstraFL 1.0 calls torch.load as torch < 2.6 wants it; the tasks inherit this variable.
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    strategy = FedAvg(algo=build_algorithm(work), metric_functions={"auc": auc})
    with Federation(find_samples(folder, work.hospitals), fast=False) as federation:
        plan, _ = federation.execute(strategy, num_rounds=work.rounds)
    return {"n_tasks": plan.task_count}


if __name__ == "__main__":
    print(json.dumps(run_twin(Work.from_json(sys.argv[1]), sys.argv[2])))
