"""Synthetic radiographs: an invented chest X-ray collection, written as NIH writes its own.

The folder contains ``images/*.png`` and ``Data_Entry_2017.csv`` with NIH's header and one more
column, ``Hospital``, so the reader of NIH ChestX-ray14 can read it. Patients are drawn in
``helpers.phantom.population``, and their films in ``helpers.phantom.thorax``. Nothing in it comes
from a real person.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pandas as pd
from PIL import Image
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers.data.arguments import check_integer
from helpers.data.cache import cache_folder, writing_to
from helpers.phantom.anatomy import Anatomy, Pose, draw_anatomy, draw_pose
from helpers.phantom.film import expose
from helpers.phantom.findings import Lesions, draw_lesions
from helpers.phantom.marker import add_marker
from helpers.phantom.population import HOSPITALS, FilmRecord, draw_films
from helpers.phantom.shapes import FIELD
from helpers.phantom.thorax import project_chest

CSV = "Data_Entry_2017.csv"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],Hospital"
)
PARAMETERS = "synthetic.json"  # the parameters of the folder; written last
WORTH_A_PROCESS = 250  # films; rendering them takes as long as starting a process
VERSION = 1  # to be raised whenever the same seed gives other films

# The uses of generators: each has its own stream, given the seed and the patient.
_ANATOMY, _FILM, _LESION = 1000, 1001, 1002


def make_radiographs(
    folder: str | Path | None = None, *, n_films: int = 2000, size: int = 64, seed: int = 0
) -> Path:
    """Write a synthetic collection of chest radiographs, or reuse an existing one.

    Four invented hospitals of unequal size (:data:`helpers.phantom.HOSPITALS`) see
    patients with several follow-up films each; about half of the films show a finding. A
    finished folder with the same parameters is reused. An interrupted call leaves no folder.

    Parameters
    ----------
    folder : path-like, optional
        Where to write. Default: a folder named after the parameters in
        :func:`helpers.data.cache_folder`.
    n_films : int, default=2000
        Number of films, at least 1.
    size : int in [32, 1024], default=64
        Pixels along one side; films are square. The anatomy does not depend on it.
    seed : int, default=0
        Not negative. The same seed gives the same bytes, whatever the number of cores.

    Returns
    -------
    pathlib.Path
        The folder, in NIH's layout: ``images/00000001_000.png`` (8-bit greyscale, dense is
        bright) and ``Data_Entry_2017.csv``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or ``folder`` holds something else already or cannot be
        written to.
    TypeError
        If a parameter is not an integer.
    """
    parameters = {
        "n_films": check_integer("n_films", n_films, 1),
        "size": check_integer("size", size, 32, 1024),
        "seed": check_integer("seed", seed, 0),
        "version": VERSION,
    }
    if folder is None:
        folder = cache_folder() / f"synthetic-v{VERSION}-{n_films}-films-{size}px-seed{seed}"
    folder = Path(folder)
    with writing_to(folder, "synthetic radiographs", "folder"):
        if not _is_finished(folder, parameters):
            _write_collection(folder, parameters)
    return folder


def _write_collection(folder, parameters):
    """Write a collection next to its place, and move it there when it is complete."""
    n_films, size, seed = (parameters[name] for name in ("n_films", "size", "seed"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        films = draw_films(n_films, seed)
        write_films(unfinished, films, size=size, seed=seed)
        described = {
            **parameters,
            "hospitals": {hospital.name: asdict(hospital) for hospital in HOSPITALS},
        }
        (unfinished / PARAMETERS).write_text(json.dumps(described, indent=1), encoding="utf-8")
        unfinished.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()  # an empty folder, see _is_finished
        unfinished.rename(folder)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        # Another process may have been faster; its films have the same bytes.
        if not (isinstance(error, OSError) and _is_finished(folder, parameters)):
            raise


def _is_finished(folder, parameters):
    """Whether the folder contains these films; refuse one with any other content."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / PARAMETERS).read_text(encoding="utf-8"))
        found = {name: found[name] for name in parameters}
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found == parameters:
        return True
    content = "something else" if found is None else f"films made with {found}"
    raise ValueError(
        f"Expected {str(folder)!r} to be empty, missing, or made with {parameters}. "
        f"Received a folder with {content}. Choose another folder or remove it yourself."
    )


def tabulate_films(films: list[FilmRecord]) -> pd.DataFrame:
    """Tabulate drawn films without rendering them: all that an audit needs.

    Parameters
    ----------
    films : list of FilmRecord
        From ``helpers.phantom.population.draw_films``.

    Returns
    -------
    pandas.DataFrame
        ``image``, ``patient``, ``hospital``, ``sex``, ``age``, ``view`` and ``findings``, as
        :func:`helpers.data.read_radiographs` names them.
    """
    return pd.DataFrame(
        {
            "image": [name_film(film) for film in films],
            "patient": [str(film.patient) for film in films],
            "hospital": [film.hospital.name for film in films],
            "sex": ["F" if film.female else "M" for film in films],
            "age": [float(film.age) for film in films],
            "view": [film.view for film in films],
            "findings": ["|".join(film.findings) or "No Finding" for film in films],
        }
    )


def write_films(
    folder: Path, films: list[FilmRecord], *, size: int, seed: int, workers: int | None = None
) -> None:
    """Render films and write them with their csv in NIH's layout.

    Parameters
    ----------
    folder : pathlib.Path
        An existing, empty folder.
    films : list of FilmRecord
        From :func:`helpers.phantom.population.draw_films`.
    size : int
        Pixels along one side.
    seed : int
        Seed of anatomy, lesions and noise.
    workers : int, optional
        Processes, default one for each core. The bytes do not depend on it.

    Raises
    ------
    RuntimeError
        If a process fails; its own message is on the terminal.
    """
    (folder / "images").mkdir()
    with tqdm(total=len(films), desc="synthetic films", disable=None) as progress:
        workers = min(workers or os.cpu_count() or 1, len(films) // WORTH_A_PROCESS)
        if workers > 1 and sys.executable:
            _render_in_processes(folder, films, size, seed, workers, progress)
        else:
            for _ in _render(folder, films, size, seed):
                progress.update()
    lines = [HEADER, *(_csv_line(film, size) for film in films)]
    (folder / CSV).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _render(folder, films, size, seed):
    """Write films one by one, yielding after each."""
    # The matrices are tiny: several threads of BLAS would only slow each other down.
    with threadpool_limits(1, "blas"):
        for film in films:
            picture = Image.fromarray(render_film(film, size, seed))
            picture.save(folder / "images" / name_film(film), compress_level=1)
            yield film


def _render_in_processes(folder, films, size, seed, workers, progress):
    """Write films in several processes.

    Threads would wait for each other, as the arrays are small. Fresh interpreters are used
    rather than :mod:`multiprocessing`: a script without a ``__main__`` guard must work, and
    forking after TensorFlow was imported must not happen.
    """
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", _CHILD, root]
    children = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE) for _ in range(workers)]

    def follow(child, share):
        with child.stdin as pipe:
            pickle.dump((folder, share, size, seed), pipe)
        while mark := child.stdout.read(1):  # one for each film
            if mark != _DONE:
                raise OSError(child.stdout.read().decode())
            progress.update()
        if child.wait():
            raise RuntimeError(
                f"Expected every process to render its films. Received exit code "
                f"{child.returncode} from one; its message is printed above."
            )

    try:
        with ThreadPoolExecutor(workers) as pool:
            # Neighbours, so that the follow-ups of a patient share what is drawn once.
            edges = [len(films) * part // workers for part in range(workers + 1)]
            shares = [films[low:high] for low, high in pairwise(edges)]
            try:
                for done in [
                    pool.submit(follow, *pair) for pair in zip(children, shares, strict=True)
                ]:
                    done.result()
            except BaseException:
                for child in children:
                    child.kill()
                raise
    finally:
        for child in children:
            child.wait()
            child.stdout.close()


_DONE, _FULL = b".", b"!"
# What a process runs. Ctrl-C reaches all processes at once; the parent ends the others. If it
# cannot write, it reports that, since the parent can advise what to do.
_CHILD = """
import pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path.insert(0, sys.argv[1])
from helpers.data.synthetic import _DONE, _FULL, _render
try:
    for _ in _render(*pickle.load(sys.stdin.buffer)):
        sys.stdout.buffer.write(_DONE)
        sys.stdout.buffer.flush()
except OSError as error:
    sys.stdout.buffer.write(_FULL + str(error).encode())
"""


def name_film(film: FilmRecord) -> str:
    """Name the file of a film as NIH does, ``00000012_003.png``."""
    return f"{film.patient:08d}_{film.follow_up:03d}.png"


def _csv_line(film, size):
    """Line of a film in the csv; the pixel spacing is in millimetres."""
    labels = "|".join(film.findings) or "No Finding"
    spacing = f"{FIELD * 10 / size:.3f}"
    return (
        f"{name_film(film)},{labels},{film.follow_up},{film.patient},{film.age},"
        f"{'F' if film.female else 'M'},{film.view},{size},{size},{spacing},{spacing},"
        f"{film.hospital.name}"
    )


def draw_chest(
    film: FilmRecord, seed: int, findings: Iterable[str] | None = None
) -> tuple[Anatomy, Pose, Lesions, np.random.Generator]:
    """Draw the patient, the pose and the abnormalities of one film.

    Anatomy and lesions are drawn from the patient's own streams, so they persist over the
    follow-ups; pose, severity, exposure and noise are drawn for each film.

    Parameters
    ----------
    film : FilmRecord
        Who, where and with which findings.
    seed : int
        Seed of the collection.
    findings : iterable of str, optional
        Other findings than those of the film; each has the same shape with and without the others.

    Returns
    -------
    anatomy : Anatomy
        The patient.
    pose : Pose
        How the patient stands or lies.
    lesions : Lesions
        The abnormalities.
    rng : numpy.random.Generator
        The film's generator, which draws marker, exposure and noise next.
    """
    rng = np.random.default_rng([seed, _FILM, film.patient, film.follow_up])
    anatomy = draw_anatomy(
        np.random.default_rng([seed, _ANATOMY, film.patient]), film.first_age, film.female
    )
    pose = draw_pose(rng, film.view)
    growth = np.exp(rng.normal(0, 0.12))

    def rng_of(finding):
        return np.random.default_rng([seed, _LESION, film.patient, *finding.encode()])

    findings = film.findings if findings is None else findings
    return anatomy, pose, draw_lesions(rng_of, findings, anatomy, growth), rng


def render_film(film: FilmRecord, size: int, seed: int) -> np.ndarray:
    """Render one film.

    Parameters
    ----------
    film : FilmRecord
        Who, where and with which findings.
    size : int
        Pixels along one side.
    seed : int
        Seed of the collection.

    Returns
    -------
    ndarray of uint8, shape (size, size)
        Dense is bright.
    """
    anatomy, pose, lesions, rng = draw_chest(film, seed)
    # One and a half times as many rays as pixels in each direction keep edges smooth.
    integral = project_chest(anatomy, pose, lesions, (3 * size + 1) // 2)
    add_marker(integral, film.hospital.marker, rng)
    picture = expose(integral, film.hospital.draw_technique(rng), size, rng)
    return np.round(picture * 255).astype(np.uint8)
