"""The stages of ``dvc.yaml`` that have no command of their own: ``python stages.py STAGE``."""

import json
import sys
from pathlib import Path

import pandas as pd
import yaml

from helpers.data import (
    count_hospitals,
    label_films,
    make_hospitals,
    make_radiographs,
    prepare_samples,
    read_radiographs,
)
from helpers.evaluation import auc

PARAMS = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
RAW, TABLE = Path("synthetic"), Path("hospitals.csv")


def films():
    """Write the raw films; of your own, DVC would only keep the version: ``dvc add FOLDER``."""
    make_radiographs(RAW, **PARAMS["films"])


def hospitals():
    """Give each film a label, a hospital and a split."""
    table = read_radiographs(RAW).table
    labels = label_films(table, PARAMS["hospitals"]["task"])
    assigned = make_hospitals(table, labels, seed=PARAMS["hospitals"]["seed"])
    print(count_hospitals(assigned, labels[assigned.index]).to_string())
    labelled = assigned[["image", "hospital", "split"]].assign(label=labels)
    labelled.to_csv(TABLE, index_label="film")


def samples():
    """Write the samples of each hospital and split."""
    radiographs, assigned = read_radiographs(RAW), pd.read_csv(TABLE, index_col="film")
    table = radiographs.table.loc[assigned.index].assign(
        hospital=assigned["hospital"], split=assigned["split"]
    )
    prepare_samples(
        radiographs,
        table,
        assigned["label"],
        size=PARAMS["samples"]["image_size"],
        task=PARAMS["hospitals"]["task"],
        folder="samples",
    )


def metrics():
    """Score the kept model on each hospital's test films."""
    table = pd.read_csv("run/predictions.csv")
    found = {
        hospital: auc(own["label"].to_numpy(), own["logit"].to_numpy())
        for hospital, own in table[table["split"] == "test"].groupby("hospital")
    }
    Path("metrics.json").write_text(json.dumps({"test auc": found}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    {stage.__name__: stage for stage in (films, hospitals, samples, metrics)}[sys.argv[1]]()
