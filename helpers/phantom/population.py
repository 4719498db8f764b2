"""Population: the hospitals, their patients, and all associations of the synthetic films.

All planted numbers are here, in :data:`HOSPITALS` and the constants below, so that an audit of the
films can be compared with one place.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from helpers.phantom.film import Technique

# Share of films with each finding at REFERENCE_AGE, midway between the sexes, in a hospital
# whose `illness` is 0, before COMPANIONS.
PREVALENCE = {
    "Cardiomegaly": 0.11,
    "Effusion": 0.12,
    "Pneumonia": 0.14,
    "Consolidation": 0.06,
    "Nodule": 0.06,
    "Mass": 0.05,
    "Pneumothorax": 0.06,
}
REFERENCE_AGE = 55.0  # years

# Change of the log odds for ten years of age above REFERENCE_AGE.
AGE_EFFECT = {
    "Cardiomegaly": 0.12,
    "Effusion": 0.10,
    "Pneumonia": 0.06,
    "Consolidation": 0.06,
    "Nodule": 0.08,
    "Mass": 0.10,
    "Pneumothorax": -0.14,
}

# Change of the log odds: half of it is added for men and taken away for women.
MALE_EFFECT = {
    "Cardiomegaly": -0.20,
    "Effusion": 0.0,
    "Pneumonia": 0.15,
    "Consolidation": 0.15,
    "Nodule": 0.0,
    "Mass": 0.10,
    "Pneumothorax": 0.40,
}

# Share of films with the first finding on which the second is added.
COMPANIONS = {
    ("Pneumonia", "Consolidation"): 0.30,
    ("Pneumonia", "Effusion"): 0.20,
    ("Cardiomegaly", "Effusion"): 0.25,
    ("Mass", "Nodule"): 0.20,
}
PERSISTENCE = 0.80  # chance that the state of a finding is carried over to the next film
FOLLOW_UP_SHARES = {1: 0.25, 2: 0.25, 3: 0.2, 4: 0.15, 5: 0.1, 6: 0.05}  # films per patient
AGE_SPREAD = 16.0  # standard deviation of age within a hospital, years
AGE_RANGE = (18.0, 94.0)  # years
YEARS_BETWEEN_FILMS = 0.7  # mean
AP_AGE_EFFECT = 0.10  # change of the log odds of AP for ten years above the hospital's mean


@dataclass(frozen=True)
class Hospital:
    """One synthetic hospital: its patients, and how it takes films.

    Attributes
    ----------
    name : str
        Name in the csv.
    share : float
        Share of all films; the shares of :data:`HOSPITALS` sum to 1.
    technique : Technique
        Dose, scatter, blur, window and display curve of its equipment.
    exposure_spread : float
        Film-to-film standard deviation of both ends of the window (in their own unit) and of
        the logarithm of ``gamma``.
    ap_share : float
        Share of AP films (in bed) at the hospital's mean age.
    mean_age : float
        Years.
    female_share : float
        Share of women among the patients.
    illness : float
        Log odds added to every finding's prevalence.
    finding_effect : dict of str to float
        Further log odds of single findings.
    marker : str
        Style of the "L" in the upper corner: "plain", "ringed", "boxed" or "tilted".
    """

    name: str
    share: float
    technique: Technique
    exposure_spread: float
    ap_share: float
    mean_age: float
    female_share: float
    illness: float
    finding_effect: dict[str, float] = field(default_factory=dict)
    marker: str = "plain"

    def draw_technique(self, rng: np.random.Generator) -> Technique:
        """Draw the technique of one film: the hospital's, with some variation.

        Parameters
        ----------
        rng : numpy.random.Generator
            The film's own generator.

        Returns
        -------
        Technique
        """
        spread = self.exposure_spread
        shift = rng.normal(0, spread, 2)
        black, white = self.technique.window
        return replace(
            self.technique,
            dose=self.technique.dose * np.exp(rng.normal(0, 0.2)),
            window=(black + shift[0], white + shift[1]),
            gamma=self.technique.gamma * np.exp(rng.normal(0, spread)),
        )


HOSPITALS = (
    Hospital(
        "Northfield", 0.40,
        Technique(dose=2e6, scatter=0.5, blur=0.06, window=(0.25, 0.12), gamma=1.0),
        0.075, 0.35, 57, 0.46, -0.03, {"Nodule": 0.1}, "plain",
    ),
    Hospital(
        "Rivermouth", 0.30,
        Technique(dose=4e5, scatter=1.0, blur=0.14, window=(0.45, 0.05), gamma=1.15),
        0.085, 0.45, 60, 0.44, 0.14, {"Effusion": 0.2, "Cardiomegaly": 0.2}, "ringed",
    ),
    Hospital(
        "Saint Alba", 0.18,
        Technique(dose=1.2e6, scatter=0.35, blur=0.04, window=(0.1, 0.02), gamma=0.85),
        0.07, 0.25, 51, 0.58, -0.42, {"Pneumothorax": 0.3}, "boxed",
    ),
    Hospital(
        "Easthaven", 0.12,
        Technique(dose=2e5, scatter=0.8, blur=0.10, window=(0.5, 0.3), gamma=0.95),
        0.10, 0.65, 55, 0.50, -0.05, {"Pneumonia": 0.3}, "tilted",
    ),
)  # fmt: skip


class FilmRecord(NamedTuple):
    """The row of one film, and the patient's age at the first film (years)."""

    hospital: Hospital
    patient: int
    follow_up: int
    age: int
    first_age: int
    female: bool
    view: str
    findings: tuple[str, ...]


def prevalence(finding: str, hospital: Hospital, age: float, female: bool) -> float:
    """Planted share of films with a finding, before COMPANIONS.

    Parameters
    ----------
    finding : str
        A key of :data:`PREVALENCE`.
    hospital : Hospital
        Where.
    age : float
        Years.
    female : bool
        Sex.

    Returns
    -------
    float in (0, 1)
    """
    base = PREVALENCE[finding]
    odds = np.log(base / (1 - base)) + hospital.illness
    odds += hospital.finding_effect.get(finding, 0.0)
    odds += AGE_EFFECT[finding] * (age - REFERENCE_AGE) / 10
    odds += MALE_EFFECT[finding] * (-0.5 if female else 0.5)
    return float(1 / (1 + np.exp(-odds)))


def draw_films(
    n_films: int, seed: int, hospitals: tuple[Hospital, ...] = HOSPITALS
) -> list[FilmRecord]:
    """Draw patients until every hospital has its share of films.

    Parameters
    ----------
    n_films : int
        Films in total.
    seed : int
        Seed of everything drawn.
    hospitals : tuple of Hospital, default=HOSPITALS
        Where the films are taken; one patient stays in one hospital.

    Returns
    -------
    list of FilmRecord
        ``n_films`` records in the order of patient and follow-up number.
    """
    shares = np.array([hospital.share for hospital in hospitals])
    edges = np.round(np.cumsum(shares / shares.sum()) * n_films).astype(int)
    quotas = np.diff(edges, prepend=0)
    patients = []
    for index, (hospital, quota) in enumerate(zip(hospitals, quotas, strict=True)):
        rng = np.random.default_rng([seed, index])
        left = quota
        while left > 0:
            films = _draw_patient(rng, hospital)[:left]
            left -= len(films)
            patients.append(films)
    # Patient numbers must not reveal the hospital.
    order = np.random.default_rng([seed, len(hospitals)]).permutation(len(patients))
    return [
        film._replace(patient=number + 1)
        for number, index in enumerate(order)
        for film in patients[index]
    ]


def _draw_patient(rng, hospital):
    counts = list(FOLLOW_UP_SHARES)
    n_films = rng.choice(counts, p=list(FOLLOW_UP_SHARES.values()))
    female = bool(rng.random() < hospital.female_share)
    age = first_age = np.clip(rng.normal(hospital.mean_age, AGE_SPREAD), *AGE_RANGE)
    state = {}
    films = []
    for follow_up in range(n_films):
        for finding in PREVALENCE:
            fresh = follow_up == 0 or rng.random() > PERSISTENCE
            # Drawing again from the same share keeps the share constant over the follow-ups.
            draw = rng.random() < prevalence(finding, hospital, age, female)
            state[finding] = draw if fresh else state[finding]
        present = {finding for finding in PREVALENCE if state[finding]}
        for (first, second), share in COMPANIONS.items():
            # Drawn for every film, needed or not, so that changing one share affects no other.
            if rng.random() < share and state[first]:
                present.add(second)
        odds = np.log(hospital.ap_share / (1 - hospital.ap_share))
        odds += AP_AGE_EFFECT * (age - hospital.mean_age) / 10
        view = "AP" if rng.random() < 1 / (1 + np.exp(-odds)) else "PA"
        films.append(
            FilmRecord(
                hospital, 0, follow_up, int(age), int(first_age), female, view,
                tuple(sorted(present)),
            )
        )  # fmt: skip
        age = min(age + rng.exponential(YEARS_BETWEEN_FILMS), AGE_RANGE[1])
    return films
