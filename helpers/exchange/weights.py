"""Weights as named arrays: the only part of a Keras model that leaves an organization.

A set of parameters is a plain dictionary, tensor name to array, in the model's order: first the
trainable variables, then, optionally, the BatchNorm moving statistics. Order and verbs are those of
SubstraFL's ``weight_manager`` for PyTorch.

Seed generators, optimizer slots, metrics, frozen layers and the statistics of other layers are
never part of it: they stay where they are.

Nothing here imports TensorFlow: a task that only averages arrays does not need it.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers.compatibility import flatten_layers

# Keras' variables by name, without importing Keras; and the arrays that are exchanged.
Variables = dict[str, Any]
Parameters = dict[str, np.ndarray]


def exchanged_variables(model: Any, with_batch_norm_parameters: bool = False) -> Variables:
    """Name the variables of a model that are exchanged; all functions below take these.

    Keras numbers unnamed layers with one counter for the whole process (``conv2d_7``), so that two
    builds of one model differ. Here they are renumbered within the model; names that the user
    gave are kept.

    Parameters
    ----------
    model : keras.Model
        A built model.
    with_batch_norm_parameters : bool, default=False
        Whether the moving mean and variance of BatchNorm layers are exchanged.

    Returns
    -------
    dict of str to keras.Variable
        Trainable first, then BatchNorm statistics by choice, under names that are the same in
        every process, for example ``"sequential/conv2d/kernel"``.

    Raises
    ------
    ValueError
        If the model is not built.
    """
    if not model.built:
        raise ValueError(
            f"Expected a built model, received {model.name!r} without variables. Give its first "
            "layer an input shape, for example keras.Input((64, 64, 1))."
        )
    variables = list(model.trainable_variables)
    if with_batch_norm_parameters:
        for layer in flatten_layers(model):
            if _is_batch_norm(layer) and layer.trainable:  # frozen statistics do not change
                variables += [layer.moving_mean, layer.moving_variance]
    renamed = layer_names(model)
    named = {}
    for variable in variables:
        name = "/".join(renamed.get(part, part) for part in variable.path.split("/"))
        copies = sum(other == name or other.startswith(f"{name}#") for other in named)
        named[f"{name}#{copies + 1}" if copies else name] = variable
    return named


def get_parameters(variables: Variables) -> Parameters:
    """Copy the values of the exchanged variables.

    Parameters
    ----------
    variables : dict of str to keras.Variable
        As :func:`exchanged_variables` returns them.

    Returns
    -------
    dict of str to numpy.ndarray
        Copies, with the variables' shapes and dtypes, in the same order.
    """
    return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def set_parameters(variables: Variables, parameters: Parameters) -> None:
    """Set the exchanged variables to the values of ``parameters``.

    Parameters
    ----------
    variables : dict of str to keras.Variable
        As :func:`exchanged_variables` returns them; assigned to.
    parameters : dict of str to numpy.ndarray
        As :func:`get_parameters` returns them.

    Raises
    ------
    ValueError
        If a name, shape or dtype differs from the variables', or a value is not finite; the model
        is then left as it was.
    """
    check_parameters(parameters, get_parameters(variables))
    for name, value in parameters.items():
        variables[name].assign(value)


def increment_parameters(
    variables: Variables, updates: Parameters, *, updates_multiplier: float = 1.0
) -> None:
    """Add ``updates_multiplier * updates`` to the exchanged variables.

    Parameters
    ----------
    variables : dict of str to keras.Variable
        As :func:`exchanged_variables` returns them; assigned to.
    updates : dict of str to numpy.ndarray
        What is added, with the names, shapes and dtypes of :func:`get_parameters`.
    updates_multiplier : float, default=1.0
        Factor of the updates.

    Raises
    ------
    ValueError
        As :func:`set_parameters`.
    """
    current = get_parameters(variables)
    check_parameters(updates, current)
    set_parameters(
        variables, weighted_sum_parameters([current, updates], [1.0, updates_multiplier])
    )


def subtract_parameters(parameters: Parameters, parameters_to_subtract: Parameters) -> Parameters:
    """Return ``parameters - parameters_to_subtract``, tensor by tensor.

    Parameters
    ----------
    parameters, parameters_to_subtract : dict of str to numpy.ndarray
        Two sets with the same names, shapes and dtypes.

    Returns
    -------
    dict of str to numpy.ndarray
        The difference.

    Examples
    --------
    >>> import numpy as np
    >>> subtract_parameters({"w": np.float32([3, 5])}, {"w": np.float32([1, 1])})
    {'w': array([2., 4.], dtype=float32)}
    """
    return weighted_sum_parameters([parameters, parameters_to_subtract], [1, -1])


def add_parameters(parameters: Parameters, parameters_to_add: Parameters) -> Parameters:
    """Return ``parameters + parameters_to_add``, tensor by tensor.

    Parameters
    ----------
    parameters, parameters_to_add : dict of str to numpy.ndarray
        Two sets with the same names, shapes and dtypes.

    Returns
    -------
    dict of str to numpy.ndarray
        The sum.
    """
    return weighted_sum_parameters([parameters, parameters_to_add], [1, 1])


def weighted_sum_parameters(
    parameters_list: Sequence[Parameters], coefficient_list: Sequence[float]
) -> Parameters:
    r"""Return :math:`\sum_k c_k w_k`, tensor by tensor.

    With :math:`c_k = n_k / n` it is the average of Federated Averaging (McMahan et al. 2017,
    Algorithm 1).

    Parameters
    ----------
    parameters_list : sequence of dict of str to numpy.ndarray
        At least one set; all with the same names, shapes and dtypes.
    coefficient_list : sequence of float
        One coefficient for each set.

    Returns
    -------
    dict of str to numpy.ndarray
        The sum, in the dtype of the first set.

    Raises
    ------
    ValueError
        If the numbers of sets and coefficients differ, two sets do not match, or arrays of whole
        numbers would be multiplied by fractions.
    """
    if len(parameters_list) == 0 or len(parameters_list) != len(coefficient_list):
        raise ValueError(
            "Expected one coefficient for each set of parameters and at least one set. "
            f"Received {len(parameters_list)} sets and {len(coefficient_list)} coefficients."
        )
    first = parameters_list[0]
    for number, parameters in enumerate(parameters_list):
        check_parameters(parameters, first, origin=f"set {number} of the sum")
    if not all(float(coefficient).is_integer() for coefficient in coefficient_list):
        whole = [name for name, value in first.items() if value.dtype.kind in "iub"]
        if whole:
            raise ValueError(
                "Expected arrays of floating-point numbers with coefficients that are not whole: "
                f"in whole numbers they would be rounded. Received whole numbers in {whole}: "
                "convert these, for example with .astype('float32')."
            )
    return {
        name: sum(
            parameters[name] * value.dtype.type(coefficient)
            for parameters, coefficient in zip(parameters_list, coefficient_list, strict=True)
        )
        for name, value in first.items()
    }


def norm_parameters(parameters: Parameters) -> float:
    """Return the Euclidean norm of all tensors taken together.

    Parameters
    ----------
    parameters : dict of str to numpy.ndarray
        As :func:`get_parameters` returns them, or a difference of two sets.

    Returns
    -------
    float
        The norm.

    Examples
    --------
    >>> import numpy as np
    >>> norm_parameters({"w": np.float32([3, 0]), "b": np.float32([4])})
    5.0
    """
    return float(np.sqrt(sum(np.sum(np.square(value)) for value in parameters.values())))


def step_norms(parameters_list: Sequence[Parameters]) -> list[float]:
    """Return the norm of each step from one set to the next.

    Parameters
    ----------
    parameters_list : sequence of dict of str to numpy.ndarray
        Sets with the same names, shapes and dtypes, for example a model after each round.

    Returns
    -------
    list of float
        One norm fewer than there are sets, see :func:`norm_parameters`.
    """
    pairs = itertools.pairwise(parameters_list)
    return [norm_parameters(subtract_parameters(after, before)) for before, after in pairs]


def unchanged_parameters(before: Parameters, after: Parameters) -> list[str]:
    """List the tensors that are bit for bit what they were.

    After a round in which every tensor was trained the list is empty. A tensor in it was frozen,
    or its average was never added.

    Parameters
    ----------
    before, after : dict of str to numpy.ndarray
        Two sets with the same names.

    Returns
    -------
    list of str
        Names of the tensors that did not change.
    """
    return [name for name in before if np.array_equal(before[name], after[name])]


def zeros_like_parameters(variables: Variables) -> Parameters:
    """Zeros with the names, shapes and dtypes of the exchanged variables.

    Parameters
    ----------
    variables : dict of str to keras.Variable
        As :func:`exchanged_variables` returns them.

    Returns
    -------
    dict of str to numpy.ndarray
        Zeros.
    """
    return {name: np.zeros_like(value) for name, value in get_parameters(variables).items()}


def name_parameters(
    arrays: Sequence[np.ndarray], expected: Parameters, origin: str = "the shared state"
) -> Parameters:
    """Restore the names of arrays that were sent as a list, and check them.

    SubstraFL's shared states are lists without names; both sides use the order of the model.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray
        What was received.
    expected : dict of str to numpy.ndarray
        The model's own tensors, as :func:`get_parameters` returns them.
    origin : str, default="the shared state"
        Where the arrays come from, for the error.

    Returns
    -------
    dict of str to numpy.ndarray
        The arrays under the names of ``expected``, floating-point numbers in its dtypes.

    Raises
    ------
    ValueError
        If the number of arrays, a shape or the kind of numbers differs, or a value is not finite.
    """
    if len(arrays) != len(expected):
        raise ValueError(
            f"Expected {len(expected)} tensors ({', '.join(list(expected)[:3])}, …) in {origin}. "
            f"Received {len(arrays)}. Build the same model, with the same choice of "
            "with_batch_norm_parameters, at every organization."
        )
    parameters = {
        # SubstraFL's average of float32 may be float64.
        name: array.astype(value.dtype) if _are_floats(array, value) else array
        for (name, value), array in zip(expected.items(), arrays, strict=True)
    }
    check_parameters(parameters, expected, origin=origin)
    return parameters


def _are_floats(*values):
    """Return whether all values are arrays of floating-point numbers; the kind of bfloat16 is V."""
    return all(getattr(value, "dtype", np.dtype(int)).kind in "fV" for value in values)


def check_parameters(
    parameters: Parameters, expected: Parameters, origin: str = "the parameters"
) -> None:
    """Refuse parameters with wrong names, order, shapes or dtypes, or values that are not finite.

    Parameters
    ----------
    parameters : dict of str to numpy.ndarray
        What is checked.
    expected : dict of str to numpy.ndarray
        What it must look like; only names, shapes and dtypes count.
    origin : str, default="the parameters"
        Where the parameters come from, for the error.

    Raises
    ------
    TypeError
        If ``parameters`` is not a dictionary of arrays.
    ValueError
        With every tensor that is at fault, what was expected and what was received.
    """
    if not isinstance(parameters, dict):
        raise TypeError(
            f"Expected {origin} to be a dictionary of named arrays, as get_parameters returns it. "
            f"Received {type(parameters).__name__}."
        )
    faults = [f"{name}: missing" for name in expected if name not in parameters]
    faults += [f"{name}: not a tensor of this model" for name in parameters if name not in expected]
    if not faults and list(parameters) != list(expected):
        faults.append(f"wrong order: expected {list(expected)}, received {list(parameters)}")
    for name, model_value in expected.items():
        if name in parameters:
            faults += _tensor_faults(name, parameters[name], model_value)
    if faults:
        raise ValueError(f"Tensors at fault in {origin}:\n  " + "\n  ".join(faults))


def _tensor_faults(name, value, expected):
    """List what is wrong with one tensor, as sentences that begin with its name."""
    if not isinstance(value, np.ndarray | np.generic):
        return [f"{name}: expected a NumPy array, received {type(value).__name__}"]
    if value.shape != expected.shape:
        return [f"{name}: expected shape {expected.shape}, received {value.shape}"]
    if value.dtype != expected.dtype:
        return [f"{name}: expected dtype {expected.dtype}, received {value.dtype}"]
    wrong = int(value.size - np.isfinite(value).sum())
    if wrong:
        return [
            f"{name}: {wrong} of {value.size} values are not finite; training diverged there: "
            "lower the learning rate, or clip the gradients; labels that are not known (NaN) need "
            "the loss MaskedBinaryCrossentropy"
        ]
    return []


def _is_batch_norm(layer):
    """Return whether a layer is BatchNorm (or a subclass), without importing Keras."""
    return any(cls.__name__ == "BatchNormalization" for cls in type(layer).__mro__)


def layer_names(model: Any) -> dict[str, str]:
    """Map Keras' automatic names to names numbered within this model.

    Parameters
    ----------
    model : keras.Model
        A model.

    Returns
    -------
    dict of str to str
        The name that Keras gave, then the name within the model; layers that the user named are
        left out.
    """
    renamed, seen = {}, {}
    for layer in flatten_layers(model):
        base = snake_case(type(layer).__name__)
        if layer.name not in renamed and re.fullmatch(rf"{re.escape(base)}(_\d+)?", layer.name):
            number = seen[base] = seen.get(base, -1) + 1
            renamed[layer.name] = base if number == 0 else f"{base}_{number}"
    return renamed


def snake_case(name: str) -> str:
    """Spell a class name as Keras does for unnamed layers: ``Conv2D`` gives ``conv2d``.

    Parameters
    ----------
    name : str
        Name of a class.

    Returns
    -------
    str
        Name of the first object of that class.
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
