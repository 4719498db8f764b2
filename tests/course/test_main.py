import functools

import pandas as pd
import pytest

import helpers.course.__main__ as command
from helpers.course import train_classifieur

OPTIONS = ("--logdir", "--datadir", "--csv", "--weights_col", "--csv_out", "--train", "--ckpt")


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {option} " in text for option in OPTIONS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_the_courses_two_commands(class_folders, tmp_path, monkeypatch, capsys):
    quick = functools.partial(train_classifieur, epochs=1, image_size=16)
    monkeypatch.setattr(command, "train_classifieur", quick)
    data = ["--datadir", str(class_folders), "--csv", str(class_folders / "metadata.csv")]
    logdir, preds = str(tmp_path / "log"), tmp_path / "preds.csv"
    command.main(["--logdir", logdir, *data, "--weights_col", "WEIGHTS", "--csv_out", str(preds)])
    first = pd.read_csv(preds)
    assert len(first) == 36
    ckpt = next(tmp_path.rglob("best.keras"))
    assert f"checkpoint: {ckpt}" in capsys.readouterr().out
    preds.unlink()
    command.main([*data, "--csv_out", str(preds), "--train", "False", "--ckpt", str(ckpt)])
    pd.testing.assert_frame_equal(pd.read_csv(preds), first)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--train"], "training needs --logdir"),
        (["--train", "False"], "predicting needs --ckpt and --csv_out"),
        (["--ckpt", "m.keras"], "predicting needs --ckpt and --csv_out"),
        (["--train", "True", "--ckpt", "m.keras"], "--ckpt is for predicting only"),
        (["--train", "maybe"], "expected True or False, received 'maybe'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--datadir", "films", "--csv", "metadata.csv", *options])
    assert told in capsys.readouterr().err


def test_a_fault_ends_the_command_with_one_message(tmp_path):
    with pytest.raises(SystemExit, match=r"Expected csv to name a file"):
        command.main(["--logdir", "log", "--datadir", str(tmp_path), "--csv", "none.csv"])


def test_an_interruption_says_how_to_go_on(monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "train_classifieur", interrupt)
    with pytest.raises(SystemExit, match=r"The same command goes on from the last whole epoch"):
        command.main(["--logdir", "log", "--datadir", "films", "--csv", "metadata.csv"])
