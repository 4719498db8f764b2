"""Selection: films that are left out depending on group and label, to plant a known bias."""

import numpy as np
import pandas as pd

from helpers.data.arguments import check_integer
from helpers.data.patients import check_labels


def leave_out(
    table: pd.DataFrame,
    labels: pd.Series,
    column: str,
    value: object,
    *,
    share: float,
    split: str = "train",
    seed: int = 0,
) -> pd.DataFrame:
    """Leave out ill patients of one group and healthy ones of the others, in one split.

    This is as if one group were imaged in a screening and the others as emergencies: label and
    group are associated in these films, but not in the patients on whom the model is used, those of
    the other splits.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with the column, ``patient`` and ``split``.
    labels : pandas.Series
        0, 1 or missing for each film, with the table's index.
    column : str
        Such as ``"sex"``.
    value : object
        The group whose positive films are left out, such as ``"F"``; of all others it is the
        negative films.
    share : float in [0, 1)
        Probability that such a film is left out.
    split : str, default="train"
        The split that is changed.
    seed : int, default=0
        Seed of the choice.

    Returns
    -------
    pandas.DataFrame
        The films that stay, with the index that they had.

    Raises
    ------
    ValueError
        If ``share`` or ``seed`` is out of range, or nobody has the value.
    """
    if not 0 <= share < 1:
        raise ValueError(f"Expected share in [0, 1). Received {share}. Some films must stay.")
    if not (table[column] == value).any():
        raise ValueError(
            f"Expected films with {column} {value!r}. Received {table[column].unique().tolist()}. "
            "Name a value that occurs."
        )
    check_integer("seed", seed, 0)
    labels = check_labels(table, labels)
    own = (table[column] == value).to_numpy(dtype=bool)
    positive = (labels == 1).fillna(False).to_numpy(dtype=bool)
    negative = (labels == 0).fillna(False).to_numpy(dtype=bool)
    unwanted = np.where(own, positive, negative) & (table["split"] == split).to_numpy(dtype=bool)
    drawn = np.random.default_rng(seed).random(len(table)) < share
    return table[~(unwanted & drawn)]
