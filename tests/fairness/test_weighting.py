"""Weights by hand, and those of federated counts against those of pooled films."""

import math

import numpy as np
import pandas as pd
import pytest

from helpers.fairness import compute_weights, count_groups, sum_counts, weigh_films
from helpers.fairness.weighting import SCHEMES

COUNTS = pd.DataFrame(
    {"sex": list("FFMM"), "label": [0, 1, 0, 1], "count": pd.array([40, 10, 20, 30], "Int64")}
)


def weights_of(scheme, counts=COUNTS):
    return compute_weights(counts, scheme)["weight"].tolist()


@pytest.fixture
def films(rng):
    """200 films of three hospitals, of which each has another share of women and of ill."""
    hospital = rng.choice(["A", "B", "C"], 200, p=[0.6, 0.3, 0.1])
    sex = np.where(rng.random(200) < np.where(hospital == "A", 0.3, 0.7), "F", "M")
    table = pd.DataFrame(
        {"image": range(200), "patient": rng.integers(0, 80, 200), "hospital": hospital, "sex": sex}
    )
    table.loc[[3, 4], "sex"] = None
    labels = pd.Series(rng.random(200) < np.where(sex == "F", 0.2, 0.5), dtype="Int64")
    labels.loc[[3, 4, 5]] = pd.array([0, 1, None], "Int64")
    return table, labels


def test_weights_by_hand():
    assert weights_of("none") == [1, 1, 1, 1]
    assert weights_of("class_balanced") == pytest.approx([100 / 120, 100 / 80, 100 / 120, 100 / 80])
    # 50 women, 60 without the finding: 50 * 60 / (100 * 40), and so on.
    assert weights_of("kamiran_calders") == pytest.approx([0.75, 2.0, 1.5, 2 / 3])
    three = pd.concat([COUNTS, pd.DataFrame({"sex": "?", "label": [1], "count": [100]})])
    groups = compute_weights(three, "inverse_group_frequency").set_index(["sex", "label"])["weight"]
    assert groups["?", 1] == pytest.approx(200 / 300)
    assert groups["F", 0] == groups["F", 1] == pytest.approx(200 / 150)


def test_reweighing_makes_group_and_label_independent():
    weighted = COUNTS["count"].astype(float) * compute_weights(COUNTS, "kamiran_calders")["weight"]
    shares = weighted.to_numpy().reshape(2, 2)
    assert shares[0] / shares[0].sum() == pytest.approx(shares[1] / shares[1].sum())


def test_hospitals_count_the_same_whatever_else_was_counted():
    counts = COUNTS.assign(hospital=["A", "A", "B", "B"])
    weights = compute_weights(counts, "hospital_balanced")
    assert list(weights) == ["hospital", "label", "weight"]
    assert weights["weight"].tolist() == [1, 1, 1, 1]
    counts.loc[0, "count"] = 90
    assert weights_of("hospital_balanced", counts) == pytest.approx([0.75, 0.75, 1.5, 1.5])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_of_federated_counts_are_exactly_those_of_pooled_films(films, scheme):
    table, labels = films
    columns = ["hospital", "sex"]
    federated = sum_counts(
        count_groups(rows, labels[rows.index], columns, unit="films")
        for _, rows in table.groupby("hospital")
    )
    pooled = count_groups(table, labels, columns, unit="films")
    ours = weigh_films(table, labels, compute_weights(federated, scheme))
    theirs = weigh_films(table, labels, compute_weights(pooled, scheme))
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    # A group of one label only weighs less with this scheme.
    assert ours.mean() == pytest.approx(1, abs=0.02 if scheme == "kamiran_calders" else 1e-9)
    assert math.isnan(ours[5])  # it has no label


def test_a_hospital_may_compute_its_own(films):
    table, labels = films
    own = table[table["hospital"] == "B"]
    weights = compute_weights(
        count_groups(own, labels[own.index], [], unit="films"), "class_balanced"
    )
    weighed = weigh_films(own, labels[own.index], weights)
    sums = weighed.groupby(labels[own.index]).sum()
    assert sums[0] == pytest.approx(sums[1])


def test_a_group_without_a_label_has_no_weight():
    counts = COUNTS.assign(count=pd.array([0, 10, 20, 30], "Int64"))
    weights = weights_of("kamiran_calders", counts)
    assert math.isnan(weights[0])
    assert weights[1] == pytest.approx(10 * 40 / (60 * 10))


def test_the_users_own_column(films):
    table, labels = films
    table["WEIGHTS"] = [str(number) for number in range(200)]  # as a csv may have it
    weighed = weigh_films(table, labels, "WEIGHTS")
    assert weighed.name == "weight"
    assert weighed.drop(5).tolist() == [float(n) for n in range(200) if n != 5]


def test_wrong_arguments_are_refused(films):
    table, labels = films
    with pytest.raises(ValueError, match=r"Expected a scheme among .* Received 'fair'\."):
        compute_weights(COUNTS, "fair")
    with pytest.raises(ValueError, match=r"columns \['hospital', 'label', 'count'\]"):
        compute_weights(COUNTS, "hospital_balanced")
    with pytest.raises(ValueError, match=r"counts that are all known\. Received 1 that are hidden"):
        compute_weights(COUNTS.assign(count=pd.array([1, None, 2, 3], "Int64")), "none")
    with pytest.raises(ValueError, match=r"Expected a column 'WEIGHTS'\. Received"):
        weigh_films(table, labels, "WEIGHTS")
    with pytest.raises(ValueError, match=r"a table without \['view'\]"):
        weigh_films(table, labels, compute_weights(COUNTS.rename(columns={"sex": "view"}), "none"))
    with pytest.raises(ValueError, match=r"Received nan for film 3 and 1 more\."):
        weigh_films(table, labels, compute_weights(COUNTS, "none"))
    with pytest.raises(ValueError, match=r"Received -1\.0 for film 7 and 0 more\."):
        weigh_films(table.assign(w=np.where(table.index == 7, -1.0, 1.0)), labels, "w")
