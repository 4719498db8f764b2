"""Masks of synthetic films against how they are drawn, and NIH's boxes against their numbers."""

import json

import numpy as np
import pytest

from helpers.data import make_radiographs, read_masks, read_radiographs
from helpers.data.masks import draw_masks
from helpers.data.nih import read_boxes
from helpers.data.synthetic import PARAMETERS, render_film
from helpers.phantom.population import draw_films

BOXES = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00000001_001.png,Infiltrate,512.0,0.0,256.0,512.0,,,
00000001_001.png,Mass,0,512,512,256,,,
"""


@pytest.fixture(scope="module")
def films():
    return draw_films(200, 0)


def find(films, *findings):
    return next(film for film in films if film.findings == findings)


@pytest.mark.parametrize("finding", ["Effusion", "Pneumonia", "Nodule", "Pneumothorax"])
def test_a_mask_is_where_the_film_changes(films, finding):
    film = find(films, finding)
    mask = draw_masks(film, 64, 0)[finding]
    # The same patient without the finding: the same noise, as long as the exposure is the same.
    with_it, without = (
        render_film(one, 64, 0).astype(float) for one in (film, film._replace(findings=()))
    )
    change = np.abs(with_it - without)
    change -= np.median(change)
    assert 0.002 < mask.mean() < 0.25
    assert change[mask].mean() > 5 * np.abs(change[~mask]).mean()


def test_heart_and_marker_are_where_they_belong(films):
    for film in films[:5]:
        masks = draw_masks(film, 64, 0)
        rows, columns = np.nonzero(masks["heart"])
        assert 24 < rows.mean() < 50
        assert 28 < columns.mean() < 46
        rows, columns = np.nonzero(masks["marker"])
        assert rows.mean() < 16
        assert columns.mean() > 48


def test_the_mask_of_cardiomegaly_is_the_enlarged_heart(films):
    film = find(films, "Cardiomegaly")
    masks = draw_masks(film, 64, 0)
    np.testing.assert_array_equal(masks["Cardiomegaly"], masks["heart"])
    healthy = draw_masks(film._replace(findings=()), 64, 0)["heart"]
    assert masks["heart"].sum() > 1.1 * healthy.sum()


def test_masks_do_not_depend_on_the_size(films):
    film = find(films, "Pneumonia")
    small, large = (draw_masks(film, size, 0)["Pneumonia"] for size in (32, 64))
    coarse = large.reshape(32, 2, 32, 2).mean(axis=(1, 3)) >= 0.5
    assert (coarse & small).sum() / (coarse | small).sum() > 0.85


def test_masks_of_a_collection(tmp_path):
    radiographs = read_radiographs(make_radiographs(tmp_path / "films", n_films=20, size=32))
    table = radiographs.table
    seed = json.loads((radiographs.source / PARAMETERS).read_text())["seed"]
    masks = read_masks(radiographs, table["image"], 32)
    assert masks["finding"].shape == (20, 32, 32)
    assert masks["finding"].dtype == bool
    ill = (table["findings"] != "No Finding").to_numpy()
    np.testing.assert_array_equal(masks["finding"].any(axis=(1, 2)), ill)
    for name in set(masks) - {"heart", "marker", "finding"}:
        has_it = table["findings"].str.contains(name).to_numpy()
        np.testing.assert_array_equal(masks[name].any(axis=(1, 2)), has_it)
    alone = draw_masks(draw_films(20, seed)[3], 32, seed)
    np.testing.assert_array_equal(masks["heart"][3], alone["heart"])
    with pytest.raises(ValueError, match=r"Expected films of 'films'. Received 'x.png'"):
        read_masks(radiographs, ["x.png"], 32)
    with pytest.raises(ValueError, match="size to be at least 1"):
        read_masks(radiographs, table["image"], 0)


def test_boxes_become_masks(make_nih):
    folder = make_nih()
    (folder / "BBox_List_2017.csv").write_text(BOXES)
    radiographs = read_radiographs(folder)
    masks = read_masks(radiographs, radiographs.table["image"], 8)
    assert set(masks) == {"Infiltration", "Mass", "finding"}
    expected = np.zeros((8, 8), bool)
    expected[:4, 4:6] = True
    np.testing.assert_array_equal(masks["Infiltration"][1], expected)
    assert masks["Mass"][1, 4:6, :4].all()
    assert masks["Mass"].sum() == 8
    assert masks["finding"].sum(axis=(1, 2)).tolist() == [0, 16, 0]


def test_without_boxes_nothing_is_marked(make_nih):
    radiographs = read_radiographs(make_nih())
    assert read_masks(radiographs, radiographs.table["image"], 8) == {}
    assert read_boxes(radiographs.source).empty


@pytest.mark.parametrize("line", ["a.png,Mass,1,2,3", "a.png,Mass,1,2,0,4", "a.png,Flu,1,2,3,4"])
def test_broken_boxes_are_named(make_nih, line):
    folder = make_nih()
    (folder / "BBox_List_2017.csv").write_text(BOXES + line)
    with pytest.raises(ValueError, match=r"in line 4 of BBox_List_2017\.csv"):
        read_boxes(folder)
