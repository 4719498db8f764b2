"""Archives are unpacked once, and no task sees what another has made of its files."""

import os
import sys
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


def test_every_task_gets_all_files_and_their_compiled_form(unpack):
    first, second = unpack("first"), unpack("second")
    assert content(first) == content(second) == FILES
    assert len(list(second.rglob("*.pyc"))) == len(FILES)


def test_what_a_task_adds_or_replaces_is_its_own(unpack):
    first = unpack("first")
    (first / "package" / "left.py").write_text("LEAK = 1")
    (first / "function.py").unlink()
    (first / "function.py").write_text("LEAK = 1")
    second = unpack("second")
    assert content(second) == FILES
    assert not (second / "package" / "left.py").exists()


def test_what_a_task_writes_into_a_file_no_other_task_reads(unpack):
    first, second = unpack("first"), unpack("second")  # side by side
    module = first / "package" / "module.py"
    before = module.stat()
    module.write_text("VALUE = 2")  # as long as before
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content(second) == content(unpack("third")) == FILES


def test_compiled_modules_are_in_the_folder_wherever_python_keeps_those_of_others(
    unpack, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
    assert len(list(unpack("first").rglob("*.pyc"))) == len(FILES)
    assert not (tmp_path / "elsewhere").exists()
