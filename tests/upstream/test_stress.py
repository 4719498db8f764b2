"""What is written works where nothing of this project is: in a new environment, as its readers'."""

import re

import nbformat
import pytest

pytestmark = [pytest.mark.stress, pytest.mark.timeout(2400)]


def _outputs(path):
    """Return the text of all outputs of a notebook, and how many figures there are."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    text = "".join(out.text for out in outputs if out.get("name") == "stdout")
    return text, sum("image/png" in out.get("data", {}) for out in outputs)


def _check_results(path):
    text, n_figures = _outputs(path)
    assert "Tasks in the compute plan: 21\n" in text
    assert "ComputePlanStatus.done" in text
    assert n_figures == 1
    scores = re.findall(r"(\d+)\s+ROC AUC\s+(\d\.\d+)", text)
    last = [float(score) for number, score in scores if number == "3"]
    assert len(last) == 2
    assert min(last) > 0.85


def test_the_tests_pass_beside_substrafl_from_the_registry(new_python, written, run):
    tests = written / "substrafl" / "tests"
    said = run(new_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tests)
    assert re.search(r"^\d+ passed", said, re.MULTILINE)
    listed = run(new_python, "-m", "pip", "list", cwd=tests)
    assert "federated-chest-xrays" not in listed


def test_the_notebook_runs_with_its_assets_alone(executed):
    _check_results(executed)


def test_sphinx_renders_the_notebook_as_substras_documentation(executed, new_python, run, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / executed.name).write_bytes(executed.read_bytes())
    extensions = ["nbsphinx", "sphinx_rtd_theme", "myst_parser", "sphinx_copybutton"]
    settings = f"extensions = {extensions}\nhtml_theme = 'sphinx_rtd_theme'\n"
    (source / "conf.py").write_text(f"{settings}nbsphinx_execute = 'never'\n", "utf-8")
    title = "Examples\n========\n\n"
    toctree = f".. toctree::\n\n   {executed.name}\n"
    (source / "index.rst").write_text(title + toctree, "utf-8")
    program = (
        "import os, pypandoc, sys; from sphinx.cmd.build import main;"
        "folder = os.path.dirname(pypandoc.get_pandoc_path());"
        "os.environ['PATH'] = folder + os.pathsep + os.environ['PATH'];"
        "sys.exit(main(['-W', '--keep-going', '-n', 'source', 'html']))"
    )
    run(new_python, "-c", program, cwd=tmp_path)
    page = (tmp_path / "html" / executed.stem).with_suffix(".html").read_text("utf-8")
    assert "ComputePlanStatus.done" in page
    assert page.count(".png") >= 1


def test_make_upstream_writes_the_notebook_with_its_outputs(build, pneumoniamnist_file, tmp_path):
    build(tmp_path, PNEUMONIAMNIST=pneumoniamnist_file, MPLBACKEND="Agg")  # as `make` sets it
    (path,) = tmp_path.rglob("*.ipynb")
    _check_results(path)
    content = path.read_text("utf-8")
    assert '"name": "stderr"' not in content
    assert str(tmp_path.parent) not in content
