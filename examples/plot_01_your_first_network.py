"""
Your first network
==================

How does a computer learn to tell a normal chest X-ray from an abnormal one? This page is for
readers who know Python and a little calculus. We will:

1. look at a :term:`film` as a computer does, as an array of numbers,
2. write a network in NumPy, check its gradient, train it, and do the same in Keras,
3. watch whether it learns its films by heart, and compare it with a convolutional network.

The floor is to give every film the same answer. We expect both networks to be above it, and the
convolutional one to be better with fewer weights, and less sensitive to shifts. The ceiling is a
score of 1, which ranks every test film with a finding above all others.
"""

# %%
# A film is an array
# ------------------
#
# By default the films are synthetic (:doc:`/data_sheet`). Those of the largest :term:`hospital` are
# enough here; an :term:`opener` reads them. They come in three parts, each a :term:`split`: the
# network learns from *train*, *valid* shows which weights to keep, and *test* is for the final
# score. The dimensions are films, rows, columns, and one number: 0 is black, 255 is white.

import matplotlib.pyplot as plt
import numpy as np

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.plots import describe_lines, make_panels

IMAGE_SIZE, SEED = 32, 0  # pixels, to keep the run short; 224 or more in a real study
study = set_up_hospitals("any finding vs none", seed=SEED)
hospital = study.films["hospital"].value_counts().idxmax()
folders = study.prepare(IMAGE_SIZE)[hospital]
opened = {split: ChestXrayOpener().get_data([folder]) for split, folder in folders.items()}
images = {split: np.asarray(part["images"]) for split, part in opened.items()}
print({split: films.shape for split, films in images.items()}, images["train"].dtype)

film = images["train"][0, :, :, 0]
left, right = make_panels(2, height=3.3, n_columns=2)
for ax, part, title in ((left, film, "A film …"), (right, film[12:20, 8:16], "… and 8 × 8 of it")):
    ax.imshow(part, cmap="gray", vmin=0, vmax=255)
    ax.set(title=title, xticks=[], yticks=[])
    ax.set_label(f"{' × '.join(map(str, part.shape))} pixels from {part.min()} to {part.max()}.")
left.add_patch(plt.Rectangle((7.5, 11.5), 8, 8, fill=False, edgecolor="#E69F00", linewidth=2))
for (row, column), grey in np.ndenumerate(film[12:20, 8:16]):
    color = "white" if grey < 128 else "black"
    right.text(column, row, grey, color=color, ha="center", va="center")
show()

# %%
# The network gets these numbers and nothing else. The *label*, the right answer, is 1 for a film
# with a :term:`finding`, else 0. Numbers around zero are easier to learn from, so we rescale them.

x = {split: films / 255 * 4 - 2 for split, films in images.items()}
y = {split: part["labels"].astype(float)[:, None] for split, part in opened.items()}
flat = x["train"].reshape(len(x["train"]), -1)  # shape (films, pixels)
print(f"{flat.shape[1]:,} numbers for each film; {y['train'].mean():.0%} have a finding")

# %%
# A neuron, a layer, a network
# ----------------------------
#
# A :term:`neuron` multiplies each number by a :term:`weight`, adds everything up, and adds its
# *bias*, one more weight. A :term:`layer` is many neurons side by side: one product of matrices.
# Between layers, negative sums are set to zero (:term:`ReLU`); otherwise two layers could do no
# more than one. Ours has two: a small multilayer perceptron (:term:`MLP`). Its output is a
# :term:`logit`: positive means *more likely a finding than not*. Biases start at zero, other
# weights at random.

N_NEURONS, N_PIXELS = 32, flat.shape[1]
rng = np.random.default_rng(SEED)
first = rng.normal(0, N_PIXELS**-0.5, (N_PIXELS, N_NEURONS))
second = rng.normal(0, N_NEURONS**-0.5, (N_NEURONS, 1))
start = [first, np.zeros(N_NEURONS), second, np.zeros(1)]


def run(weights, films):
    hidden = np.maximum(films @ weights[0] + weights[1], 0)
    return hidden, hidden @ weights[2] + weights[3]


# %%
# Loss and gradient
# -----------------
#
# A logit :math:`z` stands for the probability :math:`1 / (1 + e^{-z})` of a finding. The
# :term:`loss` says how wrong the network is: the mean over films of :math:`-\log p`, where
# :math:`p` is the probability given to the right answer. The :term:`gradient` has the slope of the
# loss for each weight, by the chain rule, from the last layer back to the first.


def compute_loss(weights, films, labels):
    logits = run(weights, films)[1]
    return np.mean(np.logaddexp(0, logits) - labels * logits)


def compute_gradient(weights, films, labels):
    hidden, logits = run(weights, films)
    at_logits = (1 / (1 + np.exp(-logits)) - labels) / len(films)
    at_hidden = (at_logits @ weights[2].T) * (hidden > 0)
    return [films.T @ at_hidden, at_hidden.sum(0), hidden.T @ at_logits, at_logits.sum(0)]


# %%
# A slope can be measured as well: move one weight by a tiny step up and down, and divide the change
# of the loss by both steps. That is too slow for training, but it checks the gradient.

STEP = 1e-6
gradient, differences = compute_gradient(start, flat, y["train"]), []
for array, slopes in zip(start, gradient, strict=True):
    for place in rng.permutation(array.size)[:50]:  # at most 50 weights of each array
        before = array.flat[place]
        array.flat[place] = before + STEP
        above = compute_loss(start, flat, y["train"])
        array.flat[place] = before - STEP
        below = compute_loss(start, flat, y["train"])
        array.flat[place] = before
        differences.append(abs((above - below) / (2 * STEP) - slopes.flat[place]))
error = max(differences) / max(abs(slopes).max() for slopes in gradient)
print(f"largest error of {len(differences)} slopes: {error:.0e} of the steepest slope")

# %%
# Training goes downhill: again and again, subtract from the weights their gradient times a small
# number, the :term:`learning rate`. This is *gradient descent*.

RATE, N_STEPS = 0.05, 20
weights, losses = start, []
for _ in range(N_STEPS):
    losses.append(compute_loss(weights, flat, y["train"]))
    slopes = compute_gradient(weights, flat, y["train"])
    weights = [weight - RATE * slope for weight, slope in zip(weights, slopes, strict=True)]

# %%
# The same in Keras
# -----------------
#
# Keras has layers and losses and finds gradients. Its ``SGD`` is our descent, and an ``epoch`` here
# one step with all films. From the same weights, losses should agree up to rounding.

import keras
from keras import layers

shape = x["train"].shape[1:]
loss = keras.losses.BinaryCrossentropy(from_logits=True)


def build_mlp():
    hidden = layers.Dense(N_NEURONS, activation="relu")
    return keras.Sequential([keras.Input(shape), layers.Flatten(), hidden, layers.Dense(1)])


mlp = build_mlp()
mlp.set_weights(start)
mlp.compile(optimizer=keras.optimizers.SGD(RATE), loss=loss)
in_keras = mlp.fit(x["train"], y["train"], batch_size=len(flat), epochs=N_STEPS, verbose=0)
apart = np.abs(np.divide(in_keras.history["loss"], losses) - 1)
print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}; Keras differs by at most {apart.max():.0e} of it")

# %%
# .. admonition:: Keras, TensorFlow and PyTorch
#
#    *TensorFlow* and *PyTorch* compute with arrays, on graphics cards too, and find gradients.
#    *Keras* is built on top: layers, losses, the loop that trains. It runs on TensorFlow, PyTorch
#    or JAX; here on TensorFlow. If you know PyTorch, see :doc:`/from_pytorch`.
#
# From MLP to CNN
# ---------------
#
# The MLP has a weight for each pixel and neuron: a finding two pixels further left meets other
# weights. A convolutional network (:term:`CNN`) has *filters*: neurons that see 3 × 3 pixels and
# move over the film with the same weights. ``strides=2`` moves them by two pixels and about halves
# the picture. At the end each filter keeps only its maximum: is its pattern anywhere?


def build_cnn():
    filters = [layers.Conv2D(n, 3, strides=2, activation="relu") for n in (8, 16)]
    filters += [layers.Conv2D(32, 3, activation="relu"), layers.GlobalMaxPooling2D()]
    return keras.Sequential([keras.Input(shape), *filters, layers.Dense(1)])


# %%
# Does it learn by heart?
# -----------------------
#
# Usually each step takes a few films, a :term:`batch`; one pass through all films is an
# :term:`epoch`. The :term:`optimizer` Adam adapts the rate to each weight. After every epoch we
# compute the loss on the validation films, and keep the weights for which it is smallest.

N_EPOCHS, networks, curves = 40, {}, {}
for name, build in {"MLP": build_mlp, "CNN": build_cnn}.items():
    keras.utils.set_random_seed(SEED)
    network = networks[name] = build()
    network.compile(optimizer=keras.optimizers.Adam(2e-3), loss=loss)
    keep_best = keras.callbacks.EarlyStopping(patience=N_EPOCHS, restore_best_weights=True)
    settings = {"batch_size": 32, "epochs": N_EPOCHS, "callbacks": [keep_best], "verbose": 0}
    settings["validation_data"] = x["valid"], y["valid"]
    curves[name] = network.fit(x["train"], y["train"], **settings).history
    print(f"{name}: {network.count_params():,} weights")

# %%
for ax, (name, curve) in zip(make_panels(2, height=2.8, sharey=True), curves.items(), strict=True):
    ax.plot(curve["loss"], "k--", label="training films")
    ax.plot(curve["val_loss"], "k-", label="validation films")
    ax.set(ylim=0, xlabel="epoch", ylabel="loss", title=f"{name}: the loss on both sets of films")
    describe_lines(ax)
ax.legend()
show()

# %%
# If only the training loss goes on falling, the films are learned by heart: :term:`overfitting`.
# The score is the test :term:`AUC`: how often a film with a finding gets a higher logit than one
# without. Films are also shifted right by a few pixels; their left border fills the gap.

from helpers.evaluation import auc, bootstrap_difference, bootstrap_patients, describe_change

logits, (ax,) = {}, make_panels(1, height=3.2)
for (name, network), style in zip(networks.items(), ("k--o", "k-s"), strict=True):
    for n in range(5):
        moved = np.pad(x["test"], [(0, 0), (0, 0), (n, 0), (0, 0)], mode="edge")
        logits[name, n] = network(moved[:, :, :IMAGE_SIZE]).numpy()
    ax.plot([auc(opened["test"], logits[name, n]) for n in range(5)], style, label=name)
ax.set(xlabel="shift of the test films (pixels)", ylabel="test AUC", xticks=range(5), ylim=(0.5, 1))
describe_lines(ax).legend()
show()

# %%
# Other films, and an exercise
# ----------------------------
#
# The :doc:`/data_sheet` lists collections of radiographs. More are at `PhysioNet
# <https://physionet.org>`__, the `Cancer Imaging Archive <https://www.cancerimagingarchive.net>`__,
# Kaggle and Hugging Face. First check the licence, who labelled the films, and whether they have
# patient numbers. As an exercise, change these lines to train both networks on Fashion-MNIST:
#
# .. code-block:: python
#
#    train_set, test_set = keras.datasets.fashion_mnist.load_data()
#    films, labels = train_set[0][..., None], train_set[1]
#    images = {"train": films[:5000], "valid": films[5000:6000], "test": test_set[0][..., None]}
#    y = {"train": labels[:5000], "valid": labels[5000:6000], "test": test_set[1]}
#    IMAGE_SIZE = 28
#    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
#    layers.Dense(10)  # the last layer of both networks: a logit for each of ten classes
#    np.mean(logits[name, n].argmax(1) == y["test"])  # the score, in place of the AUC
#
# Conclusion
# ----------
#
# Computed from the results. [Brackets]: how far a score varies if test patients are drawn again.

from helpers.results import tidy_facts, write_results

test, patients = opened["test"], opened["test"]["metadata"]["patient"]
facts = {("NumPy", "error of the gradient"): error}
facts["Keras", "difference of the loss"] = apart.max()
facts["same answer", "auc"] = auc(test, np.zeros(len(patients)))
both = logits["CNN", 0], logits["MLP", 0]
facts["CNN", "gain"] = bootstrap_difference(auc, test, *both, patients)
for name, curve in curves.items():
    facts[name, "auc"] = bootstrap_patients(auc, test, logits[name, 0], patients)
    facts[name, "auc, shifted"] = auc(test, logits[name, 4])
    facts[name, "weights"] = networks[name].count_params()
    for key, values in curve.items():
        facts[name, f"fall of {key}"] = np.mean(values[15:20]) - np.mean(values[35:40])
results = tidy_facts(facts, seed=SEED, hospital=hospital)
write_results(results, "your_first_network")


def say_verdicts(results):
    limits = results.set_index(["arm", "metric"])[["value", "low", "high"]]
    value = limits["value"]
    for arm, metric in (("NumPy", "error of the gradient"), ("Keras", "difference of the loss")):
        word = "rounding" if value[arm, metric] < 1e-5 else "MORE than rounding"
        print(f"{arm}: relative {metric} {value[arm, metric]:.0e}, {word}.")
    for name in ("MLP", "CNN"):
        train, valid = value[name, "fall of loss"], value[name, "fall of val_loss"]
        word = "overfitting" if train > max(0, 2 * valid) else "NO clear overfitting"
        print(f"{name}: from epochs 16–20 to 36–40 the loss changed by {-train:+.3f} on training")
        print(f"  films, and by {-valid:+.3f} on validation films: {word}.")
        score, low, high = limits.loc[(name, "auc")]
        word = "above" if low > value["same answer", "auc"] else "NOT clearly above"
        print(f"  Its test AUC, {score:.3f} [{low:.3f}, {high:.3f}], is {word} the floor.")
    gain = describe_change(*limits.loc[("CNN", "gain")], below="worse", above="better")
    few = "fewer" if value["CNN", "weights"] < value["MLP", "weights"] else "NOT fewer"
    print(f"The CNN has {few} weights, and its AUC differs from the MLP's by {gain}.")
    cnn, mlp = (value[name, "auc"] - value[name, "auc, shifted"] for name in ("CNN", "MLP"))
    word = "less" if cnn < mlp else "NOT less"
    print(f"A shift of 4 pixels costs the CNN {cnn:.3f} of AUC, {word} than the MLP's {mlp:.3f}.")


say_verdicts(results)

# %%
# This is one hospital and one :term:`seed`; others may reverse a close verdict. Next, three
# hospitals train one network: :ref:`sphx_glr_auto_examples_plot_02_your_first_federation.py`.
