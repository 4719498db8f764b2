"""SecureAggregation: the average of the strategy inside, from messages that show no update."""

import collections
import gzip
import itertools
import pickle
import tempfile
from typing import ClassVar

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from substrafl.algorithms.algo import Algo
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state
from substrafl.remote import remote_data
from substrafl.schemas import TaskType
from substrafl.strategies import FedAvg, FedPCA, Scaffold
from substrafl.strategies.schemas import FedAvgSharedState, ScaffoldSharedState, StrategyName

from helpers.algorithms import FedAdam, TFFedAvgAlgo, TFFedPCAAlgo, TFScaffoldAlgo
from helpers.data import ChestXrayDataset
from helpers.exchange import Int8
from helpers.local_mode import Federation
from helpers.strategies import (
    FedMedian,
    FedTrimmedMean,
    Metered,
    MultiKrum,
    Participation,
    SafeExchange,
    SecureAggregation,
    Traffic,
    WrappedStrategy,
)
from helpers.strategies.masked_algo import MaskedAlgo

NAMES = [f"Org{number}" for number in range(1, 17)]


class Sender(Algo):
    """Send what it was given."""

    def __init__(self, state=None, strategy=StrategyName.FEDERATED_AVERAGING):
        super().__init__(state=state, strategy=strategy)
        self.state, self.received, self._strategies = state, [], [strategy]

    strategies = property(lambda self: self._strategies)
    model = property(lambda self: None)

    @remote_data
    def train(self, data_from_opener, shared_state=None):
        self.received.append(shared_state)
        return self.state

    receive = train

    def predict(self, data_from_opener, shared_state=None):
        return np.zeros(1)

    def save_local_state(self, path):
        path.write_bytes(b"line\nof its own\n")

    def load_local_state(self, path):
        assert path.read_bytes() == b"line\nof its own\n"
        return self


def fed_avg_state(update, n_samples):
    return FedAvgSharedState(n_samples=n_samples, parameters_update=update)


def meet(states, plan="ab", rounds=2, **how):
    """Let hospitals exchange keys; return the strategy and their algorithms."""
    kind = StrategyName.FEDERATED_AVERAGING
    if isinstance(states[0], ScaffoldSharedState):
        kind = StrategyName.SCAFFOLD
    strategy = {StrategyName.SCAFFOLD: Scaffold}.get(kind, FedAvg)(Sender(strategy=kind))
    strategy = SecureAggregation(strategy, **how)
    code = {"clip": 4.0, "bits": 32, "max_films": 10_000} | how
    algos = [MaskedAlgo((Sender, (state, kind), {}), **code) for state in states]
    schedule = [list(range(len(states)))] * rounds
    public = [
        algo.make_keys(
            data_from_opener=None,
            plan=plan,
            organizations=NAMES[: len(states)],
            place=place,
            schedule=schedule,
            _skip=True,
        )
        for place, algo in enumerate(algos)
    ]
    keys = strategy.collect_keys(shared_states=public, _skip=True)
    return strategy, algos, schedule, keys


def train(algos, shared_state):
    return [
        algo.train(data_from_opener=None, shared_state=shared_state, _skip=True) for algo in algos
    ]


@settings(max_examples=40)
@given(
    st.integers(3, 5),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=3),
    st.floats(1e-3, 100),
    st.sampled_from([32, 64]),
    st.integers(0, 2**32),
)
def test_the_average_is_that_of_the_clipped_updates(n, shapes, clip, bits, seed):
    rng = np.random.default_rng(seed)
    films = rng.integers(1, 1001, n).tolist()
    updates = [[rng.normal(0, clip, shape).astype("float32") for shape in shapes] for _ in films]
    states = [fed_avg_state(*pair) for pair in zip(updates, films, strict=True)]
    strategy, algos, schedule, keys = meet(states, clip=clip, bits=bits, max_films=1000)
    found = strategy.average_masked(
        shared_states=train(algos, keys), schedule=schedule, _skip=True
    ).avg_parameters_update
    n_films = sum(films)
    bound = 1.01 * n**2 * clip * 1000 * 2.0 ** (1 - bits) / n_films
    for number, average in enumerate(found):
        tensors = [update[number].astype("float64").clip(-clip, clip) for update in updates]
        expected = np.average(tensors, axis=0, weights=films)
        assert average.shape == tuple(shapes[number])
        assert average.dtype == f"float{bits}"
        rounding = clip * (2**-23 if bits == 32 else 2**-50)
        assert np.abs(average - expected).max(initial=0) <= bound + rounding
    clipped = [sum(int((np.abs(x) > clip).sum()) for x in update) for update in updates]
    assert [algo.n_clipped for algo in algos] == clipped


def test_sixteen_hospitals_lose_less_than_a_millionth_of_the_range(rng):
    updates = rng.uniform(-4, 4, (16, 1000))
    states = [fed_avg_state([update], 64) for update in updates]
    strategy, algos, schedule, keys = meet(states)
    average = strategy.average_masked(
        shared_states=train(algos, keys), schedule=schedule, _skip=True
    ).avg_parameters_update[0]
    assert average.dtype == np.float32
    assert np.abs(average - updates.mean(axis=0)).max() <= 2**-20 * 8


def test_scaffold_masks_both_changes_and_passes_on_what_it_received(rng):
    server = [rng.normal(size=3)]
    fields = ("parameters_update", "control_variate_update")
    updates = [{field: [rng.normal(size=3)] for field in fields} for _ in range(3)]
    states = [
        ScaffoldSharedState(n_samples=10 * n, server_control_variate=server, **update)
        for n, update in enumerate(updates, 1)
    ]
    strategy, algos, schedule, keys = meet(states)
    messages = train(algos, keys)
    found = strategy.average_masked(shared_states=messages, schedule=schedule, _skip=True)
    plain = Scaffold(Sender(strategy=StrategyName.SCAFFOLD))
    expected = plain.avg_shared_states(shared_states=states, _skip=True)
    for field in ("avg_parameters_update", "server_control_variate"):
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), atol=1e-5)
    assert all(message[field][0].dtype == np.uint32 for message in messages for field in fields)


def test_messages_of_two_rounds_and_plans_differ_and_show_nothing(rng):
    updates = [[rng.normal(size=100_000).astype("float32")] for _ in range(3)]
    states = [fed_avg_state(update, 7) for update in updates]
    sent = []
    for plan in ("ab", "cd"):
        strategy, algos, schedule, keys = meet(states, plan=plan)
        rounds = [train(algos, keys), train(algos, None)]
        totals = [
            strategy.average_masked(shared_states=messages, schedule=schedule, _skip=True)
            for messages in rounds
        ]
        sent += [message["parameters_update"][0] for message in itertools.chain(*rounds)]
    first, second = (total.avg_parameters_update[0] for total in totals)
    np.testing.assert_array_equal(first, second)
    rows = np.corrcoef(np.array([*sent, *(update[0] for update in updates)], dtype=float))
    assert np.abs(rows[: len(sent)] - np.eye(len(sent), len(rows))).max() < 0.02
    plain = pickle.dumps(updates[0][0])
    assert len(pickle.dumps(sent[0])) / len(plain) == pytest.approx(1, abs=1e-3)


@pytest.fixture
def met():
    states = [fed_avg_state([np.full(4, float(n))], n) for n in (1, 2, 3)]
    return meet(states)


def test_a_missing_or_doubled_hospital_and_another_round_are_refused(met):
    strategy, algos, schedule, keys = met
    first, second = train(algos, keys), train(algos, None)

    def average(*messages):
        return strategy.average_masked(shared_states=list(messages), schedule=schedule, _skip=True)

    np.testing.assert_allclose(average(*first).avg_parameters_update, [[14 / 6] * 4], atol=1e-4)
    with pytest.raises(ValueError, match=r"Received \[0, 1\]: missing \[2\], doubled \[\]"):
        average(*first[:2])
    with pytest.raises(ValueError, match=r"missing \[2\], doubled \[1\]"):
        average(*first[:2], first[1])
    with pytest.raises(ValueError, match=r"rounds \[0, 1\], whose masks do not cancel"):
        average(*first[:2], second[2])
    with pytest.raises(ValueError, match=r"of the rounds \[7\]"):
        average(*[message | {"round": 7} for message in first])
    # A forger who corrects the round is refused, too, and so is a message of another plan.
    for forged in (second[2] | {"round": 0}, first[2] | {"n_samples": np.uint64([3])}):
        with pytest.raises(ValueError, match="Expected masks that cancel in the sum of 3"):
            average(*first[:2], forged)


def test_keys_of_another_plan_and_keys_used_twice_are_refused(met):
    strategy, algos, _, keys = met
    again = [{"sender": n, "public_key": key} for n, key in enumerate(keys["public_keys"])]
    with pytest.raises(ValueError, match=r"doubled \[1\]"):
        strategy.collect_keys(shared_states=[again[0], again[1], again[1]], _skip=True)
    twice = [*again[:2], {"sender": 2, "public_key": again[0]["public_key"]}]
    with pytest.raises(ValueError, match=r"different public keys. Received one of them twice"):
        strategy.collect_keys(shared_states=twice, _skip=True)
    replaced = keys["public_keys"].copy()
    replaced[0] = keys["public_keys"][1][::-1]
    for wrong in (replaced, keys["public_keys"][1:]):
        with pytest.raises(ValueError, match=r"this one's at place 0. Received"):
            train(algos[:1], {"public_keys": wrong})
    with pytest.raises(ValueError, match="those of another plan: a key is used once"):
        algos[0].make_keys(data_from_opener=None, _skip=True)
    with pytest.raises(ValueError, match="three hospitals or more in each round"):
        meet([FIRST["state"]] * 2)
    with pytest.raises(ValueError, match="Received one without keys"):
        train([MaskedAlgo((Sender, (), {}), 1.0, 32, 10)], None)


def test_errors_and_representations_name_no_number_of_a_hospital(met):
    state = fed_avg_state([np.array([0.125, 4711.5])], 12_345)
    _, algos, _, keys = meet([state] * 3)
    with pytest.raises(ValueError, match="raise max_films") as error:
        train(algos, keys)
    assert "12345" not in str(error.value).replace(",", "")
    state.parameters_update[0][0] = np.inf
    _, algos, _, keys = meet([state] * 3, max_films=20_000)
    with pytest.raises(ValueError, match="Expected a finite parameters_update/0") as error:
        train(algos, keys)
    assert "4711" not in str(error.value)
    assert algos[0]._party.private_key not in f"{algos[0]!r} {algos[0]._party!r} {vars(met[0])}"


def test_local_state_holds_the_keys_and_continues(met, tmp_path):
    strategy, algos, schedule, keys = met
    train(algos, keys)
    algos[1].save_local_state(tmp_path / "state")
    again = MaskedAlgo(**algos[1].kwargs).load_local_state(tmp_path / "state")
    assert again._party == algos[1]._party
    messages = train([algos[0], again, algos[2]], None)
    assert [message["round"] for message in messages] == [1, 1, 1]
    strategy.average_masked(shared_states=messages, schedule=schedule, _skip=True)
    seen = again.fingerprints
    assert list(seen) == NAMES[:3]
    assert seen == algos[0].fingerprints
    assert len(set(seen.values())) == 3


FIRST = {"state": fed_avg_state([np.zeros(2)], 1)}


@pytest.mark.parametrize("robust", [FedMedian, FedTrimmedMean, MultiKrum])
def test_strategies_that_need_every_update_are_refused(robust):
    with pytest.raises(ValueError, match=f"{robust.__name__}, which needs each hospital's update"):
        SecureAggregation(WrappedStrategy(robust(Sender())))


def test_what_cannot_be_combined_is_refused_by_name():
    plain = FedAvg(Sender())
    secure = SecureAggregation(Metered(plain, Traffic()))
    with pytest.raises(ValueError, match="Received FedPCA, which needs"):
        SecureAggregation(FedPCA(TFFedPCAAlgo(ChestXrayDataset, 64, 2, seed=1)))
    with pytest.raises(ValueError, match="Received SafeExchange inside SecureAggregation"):
        SecureAggregation(SafeExchange(plain))
    with pytest.raises(ValueError, match="Received SecureAggregation inside SecureAggregation"):
        SecureAggregation(secure)
    with pytest.raises(ValueError, match=r"SecureAggregation outside: SecureAggregation.Particip"):
        Participation(secure, 0.5)
    for check in ({"on_fault": "skip"}, {"max_norm": 1.0}, {"max_norm_ratio": 5.0}):
        with pytest.raises(ValueError, match="default limits with SecureAggregation"):
            SafeExchange(secure, **check)
    with pytest.raises(ValueError, match=r"without compression. Received one with Int8"):
        SecureAggregation(FedAvg(TFFedAvgAlgo(**tf_settings(compression=Int8()))))


def test_numbers_out_of_range_are_refused():
    for how, match in {
        ("clip", 0): "a positive, finite clip. Received 0",
        ("clip", np.inf): "a positive, finite clip",
        ("bits", 16): "bits to be 32 or 64. Received 16",
        ("max_films", 0): "max_films from 1 to",
        ("min_hospitals", 2): "of a sum of two",
    }.items():
        with pytest.raises(ValueError, match=match):
            SecureAggregation(FedAvg(Sender()), **dict([how]))


def tf_settings(**changes):
    return {
        "model": build_linear,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(0.05),
        "index_generator": NpIndexGenerator(batch_size=4, num_updates=1, seed=3),
        "dataset": ChestXrayDataset,
        "seed": 0,
    } | changes


def build_linear():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])


class TwoLayers(Algo):
    """Least squares by way of 2,048 features, without TensorFlow.

    It has 133,120 weights, so that chance correlations stay below 0.02 (seven sigma).
    """

    strategies = property(lambda self: [StrategyName.FEDERATED_AVERAGING])
    model = property(lambda self: self.weights)

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.weights = [rng.normal(0, 0.03, size).astype("f4") for size in ((64, 2048), 2048)]

    @staticmethod
    def _features(data):
        return np.asarray(data["images"], "f4").reshape(len(data["labels"]), -1) / 255

    @remote_data
    def train(self, data_from_opener, shared_state=None):
        if shared_state is not None:
            updates = shared_state.avg_parameters_update
            self.weights = [
                sum(pair).astype("f4") for pair in zip(self.weights, updates, strict=True)
            ]
        inner, outer = self.weights
        films = self._features(data_from_opener)
        errors = films @ inner @ outer - data_from_opener["labels"]
        gradients = [films.T @ np.outer(errors, outer), (films @ inner).T @ errors]
        update = [-0.01 * gradient / len(films) for gradient in gradients]
        return FedAvgSharedState(n_samples=len(films), parameters_update=update)

    def predict(self, data_from_opener, shared_state=None):
        return self._features(data_from_opener) @ self.weights[0] @ self.weights[1]

    def save_local_state(self, path):
        path.write_bytes(pickle.dumps(self.weights))

    def load_local_state(self, path):
        self.weights = pickle.loads(path.read_bytes())
        return self


def value(data_from_opener, predictions):
    return float(np.sum(predictions, dtype=np.float64))


METRICS = {"value": value}


@pytest.fixture(scope="module")
def five_samples(tiny_samples):
    """Five hospitals: two of the three have their films under two names."""
    return {name: tiny_samples[of] for name, of in zip("ABCDE", "ABCAB", strict=True)}


def test_a_plan_with_too_few_hospitals_or_one_that_only_tests_is_refused(five_samples):
    plain = FedAvg(Sender(**FIRST), METRICS)
    with Federation(five_samples) as federation:
        for run in (federation.simulate, federation.execute):
            with pytest.raises(ValueError, match=r"min_hospitals=3 hospitals.*Received 2 in round"):
                run(SecureAggregation(Participation(plain, 0.4)), num_rounds=1)
            with pytest.raises(ValueError, match=r"hospitals that test to train, too.*\['MyOrg"):
                run(SecureAggregation(plain), num_rounds=1, train_on=["A", "B", "C"])


CASES = {
    "participation": lambda: Participation(FedAvg(TFFedAvgAlgo(**tf_settings()), METRICS), 0.6),
    "proximal and FedAdam": lambda: FedAvg(
        TFFedAvgAlgo(**tf_settings(proximal_mu=0.1, server_optimizer=FedAdam(0.01))), METRICS
    ),
    "Scaffold": lambda: Scaffold(TFScaffoldAlgo(**tf_settings()), metric_functions=METRICS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_wrapped_strategies_reach_the_same_scores(tiny_samples, five_samples, name):
    run = {"num_rounds": 2, "eval_every": 2, "test_on": ["A"]}
    samples = five_samples if name == "participation" else tiny_samples
    secure = SafeExchange(SecureAggregation(CASES[name](), max_films=100))
    with Federation(samples) as federation:
        expected = federation.simulate(CASES[name](), **run)[1]["value"]
        found = federation.simulate(secure, **run)[1]["value"]
        if name == "Scaffold":
            assert federation.execute(secure, **run)[1]["value"].tolist() == found.tolist()
    assert expected.nunique() == 2
    # FedAdam divides by the size of the average, which enlarges the rounding of small ones.
    np.testing.assert_allclose(found, expected, rtol=2e-3 if "FedAdam" in name else 1e-5)


@pytest.mark.slow
def test_tasks_reach_the_plain_weights_and_no_file_of_another_shows_an_update(
    five_samples, tmp_path
):
    secure = SecureAggregation(FedAvg(TwoLayers(), METRICS), max_films=100)
    run = {"num_rounds": 6, "eval_every": 6, "test_on": ["A"]}
    plain = Recording(FedAvg(TwoLayers(), METRICS))
    with Federation(five_samples, store=tmp_path) as federation:
        expected = weights(federation.simulate(plain, **run)[0].state[-1].algo)
        states, simulated = federation.simulate(secure, **run)
        plan, executed = federation.execute(secure, **run)
        algos = [
            download_algo_state(client, plan.key, round_idx=6)
            for client in federation.clients.values()
        ]
        found = read_what_is_shared(federation.clients["A"], plan)
        functions = [gzip.decompress(p.read_bytes()) for p in federation.folder.rglob("*.tar.gz")]
        summaries = [path.read_bytes() for path in federation.folder.rglob("*.json")]
    # Six averages, each off by this at most, and rounded to float32; training adds a little.
    bound = 1.01 * 25 * 4.0 * 100 * 2.0**-31 / 90 + 2.0**-24
    assert simulated["value"].tolist() == executed["value"].tolist()
    for algo in algos:
        assert np.abs(weights(algo) - expected).max() <= 2 * 6 * bound
        np.testing.assert_array_equal(weights(algo), weights(states.state[-1].algo))
        assert algo.fingerprints == algos[0].fingerprints
    # What the aggregating hospital may read of others: no local state after the initialization.
    assert collections.Counter((kind, name) for kind, name, _ in found) == {
        (TaskType.INITIALIZATION, "local"): 4,
        ("keys", "shared"): 4 + 1,
        (TaskType.TRAIN, "shared"): 4 * 7,
        (TaskType.AGGREGATE, "shared"): 6,
    }
    updates = np.array(list(plain.updates.values()))
    directions = updates - updates.mean(axis=1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for kind, name, data in found:
        if name == "local" or kind == "keys":
            continue
        (numbers,) = numbers_in(pickle.loads(data), updates.shape[1])
        if kind == TaskType.TRAIN:
            correlations = directions @ (numbers - numbers.mean()) / np.std(numbers)
            assert np.abs(correlations).max() / np.sqrt(numbers.size) < 0.02
        else:  # the average resembles the updates, and is none of them
            assert np.abs(updates - numbers).max(axis=1).min() > 1e-6
    assert functions
    assert summaries
    everything = b"".join([*(data for *_, data in found), *functions, *summaries])
    secrets = [algo._party.private_key for algo in algos[1:]]
    assert not any(s.encode() in everything or bytes.fromhex(s) in everything for s in secrets)
    assert (tmp_path / "results").is_dir()
    assert not list((tmp_path / "results").iterdir())


class Recording(WrappedStrategy):
    """Note the updates that are sent in a simulation."""

    updates: ClassVar[dict] = {}  # of the class, as the simulation runs a copy

    def update_train_node(self, node, operation, **settings):
        local_state, state = super().update_train_node(node, operation, **settings)
        place = node.organization_id, settings["round_idx"]
        self.updates[place] = np.concatenate([x.ravel() for x in state.parameters_update])
        return local_state, state


def weights(algo):
    return np.concatenate([tensor.ravel() for tensor in algo.weights])


def read_what_is_shared(client, plan):
    """Read the results that the client's organization may read, but for its own training."""
    own = client.organization_info().organization_id
    found = []
    for task in client.list_task(filters={"compute_plan_key": [plan.key]}):
        for name, output in task.outputs.items():
            is_own = task.worker == own and task.tag != TaskType.AGGREGATE
            readable = own in output.permissions.process.authorized_ids
            if name not in ("local", "shared") or is_own or not readable:
                continue
            with tempfile.TemporaryDirectory() as folder:
                data = client.download_model_from_task(task.key, name, folder).read_bytes()
            kind = "keys" if "keys" in task.function.name else str(task.tag)
            found.append((kind, name, data))
    return found


def numbers_in(state, size):
    """List the arrays of a state that could be an update: all tensors of a field, flat."""
    fields = state if isinstance(state, dict) else vars(state)
    lists = [value for value in fields.values() if isinstance(value, list)]
    flat = [np.concatenate([np.ravel(x) for x in tensors]).astype(float) for tensors in lists]
    return [one for one in flat if one.size == size]
