"""One command for a federated run: ``python -m helpers.run``, configured with Hydra."""

from helpers.run.experiment import run_experiment as run_experiment
from helpers.run.settings import Settings as Settings
from helpers.run.settings import compose_settings as compose_settings
from helpers.run.settings import list_choices as list_choices
from helpers.run.settings import list_sweep as list_sweep
