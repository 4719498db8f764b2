"""The store of finished tasks: whole results only, within a limit, nothing left by the killed."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
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


def test_programs_at_once_store_whole_results_and_none_fails(store, tmp_path):
    """Two threads write results of different content, while a third one reads."""
    contents = {str(number): str(number) * 100_000 for number in range(2)}
    found = []

    def write(number):
        for _ in range(60):
            one = TaskStore(store.folder)
            file = tmp_path / f"written-{number}"
            file.write_text(contents[number])
            one.put("f1", {"a/shared": file, "local": file}, {"number": number})
            assert file.read_text() == contents[number]
            file.unlink()

    def read():
        for _ in range(200):
            about, outputs = get(TaskStore(store.folder), "f1", tmp_path)
            if about:
                found.extend(path.read_text() in contents.values() for path in outputs.values())

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(write, "0"), pool.submit(write, "1"), pool.submit(read)]
        for job in jobs:
            job.result()
    assert all(found)
    assert found
    assert [path.name for path in (store.folder / "results").iterdir()] == ["f1"]


def test_an_output_is_never_written_through_its_other_name(store, tmp_path, monkeypatch):
    put(store, "f1", "first")
    _, outputs = get(store, "f1", tmp_path)

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    put(store, "f1", "second")  # copied, to where the first one's outputs have a name
    assert outputs["local"].read_text() == "first"
    put(store, "f2", "third")
    get(store, "f2", tmp_path)
    assert get(store, "f1", tmp_path)[1]["local"].read_text() == "second"


def test_a_store_that_fails_says_so_once_and_fails_no_task(store, tmp_path):
    (store.folder / "results").rmdir()
    (store.folder / "results").touch()  # as a disk that is full or read-only, whoever tests this
    with pytest.warns(UserWarning, match="Results are not stored"):
        put(store, "f1")
    put(store, "f2")  # warnings are errors in tests
    assert get(store, "f1", tmp_path)[0] is None


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    message = r"^Expected a folder for results that can be written to\. Received .*store="
    with pytest.raises(ValueError, match=message):
        TaskStore(tmp_path / "file" / "store")
    store = TaskStore(tmp_path / "store")
    (store.folder / "runs").rmdir()
    (store.folder / "runs").touch()
    with pytest.raises(ValueError, match=message), store.run_folder():
        pass
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match=r"^Expected a folder for the cache that can be written"):
        TaskStore()


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "two\nlines"])
def test_a_path_that_substra_cannot_pass_on_is_refused(tmp_path, name):
    message = r"without quotation marks, .*Received .*CHEST_XRAYS_CACHE"
    with pytest.raises(ValueError, match=message), TaskStore(tmp_path / name).run_folder():
        pass


def test_results_are_for_their_owner_alone(store, tmp_path, monkeypatch):
    put(store, "f1")
    with store.run_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    folders = [store.folder, store.folder / "runs", store.folder / "results"]
    for path in [*folders, *(store.folder / "results").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    store.folder.chmod(0o755)  # as an earlier version left it
    TaskStore(store.folder)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    for shared in folders:
        shared.chmod(0o770)
        with pytest.raises(ValueError, match=r"nobody else may write to\. Received .*mode 770"):
            TaskStore(store.folder)
        shared.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: store.folder.stat().st_uid + 1)
    with pytest.raises(ValueError, match=r"nobody else may write to\. Received .*of user"):
        TaskStore(store.folder)


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
