"""Values of variables, as the local state keeps them from one task to the next."""

import keras
import numpy as np


def model_variables(model: keras.Model) -> list[keras.Variable]:
    """List all variables that make up a model: weights and seed generators, but no metrics.

    Parameters
    ----------
    model : keras.Model
        A built model.

    Returns
    -------
    list of keras.Variable
        In the model's order.
    """
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def read_variables(variables: list[keras.Variable]) -> list[np.ndarray]:
    """Copy the values of variables.

    Parameters
    ----------
    variables : list of keras.Variable
        What is read.

    Returns
    -------
    list of numpy.ndarray
        One for each.
    """
    return [np.array(variable.numpy()) for variable in variables]


def assign_variables(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    """Give variables their saved values; refuse those of another model.

    Parameters
    ----------
    variables : list of keras.Variable
        What is assigned to.
    values : list of numpy.ndarray
        One for each.

    Raises
    ------
    ValueError
        If their number or a shape differs.
    """
    expected = [(variable.path, tuple(variable.shape)) for variable in variables]
    if len(values) != len(expected):
        raise ValueError(
            f"The local state is of another model: expected {len(expected)} tensors, "
            f"received {len(values)}."
        )
    for (path, shape), variable, value in zip(expected, variables, values, strict=True):
        if shape != value.shape:
            raise ValueError(
                f"The local state is of another model: expected shape {shape} for {path}, "
                f"received {value.shape}."
            )
        variable.assign(value)
