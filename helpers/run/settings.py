"""Settings of a run: composed by Hydra from ``conf``, and refused by name where they are wrong."""

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).parent / "conf"


def compose_settings(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the settings of a run.

    Parameters
    ----------
    overrides : sequence of str
        What differs from ``conf/config.yaml``, in Hydra's grammar: ``"strategy=fed_prox"``,
        ``"algorithm.proximal_mu=0.1"``, ``"+page=federated_chest_xrays"``.

    Returns
    -------
    omegaconf.DictConfig
        The keys of ``config.yaml``, and those that its groups add.

    Raises
    ------
    ValueError
        If a key or a value is wrong; the message has its name and the choices.
    """
    with _refused_by_name(), initialize_config_dir(str(CONF), version_base="1.3"):
        default, settings = compose("config"), compose("config", list(overrides))
        kinds = {
            key: type(value) if isinstance(value, str | int) else Any
            for key, value in OmegaConf.to_container(default).items()
        }
        return OmegaConf.merge(make_dataclass("Settings", kinds.items()), settings)


def list_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """List the runs of a sweep, such as ``["seed=0,1", "strategy=fed_avg,fed_prox"]``.

    Parameters
    ----------
    overrides : sequence of str
        As in :func:`compose_settings`; several values, or Hydra's ``range(0,3)``, are a sweep.

    Returns
    -------
    list of list of str
        The overrides of each run; each has a folder of its own, named after what is varied.

    Raises
    ------
    ValueError
        If an override cannot be read.
    """
    with _refused_by_name():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed = [one.input_line for one in parsed if not one.is_sweep_override()]
    varied = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        for one in parsed
        if one.is_sweep_override()
    ]
    if not varied:
        return [fixed]
    folder = compose_settings(fixed).folder
    return [
        [*fixed, *values, f"folder='{folder}/{','.join(values).replace('/', '_')}'"]
        for values in itertools.product(*varied)
    ]


@contextlib.contextmanager
def _refused_by_name():
    """Turn an error of Hydra into one message with the choices."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        key, parent = getattr(cause, "full_key", None), getattr(cause, "parent_node", None)
        said = str(cause).partition("\n    full_key")[0]
        if parent is not None and said.startswith("Key "):
            choices = sorted({*parent} - {"_target_", "hydra"})
            said = f"Expected one of the settings {choices}. Received {key!r}."
        elif options := getattr(cause, "options", None):
            said = f"{said.splitlines()[0]}. Expected one of {sorted(options)}."
        elif key:
            said = f"{key}: {said}"
        raise ValueError(said) from error
