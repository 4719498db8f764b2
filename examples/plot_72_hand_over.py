"""
Hand a model over
=================

A hospital that did not train asks for the :term:`network <CNN>`. Does it answer there as it does
here, what should the hospital know of it, and how does one see that nobody changed it on the way?

We will:

1. train one network for a few :term:`rounds <round>`, and write its **model folder**,
2. load its four formats in new processes, and compare the :term:`logits <logit>`,
3. read the **model card**: how well the network does, for whom, and what is not known,
4. change files in the folder, and see what notices it.

We expect the same logits up to rounding, at most 0.00001 apart; the ideal is 0. We expect changed
files to be found, and code in them never to be executed. How good the network is, is not the
question: the card compares it with chance, and
:ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py` with hospitals alone and with
:term:`pooled` films.
"""

# %%
# A short training
# ----------------

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.evaluation import auc
from helpers.local_mode import Federation, train_best
from helpers.models import build_small_cnn

IMAGE_SIZE, SEED = 32, 0  # pixels. 224 or more in a real study
N_ROUNDS, N_UPDATES = 5, 20  # to keep the run short. More rounds in a real study
TASK = "any finding vs none"
set_logging_level(logging.ERROR)

study = set_up_hospitals(TASK, seed=SEED)
samples = study.prepare(IMAGE_SIZE)
algo = TFFedAvgAlgo(
    model=functools.partial(build_small_cnn, IMAGE_SIZE),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.Adam(4e-3),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=N_UPDATES, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
with Federation(samples) as federation:
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    trained = train_best(federation, strategy, num_rounds=N_ROUNDS, eval_every=N_ROUNDS)

# %%
# The model folder
# ----------------
#
# :func:`~helpers.export.export_model` takes the network, what it predicts of validation and test
# films, and what is to be known of the run, from which it makes the card.

from pathlib import Path

import pandas as pd

from helpers.display import show
from helpers.export import describe_run, export_model
from helpers.results import score_films

scored = [score_films(trained.algo, samples, split) for split in ("valid", "test")]
predictions = pd.concat(scored).rename(columns={"score": "logit"})
run = describe_run(
    samples,
    name="A short training",
    data=str(study.radiographs),
    synthetic=study.radiographs.is_synthetic,
    task=TASK,
    algorithm=type(algo).__name__,
    strategy=type(strategy).__name__,
    settings={"updates in a round": N_UPDATES, "films in a batch": 32},
    seed=SEED,
    rounds=N_ROUNDS,
    best_round=trained.best.round,
    bytes={"in an update": 4 * trained.algo.model.count_params()},
)
folder = Path("results", "model")
fingerprint = export_model(trained.algo, folder, run=run, predictions=predictions)
print(*sorted(path.name for path in folder.iterdir()), f"fingerprint {fingerprint}", sep="\n")

# %%
# Each format takes films as they are stored, ``uint8``, and scales them itself, so that nobody can
# forget it. ``signature.json`` says what goes in and what comes out, and has a calibration.
# ``python -m helpers.export`` does the same with what ``python -m helpers.run`` wrote.
#
# The same answers in another process
# -----------------------------------
#
# Two new Python processes check the folder, load two formats each, and compute logits; only the
# first may import TensorFlow. The reference is the network that we trained, in this process.

import subprocess
import sys

import numpy as np

from helpers.export import FORMATS
from helpers.openers.chest_xray_opener import ChestXrayOpener

opened = ChestXrayOpener().get_data([own["test"] for own in samples.values()])
images = np.asarray(opened["images"][np.arange(200)])
np.save("results/films.npy", images)
expected = trained.algo.model.predict(images / np.float32(255), verbose=0)

CODE = """
import sys
import numpy as np
from helpers.export import load_predictor
folder, fingerprint, *names = sys.argv[1:]
films = np.load("results/films.npy")
logits = {n: load_predictor(folder, n, fingerprint=fingerprint)(films) for n in names}
np.savez("results/logits.npz", TensorFlow="tensorflow" in sys.modules, **logits)
"""
rows = {}
for names in (("keras", "saved_model"), ("onnx", "litert")):
    subprocess.run([sys.executable, "-c", CODE, folder, fingerprint, *names], check=True)
    with np.load("results/logits.npz") as answers:
        for name in names:
            rows[name] = {"file": FORMATS[name], "TensorFlow": bool(answers["TensorFlow"])}
            rows[name]["largest difference"] = np.abs(answers[name] - expected).max()
print(f"The logits lie between {expected.min():.2f} and {expected.max():.2f}.")
show(pd.DataFrame(rows).T)

# %%
# Libraries add numbers in different orders, and float32 has seven digits: such differences change
# no answer. :func:`~helpers.export.export_model` makes this comparison, too, before the folder gets
# its name.
#
# The model card
# --------------
#
# A model card :footcite:p:`mitchell2019` says what a network is for, on which films it was trained,
# and how well it does for which patients. Ours is computed: ``card.md`` to read, and ``card.json``
# with the same numbers, a value and the limits of its 95 % interval over patients.

import json

card = json.loads((folder / "card.json").read_text())
groups = pd.DataFrame(card["groups"])
show(groups.set_index("group")[["films", "patients", "with a finding", "AUC", "too small"]])

# %%
# Numbers of a group that is too small should not be read. The calibration was fitted on validation
# films; here it is judged on test films. An error is to be compared with the error *by chance*, of
# exactly right probabilities for as many films; its limits lie too high, as draws of patients add
# to it. A slope is best at 1.

show(pd.DataFrame(card["calibration"]).set_index("calibration"))

# %%
# Both as a figure:

from helpers.evaluation import Calibration, calibration_bins
from helpers.plots import legend_below, make_panels, plot_calibration, plot_intervals

upper, lower = make_panels(2, height=4)
large = groups[~groups["too small"]].assign(arm="AUC").rename(columns={"group": "hospital"})
large[["value", "low", "high"]] = large["AUC"].tolist()
plot_intervals(large, reference=0.5, ax=upper).set(title="AUC of each group", xlim=(0.4, 1))

signature = json.loads((folder / "signature.json").read_text())
slope, intercept, draws = signature["calibration"].values()
test = predictions[predictions["split"] == "test"]
lines = {"before": Calibration(), "after": Calibration(slope, intercept)}
predicted = {name: line.apply(test["logit"]) for name, line in lines.items()}
bins = {name: calibration_bins(test["label"], p, n_bins=5) for name, p in predicted.items()}
said = "Share with a finding against predicted probability, before and after calibration."
plot_calibration(bins, ax=lower).set(title="Calibration on test films", label=said)
legend_below(lower, n_columns=2, markerscale=0.5)
show()

# %%
# Above, the thin line is chance; groups whose intervals overlap much cannot be told apart. Below,
# marks on the diagonal are calibrated. Neither shows how the network does elsewhere.
#
# Somebody changes a file
# -----------------------
#
# ``SHA256SUMS`` lists the checksum of every file. We change a copy of the folder: one bit of the
# ONNX file; then a Keras file whose ``Lambda`` layer would write a file if it were executed; then
# that with checksums to match; and at last we know the fingerprint, the checksum of ``SHA256SUMS``.

import shutil

from helpers.data.files import hash_file
from helpers.export import load_predictor

changed, trace = Path("results", "changed"), Path("results", "executed").absolute()
shutil.rmtree(changed, ignore_errors=True)
shutil.copytree(folder, changed)
attempts = {}


def attempt(what, name, known=None):
    trace.unlink(missing_ok=True)
    try:
        load_predictor(changed, name, fingerprint=known)
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    attempts[what] = {"refused": bool(refusal), "executed": trace.exists()}
    print(f"{what}: {refusal.replace(str(trace.parent), '')[:160]} …\n")


content = bytearray((folder / "model.onnx").read_bytes())
content[len(content) // 2] ^= 1
(changed / "model.onnx").write_bytes(content)
attempt("one bit", "onnx")

shutil.copy(folder / "model.onnx", changed)
path, inputs = str(trace), keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
x = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])(inputs)
keras.Model(inputs, build_small_cnn(IMAGE_SIZE)(x)).save(changed / "model.keras")
attempt("code", "keras")

names = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
sums = [f"{hash_file(changed / name)}  {name}\n" for name in names]
(changed / "SHA256SUMS").write_text("".join(sums))
attempt("code and checksums", "keras")
attempt("code and checksums, fingerprint known", "keras", fingerprint)

# %%
# Who can change a file can also write new checksums. Keras' safe mode then still refuses code, but
# it would load other weights. Only the **fingerprint** shows those, if it came another way than the
# folder, such as by telephone. A SavedModel may hold any operation of TensorFlow, such as one that
# writes files; ours has only those of the network, but without its fingerprint load none.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.evaluation import Interval, side_of
from helpers.results import tidy_facts, write_results

facts = {(name, "largest difference"): row["largest difference"] for name, row in rows.items()}
facts["all test films", "AUC"] = card["groups"][0]["AUC"]
for what, row in attempts.items():
    facts |= {(what, name): value for name, value in row.items()}
results = tidy_facts(facts, seed=SEED, round=trained.best.round, split="test")
write_results(results, "hand_over")


def say_verdicts(results):
    by = {metric: rows.set_index("arm") for metric, rows in results.groupby("metric")}
    off = by["largest difference"]["value"]
    print(f"{(off <= 1e-5).sum()} of {len(off)} formats give the network's logits, to 0.00001.")
    value, low, high = by["AUC"].loc["all test films", ["value", "low", "high"]]
    side = side_of(Interval(value, low, high), 0.5)
    print(
        f"AUC on all test films: {value:.2f} [{low:.2f}, {high:.2f}]; compared with chance: {side}."
    )
    refused, executed = (int(by[name]["value"].sum()) for name in ("refused", "executed"))
    print(f"Of {len(by['refused'])} changed folders {refused} were refused; {executed} ran code.")


say_verdicts(results)

# %%
# A hospital that did not train needs a test and a calibration on its own films, see
# :ref:`sphx_glr_auto_examples_plot_53_calibration_and_alarms.py`. Few rounds, one seed, and by
# default synthetic films: nothing here is for clinical use.
#
# References
# ----------
#
# .. footbibliography::
