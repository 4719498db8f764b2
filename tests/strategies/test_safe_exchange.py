"""SafeExchange through real tasks and in simulation: same numbers, and what is refused."""

import pickle

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.algorithms.algo import Algo
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state, download_train_shared_state
from substrafl.remote import remote_data
from substrafl.strategies import FedAvg, FedPCA, NewtonRaphson, Scaffold, SingleOrganization
from substrafl.strategies.schemas import FedAvgSharedState, StrategyName

from helpers.algorithms import (
    TFCyclicAlgo,
    TFFedAvgAlgo,
    TFFedPCAAlgo,
    TFNewtonRaphsonAlgo,
    TFScaffoldAlgo,
    TFSingleOrganizationAlgo,
)
from helpers.data import ChestXrayDataset
from helpers.exchange import CompactArray, Float16, Int8, TopK, UpdateError, pack_state
from helpers.local_mode import Federation
from helpers.local_mode.spawner import TaskError
from helpers.models import build_cnn
from helpers.strategies import CyclicTransfer, FedMedian, Participation, SafeExchange, find_refused
from helpers.strategies.participation import draw_participants

FAULTY = 12  # hospital B's number of films


def build_linear():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])


def settings(**changes):
    return {
        "model": build_linear,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(0.05),
        "index_generator": NpIndexGenerator(batch_size=5, num_updates=2, seed=3),
        "dataset": ChestXrayDataset,
        "seed": 0,
    } | changes


def value(data_from_opener, predictions):
    return float(np.sum(predictions, dtype=np.float64))


METRICS = {"value": value}
RUN = {"num_rounds": 1, "test_on": ["A"]}


def values(scores):
    """List the scores, round by round; tasks end in an order of their own."""
    return scores.sort_values(["round", "hospital"])["value"].tolist()


def newton():
    return TFNewtonRaphsonAlgo(
        model=build_linear,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        batch_size=5,
        dataset=ChestXrayDataset,
        l2_coeff=0.1,
        seed=0,
    )


STRATEGIES = {
    "FedAvg": lambda: FedAvg(TFFedAvgAlgo(**settings()), METRICS),
    "Scaffold": lambda: Scaffold(TFScaffoldAlgo(**settings()), metric_functions=METRICS),
    "NewtonRaphson": lambda: NewtonRaphson(newton(), 0.8, METRICS),
    "FedPCA": lambda: FedPCA(TFFedPCAAlgo(ChestXrayDataset, 64, 2, seed=1), METRICS),
}
OURS = {
    "FedMedian": lambda: FedMedian(TFFedAvgAlgo(**settings()), METRICS),
    "Participation": lambda: Participation(FedAvg(TFFedAvgAlgo(**settings()), METRICS), 0.5),
    "CyclicTransfer": lambda: CyclicTransfer(TFCyclicAlgo(**settings()), METRICS),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.stress] * (name != "FedAvg")) for name in STRATEGIES],
)
def test_wrapped_strategies_give_the_same_bits(tiny_samples, name):
    make, num_rounds = STRATEGIES[name], {"FedPCA": 3, "NewtonRaphson": 1}.get(name, 2)
    run = {"num_rounds": num_rounds, "test_on": ["A"], "eval_every": num_rounds}
    with Federation(tiny_samples) as federation:
        _, expected = federation.simulate(make(), **run)
        _, simulated = federation.simulate(SafeExchange(make()), **run)
        plan, executed = federation.execute(SafeExchange(make()), **run)
        with pytest.raises(pickle.UnpicklingError):
            _load_pickle(federation, plan)
    assert expected["value"].abs().min() > 0
    for found in (simulated, executed):
        assert values(found) == values(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_our_own_strategies_can_be_wrapped_too(tiny_samples, name):
    with Federation(tiny_samples) as federation:
        _, expected = federation.simulate(OURS[name](), num_rounds=2)
        _, found = federation.simulate(SafeExchange(OURS[name]()), num_rounds=2)
    assert values(found) == values(expected)


def _load_pickle(federation, plan):
    """Try to read with pickle what the last tasks have shared."""
    client = next(iter(federation.clients.values()))
    task = max(
        client.list_task(filters={"compute_plan_key": [plan.key]}),
        key=lambda task: (task.tag == "train", task.rank),
    )
    path = client.download_model_from_task(task.key, "shared", federation.folder)
    pickle.loads(path.read_bytes())


@pytest.mark.slow
def test_a_single_organization_can_be_wrapped_too(tiny_samples):
    with Federation(tiny_samples) as federation:

        def make():
            return SingleOrganization(TFSingleOrganizationAlgo(**settings()), METRICS)

        run = {"train_on": ["A"], "num_rounds": 2}
        _, expected = federation.simulate(make(), **run)
        _, found = federation.execute(SafeExchange(make()), **run)
    assert values(found) == values(expected)


def make_sender():
    """Make an algorithm whose hospital with 12 films sends what ``fault`` says from round 1 on."""

    class Sender(Algo):
        def __init__(self, fault):
            super().__init__(fault=fault)
            self.fault, self.weights, self.round = fault, np.zeros(2), 0

        strategies = property(lambda self: [StrategyName.FEDERATED_AVERAGING])
        model = property(lambda self: self.weights)

        @remote_data
        def train(self, data_from_opener, shared_state=None):
            n = len(data_from_opener["labels"])
            update = np.full(2, float(n))
            if shared_state is not None:
                self.weights = self.weights + shared_state.avg_parameters_update[0]
                self.round += 1
            if n == 12 and self.round == 1:
                update = {
                    "nan": np.array([1, np.nan]),
                    "shape": np.ones(3),
                    "dtype": np.ones(2, np.float32),
                    "large": -100 * update,
                    "none": update,
                }.get(self.fault, update)
                n = {"count": 10**6, "zero": 0}.get(self.fault, n)
            return FedAvgSharedState(n_samples=n, parameters_update=[update])

        def predict(self, data_from_opener, shared_state=None):
            return self.weights

        def save_local_state(self, path):
            path.write_bytes(pickle.dumps((self.weights, self.round)))

        def load_local_state(self, path):
            self.weights, self.round = pickle.loads(path.read_bytes())
            return self

    return Sender


FAULTS = {
    "nan": r"parameters_update/0: 1 of 2 values are not finite",
    "shape": r"parameters_update/0: expected shape \(2,\) and float64.*received \(3,\)",
    "dtype": r"parameters_update/0: expected shape \(2,\) and float64.*float32",
    "large": r"parameters_update: expected a norm of at most 10 times",
    "count": r"expected at most 1000 times the others' n_samples .*received 1000000",
    "zero": r"expected n_samples from 1 .*received 0",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_hospital_stops_the_simulation(tiny_samples, fault):
    strategy = SafeExchange(FedAvg(make_sender()(fault), METRICS))
    with Federation(tiny_samples) as federation:
        faulty = federation.train_nodes("B")[0].organization_id
        with pytest.raises(UpdateError, match=FAULTS[fault]) as caught:
            federation.simulate(strategy, num_rounds=2)
    assert [f.organization for f in caught.value.faults] == [faulty]


@pytest.mark.slow
def test_a_faulty_hospital_stops_the_tasks_or_is_left_out(tiny_samples, caplog):
    make = make_sender()
    without = (24 * 24 + 18 * 18) / 42
    mean = (24 * 24 + 12 * 12 + 18 * 18) / 54
    with Federation(tiny_samples) as federation:
        with pytest.raises(TaskError, match=FAULTS["nan"]):
            federation.execute(SafeExchange(FedAvg(make("nan"), METRICS)), num_rounds=2)
        strategy = SafeExchange(FedAvg(make("nan"), METRICS), on_fault="skip")
        plan, executed = federation.execute(strategy, num_rounds=3)
        _, simulated = federation.simulate(strategy, num_rounds=3)
        client = next(iter(federation.clients.values()))
        refused = find_refused(client, plan.key)
        faulty = federation.train_nodes("B")[0].organization_id
    assert values(executed) == values(simulated)
    found = executed.groupby("round")["value"].first().tolist()
    np.testing.assert_allclose(
        found, np.cumsum([0, 2 * mean, 2 * without, 2 * mean]), rtol=1e-12, atol=0
    )
    assert refused[["round", "hospital", "tensor"]].values.tolist() == [
        [2, faulty, "parameters_update/0"]
    ]
    assert f"Left out of the aggregation of round 2: {faulty}, parameters_update/0" in caplog.text


def test_when_nothing_is_left_the_run_stops(tiny_samples):
    strategy = SafeExchange(FedAvg(make_sender()("shape"), METRICS), on_fault="skip")
    with Federation(tiny_samples) as federation:
        # Of two that differ nobody can say who is right.
        with pytest.raises(UpdateError, match=r"(?s)Refused 2 updates.*no shape is that of most"):
            federation.simulate(strategy, train_on=["A", "B"], num_rounds=2)
        with pytest.raises(UpdateError, match=r"parameters_update/0.*not finite"):
            federation.simulate(
                SafeExchange(FedAvg(make_sender()("nan")), on_fault="skip"),
                train_on=["B"],
                num_rounds=2,
            )


def make_receiver():
    """Make a sender that can sit rounds out."""

    class Receiver(make_sender()):
        @remote_data
        def receive(self, data_from_opener, shared_state=None):
            if shared_state is not None:
                self.weights = self.weights + shared_state.avg_parameters_update[0]
            return {"None": np.array([])}

    return Receiver("none")


def test_who_bears_another_name_is_refused_and_not_the_other(tiny_samples, monkeypatch, caplog):
    strategy = SafeExchange(Participation(FedAvg(make_receiver(), METRICS), 0.67), on_fault="skip")
    with Federation(tiny_samples) as federation:
        imposter, honest = (federation.train_nodes(name)[0].organization_id for name in "AB")

        def pack(state, *, organization, **settings):
            name = honest if organization == imposter else organization
            return pack_state(state, organization=name, **settings)

        monkeypatch.setattr("helpers.strategies.safe_exchange.pack_state", pack)
        federation.simulate(strategy, num_rounds=6)
    drawn = [draw_participants(3, 0.67, round_idx=round_idx) for round_idx in range(6)]
    assert any(0 in places and 1 in places for places in drawn)
    assert any(0 in places and 1 not in places for places in drawn)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == [
        f"Left out of the aggregation of round {round_idx + 1}: {imposter}: expected a state of "
        f"{imposter}, received {honest!r}"
        for round_idx, places in enumerate(drawn)
        if 0 in places
    ]


@pytest.mark.slow
def test_tasks_know_who_takes_part_too(tiny_samples):
    def make():
        return SafeExchange(Participation(FedAvg(make_receiver(), METRICS), 0.67))

    with Federation(tiny_samples) as federation:
        plan, executed = federation.execute(make(), num_rounds=4)
        _, simulated = federation.simulate(make(), num_rounds=4)
        client = next(iter(federation.clients.values()))
        tasks = client.list_task(filters={"compute_plan_key": [plan.key]})
    assert values(executed) == values(simulated)
    drawn = {tuple(draw_participants(3, 0.67, round_idx=round_idx)) for round_idx in range(4)}
    functions = {task.function.key for task in tasks if task.tag == "aggregate"}
    assert len(functions) == len(drawn) > 1


BOMBS = {
    "a sparse tensor": pack_state(
        [CompactArray("top_k", [20_000], {"indices": np.int32([0]), "values": np.float32([1])})]
    ),
    "a header": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "a pickle": pickle.dumps([]),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_whatever_is_sent_the_others_go_on(tiny_samples, monkeypatch, caplog, name):
    with Federation(tiny_samples) as federation:
        hostile = federation.train_nodes("B")[0].organization_id

        def pack(state, *, organization, **settings):
            if organization == hostile:
                return BOMBS[name]
            return pack_state(state, organization=organization, **settings)

        monkeypatch.setattr("helpers.strategies.safe_exchange.pack_state", pack)
        strategy = SafeExchange(FedAvg(make_sender()("none"), METRICS), on_fault="skip")
        _, scores = federation.simulate(strategy, num_rounds=1)
    without = (24 * 24 + 18 * 18) / 42
    assert values(scores)[-1] == pytest.approx(2 * without)
    assert f"Left out of the aggregation of round 1: {hostile}: " in caplog.text


def test_without_the_exchange_nothing_is_noticed(tiny_samples):
    with Federation(tiny_samples) as federation:
        _, scores = federation.simulate(FedAvg(make_sender()("nan"), METRICS), num_rounds=2)
    assert np.isnan(scores["value"].iloc[-1])


class Bomb:
    """A shared state whose unpickling makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def make_pickling(path):
    """Make an algorithm that writes a bomb past the exchange, as a hostile hospital would."""
    bomb = pickle.dumps(Bomb(path))

    class Hostile(make_sender()):
        def save_local_state(self, target):
            # Runs just before the shared state is written; replaces the writing of that.
            super().save_local_state(target)
            from substrafl.remote.substratools_methods import RemoteMethod

            for cls in (RemoteMethod, *RemoteMethod.__subclasses__()):
                cls.save_shared = lambda _, state, where: where and _write(where, bomb)

    def _write(where, content):
        with open(where, "wb") as file:
            file.write(content)

    return Hostile("none")


@pytest.mark.slow
def test_a_malicious_pickle_is_not_executed(tiny_samples, tmp_path):
    marker = tmp_path / "was_here"
    with Federation(tiny_samples) as federation:
        with pytest.raises(TaskError, match=r"a pickle in place of arrays; it was not opened"):
            federation.execute(SafeExchange(FedAvg(make_pickling(marker))), **RUN)
        assert not marker.exists()
        # The bomb is a real one: SubstraFL's own exchange sets it off.
        with pytest.raises(TaskError):
            federation.execute(FedAvg(make_pickling(marker)), **RUN)
        assert marker.exists()


@pytest.mark.slow
def test_only_who_tests_without_training_loads_the_local_state_of_another(tiny_samples):
    strategy = SafeExchange(FedAvg(make_sender()("none"), METRICS))
    with Federation(tiny_samples) as federation:
        plan, _ = federation.execute(strategy, train_on=["A", "B"], num_rounds=1)
        client = next(iter(federation.clients.values()))
        tasks = client.list_task(filters={"compute_plan_key": [plan.key]})
        own = {name: federation.train_nodes(name)[0].organization_id for name in tiny_samples}
    workers = {task.key: task.worker for task in tasks}
    loaded = {
        (task.worker, workers[source.parent_task_key])
        for task in tasks
        for source in task.inputs
        if source.identifier == "local"
    }
    assert loaded == {(own["A"], own["A"]), (own["B"], own["B"]), (own["C"], own["A"])}


def build_default():
    return build_cnn(16)  # of the same size whatever the films' is


class Enlarged(ChestXrayDataset):
    """Films of 8 px shown as 16 px, the fewest that the network can take."""

    def __getitem__(self, indices):
        batch = super().__getitem__(indices)
        x, *rest = batch if isinstance(batch, tuple) else (batch,)
        x = np.asarray(x).repeat(2, 1).repeat(2, 2)
        return (x, *rest) if rest else x


@pytest.mark.slow
def test_bytes_of_what_real_tasks_send(tiny_samples):
    limits = {None: 1.01, Float16(): 0.51, Int8(): 0.26}
    raw = 4 * build_default().count_params()
    assert raw == 4 * 60_641
    with Federation(tiny_samples) as federation:
        for compression, limit in limits.items():
            algo = TFFedAvgAlgo(
                **settings(model=build_default, dataset=Enlarged, compression=compression)
            )
            federation.execute(SafeExchange(FedAvg(algo)), train_on=["A"], **RUN)
            tasks = federation.tasks()
            sent = tasks.loc[(tasks["operation"] == "train") & (tasks["round"] == 1), "sent"]
            assert len(sent) == 1
            assert sent.max() <= limit * raw, (compression, sent.max() / raw)


@pytest.mark.slow
def test_sparse_updates_may_become_as_large_as_the_model(tiny_samples):
    def make():
        compression = TopK(share=0.001)
        return FedAvg(
            TFFedAvgAlgo(
                **settings(model=build_default, dataset=Enlarged, compression=compression)
            ),
            METRICS,
        )

    with Federation(tiny_samples) as federation:
        _, expected = federation.simulate(make(), **RUN)
        _, found = federation.simulate(SafeExchange(make()), **RUN)
    assert values(found) == values(expected)


@pytest.mark.slow
def test_compressed_updates_have_their_names_and_are_averaged_as_in_numpy(
    tiny_samples, films, reference_of_updates
):
    algo = TFFedAvgAlgo(**settings(compression=Int8()))
    start = np.concatenate([np.ravel(w) for w in algo.model.get_weights()])
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(FedAvg(algo), num_rounds=3)
        plan, _ = federation.execute(SafeExchange(FedAvg(algo)), num_rounds=3, eval_every=3)
        found = [download_algo_state(client, plan.key) for client in federation.clients.values()]
        algos = federation.algos(states)
        client = next(iter(federation.clients.values()))
        tasks = client.list_task(filters={"compute_plan_key": [plan.key]})
        state = download_train_shared_state(client, plan.key, round_idx=2)
    trained = [task for task in tasks if task.tag == "train"]
    assert len(trained) == 12
    # One function serves all rounds.
    assert len({task.function.key for task in trained}) == 3
    assert len({task.function.key for task in tasks if task.tag == "aggregate"}) == 1
    assert [tensor.encoding for tensor in state.parameters_update] == ["int8", "int8"]
    expected = reference_of_updates(start.astype(np.float64), 3)
    for one in [*found, *(algos[hospital, 3] for hospital in tiny_samples)]:
        weights = np.concatenate([np.ravel(w) for w in one.model.get_weights()])
        np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-6)


@pytest.fixture
def films(tiny_samples):
    """Films of each hospital as rows in [0, 1], float64, with their labels."""
    from helpers.openers.chest_xray_opener import ChestXrayOpener

    opened = [ChestXrayOpener().get_data([splits["train"]]) for splits in tiny_samples.values()]
    return [
        (data["images"].reshape(len(data["labels"]), -1) / 255.0, np.float64(data["labels"]))
        for data in opened
    ]


@pytest.fixture
def reference_of_updates(films):
    """Federated Averaging of a linear model with int8 and error feedback, in NumPy."""

    def int8(x):
        """Per tensor: 64 weights, 1 bias."""
        parts = []
        for part in (x[:64], x[64:]):
            scale = np.abs(part).max() / 127
            parts.append(np.rint(part / scale) * scale)
        return np.concatenate(parts)

    def run(weights, rounds):
        counts = np.array([len(labels) for _, labels in films])
        generators = [NpIndexGenerator(batch_size=5, num_updates=2, seed=3) for _ in films]
        for generator, count in zip(generators, counts, strict=True):
            generator.n_samples = count
        memory = [np.zeros_like(weights) for _ in films]
        for _ in range(rounds):
            sent = []
            for k, (images, labels) in enumerate(films):
                generators[k].reset_counter()
                y = weights.copy()
                for batch in generators[k]:
                    design = np.hstack([images[batch], np.ones((len(batch), 1))])
                    y -= 0.05 * 2 * design.T @ (design @ y - labels[batch]) / len(batch)
                whole = y - weights + memory[k]
                sent.append(int8(whole))
                memory[k] = whole - sent[-1]
            weights = weights + np.tensordot(counts / counts.sum(), sent, 1)
        return weights

    return run


def test_settings_are_checked():
    algo = make_sender()("none")
    with pytest.raises(ValueError, match=r"'stop' or 'skip'. Received 'ignore'"):
        SafeExchange(FedAvg(algo), on_fault="ignore")
    with pytest.raises(ValueError, match=r"norm_ratio of 1 or more. Received 0.5"):
        SafeExchange(FedAvg(algo), max_norm_ratio=0.5)
    with pytest.raises(TypeError, match=r"Expected compression such as .*Received str"):
        TFFedAvgAlgo(**settings(compression="int8"))
