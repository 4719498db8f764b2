"""Hospitals and patients: what is planted is found again."""

import numpy as np
import pandas as pd
import pytest

from helpers.phantom.film import Technique
from helpers.phantom.population import (
    COMPANIONS,
    HOSPITALS,
    PREVALENCE,
    REFERENCE_AGE,
    Hospital,
    draw_films,
    prevalence,
)


@pytest.fixture(scope="module")
def many():
    films = draw_films(12000, 1)
    table = pd.DataFrame(films, columns=films[0]._fields)
    table["name"] = [hospital.name for hospital in table.hospital]
    table["ill"] = [bool(findings) for findings in table.findings]
    return table


def test_shares_of_the_hospitals_sum_to_one_and_differ():
    shares = [hospital.share for hospital in HOSPITALS]
    assert sum(shares) == pytest.approx(1)
    assert len(set(shares)) == len(shares)
    assert len({hospital.marker for hospital in HOSPITALS}) == len(HOSPITALS)


def test_every_hospital_has_exactly_its_share_of_films(many):
    counts = many.name.value_counts()
    for hospital in HOSPITALS:
        assert counts[hospital.name] == round(12000 * hospital.share)


@pytest.mark.parametrize("n_films", [1, 2, 3, 7, 40, 601])
def test_number_of_films_is_kept(n_films):
    assert len(draw_films(n_films, 0)) == n_films


def test_a_patient_stays_in_one_hospital_with_one_sex_and_numbered_films(many):
    films = many.groupby("patient")
    assert (films[["name", "female"]].nunique() == 1).all(axis=None)
    assert (many.follow_up == films.cumcount()).all()
    assert (films.age.diff().dropna() >= 0).all()
    per_patient = films.size()
    assert 2 < per_patient.mean() < 4
    assert (per_patient == 1).any()


def test_patient_number_does_not_tell_the_hospital(many):
    means = many.groupby("name").patient.mean()
    assert means.max() - means.min() < 0.1 * many.patient.max()


def test_planted_shares_are_found_again(many):
    for hospital in HOSPITALS:
        films = many[many.name == hospital.name]
        patients = films.drop_duplicates("patient")
        assert (films.view == "AP").mean() == pytest.approx(hospital.ap_share, abs=0.04)
        assert patients.female.mean() == pytest.approx(hospital.female_share, abs=0.06)
        assert patients.age.mean() == pytest.approx(hospital.mean_age, abs=2.5)


def test_planted_prevalence_is_found_again(many):
    for name in PREVALENCE:
        if name in {second for _, second in COMPANIONS}:
            continue  # these also come with other findings
        expected = [prevalence(name, f.hospital, f.age, f.female) for f in many.itertuples()]
        found = np.mean([name in findings for findings in many.findings])
        assert found == pytest.approx(np.mean(expected), abs=0.012)


def test_about_half_of_the_films_show_a_finding_and_hospitals_differ(many):
    assert 0.42 < many.ill.mean() < 0.53
    by_hospital = many.groupby("name").ill.mean()
    assert by_hospital.between(0.3, 0.62).all()
    assert by_hospital.max() - by_hospital.min() > 0.1


def test_findings_mostly_persist(many):
    before = many[many.follow_up < many.groupby("patient").follow_up.transform("max")]
    after = many[many.follow_up > 0]
    stayed = before.ill.to_numpy() == after.ill.to_numpy()
    assert 0.7 < stayed.mean() < 0.97


def test_consolidation_often_comes_with_pneumonia(many):
    with_pneumonia = many[["Pneumonia" in findings for findings in many.findings]]
    share = np.mean(["Consolidation" in findings for findings in with_pneumonia.findings])
    assert 0.25 < share < 0.45


def test_prevalence_follows_age_and_sex_as_planted():
    hospital = Hospital("X", 1.0, Technique(), 0.0, 0.5, 50, 0.5, 0.0)
    man = prevalence("Pneumothorax", hospital, REFERENCE_AGE, False)
    woman = prevalence("Pneumothorax", hospital, REFERENCE_AGE, True)
    old = prevalence("Pneumothorax", hospital, REFERENCE_AGE + 10, False)

    def log_odds(p):
        return np.log(p / (1 - p))

    assert log_odds(man) - log_odds(woman) == pytest.approx(0.40)
    assert log_odds(old) - log_odds(man) == pytest.approx(-0.14)
    base = PREVALENCE["Pneumothorax"]
    assert log_odds(man) + log_odds(woman) == pytest.approx(2 * log_odds(base))


def test_same_seed_same_films():
    assert draw_films(50, 3) == draw_films(50, 3)
    assert draw_films(50, 3) != draw_films(50, 4)
