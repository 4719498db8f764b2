import numpy as np
import pandas as pd
import pytest

from helpers.data.metadata import COLUMNS, FINDINGS, drop_duplicates, read_metadata
from helpers.data.report import Report


def read(tmp_path, text):
    (tmp_path / "films.csv").write_text(text, encoding="utf-8")
    report = Report()
    return read_metadata(tmp_path / "films.csv", report), report


def column(tmp_path, name, values):
    """Read one column; return its tidied values (None for missing) and the repairs."""
    lines = [f'{index}.png,"{value}"' for index, value in enumerate(values)]
    table, report = read(tmp_path, "\n".join([f"image,{name}", *lines]))
    values = table[name].astype(object).where(table[name].notna(), None).tolist()
    return values, report


def test_nih_header_gives_our_columns(tmp_path):
    table, report = read(
        tmp_path,
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],Hospital\n"
        "a.png,Edema|Mass,3,17,58,M,PA,2682,2749,0.143,0.143,North\n",
    )
    assert tuple(table.columns) == (*COLUMNS, "faulty")
    row = ["a.png", "17", 58.0, "M", "PA", "Edema|Mass", 3, "North"]
    assert table.iloc[0, :8].tolist() == row
    assert pd.isna(table["split"][0])
    assert not table["faulty"][0]
    assert str(report) == "Nothing to repair and nothing wrong."


def test_our_own_header_is_understood(tmp_path):
    table, _ = read(
        tmp_path,
        "image,patient,age,sex,view,findings,follow_up,hospital,split,weight\n"
        "a.png,p1,8.5,F,AP,Unspecified,0,South,valid,0.25\n",
    )
    expected = ["a.png", "p1", 8.5, "F", "AP", "Unspecified", 0, "South", "valid", 0.25, False]
    assert table.iloc[0].tolist() == expected


def test_columns_that_are_not_there_are_missing(tmp_path):
    table, report = read(tmp_path, "image\na.png\n")
    assert table.drop(columns=["image", "faulty"]).isna().all(axis=None)
    assert table["age"].dtype == np.float64
    assert table["follow_up"].dtype == "Int64"
    assert not report.repairs


def test_header_alone_gives_an_empty_table(tmp_path):
    table, _ = read(tmp_path, "image,age,findings\n")
    assert len(table) == 0
    assert table["age"].dtype == np.float64


def test_a_csv_without_image_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a column 'Image Index'.*\['age', 'sex'\]"):
        read(tmp_path, "age,sex\n5,F\n")


def test_ages_of_both_versions_of_nih(tmp_path):
    values, report = column(tmp_path, "age", ["58", "058Y", "006M", "073D", "", "0", "120"])
    assert values == [58.0, 58.0, 0.5, pytest.approx(73 / 365.25), None, 0.0, 120.0]
    assert report.repairs == {"age such as 058Y or 011M converted to years": 3}


def test_impossible_ages_become_missing(tmp_path):
    values, report = column(tmp_path, "age", ["412", "148", "-3", "999Y", "inf", "abc", "NA", "7"])
    assert values == [None] * 7 + [7.0]
    assert report.notes == {
        "age outside 0-120 years set to missing": 5,
        "unreadable age set to missing": 1,
    }
    assert not report.repairs
    assert "set to missing (5): '412', '148', '-3', …. Correct these values" in str(report)
    assert not report.is_faulty


def test_sex_and_view(tmp_path):
    values, report = column(tmp_path, "sex", ["F", "m", "Female", "", "X"])
    assert values == ["F", "M", "F", None, None]
    assert report.repairs == {"sex spelled otherwise": 2}
    assert report.notes == {"unknown sex set to missing": 1}
    values, report = column(tmp_path, "view", ["PA", " ap", "LL", "none"])
    assert values == ["PA", "AP", None, None]
    assert report.repairs == {"view spelled otherwise": 1}
    assert report.notes == {"unknown view set to missing": 1}
    assert "- noted: unknown view set to missing (1): 'LL'. Correct" in str(report)


def test_findings_spelled_otherwise_are_repaired(tmp_path):
    texts = ["no finding", "Pleural Thickening | edema", "Mass|Mass", "Hernia"]
    values, report = column(tmp_path, "findings", texts)
    assert values == ["No Finding", "Pleural_Thickening|Edema", "Mass", "Hernia"]
    assert report.repairs == {"findings spelled otherwise": 3}
    assert not report.is_faulty


def test_unknown_findings_are_a_fault(tmp_path):
    values, report = column(tmp_path, "findings", ["Edema|Covid", "Mass", "Covid"])
    assert report.faults == {"unknown finding": ["0.png (Covid)", "2.png (Covid)"]}
    assert values[1] == "Mass"


def test_no_finding_beside_a_finding_is_a_fault(tmp_path):
    _, report = column(tmp_path, "findings", ["No Finding|Mass", "No Finding"])
    assert report.faults == {"No Finding together with another finding": ["0.png"]}


def test_patients_stay_texts(tmp_path):
    values, report = column(tmp_path, "patient", ["17", "0017", "17.0", "p-3", ""])
    assert values == ["17", "0017", "17", "p-3", None]
    assert report.repairs == {"patient number written as a decimal": 1}


def test_follow_up_and_weight(tmp_path):
    values, report = column(tmp_path, "follow_up", ["0", "12", "3.0", "-1", "x", ""])
    assert values == [0, 12, 3, None, None, None]
    assert report.notes == {"unreadable follow-up number set to missing": 2}
    values, report = column(tmp_path, "weight", ["0.5", "-1", "inf", "x", ""])
    assert values == [0.5, None, None, None, None]
    assert report.notes == {"unreadable or negative weight set to missing": 3}


def test_rows_without_an_image_or_of_other_length_are_faults(tmp_path):
    table, report = read(tmp_path, "image,age,sex\na.png,5,F\n,6,M\nb.png,7\nc.png,8,F,9\n")
    assert report.faults == {
        "films.csv line with more or fewer values than its header": ["line 4", "line 5"],
        "films.csv row without an image name": ["row 2"],
    }
    assert table["faulty"].tolist() == [False, True]


def test_windows_paths_become_forward_slashes(tmp_path):
    table, _ = read(tmp_path, "image\n.\\train\\sain\\a.png\n")
    assert table["image"].tolist() == ["train/sain/a.png"]


def test_repeated_rows_are_dropped_and_contradictions_reported(tmp_path):
    table, report = read(
        tmp_path, "image,age\na.png,5\na.png,005Y\nb.png,6\nb.png,7\nc.png,8\nc.png,8\nc.png,8\n"
    )
    table = drop_duplicates(table, report)
    assert table["image"].tolist() == ["a.png", "b.png", "b.png", "c.png"]
    assert table["faulty"].tolist() == [False, True, True, False]
    assert report.repairs["repeated row dropped"] == 3
    assert report.faults == {"rows about one image that contradict each other": ["b.png"]}


@pytest.mark.parametrize(
    "header", ["Hospital", "Site", "institution", "Center", "Centre", "HÔPITAL", "hopital"]
)
def test_headers_that_name_hospitals(tmp_path, header):
    table, report = read(tmp_path, f"image,{header}\na.png,North\n")
    assert table["hospital"].tolist() == ["North"]
    assert str(report) == "Nothing to repair and nothing wrong."


def test_columns_that_are_not_used_are_named_in_one_note(tmp_path):
    _, report = read(tmp_path, "image,Scanner,Âge,Operator,Room,Ward\na.png,X,5,Y,Z,W\n")
    assert str(report) == "- noted: column not used (4): Scanner, Operator, Room, …"


@pytest.mark.parametrize(
    ("header", "value", "said"),
    [
        ("Site,Centre", "1", "Centre (Site counts)"),  # the first of two equals
        ("Site,Hospital", "2", "Site (Hospital counts)"),  # our own name before another
    ],
)
def test_of_two_headers_with_one_meaning_it_is_said_which_counts(tmp_path, header, value, said):
    table, report = read(tmp_path, f"image,{header}\na.png,1,2\n")
    assert table["hospital"].tolist() == [value]
    kind = "column not used, since another one means the same"
    assert str(report) == f"- noted: {kind} (1): {said}"


def test_a_french_table(tmp_path):
    table, report = read(
        tmp_path,
        "Fichier;Numéro patient;Âge;Sexe;Incidence;Diagnostic;Hôpital;Poids\n"
        "a.png;17,0;58,5;Femme;Postero-anterior;Épanchement|Œdème;Lyon;0,75\n"
        "b.png;18;7;homme;Antéro-postérieur;sain;Nîmes;1\n"
        "c.png;19;412;X;profil;malade;Nîmes;,5\n",
    )
    assert table["image"].tolist() == ["a.png", "b.png", "c.png"]
    assert table["patient"].tolist() == ["17", "18", "19"]
    assert table["age"].fillna(-1).tolist() == [58.5, 7.0, -1]
    assert table["sex"].fillna("").tolist() == ["F", "M", ""]
    assert table["view"].fillna("").tolist() == ["PA", "AP", ""]
    assert table["findings"].tolist() == ["Effusion|Edema", "No Finding", "Unspecified"]
    assert table["hospital"].tolist() == ["Lyon", "Nîmes", "Nîmes"]
    assert table["weight"].tolist() == [0.75, 1.0, 0.5]
    assert report.repairs["decimal comma read"] == 3
    assert report.notes == {
        "age outside 0-120 years set to missing": 1,
        "unknown sex set to missing": 1,
        "unknown view set to missing": 1,
    }
    for value in ("'412'", "'X'", "'profil'"):
        assert f"set to missing (1): {value}. Correct these values" in str(report)


def test_findings_in_french(tmp_path):
    french = [
        "Atélectasie", "Cardiomégalie", "Épanchement pleural", "Infiltrat", "Masse", "Nodule",
        "Pneumonie", "Pneumothorax", "Condensation", "Oedème", "Emphysème", "Fibrose",
        "Épaississement pleural", "Hernie",
    ]  # fmt: skip
    values, report = column(tmp_path, "findings", french)
    assert values == list(FINDINGS)
    assert not report.is_faulty


def test_unknown_findings_come_with_the_near_one(tmp_path):
    _, report = column(tmp_path, "findings", ["Pneumona", "Covid"])
    named = ["0.png (Pneumona (did you mean Pneumonia?))", "1.png (Covid)"]
    assert report.faults == {"unknown finding": named}


@pytest.mark.parametrize(
    ("name", "value"),
    [("age", "9" * 400), ("age", "9" * 400 + "Y"), ("follow_up", str(2**63)), ("weight", "1e999")],
)
def test_numbers_beyond_all_bounds_become_missing(tmp_path, name, value):
    values, report = column(tmp_path, name, [value, "1"])
    assert values[0] is None
    assert values[1] == 1
    assert sum(report.notes.values()) == 1
