import re

import numpy as np

from helpers.plots import animate_weights


def _picture():
    models = [[np.array([x]), np.zeros((1, 1))] for x in (0.0, 3.0, 4.0)]
    updates = {
        "North_A": [[np.array([4.0]), np.full((1, 1), 1.5)], [np.array([1.0]), np.zeros((1, 1))]],
        "B & C": [[np.array([2.0]), np.full((1, 1), -1.5)], [np.array([1.0]), np.zeros((1, 1))]],
    }
    return animate_weights(models, updates)._repr_html_()


def test_a_script_prints_what_the_picture_says():
    models = [[np.array([x])] for x in (0.0, 3.0)]
    picture = animate_weights(models, {"A": [[np.array([4.0])]]})
    assert str(picture).startswith("Weights of 1 round on a plane")


def test_the_picture_says_its_numbers_and_names():
    html = _picture()
    (said,) = re.findall('aria-label="([^"]+)"', html)
    assert "1.00 (North A, round 2) to 4.27 (North A, round 1)" in said
    assert "steps of the global model 1.00 to 3.00" in said
    assert ">North A<" in html
    assert ">B &amp; C<" in html


def test_marks_move_out_and_meet_at_the_next_model():
    html = _picture()
    rules = re.findall(r"@keyframes travel-\d \{(.*)\}\n", html)
    assert len(rules) == 2
    ways = [re.findall(r"(\d[\d.]*)% \{transform: translate\(([^)]+)\)\}", rule) for rule in rules]
    first, second = ({float(percent): place for percent, place in way} for way in ways)
    assert first[0] == second[0]
    assert first[22.5] != second[22.5]
    assert first[45] == second[45] == first[50]
    assert first[95] == first[100]


def test_readers_can_have_it_still():
    html = _picture()
    assert "prefers-reduced-motion: reduce" in html
    assert '<input type="checkbox"' in html
    assert len(html) < 30_000


def test_distances_on_the_plane_are_those_of_the_weights():
    html = _picture()
    (line,) = re.findall(r'<path d="M([^"]+)" stroke="black"', html)
    start, first, last = (np.array(place.split(","), float) for place in line.split("L"))
    ratio = np.linalg.norm(first - start) / np.linalg.norm(last - first)
    np.testing.assert_allclose(ratio, 3, rtol=0.01)  # two dimensions are shown as they are
