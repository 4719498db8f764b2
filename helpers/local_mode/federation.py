"""Federation of hospitals on one machine: a client each, their data registered, their nodes.

The main page shows these steps one by one; the other pages and the tests use this module.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Self

import pandas as pd
from substra.sdk.models import ComputePlan
from substra.sdk.schemas import DataSampleSpec, DatasetSpec, Permissions
from substrafl.algorithms.algo import Algo
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.experiment import execute_experiment, simulate_experiment
from substrafl.nodes import AggregationNode, TestDataNode, TrainDataNode
from substrafl.nodes.schemas import SimuStatesMemory

import helpers
from helpers.data.arguments import check_integer
from helpers.local_mode.clean_up import remove_local_files
from helpers.local_mode.environment import task_variables
from helpers.local_mode.local_code import check_local_code
from helpers.local_mode.runner import TaskRunner
from helpers.local_mode.store import TaskStore
from helpers.local_mode.substra_internals import FolderDependency, make_clients, working_in
from helpers.openers import chest_xray_opener

_HELPERS = Path(helpers.__file__).parent
# Subpackages that no task needs: a change in them does not require tasks to run again, and every
# task unpacks fewer files.
_STAYS = (
    "attacks.py",
    "classifier",
    "deployment.py",
    "display.py",
    "exactness.py",
    "export",
    "local_mode",
    "model_folder.py",
    "plots",
    "numpy_reference",
    "results.py",
    "run",
    "serve",
    "studies.py",
    "tracking.py",
)


class Federation:
    """Hospitals with one Substra client each.

    A client owns the files of its assets: if it is garbage-collected, its files are removed and the
    next task fails. This object keeps all clients, and their files in a temporary folder that is
    removed with it. Use it in a ``with`` statement, or call :meth:`close`.

    Parameters
    ----------
    samples : dict of str to dict of str to path or list of paths
        Hospital, then split, then its sample folder or folders, as
        :func:`helpers.data.prepare_samples` returns them.
    fast : bool, default=True
        Run the tasks as :func:`helpers.local_mode.run_tasks_fast` does. If False, Substra runs
        them: a new Python process for each task, one after another, nothing stored.
    opener : path, default=the chest X-ray opener
        The opener's script. If there is a ``description.md`` next to it, Substra shows that.
    store, max_workers, time_limit, use_cache, pass_env
        As in :func:`helpers.local_mode.run_tasks_fast`. Tasks of an algorithm without a seed are
        never answered from the cache; those of a secure aggregation are not even stored.

    Attributes
    ----------
    clients : dict of str to substra.Client
        One for each hospital.
    folder : pathlib.Path
        Where Substra keeps its files while the federation exists.

    Raises
    ------
    TypeError
        If ``samples`` are not dictionaries, or a hospital's name is not text.
    ValueError
        If there is no hospital, one has no name or no split, or a folder or the opener is not
        there.
    """

    def __init__(
        self,
        samples: Mapping[str, Mapping[str, str | Path | Sequence[str | Path]]],
        *,
        fast: bool = True,
        opener: str | Path = chest_xray_opener.__file__,
        store: TaskStore | str | Path | None = None,
        max_workers: int | None = None,
        time_limit: float | None = None,
        use_cache: bool | None = None,
        pass_env: Sequence[str] = (),
    ) -> None:
        samples, opener = _list_folders(samples), _find_opener(opener)
        store = store if isinstance(store, TaskStore) else TaskStore(store)
        with contextlib.ExitStack() as stack:
            self.folder = stack.enter_context(store.run_folder())
            self.clients = make_clients(samples, self.folder)
            stack.callback(self.clients.clear)
            self._runner, self._pass_env = None, pass_env
            if fast:
                self._runner = TaskRunner(
                    self.clients,
                    store=store,
                    max_workers=max_workers,
                    time_limit=time_limit,
                    use_cache=use_cache,
                    pass_env=pass_env,
                )
                self._use_cache = self._runner.use_cache
                stack.callback(self._runner.close)
            else:
                stack.callback(remove_local_files, *self.clients.values())
            self._names = {
                client.organization_info().organization_id: hospital
                for hospital, client in self.clients.items()
            }
            description = opener.with_name("description.md")
            if not description.is_file():  # Substra would write one next to the script
                description = self.folder / "description.md"
                description.write_text(f"The opener {opener.name}.\n", encoding="utf-8")
            self._assets = {
                hospital: _register(
                    self.clients[hospital], opener, description, splits, list(self._names)
                )
                for hospital, splits in samples.items()
            }
            self._exit = stack.pop_all()

    def __enter__(self) -> Self:
        """Return the federation itself."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Remove everything that the federation left on the disk."""
        self.close()

    def close(self) -> None:
        """Remove the clients and their files."""
        self._exit.close()

    def tasks(self) -> pd.DataFrame:
        """Tabulate the costs of the tasks of the last experiment.

        Returns
        -------
        pandas.DataFrame
            One row per task, see :func:`helpers.local_mode.tabulate_tasks`.

        Raises
        ------
        ValueError
            If the tasks are left to Substra, which does not measure them.
        """
        if self._runner is None:
            raise ValueError("Expected a federation with fast=True. Received one without.")
        return self._runner.table()

    def train_nodes(self, *hospitals: str, split: str = "train") -> list[TrainDataNode]:
        """Make the nodes that train.

        Parameters
        ----------
        *hospitals : str
            Names; none means all.
        split : str, default="train"
            The split that they train on.

        Returns
        -------
        list of substrafl.nodes.TrainDataNode
            In the order of the names.

        Raises
        ------
        ValueError
            If a hospital is not known, is named twice, or does not have the split.
        """
        return [TrainDataNode(*node) for node in self._nodes(hospitals, split)]

    def test_nodes(self, *hospitals: str, split: str = "test") -> list[TestDataNode]:
        """Make the nodes that evaluate.

        Parameters
        ----------
        *hospitals : str
            Names; none means all.
        split : str, default="test"
            The split that they evaluate.

        Returns
        -------
        list of substrafl.nodes.TestDataNode
            In the order of the names.

        Raises
        ------
        ValueError
            If a hospital is not known, is named twice, or does not have the split.
        """
        return [TestDataNode(*node) for node in self._nodes(hospitals, split)]

    def execute(
        self,
        strategy: ComputePlanBuilder,
        *,
        train_on: Sequence[str] = (),
        test_on: Sequence[str] = (),
        split: str = "test",
        num_rounds: int,
        eval_every: int = 1,
        local_code: Sequence[str | Path] = (),
    ) -> tuple[ComputePlan, pd.DataFrame]:
        """Run an experiment through real tasks, each in a process of its own.

        Parameters
        ----------
        strategy : substrafl.strategies.Strategy
            The strategy with its algorithm.
        train_on, test_on : sequence of str
            Hospitals that train and that evaluate; empty means all. The first that trains also
            aggregates.
        split : str, default="test"
            The split that is evaluated.
        num_rounds : int
            Number of rounds, at least 1.
        eval_every : int, default=1
            Evaluate every so many rounds, round 0 (before training) included; at most
            ``num_rounds``.
        local_code : sequence of path, optional
            Your own files and folders that a task has to import, such as a network in a file next
            to the script. They travel with the algorithm.

        Returns
        -------
        compute_plan : substra.sdk.models.ComputePlan
            The finished compute plan; all intermediate models are kept.
        scores : pandas.DataFrame
            Columns ``round``, ``hospital``, ``metric``, ``value``; one row for each, in the order
            of the federation's hospitals and the strategy's metrics.

        Raises
        ------
        TypeError
            If a number is not whole, or ``train_on`` or ``test_on`` is a single text.
        ValueError
            If a number is out of range, or a hospital is not known, is named twice, or does not
            have its split; or if a module is neither installed nor in ``local_code``.
        """
        experiment = self._experiment(strategy, train_on, test_on, split, num_rounds, eval_every)
        local_code = check_local_code(strategy, local_code, task_variables(self._pass_env))
        if self._runner:
            # A private key is used once, and no copy of it is kept.
            keeps = self._runner.keeps_results = not getattr(strategy, "sees_only_sums", False)
            seeded = _is_seeded(getattr(strategy, "algo", strategy))
            self._runner.use_cache = self._use_cache and keeps and seeded
            self._runner.start()
        with working_in(self.folder):
            compute_plan = execute_experiment(
                **experiment,
                dependencies=FolderDependency(
                    local_code=[_HELPERS, *local_code],
                    excluded_paths=[_HELPERS / name for name in _STAYS],
                ),
            )
        performances = experiment["client"].get_performances(compute_plan.key)
        return compute_plan, self._scores(performances, strategy)

    def simulate(
        self,
        strategy: ComputePlanBuilder,
        *,
        train_on: Sequence[str] = (),
        test_on: Sequence[str] = (),
        split: str = "test",
        num_rounds: int,
        eval_every: int = 1,
    ) -> tuple[SimuStatesMemory, pd.DataFrame]:
        """Run an experiment in this process, with the same results and without any task.

        Parameters
        ----------
        strategy, train_on, test_on, split, num_rounds, eval_every
            As in :meth:`execute`.

        Returns
        -------
        states : substrafl.nodes.schemas.SimuStatesMemory
            The state of every training hospital after every round.
        scores : pandas.DataFrame
            Columns ``round``, ``hospital``, ``metric``, ``value``; one row for each, in the order
            of the federation's hospitals and the strategy's metrics.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`execute`.
        """
        experiment = self._experiment(strategy, train_on, test_on, split, num_rounds, eval_every)
        with working_in(self.folder):
            performances, states, _ = simulate_experiment(**experiment)
        return states, self._scores(performances, strategy)

    def algos(self, states: SimuStatesMemory) -> dict[tuple[str, int], Algo]:
        """Sort the states of a simulation by hospital and round.

        Parameters
        ----------
        states : substrafl.nodes.schemas.SimuStatesMemory
            As :meth:`simulate` returns them.

        Returns
        -------
        dict of (str, int) to substrafl.algorithms.algo.Algo
            The algorithm of each hospital that trains, after each round.
        """
        rows = zip(states.worker, states.round_idx, states.state, strict=True)
        return {(self._names[worker], number): state.algo for worker, number, state in rows}

    def _nodes(self, hospitals, split):
        """Return the arguments of each hospital's node: organization, opener, samples."""
        if len(set(hospitals)) < len(hospitals):
            raise ValueError(f"Expected each hospital once. Received {list(hospitals)}.")
        nodes = []
        for hospital in hospitals or self.clients:
            if hospital not in self.clients:
                raise ValueError(
                    f"Expected one of the hospitals {list(self.clients)}. Received {hospital!r}."
                )
            opener_key, sample_keys = self._assets[hospital]
            if split not in sample_keys:
                raise ValueError(
                    f"Expected a split of {hospital}: {list(sample_keys)}. Received {split!r}. "
                    "Name only hospitals that have it, or prepare its samples."
                )
            organization = self.clients[hospital].organization_info().organization_id
            nodes.append((organization, opener_key, sample_keys[split]))
        return nodes

    def _experiment(self, strategy, train_on, test_on, split, num_rounds, eval_every):
        """Return the arguments that executing and simulating have in common."""
        num_rounds = check_integer("num_rounds", num_rounds, 1)
        eval_every = check_integer("eval_every", eval_every, 1, num_rounds)
        for name, hospitals in (("train_on", train_on), ("test_on", test_on)):
            if isinstance(hospitals, str):
                raise TypeError(
                    f"Expected {name} as a list of hospitals. Received {hospitals!r}. Put the "
                    f"name into one: [{hospitals!r}]."
                )
        train_nodes = self.train_nodes(*train_on)
        first = self._names[train_nodes[0].organization_id]
        return {
            "client": self.clients[first],
            "strategy": strategy,
            "train_data_nodes": train_nodes,
            "aggregation_node": AggregationNode(train_nodes[0].organization_id),
            "evaluation_strategy": EvaluationStrategy(
                self.test_nodes(*test_on, split=split), eval_frequency=eval_every
            ),
            "experiment_folder": self.folder / "experiments",
            "num_rounds": num_rounds,
            "clean_models": False,
        }

    def _scores(self, performances, strategy):
        """Put performances into a table: by round, hospital and metric, in the given orders."""
        hospitals, metrics = list(self.clients), list(strategy.metric_functions)
        rows = sorted(
            zip(
                performances.round_idx,
                [hospitals.index(self._names[worker]) for worker in performances.worker],
                [metrics.index(metric) for metric in performances.identifier],
                performances.performance,
                strict=True,
            ),
            key=lambda row: row[:3],
        )
        return pd.DataFrame(
            [(round, hospitals[h], metrics[m], value) for round, h, m, value in rows],
            columns=["round", "hospital", "metric", "value"],
        ).astype({"round": int, "value": float})


def _list_folders(samples):
    """Return the sample folders of each hospital and split as lists; refuse what is not there."""
    if not isinstance(samples, Mapping):
        raise TypeError(
            "Expected samples as a dictionary of hospitals, as prepare_samples returns it. "
            f"Received {samples!r}."
        )
    if not samples:
        raise ValueError("Expected samples of at least one hospital. Received none.")
    listed = {}
    for hospital, splits in samples.items():
        if not isinstance(hospital, str):
            raise TypeError(f"Expected hospitals that have text as names. Received {hospital!r}.")
        if not hospital.strip():
            raise ValueError(f"Expected a name for each hospital. Received {hospital!r}.")
        if not isinstance(splits, Mapping):
            raise TypeError(
                f"Expected the samples of {hospital} as a dictionary of splits, such as "
                f"{{'train': folder}}. Received {splits!r}."
            )
        if not splits:
            raise ValueError(f"Expected at least one split of {hospital}. Received none.")
        listed[hospital] = {
            split: [
                Path(f) for f in ([folders] if isinstance(folders, str | os.PathLike) else folders)
            ]
            for split, folders in splits.items()
        }
        for split, folders in listed[hospital].items():
            absent = [str(folder) for folder in folders if not folder.is_dir()]
            if absent or not folders:
                raise ValueError(
                    f"Expected sample folders of {hospital}, {split}. Received "
                    f"{f'{absent}, not there' if absent else 'none'}. Prepare them with "
                    "helpers.data.prepare_samples."
                )
    return listed


def _is_seeded(algo):
    """Return whether an algorithm was given a seed, or takes none."""
    if hasattr(algo, "seed"):  # ours
        return algo.seed is not None
    takes_seed = any("seed" in signature(cls.__init__).parameters for cls in type(algo).__mro__)
    return not takes_seed or algo.kwargs.get("seed") is not None


def _find_opener(opener):
    """Return the opener's path; refuse what is not there."""
    opener = Path(opener)
    if not opener.is_file():
        raise ValueError(f"Expected the opener's script. Received no file {str(opener)!r}.")
    return opener


def _register(client, opener, description, splits, partners):
    """Register opener and samples at one hospital; return the opener's key and the samples'."""
    private = Permissions(public=False, authorized_ids=partners)
    opener_key = client.add_dataset(
        DatasetSpec(
            name="chest X-rays",
            data_opener=opener,
            description=description,
            permissions=private,
            logs_permission=private,
        )
    )
    sample_keys = {}
    for split, folders in splits.items():
        sample_keys[split] = [
            client.add_data_sample(DataSampleSpec(path=folder, data_manager_keys=[opener_key]))
            for folder in folders
        ]
    return opener_key, sample_keys
