import ast
import string
from pathlib import Path

import pandas as pd
import pytest

import helpers.classifier.__main__ as command
from helpers.classifier import messages

OPTIONS = (
    *("--logdir", "--datadir", "--csv", "--weights_col", "--csv_out", "--train", "--ckpt"),
    *("--epochs", "--image_size"),
)


@pytest.fixture(autouse=True)
def _in_english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {option} " in text for option in OPTIONS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_the_two_commands(class_folders, tmp_path, capsys):
    data = ["--datadir", str(class_folders), "--csv", str(class_folders / "metadata.csv")]
    logdir, preds = str(tmp_path / "log"), tmp_path / "preds.csv"
    quick = ["--epochs", "1", "--image_size", "16"]
    command.main(
        ["--logdir", logdir, *data, *quick, "--weights_col", "WEIGHTS", "--csv_out", str(preds)]
    )
    first, said = pd.read_csv(preds), capsys.readouterr().out
    assert len(first) == 36
    ckpt = next(tmp_path.rglob("best.keras"))
    assert ckpt.parent.name.startswith("WEIGHTS-16px-1epochs-")
    assert f"checkpoint: {ckpt}" in said
    # One line for an epoch, and the scores of the splits apart: balanced accuracy by hand.
    assert said.count("epoch 1 of 1: loss") == 1
    for split, about in (("train", "films that the model was trained on"), ("valid", "validation")):
        films = first[first["split"] == split]
        ill = films["Finding Labels"] != "No Finding"
        right = (films["prediction"] == "malade") == ill
        score = (right[ill].mean() + right[~ill].mean()) / 2
        line = next(line for line in said.splitlines() if line.startswith(f"{len(films)} {about}"))
        assert line.endswith(f"balanced accuracy {score:.3f}")
    assert "other films" not in said
    preds.unlink()
    command.main([*data, "--csv_out", str(preds), "--train", "False", "--ckpt", str(ckpt)])
    pd.testing.assert_frame_equal(pd.read_csv(preds), first)
    # An earlier file of predictions is replaced, a film is not, and this is known before training.
    command.main([*data, "--csv_out", str(preds), "--ckpt", str(ckpt)])
    film = next(class_folders.rglob("*.png"))
    with pytest.raises(SystemExit, match=r"Expected csv_out to end in \.csv"):
        command.main(["--logdir", str(tmp_path / "no"), *data, "--csv_out", str(film)])
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--train"], "training needs --logdir"),
        (["--train", "False"], "predicting needs --ckpt and --csv_out"),
        (["--ckpt", "m.keras"], "predicting needs --ckpt and --csv_out"),
        (["--train", "True", "--ckpt", "m.keras"], "--ckpt is for predicting only"),
        (["--train", "maybe"], "expected True or False, received 'maybe'"),
        (["--epochs", "much"], "argument --epochs: invalid int value: 'much'"),
        (
            ["--ckpt", "m.keras", "--csv_out", "p.csv", "--epochs", "3"],
            "--epochs and --image_size are for training only",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--datadir", "films", "--csv", "metadata.csv", *options])
    assert told in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command.main(options)


def test_a_fault_ends_the_command_with_one_message(tmp_path):
    with pytest.raises(SystemExit, match=r"Expected csv to name a file"):
        command.main(["--logdir", "log", "--datadir", str(tmp_path), "--csv", "none.csv"])
    with pytest.raises(SystemExit, match=r"Expected epochs to be at least 1"):
        command.main(
            ["--logdir", "log", "--datadir", "films", "--csv", "none.csv", "--epochs", "0"]
        )


def test_an_interruption_says_how_to_go_on(monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "train_classifier", interrupt)
    with pytest.raises(SystemExit, match=r"The same command goes on from the last whole epoch"):
        command.main(["--logdir", "log", "--datadir", "films", "--csv", "metadata.csv"])


def test_the_command_speaks_french_where_the_user_does(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    assert "dossier des entraînements" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"Attendu : un fichier comme csv\. Reçu : 'none\.csv'"):
        command.main(["--logdir", "log", "--datadir", str(tmp_path), "--csv", "none.csv"])


@pytest.mark.parametrize(
    ("environment", "is_french"),
    [
        ({"LANG": "fr_FR.UTF-8"}, True),
        ({"LANG": "fr_CH"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({}, False),
        ({"LC_ALL": "C", "LANG": "fr_FR.UTF-8"}, False),
        ({"LC_ALL": "", "LANG": "fr_FR.UTF-8"}, True),
        ({"LC_MESSAGES": "fr_FR.UTF-8", "LANG": "de_DE"}, True),
        ({"LC_ALL": "fr_FR", "LC_MESSAGES": "C"}, True),
        ({"LC_MESSAGES": "C", "LANG": "fr_FR.UTF-8"}, False),
    ],
)
def test_the_language_is_that_of_the_environment(monkeypatch, environment, is_french):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert messages.say("checkpoint: {path}", path="x") == (
        "modèle : x" if is_french else "checkpoint: x"
    )


def _texts_of(tree):
    """Collect the texts that a module gives to `say`, also by a name or in a tuple."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str)}


def test_every_message_is_used_and_has_the_same_values_in_french():
    sources = [p for p in Path(messages.__file__).parent.glob("*.py") if p.stem != "messages"]
    trees = [ast.parse(path.read_text("utf-8")) for path in sources]
    used = set().union(*map(_texts_of, trees))
    assert set(messages.FRENCH) - used == set()
    said = {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "say"
        and isinstance(node.args[0], ast.Constant)
    }
    assert said - set(messages.FRENCH) == set()
    for english, french in messages.FRENCH.items():
        fields = [
            {(name, form) for _, name, form, _ in string.Formatter().parse(text) if name}
            for text in (english, french)
        ]
        assert fields[0] == fields[1], english
