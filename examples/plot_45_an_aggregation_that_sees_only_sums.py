r"""
An aggregation that sees only sums
==================================

To average the hospitals' updates, nobody has to see them: the sum is enough. Can hospitals add
numbers that they do not show to anyone, and what does it cost?

We will:

1. add three numbers under **masks** that cancel in the sum,
2. train five hospitals with and without masks, and compare the networks,
3. look at what the aggregation holds,
4. measure bytes and seconds.

We expect equal networks up to a stated rounding, messages that look like noise, as many bytes as
before, and a time that grows with the number of hospitals. The floor is chance, an :term:`AUC` of
one half; the ceiling is the run without masks, whose network a run with masks cannot beat.
"""

# %%
# Five hospitals
# --------------
#
# They are those of :ref:`sphx_glr_auto_examples_plot_42_hostile_hospitals.py`: patients assigned at
# random, all of them honest.

from helpers.data import label_films, make_hospitals, prepare_samples, read_radiographs

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, to keep the run short; 64 or more in a real study
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, by="iid", n_hospitals=5, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)

# %%
# Masks that cancel
# -----------------
#
# Each pair of hospitals agrees on a secret that nobody else can compute, although all they send is
# a public key each: a Diffie-Hellman key exchange. From the secret both derive the same stream of
# random numbers. One adds it to its message, the other subtracts it :footcite:p:`bonawitz2017`.
# Numbers are whole, and wrap around at :math:`2^{32}`, as a clock does at twelve. A number under a
# mask is then uniformly distributed: every message is equally likely, whatever is behind it.

import os

import numpy as np
import pandas as pd

from helpers.display import show
from helpers.exchange import FixedPoint, Masker, public_key

numbers = {"A": 0.25, "B": -1.5, "C": 0.75}
private = {name: os.urandom(32) for name in numbers}
public = {name: public_key(key) for name, key in private.items()}
code = FixedPoint(bound=4.0, n_parties=len(numbers), bits=32)

sent = {}
for name, number in numbers.items():
    others = [key for other, key in public.items() if other != name]
    masker = Masker(private[name], others, plan=b"three numbers")
    sent[name] = masker.mask(code.encode(np.array([number])), "round 0")
total = code.decode_sum(list(sent.values()))[0]
print(f"sum of the numbers {sum(numbers.values())}; sum of the messages, decoded: {total}")
messages = {name: int(message[0]) for name, message in sent.items()}
show(pd.DataFrame({"number": numbers, "what is sent": messages}))

# %%
# The keys are drawn anew each time that this page is built, and so are the messages. Their sum is
# always the same.
#
# A federation under masks
# ------------------------
#
# :class:`~helpers.strategies.SecureAggregation` wraps a strategy. Every hospital makes its keys in
# a task of its own, and the private one stays in its :term:`local state`. An :term:`update` is
# clipped to a range, multiplied by the number of films, rounded, and masked. ``Overheard`` keeps
# what hospitals send in the last round: it stands where a curious aggregation would.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.results import tidy_scores
from helpers.strategies import SecureAggregation, WrappedStrategy

set_logging_level(logging.ERROR)
N_ROUNDS = 4  # in a real study, train until the AUC no longer rises
CLIP = 4.0  # far above the updates: nothing is cut off
MAX_FILMS = 1_000  # no hospital has more

overheard = {}


class Overheard(WrappedStrategy):
    def __init__(self, strategy, arm):
        super().__init__(strategy)
        self.arm = arm

    def update_train_node(self, node, operation, **settings):
        local_state, sent = super().update_train_node(node, operation, **settings)
        overheard[self.arm, node.organization_id] = sent
        return local_state, sent


algo = TFFedAvgAlgo(
    model=functools.partial(build_small_cnn, IMAGE_SIZE, (16, 32, 64)),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
algo.trace(ChestXrayOpener().get_data([samples[hospitals[0]]["train"]]))  # once, for both runs

plain = FedAvg(algo, {"auc": auc})
arms = {
    "plain": plain,
    "masked": SecureAggregation(plain, clip=CLIP, max_films=MAX_FILMS),
}
runs, models = [], {}
with Federation(samples) as federation:
    first = federation.train_nodes(hospitals[0])[0].organization_id
    for arm, strategy in arms.items():
        strategy = Overheard(strategy, arm)
        states, scores = federation.simulate(strategy, num_rounds=N_ROUNDS, eval_every=1)
        runs.append(tidy_scores(scores, arm=arm, seed=SEED))
        for round_idx in (1, N_ROUNDS):
            state = states.state[states.round_idx.index(round_idx)]
            models[arm, round_idx] = np.concatenate(
                [weight.ravel() for weight in state.algo.model.get_weights()]
            )
print(f"Fingerprint of {hospitals[0]}'s key, as all have it: {state.algo.fingerprints[first]}")

# %%
# Are the networks equal? An average may differ by the rounding that the class states, and by that
# of float32. The next round starts from weights that differ by as much. Training enlarges every
# difference, also one in the last digit: a film on the edge of a ReLU is on the other side of it.
# So the first average is compared with the bound, and the last networks by their scores.

n_films = (films["split"] == "train").sum()
n = len(hospitals)
# The formula of SecureAggregation's docstring, and two roundings to float32.
bound = 1.01 * n**2 * CLIP * MAX_FILMS * 2.0**-31 / n_films
bound += 2 * np.abs(models["plain", 1]).max() * 2.0**-24
differences = {
    round_idx: np.abs(models["masked", round_idx] - models["plain", round_idx]).max()
    for round_idx in (1, N_ROUNDS)
}
changed = np.abs(models["plain", N_ROUNDS] - models["plain", 1]).max()
print(f"first average: largest difference of a weight {differences[1]:.1e}, bound {bound:.1e}")
print(
    f"after {N_ROUNDS} rounds: {differences[N_ROUNDS]:.1e}; the rounds changed up to {changed:.2f}"
)

# %%
# What the aggregation holds
# --------------------------
#
# Here are the first hospital's last messages: the update as it is, and under masks. A message that
# looks like noise has each of the 256 values of a byte equally often, which a chi-square test
# examines, and no correlation with the update.

from scipy.stats import chisquare

from helpers.plots import plot_bytes


def flatten(tensors):
    return np.concatenate([tensor.ravel() for tensor in tensors])


true = flatten(overheard["plain", first].parameters_update)
held = flatten(overheard["masked", first]["parameters_update"])
messages = {"plain": true, "masked": held}
counts = {
    arm: np.bincount(message.view(np.uint8), minlength=256) for arm, message in messages.items()
}
p_values = {arm: chisquare(count).pvalue for arm, count in counts.items()}
# Read as signed numbers, as a curious aggregation would.
correlation = np.corrcoef(held.view(np.int32).astype(float), true)[0, 1]
chance = 1.96 / len(true) ** 0.5
plot_bytes(counts)
show()

# %%
# The bytes of float32 numbers have favorites: those of signs and exponents. Under masks none is
# more frequent than chance makes it. A test cannot prove that numbers are secret; that follows from
# the streams, if ChaCha20 and the key exchange hold what they promise.

print(f"bytes are uniform: p = {p_values['plain']:.3f} plain, {p_values['masked']:.3f} masked")
print(f"correlation with the update: {correlation:+.4f}; by chance up to {chance:.4f}")

# %%
# What it costs
# -------------
#
# A message has as many bytes as float32 numbers. The key round adds one task at each hospital and
# one at the aggregation. A hospital makes one stream for each of the others: the time grows with
# their number, and with that of the weights.

import time

seconds = {}
weights = np.random.default_rng(SEED).normal(scale=0.01, size=1_000_000)
for n_parties in (4, 16):
    keys = [os.urandom(32) for _ in range(n_parties)]
    masker = Masker(keys[0], [public_key(key) for key in keys[1:]], plan=b"costs")
    code = FixedPoint(CLIP, n_parties, bits=32)
    start = time.perf_counter()
    masker.mask(code.encode(weights), "round 0")
    seconds[n_parties] = time.perf_counter() - start
    print(f"{n_parties:2} hospitals, a million weights: {seconds[n_parties]:.2f} s at each")
n_bytes = {arm: message.nbytes for arm, message in messages.items()}
print(f"bytes of a message: {n_bytes['plain']:,} plain, {n_bytes['masked']:,} masked")

# %%
# What it cannot do
# -----------------
#
# - **Nobody can check what nobody sees.** The limits of
#   :ref:`sphx_glr_auto_examples_plot_41_an_exchange_one_can_trust.py` and the robust averages of
#   :ref:`sphx_glr_auto_examples_plot_42_hostile_hospitals.py` need single updates. They are refused
#   together with masks.
# - **A sum of two is no secret** to either of the two. At least three hospitals must take part in
#   every round, and hospitals that join forces learn the sum of the others.
# - **The aggregation passes on the keys**, and could put its own in their place. Hospitals can
#   compare ``fingerprints`` by telephone; that a key is a hospital's own follows from Substra's
#   identities.
# - **The average itself is no secret**, and a film may be read from it if few films are behind it.
#   :ref:`sphx_glr_auto_examples_plot_44_privacy_by_noise.py` limits that.
# - **Code still travels as a pickle**: whoever writes the tasks decides what hospitals run.
# - In the literature hospitals may drop out, which is the hard part. In a compute plan a task that
#   fails ends the plan, so it does not arise here.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_values, write_results

measured = {
    "largest difference": {f"round {name}": value for name, value in differences.items()},
    "bound": {"round 1": bound},
    "change": {"plain": changed},
    "p of uniform bytes": p_values,
    "correlation with the update": {"masked": abs(correlation), "chance": chance},
    "bytes": n_bytes,
}
rows = tidy_values(measured, seed=SEED, round=N_ROUNDS, hospital="all")
results = pd.concat([*runs, rows], ignore_index=True)
write_results(results, "an_aggregation_that_sees_only_sums")


def say_verdicts(results):
    last = results[results["round"] == N_ROUNDS]
    table = last.groupby(["metric", "arm"])["value"].mean()
    off, bound = table["largest difference", "round 1"], table["bound", "round 1"]
    within = "within" if off <= bound else "NOT within"
    print(f"First average: off by at most {off:.1e}, {within} the bound of {bound:.1e}.")
    plain, masked = table["auc", "plain"], table["auc", "masked"]
    print(f"Mean AUC {plain:.3f} plain, {masked:.3f} masked: {masked - plain:+.4f}.")
    p = table["p of uniform bytes", "masked"]
    print(f"Masked bytes look {'uniform' if p > 0.001 else 'NOT uniform'} (p = {p:.3f}).")
    alike, chance = table["correlation with the update"][["masked", "chance"]]
    more = "no more than" if alike <= 2 * chance else "MORE than"
    print(f"A masked update correlates {alike:.4f} with the true one, {more} chance explains.")
    ratio = table["bytes", "masked"] / table["bytes", "plain"]
    print(f"A message has {ratio:.2f} times the bytes of float32 numbers.")


say_verdicts(results)

# %%
# What a curious aggregation could read from the plain messages, and cannot from these, is the
# subject of :ref:`sphx_glr_auto_examples_plot_46_what_an_update_reveals.py`.
#
# References
# ----------
#
# .. footbibliography::
