"""A network without a cluster: what SubstraFL registers is kept, unpacked and run as images are."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import filelock
import pytest
import substra
from substrafl.dependency import Dependency
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.experiment import execute_experiment
from substrafl.nodes import AggregationNode, TestDataNode, TrainDataNode

import helpers
from helpers.deployment import pin_packages
from helpers.local_mode.archives import add_bytecode
from helpers.openers import chest_xray_opener

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "examples" / "deployment" / "substra.yaml"
FILMS = 8
# Each task in a process of its own, forked from one that has imported what is installed: these
# imports would take most of the time of a task. All that comes from the archive is new.
_FORK = """
import json, os, runpy, sys, traceback
import fairlearn.metrics, keras, scipy.stats, sklearn.metrics, substrafl.experiment, tensorflow
for line in sys.stdin:
    folder, arguments = json.loads(line)
    child = os.fork()
    if not child:
        try:
            os.dup2(2, 1)
            os.chdir(folder)
            sys.path[0], sys.argv = folder, arguments
            runpy.run_path(arguments[0], run_name="__main__")
            import helpers
            assert helpers.__file__.startswith(folder), helpers.__file__
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)  # to tear down what was imported takes three times as long as a task
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class RecordingClient(substra.Client):
    """A client of the configuration file; what it registers is kept here, instead of being sent."""

    def __init__(self, folder):
        super().__init__(client_name="hospital-a", configuration_file=CONFIGURATION)
        self.folder, self.functions, self.archives, self.plan = folder, {}, {}, None

    def add_function(self, spec):
        key = str(uuid.uuid4())
        self.functions[key] = spec
        self.archives[key] = Path(shutil.copy(spec.file, self.folder / f"{key}.tar.gz"))
        return key

    def add_compute_plan(self, spec, auto_batching, batch_size):
        self.plan = spec
        return spec


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Register an experiment of one hospital; return the client that kept its functions."""

    def register_strategy(strategy, *, num_rounds=1, n_hospitals=1):
        monkeypatch.chdir(tmp_path)  # SubstraFL builds the archives in the current folder
        client = RecordingClient(tmp_path)
        opener, *samples = (str(uuid.uuid4()) for _ in range(n_hospitals + 1))
        names = [f"hospital-{number}" for number in range(n_hospitals)]
        execute_experiment(
            client=client,
            strategy=strategy,
            train_data_nodes=[
                TrainDataNode(name, opener, [sample])
                for name, sample in zip(names, samples, strict=True)
            ],
            aggregation_node=AggregationNode(names[0]),
            evaluation_strategy=EvaluationStrategy(
                [TestDataNode(names[0], opener, samples[:1])], eval_rounds=[num_rounds]
            ),
            num_rounds=num_rounds,
            experiment_folder=tmp_path / "experiments",
            dependencies=Dependency(
                pypi_dependencies=pin_packages(), local_code=[Path(helpers.__file__).parent]
            ),
        )
        return client

    return register_strategy


class Image:
    """An image as the Dockerfile of a function archive describes it, in a folder.

    Attributes
    ----------
    folder : pathlib.Path
        What is copied into the image, and nothing else.
    installs : list of list of str
        Arguments of each ``pip install``, in their order.
    entry_point : list of str
        The command, without what a task adds.
    """

    def __init__(self, archive, folder):
        context, self.folder = folder / "context", folder / "image"
        with tarfile.open(archive) as tar:
            tar.extractall(context, filter="data")
        dockerfile = (context / "Dockerfile").read_text("utf-8")
        for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE):
            source, target = line.split()
            target = self.folder / target / ("" if not target.endswith("/") else Path(source).name)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (context / source).is_dir() else shutil.copy
            copy(context / source, target)
        installs = re.findall(r"pip install ([^&\n]+)", dockerfile)
        self.installs = [shlex.split(arguments) for arguments in installs]
        self.python = re.search(r"^FROM python:(\S+)-slim$", dockerfile, re.MULTILINE)[1]
        add_bytecode(self.folder)  # many tasks are to import the same modules
        self.entry_point = json.loads(re.search(r"^ENTRYPOINT (.+)$", dockerfile, re.MULTILINE)[1])


@pytest.fixture(scope="session")
def install(tmp_path_factory):
    """Install the requirements of an image in an empty environment, once for equal ones."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def make(image):
        requirements = image.folder / "requirements.txt"
        number = uuid.uuid5(uuid.NAMESPACE_OID, requirements.read_text("utf-8"))
        environment = shared / f"environment-{number}"
        python = environment / "bin" / "python"
        with filelock.FileLock(f"{environment}.lock"):
            if not (environment / "complete").exists():
                subprocess.run([sys.executable, "-m", "venv", environment], check=True)
                for arguments in image.installs:
                    _pip_install(python, image.folder, arguments)
                (environment / "complete").touch()
        return python

    return make


def _pip_install(python, folder, arguments):
    """Install with uv, which keeps what it has downloaded, or with pip where uv has no index."""
    arguments = [argument for argument in arguments if argument != "--no-cache-dir"]
    uv = [sys.executable, "-m", "uv", "pip", "install", "--system-certs", "--python", python]
    errors = []
    for command in (uv, [python, "-m", "pip", "install"]):
        ended = subprocess.run(
            [*command, "--quiet", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if not ended.returncode:
            return
        errors.append(ended.stderr)
    if "error sending request" in errors[0] and "(from versions: none)" in errors[1]:
        pytest.skip(f"Neither uv nor pip reaches a package index, for: {' '.join(arguments)}")
    raise AssertionError("\n".join(errors))


def _variables(python):
    """Return the variables of a container: neither this checkout's folder nor its settings."""
    path = f"{python.parent}:/usr/bin:/bin"
    return {"PATH": path, "VIRTUAL_ENV": str(python.parents[1]), "HOME": os.devnull}


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Run a task in a new process that has Keras already."""
    servers, log = {}, tmp_path_factory.mktemp("forked") / "stderr"

    def run(python, folder, arguments):
        if python not in servers:
            with log.open("a") as errors:
                servers[python] = subprocess.Popen(
                    [python, "-c", _FORK],
                    cwd=log.parent,
                    env=_variables(python),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        server = servers[python]
        print(json.dumps([str(folder), arguments]), file=server.stdin, flush=True)
        assert server.stdout.readline() == "0\n", log.read_text("utf-8")[-4000:]

    yield run
    for server in servers.values():
        server.communicate()


@pytest.fixture(scope="session")
def start():
    """Start the Python of an environment as a container does; return how it ended."""

    def run(python, folder, arguments):
        return subprocess.run(
            [python, *arguments],
            cwd=folder,
            env=_variables(python),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def open_image():
    """Unpack an archive as its Dockerfile says."""
    return Image


@pytest.fixture
def run_plan(tmp_path, install):
    """Run the tasks of a registered plan by their command lines, on fake data.

    Return the names of the functions in their order, and the scores by the metrics' names.
    """

    def run_tasks(client, run):
        images = {key: Image(archive, tmp_path / key) for key, archive in client.archives.items()}
        ran, files, waiting = [], {}, list(client.plan.tasks)
        while waiting:
            # In the order in which their inputs are there.
            task = next(
                task
                for task in waiting
                if all(
                    ref.parent_task_key is None
                    or (ref.parent_task_key, ref.parent_task_output_identifier) in files
                    for ref in task.inputs
                )
            )
            waiting.remove(task)
            image, function = images[task.function_key], client.functions[task.function_key]
            outputs = {name: tmp_path / f"{task.task_id}-{name}" for name in task.outputs}
            python, *entry_point = image.entry_point
            assert python == f"python{image.python}"
            run(
                install(image),
                image.folder,
                [*entry_point, *_arguments(task, function, files, outputs)],
            )
            ran.append(entry_point[-1])
            for name, path in outputs.items():
                assert path.stat().st_size > 0
                files[str(task.task_id), name] = path
        scores = {
            name: json.loads(path.read_text("utf-8"))["all"]
            for (_, name), path in files.items()
            if name not in {"local", "shared"}
        }
        return ran, scores

    return run_tasks


def _arguments(task, function, files, outputs):
    """Write the arguments that Substra gives to a task."""
    multiple = {spec.identifier: spec.multiple for spec in function.inputs}
    inputs = [
        {
            "id": ref.identifier,
            "value": str(
                files[ref.parent_task_key, ref.parent_task_output_identifier]
                if ref.parent_task_key
                else chest_xray_opener.__file__
            ),
            "multiple": multiple[ref.identifier],
        }
        for ref in task.inputs
        if ref.identifier != "datasamples"
    ]
    outputs = [{"id": n, "value": str(p), "multiple": False} for n, p in outputs.items()]
    arguments = ["--task-properties", json.dumps({"rank": 0}), "--log-level", "warning"]
    if "opener" in multiple:
        arguments += ["--fake-data", "--n-fake-samples", str(FILMS)]
    return [*arguments, "--inputs", json.dumps(inputs), "--outputs", json.dumps(outputs)]
