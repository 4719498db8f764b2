"""
Audit the data without pooling it
=================================

Before training a network, find out what it could learn besides disease. Are women ill less often in
these films? Does one hospital image its patients in bed? Nobody here holds all films: each hospital
counts its own, and sends tables.

We will:

1. let every hospital count, look at what leaves it, and measure imbalance,
2. test all pairs of columns for association, as one family of tests,
3. repeat this on a population in which we *know* what was planted,
4. show one association that vanishes, and one that reverses, when hospitals are kept apart,
5. plant the :term:`confounder` of many real collections, the **view**.

We expect to find what was planted where there are enough patients to show it, and nothing else.
The floor is what chance finds; the ceiling is the list of what was planted. No pixel is read.
"""

# %%
# Every hospital counts
# ---------------------
#
# The films may be synthetic or your own (``CHEST_XRAYS``). ``count_at`` runs inside each hospital.
# It counts **patients**, each by the first film: films of one patient are not independent, and a
# test that ignores this finds too much.

from helpers.data import label_films, set_up_hospitals
from helpers.data.summary import band_ages
from helpers.display import show
from helpers.fairness import count_groups, sum_counts, suppress

TASK, SEED = "any finding vs none", 0
study = set_up_hospitals(TASK, seed=SEED)
films, labels = study.films.assign(age_band=band_ages(study.films["age"])), study.labels
columns = [name for name in ("sex", "age_band", "view") if films[name].nunique() > 1]

# %%
# This is one hospital's table for one column. Cells below five are hidden, and so are those from
# which they could be worked out if the sums became known. A missing number is hidden.

MINIMUM = 5  # patients


def count_at(own, labels, columns, with_label=True):
    return count_groups(own, labels[own.index] if with_label else None, ["hospital", *columns])


smallest = films[films["hospital"] == films["hospital"].value_counts().idxmin()]
column = columns[0] if columns else "split"
show(suppress(count_at(smallest, labels, [column]), MINIMUM))

# %%
# This protects the exact value of small cells, and no more: zeros are shown, sums give bounds, and
# the tables of two days reveal who came in between. How much of a finer table is left?

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
show(pd.Series(shown, name="share of cells that are shown").round(2))

# %%
# So the audit asks only for pairs of columns. The tables that leave a hospital keep the column
# ``hospital``: **every cell has one contributor and arrives as it was sent**. We audit twice: with
# exact counts, which is right where hospitals may see each other's tables, and with small cells
# hidden. Three hospitals or more could also add under masks that cancel: with
# :class:`~helpers.exchange.MaskedSum` as ``add`` the tests within hospitals see sums, and no table.
#
# Imbalance
# ---------
#
# How large is each group, and what share of it has the finding?

from helpers.fairness import measure_imbalance
from helpers.plots import plot_label_shares

imbalance = {name: measure_imbalance(count_all([name]), name) for name in columns}
imbalance = pd.concat(imbalance | {"hospital": measure_imbalance(count_all([]), "hospital")})
imbalance.index = [f"{name} {value}".replace("_", " ") for name, value in imbalance.index]
ax = plot_label_shares(imbalance.rename(columns={"count": "films"}))
ax.set_xlabel("share of patients with the finding")
show()

# %%
# Larger dots are larger groups; bars are 95 % intervals (Wilson). Groups that lie apart differ in
# :term:`prevalence`. No count can show whether disease or the choice of films is the reason.
#
# Associations
# ------------
#
# A pair of columns is tested *within* hospitals, by the Cochran–Mantel–Haenszel test of general
# association :footcite:p:`landis1978`, so that a difference between hospitals does not look like
# one between patients. The hospital is tested against each column, by Pearson's chi-squared. **All
# tests are one family**: Holm's method :footcite:p:`holm1979` keeps the chance of any false finding
# among them at 5 %.

from helpers.fairness import find_associations
from helpers.plots import plot_effects


def audit(columns, **how):
    within = [count_all([name], **how) for name in columns]
    within += [count_all(pair, False, **how) for pair in itertools.combinations(columns, 2)]
    between = [count_all([], **how), *(count_all([name], False, **how) for name in columns)]
    return find_associations([*within, *between], within="hospital")


found = audit(columns)
with_hidden = audit(columns, minimum=MINIMUM)
plot_effects(found).set_title("Our films, pairs of columns")
show()

# %%
# A filled dot is an association that the audit reports. A grey mark is the effect that would be
# detected in four cases of five: to its left, *not found* means *we cannot know*, not *fair*.

show(
    found[["first", "second", "patients", "effect", "detectable", "p", "p_holm", "found"]]
    .assign(found_with_hidden_cells=with_hidden["found"])
    .round(3)
)

# %%
# Did it find the truth?
# ----------------------
#
# What is planted in the synthetic patients is written in ``helpers.phantom.population``:
# prevalence depends on age, sex and hospital; each hospital has its own ages, share of women and
# share of films taken in bed; and old patients are imaged in bed a little more often. Nothing else
# is planted. We draw as many films as the real NIH collection has.

import os

from helpers.data.synthetic import tabulate_films
from helpers.phantom.population import HOSPITALS, draw_films

PLANTED = {("sex", "label"), ("age_band", "label"), ("age_band", "view")}
PLANTED |= {("hospital", name) for name in ("label", "sex", "age_band", "view")}
POPULATION = "112,000 films"


def draw_population(n_films, hospitals=HOSPITALS):
    table = tabulate_films(draw_films(n_films, SEED, hospitals))
    return table.assign(age_band=band_ages(table["age"])), label_films(table, TASK)


population, ill = draw_population(112_000)
large = audit(["sex", "age_band", "view"], table=population, labels=ill)
plot_effects(large).set_title(f"{POPULATION}, what was planted is known")
show()

audits = {POPULATION: large}
if "CHEST_XRAYS" not in os.environ:  # of your own films we do not know what is true
    audits = {"our films": found, **audits}
for audited in audits.values():
    pairs = zip(audited["first"], audited["second"], strict=True)
    audited["planted"] = [pair in PLANTED for pair in pairs]
show(large[["first", "second", "effect", "detectable", "planted", "found"]].round(3))

# %%
# An association that vanishes
# ----------------------------
#
# View and label are not associated in that population. Yet hospitals that take more films in bed
# may also see more ill patients; then an association appears in :term:`pooled` films if hospitals
# are ignored. The odds ratio *within hospitals* is that of Mantel and Haenszel
# :footcite:p:`mantel1959`.
# For a reversal, take two hospitals: in one, patients are often ill and rarely imaged in bed; in
# the other, rarely ill and often imaged in bed. In both we leave out half of the healthy patients
# imaged in bed, so that within each hospital :term:`AP <AP view>` means *more* disease.

from dataclasses import replace

import numpy as np

from helpers.fairness import explain_association, measure_odds_ratio
from helpers.plots import make_panels, plot_odds_ratios

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

axes = make_panels(2, height=2.8)
for ax, (title, counts) in zip(axes, cases.items(), strict=True):
    ratios = {"all films mixed": measure_odds_ratio(counts, "view", ("AP", "PA"))}
    for name, rows in counts.groupby("hospital"):
        ratios[name] = measure_odds_ratio(rows, "view", ("AP", "PA"))
    ratios["within hospitals"] = measure_odds_ratio(counts, "view", ("AP", "PA"), within="hospital")
    plot_odds_ratios(ratios, ax=ax).set_title(f"AP against PA, {title}")
show()
explained = {
    title: explain_association(counts, "view", ("AP", "PA"), within="hospital")
    for title, counts in cases.items()
}
show(pd.DataFrame(explained))

# %%
# Right of the line, films taken in bed show a finding more often. Compare the first row with the
# last. A reversal is Simpson's paradox, once mistaken for discrimination :footcite:p:`bickel1975`.
#
# The view as a confounder
# ------------------------
#
# In many collections the association is real, and is due to the *choice* of films: healthy patients
# may be imaged mostly in one view and ill patients in the other. We choose our films that way,
# audit them again, and let a logistic regression predict the label of new patients from the view.

from helpers.data.summary import score_columns

auc_of_view = {}
if "view" in columns:
    healthy = labels[films.index] == 0
    unwanted = (films["view"] == "PA") & healthy | (films["view"] == "AP") & ~healthy
    chosen = films[~(unwanted & (rng.random(len(films)) < 0.6)).to_numpy(dtype=bool)]
    audits["films chosen by view"] = audit(columns, table=chosen)
    auc_of_view = {
        name: score_columns(table, labels[table.index], ["view"], seed=SEED).mean()
        for name, table in {"all films": films, "films chosen by view": chosen}.items()
    }
show(pd.Series(auc_of_view, name="AUC of the view alone", dtype=float).round(3))

# %%
# Chance is an :term:`AUC` of one half. A network that reaches the second number may have learned
# nothing about lungs, and would lose it where the view is chosen otherwise :footcite:p:`zech2018`.
# In your own films, the view is a confounder if the first number is far from one half.

from helpers.fairness import describe_planted, name_pairs
from helpers.results import tidy_values, write_results

audits |= {"our films": found, "small cells hidden": with_hidden}
pairs = pd.concat([audited.assign(arm=arm) for arm, audited in audits.items()])
pairs = pairs.rename(columns={"effect": "value"}).astype({"found": float, "planted": float})
ratios = pd.DataFrame(explained).T.infer_objects().rename_axis("arm").reset_index()
ratios = ratios.assign(metric="odds ratio within hospitals", value=ratios["adjusted"])
views = tidy_values({"AUC of the view alone": auc_of_view}, seed=SEED)
results = pd.concat([pairs.assign(metric="effect"), ratios, views], ignore_index=True)
results = results.assign(seed=SEED, round=0, hospital="all", split="all")
write_results(results, "audit_without_pooling")

# %%
# Conclusion
# ----------
#
# These sentences are computed from the table of results.


def say_verdicts(results):
    pairs = results[results["metric"] == "effect"]
    ours, hidden = (pairs[pairs["arm"] == arm] for arm in ("our films", "small cells hidden"))
    print(f"Of {len(ours)} pairs in one family, found: {name_pairs(ours[ours['found'] == 1])}.")
    same = ours["found"].tolist() == hidden["found"].tolist()
    print(f"With small cells hidden it finds {'the same' if same else 'something ELSE'}.")
    effects = pairs[pairs["arm"] == POPULATION].set_index(["first", "second"])["value"]
    for arm, audited in pairs[pairs["planted"].notna()].groupby("arm", sort=False):
        print(describe_planted(audited, effects, arm))
    for row in results[results["metric"] == "odds ratio within hospitals"].itertuples():
        print(
            f"View and label, {row.arm}: odds ratio {row.crude:.2f} mixed, {row.value:.2f} within "
            f"hospitals. Verdict on the mixed one: {row.verdict}."
        )
    views = results[results["metric"] == "AUC of the view alone"]
    for arm, value in zip(views["arm"], views["value"], strict=True):
        print(f"AUC of the view alone, {arm}: {value:.3f}.")
    chosen = pairs[(pairs["arm"] == "films chosen by view") & (pairs["first"] == "view")]
    for found in chosen.loc[chosen["second"] == "label", "found"]:
        reported = "reports" if found == 1 else "does NOT report"
        print(f"On films chosen by view the audit {reported} view–label.")


say_verdicts(results)

# %%
# Counts cannot show *why* two columns are associated, and what nobody recorded is in no count.
#
# References
# ----------
#
# .. footbibliography::
