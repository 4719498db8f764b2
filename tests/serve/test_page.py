"""The page of the service in Chromium: a film is chosen, dropped, refused, and all is readable."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.serve.conftest import encode

CHECK = Path(__file__).parents[2] / "docs" / "site_check"


@pytest.mark.slow
def test_a_film_is_dropped_and_its_probability_appears(server, tmp_path, rng):
    browsers = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    browser = next(filter(None, browsers), None)
    if not (shutil.which("node") and browser and (CHECK / "node_modules").is_dir()):
        pytest.skip("Needs Node, Chromium, and the packages that 'make check-site' installs.")
    film = encode(rng.integers(0, 256, (80, 80), dtype=np.uint8))
    (tmp_path / "film.png").write_bytes(film)
    ended = subprocess.run(
        ["node", CHECK / "service.mjs", server.url, tmp_path / "film.png"],
        capture_output=True,
        text=True,
        check=False,
        env={"CHROMIUM": browser, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    (said,) = server.post_films("/predict", film)[1]["predictions"]
    values = [round(100 * said[key]) for key in ("probability", "low", "high")]
    expected = (
        "Probability of any finding: {}\u00a0%, calibrated; 95 % band {}\u00a0% to {}\u00a0%."
    )
    assert told["chosen"] == told["dropped"] == expected.format(*values)
    assert "notes.txt" in told["refused"]
    assert told["violations"] == []
    assert max(told["widths"]) <= 0
    assert told["hosts"] == [f"{server.host}:{server.port}"]
    # The browser itself notes that one request was refused; nothing else.
    assert [text for text in told["console"] if "415" not in text] == []
