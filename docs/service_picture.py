"""Picture of the service's page: ``python docs/service_picture.py MODEL_FOLDER``.

A synthetic film is given to the service in Chromium, with its map, and the window is kept as
``docs/_static/service.png``. It needs what ``make check-site`` needs.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from helpers.data.synthetic import render_film
from helpers.phantom.population import draw_films

DOCS = Path(__file__).resolve().parent
PICTURE = DOCS / "_static" / "service.png"


def main(folder):
    """Start the service, use its page, and keep the window."""
    command = [sys.executable, "-m", "helpers.serve", folder, "--port", "0", "--seconds", "200"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    found = next(filter(None, (re.search(r"running on (\S+)", line) for line in service.stderr)))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            film = Path(scratch, "film.png")
            Image.fromarray(render_film(draw_films(3, 0)[1], 256, 0)).save(film)
            script = DOCS / "site_check" / "service.mjs"
            subprocess.run(
                ["node", script, found[1], film, "--maps", "--picture", PICTURE], check=True
            )
        # Few colours: it is a small file.
        Image.open(PICTURE).convert("RGB").quantize(128).save(PICTURE, optimize=True)
    finally:
        service.terminate()
        service.communicate()


if __name__ == "__main__":
    main(sys.argv[1])
