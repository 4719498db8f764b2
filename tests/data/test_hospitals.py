import numpy as np
import pandas as pd
import pytest

from helpers.data.hospitals import (
    SPLITS,
    assign_hospitals,
    check_hospitals,
    check_names,
    check_no_leak,
    count_hospitals,
    has_patients,
    make_hospitals,
    shuffle_hospitals,
    split_patients,
)
from helpers.data.patients import qualify_patients


def make_table(n_patients=60, films_each=2, seed=0):
    """Return films of patients with known ages, sexes and views, and labels per film."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), films_each)
    n = len(patients)
    table = pd.DataFrame(
        {
            "image": [f"{i:05d}.png" for i in range(n)],
            "patient": [f"{p:05d}" for p in patients],
            "age": 20.0 + patients % 50,
            "sex": np.where(patients % 2 == 0, "F", "M"),
            "view": np.where(patients % 3 == 0, "AP", "PA"),
            "findings": "No Finding",
            "follow_up": pd.Series(np.arange(n) % films_each, dtype="Int64"),
            "hospital": pd.Series([None] * n, dtype="str"),
            "split": pd.Series([None] * n, dtype="str"),
        }
    )
    labels = pd.Series(rng.integers(0, 2, size=n), dtype="Int64", name="label")
    return table, labels


def patients_of(table, column):
    """Return the set of patients for each value of a column."""
    return {value: set(rows["patient"]) for value, rows in table.groupby(column)}


WAYS = ["view", "age", "sex", "dirichlet", "size", "iid"]


@pytest.mark.parametrize("by", WAYS)
def test_hospitals_are_made_in_another_way_if_it_is_named(by):
    table, labels = make_table(n_patients=400)
    labels[::5] = pd.NA
    named = table.assign(hospital="A")
    options = {"n_hospitals": 2, "alpha": 0.6, "seed": 3}
    known = labels[labels.notna()]
    wanted = assign_hospitals(named.loc[known.index], by, labels=known, **options)
    films = make_hospitals(named, labels, by=by, **options)
    assert films["hospital"].tolist() == wanted["hospital"].tolist()
    assert set(make_hospitals(named, labels)["hospital"]) == {"A"}


@pytest.mark.parametrize("by", WAYS)
def test_every_way_keeps_patients_whole_and_repeats_itself(by):
    table, labels = make_table()
    before = table.copy()
    first = split_patients(assign_hospitals(table, by, labels=labels, seed=3), labels=labels)
    again = split_patients(assign_hospitals(table, by, labels=labels, seed=3), labels=labels)
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(table, before)  # a copy was changed, not the table
    check_no_leak(first)
    assert first["hospital"].notna().all()
    assert set(first["split"]) == set(SPLITS)
    assert list(first.columns) == list(table.columns)
    assert (first.drop(columns=["hospital", "split"]).dtypes == table.dtypes[:7]).all()
    check_names(first["hospital"])


@pytest.mark.parametrize("by", ["dirichlet", "size", "iid"])
def test_another_seed_gives_other_hospitals(by):
    table, labels = make_table()
    one = assign_hospitals(table, by, labels=labels, seed=0)["hospital"]
    other = assign_hospitals(table, by, labels=labels, seed=1)["hospital"]
    assert (one != other).any()


def test_view_takes_the_leading_value_of_a_patient_and_ties_go_to_the_first_film():
    table = pd.DataFrame(
        {
            "image": list("abcdefgh"),
            "patient": ["1", "1", "1", "2", "2", "3", "3", "4"],
            "view": ["AP", "PA", "PA", "PA", "AP", None, "AP", "PA"],
        }
    )
    received = assign_hospitals(table.assign(hospital=None), "view")["hospital"]
    #                           1: PA leads            2: tie, PA first    3: AP known  4
    assert received.tolist() == ["view_PA"] * 3 + ["view_PA"] * 2 + ["view_AP"] * 2 + ["view_PA"]


def test_age_bands_hold_equal_numbers_of_patients():
    table, _ = make_table(n_patients=90, films_each=1)
    table["age"] = np.arange(90) + 0.5  # one patient for each year
    received = assign_hospitals(table, "age", n_hospitals=3)
    assert received["hospital"].value_counts().to_dict() == {
        "age_0-29": 30,
        "age_30-59": 30,
        "age_60-89": 30,
    }


def test_age_bands_leave_a_year_for_every_hospital():
    table, _ = make_table(n_patients=20, films_each=1)
    table["age"] = [40.0] * 18 + [41.0, 70.0]
    received = assign_hospitals(table, "age", n_hospitals=3)["hospital"]
    assert received.value_counts().to_dict() == {"age_40": 18, "age_41-69": 1, "age_70": 1}


def test_age_refuses_more_bands_than_ages():
    table, _ = make_table()
    table["age"] = 40.0
    with pytest.raises(ValueError, match=r"at least 3 different ages.*Received 1.*fewer hospitals"):
        assign_hospitals(table, "age")


def test_iid_hospitals_have_equal_numbers_of_patients():
    table, _ = make_table(n_patients=61)
    sizes = [len(p) for p in patients_of(assign_hospitals(table, "iid"), "hospital").values()]
    assert sorted(sizes) == [20, 20, 21]


def test_size_skew_is_a_geometric_sequence():
    table, _ = make_table(n_patients=70)
    parts = patients_of(assign_hospitals(table, "size", alpha=0.5), "hospital")
    assert {name: len(p) for name, p in parts.items()} == {
        "hospital_1": 40,
        "hospital_2": 20,
        "hospital_3": 10,
    }


def test_names_of_ten_hospitals_sort_in_their_order():
    table, _ = make_table(n_patients=60)
    names = sorted(assign_hospitals(table, "iid", n_hospitals=10)["hospital"].unique())
    assert names[0] == "hospital_01"
    assert names[-1] == "hospital_10"


def positive_shares(table, labels):
    positive = labels.groupby(table["patient"]).max()
    hospital = table.groupby("patient")["hospital"].first()
    return positive.groupby(hospital).mean().astype(float)


def test_dirichlet_skews_labels_more_with_a_smaller_alpha():
    table, labels = make_table(n_patients=600, films_each=1)
    spreads = {
        alpha: np.mean(
            [
                np.ptp(
                    positive_shares(
                        assign_hospitals(
                            table, "dirichlet", alpha=alpha, labels=labels, n_hospitals=4, seed=s
                        ),
                        labels,
                    )
                )
                for s in range(10)
            ]
        )
        for alpha in (0.3, 3, 1000)
    }
    assert spreads[0.3] > spreads[3] + 0.2
    assert spreads[3] > spreads[1000] + 0.2
    assert spreads[1000] < 0.15


def test_dirichlet_has_the_published_spread():
    # Var(q) = p (1 - p) / (alpha + 1); with many hospitals the common factor is close to 1.
    table, labels = make_table(n_patients=8000, films_each=1)
    received = assign_hospitals(table, "dirichlet", alpha=4, n_hospitals=80, labels=labels)
    shares = positive_shares(received, labels)
    assert len(shares) == 80
    assert shares.mean() == pytest.approx(labels.mean(), abs=1e-9)
    assert shares.var() == pytest.approx(0.25 / 5, rel=0.3)


@pytest.mark.parametrize("seed", range(20))
def test_dirichlet_uses_every_patient_once_and_leaves_three_of_each_label(seed):
    table, labels = make_table(n_patients=90, films_each=1)
    received = assign_hospitals(table, "dirichlet", alpha=0.5, labels=labels, seed=seed)
    counts = pd.crosstab(received["hospital"], labels)
    assert counts.sum(axis=1).tolist() == [30, 30, 30]
    assert counts.to_numpy().min() >= 3


def test_dirichlet_deals_patients_without_label_evenly():
    table, labels = make_table(n_patients=90, films_each=1)
    labels[60:] = pd.NA
    received = assign_hospitals(table, "dirichlet", alpha=5, labels=labels)
    assert received["hospital"][60:].value_counts().tolist() == [10, 10, 10]


def test_dirichlet_needs_labels():
    with pytest.raises(ValueError, match="Expected labels with by='dirichlet'"):
        assign_hospitals(make_table()[0], "dirichlet")


def test_dirichlet_with_the_smallest_alpha_still_leaves_two_of_each_label_per_split():
    table, labels = make_table(n_patients=300, films_each=1)
    received = assign_hospitals(table, "dirichlet", alpha=1e-6, labels=labels, n_hospitals=5)
    counts = pd.crosstab(received["hospital"], labels)
    assert counts.sum(axis=1).tolist() == [60] * 5
    # All but the one hospital that takes what is left are as one-sided as they may be.
    assert (counts.to_numpy().min(axis=1) == 6).sum() >= 4
    received = split_patients(received, labels=labels)
    assert check_hospitals(received, labels, minimum=9)["positive"].min() >= 2


def test_dirichlet_says_when_a_label_is_too_rare():
    table, labels = make_table(n_patients=60)
    labels[:] = 0
    labels[:4] = 1
    with pytest.raises(ValueError, match=r"Received 2 positive and 58 negative.*fewer hospitals"):
        assign_hospitals(table, "dirichlet", labels=labels)


@pytest.mark.parametrize("alpha", [0, -1, np.nan, np.inf])
def test_dirichlet_refuses_alpha_out_of_range(alpha):
    table, labels = make_table()
    with pytest.raises(ValueError, match=f"positive alpha.*Received {alpha}"):
        assign_hospitals(table, "dirichlet", alpha=alpha, labels=labels)


@pytest.mark.parametrize("alpha", [0, 1.5, np.nan])
def test_size_refuses_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match=f"alpha in \\(0, 1\\].*Received {alpha}"):
        assign_hospitals(make_table()[0], "size", alpha=alpha)


@pytest.mark.parametrize("by", ["size", "iid"])
def test_too_few_patients_are_refused(by):
    with pytest.raises(ValueError, match=r"three patients per hospital.*Received 5 patients"):
        assign_hospitals(make_table(n_patients=5)[0], by)


def test_missing_values_are_refused_with_patients_and_other_ways():
    table, _ = make_table()
    table.loc[table["patient"] == "00003", "view"] = None
    match = r"Received 1 of 60 patients without one: 00003\. .* by='age' or 'sex' or 'iid'"
    with pytest.raises(ValueError, match=match):
        assign_hospitals(table, "view")


def test_an_empty_column_is_refused_with_those_that_are_filled():
    table, _ = make_table()
    table["view"] = pd.Series([None] * len(table), dtype="str")
    with pytest.raises(ValueError, match=r"'view' filled. Received no value.*by='age' or 'sex'"):
        assign_hospitals(table, "view")


def test_one_value_only_makes_no_federation():
    table, _ = make_table()
    with pytest.raises(ValueError, match=r"two values of 'sex'.*only 'F'"):
        assign_hospitals(table.assign(sex="F"), "sex")


def test_the_column_hospital_is_kept():
    table, _ = make_table()
    table["hospital"] = np.where(table["sex"] == "F", "North", "South")
    pd.testing.assert_frame_equal(assign_hospitals(table), table)


def test_films_without_hospital_are_refused():
    table, _ = make_table()
    with pytest.raises(ValueError, match=r"120 without one: 00000.png, .* and 117 more. Choose by"):
        assign_hospitals(table)


def test_the_column_hospital_may_not_tear_a_patient():
    table, _ = make_table(n_patients=6)
    table["hospital"] = ["North", "South"] * 6
    match = r"patients in several: 00000 \(North and South\), 00001 .*, 00002 .* and 3 more"
    with pytest.raises(ValueError, match=match):
        assign_hospitals(table)


def test_unknown_ways_and_numbers_are_refused():
    table, _ = make_table()
    with pytest.raises(ValueError, match=r"Expected by to be one of .*'dirichlet'.*'luck'"):
        assign_hospitals(table, "luck")
    with pytest.raises(ValueError, match=r"n_hospitals to be at least 1\. Received 0"):
        assign_hospitals(table, "iid", n_hospitals=0)
    with pytest.raises(ValueError, match="at least one film"):
        assign_hospitals(table.iloc[:0], "iid")


@pytest.mark.parametrize("name", ["a/b", "..", "", " a", "a.", "x" * 41, "a:b", "-a"])
def test_names_that_cannot_be_folders_are_refused(name):
    with pytest.raises(ValueError, match="names of folders"):
        check_names(pd.Series(["fine", name]))


def test_names_that_differ_in_case_only_are_refused():
    with pytest.raises(ValueError, match=r"upper and lower case.*North, north"):
        check_names(pd.Series(["north", "North", "South"]))


def test_films_without_patient_are_a_patient_each():
    table, labels = make_table(n_patients=30, films_each=1)
    table["patient"] = pd.Series([None] * 30, dtype="str")
    assert not has_patients(table)
    received = split_patients(assign_hospitals(table, "iid"), labels=labels)
    check_no_leak(received)
    assert received["hospital"].value_counts().tolist() == [10, 10, 10]
    counts = count_hospitals(received, labels)
    assert (counts["patients"] == counts["films"]).all()


def test_has_patients_is_true_only_when_all_are_named():
    table, _ = make_table()
    assert has_patients(table)
    table.loc[5, "patient"] = None
    assert not has_patients(table)


def test_split_respects_fractions_within_each_label():
    table, labels = make_table(n_patients=200, films_each=1)
    labels[:] = [1] * 40 + [0] * 160
    received = split_patients(table.assign(hospital="A"), labels=labels)
    counts = pd.crosstab(received["split"], labels.astype(int))
    assert counts.loc[list(SPLITS)].to_numpy().tolist() == [[96, 24], [24, 6], [40, 10]]


@pytest.mark.parametrize("n_positive", [3, 5, 6, 7])
def test_small_hospitals_get_both_labels_in_every_split(n_positive):
    table, labels = make_table(n_patients=30, films_each=1)
    labels[:] = [1] * n_positive + [0] * (30 - n_positive)
    received = split_patients(table.assign(hospital="A"), labels=labels)
    counts = pd.crosstab(received["split"], labels.astype(int))
    assert counts[1].min() >= min(2, n_positive // 3)
    assert counts[1].sum() == n_positive


def test_split_does_not_need_a_plain_index():
    table, labels = make_table()
    table = table.assign(hospital="A")
    expected = split_patients(table, labels=labels)["split"]
    table.index = labels.index = np.arange(len(table)) * 7 + 5
    assert split_patients(table, labels=labels)["split"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.6, 0.6, -0.2), (1, 0, 0), (0.5, 0.2, 0.2), (np.nan, 0.5, 0.5)]
)
def test_wrong_fractions_are_refused(fractions):
    table, _ = make_table()
    with pytest.raises(ValueError, match="three positive numbers with sum 1"):
        split_patients(table.assign(hospital="A"), fractions=fractions)


def test_split_needs_hospitals():
    with pytest.raises(ValueError, match="Call assign_hospitals first"):
        split_patients(make_table()[0])


def test_official_splits_are_kept_and_valid_is_carved_from_train():
    table, labels = make_table(n_patients=80)
    official = np.where(np.arange(160) < 120, "train", "test")  # 60 and 20 patients
    table = table.assign(hospital="A", split=official)
    received = split_patients(
        table, labels=labels, keep_split=True, fractions=(0.6, 0.15, 0.25), seed=1
    )
    check_no_leak(received)
    assert (received["split"][official == "test"] == "test").all()
    sizes = {split: len(p) for split, p in patients_of(received, "split").items()}
    assert sizes == {"train": 48, "valid": 12, "test": 20}


def test_official_splits_with_valid_are_kept_as_they_are():
    table, labels = make_table(n_patients=9)
    table = table.assign(hospital="A", split=np.repeat(["train", "valid", "test"], 6))
    received = split_patients(table, labels=labels, keep_split=True)
    assert received["split"].tolist() == table["split"].tolist()


def test_official_splits_may_not_tear_a_patient_or_be_missing():
    table, _ = make_table(n_patients=6)
    table["hospital"] = "A"
    with pytest.raises(ValueError, match=r"patients in several: 00000 \(train and test\)"):
        split_patients(table.assign(split=["train", "test"] * 6), keep_split=True)
    with pytest.raises(ValueError, match=r"Expected a split.*12 without one.*keep_split=False"):
        split_patients(table, keep_split=True)
    with pytest.raises(ValueError, match=r"the splits train, valid, test\. Received val"):
        split_patients(table.assign(split="val"), keep_split=True)


def test_leaks_are_refused_by_name():
    table, _ = make_table(n_patients=10)
    table = split_patients(assign_hospitals(table, "iid"))
    check_no_leak(table)
    torn = table.copy()
    torn.loc[0, "split"] = "test" if table["split"][0] != "test" else "train"
    with pytest.raises(ValueError, match=r"every patient in one split.*00000 \("):
        check_no_leak(torn)
    torn = table.copy()
    torn.loc[2, "hospital"] = "Elsewhere"
    with pytest.raises(ValueError, match=r"every patient in one hospital.*00001 \(Elsewhere and"):
        check_no_leak(torn)


def test_a_film_listed_in_two_splits_is_a_leak_even_without_patients():
    table = pd.DataFrame(
        {
            "image": ["train/1", "train/1"],
            "patient": None,
            "hospital": "A",
            "split": ["train", "test"],
        }
    )
    with pytest.raises(ValueError, match=r"every image in one split.*train/1 \(train and test\)"):
        check_no_leak(table)


def test_counts_are_those_of_the_films_with_a_label():
    table = pd.DataFrame(
        {
            "image": list("abcdef"),
            "patient": ["1", "1", "2", "3", "4", "5"],
            "hospital": ["A", "A", "A", "A", "A", "B"],
            "split": ["train", "train", "train", "test", "valid", "train"],
        }
    )
    labels = pd.Series([1, 0, 0, 1, pd.NA, 0], dtype="Int64")
    assert count_hospitals(table, labels).to_numpy().tolist() == [
        ["A", "train", 3, 2, 1],
        ["A", "valid", 0, 0, 0],
        ["A", "test", 1, 1, 1],
        ["B", "train", 1, 1, 0],
        ["B", "valid", 0, 0, 0],
        ["B", "test", 0, 0, 0],
    ]


def test_all_poor_splits_are_refused_together():
    table, labels = make_table(n_patients=60)
    table["hospital"] = np.where(np.arange(120) < 100, "Big", "Tiny")
    table = split_patients(table, labels=labels)
    labels[(table["hospital"] == "Big") & (table["split"] == "valid")] = 0
    with pytest.raises(ValueError, match="at least 10 films, and 2 of each label") as error:
        check_hospitals(table, labels)
    text = str(error.value)
    assert "Big, valid: " in text
    assert "(0 positive," in text
    assert "Tiny, valid: " in text
    assert "Tiny, test" in text
    assert "Big, train" not in text
    assert "What to change: fewer hospitals (n_hospitals), a larger alpha" in text


def test_a_hospital_without_a_split_is_refused():
    table, labels = make_table()
    with pytest.raises(ValueError, match="A, test: 0 films"):
        check_hospitals(table.assign(hospital="A", split="train"), labels)


def test_rich_hospitals_pass_with_their_counts():
    table, labels = make_table(n_patients=300)
    table = split_patients(assign_hospitals(table, "iid", labels=labels), labels=labels)
    counts = check_hospitals(table, labels)
    assert counts["films"].sum() == 600
    assert counts["patients"].sum() == 300
    assert counts["positive"].sum() == labels.sum()


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 1], "Received list"),
        (pd.Series([0, 1]), "Received 2 labels with another index"),
        (pd.Series([2] * 120), r"labels 0, 1 or missing. Received \[2\]"),
    ],
)
def test_labels_must_belong_to_the_table(labels, match):
    table, _ = make_table()
    with pytest.raises(ValueError, match=match):
        split_patients(table.assign(hospital="A"), labels=labels)


def test_shuffled_hospitals_keep_their_sizes_and_patients_stay_whole():
    films = pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(60)],
            "patient": np.repeat(np.arange(30), 2),
            "hospital": np.repeat(["A", "B"], [40, 20]),
            "split": "train",
        }
    )
    shuffled = shuffle_hospitals(films, seed=3)
    assert shuffled.groupby("hospital")["patient"].nunique().to_dict() == {"A": 20, "B": 10}
    assert (shuffled.groupby("patient")["hospital"].nunique() == 1).all()
    assert not shuffled["hospital"].equals(films["hospital"])
    pd.testing.assert_frame_equal(shuffled, shuffle_hospitals(films, seed=3))


def test_one_film_without_a_hospital_is_refused_not_dealt_anew():
    table, labels = make_table()
    table["hospital"] = np.where(table["sex"] == "F", "North", "South")
    table.loc[7, "hospital"] = None
    match = (
        r"a hospital for each of 120 films\. Received 1 without one: 00007\.png\. Fill .* by='iid'"
    )
    with pytest.raises(ValueError, match=match):
        make_hospitals(table, labels)
    assert set(make_hospitals(table, labels, by="sex")["hospital"]) == {"sex_F", "sex_M"}
    table.loc[:, "hospital"] = None
    assert make_hospitals(table, labels, n_hospitals=2)["hospital"].nunique() == 2


def test_one_film_without_a_split_is_refused_not_split_anew():
    table, labels = make_table()
    table = table.assign(hospital="A", split=np.repeat(["train", "valid", "test"], 40))
    table.loc[7, "split"] = None
    match = r"a split for each of 120 films\. Received 1 without one: 00007\.png\. Fill the column"
    with pytest.raises(ValueError, match=match):
        make_hospitals(table, labels)
    with pytest.raises(ValueError, match=match):
        make_hospitals(table, labels, by="iid")
    films = make_hospitals(table.assign(split=None), labels)
    assert films.groupby("split")["patient"].nunique().to_dict() == {
        "train": 36,
        "valid": 9,
        "test": 15,
    }


def test_an_official_split_without_test_gets_one_from_train(capsys):
    table, labels = make_table(n_patients=100)
    table = table.assign(hospital="A", split=np.repeat(["train", "valid"], [160, 40]))
    films = make_hospitals(table, labels)
    assert "without official films, taken from train: A (test)." in capsys.readouterr().out
    assert (films["split"][160:] == "valid").all()
    assert set(films["split"][:160]) == {"train", "test"}
    assert (films["split"] == "test").sum() == pytest.approx(160 * 0.25 / 0.85, abs=4)


def test_a_hospital_without_an_official_split_is_split_anew_and_that_is_said(capsys):
    table, labels = make_table()
    table["hospital"] = np.repeat(["North", "South"], 60)
    official = np.repeat(["train", "valid", "test"], 20)
    table["split"] = np.concatenate([official, [None] * 60])
    films = make_hospitals(table, labels)
    assert capsys.readouterr().out == "New splits, since there is no official one: South.\n"
    assert films["split"][:60].tolist() == official.tolist()
    assert films["split"].notna().all()
    check_no_leak(films)


@pytest.mark.parametrize("n_valid", [0, 4, 12])
def test_a_small_official_valid_split_is_chosen_anew_among_train_and_valid(n_valid, capsys):
    table, labels = make_table(n_patients=100)
    split = np.repeat(["train", "valid", "test"], [140 - n_valid, n_valid, 60])
    table = table.assign(hospital="A", split=split)
    films = make_hospitals(table, labels, seed=2)
    said = capsys.readouterr().out
    check_no_leak(films)
    assert (films["split"][140:] == "test").all()
    if n_valid == 12:
        assert films["split"].tolist() == split.tolist()
        assert not said
        return
    assert said == {
        0: "Splits without official films, taken from train: A (valid).\n",
        4: "Official valid splits that are too small, chosen anew among train and valid: "
        "A (4 films).\n",
    }.get(n_valid)
    assert films["split"].value_counts().to_dict() == {"train": 112, "test": 60, "valid": 28}


def test_a_valid_split_with_one_label_only_is_chosen_anew(capsys):
    table, labels = make_table(n_patients=100)
    table = table.assign(hospital="A", split=np.repeat(["train", "valid", "test"], [120, 20, 60]))
    labels[120:140] = 1
    films = make_hospitals(table, labels)
    assert "too small, chosen anew among train and valid: A (20 films)" in capsys.readouterr().out
    assert labels[films["split"] == "valid"].nunique() == 2


def test_numbers_that_start_anew_at_each_hospital_are_not_one_person():
    table, labels = make_table(n_patients=60, films_each=2)
    table["hospital"] = np.repeat(["North", "South"], 60)
    table["patient"] = [f"{(number % 60) // 2}" for number in range(120)]
    with pytest.raises(ValueError, match=r"0 \(North and South\)") as error:
        make_hospitals(table, labels)
    assert "If these are the same persons, give all their films to one hospital" in str(error.value)
    assert "numbers its patients from 1, they are not: read with patients='per hospital'" in str(
        error.value
    )
    films = make_hospitals(qualify_patients(table), labels)
    assert films["patient"].nunique() == 60
    assert films.loc[60, "patient"] == "South/0"
