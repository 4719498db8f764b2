"""The page of a deployed network: its file is read by Substra, its script runs in local mode."""

import re
from pathlib import Path

import pytest
import substra
import yaml
from substra.sdk.client import get_client_configuration

from helpers.local_mode import remove_local_files, run_tasks_fast

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "examples" / "deployment" / "substra.yaml"
PAGE = (ROOT / "docs" / "deployed.rst").read_text("utf-8")
NAMES = ["hospital-a", "hospital-b"]


def _read(name):
    values = get_client_configuration(config_file=CONFIGURATION, client_name=name, code_values={})
    return {key: (value.value, value.origin) for key, value in values.items()}


def test_substra_reads_the_file_and_takes_the_token_from_the_environment(monkeypatch):
    assert list(yaml.safe_load(CONFIGURATION.read_text("utf-8"))) == NAMES
    for name in NAMES:
        variable = f"SUBSTRA_{name.replace('-', '_').upper()}_TOKEN"
        assert _read(name)["token"] == (None, "default")
        monkeypatch.setenv(variable, "of the environment")
        read = _read(name)
        assert read["url"] == (f"https://substra.{name}.example", "config_file")
        assert read["backend_type"] == (substra.BackendType.REMOTE, "config_file")
        assert read["token"] == ("of the environment", "environment_variable")
        client = substra.Client(client_name=name, configuration_file=CONFIGURATION)
        assert client.backend_mode == substra.BackendType.REMOTE


def test_the_file_has_no_secret():
    assert not re.search(r"^\s*(token|password|username):", CONFIGURATION.read_text("utf-8"), re.M)


def _blocks():
    """Return the code of the page, block by block."""
    for block in re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE):
        yield "\n".join(line[3:] for line in block.splitlines())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_the_script_of_the_page_runs_with_the_variables_of_its_rehearsal(
    tmp_path, tiny_samples, monkeypatch
):
    rehearsal = re.search(r"Rehearse it\n.*?(?:   \$ export .*\n)+", PAGE, re.S)[0]
    for name, value in re.findall(r"(SUBSTRA_\w+)=(\S*)", rehearsal):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for name, splits in zip(NAMES, tiny_samples.values(), strict=False):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            (tmp_path / name / split).symlink_to(splits[split])
    script = {"__name__": "__main__"}
    for code in _blocks():
        code = code.replace('"/data/', f'"{tmp_path}/').replace("examples/", f"{ROOT}/examples/")
        exec(code.replace("small_cnn, IMAGE_SIZE", "small_cnn, 8, (4,)"), script)
        if "clients" in script and "taken" not in script:
            script["taken"] = run_tasks_fast(script["clients"])  # the page has no such line
    assert script["compute_plan"].task_count == 2 * 3 + 1 + 4
    assert (tmp_path / "federated_chest_xrays.keras").stat().st_size > 0
    remove_local_files(*script["clients"].values())
