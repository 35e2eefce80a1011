"""One torch thread a test process; Snakemake as a user calls it, and one finished run of tiny.yaml for all tests."""

import fcntl
import gc
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from fldrep import registry
from fldrep.models.model import Model
from fldrep.plan.jobs import JOBS, flag
from fldrep.storage.tensors import read_tensors

gc.disable()  # searching for garbage takes a third of the time of collecting tests
torch.set_num_threads(1)  # the suite runs in parallel over processes

ROOT = Path(__file__).parent.parent
TINY = Path(__file__).parent / "workflow" / "tiny.yaml"
HEAD = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"
TIME_LIMIT_S = 900  # a machine busy with other work may be ten times slower than a free one


def pytest_configure(config) -> None:
    """Where Python may not write compiled modules beside their sources, let all processes share a folder of them.

    Else each would compile torch, Snakemake and this package anew: half of what a dry run takes.
    """
    if os.environ.get("PYTHONDONTWRITEBYTECODE") and not hasattr(config, "workerinput"):  # pytest-xdist's inherit it
        del os.environ["PYTHONDONTWRITEBYTECODE"]
        os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="bytecode-of-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ["PYTHONPYCACHEPREFIX"], ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Leave what was imported out of the search for garbage, then begin that search."""
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@dataclass(frozen=True)
class Snakemake:
    """One call and what came of it."""

    code: int
    text: str

    @property
    def jobs(self) -> dict[str, set[str]]:
        """What a `--summary` says would be made, by rule."""
        assert self.code == 0, self.text
        table = self.text.partition(HEAD)[2].splitlines()
        assert len(table) > 1, self.text
        columns = HEAD.split("\t")
        rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in table[1:] if line.count("\t") == 5]
        found: dict[str, set[str]] = {}
        for row in rows:
            assert row["plan"] in ("update pending", "no update"), row
            if row["plan"] == "update pending":
                found.setdefault(row["rule"], set()).add(row["output_file"])
        return found

    @property
    def attacks(self) -> set[str]:
        """`defense/attack/block` of each attack job."""
        pattern = r"([^/]+)/seed-\d+/round-\d+/single/([^/]+)/block-(\d+)\.\w+$"
        return {"/".join(re.search(pattern, output).groups()) for output in self.jobs.get("attack", [])}

    @property
    def trainings(self) -> set[str]:
        """`model/defense` of each training job."""
        pattern = r"train/[^/]+/([^/]+)/[^/]+/([^/]+)/seed"
        return {"/".join(re.search(pattern, output).groups()) for output in self.jobs.get("train", [])}


def words_of(*arguments: object, folder: Path, source: Path) -> list[str]:
    """The command with the workflow of `source` and results in `folder`, by the tests' own Python."""
    command = [sys.executable, "-m", "snakemake", "-s", source / "workflow/Snakefile", "-d", folder, *arguments]
    return [str(part) for part in command]


def environment() -> dict[str, str]:
    """That of the tests, with their own Python first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def run_snakemake(*arguments: object, folder: Path, source: Path = ROOT, cwd: Path | None = None) -> Snakemake:
    """Call Snakemake with the workflow of `source`, results in `folder`."""
    done = subprocess.run(
        words_of(*arguments, folder=folder, source=source),
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIME_LIMIT_S,
    )
    return Snakemake(done.returncode, done.stdout)


@dataclass(frozen=True)
class Started:
    """A command under way, in a session of its own, as a terminal starts it; what it says goes to a file."""

    process: subprocess.Popen
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text()

    def succeeds(self, within_s: float = TIME_LIMIT_S) -> None:
        assert self.process.wait(within_s) == 0, self.text[-5000:]


@pytest.fixture(scope="session")
def synthetic():
    """The module that makes tables without a run."""
    path = Path(__file__).parent / "figures" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def snakemake():
    """The function `run_snakemake`."""
    return run_snakemake


def hear_interrupts() -> None:
    """Undo what a shell does to commands in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path):
    """The same, not waited for: `start(*arguments, folder, source)`; killed at the end if it still lives."""
    begun = []

    def start(*arguments: object, folder: Path, source: Path, python: Path | None = None) -> Started:
        words = words_of(*arguments, folder=folder, source=source)
        environ = environment()
        if python:
            words[0], environ["PATH"] = str(python), os.pathsep.join([str(python.parent), environ["PATH"]])
        log = tmp_path / f"said-{len(begun)}.txt"
        with log.open("w") as said:
            process = subprocess.Popen(
                words, stdout=said, stderr=said, env=environ, start_new_session=True, preexec_fn=hear_interrupts
            )
        begun.append(process)
        return Started(process, log)

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def numbers():
    """Every table (without seconds and device) and every tensor that a run made, as text, by file."""

    def numbers(folder: Path) -> dict[str, str]:
        found = {}
        for path in sorted((folder / "results").rglob("*.parquet")):
            table = pd.read_parquet(path)
            measured = [name for name in table.columns if name.endswith("_s") or name == "device"]
            found[str(path.relative_to(folder))] = table.drop(columns=measured).to_dict("list")
        for path in sorted((folder / "results").rglob("*.safetensors")):
            found[str(path.relative_to(folder))] = {name: one.tolist() for name, one in read_tensors(path).items()}
        return {name: repr(value) for name, value in found.items()}  # as text, NaN equals NaN

    return numbers


# What tells jobs apart, and what rules tell them, where a test does not say.
USUAL = {
    **{"dataset": "mnist", "model": "lenet", "partition": "iid", "defense": "none", "seed": 0, "round": 0},
    **{"update_kind": "single", "attack": "gs", "block": 0, "figure": "privacy_utility"},
    **{"code": "", "threads": 1, "places": "{}", "results": "results", "command": "snakemake"},
}


@pytest.fixture(scope="session")
def job_words():
    """The function that makes the command line of a job from its row: `job_words("attack", images=path, ...)`.

    Settings may be a dictionary; what is None is left out; a file that is not given has its name and lies nowhere.
    """

    def job_words(name: str, **given: object) -> list[str]:
        job = JOBS[name]
        words = [*(job.of.names() if job.of else []), *(["settings"] if job.section else []), *job.files, *job.told]
        assert set(given) <= set(words), set(given) - set(words)
        values = {word: given.get(word, USUAL.get(word, f"absent-{word}")) for word in words}
        if isinstance(values.get("settings"), dict):
            values["settings"] = json.dumps(values["settings"])
        line = ["run", name]
        for word, value in values.items():
            if value is not None:
                line += [flag(word), *map(str, value if isinstance(value, list) else [value])]
        return line

    return job_words


@pytest.fixture
def tiny() -> dict:
    """tiny.yaml as a dictionary to change."""
    return yaml.safe_load(TINY.read_text())


def copied(source: Path, to: Path) -> Path:
    """A copy of the package and the workflow, made in another folder."""
    for part in ("fldrep", "workflow"):
        shutil.copytree(source / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
    return to


@pytest.fixture(scope="session", name="copied")
def copied_fixture():
    """The function `copied`."""
    return copied


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, the code that made it, and what it printed."""

    folder: Path
    source: Path
    text: str


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """The function that has a folder made, once even if several test processes ask: `made_once(name, make) -> folder`.

    `make(folder)` is given an empty folder. Tests must not change what it made.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent

    def made_once(name: str, make: Callable[[Path], None]) -> Path:
        place = shared / f"made once, {name}"
        folder, made = place / "made", place / "is made"
        place.mkdir(exist_ok=True)
        with (place / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return made_once


@pytest.fixture(scope="session")
def finished_run(made_once):
    """The function that runs a config: `finished_run(config)`.

    It runs a copy of the code, so that an edit in the working tree while the tests run does not look like a change.
    Tests may plan in its folder (dry runs), and must not change it.
    """

    def finished_run(config: Path) -> Finished:
        def make(place: Path) -> None:
            folder, source = place / "a finished run", copied(ROOT, place / "code that ran")
            run = run_snakemake("--cores", 2, "--configfile", config, folder=folder, source=source)
            assert run.code == 0, run.text[-6000:]
            (place / "said.txt").write_text(run.text)

        place = made_once(f"a run of {config.stem}", make)
        return Finished(place / "a finished run", place / "code that ran", (place / "said.txt").read_text())

    return finished_run


@pytest.fixture(scope="session")
def finished(finished_run) -> Finished:
    """A finished run of tiny.yaml."""
    return finished_run(TINY)


@pytest.fixture(scope="session", autouse=True)
def begun(request, finished_run) -> Iterator[None]:
    """Where several processes test, the first has that run made beside its first tests, so that nobody waits for it."""
    wanted = any("finished" in item.fixturenames for item in request.session.items)
    if not (wanted and os.environ.get("PYTEST_XDIST_WORKER") == "gw0"):
        yield
        return
    with ThreadPoolExecutor(1) as beside:
        beside.submit(finished_run, TINY)
        yield


@pytest.fixture
def call(monkeypatch, capsys):
    """`python -m fldrep ...` in this process: exit code, stdout and stderr."""
    from fldrep.cli import main as cli

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fldrep", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return called


@pytest.fixture
def plug_in(tmp_path):
    """A function that loads a text as a plug-in, which is forgotten after the test."""
    before, modules = dict(registry._ADDED), set(sys.modules)

    def load(text: str) -> list[str]:
        path = tmp_path / "plugin.py"
        path.write_text(text)
        return registry.load_plugins(path)

    yield load
    for key in set(registry._ADDED) - set(before):
        del registry._ADDED[key], registry._VALUES[key]
    for name in set(sys.modules) - modules:
        if name.startswith("fldrep_plugin_"):
            del sys.modules[name]


def network(*layers: nn.Module, shape=(3, 9, 9), classes=4, seed=0) -> Model:
    """A float64 network with a body of these layers, batch norm statistics and weights away from their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(*layers)
        for tensor in body.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.5, 0.5)
        for module in body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2)
        body.double().eval()
        features = body(torch.zeros(1, *shape).double()).shape[1]
        return Model(body, nn.Linear(features, classes).double()).eval()


@pytest.fixture
def make_network():
    return network


@pytest.fixture
def draw_images():
    def draw(count=2, shape=(3, 9, 9), seed=1):
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return draw
