"""Clean-up: the last client takes the shared folder with it, and no earlier one does."""

import substra

from helpers.local_mode import remove_local_files


def test_the_shared_folder_goes_with_the_last_client(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (
        substra.Client(client_name=name, backend_type="subprocess") for name in ("A", "B")
    )
    for name in ("outputs", "live_performances", "experiments"):
        (tmp_path / "local-worker" / name).mkdir()
    remove_local_files(first)
    assert (tmp_path / "local-worker" / "outputs").is_dir()
    remove_local_files(second)
    assert list(tmp_path.iterdir()) == []
    remove_local_files(first, second)  # a second time does no harm
