"""
From radiographs to hospitals
=============================

A public collection of films is one data set. A federation needs several: each :term:`hospital`
holds its own films for training, validation and testing. Which films go to which hospital? And how
do we make sure that no patient is in two hospitals, or in training and test?

We will:

1. label the films for a task,
2. assign the patients to hospitals in several ways, and compare how different these hospitals are,
3. :term:`split` every hospital's patients, and see what happens when this is done wrong,
4. see how the hospitals differ: in labels, metadata and the look of their films,
5. write everything as **samples**, and read them back through the **opener**.

We expect hospitals that were assigned at random to be alike, and real ones to differ in more than
one respect. The second is what makes :term:`federated learning` hard, and interesting.
"""

# %%
# A label for each film
# ---------------------
#
# A *task* is a question with the answer yes or no. The table lists all tasks; the other pages use
# the one chosen here. A film that gives neither answer is left out.

import pandas as pd

from helpers.data import TASKS, label_films, read_radiographs
from helpers.display import show

TASK = "any finding vs none"
SEED = 0

radiographs = read_radiographs()
table = radiographs.table
answers = pd.DataFrame({task: label_films(table, task) for task in TASKS})
answered = answers.apply(pd.Series.value_counts).reindex([1, 0]).fillna(0).astype(int)
show(pd.concat([answered, answers.isna().sum().to_frame("left out").T]))

# %%
# Hospitals, in several ways
# --------------------------
#
# Films of real hospitals, or of our :term:`phantom`, name their hospital. For all others we have to
# invent hospitals, and there are many ways to do so. In the simplest, the patients are shuffled:
# the hospitals are :term:`IID`. More often they should differ: in their labels (by a
# :term:`Dirichlet split` :footcite:p:`hsu2019`), in size, or in their patients and equipment. If
# the source lacks the data for one of these ways, the function refuses it and says why.

import textwrap

import numpy as np

from helpers.data import assign_hospitals

labels = answers[TASK].dropna()
films = table.loc[labels.index]
ways = {
    "their own": {"by": "hospital"},
    "IID": {"by": "iid"},
    "label skew, Dirichlet 0.5": {"by": "dirichlet", "alpha": 0.5},
    "size skew, each half the last": {"by": "size", "alpha": 0.5},
    "age bands": {"by": "age"},
    "view": {"by": "view"},
}
assignments = {}
for name, how in ways.items():
    try:
        assignments[name] = assign_hospitals(films, **how, labels=labels, seed=SEED)
    except ValueError as error:
        print(textwrap.fill(f"{name}: {error}", 80), end="\n\n")

# %%
# In every scheme, whole patients are assigned, never single films. The figure shows the share of
# films with a :term:`finding` at each hospital. Dots are proportional to the number of films, in
# brackets; bars are 95 % intervals; the line is the share in all films.


from helpers.data.summary import share_labels
from helpers.plots import hospital_colors, make_panels, plot_label_shares

axes = make_panels(len(assignments), height=1.6)
spread = {}
for ax, (name, assigned) in zip(axes, assignments.items(), strict=True):
    shares = share_labels(assigned, labels, "hospital")
    spread[name] = np.ptp(shares["share"])
    plot_label_shares(shares, colors=hospital_colors(shares.index), ax=ax)
    ax.axvline(labels.mean(), color="0.6", linewidth=1, zorder=0)
    ax.set_title(name, fontsize=10)
    ax.label_outer()
show()

# %%
# *IID* is the reference: its dots scatter by chance alone. *Label skew* pulls them apart and leaves
# the numbers of patients equal; the smaller its :math:`\alpha`, the farther apart. *Size skew*
# changes the numbers. With age, view and real hospitals, dots that scatter more than those of *IID*
# mean that the property by which we divided is associated with the label. The distance between the
# outermost dots:

show(pd.Series(spread, name="largest minus smallest share").round(3).to_frame())

# %%
# Two hospitals with the same share of ill patients may still use different machines. We continue
# with the default: the hospitals that the films name, or IID ones if they name none.

by = "hospital" if films["hospital"].notna().all() else "iid"
assigned = assign_hospitals(films, by, seed=SEED)
print(f"by {by!r}: {', '.join(sorted(assigned['hospital'].unique()))}")

# %%
# Splits, by patient
# ------------------
#
# Each hospital needs films for training, for choosing between models, and for the final score. The
# official split of a collection is kept if there is one. Otherwise the patients of each hospital
# are shuffled and assigned, those with a finding and those without separately, so that each split
# has both.

from helpers.data import check_hospitals, check_no_leak, split_patients

has_official_split = bool(films["split"].notna().all())
split = split_patients(assigned, labels=labels, seed=SEED, keep_split=has_official_split)
check_no_leak(split)
counts = check_hospitals(split, labels)
print("an official split, kept" if has_official_split else "split here, 60 : 15 : 25")
show(counts)

# %%
# Two checks precede any training. :func:`~helpers.data.check_hospitals` refuses hospitals and
# splits that are too small or have one label only. :func:`~helpers.data.check_no_leak` refuses
# :term:`leakage`. Here we add one of a patient's training films to the test films:

stray = split[split["split"] == "train"].tail(1).assign(split="test")
try:
    check_no_leak(pd.concat([split, stray], ignore_index=True))
except ValueError as error:
    print(textwrap.fill(str(error), 80))

# %%
# Without the check, nothing would have failed, and the score would have been too good. But a check
# knows only what the table records, and this one needs patient numbers:

from helpers.data.patients import has_patients

if has_patients(split):
    print("Every film names its patient: no patient is in two splits or two hospitals.")
else:
    print("Not every film names its patient. Unnamed ones count as a patient each:")
    print("two films of one person in two splits pass, and scores may be too good.")

# %%
# How do the hospitals differ?
# ----------------------------
#
# :func:`~helpers.data.make_hospitals` makes hospitals and splits, with both checks, in one call;
# the other pages use it. Now the differences, first in numbers of films:

from helpers.plots import plot_counts

plot_counts(counts)
show()

# %%
# The dark part should be about the same share of all three bars of one hospital, since those with a
# finding were assigned separately. Next, the patients, and how they were imaged:

from helpers.data.summary import band_ages
from helpers.plots import plot_shares

described = split.assign(
    age_band=band_ages(split["age"]),
    label=labels.map({0: "no finding", 1: "any finding"}),
)
known = [c for c in ("view", "sex", "age_band") if described[c].notna().any()]
axes = make_panels(1 + len(known), height=2.7, n_columns=2)
for ax, column in zip(axes, ["label", *known], strict=True):
    plot_shares(described, column, by="hospital", ax=ax)
show()
if not known:
    print("The source records neither view nor sex nor age: only the label can be compared.")

# %%
# Within a panel, hospitals whose bars are divided at the same places are alike in this respect. A
# view that is frequent in one hospital and associated with disease there is a :term:`confounder`:
# what a network learns from it does not hold at another hospital :footcite:p:`zech2018`.
#
# Samples
# -------
#
# Now the films are read, resized and written, once: a folder for each hospital and split, which the
# hospital will register in Substra as a :term:`data sample`. An interrupted run leaves no partial
# sample, and a finished sample is reused. Two files hold pixels and metadata. The third describes
# them, so that an opener elsewhere can check that the sample is intact.

from helpers.data import prepare_samples

IMAGE_SIZE = 64  # pixels, as on the training page; 224 or more in a real study

samples = prepare_samples(radiographs, split, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)
root = samples[hospitals[0]]["train"].parents[1]
for hospital in hospitals:
    for folder in samples[hospital].values():
        files = ", ".join(sorted(file.name for file in folder.iterdir()))
        print(f"{folder.relative_to(root).as_posix():24} {files}")

# %%
# The opener
# ----------
#
# The :term:`opener` is a script of its own: Substra stores it with the data and calls it in every
# :term:`task`. It opens a hospital's films, from one folder or several, without loading them:
# pixels are read from the disk when a :term:`batch` is needed. Where no real data may be used, its
# ``fake_data`` returns noise with the same keys and types.

from helpers.openers.chest_xray_opener import ChestXrayOpener

opener = ChestXrayOpener()
opened = {name: opener.get_data([samples[name]["train"]]) for name in hospitals}
for name, data in opened.items():
    images = data["images"]
    print(f"{name:14} {type(images).__name__}, {images.dtype}, {images.shape}")

# %%
# The look of the hospitals
# -------------------------
#
# As the opener returns them: six films without a finding from each hospital, one row each.
# Differences between these rows are not due to reported findings.

from helpers.plots import plot_films

rng = np.random.default_rng(SEED)
without = {name: np.flatnonzero(data["labels"] == 0) for name, data in opened.items()}
axes = make_panels(6 * len(hospitals), height=1.25, n_columns=6).reshape(-1, 6)
for row, (name, numbers) in zip(axes, without.items(), strict=True):
    plot_films(opened[name]["images"][np.sort(rng.permutation(numbers)[:6])], axes=row)
    row[0].set_title(name.replace("_", " "), loc="left", fontsize=10)
show()

# %%
# And the brightness of all their training films without a finding:

from helpers.plots import plot_grey_levels

plot_grey_levels({name: opened[name]["images"][numbers] for name, numbers in without.items()})
show()

# %%
# Overlapping curves belong to hospitals whose films look alike. Separate curves mean different
# machines, exposures or patients. A histogram cannot show *where* the pixels are: a marker in the
# corner consists of a few of them, and is enough to identify a hospital.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results. One draw of IID hospitals is a rough
# measure of chance.

from helpers.results import tidy_facts, write_results

levels = [data["images"][::5].mean() for data in opened.values()]
facts = {(name, "range of shares"): apart for name, apart in spread.items()}
facts["all", "range of mean grey levels"] = max(levels) - min(levels)
results = tidy_facts(facts, seed=SEED)
write_results(results, "radiographs_to_hospitals")


def say_verdicts(results):
    shares = results[results["metric"] == "range of shares"].set_index("arm")["value"]
    print(f"The shares of findings of IID hospitals differ by up to {shares['IID']:.3f}.")
    for name, apart in shares.drop("IID").items():
        word = "more than with IID" if apart > shares["IID"] else "NOT more than with IID"
        print(f"  {name}: {apart:.3f}, {word}.")
    (far,) = results["value"][results["metric"] == "range of mean grey levels"]
    print(f"Mean grey levels of the hospitals differ by up to {far:.1f} of 255.")


say_verdicts(results)

# %%
# Whether it pays to train together is the question of
# :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`, which uses exactly
# these samples.
#
# .. seealso::
#
#    :func:`helpers.data.assign_hospitals` describes all schemes with their formulas, and
#    :class:`helpers.openers.chest_xray_opener.ChestXrayOpener` what it refuses.
#
# References
# ----------
#
# .. footbibliography::
