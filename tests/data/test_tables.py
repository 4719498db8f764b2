import gzip
import re

import pandas as pd
import pytest

from helpers.data import label_films, read_table, set_up_hospitals
from helpers.data.radiographs import read_radiographs
from tests.data.collections import draw_films, write_plain_findings, write_plain_label


@pytest.fixture
def make_table(tmp_path, write_film):
    """Return a function that writes a csv, and the films in its first column."""

    def make(text, *, films=None, csv="films.csv"):
        (tmp_path / csv).write_text(text, encoding="utf-8")
        lines = text.strip().split("\n")[1:]
        for film in films or [re.split("[,;]", line)[0] for line in lines]:
            write_film(tmp_path / film)
        return tmp_path / csv

    return make


def test_a_column_of_0_and_1_is_a_task(tmp_path):
    films = read_radiographs(write_plain_label(tmp_path, patients=8))
    drawn = draw_films(patients=8)
    assert films.layout == "table"
    labels = label_films(films.table, "any finding vs none")
    assert labels.tolist() == [int(len(names) > 0) for names in drawn["found"]]
    assert set(films.table["findings"]) == {"Opacity", "No Finding"}
    assert films.table["patient"].tolist() == drawn["patient"].astype(str).tolist()
    assert films.table["age"].tolist() == drawn["age"].tolist()
    assert "noted: column not used (1): scanner" in str(films.report)


def test_a_column_of_findings_may_have_any_names(tmp_path):
    films = read_radiographs(write_plain_findings(tmp_path, patients=8))
    names = set("|".join(films.table["findings"]).split("|"))
    assert names == {"Effusion", "Rib fracture", "Tuberculosis", "No Finding"}
    assert films.table["sex"].tolist() == draw_films(patients=8)["sex"].tolist()


@pytest.mark.parametrize(
    ("header", "column"), [("Site", "hospital"), ("Institution", "hospital"), ("Split", "split")]
)
def test_usual_headers_are_recognized(make_table, header, column):
    csv = make_table(f"file_name,Label,{header}\na.png,1,test\nb.png,0,test\n")
    assert read_table(csv).table[column].tolist() == ["test", "test"]


def test_a_table_that_was_read_goes_to_the_pages(tmp_path):
    write_plain_label(tmp_path)
    films = read_table(tmp_path / "films.csv", findings={"Opacity": "Pneumonia"})
    study = set_up_hospitals("Pneumonia", radiographs=films)
    assert study.radiographs is films
    assert study.films["hospital"].nunique() == 3


AMBIGUOUS = {
    "two label columns": "image,A,B\na.png,1,0\nb.png,0,1\n",
    "no file names": "film,Label\na.png,1\nb.png,0\n",
    "no labels": "image,note\na.png,x\nb.png,y\n",
    "two columns of findings": "image,Label,Class\na.png,Mass,Edema\nb.png,Mass,Edema\n",
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_what_is_not_clear_is_refused_with_all_columns(make_table, kind):
    csv = make_table(AMBIGUOUS[kind])
    with pytest.raises(ValueError, match="read_table") as caught:
        read_radiographs(csv.parent)
    for header in AMBIGUOUS[kind].split("\n")[0].split(","):
        assert repr(header) in str(caught.value)


def test_the_call_that_the_refusal_shows_reads_the_table(make_table):
    csv = make_table(AMBIGUOUS["two label columns"])
    with pytest.raises(ValueError, match="read_table") as caught:
        read_table(csv)
    call = re.search(r"read_table\(.*\)$", str(caught.value), re.MULTILINE)[0]
    films = eval(call)  # what a user would paste
    assert films.table["findings"].tolist() == ["A", "B"]


def test_two_tables_in_a_folder_are_refused_by_name(make_table):
    make_table("image,Label\na.png,1\nb.png,0\n")
    csv = make_table("image,Label\na.png,1\nb.png,0\n", csv="other.csv")
    with pytest.raises(ValueError, match=r"one table of films in .* Received films.csv, other.csv"):
        read_radiographs(csv.parent)
    assert len(read_table(csv)) == 2


FINDINGS = {
    "names and a separator": ("Signs", ";", ["Mass|Effusion", "No Finding", None]),
    "a label of its own name": ("Ill", "|", ["Ill", "No Finding", None]),
    "a label with a name": ({"Ill": "Pneumonia"}, "|", ["Pneumonia", "No Finding", None]),
    "several labels": (
        {"Ill": "Ill", "Fluid": "Pleural Effusion"},
        "|",
        ["Ill|Effusion", "No Finding", None],
    ),
}


@pytest.mark.parametrize("kind", FINDINGS)
def test_findings_are_names_or_labels(make_table, kind):
    findings, separator, expected = FINDINGS[kind]
    csv = make_table(
        "scan,who,Signs,Ill,Fluid\n"
        "a.png,7,Mass; pleural effusion,1,1.0\n"
        "b.png,8,normal,0,\n"
        "c.png,9,,,\n"
    )
    columns = {"image": "scan", "patient": "who"}
    films = read_table(csv, columns=columns, findings=findings, separator=separator)
    named = films.table["findings"]
    assert named.astype(object).where(named.notna(), None).tolist() == expected
    assert films.table["patient"].tolist() == ["7", "8", "9"]
    assert films.report.notes["film without a finding or No Finding"] == 1


def test_an_uncertain_label_is_kept_apart(make_table):
    csv = make_table("image,Mass,Edema\na.png,1,-1\nb.png,,-1\nc.png,0,\nd.png,,\n")
    films = read_table(csv, findings={"Mass": "Mass", "Edema": "Edema"})
    assert films.table["findings"].fillna("").tolist() == ["Mass", "", "No Finding", ""]
    assert films.table["uncertain"].fillna("").tolist() == ["Edema", "Edema", "", ""]
    assert films.report.notes["blank label counted as absent"] == 2


def test_no_finding_with_another_label_is_a_fault(make_table):
    csv = make_table("image,No Finding,Mass\na.png,1,1\nb.png,0,1\n")
    labels = {"No Finding": "No Finding", "Mass": "Mass"}
    with pytest.raises(ValueError, match=r"No Finding together with another finding \(1\): a.png"):
        read_table(csv, findings=labels)
    assert len(read_table(csv, findings=labels, strict=False)) == 1


PLACES = {
    "names below the folder": ["x/a.png", "y/a.png"],
    "a root that is not there": ["Root-v1/x/a.png", "Root-v1/y/a.png"],
    "windows": ["x\\a.png", "y\\a.png"],
}


@pytest.mark.parametrize("kind", PLACES)
def test_films_are_found_by_path(make_table, tmp_path, kind):
    rows = [f"{name},{place}" for place, name in enumerate(PLACES[kind])]
    csv = make_table("\n".join(["image,Label", *rows]), films=["x/a.png", "y/a.png"])
    assert read_table(csv).table["image"].tolist() == ["x/a.png", "y/a.png"]


@pytest.mark.parametrize("ending", [".png", ""])
def test_films_are_found_by_name_in_another_folder(make_table, tmp_path, ending):
    csv = make_table(f"image,Label\na{ending},1\nb{ending},0\n", films=["in/1/a.png", "in/2/b.png"])
    films = read_table(csv, tmp_path / "in")
    assert films.table["image"].tolist() == ["1/a.png", "2/b.png"]
    assert films.source == (tmp_path / "in").resolve()


def test_missing_ambiguous_and_surplus_films_are_reported(make_table):
    csv = make_table(
        "image,Label\na.png,1\nb.png,0\nlost.png,0\n",
        films=["1/a.png", "2/a.png", "b.png", "c.png"],
    )
    with pytest.raises(ValueError, match=r"missing \(1\): lost.png") as caught:
        read_table(csv)
    assert "same file name in two folders (1): 1/a.png, 2/a.png" in str(caught.value)
    films = read_table(csv, strict=False)
    assert films.table["image"].tolist() == ["b.png"]
    assert films.report.notes["image not named in films.csv left out"] == 1


def test_lateral_films_are_set_aside_and_counted(make_table):
    csv = make_table("image,Label,view\na.png,1,PA\nb.png,0,AP\nc.png,1,Lateral\nd.png,1,LL\n")
    films = read_table(csv)
    assert films.table["view"].tolist() == ["PA", "AP"]
    assert films.report.notes["lateral film set aside"] == 2
    assert "image not named in films.csv left out" not in films.report.notes


def test_columns_can_be_left_out(make_table):
    csv = make_table("image,Label,age\na.png,1,50\nb.png,0,60\n")
    assert read_table(csv, columns={"age": None}).table["age"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"columns": {"image": "nothing"}}, r"\['nothing'\]"),
        ({"columns": {"picture": "image"}}, r"\['picture'\]"),
        ({"findings": "nothing"}, r"\['nothing'\]"),
        ({"findings": {"nothing": "Mass"}}, r"\['nothing'\]"),
    ],
)
def test_a_column_that_is_not_there_is_named(make_table, arguments, named):
    csv = make_table("image,Label\na.png,1\nb.png,0\n")
    with pytest.raises(ValueError, match=rf"has \['image', 'Label'\]\. Received {named}"):
        read_table(csv, **arguments)


def test_packed_table(make_table):
    csv = make_table("image,Label\na.png,1\nb.png,0\n")
    packed = csv.with_name("films.csv.gz")
    packed.write_bytes(gzip.compress(csv.read_bytes()))
    csv.unlink()
    assert len(read_radiographs(packed.parent)) == 2
    packed.write_bytes(packed.read_bytes()[:30])
    with pytest.raises(ValueError, match=r"Expected a gzip file\. Received 'films.csv.gz'"):
        read_table(packed)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="Expected csv to name an existing"):
        read_table(tmp_path / "nothing.csv")


def test_a_hundred_thousand_rows_name_each_combination_once():
    from helpers.data.report import Report
    from helpers.data.tables import name_findings

    codes = pd.DataFrame({"Mass": [1, 0] * 50_000, "No finding": [0, 1] * 50_000}, dtype="int8")
    named = name_findings(codes, Report())
    assert named["findings"].tolist()[:2] == ["Mass", "No Finding"]
    assert len(named) == 100_000
