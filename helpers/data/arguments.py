"""Arguments: numbers are checked before the work begins, not when it fails."""

import numpy as np


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Refuse anything but a whole number within limits.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        What was given.
    low : int
        The smallest number that is accepted.
    high : int, optional
        The largest one.

    Returns
    -------
    int
        The number.

    Raises
    ------
    TypeError
        If it is something else, such as ``True`` or ``1.0``.
    ValueError
        If it is too small or too large.

    Examples
    --------
    >>> check_integer("num_rounds", 3, 1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"Expected {name} to be an integer. Received {value!r}. Pass a whole number."
        )
    if value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"Expected {name} to be {wanted}. Received {value}.")
    return int(value)
