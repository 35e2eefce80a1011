"""A dead run's jobs and locks are cleared by the next owner of its folder; those of a live one, or others', are not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fldrep.errors import FLDRepError
from fldrep.plan import leftovers

ROOT = Path(__file__).parents[2]
OWNER = """
import signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
from fldrep.plan.leftovers import claim_workdir
print(*claim_workdir(Path(sys.argv[1]), ["results/tiny"]), sep=";", flush=True)
for _ in range(int(sys.argv[2])):
    print(subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True).pid, flush=True)
if sys.argv[3] == "stay":
    time.sleep(600)
"""


class Owner:
    """A process that owns a folder and has started children, each with a child of its own."""

    def __init__(self, folder: Path, children: int = 0, then: str = "stay"):
        command = [sys.executable, "-c", OWNER, str(folder), str(children), then]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.done = self.process.stdout.readline().strip()
        self.children = [int(self.process.stdout.readline()) for _ in range(children)]

    def end(self, sent: int) -> None:
        self.process.send_signal(sent)
        self.process.wait(30)


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    leftovers.end_processes(tmp_path / ".snakemake/fldrep.lock")


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def lock(folder: Path, name: str, *lines: str) -> Path:
    path = folder / ".snakemake/locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_the_jobs_and_locks_of_a_killed_run_are_cleared_by_the_next(folder, tmp_path_factory):
    other = Owner(tmp_path_factory.mktemp("other"), children=1)
    dead = Owner(folder, children=2)
    ours = lock(folder, "0.output.lock", "results/tiny/metrics/attacks.parquet")
    theirs = lock(folder, "1.output.lock", "results/tiny-2/metrics/attacks.parquet", "elsewhere/x")
    half = folder / "results/tiny/attack/.part-block-0-abc.parquet"
    whole = half.with_name("block-0.parquet")
    half.parent.mkdir(parents=True)
    half.touch()
    whole.touch()
    grandchildren = [child.pid for pid in dead.children for child in psutil.Process(pid).children()]
    dead.end(signal.SIGKILL)
    assert all(map(alive, dead.children)), "children outlive a killed run, as without this mechanism"
    following = Owner(folder, then="leave")
    assert following.process.wait(30) == 0
    assert not any(map(alive, [*dead.children, *grandchildren]))
    assert (ours.exists(), theirs.exists(), half.exists(), whole.exists()) == (False, True, False, True)
    for pid in dead.children:
        assert f"ended left-over process {pid}" in following.done
    assert "removed .snakemake/locks/0.output.lock" in following.done
    assert alive(other.children[0]), "a process of another folder is not touched"
    other.end(signal.SIGKILL)
    leftovers.end_processes(tmp_path_factory.getbasetemp() / "other0/.snakemake/fldrep.lock")


def test_beside_a_live_run_nothing_is_touched(folder):
    living = Owner(folder, children=1)
    kept = lock(folder, "0.input.lock", "results/tiny/data/mnist.safetensors")
    second = Owner(folder, then="leave")
    assert second.done == ""
    assert second.process.wait(30) == 0
    assert kept.exists()
    assert alive(living.children[0])
    living.end(signal.SIGKILL)
    third = Owner(folder, then="leave")
    assert "ended left-over process" in third.done, "the second left as the first lived, and did not call it clean"
    assert not kept.exists()


@pytest.mark.parametrize("sent", [None, signal.SIGINT])
def test_a_run_that_ends_by_itself_leaves_nothing_to_clear(folder, sent):
    owner = Owner(folder, children=1, then="leave" if sent is None else "stay")
    if sent is None:
        owner.process.wait(30)
    else:
        owner.end(sent)
    assert (folder / ".snakemake/fldrep.lock").read_text() == ""
    kept = lock(folder, "0.input.lock", "results/tiny/data/mnist.safetensors")
    following = Owner(folder, then="leave")
    assert following.done == ""
    assert kept.exists(), "who made this lock is not known"


def test_a_folder_left_by_another_machine_is_not_touched(folder):
    path = folder / ".snakemake/fldrep.lock"
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    kept = lock(folder, "0.input.lock", "results/tiny/data/mnist.safetensors")
    with pytest.raises(FLDRepError, match="a run on elsewhere ended without clearing up"):
        leftovers.claim_workdir(folder, ["results/tiny"])
    assert kept.exists()
    assert os.environ.get(leftovers.MARK) is None


def test_slurm_is_asked_only_where_a_run_has_sent_jobs(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    assert leftovers.cancel_slurm_jobs(folder) == []
    (folder / ".snakemake/slurm_logs").mkdir(parents=True)
    with pytest.raises(FLDRepError, match="squeue: left-over Slurm jobs cannot be looked for"):
        leftovers.cancel_slurm_jobs(folder)
