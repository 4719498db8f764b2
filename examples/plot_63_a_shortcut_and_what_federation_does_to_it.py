"""
A shortcut, and what federation does to it
==========================================

In one hospital, patients on the ward get a second lead marker in the upper left corner, and only
they are ill. A network needs no lungs to score well there: it can read the marker. Such a
:term:`shortcut` :footcite:p:`geirhos2020` is common in real collections :footcite:p:`zech2018`.
What is left of it after the hospital has trained a network together with three others?

We will:

1. burn the marker into one hospital's ill films, and train its own network and a federated one,
2. ask three times whether it looks there: map it, take the marker away, put it on wrong films,
3. follow this from round to round, and in each hospital's network before it is averaged,
4. let the hospitals explain their own films **inside**, as tasks that send only mean maps.

We expect a hospital's own network to look at nothing else, and federation to wash this out, the
better the fewer of all films are marked. The floor is that own network, and chance. The ceiling is
the federated network when nobody marks films.
"""

# %%
# One hospital marks its ill patients
# -----------------------------------
#
# Once the largest hospital marks, once the smallest, and only films for training. All networks are
# judged on the same test films of all hospitals, and on copies with a marker.

import functools

import numpy as np
import pandas as pd

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.phantom.marker import burn_marker

IMAGE_SIZE, SEED = 32, 0  # pixels, to keep the run short; 224 or more in a real study
study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = sorted(samples)


def mark(data):
    images, labels = np.array(data["images"]), np.asarray(data["labels"])
    images[labels == 1] = burn_marker(images[labels == 1])[0]
    return {"images": images, "labels": labels, "metadata": data["metadata"]}


films = {name: ChestXrayOpener().get_data([samples[name]["train"]]) for name in hospitals}
test = ChestXrayOpener().get_data([own["test"] for own in samples.values()])
sizes = {name: len(own["labels"]) for name, own in films.items()}
LARGE, SMALL = (choose(sizes, key=sizes.get) for choose in (max, min))
print({name: f"marks {films[name]['labels'].sum()} films" for name in (LARGE, SMALL)})

# %%
# Five networks
# -------------
#
# :func:`~helpers.explanation.train_coalition` is federated averaging in this process. It keeps what
# hospitals sent, so that the network of each round can be rebuilt, averaged or not.

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.exchange import exchanged_variables, get_parameters, set_parameters
from helpers.explanation import rebuild_coalition, train_coalition
from helpers.models import build_small_cnn, start_from

N_ROUNDS = 6  # to keep the run short
build = functools.partial(build_small_cnn, IMAGE_SIZE)
algo = TFFedAvgAlgo(
    model=build,
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.Adam(6e-3),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
algo.trace(test)  # once, and not in every run
start = get_parameters(exchanged_variables(algo.model))
runs = {"nobody marks": train_coalition(algo, films, num_rounds=N_ROUNDS)}
for name in (LARGE, SMALL):
    own = {name: mark(films[name])}
    runs[f"{name} marks"] = train_coalition(algo, films | own, num_rounds=N_ROUNDS)
    runs[f"{name} alone"] = train_coalition(algo, own, num_rounds=N_ROUNDS)


def rebuild(arm, number=N_ROUNDS, local=None):
    rounds, network = runs[arm], build()
    weights = rebuild_coalition(start, rounds[:number], tuple(rounds[0]))
    if local:  # this hospital's network before it was averaged
        weights = rebuild_coalition(weights, rounds[number : number + 1], (local,))
    set_parameters(exchanged_variables(network), weights)
    return network


networks = {arm: rebuild(arm) for arm in runs}

# %%
# Where do they look?
# -------------------
#
# Maps of integrated gradients, against the average healthy film, of marked test films with a
# finding. The outline is where markers can be; below we count the marker's own pixels alone.

from helpers.explanation import explain, mass_in_mask
from helpers.plots import plot_maps

images, labels = np.array(test["images"]), np.asarray(test["labels"])
marked, masks = burn_marker(images)
how = {"method": "integrated_gradients", "background": images[labels == 0][:50], "steps": 20}
ill = np.flatnonzero(labels == 1)[:40]  # to keep the run short; all of them in a real study
maps = {arm: explain(network, marked[ill], **how) for arm, network in networks.items()}

corner = np.stack([masks.any(axis=0)] * 2)
columns = {arm.replace(" ", "\n"): own[:2] for arm, own in maps.items()}
plot_maps(marked[ill[:2]], columns, masks=corner)
show()

# %%
# Take the marker away, and put it on the wrong films
# ---------------------------------------------------
#
# Films with and without the marker are a better witness than a map: they differ in nothing else.
# The *effect* of the marker is by how much it raises the :term:`logit`, in standard deviations of
# the logits of films without it. The :term:`AUC` shows what this costs: without a marker, with it
# on the ill *as learned*, and *exchanged*, on the healthy.

from helpers.evaluation import auc, bootstrap_mean, bootstrap_patients
from helpers.explanation.attribution import check_films, predict_output

patients, N_RESAMPLES = test["metadata"]["patient"], 200  # 2,000 in a real study
clean, burnt = (check_films(part, networks["nobody marks"]) for part in (images, marked))


def measure_effect(network, films=slice(None)):
    before, after = (predict_output(network, part[films]) for part in (clean, burnt))
    return (after - before) / before.std(), before, after


facts = {}
for arm, network in networks.items():
    effect, before, after = measure_effect(network)
    for name, has in (("no marker", 0), ("as learned", labels), ("exchanged", 1 - labels)):
        about = labels, np.where(has == 1, after, before), patients
        facts[arm, f"AUC, {name}"] = bootstrap_patients(auc, *about, n=N_RESAMPLES)
    facts[arm, "effect"] = bootstrap_mean(effect, patients, n=N_RESAMPLES)
    facts[arm, "map in marker"] = np.mean(mass_in_mask(maps[arm], masks[ill]))
facts["blind guess", "map in marker"] = masks[ill].mean()
from helpers.plots import describe_lines, hospital_styles, make_panels, plot_intervals
from helpers.results import tidy_facts, write_results

rows = tidy_facts(facts, seed=SEED)
rows = rows[rows["metric"].str.startswith("AUC")]
rows = rows.assign(hospital=rows["arm"], arm=rows["metric"].str.removeprefix("AUC, "))
plot_intervals(rows, reference=0.5).set(xlabel="AUC", xlim=(-0.03, 1.03))
show()

# %%
# A network is right for the right reason if its three marks lie together. Left of the line, chance,
# it believes the marker and not the lungs.
#
# From round to round
# -------------------
#
# Does attention to the marker fade as rounds go on? On top, the federated network. Below, each
# hospital's own network just before it is averaged, when the largest marks.

some = slice(0, None, 3)  # every third film, to keep the run short
TRACED = f"{LARGE} marks"


def follow(arm, numbers, local=None):
    return [measure_effect(rebuild(arm, n, local), some)[0].mean() for n in numbers]


curves = {arm: follow(arm, range(N_ROUNDS + 1)) for arm in runs if "alone" not in arm}
of_hospitals = {name: follow(TRACED, range(N_ROUNDS), name) for name in hospitals}
top, bottom = make_panels(2, height=2.7, sharex=True)
for arm, style in hospital_styles(curves).items():
    top.plot(curves[arm], label=arm, **style)
for name, style in hospital_styles(hospitals).items():
    bottom.plot(range(1, N_ROUNDS + 1), of_hospitals[name], label=name, **style)
for ax, title in ((top, "averaged"), (bottom, f"before averaging, {TRACED}")):
    ax.set(title=title, xlabel="round", ylabel="effect of the marker")
    describe_lines(ax).legend(fontsize=8)
show()

# %%
# One film in these networks. *Disagreement* is the standard deviation between the maps of the
# hospitals' own networks before the last average.

film = ill[:1]
steps = {f"round\n{n}": rebuild(TRACED, n) for n in (1, N_ROUNDS // 2, N_ROUNDS)}
steps |= {name: rebuild(TRACED, N_ROUNDS - 1, name) for name in hospitals}
columns = {title: explain(network, marked[film], **how) for title, network in steps.items()}
columns["dis-\nagreement"] = np.std([columns.pop(name) for name in hospitals], axis=0)
plot_maps(marked[film], columns, masks=corner[:1])
show()

# %%
# Inside the hospitals
# --------------------
#
# In a real federation nobody has everyone's test films. :class:`~helpers.explanation.MeanInside` is
# one Substra task at each hospital. It maps the federated network on its own test films with a
# finding, marked, and sends the **mean** map with the number of films, unless these are few.

import logging

from substrafl.logger import set_logging_level

from helpers.explanation import MeanInside, collect_means, pool_means
from helpers.local_mode import Federation


def map_marked(network, films):
    with_marker, _ = burn_marker(films)
    return explain(network, with_marker, "integrated_gradients", background=films, steps=20)


set_logging_level(logging.ERROR)
plan = MeanInside(start_from(build, networks[TRACED]), map_marked, label=1)
own_test = {name: {"train": own["test"], "test": own["test"]} for name, own in samples.items()}
with Federation(own_test) as federation:
    compute_plan, _ = federation.execute(plan, num_rounds=1)
    means = collect_means(federation.clients, compute_plan)
means["all"] = pool_means(means)
sent = {name: (mean.value[None], mean.n_films) for name, mean in means.items() if mean.n_films}
columns = {f"{name},\n{n} films": mean for name, (mean, n) in sent.items()}
plot_maps(marked[film], columns, masks=corner[:1])
show()

# %%
# The film is one of ours, for orientation. These maps and numbers left the hospitals. A mean shows
# what maps have in common, such as a marker in a fixed place; findings, which move, blur.
#
# Conclusion
# ----------
#
# Computed from the table of results.

from helpers.evaluation import Interval, describe_change, side_of

facts["all", "mean map in corner"] = mass_in_mask(sent["all"][0], corner[:1])[0]
facts["all", "films inside"] = means["all"].n_films
facts |= {(name, "films"): size for name, size in sizes.items()}
parts = [tidy_facts(facts, seed=SEED, round=N_ROUNDS, split="test")]
for metric, lines in {"averaged": curves, "before averaging": of_hospitals}.items():
    for arm, line in lines.items():
        parts += [tidy_facts({(arm, metric): y}, seed=SEED, round=x) for x, y in enumerate(line)]
results = pd.concat(parts, ignore_index=True)
write_results(results, "a_shortcut_and_what_federation_does_to_it")


def say_verdicts(results):
    table = results.set_index(["metric", "arm"])[["value", "low", "high"]]
    value, size = table["value"], table.loc["films", "value"]
    print(f"In the marker by chance: {value['map in marker', 'blind guess']:.3f} of a map.")
    print(f"Ceiling, nobody marks: AUC {value['AUC, no marker', 'nobody marks']:.3f}.")
    for name in (size.idxmax(), size.idxmin()):
        for arm in (f"{name} alone", f"{name} marks"):
            words = {"below": "lowers the logit", "above": "raises the logit"}
            print(f"{arm}: {value['map in marker', arm]:.3f} of a map lies in the marker.")
            print(f"  Effect {describe_change(*table.loc[('effect', arm)], **words)}.")
            wrong = Interval(*table.loc[("AUC, exchanged", arm)])
            print(f"  AUC {value['AUC, no marker', arm]:.3f} without markers.")
            print(f"  AUC {wrong.value:.3f} exchanged; against chance: {side_of(wrong, 0.5)}.")
        left = value["effect", f"{name} marks"] / value["effect", f"{name} alone"]
        line = value["averaged"][f"{name} marks"]
        fades = "fades" if line.iloc[-1] < line.max() / 2 else "does NOT fade"
        print(f"{name}: federation leaves {left:.0%} of the effect; round by round it {fades}.")
    before = value["averaged"][f"{size.idxmax()} marks"].iloc[-2]
    own = value["before averaging"].groupby("arm").last()
    others, moved = own.drop(size.idxmax()), own[size.idxmax()]
    weaker = "weaken" if others.max() < before else "do NOT all weaken"
    print(f"In the last round {size.idxmax()} moves the effect from {before:.1f} to {moved:.1f}.")
    print(f"The others {weaker} it, to {others.min():.1f} up to {others.max():.1f}.")
    behind, share = value["films inside"]["all"], value["mean map in corner"]["all"]
    print(f"Inside: {share:.0%} of the mean map of {behind:.0f} films is in the corner.")


say_verdicts(results)

# %%
# Averaging is no vote on what is true. No film of another hospital contradicts the marker; they can
# only forget it while they learn something else, and its owner brings it back in every round. One
# seed, one small network, a marker that is never wrong at home and always wrong in a test: real
# shortcuts are weaker, and unknown. Who suspects one can ask every hospital for a mean map.
#
# References
# ----------
#
# .. footbibliography::
