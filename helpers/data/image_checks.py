"""Image checks: every film is decoded once, and what that shows is kept until its file changes.

The check finds files that cannot be read, counts unusual formats, decides the white level of 16-bit
films, and finds films that are there twice.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import PIL

from helpers.data.file_cache import compute_cached
from helpers.data.files import name_reason
from helpers.data.images import WHITE_LEVELS, decode_pixels, scale_pixels
from helpers.data.report import Report

_KIND = f"images-1-pillow-{PIL.__version__}"
_SHOWN = 3  # pairs shown in a line of the report


@dataclass(frozen=True)
class ImageCheck:
    """What the check of a collection's images shows.

    Parameters
    ----------
    faulty : set of str, default={}
        Names of the films that cannot be read.
    white_levels : dict of str to int, default={}
        White level of each hospital's 16-bit films, the smallest of 255, 1023, 4095, 16383 and
        65535 that none of them exceeds. ``""`` stands for a single source.
    digests : dict of str to str, default={}
        Digest of each readable film's pixels, as they are after decoding.
    """

    faulty: set[str] = field(default_factory=set)
    white_levels: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def check_images(
    locate: Callable[[str], Path],
    names: Iterable[str],
    report: Report,
    *,
    of_hospitals: bool = False,
) -> ImageCheck:
    """Decode every film once, or take what is known of an unchanged file from the cache.

    Parameters
    ----------
    locate : callable
        Returns the file of a film by its name, or raises ValueError.
    names : iterable of str
        The films of one collection.
    report : Report
        Where repairs are counted, and films that cannot be read are named.
    of_hospitals : bool, default=False
        Whether names start with a hospital, as in ``north/1.png``. Each hospital has detectors of
        its own, so that its films decide its white level.

    Returns
    -------
    ImageCheck
        What was found.
    """
    paths, broken = {}, {}
    for name in dict.fromkeys(names):
        try:
            paths[name] = locate(name)
        except ValueError:
            broken[name] = "its name or a link leads out of the folder"
    lines = compute_cached(_KIND, paths.values(), _learn, desc="Checking images")
    repairs, sizes, brightest, digests = Counter(), set(), defaultdict(list), {}
    for name, line in zip(paths, lines, strict=True):
        if isinstance(line, str):
            size, kinds, highest, digests[name] = json.loads(line)
            sizes.add(tuple(size))
            repairs.update(kinds)
            if highest is not None:
                brightest[name.partition("/")[0] if of_hospitals else ""].append(highest)
        else:
            broken[name] = name_reason(line.__cause__ or line)
    for kind, count in repairs.items():
        report.repair(kind, count)
    report.fault("unreadable image", [f"{name} ({why})" for name, why in broken.items()])
    report.note("different image sizes", len(sizes) if len(sizes) > 1 else 0)
    levels = {hospital: find_white_level(max(found)) for hospital, found in brightest.items()}
    for hospital, full in levels.items():
        found, start = brightest[hospital], f"{hospital}: " if hospital else ""
        report.note(f"{start}16-bit image with grey levels from 0 to {full:,}", len(found))
        others = sum(find_white_level(highest) != full for highest in found)
        report.note(f"{start}16-bit image that alone would count as one of fewer bits", others)
    common = str(max(levels.values(), default=""))  # equal films of two hospitals stay equal
    digests = {name: by_level.get(common, by_level.get("")) for name, by_level in digests.items()}
    return ImageCheck(set(broken), levels, digests)


def find_white_level(highest: int) -> int:
    """Return the white level of films whose brightest pixel has this grey level."""
    return min(level for level in WHITE_LEVELS if level >= highest)


def digest_pixels(array: np.ndarray) -> str:
    """Return a digest of a film's shape and pixels, as hexadecimal digits."""
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _learn(path: Path) -> str:
    """Decode a film; return its size, repairs, brightest pixel (if of 16 bits) and digests."""
    array, repairs = decode_pixels(path)
    if array.dtype == np.uint8:
        highest, digests = None, {"": digest_pixels(array)}
    else:  # which white level will count is not known yet
        highest = int(array.max())
        levels = [level for level in WHITE_LEVELS if level >= highest]
        digests = {level: digest_pixels(scale_pixels(array, level)) for level in levels}
    return json.dumps([array.shape, repairs, highest, digests])


def mark_equal_films(table: pd.DataFrame, digests: dict[str, str], report: Report) -> pd.DataFrame:
    """Find films with the same pixels, and name those that would leak or contradict each other.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    digests : dict of str to str
        Digest of each film's pixels, see :class:`ImageCheck`.
    report : Report
        Where equal films are counted and the first pairs are named.

    Returns
    -------
    pandas.DataFrame
        The table. If equal films are not known to show one patient, it has a column ``same_film``
        with the name of the first of them, by which :func:`helpers.data.make_hospitals` keeps them
        together.
    """
    digest = table["image"].map(digests)
    twice = digest.notna() & digest.duplicated(keep=False)
    if not twice.any():
        return table
    groups = table[twice].groupby(digest[twice], sort=False)
    first = groups["image"].transform("first").reindex(table.index).astype("str")
    again = twice & (first != table["image"])

    def note(kind: str, which: pd.Series) -> None:
        pairs = [f"{a} = {b}" for a, b in zip(first[which], table["image"][which], strict=True)]
        more = ", …" if len(pairs) > _SHOWN else ""
        report.note(f"{kind} ({', '.join(pairs[:_SHOWN])}{more})", len(pairs))

    note("equal films", again)
    for column, places in (
        ("split", "LEAK: equal films in different splits"),
        ("hospital", "LEAK: equal films in different hospitals"),
        ("patient", "equal films of different patients"),
        ("findings", "equal films with different findings"),
    ):
        if column in table:
            original = groups[column].transform("first").reindex(table.index)
            other = table[column].notna() & original.notna() & (table[column] != original)
            note(places, again & other)
    patient = table.reindex(columns=["patient"])["patient"]
    known = patient.notna().groupby(digest).transform("all")
    strangers = twice & ~(known & (patient.groupby(digest).transform("nunique") == 1))
    return table.assign(same_film=first.where(strangers)) if strangers.any() else table
