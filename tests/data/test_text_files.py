import pytest

from helpers.data.report import Report
from helpers.data.text_files import read_rows, read_text

TEXT = "Image Index,Hospital\na.png,Hôpital Saint-Éloi\n"


def decoded(tmp_path, data):
    (tmp_path / "films.csv").write_bytes(data)
    report = Report()
    return read_text(tmp_path / "films.csv", report), report.repairs


def rows(tmp_path, text):
    (tmp_path / "films.csv").write_text(text, encoding="utf-8")
    report = Report()
    return *read_rows(tmp_path / "films.csv", report), report.repairs


def test_utf_8_needs_no_repair(tmp_path):
    assert decoded(tmp_path, TEXT.encode()) == (TEXT, {})


@pytest.mark.parametrize(
    ("encoding", "repair"),
    [
        ("utf-8-sig", "byte order mark removed from a text file"),
        ("utf-16", "text file in UTF-16 decoded"),
        ("utf-16-le", "text file in UTF-16 decoded"),
        ("utf-16-be", "text file in UTF-16 decoded"),
        ("cp1252", "text file in a Western European encoding decoded"),
        ("latin-1", "text file in a Western European encoding decoded"),
    ],
)
def test_other_encodings_are_decoded_and_counted(tmp_path, encoding, repair):
    assert decoded(tmp_path, TEXT.encode(encoding)) == (TEXT, {repair: 1})


def test_bytes_that_windows_1252_does_not_know(tmp_path):
    text, repairs = decoded(tmp_path, b"a\x81\xe9")
    assert text == "a\x81é"
    assert repairs == {"text file in a Western European encoding decoded": 1}


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_foreign_line_ends_are_replaced(tmp_path, line_end):
    text, repairs = decoded(tmp_path, TEXT.replace("\n", line_end).encode())
    assert text == TEXT
    assert repairs == {"foreign line ends replaced in a text file": 1}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(tmp_path, separator):
    header, lines, repairs = rows(tmp_path, f"image{separator}age\na.png{separator}5\n")
    assert (header, lines) == (["image", "age"], [(2, ["a.png", "5"])])
    assert repairs == {"csv with other separators than commas read": 1}


def test_cells_are_stripped_and_empty_lines_left_out(tmp_path):
    header, lines, _ = rows(tmp_path, "\n image , age\n\na.png, 5\n,\n")
    assert (header, lines) == (["image", "age"], [(4, ["a.png", "5"])])


def test_header_that_ends_with_a_comma(tmp_path):
    header, lines, _ = rows(tmp_path, "image,age,\na.png,5,\n")
    assert (header, lines) == (["image", "age"], [(2, ["a.png", "5", ""])])


@pytest.mark.parametrize("size", ['"Size[Width,Height]"', "Size[Width,Height]"])
def test_two_column_header_quoted_or_not(tmp_path, size):
    header, lines, _ = rows(tmp_path, f"image,{size},Hospital\na.png,5,6,North\n")
    assert header == ["image", "Size[Width", "Height]", "Hospital"]
    assert lines == [(2, ["a.png", "5", "6", "North"])]


def test_empty_file(tmp_path):
    assert rows(tmp_path, "") == ([], [], {})


def test_quotation_mark_that_is_not_closed(tmp_path):
    with pytest.raises(ValueError, match="quotation mark that is not closed"):
        rows(tmp_path, 'image\n"' + "a\n" * 100_000)
