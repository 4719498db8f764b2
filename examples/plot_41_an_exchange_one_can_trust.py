"""
An exchange one can trust
=========================

Films stay where they are. What leaves a hospital is an :term:`update`: the change that one round
of training made to the weights. That is no reason to trust it. The update may be broken, and the
file that carries it may not be an update at all.

We will:

1. look at what travels: a **pickle**, as in SubstraFL, or arrays with a **manifest**,
2. send a **malicious pickle** in place of arrays, and files that were damaged in transit,
3. let a **faulty** hospital send impossible updates: NaN, or tensors of another shape,
4. list what is stopped, and what is not.

We expect a reader that accepts nothing but checked arrays to refuse all of these, and to name the
hospital at fault. We expect that to cost about one percent more bytes. The floor is a reader that
runs whatever it is sent; updates that are *plausible but hostile* are the subject of the next page.
"""

# %%
# A hospital and its update
# -------------------------
#
# The network and the :term:`algorithm` are those of
# :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`.

from helpers.data import count_hospitals, set_up_hospitals
from helpers.display import show

IMAGE_SIZE = 32  # pixels, to keep the run short; 64 or more in a real study
SEED = 0

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
CULPRIT = hospitals[1]
show(count_hospitals(study.films, study.labels))

# %%
# SubstraFL sends an update as a :term:`shared state`, which is a pickle. This one holds random
# numbers, as if one hospital had trained:

import functools
import pickle

import keras
import numpy as np
import pandas as pd
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies.schemas import FedAvgSharedState

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.exchange import exchanged_variables, get_parameters, pack_state, unpack_state
from helpers.models import build_cnn

algo = TFFedAvgAlgo(
    model=functools.partial(build_cnn, IMAGE_SIZE),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.Adam(2e-3),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
rng = np.random.default_rng(SEED)
update = {
    name: rng.normal(scale=1e-3, size=tensor.shape).astype(np.float32)
    for name, tensor in get_parameters(exchanged_variables(algo.model)).items()
}
state = FedAvgSharedState(n_samples=200, parameters_update=list(update.values()))
packed = pack_state(state, names=list(update), organization=CULPRIT, round=3)

n_bytes = {
    "raw arrays": sum(tensor.nbytes for tensor in update.values()),
    "pickled": len(pickle.dumps(state)),
    "packed": len(packed),
}
show(pd.Series(n_bytes, name="bytes").to_frame())

# %%
# :func:`~helpers.exchange.pack_state` writes safetensors: plain arrays with a header. The header
# holds a manifest, which the reader checks before it uses anything.

_, manifest = unpack_state(packed, origin=CULPRIT)
print(manifest.state, manifest.counts, "round", manifest.round, "from", manifest.organization)
show(
    pd.DataFrame({"shape": manifest.shapes, "dtype": manifest.dtypes}, index=manifest.names).head(4)
)

# %%
# A malicious pickle
# ------------------
#
# A pickle is a small program, and loading it runs it. The :term:`aggregation` loads what every
# hospital has sent. This pickle makes a folder; it could do anything that its reader may do.
# :func:`~helpers.exchange.unpack_state` never opens a pickle.

import os
import tempfile
from pathlib import Path

from helpers.exchange import UpdateError


class Bomb:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def is_refused(message):
    try:
        unpack_state(message, origin=CULPRIT)
    except UpdateError as error:
        print(error)
        return True
    return False


with tempfile.TemporaryDirectory() as folder:
    target = Path(folder) / "was_here"
    bomb = pickle.dumps(Bomb(target))
    refused = {"a malicious pickle": is_refused(bomb)}
    exists = {"unpack_state": target.exists()}
    pickle.loads(bomb)  # nosec B301  # to show what it does
    exists["pickle.loads"] = target.exists()
show(pd.Series(exists, name="the folder exists after it").to_frame())

# %%
# A file that was cut short or altered in transit is refused as well: the manifest holds a checksum.
# A checksum is not a signature. An attacker computes a new one.

for what, damaged in {"cut short": packed[:-9], "altered": packed[:-1] + b"!"}.items():
    refused[f"a file that was {what}"] = is_refused(damaged)

# %%
# A faulty hospital
# -----------------
#
# The culprit is made by a :term:`strategy` that :class:`wraps <helpers.strategies.WrappedStrategy>`
# another one. It sees what each hospital is about to send, and changes the culprit's tensors.

from helpers.strategies import WrappedStrategy

FAULTS = {
    "NaN values": lambda tensor: tensor * np.float32("nan"),
    "another shape": lambda tensor: tensor[..., None],
}


class Faulty(WrappedStrategy):
    def __init__(self, strategy, culprit, change):
        super().__init__(strategy)
        self.culprit, self.change = culprit, change

    def update_train_node(self, node, operation, **settings):
        local_state, sent = super().update_train_node(node, operation, **settings)
        if node.organization_id == self.culprit:
            sent.parameters_update = [self.change(tensor) for tensor in sent.parameters_update]
        return local_state, sent


# %%
# :class:`~helpers.strategies.SafeExchange` wraps any strategy. It packs all shared states, and
# checks them when they are read: here a hospital's update against those of the others. By default
# the run stops with an error that names the reason.

import logging

from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.strategies import SafeExchange

set_logging_level(logging.ERROR)
named = {}
with Federation(samples) as federation:
    culprit = federation.train_nodes(CULPRIT)[0].organization_id
    for fault, change in FAULTS.items():
        strategy = Faulty(SafeExchange(FedAvg(algo, {"auc": auc})), culprit, change)
        refused[fault] = named[fault] = False
        try:
            federation.simulate(strategy, test_on=[CULPRIT], num_rounds=1)
        except UpdateError as error:
            print(error)
            refused[fault], named[fault] = True, error.organization == culprit

# %%
# With ``on_fault="skip"`` the other hospitals' updates are averaged, and the run goes on. The
# reason is in the log of the task; for real tasks :func:`~helpers.strategies.find_refused` lists
# what was skipped.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_values, write_results

more = {arm: size / n_bytes["raw arrays"] - 1 for arm, size in n_bytes.items()}
measured = {"refused": refused, "culprit named": named, "folder made": exists}
measured |= {"bytes": n_bytes, "more than the raw arrays": more}
results = tidy_values(measured, seed=SEED, round=1, hospital=CULPRIT, split="train")
write_results(results, "an_exchange_one_can_trust")


def say_verdicts(results):
    table = results.set_index(["metric", "arm"])["value"]
    for arm, value in table["folder made"].items():
        print(f"{arm} {'runs' if value else 'does not run'} what the malicious pickle asks for.")
    for arm, value in table["refused"].items():
        print(f"{arm}: {'refused' if value else 'NOT refused'}; expected: refused.")
    for arm, value in table["culprit named"].items():
        print(f"{arm}: the error {'names' if value else 'does NOT name'} the culprit.")
    for arm in ("pickled", "packed"):
        more = table["more than the raw arrays", arm]
        print(f"{arm}: {table['bytes', arm]:,.0f} bytes, {more:+.2%} against the raw arrays.")


say_verdicts(results)

# %%
# By construction, this is stopped, and this is not:
#
# ========================  ===================  ========  ==============  =========
# \                         packed, not pickled  checked   robust average  only sums
# ========================  ===================  ========  ==============  =========
# a pickle as update        yes                  –         no              no
# damage in transit         yes                  –         no              no
# NaN, other tensors        no                   yes       no              yes
# far too large             no                   yes       yes             no
# plausible but hostile     no                   no        yes, of few     no
# a curious aggregator      no                   no        no              yes
# a pickle as local state   no                   no        no              yes
# the code of the tasks     no                   no        no              no
# ========================  ===================  ========  ==============  =========
#
# Robust averages are the subject of
# :ref:`sphx_glr_auto_examples_plot_42_hostile_hospitals.py`. A curious aggregator reads films in
# :ref:`sphx_glr_auto_examples_plot_43_smaller_updates_and_a_curious_aggregator.py`, and
# :ref:`sphx_glr_auto_examples_plot_45_an_aggregation_that_sees_only_sums.py` leaves it nothing to
# read. Such messages can be packed, too; they cannot be checked or averaged robustly.
#
# The last two rows are the largest remaining risk. A hospital that tests without training loads the
# :term:`local state` of one that trains: a pickle, possibly a malicious one. Let only hospitals
# that train test, as each then loads its own. And the *functions* that the tasks run still travel
# as cloudpickle, as everywhere in SubstraFL: whoever may register a function decides what all
# hospitals run. Substra's permissions exist for that.
