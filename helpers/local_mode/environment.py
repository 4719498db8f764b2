"""Environment of a task: the variables that it gets, and the packages that it can import.

A task gets what a container would give it, and nothing else from the program that starts it.
Everything that it gets is part of its fingerprint.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

# Where programs and libraries are found, and the language of their messages.
_NAMES = (
    *("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
    *("HOME", "LANG", "LANGUAGE", "TZ", "PYTHONHASHSEED"),
)
# How libraries compute.
_PREFIXES = (
    *("LC_", "TF_", "XLA_", "KERAS_", "CUDA_"),
    *("OMP_", "OPENBLAS_", "MKL_", "ONEDNN_", "DNNL_"),
)
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def task_variables(pass_env: Sequence[str] = ()) -> dict[str, str]:
    """List the environment variables that a task gets, with their current values.

    Parameters
    ----------
    pass_env : sequence of str, optional
        Names of variables that a task needs besides those that are passed by default: where
        programs are found, the language, and what TensorFlow, Keras and the libraries that
        compute for them read.

    Returns
    -------
    dict of str to str
        Value by name, without variables that are not set.

    Raises
    ------
    TypeError
        If ``pass_env`` is a single text, or holds something else than text.
    """
    if isinstance(pass_env, str) or not all(isinstance(name, str) for name in pass_env):
        raise TypeError(
            "Expected pass_env as a list of names of environment variables, such as "
            f"['HF_HOME']. Received {pass_env!r}."
        )
    names = {*_NAMES, *pass_env}
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in names or name.startswith(_PREFIXES)
    } | _QUIET


def describe_environment(variables: dict[str, str]) -> dict[str, Any]:
    """Collect everything, except for the task itself, on which its result depends.

    Parameters
    ----------
    variables : dict of str to str
        Environment variables of the task.

    Returns
    -------
    dict
        JSON-serializable: variables, machine, cores, Python, the installed packages with their
        versions, and as ``modules`` the path of each module that is installed in editable mode,
        whose content may change without its version.
    """
    packages, modules = set(), {}
    for folder in dict.fromkeys(sys.path):
        for info in sorted(Path(folder or ".").glob("*.*-info")):
            packages.add(info.stem)  # name and version
            origin = info / "direct_url.json"
            if origin.is_file():
                found, record = _read_origin(info, json.loads(origin.read_text("utf-8")))
                modules |= found
                packages.add(record)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "variables": variables,
        "machine": platform.machine(),
        "python": [platform.python_implementation(), platform.python_version()],
        "cores": cores,
        "packages": sorted(packages),
        "modules": modules,
    }


def _read_origin(info, origin):
    """Describe a package that came from no registry: its editable modules, its list of files."""
    package = importlib.metadata.Distribution.at(info)
    if not origin.get("dir_info", {}).get("editable"):
        # The checksums of its files: the same version may have been installed from changed sources.
        return {}, package.read_text("RECORD") or ""
    modules = {}
    for name in (package.read_text("top_level.txt") or "").split():
        spec = importlib.util.find_spec(name)
        if spec and spec.origin:
            path = Path(spec.origin)
            modules[name] = str(path.parent if spec.submodule_search_locations else path)
    if not modules:  # its builder does not list its content
        modules[info.stem] = url2pathname(urlparse(origin["url"]).path)
    return modules, ""
