import zipfile

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import course
from helpers.course.checkpoint import load_checkpoint, save_checkpoint

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
    course.pred_classifieur(films, csv, films / "new" / "preds.csv", ckpt_path)
    preds = pd.read_csv(films / "new" / "preds.csv", dtype=str, keep_default_na=False)
    assert list(preds) == ["image", "age", "note", "probability", "prediction"]
    assert preds["image"].tolist() == ["middle.png", "dark.png", "middle.png"]
    assert preds["age"].tolist() == ["012", "", "7"]
    assert preds["note"].tolist() == ["a; b", "x", 'q"']
    assert preds["prediction"].tolist() == ["malade", "sain", "malade"]
    # Logits 20 · 153/255 − 10 = 2, and −10.
    expected = 1 / (1 + np.exp([-2.0, 10.0, -2.0]))
    np.testing.assert_allclose(preds["probability"].astype(float), expected, rtol=1e-5)


def test_predicting_its_own_output_replaces_the_columns(films, ckpt_path):
    csv, preds = films / "in.csv", films / "preds.csv"
    csv.write_text("image\nbright.png\n")
    course.pred_classifieur(films, csv, preds, ckpt_path)
    first = preds.read_text()
    course.pred_classifieur(films, preds, preds, ckpt_path)
    assert preds.read_text() == first


def test_unreadable_films_are_gathered_and_nothing_is_written(films, ckpt_path):
    for name in ("a", "b"):
        (films / f"{name}.png").write_bytes(b"no image")
    csv = films / "in.csv"
    csv.write_text("image\na.png\ndark.png\nb.png\n")
    with pytest.raises(ValueError, match=r"unreadable film \(2\): line 2 .*line 4"):
        course.pred_classifieur(films, csv, films / "preds.csv", ckpt_path)
    assert not (films / "preds.csv").exists()


def test_a_model_that_answers_with_nan_is_refused_and_nothing_is_written(films, ckpt_path):
    model, about = load_checkpoint(ckpt_path)
    model.layers[-1].bias.assign([np.nan])
    save_checkpoint(model, films / "diverged.keras", about)
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\nbright.png\n")
    with pytest.raises(ValueError, match=r"Received 2 of 2 .*logits\[0\], is nan"):
        course.pred_classifieur(films, csv, films / "preds.csv", films / "diverged.keras")
    assert not (films / "preds.csv").exists()


def test_other_files_are_no_checkpoints(films, ckpt_path, tmp_path):
    csv = films / "in.csv"
    csv.write_text("image\ndark.png\n")
    with pytest.raises(ValueError, match=r"Expected a checkpoint\. Received .*none\.keras"):
        course.pred_classifieur(films, csv, films / "preds.csv", tmp_path / "none.keras")
    with pytest.raises(
        ValueError, match=r"image size, threshold and class names\. Received .*in\.csv"
    ):
        course.pred_classifieur(films, csv, films / "preds.csv", csv)
    plain = tmp_path / "plain.keras"
    load_checkpoint(ckpt_path)[0].save(plain)
    with pytest.raises(
        ValueError, match=r"image size, threshold and class names\. Received .*plain"
    ):
        course.pred_classifieur(films, csv, films / "preds.csv", plain)
    with zipfile.ZipFile(plain, "a") as archive:
        archive.writestr("chest_xray_classifier.json", '{"image_size": 4}')
    with pytest.raises(ValueError, match=r"Received no \['classes', 'score', 'threshold'\]"):
        course.pred_classifieur(films, csv, films / "preds.csv", plain)


def test_english_names_are_the_same_functions():
    assert course.predict_classifier is course.pred_classifieur
    assert course.train_classifier is course.train_classifieur
