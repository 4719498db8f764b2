"""Weighting: the weight of each film in the loss, from counts of groups and labels.

The counts may be a hospital's own or the sum over hospitals: whole numbers add up exactly, so that
weights from federated counts are those of the pooled films, to the last bit.
"""

import numpy as np
import pandas as pd

from helpers.data.patients import check_labels
from helpers.data.summary import fill_unknown

SCHEMES = {
    "none": "every film counts 1",
    "class_balanced": "both labels count the same: n / (2 n_y)",
    "kamiran_calders": "group and label become independent: n_g n_y / (n n_gy)",
    "inverse_group_frequency": "all groups count the same: n / (G n_g)",
    "hospital_balanced": "all hospitals count the same: n / (H n_h)",
}


def compute_weights(counts: pd.DataFrame, scheme: str) -> pd.DataFrame:
    r"""Compute the weight of a film from its group and label.

    With :math:`n_{gy}` films of group :math:`g` and label :math:`y`, their sums :math:`n_g`,
    :math:`n_y` and :math:`n`, and :math:`G` groups:

    - ``"none"``: 1;
    - ``"class_balanced"``: :math:`n / (2 n_y)`;
    - ``"kamiran_calders"``: :math:`n_g n_y / (n\,n_{gy})`, the reweighing of Kamiran & Calders
      (2012 [1]_, Section 4.2), after which label and group are independent;
    - ``"inverse_group_frequency"``: :math:`n / (G\,n_g)`;
    - ``"hospital_balanced"``: the same with the hospitals as groups.

    All have the mean 1 over the films that were counted, as long as no group lacks a label.

    Parameters
    ----------
    counts : pandas.DataFrame
        Counts of *films* as :func:`~helpers.fairness.count_groups` or
        :func:`~helpers.fairness.sum_counts` returns them: the groups' columns, ``label`` and
        ``count``. Several columns make groups of their combinations. With
        ``"hospital_balanced"`` one of them is ``hospital``, the only one that is used.
    scheme : str
        A name among ``helpers.fairness.SCHEMES``.

    Returns
    -------
    pandas.DataFrame
        The groups' columns, ``label`` and ``weight`` (float64, at least 0; missing for a group
        and label without films).

    Raises
    ------
    ValueError
        If the scheme is unknown, a column is missing, or a count is hidden.

    Notes
    -----
    A factor common to all films of a hospital does not change its local updates if the optimizer is
    Adam, which divides by the size of the gradient; and federated averaging weights hospitals by
    their numbers of films in any case. ``"hospital_balanced"`` acts where films are pooled,
    or under plain gradient descent.

    References
    ----------
    .. [1] F. Kamiran and T. Calders, "Data preprocessing techniques for classification without
       discrimination", Knowledge and Information Systems 33, 2012.

    Examples
    --------
    >>> counts = pd.DataFrame({"sex": list("FFMM"), "label": [0, 1, 0, 1], "count": [4, 1, 2, 3]})
    >>> compute_weights(counts, "kamiran_calders")["weight"].tolist()
    [0.75, 2.0, 1.5, 0.6666666666666666]
    """
    if scheme not in SCHEMES:
        raise ValueError(f"Expected a scheme among {list(SCHEMES)}. Received {scheme!r}.")
    groups = [name for name in counts.columns if name not in ("label", "count")]
    if scheme == "hospital_balanced":
        groups = ["hospital"]
    if not {"label", "count", *groups} <= set(counts.columns):
        raise ValueError(
            f"Expected the columns {[*groups, 'label', 'count']} for {scheme!r}. Received "
            f"{list(counts)}. Count with count_groups and these columns."
        )
    if counts["count"].isna().any():
        raise ValueError(
            f"Expected counts that are all known. Received {counts['count'].isna().sum()} that are "
            "hidden. Add the hospitals' counts before suppress, or merge small groups."
        )
    films = counts.groupby([*groups, "label"])["count"].sum().astype(np.int64).reset_index()
    n = films["count"].sum()
    of_label = films.groupby("label")["count"].transform("sum").to_numpy(float)
    of_group, n_groups = np.full(len(films), float(n)), 1
    if groups:
        of_group = films.groupby(groups)["count"].transform("sum").to_numpy(float)
        n_groups = (films.groupby(groups)["count"].sum() > 0).sum()
    own = films["count"].to_numpy(float)
    known = own > 0
    weight = np.full(len(films), np.nan)
    weight[known] = {
        "none": lambda: np.ones(known.sum()),
        "class_balanced": lambda: n / (2 * of_label[known]),
        "kamiran_calders": lambda: of_group[known] * of_label[known] / (n * own[known]),
        "inverse_group_frequency": lambda: n / (n_groups * of_group[known]),
        "hospital_balanced": lambda: n / (n_groups * of_group[known]),
    }[scheme]()
    return films[[*groups, "label"]].assign(weight=weight)


def weigh_films(table: pd.DataFrame, labels: pd.Series, weights: pd.DataFrame | str) -> pd.Series:
    """Look up the weight of each film.

    Put it into the samples with ``prepare_samples(radiographs, table.assign(weight=...), ...)``;
    :class:`helpers.data.WeightedChestXrayDataset` then gives it to the loss.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with the columns of the groups.
    labels : pandas.Series
        0, 1 or missing for each film, with the table's index.
    weights : pandas.DataFrame or str
        As :func:`compute_weights` returns it, or the name of a column of the table with the
        user's own weights, such as ``"WEIGHTS"``.

    Returns
    -------
    pandas.Series
        ``float64`` with the table's index, named ``weight``; missing for films without a label.

    Raises
    ------
    ValueError
        If a labeled film has no weight, or one that is negative or infinite.
    """
    labels = check_labels(table, labels)
    labeled = labels.notna().to_numpy()
    if isinstance(weights, str):
        if weights not in table:
            raise ValueError(
                f"Expected a column {weights!r}. Received the columns {list(table)}. "
                "Name the column that holds the weights."
            )
        found = pd.to_numeric(table[weights], errors="coerce").to_numpy(float, na_value=np.nan)
    else:
        groups = [name for name in weights.columns if name not in ("label", "weight")]
        missing = [name for name in groups if name not in table]
        if missing:
            raise ValueError(
                f"Expected the columns {groups} of the weights. Received a table without "
                f"{missing}. Add them, as when the films were counted."
            )
        films = fill_unknown(table[groups])
        films["label"] = labels.astype(object)
        rows = weights.astype({name: object for name in [*groups, "label"]})
        found = films.merge(rows, on=[*groups, "label"], how="left")["weight"].to_numpy(float)
    wrong = labeled & ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        film = table.index[wrong][0]
        raise ValueError(
            f"Expected a weight of at least 0 for every film with a label. Received "
            f"{found[wrong][0]} for film {film!r} and {wrong.sum() - 1:,} more. Count all groups "
            "that are to be weighed, or fill the column."
        )
    return pd.Series(np.where(labeled, found, np.nan), index=table.index, name="weight")
