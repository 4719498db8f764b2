"""Deployment: the packages that a Substra network installs for the tasks, in tested versions.

In local mode a task imports what this environment has. On a network it runs in a container, which
has nothing but what a list names.
"""

from importlib.metadata import PackageNotFoundError, version

# What the modules that travel import; a test reads them. Substra's own come with substrafl.
PACKAGES = (
    "cloudpickle",
    "cryptography",
    "fairlearn",
    "keras",
    "numpy",
    "pandas",
    "pillow",
    "platformdirs",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "threadpoolctl",
    "tqdm",
)


def pin_packages(*others: str) -> list[str]:
    """Name the packages of the tasks in the versions of this environment.

    An algorithm is pickled here and read in a container, and its numbers are those of these
    versions: both need the same packages as here.

    Parameters
    ----------
    *others : str
        Packages that your own code imports in a task, as ``pip install`` names them.

    Returns
    -------
    list of str
        ``"name==version"``, sorted by name; for ``pypi_dependencies`` of
        ``substrafl.dependency.Dependency``, which itself adds ``substrafl`` in its own version.

    Raises
    ------
    ImportError
        If a package is not installed here. The message names all that are missing.

    Examples
    --------
    >>> from helpers.deployment import pin_packages
    >>> [pin.partition("==")[0] for pin in pin_packages()][:3]
    ['cloudpickle', 'cryptography', 'fairlearn']
    """
    pins, missing = [], []
    for name in sorted({*PACKAGES, *others}, key=str.lower):
        try:
            pins.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise ImportError(
            "Expected every package of the tasks in this environment, to give the tasks the same "
            f"versions. Received none of {', '.join(missing)}. Install what is missing, or name "
            "packages as pip install does."
        )
    return pins
