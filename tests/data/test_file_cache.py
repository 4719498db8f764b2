"""The file cache: one line a file, computed again when the file changes, and never by halves."""

import os

import pytest

from helpers.data.file_cache import compute_cached


@pytest.fixture
def count(tmp_path, monkeypatch):
    """Return a function that computes from files, and what it computed."""
    monkeypatch.setattr("helpers.data.file_cache._SETTLED", -(10**12))
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    computed = []

    def compute(path):
        computed.append(path.name)
        text = path.read_text()
        if text == "stop":
            raise KeyboardInterrupt
        if text == "bad":
            raise ValueError("Expected better. Received bad.")
        return text.upper()

    def read(names, kind="upper-1"):
        computed.clear()
        paths = [tmp_path / name for name in names]
        return compute_cached(kind, paths, compute, desc="Reading"), sorted(computed)

    return read


def test_only_what_is_new_or_changed_is_computed(tmp_path, count):
    for name in "abc":
        (tmp_path / name).write_text(name)
    assert count("ab") == (["A", "B"], ["a", "b"])
    assert count("cab") == (["C", "A", "B"], ["c"])
    assert count("abc") == (["A", "B", "C"], [])
    assert count("a", kind="upper-2")[1] == ["a"]
    (tmp_path / "a").write_text("d")
    os.replace(tmp_path / "c", tmp_path / "b")  # another inode under the old name
    assert count("ab") == (["D", "C"], ["a", "b"])


def test_errors_are_returned_and_not_cached(tmp_path, count):
    (tmp_path / "a").write_text("bad")
    (tmp_path / "folder").mkdir()
    for _ in range(2):
        (bad, missing, folder), computed = count(["a", "missing", "folder"])
        assert isinstance(bad, ValueError)
        assert isinstance(missing, FileNotFoundError)
        assert "no regular file" in str(folder)
        assert computed == ["a"]


def test_an_interruption_keeps_what_was_computed(tmp_path, count, monkeypatch):
    monkeypatch.setattr("helpers.data.file_cache._CHUNK", 1)
    for name, text in (("a", "a"), ("b", "stop"), ("c", "c")):
        (tmp_path / name).write_text(text)
    with pytest.raises(KeyboardInterrupt):
        count("abc")
    (tmp_path / "b").write_text("b")
    assert count("abc") == (["A", "B", "C"], ["b", "c"])
