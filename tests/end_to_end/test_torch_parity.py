"""SubstraFL's own PyTorch classes and ours: same start, same batches, same weights."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import (
    FedAvg,
    FedPCA,
    NewtonRaphson,
    Scaffold,
    SingleOrganization,
)

from helpers import algorithms
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation

torch = pytest.importorskip("torch", reason="PyTorch is not installed: no parity to show")
torch_algorithms = pytest.importorskip("substrafl.algorithms.pytorch")

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


def settings():
    return {
        "model": build,
        "loss": keras.losses.BinaryCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        "index_generator": generator(),
        "dataset": ChestXrayDataset,
        "seed": 0,
    }


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


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("FedAvg", FedAvg), ("Scaffold", Scaffold), ("SingleOrganization", SingleOrganization)],
)
def test_the_same_weights_as_substrafls_torch_class(tiny_samples, name, strategy):
    ours = getattr(algorithms, f"TF{name}Algo")(**settings())
    net = TorchNet()
    with torch.no_grad():
        for parameter, value in zip(
            net.parameters(), to_torch(ours.model.get_weights()), strict=True
        ):
            parameter.copy_(torch.from_numpy(value.copy()))
    start = [parameter.detach().numpy().copy() for parameter in net.parameters()]

    class TheirsAlgo(getattr(torch_algorithms, f"Torch{name}Algo")):
        def __init__(self):
            super().__init__(
                model=net,
                criterion=torch.nn.BCEWithLogitsLoss(),
                optimizer=torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM),
                index_generator=generator(),
                dataset=TorchFilms,
            )

    alone = strategy is SingleOrganization
    samples = {"A": tiny_samples["A"]} if alone else tiny_samples
    with Federation(samples) as federation:
        our_states, _ = federation.simulate(strategy(algo=ours), num_rounds=ROUNDS)
        their_states, _ = federation.simulate(strategy(algo=TheirsAlgo()), num_rounds=ROUNDS)

    last_ones = [i for i, number in enumerate(our_states.round_idx) if number == ROUNDS]
    assert len(last_ones) == len(samples)
    for last in last_ones:
        assert their_states.round_idx[last] == ROUNDS
        ours_now = to_torch(our_states.state[last].algo.model.get_weights())
        theirs_now = [p.detach().numpy() for p in their_states.state[last].algo.model.parameters()]
        for mine, theirs, before in zip(ours_now, theirs_now, start, strict=True):
            assert np.abs(theirs - before).max() > 1e-3
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)


class TorchRows(TorchFilms):
    """Films as rows, as the linear models of the other two classes want them."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return item.flatten() if self.is_inference else (item[0].flatten(), item[1])


def last_states(tiny_samples, ours, theirs, make_strategy, rounds):
    """Simulate both; return the algorithm of the first hospital after the last round."""
    with Federation(tiny_samples) as federation:
        runs = [
            federation.simulate(make_strategy(algo), num_rounds=rounds)[0]
            for algo in (ours, theirs)
        ]
    return [run.state[run.round_idx.index(rounds)].algo for run in runs]


def test_the_same_weights_as_torch_newton_raphson_algo(tiny_samples):
    def logistic():
        return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])

    ours = algorithms.TFNewtonRaphsonAlgo(
        model=logistic,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        batch_size=5,
        dataset=ChestXrayDataset,
        l2_coeff=0.1,
        seed=0,
    )
    net = torch.nn.Linear(64, 1)
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(ours.model.get_weights()[0].T.copy()))
        net.bias.zero_()

    class TheirsAlgo(torch_algorithms.TorchNewtonRaphsonAlgo):
        def __init__(self):
            super().__init__(
                model=net,
                criterion=torch.nn.BCEWithLogitsLoss(),
                batch_size=5,
                dataset=TorchRows,
                l2_coeff=0.1,
            )

    mine, theirs = last_states(
        tiny_samples,
        ours,
        TheirsAlgo(),
        lambda algo: NewtonRaphson(algo=algo, damping_factor=0.8),
        ROUNDS,
    )
    weight, bias = mine.model.get_weights()
    assert np.abs(weight - ours.model.get_weights()[0]).max() > 0.05
    expected = theirs.model.weight.detach().numpy().T
    np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(bias, theirs.model.bias.detach().numpy(), rtol=0, atol=1e-4)


def test_the_same_component_as_torch_fed_pca_algo(tiny_samples):
    """Both draw their own start, so that what they converge to is compared, up to its sign."""

    class TheirsAlgo(torch_algorithms.TorchFedPCAAlgo):
        def __init__(self):
            super().__init__(dataset=TorchRows, in_features=64, out_features=1, batch_size=5)

    mine, theirs = last_states(
        tiny_samples,
        algorithms.TFFedPCAAlgo(ChestXrayDataset, 64, 1, batch_size=5, pooled=False),
        TheirsAlgo(),
        lambda algo: FedPCA(algo=algo),
        30,
    )
    (found,), (expected,) = mine.eigen_vectors, theirs.eigen_vectors.numpy()
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, rtol=0, atol=1e-4)
