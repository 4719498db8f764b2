"""Private training: exact clipping, the noise's distribution, the same in NumPy, errors."""

import copy

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from substrafl import nodes
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.exceptions import IndexGeneratorSampleNoneError
from substrafl.index_generator import NpIndexGenerator
from substrafl.nodes.schemas import OutputIdentifiers
from substrafl.strategies import FedAvg

from helpers.algorithms import DPSGD, PoissonIndexGenerator, TFFedAvgAlgo, gradient_lengths
from helpers.algorithms.privacy import NoisedGradients
from helpers.data import ChestXrayDataset, PatientDataset

RATE, ROUNDS, MU = 0.05, 2, 0.5


def settings(linear, *, clip_norm=1.0, noise=0.0, seed=0, **changes):
    """Settings of a private algorithm that repeats its batches."""
    generator = PoissonIndexGenerator(batch_size=5, num_updates=4, seed=3)
    privacy = DPSGD(clip_norm, noise, seed=seed)
    return linear(privacy=privacy, **{"index_generator": generator} | changes)


def train(algo, data):
    return algo.train(data_from_opener=data, shared_state=None, _skip=True).parameters_update


def private_round_in_numpy(images, labels, generator, start, clip_norm, mu):
    """Abadi et al. 2016, Algorithm 1, without noise, and the proximal term after clipping."""
    weights = start.copy()
    generator.reset_counter()
    for batch in generator:
        design = np.hstack([images[batch], np.ones((len(batch), 1))])
        each = 2 * (design @ weights - labels[batch])[:, None] * design
        norms = np.linalg.norm(each, axis=1, keepdims=True)
        clipped = each * np.minimum(1, clip_norm / norms)
        weights -= RATE * (clipped.sum(0) / 5 + mu * (weights - start))
    return weights - start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip_norm", "mu", "unit"),
    [(0.5, MU, "sample"), (1e6, 0.0, "sample"), (0.5, 0.0, "patient")],
)
def test_the_papers_algorithm(run_rounds, linear, films, weights, clip_norm, mu, unit):
    changes = {"proximal_mu": mu}
    if unit == "patient":  # the films name no patient, so that each is one of its own
        changes = {"dataset": PatientDataset}
    privacy = DPSGD(clip_norm, 0.0, seed=0, unit=unit)
    algo = TFFedAvgAlgo(**settings(linear, **changes) | {"privacy": privacy})
    x = weights(algo)
    shares = np.array([len(labels) for _, labels in films]) / sum(len(y) for _, y in films)
    generators = [PoissonIndexGenerator(5, 4, seed=3) for _ in films]
    for generator, (_, labels) in zip(generators, films, strict=True):
        generator.n_samples = len(labels)
    for _ in range(ROUNDS):
        updates = [
            private_round_in_numpy(*of_hospital, generator, x, clip_norm, mu)
            for of_hospital, generator in zip(films, generators, strict=True)
        ]
        x = x + np.tensordot(shares, updates, 1)
    for found in run_rounds(FedAvg(algo=algo), ROUNDS):
        np.testing.assert_allclose(weights(found), x, rtol=0, atol=1e-6)


def patient_round_in_numpy(images, labels, patients, generator, start, clip_norm):
    """The same by patient: the mean gradient of a patient's films is clipped as one."""
    weights = start.copy()
    names = list(dict.fromkeys(patients))
    generator.n_samples = len(names)
    generator.reset_counter()
    for batch in generator:
        total = np.zeros_like(weights)
        for number in batch:
            own = np.array(patients) == names[number]
            design = np.hstack([images[own], np.ones((own.sum(), 1))])
            mean = (2 * (design @ weights - labels[own])[:, None] * design).mean(0)
            total += mean * min(1, clip_norm / np.linalg.norm(mean))
        weights -= RATE * total / 5
    return weights - start


@pytest.mark.parametrize("clip_norm", [0.5, 1e6])
def test_the_films_of_a_patient_are_clipped_together(linear, data, weights, clip_norm):
    patients = ["a", "b", "a", "c", "a", "b", "d", "e", "f", "f"]
    metadata = pd.DataFrame({"patient": patients})
    privacy = DPSGD(clip_norm, 0.0, unit="patient", seed=0)
    algo = TFFedAvgAlgo(**settings(linear, dataset=PatientDataset) | {"privacy": privacy})
    start = weights(algo)
    rows = data["images"].reshape(10, -1) / 255.0
    expected = patient_round_in_numpy(
        rows, data["labels"], patients, PoissonIndexGenerator(5, 4, seed=3), start, clip_norm
    )
    found = train(algo, data | {"metadata": metadata})
    np.testing.assert_allclose(np.concatenate([f.ravel() for f in found]), expected, atol=1e-6)
    assert algo.predict(data).shape == (10, 1)


class Everybody(PoissonIndexGenerator):
    """All take part, so that two trainings differ by one patient and by nothing else."""

    def __next__(self):
        super().__next__()
        return np.arange(self.n_samples)


def test_a_patient_moves_the_sum_by_no_more_than_the_clipping_norm(linear, data):
    """One more patient with six films changes an update by C / B, as one more film does."""
    films = data | {"images": np.repeat(data["images"], 6, axis=0), "labels": np.ones(60, int)}
    names = np.repeat(np.arange(10).astype(str), 6)

    def moved(unit, dataset, keep):
        part = {name: films[name][keep] for name in ("images", "labels")}
        part["metadata"] = pd.DataFrame({"patient": names[keep]})
        generator = Everybody(5, 1, seed=3)
        privacy = DPSGD(0.5, 0.0, unit=unit, seed=0)
        algo = TFFedAvgAlgo(**linear(privacy=privacy, index_generator=generator, dataset=dataset))
        return np.concatenate([f.ravel() for f in train(algo, part)])

    everybody, without = np.ones(60, bool), names != "9"
    unit = RATE * 0.5 / 5
    for name, dataset, times in (("sample", ChestXrayDataset, 6), ("patient", PatientDataset, 1)):
        change = moved(name, dataset, everybody) - moved(name, dataset, without)
        assert np.linalg.norm(change) == pytest.approx(times * unit, rel=0.02)


def gradients(noised, x, variables, batch_size=4.0):
    """Gradients of a linear function: that of a film is the film itself."""

    def loss_of(film):
        return sum(
            tf.reduce_sum(variable * part) for variable, part in zip(variables, film, strict=True)
        )

    step = tf.function(
        lambda *parts: noised(lambda film: loss_of(film), variables, (parts,), batch_size),
        autograph=False,
    )
    return [part.numpy() for part in step(*x)[1]]


def test_each_film_is_clipped_over_all_weights_together(rng):
    x = [rng.normal(size=(6, 3, 2)).astype("float32"), rng.normal(size=(6, 4)).astype("float32")]
    x = [
        part * np.float32([0, 0.01, 0.1, 1, 10, 1e4]).reshape(-1, *[1] * (part.ndim - 1))
        for part in x
    ]
    variables = [keras.Variable(np.zeros(part.shape[1:])) for part in x]
    rows = np.hstack([part.reshape(6, -1) for part in x]).astype(float)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    expected = (rows * np.minimum(1, 1.5 / np.maximum(norms, 1e-30))).sum(0) / 4
    found = gradients(NoisedGradients(DPSGD(1.5, 0.0)), x, variables)
    np.testing.assert_allclose(np.concatenate([f.ravel() for f in found]), expected, atol=1e-6)


def test_noise_has_its_deviation_and_is_never_used_twice():
    size, deviation = 100_000, 3.0 * 0.5
    variables = [keras.Variable(np.zeros(size)), keras.Variable(np.zeros((2, 3)))]
    none = [np.zeros((0, size), "float32"), np.zeros((0, 2, 3), "float32")]
    noised = NoisedGradients(DPSGD(0.5, 3.0))
    noised.memory.assign([7, 0])
    first, second = (4 * gradients(noised, none, variables)[0] for _ in range(2))
    for noise in (first, second):  # five standard errors
        assert abs(noise.mean()) < 5 * deviation / np.sqrt(size)
        assert abs(noise.var() / deviation**2 - 1) < 5 * np.sqrt(2 / size)
        assert abs((noise**4).mean() / deviation**4 - 3) < 5 * np.sqrt(96 / size)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(size)
    noised.memory.assign([7, 1])
    np.testing.assert_array_equal(4 * gradients(noised, none, variables)[0], second)


def test_noise_goes_on_after_a_pause_and_differs_between_hospitals(linear, data, tmp_path):
    algo = TFFedAvgAlgo(**settings(linear, noise=1.0))
    other = copy.deepcopy(algo)
    rounds = [train(algo, data)]
    algo.save_local_state(tmp_path / "state")
    again = TFFedAvgAlgo(**settings(linear, noise=1.0)).load_local_state(tmp_path / "state")
    rounds += [train(algo, data)]
    np.testing.assert_equal(train(again, data), rounds[1])
    elsewhere = train(other, data | {"images": 255 - data["images"]})
    for one in (rounds[1], elsewhere):
        assert np.abs(one[0] - rounds[0][0]).min() > 0
    np.testing.assert_equal(train(TFFedAvgAlgo(**settings(linear, noise=1.0)), data), rounds[0])


def test_without_a_seed_every_hospital_draws_its_own_secret(linear, data):
    algo = TFFedAvgAlgo(
        **settings(linear, noise=1.0, seed=None, index_generator=PoissonIndexGenerator(5, 4))
    )
    one, other = copy.deepcopy(algo), copy.deepcopy(algo)
    assert np.abs(train(one, data)[0] - train(other, data)[0]).min() > 0
    keys = {int(one._noised_gradients.memory.numpy()[0]) for one in (algo, one, other)}
    assert len(keys) == 3
    assert algo._noised_gradients.memory.numpy().tolist() == [0, 0]
    assert one._noised_gradients.memory.numpy()[1] == 4


def test_whoever_tests_may_read_the_local_states_that_hold_the_secrets(linear):
    # As page and docstrings say. Should SubstraFL allow less one day, they say too much.
    trainers = [nodes.TrainDataNode(name, "opener", ["sample"]) for name in ("A", "B")]
    testers = [nodes.TestDataNode(name, "opener", ["sample"]) for name in ("B", "C")]
    FedAvg(algo=TFFedAvgAlgo(**settings(linear))).build_compute_plan(
        trainers, nodes.AggregationNode("A"), EvaluationStrategy(testers, eval_frequency=1), 1, True
    )
    for node in trainers:
        for task in node.tasks:
            local = task["outputs"][OutputIdentifiers.local]
            assert set(local["permissions"]["authorized_ids"]) == {node.organization_id, "B", "C"}


def test_poisson_batches():
    generator = PoissonIndexGenerator(batch_size=3, num_updates=4000, seed=0)
    generator.n_samples = 30
    batches = list(generator)
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.min() == 0  # 0.9 ** 30 = 4 %
    assert abs(sizes.mean() - 3) < 5 * np.sqrt(2.7 / 4000)
    assert abs(sizes.var() - 2.7) < 0.4
    counts = np.bincount(np.concatenate(batches), minlength=30)
    assert np.abs(counts - 400).max() < 5 * np.sqrt(360)
    generator = PoissonIndexGenerator(batch_size=50, num_updates=1)
    generator.n_samples = 30
    np.testing.assert_array_equal(next(generator), np.arange(30))
    with pytest.raises(IndexGeneratorSampleNoneError, match=r"n_samples to be set"):
        next(PoissonIndexGenerator(3, 1))
    with pytest.raises(ValueError, match=r"batch_size of at least 1. Received 0"):
        PoissonIndexGenerator(0, 1)


def test_an_empty_batch_is_noise_alone(linear, data):
    class Empty(PoissonIndexGenerator):
        def __next__(self):
            return super().__next__()[:0]

    quiet = TFFedAvgAlgo(**settings(linear, index_generator=Empty(5, 4)))
    assert max(np.abs(part).max() for part in train(quiet, data)) == 0
    noisy = TFFedAvgAlgo(**settings(linear, noise=1.0, index_generator=Empty(5, 4)))
    assert np.abs(train(noisy, data)[0]).min() > 0


class _Weighted(ChestXrayDataset):
    def __getitem__(self, indices):
        batch = super().__getitem__(indices)
        return batch if self._is_inference else (*batch, np.full(len(indices), 2.0, "float32"))


def test_weights_of_films_count_before_clipping(linear, data):
    plain, heavy, clipped = (
        train(TFFedAvgAlgo(**settings(linear, clip_norm=norm, dataset=dataset)), data)
        for norm, dataset in ((1e6, ChestXrayDataset), (1e6, _Weighted), (1e-3, _Weighted))
    )
    assert np.abs(heavy[0] - plain[0]).max() > 1e-3
    bound = 4 * RATE * 10 / 5 * 1e-3  # updates, rate, all films in every batch
    assert 0 < np.linalg.norm(np.concatenate([part.ravel() for part in clipped])) <= bound


def build_with_batch_norm():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )


def test_batch_norm_is_refused_unless_it_is_replaced_or_frozen(linear, data):
    with pytest.raises(ValueError, match=r"without BatchNorm.*Received norm: use GroupNorm"):
        TFFedAvgAlgo(**settings(linear, model=build_with_batch_norm))
    for choice in ("group", "frozen"):
        algo = TFFedAvgAlgo(**settings(linear, model=build_with_batch_norm, batch_norm=choice))
        assert np.abs(train(algo, data)[0]).max() > 0
    assert "DPSGD(clip_norm=1.0" in algo.summary()["privacy"]


def test_what_cannot_be_accounted_is_refused(linear, data):
    with pytest.raises(ValueError, match=r"Received NpIndexGenerator"):
        TFFedAvgAlgo(**settings(linear, index_generator=NpIndexGenerator(5, 4)))
    with pytest.raises(ValueError, match=r"privacy=DPSGD.*Received None: set noise_multiplier=0"):
        TFFedAvgAlgo(**linear(index_generator=PoissonIndexGenerator(5, 4)))
    with pytest.raises(TypeError, match=r"DPSGD\(clip_norm, noise_multiplier\)\. Received float"):
        TFFedAvgAlgo(**linear(privacy=1.0))
    for numbers in ((0, 1), (np.inf, 1), (np.nan, 1)):
        with pytest.raises(ValueError, match=r"positive, finite clip_norm"):
            DPSGD(*numbers)
    with pytest.raises(ValueError, match=r"unit 'sample' or 'patient'. Received 'hospital'"):
        DPSGD(1, 1, unit="hospital")
    for noise in (-1, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"finite noise_multiplier of 0 or more"):
            DPSGD(1, noise)

    class Careless(TFFedAvgAlgo):
        def _local_train(self, train_dataset):
            for _ in self._index_generator:
                self.model.set_weights([w + 1 for w in self.model.get_weights()])

    with pytest.raises(ValueError, match=r"Expected 4 private updates.*Received 0"):
        train(Careless(**settings(linear)), data)


def test_lengths_of_gradients_by_hand():
    images = np.array([[[[51]]], [[[255]]]], dtype=np.uint8)  # 0.2 and 1
    opened = {"images": images, "labels": np.array([0, 1])}
    model = keras.Sequential([keras.Input((1, 1, 1)), layers.Flatten(), layers.Dense(1)])
    model.set_weights([np.array([[2.0]]), np.array([0.5])])
    dataset = ChestXrayDataset(opened, is_inference=False)
    # Half the squared error has the gradient (p - y) (x, 1).
    lengths = gradient_lengths(model, lambda y, p: tf.reduce_sum((p - y) ** 2) / 2, dataset)
    expected = [abs(2 * x + 0.5 - y) * (x**2 + 1) ** 0.5 for x, y in ((0.2, 0), (1, 1))]
    assert lengths == pytest.approx(expected, rel=1e-5)
