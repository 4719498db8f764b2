"""The example: a notebook with outputs, and its assets, as Substra's documentation has them."""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nbclient
import nbformat
from interface import PACKAGE
from requirements import write_requirements

HERE = Path(__file__).resolve().parent
EXAMPLES = Path("docs", "source", "examples", "substrafl", "go_further")
ASSETS = "tensorflow_fedavg_assets"
NOTEBOOK = "run_pneumoniamnist_tensorflow"


def write_example(folder, interface, *, outputs=True):
    """Write the notebook and its assets.

    Parameters
    ----------
    folder, interface : pathlib.Path
        Where to write, and what :func:`write_interface` wrote.
    outputs : bool, default=True
        Whether to run the notebook.
    """
    examples = folder / EXAMPLES
    assets = examples / ASSETS
    shutil.copytree(HERE / ASSETS, assets, ignore=shutil.ignore_patterns("__pycache__"))
    path = examples / f"{NOTEBOOK}.ipynb"
    notebook = to_notebook((HERE / f"{NOTEBOOK}.py").read_text("utf-8"))
    nbformat.write(notebook, path)
    listed = assets / "requirements.txt"
    write_requirements(listed, examples, interface / PACKAGE, without={ASSETS})
    if outputs:
        run(notebook, assets, interface)
        nbformat.write(notebook, path)


def to_notebook(script):
    """Make a notebook from a script whose cells begin with ``# %%`` or ``# %% [markdown]``."""
    cells = []
    for number, part in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:]):
        kind, _, body = part.partition("\n")
        if "markdown" in kind:
            text = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
            cell = nbformat.v4.new_markdown_cell(text)
        else:
            cell = nbformat.v4.new_code_cell(body.strip())
        cell.id = f"cell-{number}"
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def run(notebook, assets, interface):
    """Run a notebook beside its assets, with an installed SubstraFL that has the interface."""
    with tempfile.TemporaryDirectory() as work:
        put_together(interface, Path(work, "packages"))
        shutil.copytree(assets, Path(work, "notebook", ASSETS))
        own = {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(Path(work, "packages"))}
        if named := os.environ.get("PNEUMONIAMNIST"):  # it runs in another folder
            own["PNEUMONIAMNIST"] = str(Path(named).expanduser().absolute())
        resources = {"metadata": {"path": str(Path(work, "notebook"))}}
        client = nbclient.NotebookClient(notebook, timeout=1800, resources=resources)
        # A backend that the Makefile or a user chose for scripts would keep figures out of it.
        inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        client.execute(env=inherited | own, stderr=subprocess.DEVNULL)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran: another time each time
        if cell.cell_type == "code":  # progress bars, and what libraries say of this machine
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]


def put_together(interface, folder):
    """Copy the installed SubstraFL to a folder and add the interface, to be put on the path."""
    package = Path(importlib.util.find_spec("substrafl").origin).parent
    shutil.copytree(package, folder / "substrafl")
    shutil.copytree(interface / PACKAGE, folder / PACKAGE)
