"""
A first look at the radiographs
===============================

Before a network is trained on films, somebody has to look at them. What do they show, of whom,
and what could a network learn from them that is *not* the disease?

We will:

1. read the films and say what the source records about them,
2. look at some of them,
3. count films, patients and findings,
4. hold age, sex, view and hospital against the label,
5. look for what else is associated with it, down to the brightness of a film,
6. predict the label from all this, **without looking at the lungs**.

The last step gives a number: the floor. We expect something above chance, as data collected in
hospitals nearly always have a :term:`confounder`. A network that does not rise above this floor may
have learned nothing about lungs. The page describes whatever ``CHEST_XRAYS`` names; licences,
origins and known faults of the public collections are in the :doc:`/data_sheet`.
"""

# %%
# Reading
# -------
#
# One function reads all the layouts that we know: the NIH's, class folders, the arrays of
# MedMNIST. It looks at every image once and says in a line what it found.

from helpers.data import read_radiographs

radiographs = read_radiographs()
table = radiographs.table
print(radiographs.report)

# %%
# Real files are dirty: what had to be fixed or left out is in the report. If it names repairs, ask
# whether they concern films of one label more than those of the other. What was read is one table
# with a row for each film. How many films have a value, and how many different ones are there?

table.agg(["count", "nunique"]).T.set_axis(["films with a value", "different values"], axis=1)

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
# The *task* is whether anything was found at all: label 1 means yes.

import numpy as np

from helpers.data import TASKS, label_films

TASK = "any finding vs none"
SEED = 0

labels = label_films(table, TASK)
names = {0: "No finding", 1: "Any finding"}
TASKS[TASK]

# %%
# Twelve films of twelve patients: six on which something was found, and six on which nothing was.

import matplotlib.pyplot as plt

from helpers.plots import plot_films

rng = np.random.default_rng(SEED)
drawn = table.assign(number=patients).sample(frac=1, random_state=rng).drop_duplicates("number")
order = labels[drawn.index].dropna()
shown = [*order.index[order == 1][:6], *order.index[order == 0][:6]]
titles = ["\n".join(text.split("|")[:2]) for text in table["findings"][shown]]
plot_films([radiographs.image(film) for film in shown], titles)
plt.show()

# %%
# Lungs are dark as they hold air; heart, spine and diaphragm are bright. Then look at what is not
# the patient: letters in the corners, black borders, the sharpness, the contrast. If a row differs
# from the other in *those*, beware: a network sees them too. Whether a label is right cannot be
# seen here.
#
# Counting
# --------
#
# Films are not patients. A patient who is imaged ten times counts ten times in every score, and
# must not be cut in two when films are set aside for testing.

from helpers.data.summary import count_findings

findings = count_findings(table)
films_per_patient = np.bincount(patients)
print(f"{len(table):,} films of {len(films_per_patient):,} patients")

_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
counts = np.bincount(np.minimum(films_per_patient, 8), minlength=9)[1:]
left.bar([*"1234567", "8+"], counts, color="0.4")
left.set(xlabel="films of a patient", ylabel="patients")
right.barh(findings.index.str.replace("_", " "), findings["films"], color="0.75", label="in all")
right.barh(findings.index.str.replace("_", " "), findings["alone"], color="0.4", label="alone")
right.invert_yaxis()
right.set(xlabel="films")
right.legend()
plt.show()

# %%
# On the left, everything beyond the first bar is a reason to split by patient and not by film. On
# the right, a film counts for each of its findings; the dark part has no other. *No Finding* means
# that nothing was reported, not that the patient was healthy :footcite:p:`wang2017`.
#
# Who is on the films
# -------------------
#
# Now the label against everything else that is known of a film. If it were unrelated to age, the
# outline on the left would lie on the grey one; if it were unrelated to the others, all dots on the
# right would lie on the line, the share of films with a finding in all.

import pandas as pd

from helpers.data.summary import band_ages, share_labels
from helpers.plots import plot_label_shares

described = table.assign(label=labels, age_band=band_ages(table["age"]))
known = [
    column
    for column in ("view", "sex", "age_band", "hospital", "split")
    if described[column].notna().any()
]
shares = pd.concat(
    {name.replace("_", " "): share_labels(described, labels, name) for name in known or ["view"]}
)
shares.index = [f"{column} {value}" for column, value in shares.index]

# %%
# Dots are proportional to the number of films, in brackets; bars are 95 % intervals.

_, (left, right) = plt.subplots(1, 2, figsize=(9, 4.3), layout="constrained")
for label, color, kind in ((0, "0.8", "stepfilled"), (1, "black", "step")):
    ages = table["age"][labels == label].dropna()
    weights = np.full(len(ages), 1 / max(len(ages), 1))
    bands = range(0, 101, 5)
    left.hist(ages, bands, weights=weights, histtype=kind, color=color, label=names[label])
left.set(
    xlabel=f"age, known for {table['age'].count():,} films", ylabel="share of films", ylim=(0, None)
)
left.legend(loc="upper left")
plot_label_shares(shares, ax=right).axvline(labels.mean(), color="0.6", linewidth=1, zorder=0)
plt.show()

# %%
# If the bars of two values of one column lie apart, that column is associated with the label. Some
# of that is expected: the old are ill more often than the young. Some is not: the **view** says how
# a film was taken. Severely ill patients are imaged in bed, :term:`AP <AP view>`; if a collection
# has more findings on :term:`PA films <PA view>`, that is a trace of how its films were *chosen*.
# Either way a network may read the view off the film and never look at the lung
# :footcite:p:`zech2018`. The intervals take films as independent; where patients have several they
# are too narrow.
#
# Associations
# ------------
#
# Columns are also associated with each other: one hospital may image in bed more often, another may
# see older people. **Cramér's V** is a correlation for categories: from 0, where one column says
# nothing about the other, to 1, where it determines it; here corrected for the size of the sample.

from helpers.data.summary import measure_association
from helpers.plots import plot_association

association = measure_association(described, ["label", *known])
plot_association(association).set_title("Cramér's V")
plt.show()

# %%
# The first row is about the label; the darkest field in it is the first suspect. The other rows
# show where hospitals will differ. A *nan* is a column with one value only. What this measure
# cannot show are combinations, such as a view that matters in one hospital only.
#
# The films themselves
# --------------------
#
# Films may differ in more than metadata: we average those with a finding and those without.

from helpers.data import resize_image

MOST_FILMS = 2_000  # drawn at random if there are more; all of them in a real study
SIZE = 64  # pixels

chosen = np.sort(rng.permutation(np.flatnonzero(labels.notna()))[:MOST_FILMS])
pixels = np.stack([resize_image(radiographs.image(film), SIZE) for film in chosen])
positive = (labels[chosen] == 1).to_numpy(dtype=bool)
averages = {
    names[0]: pixels[~positive].mean(axis=0),
    names[1]: pixels[positive].mean(axis=0),
}

# %%
# The third picture is the second minus the first: red is brighter in films with a finding.

_, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
plot_films(averages.values(), [f"{name}, average" for name in averages], axes=axes[:2])
difference = averages[names[1]] - averages[names[0]]
limit = np.abs(difference).max()
image = axes[2].imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit)
axes[2].set_title("Difference", fontsize=8)
axes[2].set_axis_off()
axes[2].figure.colorbar(image, label="grey levels, of 255")
plt.show()

# %%
# Most findings put something dense where air should be, so that one expects red in the lungs or
# beside the heart. Darker lungs, a difference over the whole picture, or one at its edges need
# another explanation: exposure, the view, how deeply the patient breathed in. An average hides what
# is at another place in every film.
#
# The floor
# ---------
#
# A logistic regression gets a few columns, and never a lung: the view, sex and age, the hospital,
# the number of the follow-up, and of the pixels nothing but their mean and standard deviation. It
# is tested on patients that it has not seen, five times, as every patient is set aside once.
#
# Two floors follow. What a film shows, *with* the hospital, is for networks that are judged on
# films of several hospitals: they may recognize the hospital by its machines. Within one hospital
# that is of no use, and the floor is the one *without* it.

from helpers.data.summary import score_columns

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
sets["a film, within a hospital"] = [column for column in on_film if column != "hospital"]
sets["a film, of any hospital"] = on_film
scores = {
    name: score_columns(measured, labels[chosen], columns, seed=SEED)
    for name, columns in sets.items()
}

# %%
# Chance is an :term:`AUC` of one half.

floor = pd.DataFrame(scores).agg(["mean", "std"]).T
print(floor.round(3).to_string())

_, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.axvline(0.5, color="0.6", linewidth=1)
for number, folds in enumerate(scores.values()):
    ax.scatter(folds, np.full(len(folds), number), s=18, color="0.6")
ax.scatter(floor["mean"], range(len(floor)), s=70, color="black", marker="D", zorder=3)
ax.set_yticks(range(len(floor)), floor.index)
ax.set(xlabel="test AUC without a look at the lungs (grey: each fold)", xlim=(0.4, 1))
ax.set_ylim(len(floor) - 0.5, -0.5)
plt.show()

# %%
# A row at one half, give or take its grey dots, says nothing about the label. A row clearly to the
# right of it is a shortcut. The number of the follow-up is on no film: it is included because it
# shows how patients were chosen. This is no upper limit: a network may find cleverer shortcuts,
# such as a marker or a cable. And a network that beats the floor may still use it for a part of its
# score, for which reason it should be evaluated within groups that share a view, a sex, an age.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above. Folds share training films, so that their scatter
# is a rough guide and no test.


def say_verdicts():
    single = floor.iloc[:-2].sort_values("mean", ascending=False)
    first, second = single.index[:2]
    lead, scatter = single["mean"].iloc[0] - single["mean"].iloc[1], single["std"].iloc[:2].max()
    word = "clearly the strongest" if lead > scatter else "NOT clearly ahead"
    print(f"{first}, {single['mean'].iloc[0]:.3f}, is {word}: it leads {second} by {lead:.3f}, and")
    print(f"folds scatter by {scatter:.3f} (one standard deviation).")
    for name in floor.index[-2:]:
        mean, std = floor.loc[name]
        held = "above chance, as expected" if mean - std > 0.5 else "NOT clearly above chance"
        print(f"Floor, {name}: {mean:.3f} ± {std:.3f}, {held}.")


say_verdicts()

# %%
# Nothing here says how good the labels are, and nothing here is a clinical result.
#
# Next, the films go to hospitals:
# :ref:`sphx_glr_auto_examples_20_data_plot_20_radiographs_to_hospitals.py`.
#
# References
# ----------
#
# .. footbibliography::
