"""
Audit the data without pooling it
=================================

Before a network learns anything, one should know what there is to learn besides disease. Are women
ill less often in these films? Does one hospital take its films in bed? Nobody holds all films
here: each hospital counts its own and sends tables.

We will:

1. let every hospital count, look at what leaves it, and measure imbalance,
2. test all pairs of columns for association, as one family of tests,
3. repeat this on a population of which we *know* what was planted,
4. see an association that vanishes, and one that reverses, when hospitals are not mixed,
5. plant the confounder of many real collections, the **view**.

We expect to find what is planted where there are enough patients to show it, and nothing else.
The floor is what chance finds, the ceiling the list of what was planted. No pixel is read.
"""

# %%
# Every hospital counts
# ---------------------
#
# The films may be synthetic or your own; see ``CHEST_XRAYS``. ``count_at`` runs inside each
# hospital. It counts **patients**, not films: films of one patient are not independent, and a
# test that ignores this finds too much. The first film stands for its patient.

from helpers.data import label_films, set_up_hospitals
from helpers.data.summary import band_ages
from helpers.fairness import count_groups, sum_counts, suppress

TASK = "any finding vs none"
SEED = 0

study = set_up_hospitals(TASK, seed=SEED)
films, labels = study.films.assign(age_band=band_ages(study.films["age"])), study.labels
columns = [name for name in ("sex", "age_band", "view") if films[name].nunique() > 1]

# %%
# This is one hospital's table for one column. Cells below five are hidden, and so are those from
# which they could be worked out if the sums became known. A missing number is a hidden one.

MINIMUM = 5  # patients


def count_at(own, labels, columns, with_label=True):
    return count_groups(own, labels[own.index] if with_label else None, ["hospital", *columns])


smallest = films[films["hospital"] == films["hospital"].value_counts().idxmin()]
column = columns[0] if columns else "split"
suppress(count_at(smallest, labels, [column]), MINIMUM)

# %%
# This protects the exact value of small cells, and no more: zeros are shown, sums give bounds, and
# the tables of two days reveal who came in between. How much of a table is left if it gets finer?

import itertools

import pandas as pd


def count_all(columns, with_label=True, table=films, labels=labels, minimum=1):
    hospitals = (own for _, own in table.groupby("hospital"))
    counts = (count_at(own, labels, columns, with_label) for own in hospitals)
    return sum_counts(suppress(own, minimum) for own in counts)


shown = {}
for size in range(1, len(columns) + 1):
    for some in itertools.combinations(columns, size):
        hidden = count_all(some, minimum=MINIMUM)["count"].isna()
        shown[" × ".join(some)] = 1 - hidden.mean()
pd.Series(shown, name="share of cells that are shown").round(2)

# %%
# So the audit asks for pairs of columns only. Note what leaves a hospital: its tables keep the
# column ``hospital``, so that **every cell has one contributor and arrives as it was sent**.
# Putting tables together hides nothing. We audit twice: with exact counts, which is right where
# the hospitals may see each other's tables, and with small cells hidden before they are sent.
#
# Imbalance
# ---------
#
# How large is each group, and how many of it have the finding?

import matplotlib.pyplot as plt

from helpers.fairness import measure_imbalance
from helpers.plots import plot_label_shares

imbalance = {name: measure_imbalance(count_all([name]), name) for name in columns}
imbalance = pd.concat(imbalance | {"hospital": measure_imbalance(count_all([]), "hospital")})
imbalance.index = [f"{name} {value}".replace("_", " ") for name, value in imbalance.index]
ax = plot_label_shares(imbalance.rename(columns={"count": "films"}))
ax.set_xlabel("share of patients with the finding")
plt.show()

# %%
# Dots are as large as their group, bars are 95 % intervals (Wilson). Groups that lie apart differ
# in prevalence; whether that is disease or the way films were chosen, no count can say.
#
# What is associated with what
# ----------------------------
#
# Now all pairs. A pair of columns is tested *within* hospitals, by the Cochran–Mantel–Haenszel
# test of general association :footcite:p:`landis1978`, so that a difference between hospitals does
# not look like one between patients. The hospital itself is tested against each column, by
# Pearson's chi-squared. **All these tests are one family**, and Holm's method
# :footcite:p:`holm1979` keeps the chance of a single false finding among all of them at 5 %.

from helpers.fairness import find_associations
from helpers.plots import plot_effects


def audit(columns, **how):
    within = [count_all([name], **how) for name in columns]
    within += [count_all(pair, False, **how) for pair in itertools.combinations(columns, 2)]
    between = [count_all([], **how), *(count_all([name], False, **how) for name in columns)]
    return find_associations([*within, *between], within="hospital")


found = audit(columns)
with_hidden = audit(columns, minimum=MINIMUM)
plot_effects(found).set_title("Our films, pairs within hospitals and with the hospital")
plt.show()

# %%
# A filled dot is an association that the audit reports. A grey mark is the effect that would be
# found in four cases of five: left of it, *not found* means *we cannot know*, not *fair*.

found[["first", "second", "patients", "effect", "detectable", "p", "p_holm", "found"]].assign(
    found_with_hidden_cells=with_hidden["found"]
).round(3)

# %%
# Did it find the truth?
# ----------------------
#
# What is planted in the synthetic patients is written down in ``helpers.phantom.population``:
# prevalence depends on age, sex and hospital; each hospital has its own ages, share of women and
# share of films taken in bed; and the old are imaged in bed a little more often. Nothing else. We
# draw as many as the real NIH collection has films.

from helpers.data.synthetic import tabulate_films
from helpers.phantom.population import HOSPITALS, draw_films

PLANTED = {("sex", "label"), ("age_band", "label"), ("age_band", "view")}
PLANTED |= {("hospital", name) for name in ("label", "sex", "age_band", "view")}
N_FILMS = 112_000


def draw_population(n_films, hospitals=HOSPITALS):
    table = tabulate_films(draw_films(n_films, SEED, hospitals))
    return table.assign(age_band=band_ages(table["age"])), label_films(table, TASK)


population, ill = draw_population(N_FILMS)
large = audit(["sex", "age_band", "view"], table=population, labels=ill)
plot_effects(large).set_title(f"{N_FILMS:,} films, what was planted is known")
plt.show()

# %%
# Was all that is planted found, and nothing else?

import os

audits = {f"{N_FILMS:,} films": large}
if "CHEST_XRAYS" not in os.environ:  # of your own films we do not know what is true
    audits = {f"{len(films):,} films": found, **audits}
for audited in audits.values():
    pairs = zip(audited["first"], audited["second"], strict=True)
    audited["planted"] = [pair in PLANTED for pair in pairs]
truth = pd.concat(audits).rename_axis(["audit", "pair"])
truth.groupby(["audit", "planted", "found"]).size().unstack(fill_value=0)

# %%
# An association that vanishes
# ----------------------------
#
# View and label are not linked in that population. Yet hospitals that take more films in bed may
# also see more of the ill; then pooled films show a link to whoever forgets where they come from.
# The odds ratio *within hospitals* is that of Mantel and Haenszel :footcite:p:`mantel1959`.
#
# For the opposite, take two hospitals: one whose patients are often ill and rarely imaged in bed,
# and one with the reverse. In both we leave out half of the healthy patients imaged in bed, so that
# within each AP means *more* disease.

from dataclasses import replace

import numpy as np

from helpers.fairness import explain_association, measure_odds_ratio
from helpers.plots import plot_odds_ratios

TWO = (
    replace(HOSPITALS[0], share=0.5, ap_share=0.2, illness=0.5),
    replace(HOSPITALS[2], share=0.5, ap_share=0.8, illness=-0.9),
)
patients, sick = draw_population(20_000, TWO)
rng = np.random.default_rng(SEED)
out = (patients["view"] == "AP") & (sick == 0) & (rng.random(len(patients)) < 0.5)
cases = {
    "four hospitals": count_all(["view"], table=population, labels=ill),
    "two hospitals": count_all(["view"], table=patients[~out], labels=sick),
}

_, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for ax, (title, counts) in zip(axes, cases.items(), strict=True):
    ratios = {"all films mixed": measure_odds_ratio(counts, "view", ("AP", "PA"))}
    for name, rows in counts.groupby("hospital"):
        ratios[name] = measure_odds_ratio(rows, "view", ("AP", "PA"))
    ratios["within hospitals"] = measure_odds_ratio(counts, "view", ("AP", "PA"), within="hospital")
    plot_odds_ratios(ratios, ax=ax).set_title(f"AP against PA, {title}")
plt.show()
explained = {
    title: explain_association(counts, "view", ("AP", "PA"), within="hospital")
    for title, counts in cases.items()
}
pd.DataFrame(explained)

# %%
# Right of the line, films taken in bed show a finding more often. Compare the first row with the
# last. A reversal is Simpson's paradox, once mistaken for discrimination :footcite:p:`bickel1975`.
#
# The view as a confounder
# ------------------------
#
# In many collections the link is real, and comes from how films were *chosen*: healthy films may
# be mostly of one view and ill ones of the other. We choose our films that way, audit them again,
# and let a logistic regression predict the label of new patients from the view alone.

from helpers.data.summary import score_columns

auc_of_view = {}
if "view" in columns:
    healthy = labels[films.index] == 0
    unwanted = (films["view"] == "PA") & healthy | (films["view"] == "AP") & ~healthy
    chosen = films[~(unwanted & (rng.random(len(films)) < 0.6)).to_numpy(dtype=bool)]
    after = audit(columns, table=chosen).set_index(["first", "second"])
    auc_of_view = {
        name: score_columns(table, labels[table.index], ["view"], seed=SEED).mean()
        for name, table in {"all films": films, "films chosen by view": chosen}.items()
    }
pd.Series(auc_of_view, name="AUC of the view alone", dtype=float).round(3)

# %%
# Chance is one half. A network that reaches the second number may have learned nothing about
# lungs, and would lose it where the view is chosen otherwise :footcite:p:`zech2018`. On your own
# films look at the first number: far from one half, the view is a confounder in them, too.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def name_pairs(rows):
    pairs = [f"{a}–{b}" for a, b in zip(rows["first"], rows["second"], strict=True)]
    return ", ".join(pairs).replace("_", " ") or "none"


def say_verdicts():
    print(f"Of {len(found)} pairs in one family, found: {name_pairs(found[found['found']])}.")
    same = with_hidden["found"].equals(found["found"])
    print(f"With small cells hidden it finds {'the same' if same else 'something ELSE'}.")
    for name, audited in audits.items():
        planted = audited[audited["planted"]]
        missed, wrong = planted[~planted["found"]], audited[audited["found"] & ~audited["planted"]]
        print(f"{name}: missed of {len(planted)} planted: {name_pairs(missed)}.")
        print(f"{name}: found though not planted: {name_pairs(wrong)}.")
        unseen = large.loc[missed.index, "effect"] < missed["detectable"]
        print(f"{name}: of {len(missed)} missed, left of their grey mark: {unseen.sum()}.")
    for title, row in explained.items():
        print(
            f"View and label, {title}: odds ratio {row['crude']:.2f} mixed, {row['adjusted']:.2f} "
            f"within hospitals. Verdict on the mixed one: {row['verdict']}."
        )
    if auc_of_view:
        reported = "reports" if after.loc[("view", "label"), "found"] else "does NOT report"
        print(f"On films chosen by view the audit {reported} view–label.")


say_verdicts()

# %%
# Counts cannot say *why* two columns are associated, and what nobody recorded is in no count.

from helpers.results import write_results

rows = found.assign(seed=SEED, round=0, arm="our films", hospital="all", split="all")
rows["metric"] = rows["first"] + " and " + rows["second"]
write_results(rows.rename(columns={"effect": "value"}), "audit_without_pooling")

# %%
# References
# ----------
#
# .. footbibliography::
