"""Settings: what is wrong is refused by name, with the choices."""

import re
from pathlib import Path

import pytest

pytest.importorskip("hydra")

from helpers.run import compose_settings, list_sweep
from helpers.run.settings import CONF

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("round=3", r"one of the settings .*'rounds'.* Received 'round'"),
        ("+round=3", r"one of the settings .*'rounds'.* Received 'round'"),
        ("algorithm.mu=1", r"\['batch_norm',.* 'proximal_mu',.*\]. Received 'algorithm.mu'"),
        ("hospitals.n=1", r"\['alpha', 'by', 'first', 'number'\]. Received 'hospitals.n'"),
        ("strategy=fedprox", r"strategy/fedprox.* one of \['cyclic', .*'fed_prox', .*\]"),
        ("+page=none", r"page/none.* one of \[.*'federated_chest_xrays'.*\]"),
        ("rounds=many", "rounds: Value 'many' .* could not be converted to Integer"),
        ("rounds=null", "rounds: Incompatible value 'None' for field of type 'int'"),
        ("tracking=maybe", "tracking: Value 'maybe' is not a valid bool"),
        ("rounds=1,2", "rounds=1,2.*--multirun"),
        ("rounds", "Error parsing override 'rounds'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_with_the_choices(override, told):
    with pytest.raises(ValueError, match=re.compile(told, re.DOTALL)):
        compose_settings([override])


@pytest.mark.parametrize("strategy", [path.stem for path in (CONF / "strategy").iterdir()])
def test_a_strategy_brings_its_algorithm(strategy):
    settings = compose_settings([f"strategy={strategy}"])
    assert settings.algorithm["_target_"].startswith("helpers.algorithms.TF")
    assert settings.strategy_name.lower().startswith(strategy.replace("_", ""))


@pytest.mark.parametrize("page", [path.stem for path in (CONF / "page").iterdir()])
def test_a_page_has_the_settings_of_its_script(page):
    (script,) = EXAMPLES.glob(f"plot_??_{page}.py")
    text, settings = script.read_text("utf-8"), compose_settings([f"+page={page}"])
    assert settings.name == page

    def says(pattern):
        return re.search(pattern, text) is not None

    assert says(rf"IMAGE_SIZE(, SEED)? = {settings.image_size}\b")
    assert says(rf"(N_ROUNDS.*=|max_rounds=)\s*{settings.rounds}\b")
    assert says(rf"(N_UPDATES|num_updates|N_STEPS.*)\s*=.*\b{settings.updates}\b")
    rates = {f"{settings.optimizer.learning_rate:g}", f"{settings.optimizer.learning_rate:.0e}"}
    rates |= {rate.replace("e-0", "e-") for rate in rates}
    assert any(says(rf"(Adam\(|RATE = .*|learning_rate=){re.escape(rate)}") for rate in rates)


def test_a_sweep_lists_every_combination_with_a_folder_each():
    runs = list_sweep(["rounds=3", "seed=range(0,2)", "strategy=fed_avg,fed_prox", "folder=a b"])
    found = {
        (settings.seed, settings.rounds, settings.strategy_name, settings.folder)
        for settings in map(compose_settings, runs)
    }
    assert found == {
        (seed, 3, name, f"a b/seed={seed},strategy={key}")
        for seed in (0, 1)
        for key, name in (("fed_avg", "FedAvg"), ("fed_prox", "FedProx"))
    }
    assert list_sweep(["rounds=3"]) == [["rounds=3"]]
    with pytest.raises(ValueError, match="Error parsing override 'rounds'"):
        list_sweep(["rounds"])
