"""What the tests of the site share: its own extensions, which are no package."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="session")
def load_from_docs():
    """Return a function that loads a file in ``docs`` as a module of its own."""

    def load(name):
        path = DOCS / f"{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
