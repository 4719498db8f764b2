"""The page on which the network runs in the browser: the model that the main page saved, exported.

The page loads one script with the settings and weights of the layers, which ``network.js``
computes, with test films, and with Keras' answers for them. The films are always synthetic ones:
films of patients are never part of the site.
"""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sphinx.errors import ExtensionError

from helpers.data import (
    label_films,
    make_hospitals,
    make_radiographs,
    read_radiographs,
    resize_image,
)

PAGE = "try_it"
MODEL = Path("..", "examples", "results", "federated_chest_xrays.keras")
FOLDER = Path("generated", "browser")
SCRIPTS = ("model.js", "network.js", "film.js", "try_it.js")
AFTER_GALLERY = 900  # sphinx-gallery builds its pages on "builder-inited" with priority 500
TASK = "any finding vs none"  # as on the main page
N_CHOICES, N_OTHERS = 12, 200  # films to choose from, and films among which similar ones are found
THUMBNAIL = 64  # pixels, at most
# The layers that network.js computes: settings that it reads, and settings that it relies on.
LAYERS = {
    "Conv2D": (
        ["strides"],
        {
            "padding": "same",
            "dilation_rate": [1, 1],
            "groups": 1,
            "activation": "linear",
            "use_bias": True,
            "data_format": "channels_last",
        },
    ),
    "MaxPooling2D": (
        ["pool_size", "strides"],
        {"padding": "valid", "data_format": "channels_last"},
    ),
    "GroupNormalization": (["groups", "epsilon"], {"axis": -1, "center": True, "scale": True}),
    "ReLU": ([], {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
    "GlobalAveragePooling2D": ([], {"keepdims": False, "data_format": "channels_last"}),
    "Dense": ([], {"units": 1, "activation": "linear", "use_bias": True}),
}
# Layers that change nothing once the network is trained.
IDLE = {
    "InputLayer",
    "Dropout",
    "RandomTranslation",
    "RandomZoom",
    "RandomRotation",
    "RandomBrightness",
    "RandomContrast",
}


def list_layers(model):
    """List the layers that compute something, in their order; those of a model within it, too.

    Parameters
    ----------
    model : keras.Model
        A chain of layers that ends in global average pooling and one dense unit.

    Returns
    -------
    list of keras.Layer
        The layers.

    Raises
    ------
    sphinx.errors.ExtensionError
        If ``network.js`` does not compute such a layer or setting, or the end is another.
    """
    layers = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            layers += list_layers(layer)
        elif type(layer).__name__ not in IDLE:
            layers.append(layer)
            _settings(layer)
    if [type(layer).__name__ for layer in layers[-2:]] != ["GlobalAveragePooling2D", "Dense"]:
        names = [layer.name for layer in layers[-2:]]
        raise ExtensionError(
            "Expected a model that ends in GlobalAveragePooling2D and Dense, from which the class "
            f"activation map is made. Received {model.name!r}, which ends in {names}."
        )
    return layers


def _settings(layer):
    """Return the settings that the script reads; refuse a layer that it does not compute."""
    kind = type(layer).__name__
    if kind not in LAYERS:
        raise ExtensionError(
            f"Expected layers that docs/_static/network.js computes: {', '.join(LAYERS)}. Received "
            f"{layer.name!r}, a {kind}. Add the class there and to LAYERS in docs/browser_model.py."
        )
    read, relied_on = LAYERS[kind]
    config = json.loads(json.dumps(layer.get_config()))  # lists for tuples
    for name, value in relied_on.items():
        if config[name] != value:
            raise ExtensionError(
                f"Expected {name}={value!r} in every {kind}, as docs/_static/network.js computes "
                f"it. Received {config[name]!r} in {layer.name!r}."
            )
    return {name: config[name] for name in read}


def compute(model, films):
    """Let Keras compute films layer by layer.

    Parameters
    ----------
    model : keras.Model
        As in :func:`list_layers`.
    films : numpy.ndarray of uint8, shape (n, H, W)
        Grey levels.

    Returns
    -------
    logits : numpy.ndarray, shape (n,)
        The model's outputs.
    features : numpy.ndarray, shape (n, c)
        What the last layer receives.
    maps : numpy.ndarray, shape (n, h, w)
        Class activation maps: the last layer's weighted sum at each position.

    Raises
    ------
    sphinx.errors.ExtensionError
        If the layers one after the other are not the model.
    """
    x = films[..., None].astype(np.float32) / 255
    logits = model.predict(x, verbose=0)[:, 0]
    *body, mean, unit = list_layers(model)
    for layer in body:
        x = layer(x)
    features = mean(x)
    if not np.allclose(unit(features)[:, 0], logits, atol=1e-4):
        raise ExtensionError(f"Expected a chain of layers. Received {model.name!r}, which is none.")
    return logits, np.asarray(features), np.asarray(x) @ np.asarray(unit.kernel)[:, 0]


def export_layers(model):
    """Describe the layers of a model for ``network.js``.

    Parameters
    ----------
    model : keras.Model
        As in :func:`list_layers`.

    Returns
    -------
    list of dict
        Class, settings and weights of each layer.
    """
    return [
        {
            "class": type(layer).__name__,
            **_settings(layer),
            "weights": [encode_floats(weight) for weight in layer.get_weights()],
        }
        for layer in list_layers(model)
    ]


def encode_floats(array):
    """Encode an array as 32-bit floats in base64, with its shape.

    Parameters
    ----------
    array : array-like of float
        Numbers.

    Returns
    -------
    dict
        ``shape`` and ``data``.
    """
    array = np.asarray(array, "<f4")
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def encode_film(film):
    """Encode grey levels in base64, row by row.

    Parameters
    ----------
    film : numpy.ndarray of uint8, shape (H, W)
        A film.

    Returns
    -------
    str
        Base64.
    """
    return base64.b64encode(film.tobytes()).decode()


def choose_films(radiographs):
    """Choose test films at random: some to try, half of them with findings, and others.

    Parameters
    ----------
    radiographs : helpers.data.Radiographs
        Synthetic films.

    Returns
    -------
    choices, others : pandas.DataFrame
        Rows of films. No patient is in both, or a film's own follow-up would be most similar.
    """
    labels = label_films(radiographs.table, TASK)
    films = make_hospitals(radiographs.table, labels, seed=0)
    films = films[films["split"] == "test"].sample(frac=1, random_state=0)
    patients = films.drop_duplicates("patient")
    choices = [patients[labels[patients.index] == label][: N_CHOICES // 2] for label in (0, 1)]
    choices = pd.concat(choices).sort_index()
    return choices, films[~films["patient"].isin(choices["patient"])][:N_OTHERS]


def describe_model(model, radiographs):
    """Gather what the page needs.

    Parameters
    ----------
    model : keras.Model
        As in :func:`list_layers`.
    radiographs : helpers.data.Radiographs
        Synthetic films.

    Returns
    -------
    dict
        What ``model.js`` holds.
    """
    size = model.input_shape[1]
    choices, others = choose_films(radiographs)
    rows = pd.concat([choices, others])
    films = np.stack([resize_image(radiographs.image(name), size) for name in rows["image"]])
    logits, features, maps = compute(model, films)
    findings = rows["findings"].str.replace("|", ", ").tolist()
    n = len(choices)
    small = min(size, THUMBNAIL)
    return {
        "size": size,
        "layers": export_layers(model),
        "brightest": float(np.abs(maps).max()),  # one scale of colours for all films
        "films": [
            {"pixels": encode_film(film), "findings": finding, "logit": float(logit)}
            for film, finding, logit in zip(films[:n], findings[:n], logits[:n], strict=True)
        ],
        "others": {
            "size": small,
            "pixels": [encode_film(resize_image(film, small)) for film in films[n:]],
            "findings": findings[n:],
            "features": encode_floats(features[n:]),
        },
    }


def export(app):
    """Write the page's data, if the main page has saved its model."""
    path = Path(app.srcdir, MODEL)
    if not path.is_file():
        return
    import keras  # TensorFlow takes seconds

    model = keras.models.load_model(path, compile=False)
    radiographs = read_radiographs(make_radiographs(), check_images=False)
    text = json.dumps(describe_model(model, radiographs))
    folder = Path(app.srcdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.js").write_text(f"const exported = {text};\n", "utf-8")
    app.config.html_static_path.append(str(folder))
    app.tags.add("network")
    if os.environ.get("CHEST_XRAYS"):
        app.tags.add("own_films")


def watch_model(app, docname, source):
    """Read the page again when there is another model, or the first one."""
    del source
    if docname == PAGE:
        app.env.note_dependency(str(Path(app.srcdir, MODEL)), docname=docname)


def add_scripts(app, pagename, templatename, context, doctree):
    """Load the scripts on this page alone."""
    del templatename, context, doctree
    if pagename == PAGE and app.tags.has("network"):
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def setup(app):
    """Connect the export to the build."""
    app.connect("builder-inited", export, priority=AFTER_GALLERY)
    app.connect("source-read", watch_model)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
