"""Inside: what a network makes of films, measured where the films are, in Substra tasks.

A hospital measures each of its films, and sends the mean with the number of films behind it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import substra
from substra.sdk.models import ComputePlan
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.model_loading import download_train_shared_state
from substrafl.nodes import TrainDataNode
from substrafl.remote import remote_data

from helpers.data.arguments import check_integer
from helpers.evaluation.metrics import labels_of


class FilmMean(NamedTuple):
    """The mean of a measure over films, all that leaves a hospital.

    Attributes
    ----------
    value : numpy.ndarray of float64 or None
        The mean, such as a map of shape (H, W); None if it is of fewer films than the minimum.
    n_films : int or None
        The number of films; None if it is below the minimum, but not 0.
    """

    value: np.ndarray | None
    n_films: int | None


class MeanInside(ComputePlanBuilder):
    """Measure every film inside its hospital, and let only the mean leave.

    One task at each hospital, nothing is trained or averaged there. Run it with
    :meth:`helpers.local_mode.Federation.execute`, which takes the split ``"train"``, or with
    SubstraFL's ``execute_experiment``; then read the means with :func:`collect_means`.

    Parameters
    ----------
    model : callable
        A function without arguments that builds the network, such as
        ``start_from(build, weights)``, see :func:`helpers.models.start_from`. It travels.
    measure : callable
        ``measure(model, films)`` returns one array for each film, shape (n, …), float; such as
        ``functools.partial(explain, method="occlusion")``. Films are uint8, shape (n, H, W, 1).
    label : {0, 1}, optional
        Measure only films with this label; by default all.
    minimum : int, default=5
        Fewest films whose mean is sent. A mean of few films is nearly a film's own map.
    seed : int, default=0
        Seed of Python, NumPy and TensorFlow before the measure.

    Raises
    ------
    TypeError
        If ``model`` or ``measure`` is not callable, or a number is not whole.
    ValueError
        If the label is neither 0 nor 1, or ``minimum`` is below 1; in a task, if the measure does
        not return one finite array for each film.
    """

    metric_functions: Mapping[str, Callable] = {}  # as strategies have it; nothing is evaluated

    def __init__(
        self,
        model: Callable[[], keras.Model],
        measure: Callable[[keras.Model, np.ndarray], np.ndarray],
        *,
        label: int | None = None,
        minimum: int = 5,
        seed: int = 0,
    ) -> None:
        for name, value in (("model", model), ("measure", measure)):
            if not callable(value) or isinstance(value, keras.Model):
                raise TypeError(
                    f"Expected {name} as a function. Received {type(value).__name__}. Write "
                    "start_from(build, weights) for a network, and a function of network and films."
                )
        if label not in (None, 0, 1):
            raise ValueError(f"Expected label 0, 1 or None. Received {label!r}.")
        check_integer("minimum", minimum, 1)
        check_integer("seed", seed, 0)
        super().__init__(model, measure, label=label, minimum=minimum, seed=seed)
        self.model, self.measure, self.label = model, measure, label
        self.minimum, self.seed = minimum, seed

    @remote_data
    def measure_films(self, data_from_opener: Any, shared_state: Any = None) -> FilmMean:
        """Measure the films of one hospital; runs there.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : object, optional
            Not used.

        Returns
        -------
        FilmMean
            What is sent.
        """
        chosen = np.arange(len(data_from_opener["labels"]))
        if self.label is not None:
            chosen = chosen[labels_of(data_from_opener) == self.label]
        if len(chosen) < self.minimum:
            return FilmMean(None, None if len(chosen) else 0)
        keras.utils.set_random_seed(self.seed)
        films = np.asarray(data_from_opener["images"])[chosen]
        values = np.asarray(self.measure(self.model(), films), np.float64)
        if values.shape[:1] != films.shape[:1] or not np.isfinite(values).all():
            raise ValueError(
                f"Expected a measure with a finite array for each of {len(films)} films. Received "
                f"shape {values.shape}, {np.isfinite(values).mean():.0%} of it finite."
            )
        return FilmMean(values.mean(axis=0), len(films))

    def build_compute_plan(
        self,
        train_data_nodes: list[TrainDataNode],
        aggregation_node: Any = None,
        evaluation_strategy: Any = None,
        num_rounds: int | None = None,
        clean_models: bool = False,
    ) -> None:
        """Make one task for each hospital; called by SubstraFL.

        Parameters
        ----------
        train_data_nodes : list of substrafl.nodes.TrainDataNode
            The hospitals and their films.
        aggregation_node : substrafl.nodes.AggregationNode, optional
            Whoever may read the means, besides each hospital.
        evaluation_strategy, num_rounds : object, optional
            Not used.
        clean_models : bool, default=False
            As in SubstraFL; True would remove the means.
        """
        for node in train_data_nodes:
            node.update_states(
                operation=self.measure_films(
                    node.data_sample_keys, _algo_name="Measuring films inside"
                ),
                round_idx=0,
                authorized_ids={node.organization_id},
                aggregation_id=aggregation_node and aggregation_node.organization_id,
                clean_models=clean_models,
            )

    def save_local_state(self, path: Path) -> None:
        """Save nothing: no task follows.

        Parameters
        ----------
        path : pathlib.Path
            The file that SubstraFL expects.
        """
        path.touch()

    def load_local_state(self, path: Path) -> Self:
        """Load nothing.

        Parameters
        ----------
        path : pathlib.Path
            Not used.

        Returns
        -------
        MeanInside
            The object itself.
        """
        return self


def collect_means(
    clients: Mapping[str, substra.Client], compute_plan: ComputePlan
) -> dict[str, FilmMean]:
    """Read what the hospitals sent.

    Parameters
    ----------
    clients : dict of str to substra.Client
        Hospital and its client, as ``Federation.clients`` has them.
    compute_plan : substra.sdk.models.ComputePlan
        Of :class:`MeanInside`, finished.

    Returns
    -------
    dict of str to FilmMean
        Each hospital's mean and number of films.
    """
    return {
        hospital: download_train_shared_state(client, compute_plan.key, round_idx=0)
        for hospital, client in clients.items()
    }


def pool_means(means: Mapping[str, FilmMean]) -> FilmMean:
    r"""Average the means of hospitals as if all films were in one place.

    Parameters
    ----------
    means : dict of str to FilmMean
        As :func:`collect_means` returns them. A mean that was not sent does not count.

    Returns
    -------
    FilmMean
        :math:`\sum_k n_k m_k / \sum_k n_k`, and the number of films.

    Raises
    ------
    ValueError
        If no hospital sent a mean.

    Examples
    --------
    >>> pool_means({"A": FilmMean(np.array([1.0]), 10), "B": FilmMean(np.array([4.0]), 20)})
    FilmMean(value=array([3.]), n_films=30)
    """
    sent = [mean for mean in means.values() if mean.value is not None]
    if not sent:
        raise ValueError(
            f"Expected a mean of at least one hospital. Received none of {list(means)}: each has "
            "too few films. Lower minimum, if the hospitals agree."
        )
    total = sum(mean.n_films for mean in sent)
    return FilmMean(sum(mean.n_films * mean.value for mean in sent) / total, total)
