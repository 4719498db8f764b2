from pathlib import Path

import platformdirs
import pytest

from helpers.data.cache import cache_folder


def test_environment_variable_chooses_a_folder_that_is_created(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "a" / "b"))
    assert cache_folder() == (tmp_path / "a" / "b").resolve()
    assert (tmp_path / "a" / "b").is_dir()
    assert cache_folder() == cache_folder()


def test_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHEST_XRAYS_CACHE", "here")
    assert cache_folder() == (tmp_path / "here").resolve()


@pytest.mark.parametrize("value", [None, "", "  "])
def test_unset_or_empty_means_the_users_cache(value, tmp_path, monkeypatch):
    if value is None:
        monkeypatch.delenv("CHEST_XRAYS_CACHE", raising=False)
    else:
        monkeypatch.setenv("CHEST_XRAYS_CACHE", value)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path(tmp_path, name))
    assert cache_folder() == (tmp_path / "federated-chest-xrays").resolve()


def test_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="Expected CHEST_XRAYS_CACHE to name a folder"):
        cache_folder()
