"""Names of other packages that are not public, and for which there is no public way.

Everything that this project uses of Keras, TensorFlow and SubstraFL beyond their documented
interfaces is here, each in a function that tells what it is for. It was tried with Keras 3.15,
TensorFlow 2.21 and SubstraFL 1.0; a test looks for each name, and another version that has moved
one says so in place of failing somewhere else.
"""

import functools
import importlib


def _find(place):
    """Look up ``module:name``, or say that it is gone.

    Raises
    ------
    ImportError
        Naming what was looked for, and the versions in which it was found.
    """
    module, _, name = place.partition(":")
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"Expected {name!r} in {module}. It is not there in the installed version: "
            "install keras 3.15, tensorflow 2.21 and substrafl 1.0, with which "
            "helpers.compatibility was tried."
        ) from error


def variable_tracker():
    """Class with which a Keras optimizer or layer remembers its variables, by their addresses.

    Returns
    -------
    type
        Its objects are attributes of every optimizer, and must be copied with it.
    """
    return _find("keras.src.utils.tracking:Tracker")


def tracked_collections():
    """Classes that Keras puts in place of lists, dictionaries and sets in an optimizer.

    Returns
    -------
    tuple of type
        List, dictionary, ordered dictionary and set; each holds the tracker of its optimizer.
    """
    names = ("TrackedList", "TrackedDict", "TrackedOrderedDict", "TrackedSet")
    return tuple(_find(f"keras.src.utils.tracking:{name}") for name in names)


def excluded_from_weight_decay(optimizer):
    """Variables that ``exclude_from_weight_decay`` was given themselves, not by their names.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        An optimizer of which no attribute need be there.

    Returns
    -------
    set
        Their addresses in memory; empty if there are none.
    """
    return set(getattr(optimizer, "_exclude_from_weight_decay", ()))
