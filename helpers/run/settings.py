"""Settings of a run: composed by Hydra from ``conf``, and refused by name where they are wrong."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONF = Path(__file__).parent / "conf"
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


@dataclass
class Settings:
    """What a run can be told, with the types; ``conf/config.yaml`` has defaults and comments."""

    name: str
    folder: str
    task: str
    image_size: int
    samples: str | None
    hospitals: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]
    augment: bool | None
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    algorithm: dict[str, Any]
    strategy: dict[str, Any]
    strategy_name: str
    rounds: int
    step: int | None
    patience: int
    eval_every: int
    updates: int
    batch_size: int
    seed: int
    tasks: bool
    tracking: bool
    tracking_folder: str


def compose_settings(overrides: Sequence[str] = ()) -> Any:
    """Compose the settings of a run.

    Parameters
    ----------
    overrides : sequence of str
        What differs from ``conf/config.yaml``, in Hydra's grammar: ``"strategy=fed_prox"``,
        ``"algorithm.proximal_mu=0.1"``, ``"+page=federated_chest_xrays"``.

    Returns
    -------
    omegaconf.DictConfig
        The fields of :class:`Settings`.

    Raises
    ------
    ImportError
        If Hydra is not installed.
    ValueError
        If a key or a value is wrong; the message has its name and the choices.
    """
    try:
        from hydra import compose, initialize_config_dir
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError as error:
        needed = 'pip install "federated-chest-xrays[configuration]"'
        raise ImportError(f"Settings need Hydra: {needed}") from error
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", list(overrides))
        return OmegaConf.merge(OmegaConf.structured(Settings), config)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_explain(error)) from error


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
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ValueError(_explain(error)) from error
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


def list_choices(group: str) -> list[str]:
    """List the choices of a group.

    Parameters
    ----------
    group : str
        Such as ``"strategy"``.

    Returns
    -------
    list of str
        Such as ``["cyclic", "fed_adam", …]``.
    """
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _explain(error):
    """Say what was wrong in one line, with the choices."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    key, parent = getattr(cause, "full_key", None), getattr(cause, "parent_node", None)
    if parent is not None and "Key" in type(cause).__name__ + str(cause).partition(" ")[0]:
        choices = sorted({*parent} - {"_target_", "hydra"})
        return f"Expected one of the settings {choices}. Received {key or cause.key!r}."
    if options := getattr(cause, "options", None):
        return f"{str(cause).splitlines()[0]}. Expected one of {sorted(options)}."
    return f"{key}: {str(cause).splitlines()[0]}" if key else str(cause)
