"""The opener reads what is written, the network fits it, and hospitals train together."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from film_opener import IMAGE_SIZE, FilmOpener
from make_films import make_films
from network import build_network
from train import train, write_page

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def settings():
    """Return the configuration, made small."""
    small = {"films": 240, "rounds": 1, "updates": 4}
    return OmegaConf.merge(OmegaConf.load(ROOT / "configuration.yaml"), small)


@pytest.fixture(scope="module")
def films(settings, tmp_path_factory):
    """Write films of both hospitals; return their folder."""
    folder = tmp_path_factory.mktemp("data")
    make_films(folder, settings.hospitals, n_films=settings.films, size=IMAGE_SIZE)
    return folder


def test_opener_reads_films_in_the_form_of_its_fake_data(settings, films):
    folders = [films / hospital / "train" for hospital in settings.hospitals]
    data, fake = FilmOpener().get_data(folders), FilmOpener().fake_data(3)
    assert {name: (a.dtype.kind, a.shape[1:]) for name, a in data.items()} == {
        name: (a.dtype.kind, a.shape[1:]) for name, a in fake.items()
    }
    assert {*data["labels"]} == {0, 1}
    assert len(data["labels"]) == sum(
        len(FilmOpener().get_data([folder])["labels"]) for folder in folders
    )


def test_no_patient_is_in_two_splits(settings, films):
    for hospital in settings.hospitals:
        splits = [
            {*FilmOpener().get_data([films / hospital / split])["patients"]}
            for split in ("train", "valid", "test")
        ]
        assert sum(map(len, splits)) == len(set.union(*splits))


def test_opener_refuses_strange_labels(tmp_path):
    (tmp_path / "films.csv").write_text("image,label,patient\na.png,2,1\n")
    with pytest.raises(ValueError, match="labels 0 and 1. Received the labels \\['2'\\]"):
        FilmOpener().get_data([tmp_path])


def test_network_gives_a_logit_for_each_film():
    films = FilmOpener().fake_data(5)["images"].astype(np.float32) / 255
    logits = build_network().predict(films, verbose=0)
    assert logits.shape == (5, 1)
    assert np.isfinite(logits).all()


def test_hospitals_train_together_and_the_page_shows_it(settings, films, tmp_path):
    scores, trained = train(settings, films)
    assert list(scores.index) == list(settings.hospitals)
    assert scores[["alone", "together"]].stack().between(0, 1).all()
    assert trained.count_params() == build_network().count_params()
    write_page(scores, tmp_path)
    page = (tmp_path / "README.md").read_text("utf-8")
    assert all(f"| {hospital} |" in page for hospital in settings.hospitals)
