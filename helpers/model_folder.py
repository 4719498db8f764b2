"""Model folder: what was exported, as it was exported.

Whoever loads a network from it, such as the service, needs neither TensorFlow nor the packages that
wrote it.
"""

from pathlib import Path

from helpers.data.files import hash_file, hash_files

SUMS = "SHA256SUMS"


def check_folder(folder: str | Path, *, fingerprint: str | None = None) -> str:
    """Check that a model folder has exactly the files of its ``SHA256SUMS``, unchanged.

    Checksums find damage, and changes by whoever did not write new ones. Only a fingerprint that
    came another way, such as by telephone, shows that all is as it was exported.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model folder. Its files are only read as bytes.
    fingerprint : str, optional
        What :func:`helpers.export.export_model` returned.

    Returns
    -------
    str
        The fingerprint: the sha256 of ``SHA256SUMS``.

    Raises
    ------
    ValueError
        If a file was changed, is missing or was added, by name; or if the fingerprint is another.
    """
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        raise ValueError(f"Expected a model folder. Received {str(folder)!r}, without {SUMS}.")
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found, received = hash_files(folder, but=SUMS), hash_file(folder / SUMS)
    faults = {
        "changed": [name for name in found if expected.get(name, found[name]) != found[name]],
        "missing": [name for name in expected if name not in found],
        "additional": [name for name in found if name not in expected],
        "another fingerprint": [received] if received != (fingerprint or received) else [],
    }
    if any(faults.values()):
        said = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
        raise ValueError(
            f"Expected {str(folder)!r} as it was exported. Received {said}. Load nothing from it; "
            "get it again from where it was exported."
        )
    return received
