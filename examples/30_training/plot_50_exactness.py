"""
How exact the algorithms are
============================

A federated algorithm that is wrong still trains. A flipped sign in a correction costs a few points
of accuracy and raises no error. Do the algorithms of this project compute what their papers say?

We will:

1. let hospitals train a model so small that the same training is a few lines of NumPy,
2. compare one algorithm with its reference in detail, through real tasks,
3. compare all others in the same way,
4. compare those that SubstraFL has for PyTorch with its own classes,
5. check what the papers say must hold, such as limits and sums.

We expect differences of the size of single precision, some :math:`10^{-8}` for weights of this
size, and allow :math:`10^{-6}`. A mistake in a formula would show as :math:`10^{-3}` or more.

**One thing differs from some papers, on purpose.** The papers of Scaffold
:footcite:p:`karimireddy2020` and of the server optimizers :footcite:p:`reddi2021` average the
clients *uniformly*. SubstraFL's strategies weight each hospital by its samples, as Federated
Averaging does :footcite:p:`mcmahan2017`, and so do the references here. With equal hospitals
the two are the same. The page measures how far they are apart with these hospitals.
"""

# %%
# Five hospitals and a linear model
# ---------------------------------
#
# The films are reduced to 8 × 8 pixels and assigned to five hospitals of unequal size: averages
# over films and over hospitals then differ. Three of them train, to keep the run short; all five
# where an average needs as many.

from helpers.data import (
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)
from helpers.data.hospitals import assign_hospitals
from helpers.local_mode import Federation, start_server

start_server()  # TensorFlow is imported for the tasks while the films are prepared

TASK = "any finding vs none"
SIZE = 8  # pixels
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = radiographs.table[labels.notna()]
films = assign_hospitals(films, "size", n_hospitals=5, alpha=0.7, seed=SEED)
films = split_patients(films, labels=labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=SIZE, task=TASK)
hospitals = list(samples)
THREE = hospitals[:3]
films[films["split"] == "train"]["hospital"].value_counts(sort=False)

# %%
# The model is linear, :math:`a^\top w + b` for a film of 64 pixels, and the loss is the squared
# error, so that a gradient can be written down by hand. A round has four updates.

import keras
import numpy as np
from substrafl.index_generator import NpIndexGenerator

from helpers.data import ChestXrayDataset

RATE, N_UPDATES, N_ROUNDS = 0.05, 4, 3


def build_linear():
    return keras.Sequential(
        [keras.Input((SIZE, SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )


def draw_indices(n_updates=N_UPDATES, batch_size=5):
    return NpIndexGenerator(batch_size=batch_size, num_updates=n_updates, seed=SEED)


def settings(**changes):
    return {
        "model": build_linear,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(RATE),
        "index_generator": draw_indices(),
        "dataset": ChestXrayDataset,
        "seed": SEED,
    } | changes


# %%
# The other side has the same films as rows of a matrix, and takes the same batches. It is made of
# :class:`~helpers.numpy_reference.LinearHospitals`, which know nothing of Keras, tasks or exchange,
# and of one function for each paper.

import copy

from helpers.numpy_reference import LinearHospitals
from helpers.openers.chest_xray_opener import ChestXrayOpener

opened = [ChestXrayOpener().get_data([samples[hospital]["train"]]) for hospital in hospitals]
rows = [
    (data["images"].reshape(len(data["labels"]), -1) / 255, np.float64(data["labels"]))
    for data in opened
]


def batches_of(n_films, generator):
    generator = copy.deepcopy(generator)  # each hospital has its own
    generator.n_samples = n_films

    def next_round():
        generator.reset_counter()
        return list(generator)

    return next_round


def in_numpy(rows=rows[:3], uniform=False, **changes):
    generator = draw_indices(**changes)
    batches = [batches_of(len(y), generator) for _, y in rows]
    return LinearHospitals(rows, batches, RATE, uniform=uniform)


# %%
# One comparison in detail
# ------------------------
#
# Federated Averaging :footcite:p:`mcmahan2017`, Algorithm 1, in NumPy:

import inspect

from helpers.numpy_reference import fed_avg

source = inspect.getsource(fed_avg)
print(source[source.rindex('"""') + 4 :])

# %%
# And with our algorithm, through real tasks: every training and every average in a process of its
# own, and between them nothing but files.

import logging

from substrafl.logger import set_logging_level
from substrafl.model_loading import download_algo_state
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo

set_logging_level(logging.ERROR)
federation = Federation(samples)


def weights_of(algo):
    return np.concatenate([np.ravel(weight) for weight in algo.model.get_weights()])


start = weights_of(TFFedAvgAlgo(**settings())).astype(np.float64)
plan, _ = federation.execute(
    FedAvg(algo=TFFedAvgAlgo(**settings())),
    train_on=THREE,
    test_on=THREE[:1],
    num_rounds=N_ROUNDS,
)
through_tasks = np.array(
    [weights_of(download_algo_state(federation.clients[name], plan.key)) for name in THREE]
)
expected = fed_avg(in_numpy(), start, N_ROUNDS)
print(f"weights have moved by up to {np.abs(expected - start).max():.3f}")
print(f"largest difference to NumPy  {np.abs(through_tasks - expected).max():.1e}")

# %%
# All others below are *simulated*, which is the same computation in this process; the tests of this
# project send each of them through tasks. How far the two are apart goes into the table, too.

import pandas as pd

NUMPY, TORCH = 1e-6, 1e-4  # what is allowed; PyTorch computes in single precision, like Keras
table = []


def note(algorithm, equation, reference, found, expected, tolerance=NUMPY):
    difference = float(np.abs(np.asarray(found, np.float64) - expected).max())
    table.append((algorithm, equation, reference, difference, tolerance))


def simulate(strategy, n_rounds=N_ROUNDS, train_on=THREE):
    states, _ = federation.simulate(
        strategy, train_on=train_on, test_on=THREE[:1], num_rounds=n_rounds, eval_every=n_rounds
    )
    return [
        state.algo
        for state, number in zip(states.state, states.round_idx, strict=True)
        if number == n_rounds
    ]


def weights_after(strategy, **changes):
    return np.array([weights_of(algo) for algo in simulate(strategy, **changes)])


averaged = weights_after(FedAvg(algo=TFFedAvgAlgo(**settings())))
note("FedAvg", "w ← w + Σ nₖ/n Δₖ", "NumPy, through tasks", through_tasks, expected)
note("FedAvg", "w ← w + Σ nₖ/n Δₖ", "NumPy", averaged, expected)
note("FedAvg", "the same, without tasks", "FedAvg through tasks", averaged, through_tasks)

# %%
# All others
# ----------
#
# First what changes the local training, or what is made of the average: FedProx
# :footcite:p:`li2020`, Equation 2; momentum at the server :footcite:p:`hsu2019`; the adaptive
# optimizers :footcite:p:`reddi2021`, Algorithm 2.

from helpers.algorithms import FedAdagrad, FedAdam, FedAvgM, FedYogi
from helpers.numpy_reference import fed_opt, fed_prox

found = weights_after(FedAvg(algo=TFFedAvgAlgo(**settings(proximal_mu=2.0))))
expected = fed_prox(in_numpy(), start, N_ROUNDS, mu=2.0)
note("FedProx", "g + μ (y − w)", "NumPy", found, expected)

for optimizer, kind, equation in (
    (FedAvgM(), "avgm", "v ← β v + Δ"),
    (FedAdagrad(), "adagrad", "v ← v + Δ²"),
    (FedAdam(), "adam", "v ← β₂ v + (1 − β₂) Δ²"),
    (FedYogi(), "yogi", "v ← v − (1 − β₂) Δ² sign(v − Δ²)"),
):
    found = weights_after(FedAvg(algo=TFFedAvgAlgo(**settings(server_optimizer=optimizer))))
    expected = fed_opt(in_numpy(), start, N_ROUNDS, kind)
    note(type(optimizer).__name__, equation, "NumPy", found, expected)

# %%
# What is done to gradients and updates before they are sent comes next. The gradient of each film
# is clipped, as for privacy :footcite:p:`abadi2016`, Algorithm 1, here without the noise. And
# updates are compressed for transmission, what is lost being added to the next one
# :footcite:p:`karimireddy2019`, Algorithm 2.

import functools

from helpers.algorithms import DPSGD, PoissonIndexGenerator
from helpers.exchange import Int8, TopK
from helpers.numpy_reference import fed_avg_with_feedback, keep_largest, round_to_int8

CLIP = 0.5
drawn = PoissonIndexGenerator(batch_size=5, num_updates=N_UPDATES, seed=SEED)
clipped = settings(index_generator=drawn, privacy=DPSGD(clip_norm=CLIP, noise_multiplier=0.0))
found = weights_after(FedAvg(algo=TFFedAvgAlgo(**clipped)))
poisson = [batches_of(len(y), drawn) for _, y in rows[:3]]
some = LinearHospitals(rows[:3], poisson, RATE, clip_norm=CLIP, batch_size=5)
note("DPSGD", "g ← 1/B Σ gᵢ min(1, C/‖gᵢ‖)", "NumPy", found, fed_avg(some, start, N_ROUNDS))

for compression, compress, equation in (
    (Int8(), round_to_int8, "round(127 Δ / max|Δ|)"),
    (TopK(share=0.2), functools.partial(keep_largest, share=0.2), "largest fifth of Δ"),
):
    found = weights_after(FedAvg(algo=TFFedAvgAlgo(**settings(compression=compression))))
    expected = fed_avg_with_feedback(in_numpy(), start, N_ROUNDS, compress)
    note(type(compression).__name__, equation, "NumPy", found, expected)

# %%
# Then what changes who takes part and what is averaged. A part of the hospitals sits out, the
# fraction :math:`C` of Algorithm 1 in :footcite:t:`mcmahan2017`. The weights go round instead of
# being averaged :footcite:p:`chang2018`. And one hospital is hostile and sends its update with the
# wrong sign, and 100-fold, against which there are the median and the trimmed mean
# :footcite:p:`yin2018`, Options I and II of Algorithm 1, and multi-Krum
# :footcite:p:`blanchard2017`, Section 4.

from substrafl.remote import remote_data

from helpers.algorithms import TFCyclicAlgo
from helpers.numpy_reference import cyclic_transfer, multi_krum, robust_fed_avg, trimmed
from helpers.strategies import (
    CyclicTransfer,
    FedMedian,
    FedTrimmedMean,
    MultiKrum,
    Participation,
)
from helpers.strategies.participation import draw_participants

HOSTILE = 1  # its place among the hospitals
n_hostile_films = len(rows[HOSTILE][1])


class HostileAlgo(TFFedAvgAlgo):
    @remote_data
    def train(self, data_from_opener, shared_state=None):
        state = super().train(
            data_from_opener=data_from_opener, shared_state=shared_state, _skip=True
        )
        if state.n_samples == n_hostile_films:
            state.parameters_update = [-100 * value for value in state.parameters_update]
        return state


found = weights_after(Participation(FedAvg(algo=TFFedAvgAlgo(**settings())), 0.5, seed=SEED))
expected = fed_avg(
    in_numpy(),
    start,
    N_ROUNDS,
    participants=lambda round_idx: draw_participants(3, 0.5, seed=SEED, round_idx=round_idx),
)
note("Participation", "Σ over max(1, C K) hospitals", "NumPy", found, expected)

found = weights_after(CyclicTransfer(algo=TFCyclicAlgo(**settings())))
expected = cyclic_transfer(in_numpy(), start, N_ROUNDS)
note("CyclicTransfer", "w ← O₃(O₂(O₁(w)))", "NumPy", found, expected)

without_extremes = functools.partial(trimmed, n_trimmed=1)
closest = functools.partial(multi_krum, n_hostile=1, n_chosen=4)
for strategy, n_hospitals, average, equation in (
    (FedMedian, 3, without_extremes, "median of each weight"),
    (FedTrimmedMean, 5, without_extremes, "mean without the extremes"),
    (MultiKrum, 5, closest, "mean of the closest"),
):
    found = weights_after(strategy(HostileAlgo(**settings())), train_on=hospitals[:n_hospitals])
    some = in_numpy(rows[:n_hospitals])
    expected = robust_fed_avg(some, start, N_ROUNDS, average, hostile={HOSTILE})
    note(strategy.__name__, equation, "NumPy, one is hostile", found, expected)

# %%
# Finally SubstraFL's other strategies: Scaffold :footcite:p:`karimireddy2020`, Algorithm 1 with
# Option II, weighted by samples; training at one hospital; Newton's method, which must take the
# very steps that it takes on pooled films; and principal components :footcite:p:`hartebrodt2022`,
# Algorithm 3, which must converge to those of the pooled films although no film is sent.

from substrafl.strategies import FedPCA, NewtonRaphson, Scaffold, SingleOrganization

from helpers.algorithms import (
    TFFedPCAAlgo,
    TFNewtonRaphsonAlgo,
    TFScaffoldAlgo,
    TFSingleOrganizationAlgo,
)
from helpers.numpy_reference import fed_pca, newton_raphson, scaffold, train_alone

corrected = simulate(Scaffold(algo=TFScaffoldAlgo(**settings()), aggregation_lr=0.8))
expected, *_ = scaffold(in_numpy(), start, N_ROUNDS, n_updates=N_UPDATES, aggregation_rate=0.8)
found = [weights_of(algo) for algo in corrected]
note("Scaffold", "y ← y − η (g − cₖ + c)", "NumPy", found, expected)

alone = SingleOrganization(algo=TFSingleOrganizationAlgo(**settings()))
by_itself = weights_after(alone, train_on=THREE[:1])
expected = train_alone(in_numpy(), 0, start, N_ROUNDS)
note("SingleOrganization", "y ← y − η g", "NumPy", by_itself, expected)

newton = {
    "model": build_linear,
    "loss": keras.losses.BinaryCrossentropy(from_logits=True),
    "batch_size": None,  # all films at once
    "dataset": ChestXrayDataset,
    "l2_coeff": 0.1,
    "seed": SEED,
}


def build_in_double_precision():
    dense = keras.layers.Dense(1, dtype="float64")
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), keras.layers.Flatten(), dense])


logistic = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
algo = TFNewtonRaphsonAlgo(**newton | {"model": build_in_double_precision, "loss": logistic})
expected = newton_raphson(rows[:3], weights_of(algo), N_ROUNDS, damping=0.8, penalty=0.1)
found = weights_after(NewtonRaphson(algo=algo, damping_factor=0.8))
note("NewtonRaphson", "w ← w − 0.8 H⁻¹ g", "NumPy, pooled films", found, expected)

components = simulate(FedPCA(algo=TFFedPCAAlgo(ChestXrayDataset, SIZE**2, 2, seed=SEED)))
expected = fed_pca(rows[:3], 2, N_ROUNDS, seed=SEED)
found = [algo.eigen_vectors for algo in components]
note("FedPCA", "Vᵀ ← QR(Σ nₖ/n Cₖ Vᵀ)", "NumPy", found, expected)

pooled_rows = np.vstack([x for x, _ in rows[:3]])
leading = np.linalg.svd(pooled_rows - pooled_rows.mean(0), full_matrices=False)[2][0]
cosines = {}
for pooled in (True, False):
    algo = TFFedPCAAlgo(ChestXrayDataset, SIZE**2, 1, seed=SEED, pooled=pooled)
    found = simulate(FedPCA(algo=algo), n_rounds=60)[0].eigen_vectors[0]
    cosines[pooled] = abs(float(found @ leading))
note("FedPCA", "60 rounds", "NumPy, PCA of pooled films", cosines[True], 1.0)

# %%
# How far apart are samples and clients as weights? As a share of the way that the weights went:

apart = {}
for uniform in (False, True):
    some = functools.partial(in_numpy, uniform=uniform)
    how = {"n_updates": N_UPDATES, "aggregation_rate": 0.8}
    apart[uniform] = {
        "Scaffold": scaffold(some(), start, N_ROUNDS, **how)[0],
        "FedAdam": fed_opt(some(), start, N_ROUNDS, "adam"),
    }
weighting = {
    name: np.linalg.norm(found - apart[True][name]) / np.linalg.norm(found - start)
    for name, found in apart[False].items()
}
pd.Series(weighting, name="distance between the two weightings").round(3).to_frame()

# %%
# SubstraFL's own classes
# -----------------------
#
# Five of these algorithms exist in SubstraFL for PyTorch. Where PyTorch is installed, they train
# the same model here, from the same weights and on the same batches; they differ in how single
# precision is rounded. PyTorch is no requirement of this project.

import importlib.util

HAS_TORCH = importlib.util.find_spec("torch") is not None
TWINS = ("FedAvg", "Scaffold", "SingleOrganization", "NewtonRaphson", "FedPCA")

if HAS_TORCH:
    import torch
    from substrafl.algorithms import pytorch

    class TorchRows(torch.utils.data.Dataset):
        def __init__(self, data_from_opener, is_inference):
            self.films = ChestXrayDataset(data_from_opener, is_inference)
            self.is_inference = is_inference

        def __len__(self):
            return len(self.films)

        def __getitem__(self, index):
            batch = self.films[np.array([index])]
            x = torch.from_numpy((batch if self.is_inference else batch[0]).reshape(-1))
            return x if self.is_inference else (x, torch.from_numpy(batch[1][0]))

    def torch_weights(algo):
        weight, bias = (value.detach().numpy() for value in algo.model.parameters())
        return np.concatenate([weight[0], bias])

    def run_twin(name, strategy, loss=None, **options):
        """Train SubstraFL's class in place of ours."""
        net = torch.nn.Linear(SIZE**2, 1)
        with torch.no_grad():
            net.weight.copy_(torch.tensor(start[None, :-1]))
            net.bias.copy_(torch.tensor(start[-1:]))
        if "optimizer" in options:
            options["optimizer"] = torch.optim.SGD(net.parameters(), RATE)

        class Theirs(getattr(pytorch, f"Torch{name}Algo")):
            def __init__(self):
                super().__init__(
                    model=net, criterion=loss or torch.nn.MSELoss(), dataset=TorchRows, **options
                )

        train_on = THREE[:1] if name == "SingleOrganization" else THREE
        return [torch_weights(a) for a in simulate(strategy(Theirs()), train_on=train_on)]

    sgd = {"optimizer": RATE, "index_generator": draw_indices()}
    slow = functools.partial(Scaffold, aggregation_lr=0.8)
    note("FedAvg", "", "SubstraFL, PyTorch", averaged, run_twin("FedAvg", FedAvg, **sgd), TORCH)
    found = [weights_of(algo) for algo in corrected]
    note("Scaffold", "", "SubstraFL, PyTorch", found, run_twin("Scaffold", slow, **sgd), TORCH)
    expected = run_twin("SingleOrganization", SingleOrganization, **sgd)
    note("SingleOrganization", "", "SubstraFL, PyTorch", by_itself, expected, TORCH)

    damped = functools.partial(NewtonRaphson, damping_factor=0.8)
    found = weights_after(damped(TFNewtonRaphsonAlgo(**newton)))
    options = {"loss": torch.nn.BCEWithLogitsLoss(), "batch_size": None, "l2_coeff": 0.1}
    expected = run_twin("NewtonRaphson", damped, **options)
    note("NewtonRaphson", "", "SubstraFL, PyTorch", found, expected, TORCH)

    # Each draws its own first guess: what one component converges to is compared, up to its sign.
    class TheirPCA(pytorch.TorchFedPCAAlgo):
        def __init__(self):
            super().__init__(dataset=TorchRows, in_features=SIZE**2, out_features=1, batch_size=32)

    found, expected = (
        simulate(FedPCA(algo=algo), n_rounds=25)[0].eigen_vectors
        for algo in (
            TFFedPCAAlgo(ChestXrayDataset, SIZE**2, 1, seed=SEED, pooled=False),
            TheirPCA(),
        )
    )
    found, expected = np.ravel(found), np.ravel(expected)
    note("FedPCA", "", "SubstraFL, PyTorch", found * np.sign(found @ expected), expected, TORCH)
else:
    print("PyTorch is not installed here: its five rows in the table have no number")

# %%
# What must hold besides
# ----------------------
#
# A paper says more than a formula. Some settings must lead back to Federated Averaging; a FedProx
# that pulls without end must not move; full batches must be as good as pooled films; and what the
# control variates of Scaffold take from one hospital they must give to others.

proximal = TFFedAvgAlgo(**settings(proximal_mu=0.0))
note("FedProx", "μ = 0", "FedAvg", weights_after(FedAvg(algo=proximal)), averaged)

strong = 1e8  # SGD is stable up to a rate of 1 / μ
held = settings(proximal_mu=strong, optimizer=keras.optimizers.SGD(1 / strong))
note("FedProx", "μ → ∞", "initial weights", weights_after(FedAvg(algo=TFFedAvgAlgo(**held))), start)

trivial = FedAdam(learning_rate=0.02, beta_1=0.0, beta_2=1.0, tau=0.01)  # a step of 1 × Δ
found = weights_after(FedAvg(algo=TFFedAvgAlgo(**settings(server_optimizer=trivial))))
note("FedAdam", "β₁ = 0, β₂ = 1, η = 2τ", "FedAvg", found, averaged)

found = weights_after(Participation(FedAvg(algo=TFFedAvgAlgo(**settings())), 1.0))
note("Participation", "C = 1", "FedAvg", found, averaged)

full = settings(index_generator=draw_indices(n_updates=1, batch_size=None))
found = weights_after(FedAvg(algo=TFFedAvgAlgo(**full)))
pool = [tuple(map(np.concatenate, zip(*rows[:3], strict=True)))]
expected = train_alone(in_numpy(pool, n_updates=1, batch_size=None), 0, start, N_ROUNDS)
note("FedAvg", "full batches", "SGD on pooled films", found, expected)

found = weights_after(CyclicTransfer(algo=TFCyclicAlgo(**settings())), train_on=THREE[:1])
note("CyclicTransfer", "K = 1", "SingleOrganization", found, by_itself)

shares = in_numpy().shares
variates = np.array(
    [
        np.concatenate([np.ravel(v) for v in algo._client_control_variate.values()])
        for algo in corrected
    ]
)
# After the last training the server has not averaged yet: its variate is the mean of those before,
# which the reference has. What is left over, film by film, must be nothing.
_, server, _ = scaffold(in_numpy(), start, N_ROUNDS + 1, n_updates=N_UPDATES, aggregation_rate=0.8)
note("Scaffold", "Σ nₖ/n (cₖ − c)", "zero", shares @ variates - server, 0.0, 1e-5)

# %%
# The control variates are gradients, divided by a rate of a few hundredths: their rounding errors
# are larger by that much, and so is what we allow for them.
#
# The hostile hospital is checked once more, without any reference: how far the weights end up from
# those of the honest run.

for name, strategy in {"mean": FedAvg, "median": FedMedian}.items():
    honest, hostile = (
        weights_after(strategy(algo(**settings()))) for algo in (TFFedAvgAlgo, HostileAlgo)
    )
    ratio = np.abs(hostile - honest).max() / np.abs(honest - start).max()
    print(f"{name:6}: {ratio:8.2f} times as far from the honest run as that went")

# %%
# The table
# ---------

from pathlib import Path

columns = ["algorithm", "equation", "reference", "difference", "tolerance"]
table = pd.DataFrame(table, columns=columns)
table["holds"] = table["difference"] <= table["tolerance"]

is_property = ~table["reference"].str.startswith(("NumPy", "SubstraFL"))
written = table["algorithm"].where(~is_property, table["algorithm"] + ", " + table["equation"])
Path("results").mkdir(exist_ok=True)
table.assign(algorithm=written)[["algorithm", "reference", "difference", "tolerance"]].to_csv(
    "results/exactness.csv", index=False
)

shown = table.copy()
if not HAS_TORCH:
    missing = pd.DataFrame({"algorithm": TWINS, "reference": "SubstraFL, PyTorch"})
    shown = pd.concat([shown, missing], ignore_index=True)
shown["difference"] = shown["difference"].map("{:.1e}".format).replace("nan", "not installed here")
shown["holds"] = shown["holds"].map({True: "yes", False: "NO"})
shown = shown.astype(object).fillna("")
shown.sort_values(["algorithm", "reference"], kind="stable").reset_index(drop=True)

# %%
# Zero means the same bits. As a picture, each point should lie left of its own line:

import matplotlib.pyplot as plt

names = table["algorithm"] + ": " + table["reference"]
places = np.arange(len(table))
smallest = 1e-11  # where zero is drawn
_, ax = plt.subplots(figsize=(8, 0.24 * len(table) + 1), layout="constrained")
ax.scatter(
    table["difference"].clip(lower=smallest),
    places,
    c=np.where(table["holds"], "#0072B2", "#D55E00"),
    zorder=3,
)
ax.scatter(table["tolerance"], places, marker="|", color="black", s=80, label="tolerance")
ax.set_xscale("log")
ax.set_yticks(places, names, fontsize=8)
ax.grid(axis="y", color="0.9")
ax.invert_yaxis()
ax.set(xlabel="largest difference of a weight")
ax.legend(fontsize=8)
plt.show()

federation.close()

# %%
# What this cannot show
# ---------------------
#
# That a formula is computed right says nothing about whether it helps; that is the subject of
# :ref:`sphx_glr_auto_examples_30_training_plot_40_strategies_side_by_side.py`. The references are
# ours too: a paper that both sides misread would go unnoticed, except where SubstraFL's classes
# have read it as well. And a linear model has no BatchNorm, no dropout and no layers that are
# frozen; what becomes of those is in the tests.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    failed = table[~table["holds"]]
    print(f"{table['holds'].sum()} of {len(table)} comparisons hold.")
    if not HAS_TORCH:
        print(f"{len(TWINS)} more, with SubstraFL's own classes, need PyTorch and were not made.")
    for row in failed.itertuples():
        print(f"  {row.algorithm} against {row.reference} does NOT: {row.difference:.1e}")
    for name, distance in weighting.items():
        print(f"{name} with uniform clients, as in its paper: {distance:.1%} of its way apart.")
    print(f"FedPCA against PCA of the pooled films: cosine {cosines[True]:.6f}; ", end="")
    print(f"with the weights of SubstraFL's class {cosines[False]:.6f}.")


say_verdicts()

# %%
# Each algorithm was compared with its paper, in a few lines of NumPy that share nothing with it,
# and the table is regenerated with each build of this site.
#
# .. seealso::
#
#    :mod:`helpers.numpy_reference` has the other half of each comparison.
#
# References
# ----------
#
# .. footbibliography::
