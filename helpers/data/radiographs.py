"""Radiographs: one validated table of films and the way to their images."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data import image_checks
from helpers.data.detection import LAYOUTS, find_hospitals, find_layout
from helpers.data.dicom import fill_from_tags
from helpers.data.fetch import fetch_pneumoniamnist
from helpers.data.images import ArrayFilms, FilmFolder, decode_image
from helpers.data.layouts import finish_table, list_folder
from helpers.data.patients import qualify_patients
from helpers.data.report import Report
from helpers.data.synthetic import PARAMETERS, make_radiographs
from helpers.data.tables import read_films

FETCHED = "pneumoniamnist"  # what CHEST_XRAYS may say instead of a path
_TITLES = {layout.name: layout.title for layout in LAYOUTS} | {"hospitals": "Hospitals as given"}


@dataclass(frozen=True, eq=False, repr=False)
class Radiographs:
    """Films with their metadata, and the way to their images.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per film with the columns ``image``, ``patient``, ``age`` (years), ``sex``
        (``F``/``M``), ``view`` (``PA``/``AP``), ``findings`` (NIH names joined by ``|``,
        ``No Finding`` alone, ``Unspecified`` for an unnamed one), ``follow_up``, ``hospital``,
        ``split`` (``train``/``valid``/``test``), and ``weight`` when the source has weights.
        What the source does not record is missing.
    source : pathlib.Path
        The folder or ``.npz`` file they were read from; the common folder of several.
    layout : str
        How it is stored on the disk: ``"nih"``, ``"class folders"``, ``"medmnist"``, ``"table"``
        or the name of a public table; ``"hospitals"``
        for several sources.
    report : Report
        What was repaired, noted and omitted.
    white_levels : dict of str to int, default={}
        White level of the 16-bit films of each hospital that is a source of its own and has such
        films; ``""`` stands for a single source. Without one, each film's own maximum decides.
    hospitals : dict of str to pathlib.Path, default={}
        The source of each hospital if there are several. A film's ``image`` then starts with its
        hospital, such as ``north/images/1.png``.
    """

    table: pd.DataFrame
    source: Path
    layout: str
    report: Report
    white_levels: dict[str, int] = field(default_factory=dict)
    hospitals: dict[str, Path] = field(default_factory=dict)
    _films: dict[Path, ArrayFilms | FilmFolder] = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the lazily loaded arrays of MedMNIST files, and what looks into folders."""
        films = {
            place: ArrayFilms(place) if place.is_file() else FilmFolder(place)
            for place in self.hospitals.values() or [self.source]
        }
        object.__setattr__(self, "_films", films)

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.table)

    def image(self, film: int | str) -> np.ndarray:
        """Read the image of one film; safe to call from many threads.

        Parameters
        ----------
        film : int or str
            Position of the film in ``table``, or its ``image`` name.

        Returns
        -------
        numpy.ndarray
            Grey levels, ``uint8`` of shape ``(H, W)``.

        Raises
        ------
        IndexError
            If there is no film at this position.
        ValueError
            If the image cannot be read.
        """
        image = film if isinstance(film, str) else self.table["image"].iloc[film]
        place, name = self._place(image)
        films = self._films[place]
        if isinstance(films, ArrayFilms):
            return films.read(name)
        return decode_image(films(name), full=self.white_level(image))[0]

    def locate(self, image: str) -> Path:
        """Return the file of a film.

        Parameters
        ----------
        image : str
            A film's ``image`` name.

        Returns
        -------
        pathlib.Path
            Its file; for a film of a MedMNIST file, that file.

        Raises
        ------
        ValueError
            If the name or a link leads out of the folder, or no hospital has this name.
        """
        place, name = self._place(image)
        films = self._films[place]
        return place if isinstance(films, ArrayFilms) else films(name)

    def white_level(self, image: str) -> int | None:
        """Return the white level by which a film of 16 bits is scaled.

        Parameters
        ----------
        image : str
            A film's ``image`` name.

        Returns
        -------
        int or None
            The grey level that becomes 255, decided for all films of its source; None if there is
            no film of 16 bits, or if the images were not checked.
        """
        return self.white_levels.get(image.partition("/")[0] if self.hospitals else "")

    def _place(self, image: str) -> tuple[Path, str]:
        """Return the source of a film, and its name there; the film need not exist."""
        if not self.hospitals:
            return self.source, image
        hospital, _, name = image.partition("/")
        if hospital not in self.hospitals:
            raise ValueError(
                f"Expected a film of {', '.join(self.hospitals)}, such as 'hospital/image.png'. "
                f"Received {image!r}. Take names from the column 'image'."
            )
        return self.hospitals[hospital], name

    @property
    def is_synthetic(self) -> bool:
        """Whether the films are the synthetic ones."""
        return (self.source / PARAMETERS).is_file()

    def __str__(self) -> str:
        """Describe layout, numbers and repairs in one short paragraph, without any full path."""
        patients = self.table["patient"].nunique()
        of = f" of {patients:,} patients" if patients else ", patients unknown,"
        summary = self.report.summary()
        about = f" ({summary})" if summary else ""
        places = ", ".join(map(repr, self.hospitals)) or repr(self.source.name)
        return f"{_TITLES[self.layout]}: {len(self):,} films{of} in {places}{about}."

    def __repr__(self) -> str:
        """Return the same short description, so that a page may end a block with it."""
        return f"<Radiographs. {self}>"


def read_radiographs(
    source: str | Path | Sequence[str | Path] | None = None,
    *,
    strict: bool = True,
    check_images: bool = True,
    patients: str = "everywhere",
) -> Radiographs:
    """Read, repair and validate a collection of chest X-rays, and report what was found.

    Several sources are hospitals as given: one folder or file each, in any layout, or a folder
    whose sub-folders are such. Each names its hospital, which starts the names of its films and
    patients, so that patients who are numbered from 1 at every hospital stay apart. Official splits
    are kept.

    Parameters
    ----------
    source : str, pathlib.Path or sequence of them, default=None
        A folder or ``.npz`` file in one of the layouts of :doc:`/own_data`; a folder of hospitals;
        several of these, as a list or joined by ``os.pathsep`` (``a/:b/``). None means the
        environment variable ``CHEST_XRAYS``, where the word ``pneumoniamnist`` downloads
        PneumoniaMNIST (4 MB) once; if that is unset or empty, too, the synthetic radiographs, which
        are generated once and then cached.
    strict : bool, default=True
        Whether to refuse the whole collection if a fault cannot be repaired. If False, the films
        concerned are omitted and reported.
    check_images : bool, default=True
        Whether to decode every image once, which finds damaged files and counts unusual formats.
        Takes about a second per 1,000 films of 256 px. What a film showed is cached until its file
        changes.
    patients : {"everywhere", "per hospital"}, default="everywhere"
        Where a patient's number means one person. If each hospital numbers its patients from 1,
        ``"per hospital"`` names them such as ``North/1``.

    Returns
    -------
    Radiographs
        The films.

    Raises
    ------
    ValueError
        If the path is not there, holds no known layout, or, when ``strict``, has faults (all of
        them are in the message); also when no film is left, or ``patients`` is unknown or needs
        hospitals that are missing.
    """
    if patients not in ("everywhere", "per hospital"):
        raise ValueError(
            f"Expected patients as 'everywhere' or 'per hospital'. Received {patients!r}."
        )
    report = Report()
    sources = _find_sources(source)
    if len(sources) == 1:
        names, others = find_hospitals(sources[0])
        report.fault("folder without a layout beside hospitals", others)
        if names:
            report.note("file beside the hospitals not read", list_folder(sources[0])[1])
        hospitals = [sources[0] / name for name in names]
    else:
        hospitals = sources
    if hospitals:
        named = _name_hospitals(hospitals)
        parts = [_read_hospital(*item, report, check_images) for item in named.items()]
        parts = [part for part in parts if part is not None] or report.raise_if_faulty()
        table, common = pd.concat(parts, ignore_index=True), Path(os.path.commonpath(hospitals))
        films = Radiographs(table, common, "hospitals", report, hospitals=named)
    else:
        layout, table = _read_source(sources[0], report, check_images)
        films = Radiographs(table, sources[0], layout, report)
    return _finish(films, strict, check_images, patients)


def read_table(
    csv: str | Path,
    folder: str | Path | None = None,
    *,
    columns: Mapping[str, str | None] | None = None,
    findings: str | Mapping[str, str] | None = None,
    separator: str = "|",
    strict: bool = True,
    check_images: bool = True,
) -> Radiographs:
    """Read any table of films, as :func:`read_radiographs` reads the layouts that it knows.

    Parameters
    ----------
    csv : str or pathlib.Path
        The table: values separated by commas, semicolons or tabs, plain or ``.gz``.
    folder : str or pathlib.Path, optional
        Where the films are, at any depth; by default the folder of ``csv``. The table names them by
        their path below it, or by their file name, with or without its ending.
    columns : mapping of str to str, optional
        Our names of columns (``image``, ``patient``, ``age``, ``sex``, ``view``, ``follow_up``,
        ``hospital``, ``split``, ``weight``) with the headers of the table. Usual headers are
        recognized without it; None instead of a header leaves a column out.
    findings : str or mapping of str to str, optional
        The header of a column with names of findings; or of a label column, whose 1 is a finding
        of that name; or label columns with the finding that each means, such as
        ``{"Label": "Pneumonia"}``. Labels are 1, 0, -1 (uncertain) and blank, which counts as
        absent unless all labels of a film are blank. A film without any finding is
        ``No Finding``. By default the one column of findings, or the one of 0 and 1.
    separator : str, default="|"
        What separates several findings of a film.
    strict, check_images
        As in :func:`read_radiographs`.

    Returns
    -------
    Radiographs
        The films. Lateral ones are set aside and counted.

    Raises
    ------
    ValueError
        If a file or column is not there, a column that is needed cannot be recognized (the message
        lists all columns, and the call that says what they mean), or as :func:`read_radiographs`.
    """
    csv = _find_path(csv, "csv")
    folder = csv.parent if folder is None else _find_path(folder, "folder")
    report = Report()
    table = read_films(csv, folder, report, columns=columns, findings=findings, separator=separator)
    table = fill_from_tags(table.reset_index(drop=True), FilmFolder(folder), report)
    return _finish(Radiographs(table, folder, "table", report), strict, check_images)


def _finish(
    films: Radiographs, strict: bool, check_images: bool, patients: str = "everywhere"
) -> Radiographs:
    """Check the images, refuse or omit faulty films, and say what was read."""
    table, report = films.table, films.report
    check = image_checks.ImageCheck()
    if check_images:
        # A film with another fault is decoded, too, so that one report lists everything.
        places = {name: films._place(name) for name in table["image"].dropna().unique()}
        clean = set(table["image"][~table["faulty"]])
        names = [
            name
            for name, (place, inner) in places.items()
            if place.is_dir() and (name in clean or (place / inner).is_file())
        ]
        check = image_checks.check_images(
            films.locate, names, report, of_hospitals=bool(films.hospitals)
        )
        table["faulty"] |= table["image"].isin(check.faulty)
    if strict:
        report.raise_if_faulty()
    report.dropped = int(table["faulty"].sum())
    digests = check.digests
    if "digest" in table:  # of films in arrays, which are checked as they are read
        digests |= table.dropna(subset="digest").set_index("image")["digest"].to_dict()
    table = finish_table(table[~table["faulty"]])
    if films.hospitals or patients == "per hospital":
        table = qualify_patients(table)
    table = image_checks.mark_equal_films(table, digests, report)
    films = replace(films, table=table, white_levels=check.white_levels)
    if table.empty:
        raise ValueError(
            f"Expected at least one film in {films.source.name!r}. Received none that can be used."
            f"\n{report}\nFix the files named above."
        )
    print(films)
    for line in report.named_lines():
        print(line)
    return films


def _find_sources(source: str | Path | Sequence[str | Path] | None) -> list[Path]:
    named_by = "CHEST_XRAYS" if source is None else "source"
    if source is None:
        source = os.environ.get("CHEST_XRAYS", "").strip() or make_radiographs()
    if isinstance(source, str | Path):
        whole = Path(source).expanduser().exists() or isinstance(source, Path)
        source = [source] if whole else str(source).split(os.pathsep)
    sources = [_find_path(part, named_by) for part in source if str(part).strip()]
    if not sources or len(set(sources)) < len(sources):
        raise ValueError(
            f"Expected {named_by} to name one source, or different ones. Received "
            f"{[path.name for path in sources]}. Name each hospital once."
        )
    return sources


def _find_path(source: str | Path, named_by: str) -> Path:
    path = Path(source).expanduser()
    if named_by == "CHEST_XRAYS" and str(source) == FETCHED and not path.exists():
        path = Path(fetch_pneumoniamnist())
    if not path.exists():
        raise ValueError(
            f"Expected {named_by} to name an existing folder or .npz file. Received "
            f"{str(source)!r}, which is not there (looked for in {str(Path.cwd())!r} if it is "
            "relative). Set CHEST_XRAYS to your radiographs, or unset it to use the synthetic ones."
        )
    return path.resolve()


def _name_hospitals(sources: Sequence[Path]) -> dict[str, Path]:
    """Name each hospital after its folder, with characters that folders of samples may have."""
    hospitals: dict[str, Path] = {}
    for source in sources:
        name = source.stem if source.is_file() else source.name
        plain = re.sub(r"[^\w .-]", "_", name[:32]).strip(" .-_") or "hospital"
        taken = {name.casefold() for name in hospitals}
        names = [plain, *(f"{plain}-{number}" for number in range(2, len(sources) + 1))]
        hospitals[next(name for name in names if name.casefold() not in taken)] = source
    return hospitals


def _read_source(source: Path, report: Report, check_images: bool) -> tuple[str, pd.DataFrame]:
    """Read one source; return its layout and its films."""
    layout = find_layout(source)
    table = layout.read(source, report, check_images=check_images).reset_index(drop=True)
    if source.is_dir():
        table = fill_from_tags(table, FilmFolder(source), report)
    return layout.name, table


def _read_hospital(
    hospital: str, source: Path, report: Report, check_images: bool
) -> pd.DataFrame | None:
    """Read one of several hospitals; its name starts images, patients and lines of the report."""
    own = Report()
    try:
        table = _read_source(source, own, check_images)[1]
    except ValueError as error:
        report.fault("hospital that cannot be read", [f"{hospital} ({error})"])
        return None
    named = "hospital" in table and table["hospital"].notna().any()
    own.note("column hospital not used, since folders name them", int(named))
    report.include(own, f"{hospital}: ")
    return table.assign(image=f"{hospital}/" + table["image"], hospital=hospital)
