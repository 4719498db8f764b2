"""
From radiographs to hospitals
=============================

A collection of films is one heap. A federation needs several: each hospital holds films of its
own, to train on, to validate with and to test with. Who gets which films? And how do we make
sure that no patient is on both sides of a border?

We will:

1. label the films for a task,
2. assign the patients to hospitals in several ways, and compare how unlike these hospitals are,
3. split every hospital's patients, and see what happens when somebody gets this wrong,
4. see in what the hospitals differ: labels, metadata, the look of their films,
5. write everything down as **samples**, and read them back through the **opener**.

We expect hospitals that were assigned at random to be alike, and hospitals with a history to differ
in more than one thing at a time. The second is what makes federated learning hard, and interesting.
"""

# %%
# A label for each film
# ---------------------
#
# A *task* is a question with yes or no for an answer. Two are known, and the one chosen here is
# that of the other pages. A film that answers neither way is left out.

import pandas as pd

from helpers.data import TASKS, label_films, read_radiographs

TASK = "any finding vs none"
SEED = 0

radiographs = read_radiographs()
table = radiographs.table
answers = {task: label_films(table, task) for task in TASKS}
pd.DataFrame(
    {
        task: {"1": (labels == 1).sum(), "0": (labels == 0).sum(), "left out": labels.isna().sum()}
        for task, labels in answers.items()
    }
)

# %%
# Hospitals, in several ways
# --------------------------
#
# Films that come from real hospitals, or from our :term:`phantom`, name theirs. For all others we
# have to invent hospitals, and there are many ways to do so. In the simplest the patients are
# shuffled: the hospitals are :term:`IID`. More often one wants them to differ, in the
# labels (by a :term:`Dirichlet split` :footcite:p:`hsu2019`), in size, or in whom they see and how
# they take films. A way that the source lacks the data for is refused, with the reason.

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
dealt = {}
for name, how in ways.items():
    try:
        dealt[name] = assign_hospitals(films, **how, labels=labels, seed=SEED)
    except ValueError as error:
        print(textwrap.fill(f"{name}: {error}", 80), end="\n\n")

# %%
# In every scheme whole patients are assigned, never single films. Next, the share of films with a
# finding at each hospital. Dots are proportional to the number of films, in brackets; bars are
# 95 % intervals; the line is the share in all films.

import matplotlib.pyplot as plt

from helpers.data.summary import share_labels
from helpers.plots import hospital_colors, plot_label_shares

n_rows = -(-len(dealt) // 2)
_, axes = plt.subplots(n_rows, 2, figsize=(9, 2.3 * n_rows), layout="constrained", squeeze=False)
for ax, (name, dealing) in zip(axes.flat, dealt.items(), strict=False):
    shares = share_labels(dealing, labels, "hospital")
    plot_label_shares(shares, colors=hospital_colors(shares.index), ax=ax)
    ax.axvline(labels.mean(), color="0.6", linewidth=1, zorder=0)
    ax.set_title(name, fontsize=10)
for ax in axes.flat[len(dealt) :]:
    ax.set_axis_off()
plt.show()

# %%
# *IID* is the reference: what its dots scatter is chance. *Label skew* pulls them apart and leaves
# the numbers of patients equal; the smaller its :math:`\alpha`, the farther. *Size skew* changes
# the numbers. With age, view and real hospitals, dots apart mean that the property by which we
# divided is associated with the label, if they scatter more than those of *IID*. How far the dots
# are apart:

spread = pd.Series(
    {
        name: np.ptp(share_labels(dealing, labels, "hospital")["share"])
        for name, dealing in dealt.items()
    }
)
spread.rename("largest minus smallest share").round(3).to_frame()

# %%
# Two hospitals with the same share of ill patients may still image them with other machines. We go
# on in the usual way: the hospitals that the films name, or IID ones if they name none.

by = "hospital" if films["hospital"].notna().all() else "iid"
assigned = assign_hospitals(films, by, seed=SEED)
print(f"by {by!r}: {', '.join(sorted(assigned['hospital'].unique()))}")

# %%
# Splits, by patient
# ------------------
#
# Each hospital needs films to train on, films to choose with and films to be judged by. A
# collection's official :term:`split` is kept if there is one; otherwise the patients of each
# hospital are shuffled and assigned, those with a finding and those without separately, so that
# no split ends up with one kind only.

from helpers.data import check_hospitals, check_no_leak, split_patients

has_official_split = bool(films["split"].notna().all())
split = split_patients(assigned, labels=labels, seed=SEED, keep_split=has_official_split)
check_no_leak(split)
counts = check_hospitals(split, labels)
print("an official split, kept" if has_official_split else "split here, 60 : 15 : 25")
counts

# %%
# Two checks stand between this table and any training. :func:`~helpers.data.check_hospitals`
# refuses hospitals and splits that are too small or have one label only.
# :func:`~helpers.data.check_no_leak` refuses :term:`leakage`: here one of somebody's training films
# is put among the test films, too.

stray = split[split["split"] == "train"].tail(1).assign(split="test")
try:
    check_no_leak(pd.concat([split, stray], ignore_index=True))
except ValueError as error:
    print(textwrap.fill(str(error), 80))

# %%
# Without the check nothing would have failed; the score would have been too good. A check can only
# know what the table records, and that depends on patient numbers:

from helpers.data.patients import has_patients

if has_patients(split):
    print("Every film names its patient: no patient is in two splits or two hospitals.")
else:
    print("Not every film names its patient. Unnamed ones count as a patient each:")
    print("two films of one person in two splits pass, and scores may be too good.")

# %%
# In what do the hospitals differ?
# --------------------------------
#
# Hospitals, splits and both checks are what :func:`~helpers.data.make_hospitals` does in one call;
# the other pages use it. Now the differences, first in numbers:

from helpers.plots import plot_counts

_, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
plot_counts(counts, ax=ax)
plt.show()

# %%
# The dark part should be about the same share of all three bars of one hospital: that is what the
# splitting is for. Then in whom they see, and how they take films.

from helpers.data.summary import band_ages
from helpers.plots import plot_shares

described = split.assign(
    age_band=band_ages(split["age"]),
    label=labels.map({0: "no finding", 1: "any finding"}),
)
known = [c for c in ("view", "sex", "age_band") if described[c].notna().any()]
shown = ["label", *known]
n_rows = -(-len(shown) // 2)
_, axes = plt.subplots(n_rows, 2, figsize=(9, 2.9 * n_rows), layout="constrained", squeeze=False)
for ax, column in zip(axes.flat, shown, strict=False):
    plot_shares(described, column, by="hospital", ax=ax)
for ax in axes.flat[len(shown) :]:
    ax.set_axis_off()
plt.show()
if not known:
    print("The source records neither view nor sex nor age: only the label can be compared.")

# %%
# Within a panel, bars that are cut at the same places are hospitals that are alike in this. A view
# that is frequent in one place and associated with disease there is a :term:`confounder`: what a
# network learns from it does not hold at another hospital :footcite:p:`zech2018`.
#
# Samples
# -------
#
# Now the films are read, resized and written, once: a folder for each hospital and split, which is
# what a hospital will register in Substra as a :term:`data sample`. An interrupted run leaves no
# half of it, and a finished one is found again the next time. Two files hold pixels and metadata;
# the third says what they must look like, so that an opener elsewhere can tell whether the sample
# is intact.

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
# task. It opens a hospital's films, of one folder or of several, without loading them: pixels are
# read from the disk when somebody asks for a batch. Where no data may be seen, its ``fake_data``
# makes noise with the same keys and types.

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
# Through the opener's eyes, then: six films without a finding from each hospital, one row each.
# Whatever differs between these rows is not due to reported findings.

from helpers.plots import plot_films

colors = hospital_colors(hospitals)
rng = np.random.default_rng(SEED)
_, axes = plt.subplots(
    len(hospitals), 6, figsize=(9, 1.6 * len(hospitals)), layout="constrained", squeeze=False
)
for row, (name, data) in zip(axes, opened.items(), strict=True):
    healthy = rng.permutation(np.flatnonzero(data["labels"] == 0))[:6]
    plot_films(data["images"][np.sort(healthy)], axes=row)
    row[0].set_title(name.replace("_", " "), color=colors[name], loc="left", fontsize=10)
plt.show()

# %%
# And the brightness of all their training films without a finding:

_, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
edges = np.arange(0, 257, 8)
for name, data in opened.items():
    healthy = data["images"][np.flatnonzero(data["labels"] == 0)]
    shares = np.histogram(healthy, edges)[0] / healthy.size
    ax.stairs(shares, edges, color=colors[name], label=name.replace("_", " "), linewidth=1.5)
ax.set(xlabel="grey level (0: black, 255: white)", ylabel="share of pixels", xlim=(0, 256))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %%
# Overlapping curves belong to hospitals whose films look alike. Curves apart mean other machines,
# other exposures or other patients. What a histogram cannot show is *where* the pixels are: a
# marker in the corner is a few of them, and enough to recognize a hospital.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    print(f"Shares of findings lie {spread['IID']:.3f} apart with IID hospitals.")
    for name, apart in spread.drop("IID").items():
        word = "more than with IID" if apart > spread["IID"] else "NOT more than with IID"
        print(f"  {name}: {apart:.3f}, {word}.")
    levels = {name: opened[name]["images"][::5].mean() for name in hospitals}
    far = max(levels.values()) - min(levels.values())
    print(f"Mean grey levels of the hospitals lie up to {far:.1f} of 255 apart.")


say_verdicts()

# %%
# One draw of IID hospitals is a rough measure of chance. Whether it pays to train together is the
# question of :ref:`sphx_glr_auto_examples_10_training_plot_10_federated_chest_xrays.py`, which goes
# on with exactly these samples. What can be predicted without any lung is on the page before,
# :ref:`sphx_glr_auto_examples_20_data_plot_10_first_look.py`.
#
# .. seealso::
#
#    :func:`helpers.data.assign_hospitals` for all the ways and their formulas, and
#    :class:`helpers.openers.chest_xray_opener.ChestXrayOpener` for what it refuses.
#
# References
# ----------
#
# .. footbibliography::
