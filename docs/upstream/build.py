"""Write what can be contributed to SubstraFL and to Substra's documentation.

``python docs/upstream/build.py`` fills ``docs/_build/upstream`` with two folders. Each lies over a
checkout of the repository whose name it has:

- ``substrafl``: the algorithms as ``substrafl/algorithms/tensorflow``, and their tests;
- ``substra-documentation``: a notebook with its outputs, and its assets.

No list of files is kept here. The modules follow from what the algorithms import, the requirements
from what the written files import.
"""

import argparse
import os
import shutil
from pathlib import Path

from example import write_example
from interface import ROOT, write_interface


def build(folder, *, outputs=True):
    """Write both folders anew.

    Parameters
    ----------
    folder : pathlib.Path
        Where to write; what an earlier run left there is removed.
    outputs : bool, default=True
        Whether to run the notebook, which takes minutes.
    """
    for name in ("substrafl", "substra-documentation"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_interface(folder / "substrafl")
    write_example(folder / "substra-documentation", folder / "substrafl", outputs=outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-outputs", action="store_true", help="do not run the notebook")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs/_build/upstream")
    arguments = parser.parse_args()
    build(arguments.folder, outputs=not arguments.no_outputs)
    print(f"What can be contributed is ready: {os.path.relpath(arguments.folder)}")
