"""Archives are unpacked once, and no task sees what another has made of its files."""

import os
import tarfile

import pytest

from helpers.local_mode.archives import Archives

FILES = {"function.py": "import package", "package/module.py": "VALUE = 1"}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in FILES.items():
            file = tmp_path / "source.py"
            file.write_text(content)
            archive.add(file, name)
    return path


@pytest.fixture
def unpack(archive, tmp_path):
    """Unpack the archive for one more task; return its folder."""
    archives = Archives()

    def unpack(name):
        folder = tmp_path / name
        folder.mkdir()
        archives.unpack(archive, folder)
        return folder

    return unpack


def content(folder):
    return {name: (folder / name).read_text() for name in FILES}


def test_files_are_there_once_and_compiled(unpack):
    first, second = unpack("first"), unpack("second")
    assert content(first) == content(second) == FILES
    for name in FILES:
        assert (first / name).samefile(second / name)
    assert len(list(second.rglob("*.pyc"))) == len(FILES)


def test_what_a_task_adds_or_replaces_is_its_own(unpack):
    first = unpack("first")
    (first / "package" / "left.py").write_text("LEAK = 1")
    (first / "function.py").unlink()
    (first / "function.py").write_text("LEAK = 1")
    second = unpack("second")
    assert content(second) == FILES
    assert not (second / "package" / "left.py").exists()


def test_what_a_task_writes_into_a_file_no_later_task_reads(unpack):
    with (unpack("first") / "package" / "module.py").open("a") as module:
        module.write("\nLEAK = 1")
    assert content(unpack("second")) == FILES


def test_where_the_disk_has_no_links_files_are_copied(unpack, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    first, second = unpack("first"), unpack("second")
    assert content(first) == content(second) == FILES
    assert not (first / "function.py").samefile(second / "function.py")
