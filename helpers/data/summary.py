"""Summary: small tables of what a collection contains and what is associated with its label."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.data.arguments import check_integer
from helpers.data.patients import check_labels, number_patients, patient_labels

_AGES = {0: "0-17", 18: "18-39", 40: "40-59", 60: "60+"}  # lowest age in years: name


UNKNOWN = "unknown"


def fill_unknown(values: pd.Series | pd.DataFrame) -> pd.Series | pd.DataFrame:
    """Put the group "unknown" in place of missing values.

    Parameters
    ----------
    values : pandas.Series or pandas.DataFrame
        Categories.

    Returns
    -------
    pandas.Series or pandas.DataFrame
        The same, of ``object``.
    """
    return values.astype(object).where(values.notna(), UNKNOWN)


def band_ages(ages: pd.Series) -> pd.Series:
    """Name the band of each age: 0-17, 18-39, 40-59 or 60+.

    Parameters
    ----------
    ages : pandas.Series
        Years, at least 0, or missing.

    Returns
    -------
    pandas.Series
        Names, ``object``, missing where the age is.

    Examples
    --------
    >>> import pandas as pd
    >>> band_ages(pd.Series([3.0, 18.0, 59.9, 81.0])).tolist()
    ['0-17', '18-39', '40-59', '60+']
    """
    years = ages.to_numpy(dtype=float, na_value=np.nan)
    names = np.array([*_AGES.values(), None], dtype=object)
    bands = np.searchsorted(list(_AGES), years, side="right") - 1
    return pd.Series(names[np.where(np.isnan(years), -1, bands)], index=ages.index, name=ages.name)


def count_findings(table: pd.DataFrame) -> pd.DataFrame:
    """Count the films and patients that have each finding.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with the columns ``image``, ``patient`` and ``findings`` (joined by ``|``). A film
        without a patient number counts as a patient.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``finding``, the most frequent first: ``films``, ``alone`` (films with no
        other finding) and ``patients``. A film counts for each of its findings.
    """
    names = table["findings"].str.split("|")
    films = pd.DataFrame(
        {
            "finding": names,
            "alone": (names.str.len() == 1).astype(np.int64),
            "patient": number_patients(table)[0],
        }
    )
    groups = films.explode("finding").groupby("finding")
    counts = pd.DataFrame(
        {
            "films": groups.size(),
            "alone": groups["alone"].sum(),
            "patients": groups["patient"].nunique(),
        }
    )
    return counts.sort_values("films", ascending=False, kind="stable")


def share_labels(table: pd.DataFrame, labels: pd.Series, column: str) -> pd.DataFrame:
    r"""Count films, patients and positive films for each value of a column.

    With :math:`n` films and a share :math:`\hat p` of positive ones, the interval is Wilson's
    [1]_,

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n},

    with :math:`z \approx 1.96`. It treats films as independent, so it is too narrow where patients
    have several.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    labels : pandas.Series
        0, 1 or missing for each film, with the table's index. Films without one do not count.
    column : str
        The column; missing values are the group "unknown".

    Returns
    -------
    pandas.DataFrame
        Indexed by value: ``films``, ``patients``, ``positive`` (films), ``share`` of positive
        films in [0, 1], and the limits ``low`` and ``high`` of its 95 % interval.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22, 1927.
    """
    labels = check_labels(table, labels)
    films = pd.DataFrame(
        {
            column: fill_unknown(table[column]),
            "label": labels,
            "patient": number_patients(table)[0],
        }
    ).dropna(subset=["label"])
    groups = films.groupby(column)
    shares = pd.DataFrame(
        {
            "films": groups.size(),
            "patients": groups["patient"].nunique(),
            "positive": groups["label"].sum().astype(np.int64),
        }
    )
    return shares.join(share_with_interval(shares["positive"], shares["films"]))


def share_with_interval(
    positive: pd.Series, total: pd.Series, *, level: float = 0.95
) -> pd.DataFrame:
    """Return ``share``, ``low`` and ``high`` (Wilson); NaN where counts are hidden or zero."""
    limits = [
        binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
        if pd.notna(n) and n > 0
        else (np.nan, np.nan)
        for k, n in zip(positive, total, strict=True)
    ]
    low, high = np.reshape(limits, (-1, 2)).T
    return pd.DataFrame({"share": (positive / total).astype(float), "low": low, "high": high})


def measure_association(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Measure how strongly columns are associated: Cramér's V, corrected for its bias.

    V is 0 for columns that are independent and 1 for columns that determine each other. Since the
    plain V is never 0 in a sample, the correction of Bergsma (equation 4 of [1]_) is applied.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    columns : list of str
        Columns of categories. Films that lack one of two values do not count for this pair.

    Returns
    -------
    pandas.DataFrame
        Square, indexed by the columns both ways, values in [0, 1]; NaN where a column of the
        pair has a single value.

    References
    ----------
    .. [1] W. Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", Journal of the Korean
       Statistical Society 42, 2013.
    """
    values = [[_cramers_v(table[first], table[second]) for second in columns] for first in columns]
    return pd.DataFrame(values, index=columns, columns=columns)


def score_columns(
    table: pd.DataFrame, labels: pd.Series, columns: list[str], *, n_folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Score how well columns alone predict the label, on patients not seen before.

    A logistic regression gets numbers standardized (missing: the mean, and an indicator) and one
    indicator for each category. Patients are assigned to the folds, those with a positive film
    and the others evenly, so that every fold has both labels.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``image``, ``patient`` and the columns.
    labels : pandas.Series
        0, 1 or missing for each film, with the table's index. Films without one do not count.
    columns : list of str
        What the regression may use, numbers or text.
    n_folds : int, default=5
        Number of folds, at least 2.
    seed : int, default=0
        Seed of the folds.

    Returns
    -------
    numpy.ndarray
        Test AUC of each fold, ``float64`` of shape (n_folds,); 0.5 is chance.

    Raises
    ------
    ValueError
        If ``n_folds`` is below 2, the seed is negative, or fewer patients than folds have a
        positive film, or a negative one only.
    """
    check_integer("n_folds", n_folds, 2)
    check_integer("seed", seed, 0)
    labels = check_labels(table, labels)
    films = table[labels.notna()]
    target = labels.dropna().to_numpy(dtype=np.int64)
    patients = number_patients(films)[0]
    of_patients = patient_labels(films, labels.dropna())
    n_positive, n_negative = int((of_patients == 1).sum()), int((of_patients == 0).sum())
    if min(n_positive, n_negative) < n_folds:
        raise ValueError(
            f"Expected at least {n_folds} positive and {n_folds} negative patients for {n_folds} "
            f"folds. Received {n_positive} and {n_negative}. Use fewer folds or more films."
        )
    fold_of_patient = np.empty(len(of_patients), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for label in (0, 1):
        places = rng.permutation(np.flatnonzero(of_patients == label))
        fold_of_patient[places] = np.arange(len(places)) % n_folds
    fold_of_film = fold_of_patient[patients]
    features = _encode(films, columns)
    scores = []
    for fold in range(n_folds):
        train, test = fold_of_film != fold, fold_of_film == fold
        model = make_pipeline(
            SimpleImputer(add_indicator=True, keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(),
        )
        model.fit(features[train], target[train])
        scores.append(roc_auc_score(target[test], model.predict_proba(features[test])[:, 1]))
    return np.array(scores)


def _cramers_v(first: pd.Series, second: pd.Series) -> float:
    counts = pd.crosstab(first.to_numpy(dtype=object), second.to_numpy(dtype=object)).to_numpy()
    n, (rows, columns) = counts.sum(), counts.shape
    if min(rows, columns) < 2:
        return np.nan
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / n
    phi = ((counts - expected) ** 2 / expected).sum() / n
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    rows -= (rows - 1) ** 2 / (n - 1)
    columns -= (columns - 1) ** 2 / (n - 1)
    return float(np.sqrt(phi / min(rows - 1, columns - 1)))


def _encode(table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Turn columns into numbers, ``float64`` of shape (n_films, n_features)."""
    features = []
    for column in columns:
        if pd.api.types.is_numeric_dtype(table[column]):
            features.append(table[column].to_numpy(dtype=float, na_value=np.nan)[:, None])
        else:
            dummies = pd.get_dummies(table[column], dummy_na=bool(table[column].isna().any()))
            features.append(dummies.to_numpy(dtype=float))
    return np.concatenate(features, axis=1)
