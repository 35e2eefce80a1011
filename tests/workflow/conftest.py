"""Snakemake as a user calls it, what it would run, and one finished run of tiny.yaml that all tests share."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
TINY = Path(__file__).with_name("tiny.yaml")
HEAD = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"
TIME_LIMIT_S = 900  # a machine busy with other work may be ten times slower than a free one


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


def snakemake(*arguments: object, folder: Path, source: Path = ROOT, cwd: Path | None = None) -> Snakemake:
    """Call Snakemake with the workflow of `source`, results in `folder`, the tests' own Python first on the path."""
    command = [sys.executable, "-m", "snakemake", "-s", source / "workflow/Snakefile", "-d", folder, *arguments]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIME_LIMIT_S,
    )
    return Snakemake(done.returncode, done.stdout)


@pytest.fixture(scope="session")
def call():
    """The function `snakemake`."""
    return snakemake


@pytest.fixture
def tiny() -> dict:
    """tiny.yaml as a dictionary to change."""
    return yaml.safe_load(TINY.read_text())


def copied(source: Path, to: Path) -> Path:
    """A copy of the package and the workflow, made in another folder."""
    for part in ("fldrep", "workflow"):
        shutil.copytree(source / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
    return to


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, the code that made it, and what it printed."""

    folder: Path
    source: Path
    text: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    """A run of tiny.yaml, made once even if several test processes ask for it.

    It runs a copy of the code, so that an edit in the working tree while the tests run does not look like a change.
    Tests may plan in its folder (dry runs), and must not change it.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder, source, said = shared / "a finished run", shared / "code that ran", shared / "said.txt"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            for left in (folder, source):
                shutil.rmtree(left, ignore_errors=True)
            copied(ROOT, source)
            run = snakemake("--cores", 2, "--configfile", TINY, folder=folder, source=source)
            assert run.code == 0, run.text[-6000:]
            said.write_text(run.text)
    return Finished(folder, source, said.read_text())


@pytest.fixture
def plan(finished, tmp_path):
    """What a run of a config would make in the finished folder."""

    def planned(config: dict, *arguments: object, source: Path = finished.source) -> Snakemake:
        path = tmp_path / TINY.name  # the claims name the file
        path.write_text(yaml.safe_dump(config))
        return snakemake(*arguments, "--summary", "--configfile", path, folder=finished.folder, source=source)

    return planned


@pytest.fixture
def source(finished, tmp_path) -> Path:
    """A copy of the code that ran, to edit."""
    return copied(finished.source, tmp_path / "source")
