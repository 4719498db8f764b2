"""Type hints: every public function and method says what it takes and returns."""

import importlib
import inspect
import pkgutil
import typing

import pytest

import helpers

MODULES = [
    importlib.import_module(info.name)
    for info in pkgutil.walk_packages(helpers.__path__, "helpers.")
]


def _is_public(name):
    """Tell whether a name is for users, or one that Python itself calls."""
    return name[0] != "_" or name.endswith("__")


def _written_functions(namespace, module):
    """List the public functions and methods that are written in a module, under their names."""
    found = {}
    for name, value in vars(namespace).items():
        if isinstance(value, classmethod | staticmethod | property):
            value = getattr(value, "__func__", None) or value.fget
        value = inspect.unwrap(value) if callable(value) else value
        if not _is_public(name) or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) and namespace is module:
            methods = _written_functions(value, module)
            found |= {f"{name}.{method}": function for method, function in methods.items()}
        elif inspect.isfunction(value) and value.__code__.co_filename == module.__file__:
            found[name] = value  # and not one that a dataclass or a named tuple was given
    return found


FUNCTIONS = {
    f"{module.__name__}.{name}": function
    for module in MODULES
    for name, function in _written_functions(module, module).items()
}


def test_functions_methods_and_properties_of_every_subpackage_are_looked_at():
    assert {name.split(".")[1] for name in FUNCTIONS} == {
        info.name for info in pkgutil.iter_modules(helpers.__path__)
    }
    assert {
        "helpers.algorithms.tf_algo.TFAlgo.__init__",  # decorated
        "helpers.algorithms.tf_algo.TFAlgo.model",  # a property
        "helpers.algorithms.tf_fed_avg_algo.TFFedAvgAlgo.train",
        "helpers.algorithms.batch_norm.BatchNorm.read",  # of the class
        "helpers.local_mode.store.TaskStore.run_folder",
        "helpers.results.tidy_scores",
    } <= set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_and_results_have_hints_that_can_be_looked_up(name):
    function = FUNCTIONS[name]
    hints = typing.get_type_hints(function)
    parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
    assert set(hints) == {*parameters, "return"}
