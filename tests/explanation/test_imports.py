import subprocess
import sys
from pathlib import Path


def test_the_package_is_imported_without_xplique_and_shap():
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('xplique', 'shap', 'cv2', 'skimage'))\n"  # not installed
        "import helpers.explanation\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
