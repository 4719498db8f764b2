"""
A first look at the radiographs
===============================

Before a network is trained on radiographs, somebody has to look at them. What do they show, of
whom, and what could a network learn from them that is *not* the disease?

We will:

1. read the films, as radiographs are called here, and see what the source records about them,
2. look at some of them,
3. count films, patients and findings,
4. compare the label with age, sex, view and hospital,
5. look for other associations with the label, down to the brightness of a film,
6. predict the label from all this, **without looking at the lungs**.

The last step gives a number: the floor. We expect something above chance, as data collected in
hospitals nearly always have a :term:`confounder`. A network that does not rise above this floor may
have learned nothing about lungs. The page describes whatever ``CHEST_XRAYS`` names. Licences,
origins and known faults of the public collections are in the :doc:`/data_sheet`.
"""

# %%
# Reading
# -------
#
# One function reads all supported layouts: the NIH's, class folders, the arrays of MedMNIST. It
# opens every image once and reports what it found.

from helpers.data import read_radiographs
from helpers.display import show

radiographs = read_radiographs()
table = radiographs.table
print(radiographs.report)

# %%
# Real files have faults: the report lists what was fixed or left out. If it lists repairs, ask
# whether they affect films of one label more than those of the other. The result is one table with
# a row for each film. How many films have a value, and how many different values are there?

show(table.agg(["count", "nunique"]).T.set_axis(["films with a value", "different values"], axis=1))

# %%
# A column full of zeros was not recorded in the source. Nothing is filled in: missing stays
# missing. Without patient numbers we treat each film as a patient, and say so.

from helpers.data.patients import has_patients, number_patients

patients = number_patients(table)[0]
if not has_patients(table):
    print("Some films name no patient: below, each of them counts as a patient.")

# %%
# Looking
# -------
#
# The *task* is to predict whether a film has any :term:`finding`: label 1 means yes.

import numpy as np

from helpers.data import TASKS, label_films

TASK = "any finding vs none"
SEED = 0

labels = label_films(table, TASK)
names = {0: "No finding", 1: "Any finding"}
show(TASKS[TASK])

# %%
# Eight films of eight patients: four with a finding, and four without.


from helpers.plots import plot_films

rng = np.random.default_rng(SEED)
drawn = table.assign(number=patients).sample(frac=1, random_state=rng).drop_duplicates("number")
order = labels[drawn.index].dropna()
shown = [*order.index[order == 1][:4], *order.index[order == 0][:4]]
titles = ["\n".join(text.split("|")[:2]) for text in table["findings"][shown]]
plot_films([radiographs.image(film) for film in shown], titles)
show()

# %%
# Lungs are dark because they hold air; heart, spine and diaphragm are bright. Then look at what is
# not the patient: letters in the corners, black borders, sharpness, contrast. If one row differs
# from the other in *those*, beware: a network sees them too. Whether a label is right cannot be
# seen here.
#
# Counting
# --------
#
# Films are not patients. A patient who is imaged ten times counts ten times in every score. All ten
# films must be on the same side when films are set aside for testing.

from helpers.data.summary import count_findings
from helpers.plots import describe_range, make_panels

findings = count_findings(table)
films_per_patient = np.bincount(patients)
print(f"{len(table):,} films of {len(films_per_patient):,} patients")

top, bottom = make_panels(2, height=3.4)
counts = np.bincount(np.minimum(films_per_patient, 8), minlength=9)[1:]
top.bar([*"1234567", "8+"], counts, color="0.4")
top.set(xlabel="films of a patient", ylabel="patients")
top.set_label(f"{counts[0]:,} patients have one film, {counts[1:].sum():,} have several.")
bottom.barh(findings.index.str.replace("_", " "), findings["films"], color="0.75", label="all")
bottom.barh(findings.index.str.replace("_", " "), findings["alone"], color="0.4", label="alone")
bottom.invert_yaxis()
bottom.set(xlabel="films", label=f"Films: {describe_range(findings['films'], ',.0f')}.")
bottom.legend()
show()

# %%
# Above, everything beyond the first bar is a reason to :term:`split` by patient and not by film.
# Below, a film counts for each of its findings; the dark part has no other. *No
# Finding* means that nothing was reported, not that the patient was healthy :footcite:p:`wang2017`.
#
# Who is on the films
# -------------------
#
# Now we compare the label with everything else that is known of a film. If the label were unrelated
# to age, the outline would follow the grey area. If it were unrelated to the others, all dots below
# would be on the line, which is the share of findings in all films.

import pandas as pd

from helpers.data.summary import band_ages, share_labels
from helpers.plots import plot_label_shares

described = table.assign(label=labels, age_band=band_ages(table["age"]))
columns = ["view", "sex", "age_band", "hospital", "split"]
known = [column for column in columns if described[column].notna().any()]
shares = pd.concat(
    {name.replace("_", " "): share_labels(described, labels, name) for name in known or ["view"]}
)
shares.index = [f"{column} {value}" for column, value in shares.index]

medians = describe_range(table["age"].groupby(labels.map(names)).median(), ".0f")
top, bottom = make_panels(2, height=3.8)
for label, color, kind in ((0, "0.8", "stepfilled"), (1, "black", "step")):
    ages = table["age"][labels == label].dropna()
    weights = np.full(len(ages), 1 / max(len(ages), 1))
    bands = range(0, 101, 5)
    top.hist(ages, bands, weights=weights, histtype=kind, color=color, label=names[label])
top.set(xlabel=f"age, known for {table['age'].count():,} films", ylabel="share of films", ylim=0)
top.set_label(f"Histograms of age, medians {medians}.")
top.legend(loc="upper left")
plot_label_shares(shares, ax=bottom).axvline(labels.mean(), color="0.6", linewidth=1, zorder=0)
show()

# %%
# Dots are proportional to the number of films, in brackets; bars are 95 % intervals. If the bars of
# two values of one column do not overlap, that column is associated with the label. Some of that is
# expected: old people are ill more often than young ones. Some is not: the **view** records how a
# film was taken. Severely ill patients are imaged in bed, :term:`AP <AP view>`; if a collection has
# more findings on :term:`PA films <PA view>`, that shows how its films were *chosen*. Either way, a
# network may recognize the view and never look at the lungs :footcite:p:`zech2018`. The intervals
# treat films as independent; where patients have several, they are too narrow.
#
# Associations
# ------------
#
# Columns are also associated with each other: one hospital may image more patients in bed, another
# may see older people. **Cramér's V** is a correlation for categories. It is 0 where one column
# says nothing about the other, and 1 where it determines it; here it is corrected for sample size.

from helpers.data.summary import measure_association
from helpers.plots import plot_association

association = measure_association(described, ["label", *known])
plot_association(association).set_title("Cramér's V")
show()

# %%
# The first row is about the label: its darkest field is the first suspect. The other rows show
# where hospitals will differ. A *nan* is a column with one value only. This measure cannot show
# combinations, such as a view that matters in one hospital only.
#
# The films themselves
# --------------------
#
# Films may differ in more than metadata, so we average those with a finding and those without. The
# third picture is the second minus the first: red is brighter in films with a finding.

from helpers.data import resize_image

MOST_FILMS = 2_000  # drawn at random if there are more; all of them in a real study
SIZE = 64  # pixels

chosen = np.sort(rng.permutation(np.flatnonzero(labels.notna()))[:MOST_FILMS])
pixels = np.stack([resize_image(radiographs.image(film), SIZE) for film in chosen])
positive = (labels[chosen] == 1).to_numpy(dtype=bool)
averages = [pixels[~positive].mean(axis=0), pixels[positive].mean(axis=0)]

axes = make_panels(3, height=2.4, n_columns=3)
plot_films(averages, [f"{name}, average" for name in names.values()], axes=axes[:2])
difference = averages[1] - averages[0]
limit = np.abs(difference).max()
image = axes[2].imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit)
said = f"{difference.min():+.1f} to {difference.max():+.1f} grey levels of 255."
axes[2].set(title="Difference", label=said, xticks=[], yticks=[])
axes[2].figure.colorbar(image, label="grey levels, of 255")
show()

# %%
# Most findings put something dense where air should be, so we expect red in the lungs or beside the
# heart. Darker lungs, or a difference over the whole picture or at its edges, need another
# explanation: exposure, the view, how deeply the patient breathed in. An average hides what is in a
# different place on every film.
#
# The floor
# ---------
#
# A logistic regression gets a few columns, and never a lung: the view, sex and age, the hospital,
# the number of the follow-up, and of the pixels only their mean and standard deviation. It is
# tested on new patients, in five folds.
#
# Two floors follow. The one *with* the hospital is for networks that are tested on films of several
# hospitals, which they may recognize by their machines. Within one hospital that is of no use, and
# the floor is the one *without* it. Chance is an :term:`AUC` of one half.

from helpers.data.summary import score_columns
from helpers.plots import plot_folds

measured = table.iloc[chosen].assign(
    brightness=pixels.mean(axis=(1, 2)), contrast=pixels.std(axis=(1, 2))
)
sets = {
    "view": ["view"],
    "sex and age": ["sex", "age"],
    "hospital": ["hospital"],
    "number of the follow-up": ["follow_up"],
    "brightness and contrast": ["brightness", "contrast"],
}
sets = {name: columns for name, columns in sets.items() if measured[columns].notna().any(axis=None)}
on_film = [column for columns in sets.values() for column in columns if column != "follow_up"]
FLOORS = ("a film, within a hospital", "a film, of any hospital")
sets[FLOORS[0]] = [column for column in on_film if column != "hospital"]
sets[FLOORS[1]] = on_film
scores = {
    name: score_columns(measured, labels[chosen], columns, seed=SEED)
    for name, columns in sets.items()
}
floor = pd.DataFrame(scores).agg(["mean", "std"]).T
print(floor.round(3).to_string())
plot_folds(scores).set(xlabel="test AUC without looking at the lungs (grey: each fold)")
show()

# %%
# Columns whose row is at one half, within the scatter of its grey dots, do not predict the label. A
# row clearly to the right is a shortcut. The number of the follow-up is on no film: it is included
# because it shows how patients were chosen. This is no upper limit: a network may find better
# shortcuts, such as a marker or a cable. A network that beats the floor may still owe part of its
# score to it, so evaluate it within groups that share a view, a sex, an age.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results. Folds share training films, so their
# scatter is a rough guide and no test.

from helpers.results import tidy_facts, write_results

facts = {(name, "auc"): row["mean"] for name, row in floor.iterrows()}
facts |= {(name, "standard deviation of auc"): row["std"] for name, row in floor.iterrows()}
ranked = floor["mean"].drop([*FLOORS]).sort_values(ascending=False)
if len(ranked) > 1:
    facts[ranked.index[0], f"lead over {ranked.index[1]}"] = ranked.iloc[0] - ranked.iloc[1]
results = tidy_facts(facts, seed=SEED, split="test")
write_results(results, "first_look")


def say_verdicts(results):
    value = results.set_index(["arm", "metric"])["value"]
    for row in results[results["metric"].str.startswith("lead over ")].itertuples():
        first, second = row.arm, row.metric.removeprefix("lead over ")
        scatter = max(value[name, "standard deviation of auc"] for name in (first, second))
        word = "clearly the strongest" if row.value > scatter else "NOT clearly ahead"
        print(f"{first}, AUC {value[first, 'auc']:.3f}, is {word}.")
        print(f"It leads {second} by {row.value:.3f}.")
        print(f"Folds scatter by {scatter:.3f} (one standard deviation).")
    for name in FLOORS:
        mean, std = value[name, "auc"], value[name, "standard deviation of auc"]
        held = "above chance, as expected" if mean - std > 0.5 else "NOT clearly above chance"
        print(f"Floor, {name}: {mean:.3f} ± {std:.3f}, {held}.")


say_verdicts(results)

# %%
# No label was checked here, and nothing is a clinical result. Next, films are given to hospitals:
# :ref:`sphx_glr_auto_examples_plot_22_radiographs_to_hospitals.py`.
#
# References
# ----------
#
# .. footbibliography::
