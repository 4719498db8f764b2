"""Refuse answers that would give a project that cannot run."""

import re
import sys
from pathlib import Path

HOSPITALS = ({{cookiecutter.first_hospital | jsonify}}, {{cookiecutter.second_hospital | jsonify}})
IMAGE_SIZE = {{cookiecutter.image_size | jsonify}}
SOURCE = {{cookiecutter.source | jsonify}}

if len({*HOSPITALS}) < 2 or not all(re.fullmatch(r"\w[\w -]*", name) for name in HOSPITALS):
    sys.exit(
        "Expected two different names of hospitals, of letters, digits, spaces and hyphens. "
        f"Received {HOSPITALS[0]!r} and {HOSPITALS[1]!r}."
    )
if not (IMAGE_SIZE.isdecimal() and 32 <= int(IMAGE_SIZE) <= 1024):
    sys.exit(f"Expected image_size as a whole number from 32 to 1024. Received {IMAGE_SIZE!r}.")
if not (SOURCE.startswith("git+") or (Path(SOURCE).is_absolute() and Path(SOURCE).is_dir())):
    sys.exit(
        "Expected source as the whole path of the folder of federated-chest-xrays, or as "
        f"git+https://…. Received {SOURCE!r}."
    )
