"""Attribution: how much every pixel of a film contributed to what a network said of it.

The methods are those of Xplique and shap; here are the table of them, and what all need: the layer,
the films that stand for *nothing to see*, batches, seeds, and maps of one kind.
"""

import contextlib
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from tqdm.auto import tqdm

from helpers.algorithms.randomness import get_random_state, set_random_state
from helpers.data.arguments import check_integer

# What installs a package; Xplique's own metadata would bring TensorFlow with CUDA.
INSTALL = {
    "shap": "pip install shap",
    "xplique": "pip install --no-deps xplique==2.0.2 && pip install deprecated einops scikit-image "
    "opencv-python-headless 'tensorflow-probability[tf]'",
}
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)
_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
# GlobalMaxPooling2D, and a normalization by the film itself, have operations without a rule.
_DEEP_SHAP_KNOWS = (
    *_CONVOLUTIONS,
    keras.layers.Activation,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.InputLayer,
    keras.layers.MaxPooling2D,
    keras.layers.ReLU,
    keras.layers.Rescaling,
)


class Method(NamedTuple):
    """One row of :data:`helpers.explanation.METHODS`.

    Attributes
    ----------
    package : {"xplique", "shap"}
        What has to be installed.
    signed : bool
        Whether a map has both signs: a positive pixel raised the logit, a negative one lowered it.
        Other maps have only the size of an influence, or, as Grad-CAM, its positive part.
    about : str
        What a pixel's value is, in one line.
    start : callable
        ``start(setup)`` returns a function from films (n, H, W, 1) to maps of n × H × W values.
    """

    package: str
    signed: bool
    about: str
    start: Callable[["_Setup"], Callable[[np.ndarray], Any]]


class _Setup(NamedTuple):
    """What a method is given: all but the films."""

    model: keras.Model
    output: int
    layer: str | None
    background: np.ndarray
    batch_size: int
    settings: dict[str, Any]

    def predict(self, films: np.ndarray) -> np.ndarray:
        """Return the output that is explained, shape (n,)."""
        return predict_output(self.model, films, self.output)


def _of_xplique(name, *, needs=None, **defaults):
    """Make a method from a class of Xplique; it needs a "layer", a "baseline" or neither."""

    def start(setup):
        settings = {"batch_size": setup.batch_size} | defaults | setup.settings
        model, average = setup.model, np.zeros((1, 1, 1), np.float32)
        if needs == "layer":
            settings["conv_layer"] = find_layer(model, setup.layer)
        elif needs == "baseline":
            # What Xplique sets to zero shall show the average film: films are explained as
            # differences from it.
            average = setup.background.mean(axis=0)
            differences = keras.Input(average.shape)
            model = keras.Model(differences, model(differences + average, training=False))
        if name == "Occlusion" and "patch_size" not in settings:
            side = max(2, average.shape[0] // 8)
            settings |= {"patch_size": side, "patch_stride": max(1, side // 2)}
        methods = importlib.import_module("xplique.attributions")
        explainer = getattr(methods, name)(model, **settings)
        target = np.zeros(model.output_shape[-1], np.float32)
        target[setup.output] = 1
        return lambda films: explainer.explain(films - average, np.tile(target, (len(films), 1)))

    return start


def _gradient_shap(setup):
    shap = importlib.import_module("shap")
    explainer = shap.GradientExplainer(_with_list(setup.model), setup.background, setup.batch_size)
    settings = {"nsamples": 50} | setup.settings
    return lambda films: explainer.shap_values(films, **settings)[..., setup.output]


def _deep_shap(setup):
    # Checked first: an operation without a rule leaves TensorFlow's gradients broken.
    faults = [layer.name for layer in setup.model.layers if not isinstance(layer, _DEEP_SHAP_KNOWS)]
    if faults:
        raise ValueError(
            "Expected a network of layers that shap's DeepExplainer has rules for: "
            f"{[layer.__name__ for layer in _DEEP_SHAP_KNOWS]}. Received {faults}. Build the "
            "network with normalization=None or 'batch' and average pooling, or take "
            "'gradient_shap'."
        )
    shap = importlib.import_module("shap")
    with warnings.catch_warnings():  # it says that it is untested with TensorFlow after 2.4
        warnings.filterwarnings("ignore", "Your TensorFlow version is newer", UserWarning)
        explainer = shap.DeepExplainer(_with_list(setup.model), setup.background)
    return lambda films: explainer.shap_values(films, **setup.settings)[..., setup.output]


def _with_list(model):
    """Return the same model for shap, which calls it with a list of one array."""
    return keras.Model(model.inputs, model.outputs[0])


def _kernel_shap(setup):
    """Let shap's Kernel explainer play a game whose players are tiles of the film."""
    shap = importlib.import_module("shap")
    settings = {"n_tiles": 8, "nsamples": 1000, "l1_reg": False} | setup.settings
    n = settings.pop("n_tiles")
    average = setup.background.mean(axis=0)
    rows, columns = (np.arange(side) * n // side for side in average.shape[:2])
    tiles = rows[:, None] * n + columns
    sizes = np.bincount(tiles.ravel(), minlength=n * n)

    def explain_film(film):
        def play(coalitions):
            present = coalitions.astype(bool)[:, tiles, None]
            return setup.predict(np.where(present, film, average).astype(np.float32))

        explainer = shap.KernelExplainer(play, np.zeros((1, n * n)))
        values = explainer.shap_values(np.ones((1, n * n)), silent=True, **settings)
        return (np.ravel(values) / sizes)[tiles]  # a tile's value is shared by its pixels

    return lambda films: [explain_film(film) for film in films]


def _partition_shap(setup):
    shap = importlib.import_module("shap")
    average = setup.background.mean(axis=0)
    masker = shap.maskers.Image(average.ravel(), average.shape)

    def play(films):
        return setup.predict(np.asarray(films, np.float32))

    explainer = shap.PartitionExplainer(play, masker)
    settings = {"max_evals": 500, "batch_size": 64, "silent": True} | setup.settings
    return lambda films: explainer(films, **settings).values


#: The methods of :func:`explain` by name.
METHODS: Mapping[str, Method] = {
    "saliency": Method(
        "xplique", False, "size of the gradient", _of_xplique("Saliency")),
    "gradient_input": Method(
        "xplique", True, "gradient times grey level", _of_xplique("GradientInput")),
    "integrated_gradients": Method(
        "xplique", True, "share of the difference from the average film, along a straight path",
        _of_xplique("IntegratedGradients", needs="baseline", steps=50)),
    "smoothgrad": Method(
        "xplique", True, "mean gradient of noisy copies", _of_xplique("SmoothGrad", noise=0.1)),
    "square_grad": Method(
        "xplique", False, "mean squared gradient of noisy copies",
        _of_xplique("SquareGrad", noise=0.1)),
    "vargrad": Method(
        "xplique", False, "variance of the gradient of noisy copies",
        _of_xplique("VarGrad", noise=0.1)),
    "guided_backprop": Method(
        "xplique", True, "gradient through positive gradients only",
        _of_xplique("GuidedBackprop")),
    "deconvnet": Method(
        "xplique", True, "positive gradients, whatever was active", _of_xplique("DeconvNet")),
    "grad_cam": Method(
        "xplique", False, "features, each weighted by its mean gradient",
        _of_xplique("GradCAM", needs="layer")),
    "grad_cam_pp": Method(
        "xplique", False, "features, weighted by where their gradient is positive",
        _of_xplique("GradCAMPP", needs="layer")),
    "occlusion": Method(
        "xplique", True, "loss of logit when a square shows the average film",
        _of_xplique("Occlusion", needs="baseline", batch_size=256)),
    "rise": Method(
        "xplique", True, "mean logit of random parts of the film that contain the pixel",
        _of_xplique("Rise", needs="baseline", nb_samples=1000, grid_size=8, batch_size=256)),
    "lime": Method(
        "xplique", True, "linear model of what segments contribute",
        _of_xplique("Lime", needs="baseline", nb_samples=500, batch_size=256)),
    "sobol": Method(
        "xplique", False, "share of the logit's variance when parts are dimmed",
        _of_xplique("SobolAttributionMethod", needs="baseline")),
    "hsic": Method(
        "xplique", False, "dependence of the logit on whether a part is there",
        _of_xplique("HsicAttributionMethod", needs="baseline")),
    "gradient_shap": Method(
        "shap", True, "share of the difference from other films, along random paths",
        _gradient_shap),
    "deep_shap": Method(
        "shap", True, "share of the difference from other films, layer by layer", _deep_shap),
    "kernel_shap": Method(
        "shap", True, "Shapley value of the tile, against the average film", _kernel_shap),
    "partition_shap": Method(
        "shap", True, "Owen value in a hierarchy of rectangles, against the average film",
        _partition_shap),
}  # fmt: skip


def explain(
    model: keras.Model,
    films: np.ndarray,
    method: str = "grad_cam",
    *,
    output: int = 0,
    layer: str | None = None,
    background: np.ndarray | None = None,
    batch_size: int = 32,
    seed: int = 0,
    **settings: Any,
) -> np.ndarray:
    """Map how much every pixel of some films contributed to an output of a network.

    Signs are kept: in the map of a signed method, see :data:`METHODS`, positive pixels speak for
    the finding and negative ones against it. Maps are in units of their method, and comparable
    between films, but not between methods. Those of ``integrated_gradients`` and of the four of
    shap add up to the difference of the film's logit from that of the background.

    Parameters
    ----------
    model : keras.Model
        A network for films of shape (H, W, 1), without models inside it.
    films : numpy.ndarray, shape (n, H, W, 1)
        Floats in [0, 1], or uint8, which is divided by 255.
    method : str, default="grad_cam"
        A name among :data:`METHODS`.
    output : int, default=0
        Which output is explained.
    layer : str, optional
        Layer for ``grad_cam`` and ``grad_cam_pp``; by default see :func:`find_layer`.
    background : numpy.ndarray, shape (m, H, W, 1), optional
        Films that a film is compared with, such as some that are healthy, as ``films`` are given;
        for most methods their average. By default the films themselves.
    batch_size : int, default=32
        Films at once; for methods that perturb films, perturbed copies at once where the library
        asks for it.
    seed : int, default=0
        Seed of what is drawn. The random states of this process are restored afterwards.
    **settings
        For the library's method, in place of the defaults in :data:`METHODS`: ``steps=200``,
        ``nb_samples=4000`` …; for ``kernel_shap`` also ``n_tiles`` (along one side, default 8).

    Returns
    -------
    numpy.ndarray of float32, shape (n, H, W)
        One finite map for each film. It is zero if it says nothing of where: if the network's
        answer depends on no pixel, or on all in the same way. A warning says for how many films.

    Raises
    ------
    ImportError
        If the method's package is not installed; the message says how to install it.
    TypeError
        If the model is not a Keras model, or a number is not whole.
    ValueError
        If the films do not fit the model or are out of range, the method, layer or output is not
        known, the method does not work with this network, or the network's outputs are not finite.

    Examples
    --------
    >>> from helpers.models import build_small_cnn
    >>> films = np.random.default_rng(0).random((2, 32, 32, 1), dtype=np.float32)
    >>> maps = explain(build_small_cnn(), films, "grad_cam")
    >>> maps.shape, maps.dtype, bool((maps >= 0).all())
    ((2, 32, 32), dtype('float32'), True)
    """
    if method not in METHODS:
        raise ValueError(f"Expected a method among {list(METHODS)}. Received {method!r}.")
    chosen = METHODS[method]
    check_integer("batch_size", batch_size, 1)
    _check_model(model, output)
    films = check_films(films, model)
    background = films if background is None else check_films(background, model)
    find_package(chosen.package)
    setup = _Setup(model, output, layer, background, batch_size, settings)
    if not np.isfinite(setup.predict(films)).all():
        raise ValueError(
            "Expected a network with finite outputs. Received NaN or infinity: its training "
            "diverged, so that there is nothing to explain."
        )
    with seeded(seed):
        explain_batch = chosen.start(setup)
        parts = []
        with tqdm(total=len(films), desc=method, unit="film", disable=None) as progress:
            for place in range(0, len(films), batch_size):
                part = films[place : place + batch_size]
                parts.append(np.asarray(explain_batch(part), np.float32).reshape(part.shape[:3]))
                progress.update(len(part))
    maps = np.concatenate(parts)
    if method.startswith("grad_cam"):
        np.maximum(maps, 0, out=maps)  # its definition; enlarging it overshoots
    return _silence(maps, method)


def find_layer(model: keras.Model, layer: str | None = None) -> str:
    """Choose the layer whose features Grad-CAM weights.

    Parameters
    ----------
    model : keras.Model
        A convolutional network.
    layer : str, optional
        A layer of it whose output has rows and columns. By default the last activation, after the
        normalization and before global pooling; an activation within a convolution counts. A
        convolution itself, before its normalization, gives nearly empty maps: its mean gradient
        almost vanishes, as the normalization subtracts what all pixels have in common.

    Returns
    -------
    str
        Name of the layer.

    Raises
    ------
    ValueError
        If the network has no convolution, or the layer is none of its layers with rows and columns.

    Examples
    --------
    >>> from helpers.models import build_cnn, build_small_cnn
    >>> find_layer(build_cnn(64)), find_layer(build_small_cnn())
    ('block4_relu', 'block3_conv')
    """
    spatial = [one for one in model.layers if _is_spatial(one)]
    convolutions = [one.name for one in spatial if isinstance(one, _CONVOLUTIONS)]
    if not convolutions:
        raise ValueError(
            f"Expected a convolutional network. Received {model.name!r} with the layers "
            f"{[one.name for one in model.layers]}. Take a method that needs no layer, such as "
            "'integrated_gradients' or 'occlusion'."
        )
    names = [one.name for one in spatial]
    if layer is not None and layer not in names:
        raise ValueError(f"Expected one of the layers {names}. Received {layer!r}.")
    active = [one.name for one in spatial if _is_active(one)]
    return layer or (active or convolutions)[-1]


def predict_output(model: keras.Model, films: np.ndarray, output: int = 0) -> np.ndarray:
    """Return one output of a network, without a progress bar and without tracing it.

    Parameters
    ----------
    model : keras.Model
        The network.
    films : numpy.ndarray of float32, shape (n, H, W, 1)
        Grey levels in [0, 1].
    output : int, default=0
        Which output.

    Returns
    -------
    numpy.ndarray of float32, shape (n,)
        Its values.
    """
    size = 256  # films at once
    parts = [films[place : place + size] for place in range(0, len(films), size)]
    outputs = [np.asarray(model(part, training=False)) for part in parts]
    return np.concatenate(outputs)[:, output]


def check_films(films: np.ndarray, model: keras.Model) -> np.ndarray:
    """Return films as the network receives them.

    Parameters
    ----------
    films : numpy.ndarray, shape (n, H, W, 1)
        Floats in [0, 1], or uint8.
    model : keras.Model
        The network.

    Returns
    -------
    numpy.ndarray of float32, shape (n, H, W, 1)
        Grey levels in [0, 1].

    Raises
    ------
    ValueError
        If size, channels or range are others, or there is no film.
    """
    films, expected = np.asarray(films), model.input_shape[1:]
    if films.ndim != 4 or films.shape[1:] != expected or not len(films):
        raise ValueError(
            f"Expected films of shape (n, {', '.join(map(str, expected))}), as {model.name!r} "
            f"receives them. Received {films.shape}. Resize them, add the axis of the channel with "
            "films[..., None], or that of the film with film[None]."
        )
    if films.dtype == np.uint8:
        return films.astype(np.float32) / 255
    films = films.astype(np.float32)
    lowest, highest = films.min(), films.max()
    if not (lowest >= 0 and highest <= 1):
        raise ValueError(
            f"Expected grey levels in [0, 1], or uint8. Received values from {lowest:.4g} to "
            f"{highest:.4g}. Divide by 255, and do not standardize: the network does what it needs."
        )
    return films


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what a library draws and mute TensorFlow's warnings; restore both afterwards.

    Parameters
    ----------
    seed : int
        Seed of Python, NumPy, TensorFlow and Keras, at least 0.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number of at least 0.
    """
    check_integer("seed", seed, 0)
    state, logger = get_random_state(), logging.getLogger("tensorflow")
    level = logger.level
    keras.utils.set_random_seed(seed)
    logger.setLevel(logging.ERROR)  # every model is traced anew, which it warns of
    try:
        yield
    finally:
        logger.setLevel(level)
        set_random_state(state)


def find_package(name: str) -> None:
    """Check that an optional package is installed.

    Parameters
    ----------
    name : {"xplique", "shap"}
        The package.

    Raises
    ------
    ImportError
        If it is not; the message says how to install it.
    """
    if importlib.util.find_spec(name) is None:
        raise ImportError(f"This needs the package {name}: {INSTALL[name]}")


def _check_model(model, output):
    """Refuse what is not a flat Keras model with this output."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model. Received {type(model).__name__}.")
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(
            f"Expected a network without models inside it. Received {model.name!r}, which contains "
            f"{nested}. Explain that one: model.get_layer({nested[0]!r})."
        )
    if len(model.output_shape) != 2 or not 0 <= output < model.output_shape[-1]:
        raise ValueError(
            f"Expected a network with outputs (n, k), and one of them from 0 to k − 1. Received "
            f"outputs {model.output_shape} and output={output!r}."
        )


def _is_spatial(layer):
    """Whether the layer computes rows and columns of features."""
    return not isinstance(layer, keras.layers.InputLayer) and len(layer.output.shape) == 4


def _is_active(layer):
    if isinstance(layer, _CONVOLUTIONS):
        return layer.activation is not keras.activations.linear
    return isinstance(layer, _ACTIVATIONS)


def _silence(maps, method):
    """Set maps that say nothing of where to zero, and warn of them."""
    highest = np.abs(maps).max(axis=(1, 2))
    spread = np.ptp(maps, axis=(1, 2))
    silent = ~(spread > 1e-5 * highest)  # also where a map is not finite
    if silent.any():
        maps[silent] = 0
        warnings.warn(
            f"{silent.sum()} of {len(maps)} maps of {method!r} are zero: the network's answer to "
            "these films depends on no pixel more than on another.",
            stacklevel=3,
        )
    return maps
