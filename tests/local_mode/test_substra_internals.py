"""What is not public in Substra: every name is there, and stands in one module."""

import re
import threading
from pathlib import Path
from string import Template
from types import SimpleNamespace

import pytest

from helpers.local_mode import substra_internals
from helpers.local_mode.substra_internals import LocalClient, make_clients, working_in

LOCAL_MODE = Path(substra_internals.__file__).parent
PRIVATE = re.compile(
    r"\b(client|backend|worker|spawner|stock|db)\._(?!_)|substra\w*(\.\w+)*\._|_Local__"
    r"|substra\.sdk\.(archive|backends)|substrafl\.(dependency|remote)\.\w+"
)


@pytest.fixture
def client(tmp_path):
    (client,) = make_clients(["A"], tmp_path).values()
    yield client
    LocalClient(client).remove_files()


def test_files_of_clients_lie_where_they_are_told_to(client, tmp_path):
    assert LocalClient(client).folder == tmp_path / "local-worker"
    assert client.temp_directory.parent == tmp_path / "local-worker"
    assert not Path("local-worker").exists()


def test_every_private_name_is_there(client, tmp_path):
    inside = LocalClient(client)
    worker, methods = client._backend._worker, set(vars(type(client._backend)))
    assert "_Local__execute_compute_plan" in methods
    assert worker._spawner._local_worker_dir == inside.folder
    inside.take_over(spawn=print, run_plan=print, run_alone=lambda inside, task: (inside, task))
    assert worker.schedule_task("task") == (inside, "task")
    assert "schedule_task" in vars(type(worker))
    (tmp_path / "Dockerfile").write_text('ENTRYPOINT ["python3", "f.py", "--function-name", "g"]')
    assert substra_internals.find_entry_point(tmp_path) == ("f.py", "g")
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "film").write_text("pixels")
    substra_internals.link_samples({"key": tmp_path / "sample"}, tmp_path / "inputs")
    assert (tmp_path / "inputs" / "key" / "film").read_text() == "pixels"


def test_the_spawner_is_asked_for_what_the_worker_wants(client, tmp_path):
    inside, calls = LocalClient(client), []
    worker = client._backend._worker
    worker._spawner = SimpleNamespace(spawn=lambda *arguments: arguments)
    inside.take_over(spawn=calls.append, run_plan=print, run_alone=print)
    folder = Path("/some folder/$task")
    volumes = {"_VOLUME_INPUTS": folder / "inputs", "_VOLUME_OUTPUTS": folder / "outputs"}
    asked = ["name", "archive", [Template("${_VOLUME_INPUTS}/x")], None, volumes, None]
    worker._spawner.spawn(*asked)
    (call,) = calls
    assert call.key == folder.name
    assert call.samples == {}
    assert call.folder == tmp_path / "local-worker"
    assert call.arguments == ["/some folder/$task/inputs/x"]
    assert call.run_stock() == tuple(asked)


def test_a_folder_holds_for_one_thread_only(tmp_path):
    from substra.sdk.backends.local import backend
    from substrafl.remote.register import register

    seen = []
    with working_in(tmp_path):
        thread = threading.Thread(target=lambda: seen.append(backend.Path.cwd()))
        thread.start()
        thread.join()
        assert backend.Path.cwd() == register.Path.cwd() == tmp_path
    assert seen == [Path.cwd()] == [backend.Path.cwd()]


def test_code_that_travels_is_copied_into_the_folder(tmp_path):
    (tmp_path / "code.py").touch()
    with working_in(tmp_path):
        dependency = substra_internals.FolderDependency(local_code=[tmp_path / "code.py"])
    assert dependency.cache_directory.parent == tmp_path
    assert (dependency.cache_directory / "code.py").exists()
    del dependency


def test_a_version_without_a_name_says_so(client):
    del client._backend._worker._spawner
    with pytest.raises(ImportError, match=r"Expected .*Worker\._spawner, which .* substra 1\.0"):
        LocalClient(client).take_over(spawn=None, run_plan=print, run_alone=print)


def test_nothing_private_of_substra_stands_elsewhere():
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in LOCAL_MODE.rglob("*.py")
        if path.name != "substra_internals.py"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert found == []
