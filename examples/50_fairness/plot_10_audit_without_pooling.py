"""
Audit the data without pooling it
=================================

Before a network learns anything, one should know what there is to learn besides disease. Are women
ill less often in these films? Does one hospital take its films in bed? Whoever holds all films
can count. Here nobody does: each hospital counts its own, hides what could point to a person, and
sends a table.

We will:

1. let every hospital count, and look at what leaves it,
2. add the counts and measure imbalance,
3. test what goes along with the label, and with what else, all pairs together,
4. do the same on a population of which we *know* what was planted, and check what was found,
5. see an association that vanishes, and one that reverses, when hospitals are not mixed,
6. plant the confounder of many real collections, the **view**, and see what it is worth to a
   model that never looks at a lung.

We expect to find what is planted where there are enough patients to show it, and nothing else.
The floor is what chance finds; the ceiling is the list of what was planted.

In the flow of this project the page sits beside the arrow *radiographs → hospitals*: tables in,
tables out, no pixel is read.
"""

# %%
# Every hospital counts
# ---------------------
#
# The films may be synthetic or your own; see ``CHEST_XRAYS``. What follows in ``count_at`` runs
# inside each hospital. It counts **patients**, not films: several films of one patient are not
# independent, and a test that takes them so finds too much. One film stands for a patient, the
# first.

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
# A hospital's table for one column. Cells below five are hidden, and so are those from which
# they could be worked out if the sums became known some other way. A missing number is a hidden
# one.

MINIMUM = 5  # patients


def count_at(hospital, table, columns, with_label=True):
    own = table[table["hospital"] == hospital]
    return count_groups(own, labels[own.index] if with_label else None, ["hospital", *columns])


hospitals = sorted(films["hospital"].unique())
smallest = films["hospital"].value_counts().idxmin()
column = columns[0] if columns else "split"
suppress(count_at(smallest, films, [column]), MINIMUM)

# %%
# This protects the exact value of small cells, and no more: a zero is shown, sums give bounds, and
# the tables of two days tell who came in between. And hiding has a price. The finer the table, the
# less of it is left:

import itertools

import pandas as pd


def shown_after_suppression(columns):
    tables = [count_at(hospital, films, columns) for hospital in hospitals]
    counts = pd.concat([suppress(table, MINIMUM) for table in tables])
    return counts["count"].notna().mean()


pd.Series(
    {
        " × ".join(chosen): shown_after_suppression(list(chosen))
        for size in range(1, len(columns) + 1)
        for chosen in itertools.combinations(columns, size)
    },
    name="share of cells that leave the hospital",
).round(2)

# %%
# So the audit asks for pairs of columns only. Its sums are computed before anything is hidden, as
# by a secure aggregation, in which the server learns the sum and no summand; otherwise each
# hospital hides first, and whatever one hospital hides is missing in the sum.
#
# Imbalance
# ---------
#
# Column by column: how large is each group, and how many of it have the finding?

import matplotlib.pyplot as plt

from helpers.fairness import measure_imbalance
from helpers.plots import plot_label_shares


def count_all(columns, with_label=True, table=films):
    return sum_counts(count_at(h, table, columns, with_label) for h in hospitals)


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
# Dots are as large as their group, with its patients in brackets, and bars are 95 % intervals.
# Groups that lie apart have another prevalence; whether that is disease or the way films were
# chosen, no count can say.
#
# What goes along with what
# -------------------------
#
# Now all pairs. Within each hospital for what the hospitals share, so that a difference between
# hospitals does not look like one between patients; and between hospitals for each column. The
# p-values are corrected for looking so often (Holm).

from helpers.fairness import find_associations
from helpers.plots import plot_effects


def audit(count_all, columns):
    within = [count_all([name]) for name in columns]
    within += [count_all(list(pair), False) for pair in itertools.combinations(columns, 2)]
    between = [count_all([]), *(count_all([name], False) for name in columns)]
    found = [find_associations(within, within="hospital")] if within else []
    return pd.concat([*found, find_associations(between)], ignore_index=True)


found = audit(count_all, columns)
plot_effects(found).set_title("Our films, pairs within hospitals and with the hospital")
plt.show()

# %%
# A filled dot is an association that the audit reports. The grey marks matter as much: an effect
# smaller than its mark would be missed more often than once in five times, so that *not found* to
# the left of a mark means *we cannot know*, not *fair*.

found[["first", "second", "patients", "effect", "detectable", "p_holm", "found"]].round(3)

# %%
# Did it find the truth?
# ----------------------
#
# The synthetic patients are drawn in ``helpers.phantom.population``, where everything planted is
# written down: prevalence depends on age, sex and hospital; each hospital has its own ages, share
# of women and share of films taken in bed; and the old are filmed in bed a little more often.
# Nothing else. Drawing patients without films is cheap, so that we can have as many as the real
# NIH collection has films.

from helpers.phantom.population import HOSPITALS, draw_films

PLANTED = {("sex", "label"), ("age_band", "label"), ("age_band", "view")}
PLANTED |= {("hospital", name) for name in ("label", "sex", "age_band", "view")}
N_FILMS = 112_000


def draw_table(n_films, hospitals=HOSPITALS):
    records = draw_films(n_films, SEED, hospitals)
    table = pd.DataFrame(
        {
            "image": [str(number) for number in range(n_films)],
            "patient": [str(record.patient) for record in records],
            "sex": ["F" if record.female else "M" for record in records],
            "view": [record.view for record in records],
            "age_band": band_ages(pd.Series([float(record.age) for record in records])),
            "hospital": [record.hospital.name for record in records],
        }
    )
    ill = pd.Series([len(record.findings) > 0 for record in records], dtype="Int64")
    return table, ill


population, ill = draw_table(N_FILMS)

# %%
# The same audit, with the same functions:


def count_population(columns, with_label=True, table=population, ill=ill):
    return sum_counts(
        count_groups(own, ill[own.index] if with_label else None, ["hospital", *columns])
        for _, own in table.groupby("hospital")
    )


large = audit(count_population, ["sex", "age_band", "view"])
plot_effects(large).set_title(f"{N_FILMS:,} films, what was planted is known")
plt.show()


def tested_pairs(found):
    return list(zip(found["first"], found["second"], strict=True))


def compare_with_truth(found, name):
    tested = set(tested_pairs(found))
    reported = {pair for pair, yes in zip(tested_pairs(found), found["found"], strict=True) if yes}
    return {
        "audit": name,
        "planted, found": len(PLANTED & reported),
        "planted, missed": len(PLANTED & tested - reported),
        "not planted, found": len(reported - PLANTED),
        "not planted, not found": len(tested - PLANTED - reported),
    }


import os

truth = [compare_with_truth(large, f"{N_FILMS:,} films")]
if "CHEST_XRAYS" not in os.environ:
    truth.insert(0, compare_with_truth(found, f"{len(films):,} films"))
truth = pd.DataFrame(truth).set_index("audit")
right = (truth.iloc[-1][["planted, missed", "not planted, found"]] == 0).all()
print(f"The large audit found {'exactly' if right else 'NOT exactly'} what was planted.")
truth

# %%
# The rows of the small collection and of the large one differ in what they *miss*, which is what
# the grey marks announced.
#
# An association that vanishes
# ----------------------------
#
# View and label are not linked in that population. Yet hospitals that film in bed more often may
# also see more of the ill. Whoever pools the films and forgets where they come from finds a link:

from helpers.fairness import explain_association, measure_odds_ratio
from helpers.plots import plot_odds_ratios


def show_ratios(counts, ax, title):
    ratios = {"all films mixed": measure_odds_ratio(counts, "view", ("AP", "PA"))}
    for name, rows in counts.groupby("hospital"):
        ratios[name] = measure_odds_ratio(rows, "view", ("AP", "PA"))
    ratios["within hospitals"] = measure_odds_ratio(counts, "view", ("AP", "PA"), within="hospital")
    plot_odds_ratios(ratios, ax=ax).set_title(title)


mixed = count_population(["view"])

# %%
# For the opposite, take two hospitals: one ill, which rarely films in bed, and one well, which
# mostly does. In both, a healthy patient filmed in bed is left out every other time. Within each
# of them AP now means *more* disease, by construction.

from dataclasses import replace

import numpy as np

TWO = (
    replace(HOSPITALS[0], share=0.5, ap_share=0.2, illness=0.5),
    replace(HOSPITALS[2], share=0.5, ap_share=0.8, illness=-0.9),
)
patients, sick = draw_table(20_000, TWO)
rng = np.random.default_rng(SEED)
out = (patients["view"] == "AP") & (sick == 0) & (rng.random(len(patients)) < 0.5)
turned = count_population(["view"], table=patients[~out], ill=sick[~out])

_, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
show_ratios(mixed, left, "AP against PA, four hospitals")
show_ratios(turned, right, "AP against PA, two hospitals")
plt.show()
pd.DataFrame(
    {
        "four hospitals": explain_association(mixed, "view", ("AP", "PA"), within="hospital"),
        "two hospitals": explain_association(turned, "view", ("AP", "PA"), within="hospital"),
    }
)

# %%
# To the right of the line, films taken in bed show a finding more often. Compare the first row,
# all films mixed, with the last. On the right this is Simpson's paradox, which has been mistaken
# for discrimination before, and the other way round :footcite:p:`bickel1975`. The verdicts are in
# the last row of the table. Federated counts come stratified by hospital for free: what a pooled
# table has to be asked for, they cannot forget.
#
# The view as a confounder
# ------------------------
#
# In many collections the link is real, and comes from how films were *chosen*: in samples of
# NIH's films, say, healthy films may be mostly of one view and ill ones of the other. We choose
# our films that way and audit them once more, and then let a logistic regression see the view and
# nothing else, on patients that it does not know.

from helpers.data.summary import score_columns

chosen = films
if "view" in columns:
    healthy = labels[films.index] == 0
    unwanted = (films["view"] == "PA") & healthy | (films["view"] == "AP") & ~healthy
    chosen = films[~(unwanted & (rng.random(len(films)) < 0.6)).to_numpy(dtype=bool)]
    after = audit(lambda *what: count_all(*what, table=chosen), columns)
    rows = (after["first"] == "view") & (after["second"] == "label")
    reported = bool(after.loc[rows, "found"].item())
    print(f"The audit {'reports' if reported else 'does NOT report'} view and label.")
    auc_of_view = {
        name: score_columns(table, labels[table.index], ["view"], seed=SEED).mean()
        for name, table in {"all films": films, "films chosen by view": chosen}.items()
    }
    print(pd.Series(auc_of_view, name="AUC of the view alone").round(3).to_string())

# %%
# Chance is one half. A network that reaches the second number has learned nothing yet that is
# about a lung, and loses it all in a hospital where the view is chosen otherwise
# :footcite:p:`zech2018`. On your own films the first number is the one to look at: if it is not
# close to one half, the view is a confounder in them, too.
#
# Conclusion
# ----------
#
# Counts are enough to find imbalance and associations, to see which of them live between
# hospitals only, and to say what cannot be known from so few patients. They cannot say *why* two
# things go together, and columns that nobody wrote down are in no count.

from helpers.results import write_results

rows = found.assign(seed=SEED, round=0, arm="our films", hospital="all", split="all")
rows["metric"] = rows["first"] + " and " + rows["second"]
write_results(rows.rename(columns={"effect": "value"}), "audit_without_pooling")

# %%
# .. seealso::
#
#    :func:`helpers.fairness.find_associations` and :func:`helpers.fairness.suppress` say exactly
#    what is tested and what is protected.
#
# References
# ----------
#
# .. footbibliography::
