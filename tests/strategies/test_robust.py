"""Robust averages: by hand, by properties, and as the aggregation of real tasks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from substrafl.exceptions import EmptySharedStatesError
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import FedAvgSharedState, StrategyName

from helpers.local_mode import Federation
from helpers.strategies import FedMedian, FedTrimmedMean, MultiKrum
from helpers.strategies.robust import choose_by_krum, coordinate_median, trimmed_mean

HONEST = np.array([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0], [4.0, -4.0]])


def make_algo():
    """Each hospital sends its number of films as its update, or nonsense if it has 12."""
    import pickle

    from substrafl.algorithms.algo import Algo
    from substrafl.remote import remote_data

    class Sender(Algo):
        def __init__(self, hostile=False):
            super().__init__(hostile=hostile)
            self.hostile, self.value = hostile, np.zeros(2)

        strategies = property(lambda self: [StrategyName.FEDERATED_AVERAGING])
        model = property(lambda self: self.value)

        @remote_data
        def train(self, data_from_opener, shared_state=None):
            if shared_state is not None:
                self.value = self.value + shared_state.avg_parameters_update[0]
            n = len(data_from_opener["labels"])
            update = np.full(2, -1e9 if self.hostile and n == 12 else float(n))
            return FedAvgSharedState(n_samples=n, parameters_update=[update])

        def predict(self, data_from_opener, shared_state=None):
            return np.full(len(data_from_opener["labels"]), self.value[0])

        def save_local_state(self, path):
            path.write_bytes(pickle.dumps(self.value))

        def load_local_state(self, path):
            self.value = pickle.loads(path.read_bytes())
            return self

    return Sender


def test_median_and_trimmed_mean_by_hand():
    np.testing.assert_array_equal(coordinate_median(HONEST), [2.5, -2.5])
    np.testing.assert_array_equal(trimmed_mean(HONEST, 0), HONEST.mean(0))
    np.testing.assert_array_equal(trimmed_mean(HONEST, 1), [2.5, -2.5])


def test_krum_by_hand():
    updates = np.array([[0.0], [1.0], [3.0], [100.0], [6.0]])
    # One may be hostile: two nearest neighbours count.
    # 0: 1+9=10; 1: 1+4=5; 3: 4+9=13; 100: 94²+97²; 6: 9+25=34
    assert choose_by_krum(updates, n_hostile=1, n_chosen=4) == [1, 0, 2, 4]
    assert choose_by_krum(updates, n_hostile=1, n_chosen=1) == [1]


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-10, 10)),
    arrays(np.float64, 3, elements=st.floats(-1e12, 1e12)),
)
def test_one_hostile_hospital_cannot_leave_the_range_of_the_others(honest, hostile):
    updates = np.vstack([honest, hostile])
    low, high = honest.min(0) - 1e-9, honest.max(0) + 1e-9
    for average in (coordinate_median(updates), trimmed_mean(updates, 1)):
        assert ((low <= average) & (average <= high)).all()


@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 10_000))
def test_krum_refuses_those_who_are_far_from_the_others(n_hostile, n_more, seed):
    rng = np.random.default_rng(seed)
    n_honest = n_hostile + 3 + n_more
    hostile = rng.normal(1e6, 1e-3, size=(n_hostile, 4))  # they agree with each other
    updates = np.vstack([hostile, rng.normal(size=(n_honest, 4))])
    chosen = choose_by_krum(updates, n_hostile, n_honest)
    assert sorted(chosen) == list(range(n_hostile, len(updates)))


def aggregate(strategy, updates, dtype=np.float64):
    states = [
        FedAvgSharedState(
            n_samples=n + 1, parameters_update=[row[:1].astype(dtype), row[1:].astype(dtype)]
        )
        for n, row in enumerate(updates)
    ]
    return strategy.avg_shared_states(shared_states=states, _skip=True).avg_parameters_update


def test_shapes_and_dtypes_are_those_of_the_updates():
    sender = make_algo()()
    average = aggregate(FedMedian(sender), HONEST, np.float32)
    assert [(a.shape, a.dtype) for a in average] == [((1,), np.float32)] * 2
    np.testing.assert_array_equal(np.concatenate(average), [2.5, -2.5])


def test_sample_counts_are_not_believed():
    sender = make_algo()()
    for strategy in (FedMedian(sender), FedTrimmedMean(sender, n_trimmed=0)):
        np.testing.assert_allclose(np.concatenate(aggregate(strategy, HONEST)), [2.5, -2.5])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (FedAvg, 24 * 24 + 12 * -1e9 + 18 * 18),
        (FedMedian, 18.0),
        (FedTrimmedMean, 18.0),
    ],
)
def test_real_tasks_with_one_hostile_hospital(tiny_samples, make, expected):
    def value(data_from_opener, predictions):
        return float(predictions[0])

    strategy = make(algo=make_algo()(hostile=True), metric_functions={"value": value})
    with Federation(tiny_samples) as federation:
        _, scores = federation.execute(strategy, num_rounds=1)
    found = scores.loc[scores["round"] == 1, "value"]
    assert len(found) == 3
    expected = expected / 54 if make is FedAvg else expected
    np.testing.assert_allclose(found, expected)


def test_settings_reach_the_aggregation_task():
    sender = make_algo()()
    strategy = MultiKrum(sender, n_hostile=1, n_chosen=2)
    assert strategy.kwargs["n_hostile"] == 1
    again = type(strategy)(*strategy.args, **strategy.kwargs)
    updates = np.array([[1.0], [1.1], [-50.0], [0.9], [1.3]]) * [1, 2]
    np.testing.assert_allclose(np.concatenate(aggregate(again, updates)), [1.05, 2.1])


def test_krum_needs_two_f_plus_three_hospitals():
    for n_hostile in range(4):
        least = 2 * n_hostile + 3
        assert choose_by_krum(np.zeros((least, 2)), n_hostile, 1) == [0]
        with pytest.raises(ValueError, match=rf"n ≥ 2f \+ 3, at least {least} hospitals"):
            choose_by_krum(np.zeros((least - 1, 2)), n_hostile, 1)


def test_faults_are_named():
    sender = make_algo()()
    with pytest.raises(ValueError, match=r"at least 5 hospitals for f = n_hostile = 1. Received 4"):
        aggregate(MultiKrum(sender), HONEST)
    with pytest.raises(ValueError, match=r"below half of the 4 hospitals. Received 2"):
        aggregate(FedTrimmedMean(sender, n_trimmed=2), HONEST)
    with pytest.raises(ValueError, match=r"n_chosen of 1 to 4.*Received 5"):
        choose_by_krum(np.zeros((5, 1)), 1, 5)
    with pytest.raises(EmptySharedStatesError):
        FedMedian(sender).avg_shared_states(shared_states=[], _skip=True)
    states = [FedAvgSharedState(n_samples=1, parameters_update=[np.zeros(size)]) for size in (2, 3)]
    with pytest.raises(ValueError, match=r"shapes \[\(2,\)\].*\[\(3,\)\] in shared state 1"):
        FedMedian(sender).avg_shared_states(shared_states=states, _skip=True)
