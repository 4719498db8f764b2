import numpy as np
import pytest

from helpers.data.report import Report


def test_clean_report_says_so_and_does_not_raise():
    report = Report()
    report.repair("x", 0)
    report.note("y", 0)
    report.fault("z", [])
    assert not report.is_faulty
    assert str(report) == "Nothing to repair and nothing wrong."
    assert report.summary() == ""
    report.raise_if_faulty()


def test_counts_add_up_by_kind():
    report = Report()
    report.repair("age set to missing", 2)
    report.repair("age set to missing")
    report.note("image left out", 1200)
    assert str(report) == "- repaired: age set to missing (3)\n- noted: image left out (1,200)"
    assert report.summary() == "repaired: age set to missing (3); noted: image left out (1,200)"
    report.raise_if_faulty()


def test_first_names_of_each_kind_are_shown_and_the_rest_counted():
    report = Report()
    report.fault("image missing", ["a.png", "b.png"])
    report.fault("image missing", ["c.png", "d.png", "e.png"])
    report.fault("unknown finding", ["f.png (Foo)"])
    with pytest.raises(ValueError, match="Expected radiographs without faults") as caught:
        report.raise_if_faulty()
    text = str(caught.value)
    assert "- wrong: image missing (5): a.png, b.png, c.png, … and 2 more\n" in text
    assert "- wrong: unknown finding (1): f.png (Foo)\n" in text
    assert "strict=False" in text


def test_left_out_films_are_said():
    report = Report(dropped=2)
    report.fault("image missing", ["a.png", "b.png"])
    assert str(report).endswith("- films left out: 2")
    assert report.summary() == "wrong: image missing (2); films left out: 2"


def test_names_and_advice_of_notes_and_repairs():
    report = Report()
    report.repair("name found", ["a", "b"])
    report.note("file not read", ["c", "d"], "Move it.")
    report.note("file not read", ["d", "e", "f"], "Move it.")
    report.note("sizes differ", np.int64(1))
    report.note("sizes differ", np.bool_(True))
    report.note("nothing", [])
    report.fault("missing", ["g"], "Copy it again.")
    assert report.notes == {"file not read": 5, "sizes differ": 2}
    lines = [
        "- repaired: name found (2): a, b",
        "- noted: file not read (5): c, d, e, …. Move it.",
        "- noted: sizes differ (2)",
        "- wrong: missing (1): g. Copy it again.",
    ]
    assert str(report).split("\n") == lines
    assert report.named_lines() == [lines[1], lines[3]]


def test_a_report_includes_another_with_names_and_advice():
    report, other = Report(), Report()
    other.repair("name found", ["a", "b"])
    other.note("file not read", ["c"], "Move it.")
    other.fault("missing", ["g"], "Copy it again.")
    report.note("file not read", ["d"])
    report.include(other, "North: ")
    assert str(report).split("\n") == [
        "- repaired: North: name found (2): a, b",
        "- noted: file not read (1): d",
        "- noted: North: file not read (1): c. Move it.",
        "- wrong: North: missing (1): g. Copy it again.",
    ]
