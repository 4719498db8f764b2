"""SubstraFL's own PyTorch class and ours: same start, same batches, same weights."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation

torch = pytest.importorskip("torch", reason="PyTorch is not installed: no parity to show")

ROUNDS = 3
RATE, MOMENTUM = 0.1, 0.9


def build():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )


def generator():
    # 24, 12 and 18 films: batches of 5 make the last one of an epoch smaller.
    return NpIndexGenerator(batch_size=5, num_updates=6, seed=3)


class OursAlgo(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=build,
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.SGD(RATE, momentum=MOMENTUM),
            index_generator=generator(),
            dataset=ChestXrayDataset,
            seed=0,
        )


def to_torch(weights):
    kernel, bias, dense, dense_bias = weights
    return [kernel.transpose(3, 2, 0, 1), bias, dense.T, dense_bias]


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.dense = torch.nn.Linear(4, 1)

    def forward(self, x):
        return self.dense(torch.tanh(self.conv(x)).mean((2, 3)))


class TorchFilms(torch.utils.data.Dataset):
    def __init__(self, data_from_opener, is_inference):
        self.films = ChestXrayDataset(data_from_opener, is_inference)
        self.is_inference = is_inference

    def __len__(self):
        return len(self.films)

    def __getitem__(self, index):
        if self.is_inference:
            return torch.from_numpy(self.films[np.array([index])][0].transpose(2, 0, 1))
        x, y = self.films[np.array([index])]
        return torch.from_numpy(x[0].transpose(2, 0, 1)), torch.from_numpy(y[0])


def test_the_same_weights_as_torch_fed_avg_algo(tiny_samples):
    from substrafl.algorithms.pytorch import TorchFedAvgAlgo

    ours = OursAlgo()
    net = TorchNet()
    with torch.no_grad():
        for parameter, value in zip(
            net.parameters(), to_torch(ours.model.get_weights()), strict=True
        ):
            parameter.copy_(torch.from_numpy(value.copy()))
    start = [parameter.detach().numpy().copy() for parameter in net.parameters()]

    class TheirsAlgo(TorchFedAvgAlgo):
        def __init__(self):
            super().__init__(
                model=net,
                criterion=torch.nn.BCEWithLogitsLoss(),
                optimizer=torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM),
                index_generator=generator(),
                dataset=TorchFilms,
            )

    with Federation(tiny_samples, fast=False) as federation:
        our_states, _ = federation.simulate(FedAvg(algo=ours), num_rounds=ROUNDS)
        their_states, _ = federation.simulate(FedAvg(algo=TheirsAlgo()), num_rounds=ROUNDS)

    for hospital in range(3):
        last = ROUNDS + hospital * (ROUNDS + 1)
        assert our_states.round_idx[last] == their_states.round_idx[last] == ROUNDS
        ours_now = to_torch(our_states.state[last].algo.model.get_weights())
        theirs_now = [p.detach().numpy() for p in their_states.state[last].algo.model.parameters()]
        for mine, theirs, before in zip(ours_now, theirs_now, start, strict=True):
            assert np.abs(theirs - before).max() > 1e-3
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)
