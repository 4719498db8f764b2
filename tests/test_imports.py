import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "names",
    [
        "helpers, helpers.data, helpers.openers, helpers.exchange",
        "helpers.data.hospitals, helpers.data.samples, helpers.openers.chest_xray_opener",
        "helpers.evaluation, helpers.fairness",
        "helpers.export",
    ],
)
def test_data_openers_and_exchange_do_without_tensorflow(names):
    # Tasks that only average arrays must not pay for TensorFlow's import of several seconds.
    code = (
        f"import sys, {names}\n"
        "heavy = {'tensorflow', 'keras', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
