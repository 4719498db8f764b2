"""Type hints: every public function of these subpackages says what it takes and returns."""

import importlib
import inspect
import pkgutil
import typing

import pytest

import helpers.data
import helpers.evaluation
import helpers.fairness

FUNCTIONS = {
    f"{module.__name__}.{name}": value
    for package in (helpers.data, helpers.evaluation, helpers.fairness)
    for info in pkgutil.iter_modules(package.__path__)
    for module in [importlib.import_module(f"{package.__name__}.{info.name}")]
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_and_results_have_hints_that_can_be_looked_up(name):
    function = FUNCTIONS[name]
    hints = typing.get_type_hints(function)
    assert set(hints) == {*inspect.signature(function).parameters, "return"}
