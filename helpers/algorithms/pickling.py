"""Pickling: how an algorithm and its arguments get from the script into the tasks.

An algorithm is created in the script: its constructor checks the arguments, records them, and
builds the network. SubstraFL registers its class and its arguments as a function; every task of
that function creates the algorithm again from them, and loads the local state that the previous
task has saved. A strategy carries the algorithm itself into the aggregation, and a simulation
copies it for each organization: then its attributes are pickled, the values of the network's
variables among them, and the network is rebuilt when it is needed.

Keras pickles its losses and optimizers by their ``get_config``, which omits things: the delta
of a Huber loss, the variables that are excluded from weight decay, every setting of a class without
``get_config``. Here they are pickled as Python pickles any other object: with their class and all
their attributes.
"""

import copyreg
import functools
import inspect
import re
import types
from typing import Any

import cloudpickle
import keras
import tensorflow as tf

from helpers.compatibility import (
    excluded_from_weight_decay,
    tracked_collections,
    variable_tracker,
)
from helpers.exchange.weights import snake_case


def pickle_whole_objects() -> None:
    """Let this process pickle and copy Keras' losses and optimizers with all their attributes.

    This applies to every such class that exists now, including the user's own, and to Keras'
    variables, which optimizers hold. SubstraFL pickles a class of the script together with the
    objects that it refers to, so that its pickles need this too.
    """
    for base in (keras.losses.Loss, keras.optimizers.Optimizer):
        for cls in _subclasses(base):
            # A class may define how it is pickled.
            if all(getattr(cls, name) is getattr(base, name) for name in _OWN_WAYS):
                copyreg.pickle(cls, _reduce_whole)
    copyreg.pickle(variable_tracker(), _reduce_tracker)
    for cls in tracked_collections():
        copyreg.pickle(cls, _reduce_collection)
    for cls in _subclasses(keras.Variable):
        copyreg.pickle(cls, _reduce_variable)


_OWN_WAYS = ("__reduce__", "__reduce_ex__")


def check_that_it_travels(arguments: dict[str, Any]) -> None:
    """Refuse arguments that cannot travel to a task.

    Parameters
    ----------
    arguments : dict of str to object
        The arguments by their names.

    Raises
    ------
    TypeError
        Naming the argument, and within it the class and setting that cannot be pickled.
    ValueError
        If an optimizer excludes variables from weight decay by object, which no task has.
    """
    try:
        cloudpickle.dumps(arguments)
    except Exception as error:
        place, reason = _find_fault(arguments, error)
        raise TypeError(
            f"Expected arguments that can travel to the tasks. Received {place}, which cannot be "
            f"pickled ({reason}): make it where it is used, or leave it out."
        ) from error
    for name, value in arguments.items():
        if excluded_from_weight_decay(value):
            raise ValueError(
                f"Expected {name} to name the variables that are excluded from weight decay. "
                "Received variables themselves, but every task builds the model with its own: call "
                "exclude_from_weight_decay(var_names=[…])."
            )


def _subclasses(cls):
    """List a class and all classes that inherit from it."""
    return [cls, *(one for child in cls.__subclasses__() for one in _subclasses(child))]


def _reduce_whole(value):
    """Reduce an object to its class and all its attributes, or those that it chooses."""
    chosen = value.__getstate__()
    if not isinstance(chosen, dict):  # its class restores it
        return _make_object, (type(value), ()), chosen
    state = dict(chosen)
    base = snake_case(type(value).__name__)
    if re.fullmatch(rf"{base}_\d+", str(state.get("name"))):
        # Keras numbers unnamed optimizers in each process; nothing depends on the number.
        state["name"] = base
    # An optimizer uses the distribution strategy of its process.
    strategies = [name for name, one in state.items() if isinstance(one, _STRATEGY)]
    for name in strategies:
        del state[name]
    return _make_object, (type(value), strategies), state


_STRATEGY = (tf.distribute.Strategy, tf.compat.v1.distribute.Strategy)


def _make_object(cls, strategies):
    """Make an object whose other attributes are set next."""
    value = cls.__new__(cls)
    vars(value).update(dict.fromkeys(strategies, tf.distribute.get_strategy()))
    return value


def _reduce_tracker(value):
    """Reduce a tracker, which identifies its variables by their addresses in memory."""
    stores = {name: tuple(store) for name, (_, store) in value.config.items()}
    ids = {name: _Ids(store) for name, store in stores.items()}
    return object.__new__, (type(value),), vars(value) | {"stored_ids": ids}


class _Ids:
    """Pickles into the set of addresses that some objects have in the process that loads them."""

    def __init__(self, values):
        self.values = values

    def __reduce__(self):
        return _ids_of, (self.values,)


def _ids_of(values):
    """Return the addresses of objects."""
    return {id(value) for value in values}


def _reduce_collection(value):
    """Reduce a list, dictionary or set of an optimizer; it is restored empty and without tracker.

    Python would otherwise fill it before its tracker exists.
    """
    if isinstance(value, set):
        return type(value), (list(value),), vars(value)
    filled = (None, iter(value.items())) if isinstance(value, dict) else (iter(value),)
    return type(value), (), vars(value), *filled


def _reduce_variable(value):
    """Reduce a variable."""
    return _make_variable, (value.numpy(), value.name, value.trainable, value.dtype)


def _make_variable(value, name, trainable, dtype):
    """Restore a variable."""
    return keras.Variable(value, name=name, trainable=trainable, dtype=dtype)


def _find_fault(value, error, place=""):
    """Search inside a value that fails to pickle; return the place and Python's message."""
    for name, part in _parts(value):
        try:
            cloudpickle.dumps(part)
        except Exception as inner:
            where = f"{place}.{name}" if place else str(name)
            if not isinstance(part, _NAMELESS):
                where += f" ({type(part).__name__})"
            if where.count(".") < _DEPTH:  # a value that contains itself would never end
                return _find_fault(part, inner, where)
    return place or "them", f"{type(error).__name__}: {error}"


# A place within these is written without their class.
_NAMELESS = (dict, list, tuple, set, types.FunctionType, types.MethodType)
_DEPTH = 20


def _parts(value):
    """List the parts of a value by name: everything that is pickled with it."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple | set):
        return list(enumerate(value))
    if isinstance(value, functools.partial):
        return [("func", value.func), *enumerate(value.args), *value.keywords.items()]
    if inspect.ismethod(value):
        return [("__self__", value.__self__)]
    if inspect.isfunction(value):
        used = inspect.getclosurevars(value)
        return [*used.nonlocals.items(), *used.globals.items()]
    if isinstance(value, keras.losses.Loss | keras.optimizers.Optimizer):
        value = _reduce_whole(value)[2]
        return list(value.items()) if isinstance(value, dict) else []
    return list(getattr(value, "__dict__", {}).items())
