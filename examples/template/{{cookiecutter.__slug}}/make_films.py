"""Synthetic films to start with, in the places where your own belong."""

from PIL import Image

from helpers.data import (
    label_films,
    make_hospitals,
    make_radiographs,
    read_image,
    read_radiographs,
)


def make_films(folder, hospitals, *, n_films, size, seed=0):
    """Write ``HOSPITAL/{train,valid,test}`` of each hospital that has no folder yet.

    Each split has its image files and ``films.csv``; no patient is in two of them.
    """
    missing = [hospital for hospital in hospitals if not (folder / hospital).is_dir()]
    if not missing:
        return
    radiographs = read_radiographs(make_radiographs(n_films=n_films, size=size, seed=seed))
    labels = label_films(radiographs.table, "any finding vs none")
    patients = radiographs.table.assign(hospital=None, label=labels)  # to any hospital, at random
    films = make_hospitals(patients, labels, n_hospitals=len(hospitals), seed=seed)
    names = dict(zip(sorted(films["hospital"].unique()), hospitals, strict=True))
    films = films.assign(hospital=films["hospital"].map(names))
    for (hospital, split), rows in films.groupby(["hospital", "split"]):
        if hospital not in missing:
            continue
        place = folder / hospital / split
        place.mkdir(parents=True)
        names = [f"{number:05d}.png" for number in range(len(rows))]
        for name, image in zip(names, rows["image"], strict=True):
            Image.fromarray(read_image(radiographs.source, image)).save(place / name)
        rows = rows.assign(image=names)[["image", "label", "patient"]]
        rows.to_csv(place / "films.csv", index=False)
