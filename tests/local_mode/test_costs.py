"""Costs of local mode: counts against SubstraFL's own plans, schedules against ones by hand."""

import numpy as np
import pandas as pd
import pytest
from substrafl import nodes
from substrafl.algorithms import Algo
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.remote import remote_data
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import StrategyName

from helpers.evaluation import auc
from helpers.local_mode.costs import (
    average_costs,
    count_tasks,
    predict_tasks,
    sum_costs,
    tidy_costs,
)
from helpers.results import COLUMNS as TIDY

COLUMNS = [
    "task", "round", "hospital", "operation", "rank", "cached", "ready", "start", "end", "wall",
    "cpu", "peak_memory", "received", "sent", "waited_for",
]  # fmt: skip
# Seconds and bytes of the tests by hand.
WALL = {"initialize": 1.0, "train": 4.0, "aggregate": 2.0, "evaluate": 3.0}
SENT = {"initialize": 0, "train": 100, "aggregate": 90, "evaluate": 0}


class NoAlgo(Algo):
    """An algorithm that only serves to write plans down."""

    model = None
    strategies = (StrategyName.FEDERATED_AVERAGING,)

    @remote_data
    def train(self, data_from_opener, shared_state=None):
        """Never called."""

    def predict(self, data_from_opener, shared_state=None):
        """Never called."""

    def save_local_state(self, path):
        """Never called."""

    def load_local_state(self, path):
        """Never called."""


def edges_of_substrafl(trains, tests, n_rounds, eval_every):
    """Write SubstraFL's plan down as a set of tasks with what each takes from whom."""
    strategy = FedAvg(algo=NoAlgo(), metric_functions={"auc": auc})
    train_nodes = [nodes.TrainDataNode(name, "opener", ["films"]) for name in trains]
    test_nodes = [nodes.TestDataNode(name, "opener", ["films"]) for name in tests]
    aggregation_node = nodes.AggregationNode(trains[0])
    evaluation = EvaluationStrategy(test_nodes, eval_frequency=eval_every) if tests else None
    if evaluation:
        evaluation.num_rounds = n_rounds
    strategy.build_compute_plan(train_nodes, aggregation_node, evaluation, n_rounds)
    tasks = {node.init_task["task_id"]: (node.init_task, "initialize") for node in train_nodes}
    for operation, of_kind in {
        "train": train_nodes,
        "aggregate": [aggregation_node],
        "evaluate": test_nodes,
    }.items():
        tasks |= {task["task_id"]: (task, operation) for node in of_kind for task in node.tasks}

    def name(key):
        task, operation = tasks[key]
        return f"{operation} {task['metadata']['round_idx']} {task['worker']}"

    return {
        name(key): {
            (name(entry["parent_task_key"]), entry["parent_task_output_identifier"])
            for entry in task["inputs"]
            if entry["parent_task_key"]
        }
        for key, (task, _) in tasks.items()
    }


def measure(trains, tests=(), **columns):
    """Make the table of one round, as if it had been measured."""
    rows = [(0, name, "initialize") for name in trains]
    rows += [(number, name, "train") for number in (0, 1) for name in trains]
    rows += [(1, trains[0], "aggregate")]
    rows += [(number, name, "evaluate") for number in (0, 1) for name in tests]
    table = pd.DataFrame(rows, columns=["round", "hospital", "operation"])
    return table.assign(
        wall=table["operation"].map(WALL),
        sent=table["operation"].map(SENT),
        cpu=0.5,
        peak_memory=np.nan,
        cached=False,
        **columns,
    )


CASES = [
    (("A",), ("A",), 1, 1),
    (("A", "B"), ("A", "B"), 3, 1),
    (("A", "B"), ("A", "B"), 3, 2),
    (("B", "A", "C"), ("C", "A", "D"), 5, 3),
    (("A", "B"), (), 2, 1),
]


@pytest.mark.parametrize(("trains", "tests", "n_rounds", "eval_every"), CASES)
def test_counts_are_those_of_substrafl(trains, tests, n_rounds, eval_every):
    counts = count_tasks(len(trains), n_rounds, n_test_hospitals=len(tests), eval_every=eval_every)
    plan = edges_of_substrafl(trains, tests, n_rounds, eval_every)
    operations = [name.split()[0] for name in plan]
    assert counts == {operation: operations.count(operation) for operation in counts}
    assert sum(counts.values()) == len(plan)


@pytest.mark.parametrize(("trains", "tests", "n_rounds", "eval_every"), CASES)
def test_the_predicted_plan_is_substrafls_own(trains, tests, n_rounds, eval_every):
    plan = edges_of_substrafl(trains, tests, n_rounds, eval_every)
    measured = measure(trains, tests)
    predicted = predict_tasks(measured, n_rounds, cores=99, eval_every=eval_every)
    assert list(predicted) == COLUMNS
    assert set(predicted["task"]) == set(plan)
    # With a core for everybody, a task is ready when the last of SubstraFL's parents has ended.
    end = dict(zip(predicted["task"], predicted["end"], strict=True))
    rank = dict(zip(predicted["task"], predicted["rank"], strict=True))
    for row in predicted.itertuples():
        parents = {parent for parent, _ in plan[row.task]}
        assert row.ready == row.start == max((end[parent] for parent in parents), default=0)
        assert row.rank == 1 + max((rank[parent] for parent in parents), default=-1)
        assert row.waited_for in (parents or {""})
        readers = [output for output in plan[row.task] if output[1] == "shared"]
        assert row.received == sum(SENT[parent.split()[0]] for parent, _ in readers)


def test_one_core_takes_the_sum_of_all_tasks():
    predicted = predict_tasks(measure("AB", "AB"), 2, cores=1)
    # 2 initializations, 6 trainings, 2 aggregations, 6 evaluations
    assert predicted["end"].max() == predicted["wall"].sum() == 2 * 1 + 6 * 4 + 2 * 2 + 6 * 3
    evaluations = predicted[predicted["operation"] == "evaluate"]
    assert evaluations["start"].min() == 30  # after all that somebody waits for


def test_two_cores_follow_the_schedule_by_hand():
    predicted = predict_tasks(measure("AB", "AB"), 1, cores=2).set_index("task")
    expected = {
        "initialize 0 A": (0, 0, 1), "initialize 0 B": (0, 0, 1),
        "train 0 A": (1, 1, 5), "train 0 B": (1, 1, 5),
        "aggregate 1 A": (5, 5, 7),
        "evaluate 0 A": (1, 5, 8),  # beside the aggregation, on the core that it leaves free
        "train 1 A": (7, 7, 11), "train 1 B": (7, 8, 12),
        "evaluate 0 B": (1, 11, 14), "evaluate 1 A": (11, 12, 15), "evaluate 1 B": (12, 14, 17),
    }  # fmt: skip
    found = {row.Index: (row.ready, row.start, row.end) for row in predicted.itertuples()}
    assert found == expected
    assert predicted.loc["train 1 B", "waited_for"] == "aggregate 1 A"
    costs = sum_costs(predicted)
    assert costs["tasks"] == 11
    assert costs["wall"] == 17
    assert costs["work"] == 2 * 1 + 4 * 4 + 2 + 4 * 3
    assert costs["cpu"] == 11 * 0.5
    # Four updates are written, two of them read; the one average is read by both.
    assert costs["sent"] == 4 * 100 + 90
    assert costs["received"] == 2 * 100 + 2 * 90


def test_costs_are_averaged_by_operation():
    found = average_costs(predict_tasks(measure("AB", "AB"), 1, cores=2))
    assert found["tasks"].to_dict() == {"initialize": 2, "train": 4, "aggregate": 1, "evaluate": 4}
    assert found["wall"].to_dict() == WALL
    assert found.loc["evaluate", "waiting"] == (4 + 10 + 1 + 2) / 4  # of the schedule by hand
    assert found.loc["train", ["received", "sent"]].tolist() == [2 * 90 / 1e6, 4 * 100 / 1e6]


def test_costs_get_the_columns_of_other_results_and_traffic_is_by_hospital():
    predicted = predict_tasks(measure("AB", "AB"), 1, cores=2)
    found = tidy_costs(predicted, arm="predicted", seed=3)
    assert list(found) == list(TIDY)
    assert found[["seed", "round", "arm", "split"]].drop_duplicates().to_numpy().tolist() == [
        [3, 1, "predicted", "all"]
    ]
    value = found.set_index(["hospital", "metric"])["value"]
    assert value["all", "wall, s"] == 17
    assert value["all", "tasks"] == 11
    assert value["A", "sent, bytes"] == 2 * 100 + 90  # it aggregates
    assert value["B", "received, bytes"] == 90


def test_each_hospital_keeps_its_own_mean_and_recalled_tasks_do_not_count():
    measured = measure("AB")
    of_b = (measured["hospital"] == "B") & (measured["operation"] == "train")
    measured.loc[of_b, "wall"] = [0.0, 7.0]
    measured.loc[of_b, "cached"] = [True, False]
    predicted = predict_tasks(measured, 3, cores=2).set_index("task")["wall"]
    assert predicted["train 2 A"] == 4
    assert predicted["train 2 B"] == 7


def test_first_and_later_trainings_are_predicted_apart():
    measured = measure("AB", "AB")
    of_train = measured["operation"] == "train"
    measured.loc[of_train & (measured["round"] == 0), "wall"] = 10.0  # traces the network
    measured.loc[of_train & (measured["round"] == 1), "wall"] = 5.0
    predicted = predict_tasks(measured, 100, cores=1)
    trainings = predicted[predicted["operation"] == "train"].set_index(["round", "hospital"])[
        "wall"
    ]
    assert (trainings[0] == 10).all()
    assert (trainings.drop(0) == 5).all()
    # 2 initializations, 2 first and 200 later trainings, 100 aggregations, 202 evaluations
    assert predicted["end"].max() == 2 * 1 + 2 * 10 + 200 * 5 + 100 * 2 + 202 * 3
    # The mean of all measured trainings would have predicted 202 * 7.5 for 1,020 seconds of them.
    again = predict_tasks(predicted, 100, cores=1)
    assert again["end"].max() == predicted["end"].max()


def test_more_hospitals_are_copies_and_fewer_are_the_first():
    predicted = predict_tasks(measure("AB", "AC"), 1, cores=1, n_hospitals=5)
    assert set(predicted["hospital"]) == {"A", "B", "A 2", "B 2", "A 3", "C"}
    tested = predicted.loc[predicted["operation"] == "evaluate", "hospital"]
    assert set(tested) == {"A", "A 2", "A 3", "C"}
    assert predicted.set_index("task").loc["aggregate 1 A", "received"] == 5 * 100
    predicted = predict_tasks(measure("AB", "AC"), 1, cores=1, n_hospitals=1)
    assert set(predicted["hospital"]) == {"A", "C"}


def test_a_round_can_be_predicted_from_a_prediction():
    first = predict_tasks(measure("ABC", "AB"), 2, cores=2)
    again = predict_tasks(first, 2, cores=2)
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_hospitals": 0, "n_rounds": 1}, r"Expected n_hospitals to be at least 1\. Received 0"),
        ({"n_hospitals": 2, "n_rounds": 0}, r"Expected n_rounds to be at least 1\. Received 0"),
        (
            {"n_hospitals": 2, "n_rounds": 1, "eval_every": 2},
            r"Expected eval_every to be between 1 and 1\. Received 2",
        ),
        (
            {"n_hospitals": 2, "n_rounds": 1, "n_test_hospitals": -1},
            r"Expected n_test_hospitals to be at least 0\. Received -1",
        ),
    ],
)
def test_counts_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        count_tasks(**arguments)


def test_what_was_not_measured_is_named():
    with pytest.raises(TypeError, match=r"Expected n_rounds to be an integer\. Received 1\.5"):
        predict_tasks(measure("AB"), 1.5, cores=1)
    with pytest.raises(ValueError, match=r"Expected cores to be at least 1\. Received 0"):
        predict_tasks(measure("AB"), 1, cores=0)
    with pytest.raises(ValueError, match=r"none that ran of \[\('train', 'A'\).*use_cache=False"):
        predict_tasks(measure("A").assign(cached=lambda t: t["operation"] == "train"), 1, cores=1)
    with pytest.raises(ValueError, match=r"no \['aggregate'\] task"):
        predict_tasks(measure("A").query("operation != 'aggregate'"), 1, cores=1)
