"""Arguments of the algorithms: each is used, or refused with an error that names it."""

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

# Names that users of SubstraFL's Torch classes, PyTorch, or Keras' compile and fit may expect, each
# with the argument that replaces it here, and the words of the error.
_ELSEWHERE = {
    "criterion": ("loss", "loss, a Keras loss"),
    "scheduler": (
        "optimizer",
        "a schedule within the optimizer, such as "
        "keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9))",
    ),
    "use_gpu": ("disable_gpu", "disable_gpu"),
    "device": ("disable_gpu", "disable_gpu"),
    "learning_rate": ("optimizer", "an optimizer with it, such as keras.optimizers.SGD(0.1)"),
    "lr": ("optimizer", "an optimizer with it, such as keras.optimizers.SGD(0.1)"),
    "class_weight": ("dataset", "a dataset that returns (x, y, sample_weight)"),
    "sample_weight": ("dataset", "a dataset that returns (x, y, sample_weight)"),
    "loss_weights": ("loss", "losses that hold their weights, or compute_loss of the model"),
    "metrics": ("dataset", "metric_functions of the strategy"),
} | dict.fromkeys(
    ("batch_size", "epochs", "num_updates", "steps_per_epoch"),
    ("index_generator", "index_generator, such as NpIndexGenerator(batch_size=32, num_updates=20)"),
)


def name_unknown_arguments(init: Callable) -> Callable:
    """Make a constructor suggest the right argument when it is given an unknown one.

    Parameters
    ----------
    init : callable
        A constructor without ``**kwargs``.

    Returns
    -------
    callable
        The same constructor; it raises a ``TypeError`` that suggests a close match, or the
        equivalent of a name from PyTorch's interface or Keras' ``fit``.
    """
    known = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        for name in kwargs:
            if name not in known:
                instead = f" Use {meant}." if (meant := _find_meant(name, known)) else ""
                raise TypeError(
                    f"Expected arguments of {init.__qualname__.split('.')[0]}: {', '.join(known)}. "
                    f"Received {name!r}.{instead}"
                )
        init(self, *args, **kwargs)

    return checked


class SignatureOfInit:
    """The ``__signature__`` of a class whose ``__new__`` takes anything: that of ``__init__``."""

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        """Return the signature of the class that is asked, which may be a child's own."""
        signature = inspect.signature(owner.__init__)
        return signature.replace(parameters=[*signature.parameters.values()][1:])


def _find_meant(name, known):
    """Suggest what was meant by an unknown argument; None if nothing is similar."""
    argument, meant = _ELSEWHERE.get(name, (None, None))
    if argument in known:
        return meant
    return None if meant else next(iter(difflib.get_close_matches(name, known)), None)


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but True and False.

    Parameters
    ----------
    name : str
        The argument's name.
    value : object
        What was given.

    Raises
    ------
    TypeError
        If it is something else, such as None, which is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"Expected {name} to be True or False. Received {value!r}.")


def check_option(name: str, value: Any, example: str) -> None:
    """Refuse anything but an option of that name; the options themselves need not be imported.

    Parameters
    ----------
    name : str
        The argument's name.
    value : object
        What was given; None for no option.
    example : str
        An example that fits, for the error.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if value is not None and getattr(value, "option", None) != name:
        raise TypeError(f"Expected {name} such as {example}. Received {type(value).__name__}.")


def describe(value: Any) -> Any:
    """Describe a value for a summary, the same in every process.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    object
        JSON-serializable: plain values, lists and dictionaries of them as they are, and the names
        of functions and classes in place of these and of their objects.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, dict):
        return {str(key): describe(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [describe(one) for one in value]
    if isinstance(value, functools.partial):
        return describe(value.func)
    return getattr(value, "__qualname__", type(value).__qualname__)


def describe_settings(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """List the settings of an optimizer, as far as they can be read.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        Any.

    Returns
    -------
    dict
        JSON-serializable, without the name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas, unsafe to load; nothing is loaded
            settings = optimizer.get_config()
    except (NotImplementedError, AttributeError, TypeError, ValueError):  # a custom class
        settings = {name: one for name, one in vars(optimizer).items() if name[0] != "_"}
    return {name: describe(one) for name, one in settings.items() if name != "name"}
