import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

from helpers.explanation.attribution import INSTALL

ROOT = Path(__file__).parents[2]


def _names(requirements):
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


def test_the_way_to_install_xplique_names_all_that_it_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = _names(one for one in requires("xplique") if "extra ==" not in one)
    # It draws without a screen, and does not import its formatter.
    needed = needed - {"opencv-python", "ruff"} | {"opencv-python-headless"}
    for name in needed - _names(project["dependencies"]):
        assert name in INSTALL["xplique"]


def test_the_package_is_imported_without_xplique_and_shap():
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('xplique', 'shap', 'cv2', 'skimage'))\n"  # not installed
        "import helpers.explanation\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
