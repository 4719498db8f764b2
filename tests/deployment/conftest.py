"""The model folder of the service's tests, for the templates that start it."""

from tests.serve.conftest import model_folder as model_folder
