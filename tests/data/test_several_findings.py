"""Several findings: labels, hospitals, samples, opener and batches, from films to one table."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from helpers.data import (
    ChestXrayDataset,
    PatientDataset,
    check_hospitals,
    choose_finding,
    count_hospitals,
    find_unmeasured,
    label_films,
    make_hospitals,
    name_findings,
    prepare_samples,
    split_patients,
    verify_sample,
)
from helpers.data.metadata import SPLITS
from helpers.data.patients import check_labels, patient_labels, patient_strata
from helpers.data.radiographs import Radiographs
from helpers.data.report import Report
from helpers.data.summary import share_labels
from helpers.fairness import count_groups, find_associations, sum_counts
from helpers.openers.chest_xray_opener import ChestXrayOpener

NAMES = ["Effusion", "Edema", "Hernia"]


@pytest.fixture
def table(rng):
    """Return 240 films of 120 patients at two hospitals; Hernia is rare, some are uncertain."""
    n = 240
    drawn = rng.random((n, 3)) < [0.4, 0.3, 0.06]
    unsure = (rng.random((n, 3)) < 0.1) & ~drawn
    patients = np.arange(n) // 2
    found = ["|".join(np.array(NAMES)[row]) or "No Finding" for row in drawn]
    found[0], found[1] = "Unspecified", None  # a film without any label
    return pd.DataFrame(
        {
            "image": [f"{film:03d}.png" for film in range(n)],
            "patient": [f"{patient:04d}" for patient in patients],
            "age": 50.0,
            "sex": np.where(patients % 3 == 0, "F", "M"),
            "view": "PA",
            "findings": pd.Series(found, dtype="str"),
            "uncertain": pd.Series(["|".join(np.array(NAMES)[row]) or None for row in unsure]),
            "follow_up": pd.Series(np.arange(n) % 2, dtype="Int64"),
            "hospital": np.where(patients < 70, "North", "South"),
            "split": pd.Series([None] * n, dtype="str"),
        }
    ).assign(uncertain=lambda films: films["uncertain"].mask(films.index < 2))


@pytest.fixture
def labels(table):
    return label_films(table, NAMES)


@pytest.fixture
def radiographs(table, tmp_path, rng):
    """The films of the table in one array; each film is filled with its number."""
    images = np.broadcast_to(np.arange(len(table), dtype=np.uint8)[:, None, None], (240, 4, 4))
    source = tmp_path / "films.npz"
    np.savez(source, images=images)

    class Films(Radiographs):
        def image(self, film):
            return images[int(film.removesuffix(".png"))]

    return Films(table, source, "medmnist", Report())


@pytest.fixture
def samples(radiographs, table, labels, tmp_path):
    films = make_hospitals(table, labels)
    own = labels.loc[films.index]
    return prepare_samples(
        radiographs, films, own, size=4, task=", ".join(NAMES), folder=tmp_path / "samples"
    )


def test_films_without_any_label_are_left_out_and_the_others_kept(table, labels):
    films = make_hospitals(table, labels)
    assert films.index.tolist() == table.index[2:].tolist()


def test_a_rare_finding_is_in_every_split_of_every_hospital(table, labels):
    films = make_hospitals(table, labels)
    counts = count_hospitals(films, labels.loc[films.index])
    assert list(counts) == ["hospital", "split", "films", "patients", *NAMES]
    assert (counts[NAMES] > 0).all(axis=None)
    assert counts["films"].sum() == len(films)
    for name in NAMES:
        assert counts[name].sum() == (labels[name] == 1).sum()
        own = count_hospitals(films, labels[name].loc[films.index])
        assert own["positive"].tolist() == counts[name].tolist()


def test_patients_are_grouped_by_the_rarest_finding_that_they_have():
    films = pd.DataFrame({"image": list("abcdef"), "patient": list("112345")})
    labels = pd.DataFrame(
        {"common": [1, 0, 1, 1, 0, None], "rare": [0, 1, None, 0, None, None]}, dtype="Int64"
    )
    assert patient_strata(films, labels).tolist() == [1, 2, 2, 0, -1]
    one = labels["common"]
    assert patient_strata(films, one).tolist() == patient_labels(films, one).tolist()


def test_findings_that_cannot_be_measured_are_listed(table, labels):
    films = make_hospitals(table, labels)
    own = labels.loc[films.index]
    own.loc[(films["hospital"] == "South") & (films["split"] == "test"), "Edema"] = 0
    own["Hernia"] = pd.NA
    assert find_unmeasured(films, own) == {
        "Edema": ["South/test"],
        "Hernia": [f"{name}/{split}" for name in ("North", "South") for split in SPLITS],
    }
    check_hospitals(films, own)  # Effusion can


def test_hospitals_where_no_finding_has_both_labels_are_refused(table, labels):
    films = make_hospitals(table, labels)
    own = labels.loc[films.index]
    own.loc[(films["hospital"] == "South") & (films["split"] == "test")] = 0
    with pytest.raises(
        ValueError, match=r"at least one of 3 findings.*\n  South, test: \d+ films \(at most 0 of"
    ):
        check_hospitals(films, own)


def test_the_sample_lists_the_findings_and_an_unknown_label_is_an_empty_cell(samples, labels):
    folder = samples["North"]["train"]
    about = verify_sample(folder)
    rows = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    assert about["findings"] == NAMES
    assert about["task"] == "Effusion, Edema, Hernia"
    assert "label" not in rows
    for name in NAMES:
        cells = rows[f"label:{name}"]
        films = [int(image[:3]) for image in rows["image"]]
        expected = labels[name].loc[films].astype(object).fillna("").astype(str)
        assert cells.tolist() == expected.tolist()
        assert about["n_positive"][name] == (cells == "1").sum()
    assert set(rows["label:Edema"]) == {"0", "1", ""}


def test_the_opener_returns_float32_with_nan_and_the_folders_in_order(samples, labels):
    folders = [own[split] for own in samples.values() for split in ("valid", "train")]
    data = ChestXrayOpener().get_data(folders)
    films = [int(image[:3]) for image in data["metadata"]["image"]]
    assert data["labels"].dtype == np.float32
    assert np.array_equal(
        data["labels"], labels.loc[films].to_numpy(np.float32, na_value=np.nan), equal_nan=True
    )
    assert np.asarray(data["images"])[:, 0, 0, 0].tolist() == films
    assert name_findings(data) == NAMES
    pd.testing.assert_frame_equal(
        data["metadata"][[f"label:{name}" for name in NAMES]].set_axis(NAMES, axis=1),
        labels.loc[films].reset_index(drop=True),
    )


def change_sample(folder, change=None, rows=None):
    """Change sample.json, and the rows with their checksum, as another program might."""
    path = folder / "sample.json"
    about = json.loads(path.read_text("utf-8"))
    if rows is not None:
        (folder / "metadata.csv").write_text(rows, "utf-8")
        about["checksums"]["metadata.csv"] = hashlib.sha256(rows.encode()).hexdigest()
    path.write_text(json.dumps(about | (change or {})), "utf-8")


def test_samples_of_other_findings_are_refused_together(samples):
    first, second = samples["North"]["train"], samples["South"]["train"]
    change_sample(second, {"findings": ["Effusion", "Hernia", "Edema"]})
    with pytest.raises(ValueError, match=r"the labels \['label:Effusion', .* for one task"):
        ChestXrayOpener().get_data([first, second])
    change_sample(second, {"findings": ["Mass"]})
    with pytest.raises(ValueError, match=r"no \['label:Mass'\]"):
        ChestXrayOpener().get_data([second])


def test_a_label_that_is_neither_0_nor_1_nor_empty_is_refused(samples):
    folder = samples["North"]["train"]
    rows = pd.read_csv(folder / "metadata.csv", dtype=str).assign(**{"label:Edema": "-1"})
    change_sample(folder, rows=rows.to_csv(index=False))
    with pytest.raises(ValueError, match=r"labels 0 and 1 in metadata.csv. Received \['-1'\]"):
        ChestXrayOpener().get_data([folder])


def test_batches_keep_the_unknown_labels(samples):
    data = ChestXrayOpener().get_data([samples["North"]["train"]])
    x, y = ChestXrayDataset(data, is_inference=False)[np.array([3, 0])]
    assert (x.shape, y.shape, y.dtype) == ((2, 4, 4, 1), (2, 3), np.float32)
    assert np.array_equal(y, data["labels"][[3, 0]], equal_nan=True)
    patients = PatientDataset(data, is_inference=False)
    x, y, weight = patients[np.arange(len(patients))]
    assert y.shape == (*weight.shape, 3)
    assert np.isnan(y).sum() == np.isnan(data["labels"]).sum()


def test_one_finding_is_chosen_with_the_films_where_it_is_known(samples):
    data = ChestXrayOpener().get_data([samples["North"]["train"]])
    one = choose_finding(data, "Edema")
    known = ~np.isnan(data["labels"][:, 1])
    assert not known.all()
    assert one["labels"].dtype == np.int64
    assert one["labels"].tolist() == data["labels"][known, 1].tolist()
    assert np.array_equal(one["images"], data["images"][known])
    assert one["metadata"]["label"].tolist() == one["labels"].tolist()
    assert name_findings(one) == []
    with pytest.raises(ValueError, match=r"one of the findings \['Effusion', .* Received 'Mass'"):
        choose_finding(data, "Mass")


def test_what_needs_one_label_refuses_several_and_works_with_one_of_them(table, labels):
    with pytest.raises(ValueError, match=r"of one finding.*of 3: Effusion.*labels\['Effusion'\]"):
        count_groups(table, labels, ["sex"])
    with pytest.raises(ValueError, match="labels of one finding"):
        share_labels(table, labels, "sex")
    with pytest.raises(ValueError, match="labels of one finding"):
        make_hospitals(table, labels, by="dirichlet")
    counts = [
        count_groups(own, labels["Effusion"].loc[own.index], ["hospital", "sex"])
        for _, own in table.groupby("hospital")
    ]
    found = find_associations([sum_counts(counts)], within="hospital")
    assert found[["first", "second"]].to_numpy().tolist() == [["sex", "label"]]


def test_wrong_tables_of_labels_are_refused(table, labels):
    for wrong, words in {
        "2": (labels.assign(Edema=2), r"0, 1 or missing. Received \[2\]"),
        "index": (labels.iloc[1:], "another index"),
        "none": (labels[[]], "a column of labels for each finding"),
        "twice": (labels[["Edema", "Edema"]], "a column of labels for each finding"),
    }.values():
        with pytest.raises(ValueError, match=words):
            check_labels(table, wrong, several=True)
    whole = split_patients(table.iloc[2:], labels=labels.iloc[2:])
    assert whole["split"].notna().all()
