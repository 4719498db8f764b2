"""Wrapped strategies: what they pass on, what they see, and that they change nothing."""

import copy

import cloudpickle
import pytest
from substrafl.algorithms.algo import Algo
from substrafl.strategies import FedAvg

from helpers.local_mode import Federation
from helpers.strategies import FedMedian, WrappedStrategy
from tests.strategies.test_robust import make_algo


class Watching(WrappedStrategy):
    """Note every operation."""

    def __init__(self, strategy):
        super().__init__(strategy)
        self.seen = []

    def update_train_node(self, node, operation, **settings):
        self.seen.append(("train", node.organization_id, settings["round_idx"]))
        return super().update_train_node(node, operation, **settings)

    def update_aggregation_node(self, node, operation, **settings):
        assert len(operation.shared_states) == 3
        self.seen.append(("aggregate", node.organization_id, settings["round_idx"]))
        return super().update_aggregation_node(node, operation, **settings)


def value(data_from_opener, predictions):
    return float(predictions[0])


def test_everything_else_is_that_of_the_strategy_inside():
    inside = FedMedian(make_algo()(), metric_functions={"value": value})
    outside = Watching(WrappedStrategy(inside))
    assert isinstance(outside.algo, Algo)
    assert outside.name == inside.name
    assert outside.metric_functions == {"value": value}
    assert outside.evaluate.__self__ is inside
    assert outside.avg_shared_states.__self__ is inside
    with pytest.raises(AttributeError, match=r"'FedMedian' object has no attribute 'nonsense'"):
        _ = outside.nonsense


def test_wrapped_strategies_can_be_copied_and_pickled():
    outside = Watching(FedAvg(make_algo()()))
    for again in (copy.deepcopy(outside), cloudpickle.loads(cloudpickle.dumps(outside))):
        assert again.name == outside.name
        assert again.algo is not outside.algo


def test_only_a_strategy_can_be_wrapped():
    with pytest.raises(TypeError, match=r"Expected a strategy to wrap.*Received ABCMeta"):
        WrappedStrategy(FedAvg)


def test_local_state_is_that_of_the_strategy_inside(tmp_path):
    outside = WrappedStrategy(FedAvg(make_algo()()))
    outside.algo.value[:] = 7
    outside.save_local_state(tmp_path / "state")
    outside.algo.value[:] = 0
    assert outside.load_local_state(tmp_path / "state") is outside
    assert (outside.algo.value == 7).all()


@pytest.mark.slow
def test_tasks_and_simulation_are_watched_and_unchanged(tiny_samples):
    def scores_of(run, strategy):
        scores = run(strategy, num_rounds=2)[1]
        return scores.sort_values(["round", "hospital"])["value"].tolist()

    with Federation(tiny_samples) as federation:
        plain = FedAvg(make_algo()(), metric_functions={"value": value})
        expected = scores_of(federation.simulate, plain)
        assert len(set(expected)) == 3
        watching = Watching(Watching(plain))
        assert scores_of(federation.simulate, watching) == expected
        assert scores_of(federation.execute, watching) == expected
        # The plan is built on a copy; build one here to see what was seen.
        nodes = federation.train_nodes()
        watching.build_compute_plan(nodes, _aggregation(nodes), None, num_rounds=1)
    names = [node.organization_id for node in nodes]
    assert watching.organizations == tuple(names)
    assert watching.seen == [
        *[("train", name, 0) for name in names],
        ("aggregate", names[0], 1),
        *[("train", name, 1) for name in names],
    ]
    assert watching._strategy.seen == watching.seen
    assert [len(node.tasks) for node in nodes] == [2, 2, 2]


def _aggregation(nodes):
    from substrafl.nodes import AggregationNode

    return AggregationNode(nodes[0].organization_id)
