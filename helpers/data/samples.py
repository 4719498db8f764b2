"""Samples: folders of ready films, one per hospital and split, that Substra can register.

Radiographs are decoded and resized once. A task then opens `images.npy`, which it may memory-map,
`metadata.csv`, and `sample.json`, which describes the two others. A sample gets its final name only
when it is complete.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from helpers.data.arguments import check_integer
from helpers.data.cache import cache_folder, writing_to
from helpers.data.file_cache import compute_cached
from helpers.data.files import hash_file
from helpers.data.hospitals import check_known, check_names, check_no_leak, check_split_names
from helpers.data.images import resize_image
from helpers.data.metadata import SPLITS
from helpers.data.patients import check_labels, is_labelled
from helpers.data.radiographs import Radiographs

# The opener, which is stored alone, has the same values.
FORMAT = "chest X-ray sample"
VERSION = 1
LABEL = "label:"  # before the name of a finding, one of several

_CHUNK = 64  # films that the threads process at one time
_STAGE = ".preparing-"
_DAY = 24 * 3600  # seconds


def prepare_samples(
    radiographs: Radiographs,
    table: pd.DataFrame,
    labels: pd.Series | pd.DataFrame,
    *,
    size: int = 64,
    task: str = "",
    folder: str | Path | None = None,
) -> dict[str, dict[str, Path]]:
    """Write the films of every hospital and split as a sample, or reuse an existing one.

    Each sample is a folder ``hospital/split`` with

    - ``images.npy``: ``uint8`` of shape (n, size, size, 1), grey levels in the table's order;
    - ``metadata.csv``: the table's columns and ``label`` (0 or 1), UTF-8, missing cells empty; for
      several findings a column for each instead, such as ``label:Effusion``, empty where it is not
      known;
    - ``sample.json``: format and version, shape, dtype, task, source, layout, hospital, split,
      numbers of films and of positive films (of several findings, which it lists, the number
      of each), fingerprint, and the sha256 of the two others.

    Films are decoded by several threads into a hidden folder next to the samples; a sample gets its
    name in one step when it is complete. After an interruption, the samples that were complete are
    kept and the rest is removed. Only this user can read samples, also those that an earlier
    version left open: films must not be visible to other users of a machine. A sample is reused if
    its fingerprint is the same (metadata, labels, order, pixels, task, and the path and content of
    every source file) and its checksums match; a sample with another fingerprint is replaced.

    Parameters
    ----------
    radiographs : helpers.data.radiographs.Radiographs
        Where the films come from.
    table : pandas.DataFrame
        Films with ``hospital`` and ``split`` filled: the radiographs' table or a part of it.
    labels : pandas.Series or pandas.DataFrame
        0, 1 or missing for each film, and for each of several findings, with the table's index.
        Films without any label are left out.
    size : int, default=64
        Height and width of the films in pixels.
    task : str, default=""
        Name of the task, written to `sample.json`.
    folder : str or pathlib.Path, optional
        Where the samples are written; by default a folder for these samples in ``samples`` of the
        cache folder.

    Returns
    -------
    dict of str to dict of str to pathlib.Path
        Hospital, then split (``"train"``, ``"valid"``, ``"test"``, those with films), then the
        sample's folder as an absolute path.

    Raises
    ------
    TypeError
        If ``size`` is not a whole number.
    ValueError
        If ``size`` is not positive, a film has no hospital or split, a patient is in two hospitals
        or splits, no film has a label, or films cannot be read. The message names all kinds and the
        first few files, and nothing is written. Also if the folder cannot be written to.
    """
    size = check_integer("size", size, 1)
    labels = check_labels(table, labels, several=True)
    if isinstance(labels, pd.DataFrame):
        films = table.join(labels.add_prefix(LABEL))[is_labelled(labels)]
    else:
        films = table.assign(label=labels)[is_labelled(labels)].astype({"label": "int64"})
    _check_films(films)
    source = Path(radiographs.source)
    parts = {
        (hospital, split): rows.reset_index(drop=True)
        for hospital, of_hospital in films.groupby("hospital")
        for split in SPLITS
        if len(rows := of_hospital[of_hospital["split"] == split])
    }
    contents = _hash_sources(map(radiographs.locate, films["image"]))
    abouts = {
        place: _describe(rows, radiographs, size, task, place, contents)
        for place, rows in parts.items()
    }
    is_ours = folder is None
    if is_ours:
        digest = hashlib.sha256("".join(a["fingerprint"] for a in abouts.values()).encode())
        folder = cache_folder() / "samples" / f"{source.stem}-{size}px-{digest.hexdigest()[:12]}"
    folder = Path(folder).resolve()
    targets = {place: folder.joinpath(*place) for place in parts}
    with writing_to(folder, "samples", "folder"):
        todo = {
            place: (parts[place], about, targets[place])
            for place, about in abouts.items()
            if not _is_reusable(targets[place], about["fingerprint"])
        }
        if todo:
            is_new = not folder.exists()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_leftovers(folder)
            try:
                _write_samples(todo, radiographs, folder)
            finally:
                if is_new and not any(folder.iterdir()):
                    folder.rmdir()
        for target in targets.values():
            _close(target.parent, target, *target.iterdir())
        if is_ours:
            _close(folder)
    samples: dict[str, dict[str, Path]] = {}
    for (hospital, split), target in targets.items():
        samples.setdefault(hospital, {})[split] = target
    return samples


def verify_sample(folder: str | Path) -> dict:
    """Check that a sample is complete: its files, its shapes and its checksums.

    The opener trusts the pixels it maps; this function reads all of them.

    Parameters
    ----------
    folder : str or pathlib.Path
        A sample's folder.

    Returns
    -------
    dict
        The content of `sample.json`.

    Raises
    ------
    ValueError
        If something is missing or does not agree; the message says what.
    """
    folder = Path(folder)

    def refuse(expected: str, received: object) -> ValueError:
        return ValueError(
            f"Expected {expected} in the sample {str(folder)!r}. Received {received}. "
            "Delete the folder and prepare the samples again."
        )

    absent = [n for n in ("sample.json", "images.npy", "metadata.csv") if not (folder / n).exists()]
    if absent:
        raise refuse("sample.json, images.npy and metadata.csv", f"no {' and no '.join(absent)}")
    try:
        about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    except Exception as error:  # also RecursionError
        raise refuse("JSON in sample.json", error) from error
    known = isinstance(about, dict) and (about.get("format"), about.get("version"))
    if known != (FORMAT, VERSION):
        raise refuse(f"the format {FORMAT!r}, version {VERSION},", known or type(about).__name__)
    try:
        for name in ("images.npy", "metadata.csv"):
            received = hash_file(folder / name)
            if received != about["checksums"][name]:
                raise refuse(f"{name} with the sha256 {about['checksums'][name]}", received)
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        described = (about["shape"], about["dtype"], about["n_films"])
    except (KeyError, TypeError) as error:
        raise refuse("checksums, shape, dtype and n_films in sample.json", error) from error
    received = (list(images.shape), str(images.dtype), len(images))
    if received != described:
        raise refuse(f"images.npy of shape, dtype and number {described}", received)
    return about


def _check_films(films: pd.DataFrame) -> None:
    if len(films) == 0:
        raise ValueError(
            "Expected at least one film with a label. Received none. Choose another task."
        )
    for column, advice in (("hospital", "assign_hospitals"), ("split", "split_patients")):
        check_known(films, column, f"Call {advice} first.")
    check_split_names(films)
    check_names(films["hospital"])
    check_no_leak(films)


def _hash_sources(files: Iterable[Path]) -> dict[str, str]:
    """Hash the source files of the films, each by its absolute path; see ``file_cache``."""
    files = list(dict.fromkeys(files))  # an array file holds many films

    hashes = compute_cached("sha256", files, hash_file, desc="Checking films")
    return {
        # Reading a film that is missing will say so.
        str(file.absolute()): found if isinstance(found, str) else "missing"
        for file, found in zip(files, hashes, strict=True)
    }


def _describe(
    rows: pd.DataFrame,
    radiographs,
    size: int,
    task: str,
    place: tuple[str, str],
    contents: dict[str, str],
) -> dict:
    """Return the content of `sample.json`, except for the checksums."""
    about = {
        "format": FORMAT,
        "version": VERSION,
        "shape": [len(rows), size, size, 1],
        "dtype": "uint8",
        "task": task,
        "source": Path(radiographs.source).name,
        "layout": radiographs.layout,
        "hospital": place[0],
        "split": place[1],
        "n_films": len(rows),
    }
    positives = {
        name.removeprefix(LABEL): int(rows[name].sum()) for name in rows if name.startswith(LABEL)
    }
    if positives:
        about |= {"n_positive": positives, "findings": list(positives)}
    else:
        about["n_positive"] = int(rows["label"].sum())
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(_to_csv(rows).encode())
    levels = [radiographs.white_level(image) for image in rows["image"]]
    if any(levels):  # the pixels of 16-bit films depend on it
        digest.update(f"white levels {levels}\n".encode())
    files = dict.fromkeys(map(radiographs.locate, rows["image"]))
    for file in map(str, (file.absolute() for file in files)):
        digest.update(f"{file} {contents[file]}\n".encode())
    return about | {"fingerprint": digest.hexdigest()}


def _to_csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False, lineterminator="\n")


def _is_reusable(target: Path, fingerprint: str) -> bool:
    if not target.exists():
        return False
    if not (target / "sample.json").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(
            f"Expected a sample or nothing at {str(target)!r}. Received other files. "
            "Choose another folder, so that they are not replaced."
        )
    try:
        return verify_sample(target)["fingerprint"] == fingerprint
    except (ValueError, KeyError):
        return False


def _write_samples(jobs: dict, radiographs, folder: Path) -> None:
    """Write samples into a hidden folder, then give each its name."""
    stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=folder))
    faults: dict[str, str] = {}
    whole = []
    try:
        with tqdm(
            total=sum(len(rows) for rows, _, _ in jobs.values()),
            desc="Preparing samples",
            unit="film",
            disable=None,
        ) as bar:
            for (hospital, split), (rows, about, target) in jobs.items():
                staged = stage / hospital / split
                staged.mkdir(parents=True)
                _write_images(staged / "images.npy", radiographs, rows["image"], about, bar, faults)
                if faults:
                    # Continue only to find the other faults.
                    shutil.rmtree(staged)
                    continue
                _write_text(staged / "metadata.csv", _to_csv(rows))
                names = ("images.npy", "metadata.csv")
                checksums = {name: hash_file(staged / name) for name in names}
                text = json.dumps(about | {"checksums": checksums}, indent=2, ensure_ascii=False)
                _write_text(staged / "sample.json", text + "\n")
                _close(staged, *staged.iterdir())
                whole.append((staged, target, about["fingerprint"]))
        if faults:
            lines = [f"  {reason}" for reason in list(faults.values())[:10]]
            more = len(faults) - len(lines)
            raise ValueError(
                f"Expected {bar.total:,} readable films. Received {len(faults):,} that are not:\n"
                + "\n".join(lines)
                + (f"\n  and {more:,} more" if more else "")
                + "\nFix these files, or leave them out with read_radiographs(strict=False). "
                "No sample was written."
            )
    finally:
        # Also after an interruption: complete samples need not be decoded again.
        if not faults:
            for staged, target, fingerprint in whole:
                _publish(staged, target, fingerprint)
        shutil.rmtree(stage, ignore_errors=True)


def _write_images(
    path: Path, radiographs, names: pd.Series, about: dict, bar: tqdm, faults: dict[str, str]
) -> None:
    """Decode films into one array on the disk; add those that cannot be read to `faults`."""
    shape = tuple(about["shape"])

    def read(name: str) -> bytes:
        try:
            return resize_image(radiographs.image(name), shape[1]).tobytes()
        except (ValueError, OSError) as error:
            faults[name] = f"{name}: {error}"
            return b""  # the file will not be kept

    pool = ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1))
    try:
        # Written, not mapped: on a full disk, a map would end this process without a message.
        with path.open("wb") as file:
            layout = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, layout)
            for start in range(0, len(names), _CHUNK):
                for film in pool.map(read, names.iloc[start : start + _CHUNK]):
                    file.write(film)
                    bar.update()
    finally:
        pool.shutdown(cancel_futures=True)


def _publish(staged: Path, target: Path, fingerprint: str) -> None:
    """Give a complete sample its name, in place of an older one."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_reusable(target, fingerprint):
        return  # another process was faster
    if target.exists():
        os.replace(target, staged.with_name(f"{staged.name}-old"))
    try:
        os.replace(staged, target)
    except OSError:
        if not _is_reusable(target, fingerprint):
            raise


def _close(*paths: Path) -> None:
    """Close folders and files to other users; an earlier version left some open."""
    for path in paths:
        if path.stat().st_mode & 0o077:
            path.chmod(0o700 if path.is_dir() else 0o600)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left incomplete, a day ago or earlier."""
    for stage in folder.glob(f"{_STAGE}*"):
        if stage.stat().st_mtime < time.time() - _DAY:
            shutil.rmtree(stage, ignore_errors=True)
