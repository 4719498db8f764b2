"""One command for a federated run, ``python -m helpers.run``, with settings that Hydra composes."""

try:
    import hydra as _  # noqa: F401
except ImportError as error:
    needed = 'pip install "federated-chest-xrays[configuration]"'
    raise ImportError(f"The command needs Hydra: {needed}") from error

from helpers.run.experiment import run_experiment as run_experiment
from helpers.run.settings import compose_settings as compose_settings
from helpers.run.settings import list_sweep as list_sweep
