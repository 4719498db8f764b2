"""
Audit the data without pooling it
=================================

Before a network learns anything, one should know what there is to learn besides disease. Are women
ill less often in these films? Does one hospital take its films in bed? Whoever holds all films
can count. Here nobody does: each hospital counts its own films and sends tables.

We will:

1. let every hospital count, and look at what leaves it,
2. measure imbalance,
3. test all pairs of columns for association, as one family of tests,
4. repeat this on a population of which we *know* what was planted,
5. see an association that vanishes, and one that reverses, when hospitals are not mixed,
6. plant the confounder of many real collections, the **view**, and see how well it predicts the
   label without any pixel.

We expect to find what is planted where there are enough patients to show it, and nothing else.
The floor is what chance finds; the ceiling is the list of what was planted. No pixel is read.
"""

# %%
# Every hospital counts
# ---------------------
#
# The films may be synthetic or your own; see ``CHEST_XRAYS``. ``count_at`` runs inside each
# hospital. It counts **patients**, not films: films of one patient are not independent, and a
# test that ignores this finds too much. The first film stands for its patient.

from helpers.data import label_films, make_hospitals, read_radiographs
from helpers.data.summary import band_ages
from helpers.fairness import count_groups, sum_counts, suppress

TASK = "any finding vs none"
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, seed=SEED)
films = films.assign(age_band=band_ages(films["age"]))
columns = [name for name in ("sex", "age_band", "view") if films[name].nunique() > 1]

# %%
# This is one hospital's table for one column. Cells below five are hidden, and so are those from
# which they could be worked out if the sums became known. A missing number is a hidden one.

MINIMUM = 5  # patients


def count_at(hospital, table, columns, with_label=True):
    own = table[table["hospital"] == hospital]
    return count_groups(own, labels[own.index] if with_label else None, ["hospital", *columns])


hospitals = sorted(films["hospital"].unique())
smallest = films["hospital"].value_counts().idxmin()
column = columns[0] if columns else "split"
suppress(count_at(smallest, films, [column]), MINIMUM)

# %%
# This protects the exact value of small cells, and no more: zeros are shown, sums give bounds, and
# the tables of two days reveal who came in between. Hiding also has a price. How much of a table is
# left if it gets finer?

import itertools

import pandas as pd

shown = {}
for size in range(1, len(columns) + 1):
    for some in map(list, itertools.combinations(columns, size)):
        counts = pd.concat(suppress(count_at(name, films, some), MINIMUM) for name in hospitals)
        shown[" × ".join(some)] = counts["count"].notna().mean()
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


def count_all(columns, with_label=True, table=films, minimum=1):
    tables = (count_at(hospital, table, columns, with_label) for hospital in hospitals)
    return sum_counts(suppress(table, minimum) for table in tables)


imbalance = pd.concat(
    {name: measure_imbalance(count_all([name]), name) for name in columns}
    | {"hospital": measure_imbalance(count_all([]), "hospital")}
)
imbalance.index = [f"{name} {value}".replace("_", " ") for name, value in imbalance.index]
plot_label_shares(imbalance.rename(columns={"count": "films"})).set_xlabel(
    "share of patients with the finding"
)
plt.show()

# %%
# Dots are as large as their group, with its patients in brackets; bars are 95 % intervals
# (Wilson). Groups that lie apart differ in prevalence; whether that is disease or the way films
# were chosen, no count can say.
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


def audit(count_all, columns, **how):
    within = [count_all([name], **how) for name in columns]
    within += [count_all(list(pair), False, **how) for pair in itertools.combinations(columns, 2)]
    between = [count_all([], **how), *(count_all([name], False, **how) for name in columns)]
    return find_associations([*within, *between], within="hospital")


found = audit(count_all, columns)
with_hidden = audit(count_all, columns, minimum=MINIMUM)
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
# share of films taken in bed; and the old are imaged in bed a little more often. Nothing else.
# Patients without films are cheap, so that we can draw as many as the real NIH collection has
# films.

from helpers.data.synthetic import tabulate_films
from helpers.phantom.population import HOSPITALS, draw_films

PLANTED = {("sex", "label"), ("age_band", "label"), ("age_band", "view")}
PLANTED |= {("hospital", name) for name in ("label", "sex", "age_band", "view")}
N_FILMS = 112_000


def draw_population(n_films, hospitals=HOSPITALS):
    table = tabulate_films(draw_films(n_films, SEED, hospitals))
    table["age_band"] = band_ages(table["age"])
    return table, label_films(table, TASK)


population, ill = draw_population(N_FILMS)


def count_population(columns, with_label=True, table=population, ill=ill):
    return sum_counts(
        count_groups(own, ill[own.index] if with_label else None, ["hospital", *columns])
        for _, own in table.groupby("hospital")
    )


large = audit(count_population, ["sex", "age_band", "view"])
plot_effects(large).set_title(f"{N_FILMS:,} films, what was planted is known")
plt.show()


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
# and one with the reverse. In both we leave out every other healthy patient imaged in bed. Within
# each of them AP now means *more* disease, by construction.

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
    "four hospitals": count_population(["view"]),
    "two hospitals": count_population(["view"], table=patients[~out], ill=sick[~out]),
}

_, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for ax, (title, counts) in zip(axes, cases.items(), strict=True):
    ratios = {"all films mixed": measure_odds_ratio(counts, "view", ("AP", "PA"))}
    for name, rows in counts.groupby("hospital"):
        ratios[name] = measure_odds_ratio(rows, "view", ("AP", "PA"))
    ratios["within hospitals"] = measure_odds_ratio(counts, "view", ("AP", "PA"), within="hospital")
    plot_odds_ratios(ratios, ax=ax).set_title(f"AP against PA, {title}")
plt.show()
explained = pd.DataFrame(
    {
        title: explain_association(counts, "view", ("AP", "PA"), within="hospital")
        for title, counts in cases.items()
    }
)
explained

# %%
# Right of the line, films taken in bed show a finding more often. Compare the first row, all films
# mixed, with the last. A reversal is Simpson's paradox, which has been mistaken for discrimination
# before :footcite:p:`bickel1975`.
#
# The view as a confounder
# ------------------------
#
# In many collections the link is real, and comes from how films were *chosen*: healthy films may
# be mostly of one view and ill ones of the other. We choose our films that way, audit them once
# more, and let a logistic regression see the view and nothing else, on patients that it does not
# know.

from helpers.data.summary import score_columns

auc_of_view = {}
if "view" in columns:
    healthy = labels[films.index] == 0
    unwanted = (films["view"] == "PA") & healthy | (films["view"] == "AP") & ~healthy
    chosen = films[~(unwanted & (rng.random(len(films)) < 0.6)).to_numpy(dtype=bool)]
    after = audit(count_all, columns, table=chosen).set_index(["first", "second"])
    auc_of_view = {
        name: score_columns(table, labels[table.index], ["view"], seed=SEED).mean()
        for name, table in {"all films": films, "films chosen by view": chosen}.items()
    }
pd.Series(auc_of_view, name="AUC of the view alone", dtype=float).round(3)

# %%
# Chance is one half. A network that reaches the second number may have learned nothing about
# lungs, and would lose it in a hospital where the view is chosen otherwise
# :footcite:p:`zech2018`. On your own films look at the first number: far from one half, the view
# is a confounder in them, too.
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
    for title, row in explained.T.iterrows():
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
