"""Pickling: how an algorithm, and what it was given, gets from the script into the tasks.

An algorithm's life begins in the script: its constructor checks the arguments, records them, and
builds the network. SubstraFL registers its class and its arguments as a function; every task of
that function makes the algorithm again from them, and loads the local state that the task before
has saved. A strategy carries the algorithm itself into the aggregation, and a simulation copies it
for each organization: then its attributes are pickled, the values of the network's variables among
them, and the network is built again if it is asked for.

Keras pickles its losses and optimizers by their ``get_config``, which leaves things out: the delta
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

    It holds for every class of them that exists now, the user's own included, and for Keras'
    variables, which optimizers hold. SubstraFL pickles a class of the script with the objects that
    it names, so that it must hold for its pickles too.
    """
    for base in (keras.losses.Loss, keras.optimizers.Optimizer):
        for cls in _subclasses(base):
            # A class that says itself how it is pickled may.
            if all(getattr(cls, name) is getattr(base, name) for name in _OWN_WAYS):
                copyreg.pickle(cls, _reduce_whole)
    copyreg.pickle(variable_tracker(), _reduce_tracker)
    for cls in tracked_collections():
        copyreg.pickle(cls, _reduce_collection)
    for cls in _subclasses(keras.Variable):
        copyreg.pickle(cls, _reduce_variable)


_OWN_WAYS = ("__reduce__", "__reduce_ex__")


def check_that_it_travels(arguments: dict[str, Any]) -> None:
    """Refuse arguments that could not travel to a task.

    Parameters
    ----------
    arguments : dict of str to object
        The arguments by their names.

    Raises
    ------
    TypeError
        Naming the argument, and within it the class and setting that cannot be pickled.
    ValueError
        If an optimizer excludes variables from weight decay that are not in any task.
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
    """Take an object apart: its class and all its attributes, or those that it chooses."""
    chosen = value.__getstate__()
    if not isinstance(chosen, dict):  # its class puts it together again
        return _make_object, (type(value), ()), chosen
    state = dict(chosen)
    base = snake_case(type(value).__name__)
    if re.fullmatch(rf"{base}_\d+", str(state.get("name"))):
        # Keras numbers unnamed optimizers in each process; nothing is computed from it.
        state["name"] = base
    # An optimizer works under the strategy of the process that it is in.
    strategies = [name for name, one in state.items() if isinstance(one, _STRATEGY)]
    for name in strategies:
        del state[name]
    return _make_object, (type(value), strategies), state


_STRATEGY = (tf.distribute.Strategy, tf.compat.v1.distribute.Strategy)


def _make_object(cls, strategies):
    """Make an object that is given its other attributes next."""
    value = cls.__new__(cls)
    vars(value).update(dict.fromkeys(strategies, tf.distribute.get_strategy()))
    return value


def _reduce_tracker(value):
    """Take a tracker apart; it knows its variables by where they are in memory."""
    stores = {name: tuple(store) for name, (_, store) in value.config.items()}
    ids = {name: _Ids(store) for name, store in stores.items()}
    return object.__new__, (type(value),), vars(value) | {"stored_ids": ids}


class _Ids:
    """What becomes the set of the places of some objects, in the process where they arrive."""

    def __init__(self, values):
        self.values = values

    def __reduce__(self):
        return _ids_of, (self.values,)


def _ids_of(values):
    """Return the places of objects."""
    return {id(value) for value in values}


def _reduce_collection(value):
    """Take a list, dictionary or set of an optimizer apart; it is made empty, and without tracker.

    Python would fill it before it has any tracker to ask.
    """
    if isinstance(value, set):
        return type(value), (list(value),), vars(value)
    filled = (None, iter(value.items())) if isinstance(value, dict) else (iter(value),)
    return type(value), (), vars(value), *filled


def _reduce_variable(value):
    """Take a variable apart."""
    return _make_variable, (value.numpy(), value.name, value.trainable, value.dtype)


def _make_variable(value, name, trainable, dtype):
    """Make a variable from what it holds."""
    return keras.Variable(value, name=name, trainable=trainable, dtype=dtype)


def _find_fault(value, error, place=""):
    """Follow a failure inwards; return where it is, and what Python says of it."""
    for name, part in _parts(value):
        try:
            cloudpickle.dumps(part)
        except Exception as inner:
            where = f"{place}.{name}" if place else str(name)
            if not isinstance(part, _NAMELESS):
                where += f" ({type(part).__name__})"
            if where.count(".") < _DEPTH:  # what refers to itself would never end
                return _find_fault(part, inner, where)
    return place or "them", f"{type(error).__name__}: {error}"


# Where one is within these is said without their class.
_NAMELESS = (dict, list, tuple, set, types.FunctionType, types.MethodType)
_DEPTH = 20


def _parts(value):
    """List what a value is made of, by names: that without which it could not travel."""
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
