"""The command: it says what can be chosen, and ends with one message where something is wrong."""

import pytest

pytest.importorskip("hydra")

from helpers.run.__main__ import main
from helpers.run.settings import CONF

FEW = [
    "data=synthetic",
    "data.source.n_films=250",
    "data.source.size=32",
    "image_size=32",
    "hospitals.number=2",
]


def test_help_lists_the_choices(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(path.stem in text for path in CONF.glob("*/*.yaml"))


def test_settings_are_shown_and_nothing_runs(capsys):
    main(["strategy=fed_prox", "--cfg", "job", "seed=3"])
    text = capsys.readouterr().out
    assert "proximal_mu: 0.01" in text
    assert "seed: 3" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["round=3"], "Received 'round'"),
        (["-m", "seed=0,1", "strategy=fed_avg,fedprox"], "fedprox.*fed_prox"),
        (["samples=nowhere"], "Expected samples as a folder with HOSPITAL/SPLIT"),
        (["hospitals.by=luck", *FEW], r"Expected by to be one of \['hospital'"),
        (
            ["strategy=fed_prox", "algorithm.proximal_mu=-1", "hospitals.by=iid", *FEW],
            "Expected proximal_mu of 0 or",
        ),
        (["data.source=nowhere"], "nowhere"),
    ],
)
def test_a_fault_ends_the_command_with_one_message(words, told):
    with pytest.raises(SystemExit, match=told):
        main(words)
