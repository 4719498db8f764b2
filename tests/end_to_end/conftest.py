"""Algorithms that are defined in a test travel to real tasks."""

import sys

import cloudpickle
import pytest


@pytest.fixture(autouse=True, scope="module")
def classes_of_this_module_travel_by_value(request):
    """Let algorithms defined in a test reach its tasks, as those of a page's ``__main__`` do."""
    module = sys.modules[request.module.__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)
