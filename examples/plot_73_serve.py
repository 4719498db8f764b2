"""
A trained network behind an API
===============================

A network has been handed over as a folder. How does a program elsewhere, or a person with a
browser, ask it about a :term:`film`, and what happens to a request that is no film?

We will:

1. train a small network for some seconds, and export it,
2. start ``python -m helpers.serve``, and send films as files and as arrays,
3. ask it as one asks TensorFlow Serving, so that programs can move from one to the other,
4. send what is no film, and read the sentences that come back,
5. read its metrics, and look at its page.

We expect the same :term:`logits <logit>` whichever way a film travels, and as Keras computes them;
and an answer below 500, which says what was expected, to everything else. Floor and ceiling of
what a network is worth are the topic of other pages: here it is only asked.
"""

# %%
# A network to ask
# ----------------
#
# It is trained on the films of all hospitals at once, to keep the run short. How hospitals train
# one together is shown in :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`; the
# service cannot tell the difference.

import keras
import pandas as pd

from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.display import show
from helpers.models import build_small_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

IMAGE_SIZE, SEED = 32, 0  # pixels, to keep the run short; 224 or more in a real study
N_EPOCHS = 6  # to keep the run short; in a real study, until the validation loss stops falling

study = set_up_hospitals("any finding vs none", seed=SEED)
folders = study.prepare(IMAGE_SIZE)


def open_films(split):
    return ChestXrayOpener().get_data([folders[hospital][split] for hospital in sorted(folders)])


keras.utils.set_random_seed(SEED)
network = build_small_cnn(IMAGE_SIZE)
loss = keras.losses.BinaryCrossentropy(from_logits=True)
network.compile(keras.optimizers.Adam(3e-3), loss)
x, y = ChestXrayDataset(open_films("train"), is_inference=False)[:]
history = network.fit(x, y, batch_size=32, epochs=N_EPOCHS, verbose=0)
show(pd.Series(history.history["loss"], range(1, N_EPOCHS + 1)).rename("loss").round(3).to_frame())

# %%
# :func:`~helpers.export.export_model` writes the folder: the network in several formats, the
# calibration from validation films, the model card, and the hash of each file.

import tempfile
from pathlib import Path

from helpers.export import describe_run, export_model


def predict(split):
    data = open_films(split)
    logits = network.predict(ChestXrayDataset(data, is_inference=True)[:], verbose=0)[:, 0]
    columns = data["metadata"][["hospital", "patient", "sex", "age", "view"]].reset_index(drop=True)
    return columns.assign(split=split, label=data["labels"], logit=logits)


predictions = pd.concat([predict("valid"), predict("test")], ignore_index=True)
run = describe_run(
    folders,
    name="A short training",
    data=str(study.radiographs),
    synthetic=study.radiographs.is_synthetic,
    task="any finding vs none",
    algorithm="Keras on the films of all hospitals",
    strategy="none",
    settings={"epochs": N_EPOCHS},
    seed=SEED,
    rounds=N_EPOCHS,
    best_round=N_EPOCHS,
    bytes={},
)
scratch = tempfile.TemporaryDirectory()
model_folder = Path(scratch.name, "model")
export_model(network, model_folder, run=run, predictions=predictions)
print(sorted(path.name for path in model_folder.iterdir()))

# %%
# Start the service
# -----------------
#
# It is one command. Port 0 takes a free one; by default it is 8000, on this machine only. It
# compares every file with its hash before it loads anything, and computes with ONNX Runtime:
# TensorFlow is not in its process.

import re
import subprocess
import sys

import requests

command = [sys.executable, "-m", "helpers.serve", str(model_folder), "--port", "0"]
service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
for line in service.stderr:
    if found := re.search(r"running on (\S+)", line):
        break
url = found[1]
show(requests.get(f"{url}/health", timeout=60).json())

# %%
# Films as files
# --------------
#
# We send test films as they came, larger than the network's 32 × 32 pixels: the service
# reads and shrinks them as they were for training. On a command line that is
# ``curl -F films=@film.png localhost:8000/predict``.

import io

import numpy as np
from PIL import Image

from helpers.plots import make_panels

tests = study.films.assign(label=study.labels).query("split == 'test'")
chosen = pd.concat([tests[tests["label"] == label].head(2) for label in (0, 1)])
films = [study.radiographs.image(image) for image in chosen["image"]]


def encode(film, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(film).save(file, kind)
    return file.getvalue()


def send(*contents, to="predict", name="films"):
    return requests.post(f"{url}/{to}", files=[(name, content) for content in contents], timeout=60)


by_file = send(*map(encode, films)).json()
print(by_file["notice"])

for ax, film, said, label in zip(
    make_panels(4, height=3.4, n_columns=2),
    films,
    by_file["predictions"],
    chosen["label"],
    strict=True,
):
    ax.imshow(film, cmap="gray")
    ax.set_axis_off()
    band = f"{said['low']:.0%} to {said['high']:.0%}"
    recorded = "a finding" if label else "no finding"
    ax.set_title(f"answer: {said['probability']:.0%} ({band})\nrecorded: {recorded}", fontsize=10)
    ax.set_label(f"A film with {recorded}; the answer is {said['probability']:.0%}, {band}.")
show()

# %%
# The probability is :term:`calibrated <calibration>` on validation films. The band is what 200
# draws of validation *patients* would have made of the same logit: it says how well the calibration
# is known, not how sure the network is of this film, and nothing of films from elsewhere.
#
# Films as arrays, and TensorFlow Serving's shape
# -----------------------------------------------
#
# A program that has pixels already sends whole numbers from 0 to 255. ``/v1/models`` takes and
# gives what TensorFlow Serving takes and gives for the same network: logits, without names.

from helpers.data import resize_image

arrays = np.stack([resize_image(film, IMAGE_SIZE) for film in films])
by_array = requests.post(f"{url}/predict", json={"films": arrays.tolist()}, timeout=60).json()
instances = {"instances": arrays[..., None].tolist()}
address = f"{url}/v1/models/chest_xrays:predict"
shaped = requests.post(address, json=instances, timeout=60).json()
logits = pd.DataFrame({
    "Keras": network.predict(arrays[..., None] / 255, verbose=0)[:, 0],
    "files": [said["logit"] for said in by_file["predictions"]],
    "arrays": [said["logit"] for said in by_array["predictions"]],
    "TensorFlow Serving's shape": np.ravel(shaped["predictions"]),
})  # fmt: skip
show(logits.round(4))

# %%
# What is no film
# ---------------
#
# None of these costs much: a header is read before pixels are decoded, and a body is counted while
# it arrives.

import struct
import zlib

film = encode(films[0])
header = struct.pack(">II", 60_000, 60_000) + film[24:29]
bomb = film[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + film[33:]
moving = io.BytesIO()
frames = [Image.fromarray(one) for one in arrays]
frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
sent = {
    "a table": b"age,sex\n61,F\n",
    "half a film": film[: len(film) // 2],
    "a film of 3.6 billion pixels": bomb,
    "a moving picture": moving.getvalue(),
    "a DICOM file": bytes(128) + b"DICM" + bytes(1000),
    "one grey level": encode(np.full((64, 64), 90, np.uint8)),
    "a file of 20 MB": bytes(20_000_000),
}
answers = {kind: send(content) for kind, content in sent.items()}
answers["another field"] = send(film, name="image")
answers["65 files"] = send(*[film] * 65)
too_bright = {"films": np.full((1, IMAGE_SIZE, IMAGE_SIZE), 300).tolist()}
answers["grey levels of 300"] = requests.post(f"{url}/predict", json=too_bright, timeout=60)
refused = [(kind, said.status_code, said.json()["error"]) for kind, said in answers.items()]
refused = pd.DataFrame(refused, columns=["sent", "status", "answer"])
for kind, status, sentence in refused.itertuples(index=False):
    print(f"{kind}: {status}\n    {sentence}")

# %%
# What it cannot refuse is a picture of something else: a photograph of a cat is answered as well. A
# service in a hospital would need a network that knows chest X-rays from other pictures.
#
# Metrics
# -------
#
# ``/metrics`` is read by Prometheus: how many answers of which status, and how long they took.

metrics = requests.get(f"{url}/metrics", timeout=60).text
print(
    *[line for line in metrics.splitlines() if line.startswith("chest_xrays_answers_t")], sep="\n"
)

# %%
# The page
# --------
#
# At ``/`` is a page for people: a film is dropped, and the answer appears beside it; with the extra
# ``explanation`` also the map of :ref:`sphx_glr_auto_examples_plot_61_where_the_network_looks.py`.
#
# .. image:: /_static/service.png
#    :alt: The service's page: a synthetic film with its map, the calibrated probability, its band
#    :width: 100%
#    :class: dark-light
#
# Ctrl-C ends the service; a program sends the same signal.

import signal

service.send_signal(signal.SIGINT)
service.communicate(timeout=20)
scratch.cleanup()
print("exit status:", service.returncode)

# %%
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_facts, write_results

difference = logits.sub(logits["Keras"], axis=0).abs().max()
facts = {(way, "difference of logits"): difference[way] for way in logits.columns[1:]}
facts |= {(kind, "status"): status for kind, status, _ in refused.itertuples(index=False)}
facts["service", "exit status"] = service.returncode
results = tidy_facts(facts, seed=SEED)
write_results(results, "serve")


def say_verdicts(results):
    values = results.set_index(["metric", "arm"])["value"]
    largest = values["difference of logits"].max()
    word = "the same logits" if largest <= 1e-4 else "OTHER logits"
    print(f"By all ways the service gives {word} as Keras: largest difference {largest:.0e}.")
    status = values["status"]
    n_refused = ((status >= 400) & (status < 500)).sum()
    print(f"{n_refused} of {len(status)} things that are no films were refused with a sentence.")


say_verdicts(results)

# %%
# This is a network of some seconds, and no clinical result. How to put the service into a container
# and into a cloud: :doc:`/cloud`.
