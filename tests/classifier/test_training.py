import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from keras import layers
from PIL import Image

from helpers import classifier
from helpers.classifier import training
from helpers.classifier.callbacks import FilmBatches
from helpers.classifier.checkpoint import load_checkpoint, read_description
from helpers.data import ChestXrayDataset, WeightedChestXrayDataset, text_files
from helpers.evaluation import balanced_accuracy

# Keras 3.15 writes its variables by a protocol that NumPy 2 wants otherwise.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),
]
QUICK = {"epochs": 3, "batch_size": 8, "image_size": 16}


def _build_line(size, scale=1.0):
    """Build one layer and dropout, which train in no time; with a scale of 0 it sees nothing."""
    film = keras.Input((size, size, 1))
    x = layers.Dropout(0.1)(layers.Flatten()(layers.Rescaling(scale)(film)))
    return keras.Model(film, layers.Dense(1)(x))


@pytest.fixture(autouse=True)
def _one_layer(request, monkeypatch):
    """Train one layer, except where the films are real."""
    if "nih_sample" not in request.fixturenames:
        monkeypatch.setattr(training, "build_cnn", _build_line)


def _train(class_folders, logdir, **choices):
    csv = choices.pop("csv", class_folders / "metadata.csv")
    return training.train_classifier(logdir, class_folders, csv, **(QUICK | choices))


def test_training_returns_the_best_epoch_s_model_and_its_score(class_folders, tmp_path, capsys):
    path, score = _train(class_folders, tmp_path, learning_rate=0.02, epochs=6)
    model, description = load_checkpoint(path)
    assert description["classes"] == ["sain", "malade"]
    assert description["image_size"] == 16
    assert description["score"] == score > 0.5
    # The score can be had from the checkpoint alone, and Keras opens it as any model.
    classifier.predict_classifier(
        class_folders, class_folders / "metadata.csv", tmp_path / "preds.csv", path
    )
    preds = pd.read_csv(tmp_path / "preds.csv").iloc[24:]
    labels = (preds["Finding Labels"] != "No Finding").to_numpy().astype(int)
    logits = np.log(preds["probability"] / (1 - preds["probability"]))
    assert balanced_accuracy({"labels": labels}, logits) == pytest.approx(score)
    weights = keras.models.load_model(path).get_weights()
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))
    # Logs for TensorBoard; no backup is left; outside a terminal an epoch is one line.
    assert {file.parent.name for file in path.parent.rglob("events.*")} == {"train", "validation"}
    assert not (path.parent / "backup").exists()
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch ") for line in said) == 6
    assert "━" not in "".join(said)


class _Stop(Exception):
    pass


def test_an_interrupted_training_goes_on_to_the_same_weights(class_folders, tmp_path, monkeypatch):
    """The last epoch's weights are bit for bit those of a training without a pause."""
    last, epochs = {}, []

    class Watch(training.SeedEpochs):
        stop_in = None

        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            epochs.append(epoch)

        def on_train_batch_end(self, batch, logs=None):
            if epochs[-1] == self.stop_in and batch == 1:
                raise _Stop

        def on_train_end(self, logs=None):
            last[len(last)] = self.model.get_weights()

    monkeypatch.setattr(training, "SeedEpochs", Watch)
    whole = _train(class_folders, tmp_path / "whole", epochs=4)
    Watch.stop_in = 2
    with pytest.raises(_Stop):
        _train(class_folders, tmp_path / "paused", epochs=4)
    Watch.stop_in = None
    paused = _train(class_folders, tmp_path / "paused", epochs=4)
    assert epochs == [0, 1, 2, 3] + [0, 1, 2] + [2, 3]
    assert all((a == b).all() for a, b in zip(last[0], last[1], strict=True))
    assert paused[1] == whole[1]
    assert read_description(paused[0]) == read_description(whole[0])


def test_weights_enter_the_loss_as_keras_sample_weight(rng):
    images = rng.integers(0, 256, (10, 4, 4, 1), dtype=np.uint8)
    labels, weights = np.arange(10) % 2, rng.uniform(0, 3, 10).astype(np.float32)
    data = {"images": images, "labels": labels}
    dataset = ChestXrayDataset(data, is_inference=False)

    def weigh(weights):
        weighted = data | {"metadata": pd.DataFrame({"weight": weights})}
        return WeightedChestXrayDataset(weighted, is_inference=False)

    def train(weights, *, by_keras):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(1)])
        model.compile(
            optimizer=keras.optimizers.SGD(0.1),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
        )
        if by_keras:
            x, y = dataset[np.arange(10)]
            model.fit(x, y, sample_weight=weights, batch_size=10, epochs=3, verbose=0)
        else:
            own = dataset if weights is None else weigh(weights)
            batches = FilmBatches(own, batch_size=10, seed=0)
            model.fit(batches, epochs=3, verbose=0)
        return model.get_weights()[0]

    ours = train(weights, by_keras=False)
    np.testing.assert_allclose(ours, train(weights, by_keras=True), atol=1e-6)
    assert np.abs(ours - train(None, by_keras=False)).max() > 1e-3


def test_batches_hold_every_film_once_in_an_order_of_seed_and_epoch(data_of):
    batches = FilmBatches(data_of(10, weights=np.arange(10.0)), batch_size=4, seed=3)

    def films(epoch):
        batches.start_epoch(epoch)
        return np.concatenate([batches[number][2] for number in range(len(batches))])

    assert len(batches) == 3
    assert sorted(films(0)) == list(range(10))
    assert (films(1) != films(0)).any()
    assert (films(1) == films(1)).all()


@pytest.fixture
def data_of():
    def make(n_films, weights):
        data = {
            "images": np.zeros((n_films, 2, 2, 1), np.uint8),
            "labels": np.arange(n_films) % 2,
            "metadata": pd.DataFrame({"weight": weights}),
        }
        return WeightedChestXrayDataset(data, is_inference=False)

    return make


def test_a_weights_column_changes_the_run_and_its_name(class_folders, tmp_path):
    plain, _ = _train(class_folders, tmp_path, epochs=1)
    weighted, _ = _train(class_folders, tmp_path, epochs=1, weights_col="WEIGHTS")
    assert plain.parent.name.startswith("unweighted-16px-1epochs-")
    assert weighted.parent.name.startswith("WEIGHTS-16px-1epochs-")
    pairs = zip(
        load_checkpoint(plain)[0].weights, load_checkpoint(weighted)[0].weights, strict=True
    )
    assert any((np.array(a.numpy()) != b.numpy()).any() for a, b in pairs)


def test_patients_do_not_validate_what_they_train(class_folders, table, write, tmp_path, capsys):
    table.loc[[24, 25], "Patient ID"] = "train0"
    source = tmp_path / "films"
    shutil.copytree(class_folders, source)
    csv = write(table, "films/metadata.csv")
    _train(source, tmp_path / "log", csv=csv, epochs=1)
    assert (
        "Validation films of patients who are trained on, left out: 2." in capsys.readouterr().out
    )


def test_without_valid_a_part_of_the_patients_validates(class_folders, table, tmp_path, capsys):
    source = tmp_path / "films"
    shutil.copytree(class_folders / "train", source / "train")
    csv = source / "metadata.csv"
    table.iloc[:22].to_csv(csv, index=False)
    _, score = _train(source, tmp_path / "log", csv=csv, epochs=1)
    assert 0 <= score <= 1
    assert "film without a row in metadata.csv left out (2)" in capsys.readouterr().out


def test_films_without_patients_are_a_patient_each(class_folders, table, tmp_path, capsys):
    source = tmp_path / "films"
    shutil.copytree(class_folders, source)
    csv = source / "metadata.csv"
    table.drop(columns="Patient ID").to_csv(csv, index=False)
    _train(source, tmp_path / "log", csv=csv, epochs=1)
    assert "Films without a patient number count as a patient each." in capsys.readouterr().out


def test_faulty_rows_and_weights_are_gathered(class_folders, table, write, tmp_path):
    table.loc[3, "WEIGHTS"] = "-1"
    table.loc[4, "WEIGHTS"] = "much"
    table.loc[5, "Image Index"] = table.loc[6, "Image Index"]
    with pytest.raises(ValueError, match=r"Expected one row without faults for each film") as told:
        _train(class_folders, tmp_path, csv=write(table), weights_col="WEIGHTS")
    for line in (
        "WEIGHTS that is not a number of 0 or more (2): train/sain/train_03.png, "
        "train/malade/train_04.png",
        "rows about one image that contradict each other (1): train/sain/train_06.png",
    ):
        assert line in str(told.value)


def test_weights_that_are_all_zero_are_refused(class_folders, table, write, tmp_path):
    with pytest.raises(ValueError, match=r"WEIGHTS that is 0 in every row \(36\)"):
        _train(class_folders, tmp_path, csv=write(table.assign(WEIGHTS=0)), weights_col="WEIGHTS")


def test_an_unknown_weights_column_is_refused(class_folders, tmp_path):
    with pytest.raises(ValueError, match=r"Expected the columns \['W'\] in 'metadata\.csv'\. Rec"):
        _train(class_folders, tmp_path, weights_col="W")


def test_a_missing_class_is_refused(class_folders, table, write, tmp_path):
    healthy = table[table["Finding Labels"] == "No Finding"]
    with pytest.raises(ValueError, match=r"train: 12 / 0; valid: 6 / 0"):
        _train(class_folders, tmp_path, csv=write(healthy))


def test_a_classifier_has_one_label(class_folders, tmp_path):
    with pytest.raises(ValueError, match="labels of one finding"):
        _train(class_folders, tmp_path, task="Effusion, Edema")


def test_another_layout_is_refused(tmp_path, class_folders, table):
    source = tmp_path / "nih"
    (source / "images").mkdir(parents=True)
    for film in (class_folders / "train").rglob("*.png"):
        shutil.copy(film, source / "images")
    csv = source / "Data_Entry_2017.csv"
    table.iloc[:24].to_csv(csv, index=False)
    with pytest.raises(ValueError, match=r"Expected class folders in .*nih'.* Received none"):
        _train(source, tmp_path / "log", csv=csv)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"seed": -1}])
def test_numbers_that_are_too_small_are_refused(class_folders, tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"Expected {next(iter(wrong))} to be at least"):
        _train(class_folders, tmp_path, **wrong)


def test_a_worse_model_never_replaces_a_better_one(class_folders, tmp_path, monkeypatch):
    """Runs of other lengths are apart, and so is the same run repeated after its end."""
    long, score = _train(class_folders, tmp_path, learning_rate=0.02, epochs=6)
    assert score > 0.5
    kept = long.read_bytes()
    short, _ = _train(class_folders, tmp_path, learning_rate=0.02, epochs=1)
    assert short.parent != long.parent
    monkeypatch.setattr(training, "build_cnn", lambda size: _build_line(size, 0.0))
    assert _train(class_folders, tmp_path, learning_rate=0.02, epochs=6) == (long, score)
    assert long.read_bytes() == kept


def test_a_second_training_of_a_run_is_refused_while_the_first_lasts(class_folders, tmp_path):
    path, _ = _train(class_folders, tmp_path, epochs=1)
    with (
        FileLock(path.with_name("training.lock")),
        pytest.raises(ValueError, match=r"one training of a run at a time\. Received a second"),
    ):
        _train(class_folders, tmp_path, epochs=1)
    _train(class_folders, tmp_path, epochs=1)


def test_a_training_that_diverges_ends_with_an_error(class_folders, tmp_path):
    with pytest.raises(ValueError, match=r"the training diverged|training that diverged"):
        _train(class_folders, tmp_path, learning_rate=1e38)
    assert not list(tmp_path.rglob("*.keras"))


def test_the_csv_is_read_once(class_folders, tmp_path, monkeypatch):
    read, read_text = [], text_files.read_text
    monkeypatch.setattr(
        text_files, "read_text", lambda path, *a, **k: read.append(path) or read_text(path, *a, **k)
    )
    _train(class_folders, tmp_path, epochs=1, weights_col="WEIGHTS")
    assert read == [class_folders / "metadata.csv"]


def test_16_bit_films_are_read_with_one_white_level(tmp_path):
    """The darker films would be the brighter ones if each were scaled by its own maximum."""
    rows, rng = ["Image Index,Finding Labels,Patient ID"], np.random.default_rng(0)
    for number in range(24):
        ill, split = number % 2, "valid" if number < 8 else "train"
        path = tmp_path / "films" / split / ("malade" if ill else "sain") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = 40_000 if ill else 4000
        Image.fromarray(rng.integers(level - 900, level, (8, 8), dtype=np.uint16)).save(path)
        rows.append(f"{path.name},{'Edema' if ill else 'No Finding'},{number}")
    csv = tmp_path / "films" / "metadata.csv"
    csv.write_text("\n".join(rows))
    path, score = _train(csv.parent, tmp_path / "log", learning_rate=0.05, epochs=12)
    model, description = load_checkpoint(path)
    assert description["full"] == 65535
    assert score == 1
    darker, brighter = (np.full((1, 16, 16, 1), grey / 65535) for grey in (4000, 40_000))
    assert model(darker) < 0 < model(brighter)
    scores = classifier.predict_classifier(csv.parent, csv, tmp_path / "preds.csv", path)
    assert scores["balanced_accuracy"][:2].tolist() == [1, 1]


def test_an_unreadable_film_is_named_before_training(class_folders, table, tmp_path):
    source = tmp_path / "films"
    shutil.copytree(class_folders, source)
    (source / "train" / "sain" / "train_02.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"unreadable image \(1\): train/sain/train_02\.png"):
        _train(source, tmp_path / "log", csv=source / "metadata.csv")


def test_real_films_in_class_folders(nih_sample, tmp_path):
    """The course's command with its defaults, on a fifth of the patients for validation."""
    source = tmp_path / "films"
    table = pd.read_csv(nih_sample / "Data_Entry_2017.csv", index_col=False)
    patients = np.sort(table["Patient ID"].unique())
    np.random.default_rng(0).shuffle(patients)
    for row in table.itertuples():
        split = "valid" if row[4] in set(patients[: len(patients) // 5]) else "train"
        folder = source / split / ("sain" if row[2] == "No Finding" else "malade")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(nih_sample / "images" / row[1], folder)
    csv = shutil.copy(nih_sample / "Data_Entry_2017.csv", source / "metadata.csv")
    _, score = training.train_classifier(tmp_path / "log", source, csv)
    assert score > 0.7
