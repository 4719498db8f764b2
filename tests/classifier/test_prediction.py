import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import classifier
from helpers.classifier.checkpoint import load_checkpoint, save_checkpoint
from helpers.classifier.rows import hash_film

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")


@pytest.fixture(scope="module")
def ckpt_path(tmp_path_factory):
    """A model whose logit is the mean of the pixels' excess over one half, times 20."""
    path = tmp_path_factory.mktemp("ckpt") / "best.keras"
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(20.0)),
        ]
    )
    model.layers[-1].bias.assign([-10.0])
    about = {"image_size": 4, "threshold": 0.5, "classes": ["sain", "malade"], "score": 0.7}
    about |= {"films": {"train": [], "valid": []}, "full": 65535}
    save_checkpoint(model, path, about)
    return path


@pytest.fixture
def films(tmp_path):
    """Three grey films: dark, bright, middle, in a folder without classes."""
    for name, grey in (("dark", 0), ("bright", 255), ("middle", 153)):
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_predictions_keep_rows_order_and_cells(films, ckpt_path):
    csv = films / "in.csv"
    csv.write_text('image;age;note\nmiddle.png;012;"a; b"\ndark.png;;x\nmiddle.png;7;"q"""\n')
    classifier.predict_classifier(films, csv, films / "new" / "preds.csv", ckpt_path)
    preds = pd.read_csv(films / "new" / "preds.csv", dtype=str, keep_default_na=False)
    assert list(preds) == ["image", "age", "note", "split", "probability", "prediction"]
    assert preds["image"].tolist() == ["middle.png", "dark.png", "middle.png"]
    assert preds["age"].tolist() == ["012", "", "7"]
    assert preds["note"].tolist() == ["a; b", "x", 'q"']
    assert preds["prediction"].tolist() == ["malade", "sain", "malade"]
    # Logits 20 · 153/255 − 10 = 2, and −10.
    expected = 1 / (1 + np.exp([-2.0, 10.0, -2.0]))
    np.testing.assert_allclose(preds["probability"].astype(float), expected, rtol=1e-5)


def test_a_darker_film_of_16_bits_does_not_come_out_brighter(films, ckpt_path):
    """By its own maximum, which 12 bits hold, the darker one would be almost white."""
    for name, grey in (("dark", 4000), ("bright", 40_000)):
        Image.fromarray(np.full((8, 8), grey, np.uint16)).save(films / f"{name}.png")
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\nbright.png\n")
    classifier.predict_classifier(films, csv, films / "preds.csv", ckpt_path)
    found = pd.read_csv(films / "preds.csv")["probability"]
    greys = np.round(np.array([4000, 40_000]) * 255 / 65535) / 255
    np.testing.assert_allclose(found, 1 / (1 + np.exp(10 - 20 * greys)), rtol=1e-5)


def test_predicting_its_own_output_replaces_the_columns(films, ckpt_path):
    csv, preds = films / "in.csv", films / "preds.csv"
    csv.write_text("image\nbright.png\n")
    classifier.predict_classifier(films, csv, preds, ckpt_path)
    first = preds.read_text()
    classifier.predict_classifier(films, preds, preds, ckpt_path)
    assert preds.read_text() == first


def test_unreadable_films_are_gathered_and_nothing_is_written(films, ckpt_path):
    for name in ("a", "b"):
        (films / f"{name}.png").write_bytes(b"no image")
    csv = films / "in.csv"
    csv.write_text("image\na.png\ndark.png\nb.png\n")
    with pytest.raises(ValueError, match=r"unreadable film \(2\): line 2 .*line 4"):
        classifier.predict_classifier(films, csv, films / "preds.csv", ckpt_path)
    assert not (films / "preds.csv").exists()


def test_weights_that_are_nan_are_neither_saved_nor_used(films, ckpt_path):
    """ReLU may turn NaN into 0, so that every film would be called negative."""
    model, about = load_checkpoint(ckpt_path)
    model.layers[-1].bias.assign([np.nan])
    with pytest.raises(ValueError, match=r"in 1 of 2 tensors, first dense.*/bias: the training di"):
        save_checkpoint(model, films / "diverged.keras", about)
    assert not list(films.glob("*.keras"))
    model.save(films / "diverged.keras")
    with zipfile.ZipFile(films / "diverged.keras", "a") as archive:
        archive.writestr("chest_xray_classifier.json", json.dumps(about))
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\nbright.png\n")
    with pytest.raises(ValueError, match=r"Expected finite weights in the model .*diverged\.keras"):
        classifier.predict_classifier(films, csv, films / "preds.csv", films / "diverged.keras")
    assert not (films / "preds.csv").exists()


def test_answers_that_are_not_finite_are_refused(films, ckpt_path):
    model, about = load_checkpoint(ckpt_path)
    model.layers[-1].kernel.assign([[3e38]])
    model.layers[-1].bias.assign([3e38])
    save_checkpoint(model, films / "huge.keras", about)
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\nbright.png\n")
    with pytest.raises(ValueError, match=r"Received 1 of 2 .*logits\[1\], is inf"):
        classifier.predict_classifier(films, csv, films / "preds.csv", films / "huge.keras")
    assert not (films / "preds.csv").exists()


def test_films_are_known_by_content_and_scored_by_split(tmp_path, ckpt_path):
    """Trained on a dark and a bright film, validated with one that it gets wrong."""
    model, about = load_checkpoint(ckpt_path)
    greys = {"train/sain/a": 0, "train/malade/b": 250, "valid/sain/c": 200, "valid/malade/d": 251}
    greys |= {"test/sain/e": 5, "test/malade/f": 10, "g": 9}
    paths = {name: tmp_path / f"{name}.png" for name in greys}
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), greys[name], np.uint8)).save(path)
    about["films"] = {
        split: [hash_film(path) for name, path in paths.items() if name.startswith(split)]
        for split in ("train", "valid")
    }
    save_checkpoint(model, tmp_path / "m.keras", about)
    paths["test/sain/e"].with_name("b2.png").write_bytes(paths["train/malade/b"].read_bytes())
    csv = tmp_path / "in.csv"
    csv.write_text("image\n" + "".join(f"{name[-1]}.png\n" for name in greys) + "b2.png\na.png\n")
    scores = classifier.predict_classifier(
        tmp_path, csv, tmp_path / "preds.csv", tmp_path / "m.keras"
    )
    split = pd.read_csv(tmp_path / "preds.csv", keep_default_na=False)["split"]
    assert split.tolist() == ["train"] * 2 + ["valid"] * 2 + [""] * 3 + ["train", "train"]
    # The copy b2 stands in sain/ and is called malade: one of two healthy films is right.
    assert scores["n_films"].to_dict() == {"train": 3, "valid": 2, "": 2}
    assert scores["balanced_accuracy"].to_dict() == {"train": 0.75, "valid": 0.5, "": 0.5}


@pytest.mark.parametrize(
    "kind", ["film", "checkpoint", "films.csv", "link", "dangling", "folder", "fifo", "device"]
)
def test_predictions_replace_nothing_but_predictions(films, ckpt_path, kind):
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\n")
    target = films / "target.csv"
    before = films / "preds.csv"
    before.write_text("image,split,probability,prediction\n")
    make = {
        "film": lambda: films / "dark.png",
        "checkpoint": lambda: ckpt_path,
        "films.csv": lambda: csv,
        "link": lambda: target.symlink_to(before),
        "dangling": lambda: target.symlink_to(films / "none.csv"),
        "folder": lambda: target.mkdir(),
        "fifo": lambda: os.mkfifo(target),
        "device": lambda: Path(os.devnull),
    }
    target = make[kind]() or target
    files = {path: path.read_bytes() for path in films.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=r"Expected csv_out to end in \.csv and to be new"):
        classifier.predict_classifier(films, csv, target, ckpt_path)
    assert files == {path: path.read_bytes() for path in films.iterdir() if path.is_file()}
    classifier.predict_classifier(films, csv, before, ckpt_path)
    assert before.read_text().count("dark.png") == 1


def test_other_files_are_no_checkpoints(films, ckpt_path, tmp_path):
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\n")
    with pytest.raises(ValueError, match=r"Expected a checkpoint\. Received .*none\.keras"):
        classifier.predict_classifier(films, csv, films / "preds.csv", tmp_path / "none.keras")
    with pytest.raises(
        ValueError, match=r"image size, threshold and class names\. Received .*in\.csv"
    ):
        classifier.predict_classifier(films, csv, films / "preds.csv", csv)
    plain = tmp_path / "plain.keras"
    load_checkpoint(ckpt_path)[0].save(plain)
    with pytest.raises(
        ValueError, match=r"image size, threshold and class names\. Received .*plain"
    ):
        classifier.predict_classifier(films, csv, films / "preds.csv", plain)
    with zipfile.ZipFile(plain, "a") as archive:
        archive.writestr("chest_xray_classifier.json", '{"image_size": 4}')
    with pytest.raises(
        ValueError, match=r"Received no \['classes', 'films', 'full', 'score', 'threshold'\]"
    ):
        classifier.predict_classifier(films, csv, films / "preds.csv", plain)


def test_french_names_are_the_same_functions():
    assert classifier.predict_classifier is classifier.pred_classifieur
    assert classifier.train_classifier is classifier.train_classifieur
