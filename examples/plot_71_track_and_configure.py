"""
Track runs, and configure them
==============================

A week and thirty runs later: which settings gave the model that we want to keep, and can they be
run again? Numbers that scroll by in a terminal do not answer this. We will:

1. **track** two short federated runs with MLflow and TensorBoard, in one ``with`` statement each,
2. start a third one with a command whose settings **Hydra** composes, and see what it refuses,
3. compare all three, and fetch the best model back,
4. see where **DVC** keeps the versions of the films.

We expect the tracker to return every score as it was, and the model bit by bit. Which strategy
wins is not the question: with so few rounds, the differences mean nothing.
"""

# %%
# A small federation
# ------------------
#
# Films, network and algorithm are those of
# :ref:`sphx_glr_auto_examples_plot_02_your_first_federation.py`. Two of its hospitals are enough.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.display import show
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn
from helpers.strategies import Metered, Traffic

IMAGE_SIZE, N_ROUNDS, N_UPDATES, SEED = 32, 4, 10, 0  # to keep the run short
set_logging_level(logging.ERROR)
samples = set_up_hospitals("any finding vs none", seed=SEED).prepare(IMAGE_SIZE)
samples = {hospital: samples[hospital] for hospital in list(samples)[:2]}
settings = {"image_size": IMAGE_SIZE, "rounds": N_ROUNDS, "updates": N_UPDATES, "seed": SEED}


def make_algo(proximal_mu):
    return TFFedAvgAlgo(
        model=functools.partial(build_small_cnn, IMAGE_SIZE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=N_UPDATES, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
        proximal_mu=proximal_mu,
    )


# %%
# Track a run
# -----------
#
# :func:`~helpers.tracking.track` opens a run in both tools. What it is given goes to MLflow, a
# database and files in one folder, and as events to TensorBoard: the settings, the scores of every
# :term:`round` and :term:`hospital`, single numbers, figures and the model. A run through real
# tasks would add ``tasks=federation.tasks()``, the seconds and bytes of each hospital; here
# :class:`~helpers.strategies.Metered` counts the bytes. A run that fails is kept, and marked as
# failed. Nothing leaves this machine: MLflow's usage statistics are turned off.

from helpers.plots import make_panels
from helpers.tracking import load_tracked_model, track

tracked, tables, models = {}, {}, {}
for name, mu in {"FedAvg": 0.0, "FedProx": 0.1}.items():
    with track(name, settings | {"algorithm": {"proximal_mu": mu}}) as run:
        strategy = FedAvg(algo=make_algo(mu), metric_functions={"auc": auc})
        with Federation(samples) as federation:
            metered = Metered(strategy, traffic := Traffic())
            states, scores = federation.simulate(metered, num_rounds=N_ROUNDS, split="valid")
        model = states.state[-1].algo.model
        sent = traffic.count(reader="aggregation") / (len(samples) * N_ROUNDS)
        run.log(scores, split="valid", values={"sent bytes": sent}, model=model)
    tracked[name], tables[name], models[name] = run.run_id, scores, model
show({name: run_id[:6] for name, run_id in tracked.items()})

# %%
# Configure a run
# ---------------
#
# The command ``python -m helpers.run`` does all of this at once. Its settings are small files in
# ``helpers/run/conf``, which Hydra composes: ``strategy=scaffold`` takes another file, and
# ``rounds=4`` changes a value. Here we call it from Python; in a terminal it prints the same.

from helpers.run.__main__ import main


def command(text):
    print(f"$ python -m helpers.run {text}")
    try:
        main(text.split())
    except SystemExit as refused:
        print(refused)


command(
    f"name=Scaffold strategy=scaffold model=small_cnn optimizer=sgd image_size={IMAGE_SIZE} "
    f"rounds={N_ROUNDS} updates={N_UPDATES} seed={SEED} hospitals.first=2 tracking=true "
    "folder=results/scaffold"
)

# %%
# A wrong name or value is refused before anything runs, and the choices are named:

command("strategy=fedprox")
command("strategy=fed_prox algorithm.mu=0.1")
command("rounds=many")

# %%
# Several values are a *sweep*: ``-m seed=0,1,2`` runs three times, in processes side by side. The
# settings of other pages are configurations, too, and a test compares the main page with its own:
#
# .. code-block:: console
#
#    $ python -m helpers.run -m seed=0,1,2 strategy=fed_avg,fed_prox tracking=true
#    $ python -m helpers.run +page=federated_chest_xrays
#    $ python -m helpers.run +page=federated_chest_xrays --cfg job
#
# The last line prints the settings and runs nothing:

command("+page=federated_chest_xrays --cfg job")

# %%
# Compare runs
# ------------
#
# MLflow's own client finds the runs again, here the newest three, with their settings and scores.

import pandas as pd

client = run.client
experiment = client.get_run(run.run_id).info.experiment_id
found = {one.info.run_name: one for one in client.search_runs([experiment], max_results=3)}
METRIC = "valid auc/mean"
rows = {
    name: {
        "rounds": one.data.params["rounds"],
        "proximal_mu": one.data.params.get("algorithm.proximal_mu", "none"),
        METRIC: round(one.data.metrics[METRIC], 3),
        "kilobytes sent, each round": one.data.metrics["sent bytes"] / 1000,
    }
    for name, one in found.items()
}
show(pd.DataFrame(rows).T)

# %%

curves = {}
for name, one in found.items():
    history = client.get_metric_history(one.info.run_id, METRIC)
    curves[name] = {point.step: point.value for point in history}
(ax,) = make_panels(1, height=3.4)
pd.DataFrame(curves).sort_index().plot(ax=ax, marker="o", xlabel="round", ylabel=METRIC)
ax.xaxis.get_major_locator().set_params(integer=True)
last = {name: f"{name} {curve[N_ROUNDS]:.2f}" for name, curve in curves.items()}
ax.set_title("Three tracked runs, as MLflow returns them")
ax.set_label(f"Validation AUC by round; after the last one: {', '.join(last.values())}.")
show()

# %%
# Do the numbers agree with the table that the federation returned? And is the model that we fetch
# the one that was trained?

from helpers.openers.chest_xray_opener import ChestXrayOpener

differences, weights_differ, films_differ = [], 0, 0
films = ChestXrayOpener().get_data([own["test"] for own in samples.values()])
x = ChestXrayDataset(films, is_inference=True)[:]
for name, run_id in tracked.items():
    means = tables[name].groupby("round")["value"].mean()
    differences += [abs(curves[name][number] - mean) for number, mean in means.items()]
    loaded = load_tracked_model(run_id)
    pairs = zip(models[name].get_weights(), loaded.get_weights(), strict=True)
    weights_differ += sum(int((ours != theirs).sum()) for ours, theirs in pairs)
    films_differ += int((models[name](x).numpy() != loaded(x).numpy()).sum())
print(f"largest difference of a score: {max(differences):.0e}")
print(f"weights that differ: {weights_differ}; films with another logit: {films_differ}")

# %%
# What the web pages show
# -----------------------
#
# ``make runs`` serves MLflow's page, and TensorBoard reads the event files:
#
# .. code-block:: console
#
#    $ make runs
#    $ tensorboard --logdir results/tracking/tensorboard
#
# The pictures are of runs through real tasks, so that seconds and bytes are there as well.
#
# .. figure:: /_static/tracking_mlflow.png
#    :alt: MLflow's page of one metric: validation AUC of three runs by round, and a table of values
#
#    MLflow: one metric of the runs that were chosen.
#
# .. figure:: /_static/tracking_tensorboard.png
#    :alt: TensorBoard's page: bytes sent and validation AUC by round, one chart for each hospital
#
#    TensorBoard: the same numbers, from the event files.
#
# Versions of the films
# ---------------------
#
# A run can be repeated if its films are still the same. DVC keeps the version of each file next to
# the code: a pipeline says which command makes what of which files, and ``dvc repro`` runs those
# whose inputs have changed. In ``examples/dvc`` it goes from raw films to hospitals, samples, the
# run and its metrics. A test runs it twice from an empty cache and compares the metrics to the last
# digit; a third time nothing runs.
#
# .. literalinclude:: ../../examples/dvc/dvc.yaml
#    :language: yaml
#
# .. code-block:: console
#
#    $ make .venv/tools/dvc/.installed
#    $ cd examples/dvc
#    $ ../../.venv/tools/dvc/bin/dvc repro
#    $ ../../.venv/tools/dvc/bin/dvc metrics show
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_facts, tidy_scores, write_results

sent = {name: one.data.metrics["sent bytes"] for name, one in found.items()}
facts = {
    ("all", "largest difference of a score"): max(differences),
    ("all", "weights that differ"): weights_differ,
    ("all", "films with another logit"): films_differ,
    **{(name, "bytes"): value for name, value in sent.items()},
}
ends = [
    pd.DataFrame(
        {"round": [N_ROUNDS], "hospital": "mean", "metric": "auc", "value": curve[N_ROUNDS]}
    )
    for curve in curves.values()
]
tidy = [
    tidy_scores(end, arm=name, seed=SEED, split="valid")
    for name, end in zip(curves, ends, strict=True)
]
results = pd.concat([*tidy, tidy_facts(facts, seed=SEED)])
write_results(results, "track_and_configure")


def say_verdicts(results):
    value = results.set_index(["metric", "arm"])["value"].sort_index()
    exact = value["largest difference of a score", "all"] <= 1e-12
    print(f"The tracked scores are {'' if exact else 'NOT '}those that the federation returned.")
    n_weights, n_films = (
        value["weights that differ", "all"],
        value["films with another logit", "all"],
    )
    same = "bit by bit the same" if n_weights + n_films == 0 else "NOT the same"
    print(f"The models that come back are {same}.")
    auc, sent = value["auc"], value["bytes"]
    print(f"Best validation AUC: {auc.idxmax()}, {auc.max():.3f}; lowest {auc.min():.3f}.")
    print(f"Most bytes: {sent.idxmax()}, {sent.max() / sent.min():.1f} times the fewest.")


say_verdicts(results)

# %%
# One seed and few rounds: this ranks no strategy; see
# :ref:`sphx_glr_auto_examples_plot_33_strategies_side_by_side.py`. A tracker says what was run, and
# not whether it was the right thing to run: choosing the best of many runs by their test scores
# is a mistake that it makes easy, see
# :ref:`sphx_glr_auto_examples_plot_32_leakage.py`.
