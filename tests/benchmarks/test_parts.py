"""A part runs in a process of its own: what it wrote stays, however it ends, and nothing of it is left running."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.gpu.clock import Steps
from benchmarks.gpu.parts import run_part
from benchmarks.gpu.scale import SMALL
from benchmarks.gpu.sheet import NOT_REACHED, Sheet, outcome
from benchmarks.gpu.task import Task
from fldrep.errors import ConfigError
from fldrep.report.evidence_tables import MEASURED, SPEED

PLANNED = [{"attack": "gs", "network": "lenet", "targets": count, "mode": "eager"} for count in (1, 8)]


@pytest.fixture
def task(tmp_path) -> Task:
    return Task(tmp_path, SMALL, "cpu", Path("photo.jpg"), None, ends=time.monotonic() + 600)


def half_done(task: Task) -> Sheet:
    sheet = Sheet(SPEED, task.folder, PLANNED)
    sheet.fill({0: {"steps_per_s": 2.0, "status": MEASURED}})
    return sheet


def hangs(task: Task) -> dict:
    half_done(task)
    child = subprocess.Popen(["sleep", "600"])
    (task.folder / "child").write_text(str(child.pid))
    time.sleep(600)


def fails(task: Task) -> dict:
    half_done(task)
    raise ValueError("no\nmore")


def dies(task: Task) -> dict:
    half_done(task)
    os.kill(os.getpid(), signal.SIGKILL)


def finishes(task: Task) -> dict:
    half_done(task).fill({1: {"steps_per_s": 3.0, "status": MEASURED}})
    return {"peak": 1.5}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("work", "limit_s", "ended"),
    [
        (hangs, 3, "stopped at its limit of 3 s"),
        (fails, 60, "failed: ValueError: no"),
        (dies, 60, "failed: exit code -9"),
    ],
)
def test_what_a_part_measured_before_it_ended_stays(task, work, limit_s, ended):
    told = run_part(work, task, limit_s)
    assert told["ended"] == ended
    assert told["seconds"] < limit_s + 30
    rows = SPEED.read(task.folder / "speed.parquet")
    assert rows["status"].tolist() == [MEASURED, NOT_REACHED]
    assert rows["steps_per_s"][0] == 2
    assert (task.folder / "speed.csv").read_text().count("\n") == 3


def test_a_stopped_part_leaves_no_process(task):
    run_part(hangs, task, 3)
    child = int((task.folder / "child").read_text())
    deadline = time.monotonic() + 30
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(child)


def test_a_part_that_finishes_tells_its_facts(task):
    told = run_part(finishes, task, 60)
    assert told["ended"] == "finished"
    assert told["peak"] == 1.5
    assert SPEED.read(task.folder / "speed.parquet")["status"].tolist() == [MEASURED, MEASURED]


def test_what_cannot_be_done_is_told_in_the_row():
    def refused():
        raise ConfigError("needs a GPU")

    assert outcome(lambda: {"steps": 3}, "cpu") == {"steps": 3, "device": "cpu", "status": MEASURED}
    assert outcome(refused, "cpu") == {"status": "not run: needs a GPU"}
    assert outcome(lambda: 1 / 0, "cpu") == {"status": "failed: ZeroDivisionError: division by zero"}


def test_steps_are_counted_of_the_chunk_that_was_worked_last():
    seen = []
    steps = Steps(seen.append)
    for done in (0, 8, 8, -16, 0, 4, 4, 0, 4, 4, 12):  # memory ran out: two halves; the last ends 3 steps early
        steps.update(done)
    assert seen == [1, 2, 1, 2, 1, 2]
    assert (steps.done, steps.problems) == (2, 4)
