"""The store of finished tasks: whole results only, within a limit, nothing left by the killed."""

import os
import signal
from pathlib import Path

import pytest

from helpers.local_mode import TaskStore


@pytest.fixture
def store(tmp_path):
    return TaskStore(tmp_path / "store")


def put(store, fingerprint, content="weights", **about):
    file = store.folder / "task-output"
    file.write_text(content)
    store.put(fingerprint, {"a/shared": file, "local": file}, about)
    file.unlink()


def get(store, fingerprint, folder):
    outputs = {name: folder / name.replace("/", "-") for name in ("a/shared", "local")}
    return store.get(fingerprint, outputs), outputs


def test_what_was_put_is_what_one_gets(store, tmp_path):
    assert get(store, "f1", tmp_path)[0] is None
    put(store, "f1", cpu=1.5)
    about, outputs = get(store, "f1", tmp_path)
    assert about == {"cpu": 1.5}
    assert [path.read_text() for path in outputs.values()] == ["weights"] * 2
    put(store, "f1", "newer weights")
    about, outputs = get(store, "f1", tmp_path)
    assert about == {}
    assert outputs["local"].read_text() == "newer weights"


@pytest.mark.parametrize("damage", ["truncate", "alter", "remove", "manifest", "unfinished"])
def test_what_is_damaged_is_not_returned(store, tmp_path, damage):
    put(store, "f1")
    folder = store.folder / "results" / "f1"
    if damage == "truncate":
        (folder / "output-1").write_text("weigh")
    elif damage == "alter":
        (folder / "output-0").write_text("weighte")
    elif damage == "remove":
        (folder / "output-0").unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text('{"files": {}')
    else:  # killed before the end: no manifest, and nothing to complain about
        (folder / "manifest.json").unlink()
        assert get(store, "f1", tmp_path)[0] is None
        put(store, "f1")
        assert get(store, "f1", tmp_path)[0] == {}
        return
    with pytest.warns(UserWarning, match="damaged and will be computed again"):
        assert get(store, "f1", tmp_path)[0] is None
    assert not folder.exists()


def test_the_oldest_results_go_when_the_limit_is_reached(store, tmp_path):
    for number in range(4):
        put(store, f"f{number}", "x" * 1000)
        os.utime(store.folder / "results" / f"f{number}", (number, number))
    get(store, "f0", tmp_path)  # used just now
    store.limit = 5000
    store.prune()
    assert sorted(path.name for path in (store.folder / "results").iterdir()) == ["f0", "f3"]


def test_a_run_has_a_folder_while_it_lives(store):
    with store.run_folder() as folder:
        (folder / "file").touch()
        with store.run_folder() as other:  # a run at the same time takes nothing away
            assert other != folder
            assert (folder / "file").exists()
    assert list((store.folder / "runs").iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_has_left(store, start_script):
    source = (
        "import time\nfrom helpers.local_mode import TaskStore\n"
        f"with TaskStore({str(store.folder)!r}).run_folder() as folder:\n"
        "    (folder / 'file').touch()\n    print(folder, flush=True)\n    time.sleep(100)"
    )
    run = start_script(source)
    left = Path(run.stdout.readline().strip())
    with store.run_folder():
        assert (left / "file").exists()
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert (left / "file").exists()
    with store.run_folder():
        assert not left.exists()
    assert list((store.folder / "runs").iterdir()) == []
