"""Tasks: the binary questions that may be asked about a film, chosen by name."""

import pandas as pd

#: The name of each task, and which films it labels 1 and 0.
TASKS = {
    "pneumonia vs no finding": (
        "1 for a film whose findings name Pneumonia, alone or with others; 0 for No Finding; "
        "films with other findings only are not part of the task"
    ),
    "any finding vs none": (
        "1 for a film with any finding, named or not (malade); 0 for No Finding (sain)"
    ),
}


def label_films(table: pd.DataFrame, task: str) -> pd.Series:
    """Label each film for one task.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with a ``findings`` column: NIH names joined by ``|``, ``No Finding`` alone, or
        ``Unspecified`` for a film known to be abnormal without a named finding.
    task : {"pneumonia vs no finding", "any finding vs none"}
        A name among :data:`~helpers.data.tasks.TASKS`.

    Returns
    -------
    pandas.Series
        ``Int64``, one label per film with the table's index: 1, 0, or missing for a film that
        is not part of the task.

    Raises
    ------
    ValueError
        If the task is unknown or the table has no ``findings``.

    Examples
    --------
    >>> import pandas as pd
    >>> films = pd.DataFrame({"findings": ["Edema|Pneumonia", "No Finding", "Hernia"]})
    >>> label_films(films, "pneumonia vs no finding").tolist()
    [1, 0, <NA>]
    >>> label_films(films, "any finding vs none").tolist()
    [1, 0, 1]
    """
    if task not in TASKS:
        raise ValueError(f"Expected a task among {list(TASKS)}. Received {task!r}.")
    if "findings" not in table.columns:
        raise ValueError(
            f"Expected a table with a column 'findings'. Received {list(table.columns)}. "
            "Read it with read_radiographs."
        )
    names = {
        text: set(text.split("|")) for text in table["findings"].dropna().unique() if text.strip()
    }
    if task == "pneumonia vs no finding":
        positive = {text for text, found in names.items() if "Pneumonia" in found}
    else:
        positive = {text for text, found in names.items() if found != {"No Finding"}}
    labels = dict.fromkeys(positive, 1) | {"No Finding": 0}
    return table["findings"].map(labels).astype("Int64").rename("label")
