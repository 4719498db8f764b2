"""Tasks: the questions that may be asked about a film, chosen by name."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from helpers.data.metadata import FINDINGS, NO_FINDING, UNSPECIFIED

#: The name of each task that has a name of its own, and which films it labels 1 and 0.
TASKS = {
    "pneumonia vs no finding": (
        "1 for a film whose findings name Pneumonia, alone or with others; 0 for No Finding; "
        "films with other findings only are not part of the task"
    ),
    "any finding vs none": (
        "1 for a film with any finding, named or not (malade); 0 for No Finding (sain)"
    ),
}

#: What a finding that the labeller was unsure of counts as.
UNCERTAIN = ("ignore", "zeros", "ones")

_ALL = "all findings"
_AGAINST_NONE = " vs no finding"
_SHOWN = 40  # findings listed in an error


def label_films(
    table: pd.DataFrame, task: str | Sequence[str], *, uncertain: str = "ignore"
) -> pd.Series | pd.DataFrame:
    """Label each film for one task, or for several findings at once.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with a ``findings`` column: names joined by ``|``, ``No Finding`` alone, or
        ``Unspecified`` for a film known to be abnormal without a named finding. A column
        ``uncertain``, if there is one, names the findings that the labeller was unsure of.
    task : str or sequence of str
        - a name among :data:`~helpers.data.tasks.TASKS`;
        - a finding, such as ``"Effusion"``: 1 where it is named, 0 where it is not. For an
          ``Unspecified`` film this is not known;
        - ``"Effusion vs no finding"``: the same, and films with other findings only are left out;
        - several findings, as a list or joined by commas: one label for each;
        - ``"all findings"``: all that occur, those of NIH ChestX-ray14 first, in its order. Another
          table may have others; name them where hospitals label their own tables.

        Case, spaces and underscores do not matter. At least one of the findings occurs in the
        table; the others do, or are among NIH's 14, since one hospital may have no such film.
    uncertain : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain finding counts as: not known, absent, or present (U-Ignore, U-Zeros and
        U-Ones of CheXpert [1]_). A film with uncertain findings only is no film without finding,
        unless they count as absent.

    Returns
    -------
    pandas.Series or pandas.DataFrame
        For one label a Series, ``Int64`` with the table's index: 1, 0, or missing for a film that
        is not part of the task. For several findings a DataFrame with a column for each, missing
        where it is not known.

    Raises
    ------
    ValueError
        If the task or the policy is unknown, a finding is named twice, or the table has no
        ``findings``. The message lists the findings that occur, with their numbers of films.

    References
    ----------
    .. [1] J. Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels and
       expert comparison", AAAI 2019.

    Examples
    --------
    >>> import pandas as pd
    >>> films = pd.DataFrame({"findings": ["Edema|Pneumonia", "No Finding", "Hernia"]})
    >>> label_films(films, "pneumonia vs no finding").tolist()
    [1, 0, <NA>]
    >>> label_films(films, "any finding vs none").tolist()
    [1, 0, 1]
    >>> label_films(films, "Edema").tolist()
    [1, 0, 0]
    >>> films["uncertain"] = [None, None, "Edema"]
    >>> label_films(films, "Edema, Hernia").to_numpy().tolist()
    [[1, 0], [0, 0], [<NA>, 1]]
    """
    if uncertain not in UNCERTAIN:
        raise ValueError(f"Expected uncertain to be one of {UNCERTAIN}. Received {uncertain!r}.")
    if "findings" not in table.columns:
        raise ValueError(
            f"Expected a table with a column 'findings'. Received {list(table.columns)}. "
            "Read it with read_radiographs."
        )
    found, unsure = (
        table[name].astype(object).fillna("") if name in table else ""
        for name in ("findings", "uncertain")
    )
    films, kinds = pd.factorize(found + "\n" + unsure)
    # A few hundred combinations of findings, also of 112,120 films.
    kinds = [[_split(part) for part in kind.split("\n")] for kind in kinds]
    names, against_none = _find_names(task, Counter(dict(_count(kinds, films))))
    columns = {}
    for name in names:
        labels = [_label(name, against_none, *kind, uncertain) for kind in kinds]
        columns[name] = pd.array(labels, dtype="Int64").take(films)
    if len(columns) == 1:
        return pd.Series(*columns.values(), index=table.index, name="label")
    return pd.DataFrame(columns, index=table.index)


def _split(text):
    """Return the names in a cell."""
    return set(text.split("|")) if text.strip() else set()


def _count(kinds, films):
    """Yield each finding with the number of films that have it, or may have it."""
    n_films = Counter(films.tolist())
    counts = Counter()
    for number, (found, unsure) in enumerate(kinds):
        counts.update(dict.fromkeys(found | unsure, n_films[number]))
    order = {name: place for place, name in enumerate(FINDINGS)}
    for name in sorted(counts, key=lambda name: (order.get(name, len(order)), name)):
        if name not in (NO_FINDING, UNSPECIFIED):
            yield name, counts[name]


def _label(name, against_none, found, unsure, uncertain):
    """Label the films of one kind; None stands for any finding."""
    if not (found or unsure):
        return pd.NA
    if uncertain == "ones":
        found = found | unsure
    if uncertain != "ignore":
        unsure = set()
    if name in found or (name is None and found - {NO_FINDING}):
        return 1
    if name in unsure:
        return pd.NA
    if against_none:
        return 0 if found <= {NO_FINDING} and not unsure else pd.NA
    return pd.NA if UNSPECIFIED in found else 0


def _find_names(task, counts):
    """Return the findings that a task asks for, and whether others are left out."""
    if isinstance(task, str):
        if task == "any finding vs none":
            return [None], True
        if task == "pneumonia vs no finding":
            return ["Pneumonia"], True
        if _simplify(task) == _simplify(_ALL) and counts:
            return list(counts), False
        against_none = task.casefold().endswith(_AGAINST_NONE)
        asked = [task[: -len(_AGAINST_NONE)]] if against_none else task.split(",")
        asked = [name for name in asked if name.strip()]
    else:
        asked, against_none = [str(name) for name in task], False
    known = {_simplify(name): name for name in (*FINDINGS, *counts)}
    names = [known.get(_simplify(name)) for name in asked]
    twice = [name for name, times in Counter(names).items() if name and times > 1]
    unknown = [name for name, meant in zip(asked, names, strict=True) if meant is None]
    if not (unknown or twice) and any(name in counts for name in names):
        return names, against_none
    raise ValueError(
        f"Expected a task: one of {list(TASKS)}, {_ALL!r}, a finding such as 'Effusion', one "
        f"'{_AGAINST_NONE.strip()}', or several findings joined by commas. Received {task!r}"
        + (f", with {', '.join(twice)} twice" if twice else "")
        + _suggest(unknown, known)
        + f". The findings of these films: {_list(counts)}."
    )


def _suggest(unknown, known):
    close = [difflib.get_close_matches(_simplify(name), known, n=1) for name in unknown]
    meant = [known[match[0]] for match in close if match]
    return f" (did you mean {', '.join(meant)}?)" if meant else ""


def _list(counts):
    named = [f"{name} ({number:,})" for name, number in list(counts.items())[:_SHOWN]]
    more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
    return (", ".join(named) or "none is named") + more


def _simplify(name):
    """Return a name without case, spaces and punctuation."""
    return re.sub(r"[\W_]", "", name.casefold())
