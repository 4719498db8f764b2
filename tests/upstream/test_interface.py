"""The folder for SubstraFL: complete, no more than needed, and free of this project."""

import ast
import re
import sys
from pathlib import Path

import pytest

NAME = "substrafl.algorithms.tensorflow"
ROOTS = {
    "weight_manager",
    "tf_base_algo",
    "tf_fed_avg_algo",
    "tf_fed_pca_algo",
    "tf_newton_raphson_algo",
    "tf_scaffold_algo",
    "tf_single_organization_algo",
}


def _imported(file):
    """Return the modules of the interface that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == NAME:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith(NAME):
            found.add(node.module.removeprefix(f"{NAME}."))
    return found


def test_modules_are_those_that_are_imported_and_no_others(interface):
    modules = {file.stem for file in interface.glob("*.py")} - {"__init__"}
    needed, waiting = set(), set(ROOTS)
    while waiting:
        module = waiting.pop()
        needed.add(module)
        waiting |= _imported(interface / f"{module}.py") - needed
    assert modules == needed
    assert modules > ROOTS


def test_the_door_exports_the_algorithms_and_their_base(interface):
    tree = ast.parse((interface / "__init__.py").read_text("utf-8"))
    names = {alias.name for node in tree.body if hasattr(node, "names") for alias in node.names}
    twins = {"FedAvg", "FedPCA", "NewtonRaphson", "Scaffold", "SingleOrganization", ""}
    assert names == {f"TF{twin}Algo" for twin in twins}


def test_nothing_written_names_this_package(written):
    for file in written.rglob("*"):
        if file.is_file():
            assert not re.search(r"\bhelpers\b[.\"'/]", file.read_text("utf-8")), file.name


def test_lines_are_as_long_as_substrafls(written):
    for file in (written / "substrafl").rglob("*.py"):
        assert [line for line in file.read_text("utf-8").splitlines() if len(line) > 120] == []


@pytest.fixture(scope="module")
def packages(written, tmp_path_factory, run):
    """Put the interface into a copy of the installed SubstraFL."""
    folder = tmp_path_factory.mktemp("packages")
    program = (
        "import sys; from pathlib import Path; from example import put_together;"
        "put_together(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    tool = Path(__file__).parents[2] / "docs" / "upstream"
    run(sys.executable, "-c", program, written / "substrafl", folder, cwd=folder, PYTHONPATH=tool)
    return folder


def test_federated_averaging_imports_no_options_and_every_module_can_be_imported(
    packages, interface, run
):
    options = {"batch_norm", "proximal", "privacy", "server_optimizers", "compression"}
    written = {file.stem for file in interface.glob("*.py")}
    assert written & options == {"batch_norm", "proximal"}  # those which a plain value chooses
    modules = [f"{NAME}.{name}" for name in sorted(written - {"__init__"})]
    program = f"""
import sys
import keras
from substrafl.index_generator import NpIndexGenerator
from {NAME} import TFFedAvgAlgo

class Dataset:
    def __init__(self, data_from_opener, is_inference): ...
    def __len__(self): ...
    def __getitem__(self, indices): ...

def make(**options):
    build = lambda: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    TFFedAvgAlgo(build, "mse", "sgd", NpIndexGenerator(1, 1), Dataset, **options)
    return {{name.rpartition(".")[2] for name in sys.modules}} & {options}

assert make() == set()
assert make(proximal_mu=1.0, batch_norm="local") == {{"batch_norm", "proximal"}}
import {", ".join(modules)}
assert "helpers" not in sys.modules
"""
    run(sys.executable, "-c", program, cwd=packages, PYTHONPATH=packages)


@pytest.mark.slow
def test_the_tests_written_with_it_pass(packages, written, run):
    tests = written / "substrafl" / "tests"
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tests)
    said = run(sys.executable, "-m", "pytest", *options, tests, cwd=tests, PYTHONPATH=packages)
    assert re.search(r"^\d+ passed", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("See :class:`~helpers.algorithms.TFAlgo`.", "See :class:`.TFAlgo`."),
        (":meth:`helpers.algorithms.TFAlgo.train`", ":meth:`.TFAlgo.train`"),
        ("``helpers.exchange.get_parameters()`` or", "``weight_manager.get_parameters()`` or"),
        ("``helpers.exchange.Int8()`` or", "``Int8()`` or"),
        ("in helpers.exchange.weights.", f"in {NAME}.weight_manager."),
        ('startswith("helpers.algorithms")', f'startswith("{NAME}")'),
        (":func:`helpers.models.start_from`.", "``start_from`` of federated-chest-xrays."),
        (
            "from helpers.exchange import set_parameters as put",
            f"from {NAME}.weight_manager import set_parameters as put",
        ),
        ("from helpers.exchange import weights", f"from {NAME} import weight_manager as weights"),
        ("    from helpers.algorithms import traces", f"    from {NAME} import traces"),
    ],
)
def test_imports_and_names_in_texts_follow(tool, monkeypatch, tmp_path, ours, theirs):
    interface = tool("interface")
    names = interface.name_modules()
    lines = ["def f():", ours] if ours.startswith(" ") else [ours]
    text = "\n".join(lines if "import" in ours else ['"""', ours, '"""'])
    (tmp_path / "module.py").write_text(text, "utf-8")
    find_source, parse = interface._source, interface._tree
    own = {"helpers.own": tmp_path / "module.py"}
    monkeypatch.setattr(interface, "_source", lambda name: own.get(name) or find_source(name))
    monkeypatch.setattr(
        interface, "_tree", lambda name: ast.parse(text) if name in own else parse(name)
    )
    assert theirs in interface.rewrite("helpers.own", names).splitlines()


def test_a_name_is_followed_through_the_doors_of_packages(tool):
    find = tool("interface").find
    assert find("helpers.exchange", "get_parameters") == (
        "helpers.exchange.weights",
        "get_parameters",
    )
    assert find("helpers", "exchange") == ("helpers.exchange", None)
    with pytest.raises(ValueError, match="to import nothing_such"):
        find("helpers.exchange", "nothing_such")


def test_imports_that_cannot_be_rewritten_are_refused(tool, monkeypatch):
    interface = tool("interface")
    for program in ("import helpers.exchange", "from . import weights"):
        monkeypatch.setattr(interface, "_tree", lambda module, text=program: ast.parse(text))
        with pytest.raises(ValueError, match=f"Received {program}"):
            interface.our_imports("helpers.exchange.weights")
