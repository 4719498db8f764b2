"""Quality: whether maps show what is there, what the network uses, and always the same.

Where the truth is known, maps are compared with masks. Where it is not, pixels are taken away and
the network is asked again. Neither says anything of a map that looks the same for a network whose
weights are shuffled, or that changes with noise that nobody sees.

Xplique has some of these measures, as means over films; an interval over patients needs the value
of every film. The tests compare both.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt
from scipy.special import expit
from scipy.stats import rankdata

from helpers.data.arguments import check_integer
from helpers.evaluation import bootstrap_mean
from helpers.explanation.attribution import check_films, explain, predict_output

# Each measure, and whether a good map has much of it.
MEASURES: Mapping[str, bool] = {
    "pointing game": True,
    "mass in the mask": True,
    "overlap": True,
    "deletion": False,
    "insertion": True,
    "fidelity": True,
    "change of weights": False,
    "stability": True,
}


def pointing_game(maps: np.ndarray, masks: np.ndarray, *, tolerance: float = 0) -> np.ndarray:
    r"""Ask whether the highest pixel of each map is in the mask (Zhang et al. 2018 [1]_).

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (n, H, W)
        Maps of :func:`explain`.
    masks : numpy.ndarray of bool, shape (n, H, W)
        Where the finding is.
    tolerance : float, default=0
        Distance in pixels within which a miss counts as a hit; the paper's 15 pixels of 224 are 2
        of 32.

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        1 for a hit and 0 for a miss. If several pixels are highest, the share of them that hits:
        a zero map scores what a blind guess does, the mask's share of the film. NaN for an empty
        mask.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] J. Zhang et al., "Top-down neural attention by excitation backprop", International
       Journal of Computer Vision 126, 2018.

    Examples
    --------
    >>> maps = np.array([[[0.0, 3.0], [1.0, 2.0]], [[5.0, 0.0], [0.0, 5.0]]])
    >>> pointing_game(maps, maps > 2.5), pointing_game(maps, [[[0, 1], [0, 1]]] * 2)
    (array([1., 1.]), array([1. , 0.5]))
    """
    maps, masks = _check_masks(maps, masks)
    if tolerance:
        near = [distance_transform_edt(~mask) <= tolerance for mask in masks]
        masks = np.array(near) & masks.any(axis=(1, 2), keepdims=True)
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    hits = (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))
    return np.where(masks.any(axis=(1, 2)), hits, np.nan)


def mass_in_mask(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Measure the share of a map's positive values that lies in the mask.

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (n, H, W)
        Maps of :func:`explain`.
    masks : numpy.ndarray of bool, shape (n, H, W)
        Where the finding is.

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        In [0, 1]; 0 for a map without positive values, NaN for an empty mask. A map that is the
        same everywhere has the mask's share of the film.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    maps, masks = _check_masks(maps, masks)
    positive = np.maximum(maps, 0, dtype=float)
    total = positive.sum(axis=(1, 2))
    share = (positive * masks).sum(axis=(1, 2)) / np.where(total > 0, total, 1)
    return np.where(masks.any(axis=(1, 2)), share, np.nan)


def overlap(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Measure the intersection over union of a mask and as many of the map's highest pixels.

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (n, H, W)
        Maps of :func:`explain`.
    masks : numpy.ndarray of bool, shape (n, H, W)
        Where the finding is.

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        In [0, 1]; of pixels that are equally high, the first count. NaN for an empty mask.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    maps, masks = _check_masks(maps, masks)
    area = masks.sum(axis=(1, 2))
    common = ((_ranks(maps) < area[:, None, None]) & masks).sum(axis=(1, 2))
    return np.where(area > 0, common / np.maximum(2 * area - common, 1), np.nan)


def deletion(model: keras.Model, films: np.ndarray, maps: np.ndarray, **options: Any) -> np.ndarray:
    """Take away the highest pixels first, and average the probability (Petsiuk et al. 2018 [1]_).

    Parameters
    ----------
    model : keras.Model
        The network; its output is a logit.
    films : numpy.ndarray, shape (n, H, W, 1)
        As for :func:`explain`.
    maps : numpy.ndarray of float, shape (n, H, W)
        Maps of :func:`explain`.
    **options
        ``background``: films whose average takes the place of pixels, by default ``films``;
        ``steps``: how often pixels are taken away, default 16; ``output``: which logit, default 0.

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        Area under the probability from the whole film to none of it, in [0, 1]; low if the map
        names the pixels that the network needs.

    Raises
    ------
    ValueError
        If the films do not fit the model, or the maps the films.

    References
    ----------
    .. [1] V. Petsiuk, A. Das and K. Saenko, "RISE: Randomized input sampling for explanation of
       black-box models", British Machine Vision Conference 2018.
    """
    return _area(model, films, maps, is_kept=np.greater_equal, **options)


def insertion(
    model: keras.Model, films: np.ndarray, maps: np.ndarray, **options: Any
) -> np.ndarray:
    """Add the highest pixels first, and average the probability (Petsiuk et al. 2018).

    Parameters
    ----------
    model, films, maps, **options
        As for :func:`deletion`.

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        Area under the probability from no pixel of the film to all, in [0, 1]; high if the map
        names the pixels that the network needs.

    Raises
    ------
    ValueError
        As for :func:`deletion`.
    """
    return _area(model, films, maps, is_kept=np.less, **options)


def fidelity(
    model: keras.Model,
    films: np.ndarray,
    maps: np.ndarray | Mapping[str, np.ndarray],
    *,
    background: np.ndarray | None = None,
    output: int = 0,
    n_samples: int = 100,
    n_tiles: int = 8,
    share: float = 0.2,
    seed: int = 0,
) -> np.ndarray | dict[str, np.ndarray]:
    """Correlate what tiles sum up to in a map with what their loss costs (MuFidelity [1]_).

    Parameters
    ----------
    model, films : keras.Model and numpy.ndarray
        As for :func:`deletion`.
    maps : numpy.ndarray of float, shape (n, H, W), or dict of them
        Maps of :func:`explain`; all methods of a dictionary are judged on the same subsets.
    background : numpy.ndarray, optional
        Films whose average takes the place of tiles; by default ``films``.
    output : int, default=0
        Which logit.
    n_samples : int, default=100
        Random subsets of the tiles.
    n_tiles : int, default=8
        Tiles along one side.
    share : float in (0, 1), default=0.2
        Mean share of the tiles that a subset takes away.
    seed : int, default=0
        Seed of the subsets.

    Returns
    -------
    numpy.ndarray of float, shape (n,), or dict of them
        Spearman's rank correlation over the subsets; 0 where one of the two does not vary.

    Raises
    ------
    ValueError
        If the films do not fit the model, or the maps the films.

    References
    ----------
    .. [1] U. Bhatt, A. Weller and J. M. F. Moura, "Evaluating and aggregating feature-based model
       explanations", IJCAI 2020, Definition 3.
    """
    films, average = _films_and_average(model, films, background)
    of_methods = maps if isinstance(maps, Mapping) else {"": maps}
    of_methods = {name: _check_maps(one, films) for name, one in of_methods.items()}
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    rows, columns = (np.arange(side) * n_tiles // side for side in films.shape[1:3])
    taken = rng.random((check_integer("n_samples", n_samples, 2), n_tiles, n_tiles)) < share
    taken = taken[:, rows][:, :, columns]
    costs = [
        -predict_output(model, np.where(taken[..., None], average, film), output) for film in films
    ]
    flat = taken.reshape(n_samples, -1).astype(float)
    found = {
        name: _correlate(one.reshape(len(one), -1).astype(float) @ flat.T, np.array(costs))
        for name, one in of_methods.items()
    }
    return found if isinstance(maps, Mapping) else found[""]


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compare the order of the pixels in two maps of each film.

    Parameters
    ----------
    maps, others : numpy.ndarray of float, shape (n, H, W)
        Maps of the same films.

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        Spearman's rank correlation in [−1, 1]; 0 where a map is zero everywhere.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    maps, others = np.asarray(maps), np.asarray(others)
    if maps.ndim != 3 or maps.shape != others.shape:
        raise ValueError(
            f"Expected maps of the same films, (n, H, W). Received {maps.shape}, {others.shape}."
        )
    return _correlate(maps.reshape(len(maps), -1), others.reshape(len(maps), -1))


def shuffle_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Copy a network and shuffle the weights within each of its arrays (Adebayo et al. 2018 [1]_).

    The copy has the same weights in other places, so that it has learned nothing. A map that does
    not change shows the film and not the network.

    Parameters
    ----------
    model : keras.Model
        A network; it is not changed.
    seed : int, default=0
        Seed of the places.

    Returns
    -------
    keras.Model
        The copy.

    References
    ----------
    .. [1] J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.
    """
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    shuffled = keras.models.clone_model(model)
    weights = (
        rng.permutation(weight.ravel()).reshape(weight.shape) for weight in model.get_weights()
    )
    shuffled.set_weights(list(weights))
    return shuffled


def add_noise(films: np.ndarray, *, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """Add noise to films, as another exposure would.

    Parameters
    ----------
    films : numpy.ndarray of float in [0, 1] or uint8, shape (n, H, W, 1)
        The films.
    noise : float, default=0.02
        Standard deviation, where white is 1: 5 of 255 grey levels.
    seed : int, default=0
        Seed of the noise.

    Returns
    -------
    numpy.ndarray of float32, shape (n, H, W, 1)
        Films in [0, 1].
    """
    films = np.asarray(films)
    films = films / np.float32(255) if films.dtype == np.uint8 else films.astype(np.float32)
    drawn = np.random.default_rng(seed).normal(0, noise, films.shape).astype(np.float32)
    return np.clip(films + drawn, 0, 1)


def assess(
    model: keras.Model,
    films: np.ndarray,
    masks: np.ndarray,
    patients: ArrayLike,
    methods: Iterable[str] | Mapping[str, Mapping[str, Any]],
    *,
    background: np.ndarray | None = None,
    output: int = 0,
    noise: float = 0.02,
    tolerance: float = 0,
    n: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge several methods by all measures on the same films.

    Two rows that are no methods bound the others: ``"random"``, a map of random numbers, and
    ``"mask"``, the mask itself, which knows the truth but not the network.

    Parameters
    ----------
    model : keras.Model
        The network.
    films : numpy.ndarray, shape (n_films, H, W, 1)
        As for :func:`explain`.
    masks : numpy.ndarray of bool, shape (n_films, H, W)
        Where the finding is, such as :func:`helpers.data.read_masks` returns them.
    patients : array, shape (n_films,)
        Patient of each film.
    methods : iterable of str, or dict of str to dict
        Names among :data:`METHODS`, or names with settings for :func:`explain`.
    background : numpy.ndarray, optional
        As for :func:`explain`.
    output : int, default=0
        Which logit.
    noise : float, default=0.02
        Noise of the measure ``"stability"``, see :func:`add_noise`.
    tolerance : float, default=0
        Tolerance of the pointing game in pixels.
    n : int, default=1000
        Resamples of the patients.
    seed : int, default=0
        Seed of everything that is drawn.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``measure``, ``value`` (mean over films), ``low`` and ``high`` (95 % over
        patients), and ``seconds`` (of the method, per film). Measures are, with what is good:

        - ``"pointing game"``, ``"mass in the mask"`` and ``"overlap"``: high;
        - ``"deletion"``: low; ``"insertion"`` and ``"fidelity"``: high;
        - ``"change of weights"``: the rank correlation with the maps of the network with shuffled
          weights, near 0;
        - ``"stability"``: the rank correlation with the maps of noisy films, near 1.

    Raises
    ------
    ImportError, TypeError, ValueError
        As for :func:`explain`; also if the masks do not fit the films.
    """
    methods = methods if isinstance(methods, Mapping) else {name: {} for name in methods}
    films, _ = _films_and_average(model, films, background)
    about = {"background": films if background is None else background, "output": output}
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    maps = {"random": rng.random(films.shape[:3]), "mask": np.asarray(masks, float)}
    values: dict[tuple[str, str], np.ndarray] = {}
    seconds = {}
    shuffled, noisy = shuffle_weights(model, seed), add_noise(films, noise=noise, seed=seed)
    for name, settings in methods.items():
        how = {"seed": seed, **about, **settings}
        start = time.perf_counter()
        maps[name] = explain(model, films, name, **how)
        seconds[name] = (time.perf_counter() - start) / len(films)
        for measure, network, seen in (
            ("change of weights", shuffled, films),
            ("stability", model, noisy),
        ):
            values[name, measure] = rank_correlation(
                maps[name], explain(network, seen, name, **how)
            )
    of_subsets = fidelity(model, films, maps, seed=seed, **about)
    for name, one in maps.items():
        values[name, "pointing game"] = pointing_game(one, masks, tolerance=tolerance)
        values[name, "mass in the mask"] = mass_in_mask(one, masks)
        values[name, "overlap"] = overlap(one, masks)
        values[name, "deletion"] = deletion(model, films, one, **about)
        values[name, "insertion"] = insertion(model, films, one, **about)
        values[name, "fidelity"] = of_subsets[name]
    rows = []
    for name in maps:
        for measure in MEASURES:
            if (name, measure) in values:
                mean = bootstrap_mean(values[name, measure], patients, n=n, seed=seed)
                row = {"method": name, "measure": measure, **mean._asdict()}
                rows.append(row | {"seconds": seconds.get(name, np.nan)})
    return pd.DataFrame(rows)


def _area(model, films, maps, *, is_kept, background=None, steps=16, output=0):
    """Return the area under the probability while more and more pixels are kept, or fewer."""
    films, average = _films_and_average(model, films, background)
    maps = _check_maps(maps, films)
    ranks = _ranks(maps)[..., None]
    counts = np.linspace(0, maps[0].size, check_integer("steps", steps, 1) + 1, dtype=int)
    curve = [
        expit(predict_output(model, np.where(is_kept(ranks, count), films, average), output))
        for count in counts
    ]
    return np.trapezoid(np.array(curve, float), axis=0) / steps


def _films_and_average(model, films, background):
    films = check_films(films, model)
    background = films if background is None else check_films(background, model)
    return films, background.mean(axis=0)


def _ranks(maps):
    """Return how many pixels of its map are before each pixel, the highest being the first."""
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(maps.shape)


def _correlate(first, second):
    """Return Spearman's correlation of each row of two arrays; 0 where one does not vary."""
    first, second = (rankdata(rows, axis=1) for rows in (first, second))
    first, second = (rows - rows.mean(axis=1, keepdims=True) for rows in (first, second))
    norm = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.where(norm > 0, (first * second).sum(axis=1) / np.where(norm > 0, norm, 1), 0.0)


def _check_maps(maps, films):
    maps = np.asarray(maps)
    if maps.shape != films.shape[:3] or not np.isfinite(maps).all():
        raise ValueError(
            f"Expected finite maps of shape {films.shape[:3]}, one for each film. Received "
            f"{maps.shape}. Take the maps that explain returned for these films."
        )
    return maps


def _check_masks(maps, masks):
    maps, masks = np.asarray(maps), np.asarray(masks, dtype=bool)
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"Expected maps and masks of the same shape (n, H, W). Received {maps.shape} and "
            f"{masks.shape}. Read the masks in the size of the films."
        )
    return maps, masks
