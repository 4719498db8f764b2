"""Private names of other packages, where there is no public alternative.

Everything that algorithms, exchange, models and strategies use of Keras, TensorFlow and SubstraFL
beyond their documented interfaces is here, and nowhere else: one function for each need. It was
tested with Keras 3.15, TensorFlow 2.21 and SubstraFL 1.0. A test checks that every name exists;
with a version that lacks one, its use raises an error that says so.
"""

import importlib
from collections.abc import Callable
from typing import Any

_TRIED = "keras 3.15, tensorflow 2.21, substra 1.0 and substrafl 1.0"


def flatten_layers(model: Any, *, include_self: bool = True) -> list:
    """List the layers of a model and of all models and layers within it.

    Parameters
    ----------
    model : keras.Model
        A model; Keras' public ``layers`` are only those of its first level.
    include_self : bool, default=True
        Whether the model itself is listed, first.

    Returns
    -------
    list of keras.layers.Layer
        In the model's order.
    """
    return list(find_attribute(model, "_flatten_layers")(include_self=include_self))


def last_operation(tensor: Any) -> Any:
    """Find the layer or operation that a symbolic output of a functional model comes from.

    Parameters
    ----------
    tensor : keras.KerasTensor
        One of the model's ``outputs``.

    Returns
    -------
    keras.Operation
        Its last operation.
    """
    return find_attribute(tensor, "_keras_history").operation


def keras_seed_generator() -> Any:
    """Return Keras' global generator, which is created on first use.

    Returns
    -------
    keras.random.SeedGenerator
        The same one for the whole process.
    """
    return find_name("keras.src.random.seed_generator:global_seed_generator")()


def variable_tracker() -> type:
    """Return the class by which Keras' optimizers track their variables, by address.

    Returns
    -------
    type
        Its objects are attributes of every optimizer, and must be copied with it.
    """
    return find_name("keras.src.utils.tracking:Tracker")


def tracked_collections() -> tuple[type, ...]:
    """Return the classes with which Keras replaces an optimizer's lists, dictionaries and sets.

    Returns
    -------
    tuple of type
        List, dictionary, ordered dictionary and set; each holds the tracker of its optimizer.
    """
    names = ("TrackedList", "TrackedDict", "TrackedOrderedDict", "TrackedSet")
    return tuple(find_name(f"keras.src.utils.tracking:{name}") for name in names)


def excluded_from_weight_decay(optimizer: Any) -> set[int]:
    """Return variables that ``exclude_from_weight_decay`` was given as objects, not by name.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        An optimizer; it may lack the attribute.

    Returns
    -------
    set
        Their addresses in memory; empty if there are none.
    """
    return set(getattr(optimizer, "_exclude_from_weight_decay", ()))


def get_tensorflow_seed() -> tuple[int | None, tuple | None]:
    """Read TensorFlow's global seed, and how far its eager operations have drawn from it.

    Returns
    -------
    seed : int or None
        None if no global seed was set.
    state : tuple or None
        State of the ``random.Random`` that seeds eager operations.
    """
    context = find_name("tensorflow.python.eager.context:context")()
    seed = find_attribute(context, "_seed")
    # TensorFlow makes the generator with the first global seed.
    return seed, None if seed is None else find_attribute(context, "_rng").getstate()


def set_tensorflow_seed(seed: int, state: tuple) -> None:
    """Restore what :func:`get_tensorflow_seed` read.

    Parameters
    ----------
    seed : int
        The global seed.
    state : tuple
        State of the generator.
    """
    find_name("tensorflow:random").set_seed(seed)
    context = find_name("tensorflow.python.eager.context:context")()
    find_attribute(context, "_rng").setstate(state)


def is_op_determinism_enabled() -> bool:
    """Return whether TensorFlow is set to use deterministic operations only.

    Returns
    -------
    bool
        What ``tf.config.experimental.enable_op_determinism`` sets.
    """
    return find_name("tensorflow.python.framework.config:is_op_determinism_enabled")()


def change_remote(
    operation: Any,
    *,
    remote_class: Callable | None = None,
    method: str | None = None,
    title: str | None = None,
) -> None:
    """Change what a recorded SubstraFL operation calls in its task.

    Parameters
    ----------
    operation : substrafl.remote.operations.RemoteOperation
        Or RemoteDataOperation; changed in place.
    remote_class : callable, optional
        Called with the instance, ``method_name`` and ``method_parameters``; it returns Substra's
        functions.
    method : str, optional
        Name of the instance's method.
    title : str, optional
        Name of the function as Substra shows it.
    """
    changes = {"_remote_cls": remote_class, "_method_name": method, "_algo_name": title}
    for name, value in changes.items():
        find_attribute(operation.remote_struct, name)
        if value is not None:
            setattr(operation.remote_struct, name, value)


def find_name(place: str) -> Any:
    """Look up a name that is not public.

    Parameters
    ----------
    place : str
        ``module:name``.

    Returns
    -------
    object
        The object with that name.

    Raises
    ------
    ImportError
        If it is not there, with the versions that have it.
    """
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _missing(place) from error


def find_attribute(value: Any, name: str) -> Any:
    """Look up an attribute that is not public.

    Parameters
    ----------
    value : object
        Whose attribute it is.
    name : str
        Its name.

    Returns
    -------
    object
        The attribute.

    Raises
    ------
    ImportError
        If it is not there, with the versions that have it.
    """
    try:
        return getattr(value, name)
    except AttributeError as error:
        raise _missing(f"{type(value).__module__}.{type(value).__qualname__}.{name}") from error


def _missing(place):
    """Make the error that names what is missing, and the versions that have it."""
    return ImportError(
        f"Expected {place}, which has no public counterpart. Received a version without it: "
        f"install {_TRIED}, with which helpers.compatibility was tried."
    )
