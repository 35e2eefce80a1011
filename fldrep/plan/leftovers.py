"""What a killed run left in its working folder: jobs that live on, and locks. The next run there clears both.

A run holds a lock of the kernel's for as long as it lives, however it ends, so a dead owner is never taken for a live
one, nor the other way round. Its jobs, and their children, carry the lock's path in their environment.
"""

import atexit
import fcntl
import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from fldrep.atomic import BESIDE
from fldrep.errors import FLDRepError
from fldrep.storage.places import FORMER

MARK = "FLDREP_RUN"
WAIT_S = 60  # for what was told to end


def claim_workdir(folder: Path, outputs: Sequence[str], at_once: int | None = None) -> list[str]:
    """Own a working folder until this process ends; where no other run lives there, first clear what a dead one left.

    Ended are processes marked as jobs of this folder, on this machine, and Slurm jobs that a run in this folder sent;
    removed are Snakemake's locks on files under `outputs` (such as `results/demo`), and half-written files there.
    Returns a line for each thing done.
    Args: at_once: how many jobs the run works on at once, for `live_run` to tell.
    Beside a live run nothing is touched: Snakemake's own locks decide whether both may work.
    Errors: `FLDRepError` where a run on another machine left the folder, since its jobs cannot be seen from here.
    """
    path = lock_of(folder)
    path.parent.mkdir(exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    done = []
    if _alone(handle):
        left = os.read(handle, 4096)
        if left:
            done = clear(path, json.loads(left)["host"], outputs)
        _write(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "at_once": at_once}))
    fcntl.flock(handle, fcntl.LOCK_SH)
    os.environ[MARK] = str(path)
    atexit.register(_leave, handle)
    return done


class LiveRun(NamedTuple):
    """A run that works in a folder: on which machine, and how many jobs at once, where it said so."""

    host: str
    at_once: int | None


def live_run(folder: Path) -> LiveRun | None:
    """The run that works in a folder, or None; one on another machine counts until it has said its end."""
    path = lock_of(folder)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        here = told["host"] == socket.gethostname()
        if not here or any(one.path == str(path) for one in psutil.Process(told["pid"]).open_files()):
            return LiveRun(told["host"], told.get("at_once"))
    except (OSError, ValueError, KeyError, psutil.Error):  # no lock, an empty one, or its owner is gone
        pass
    return None


def lock_of(folder: Path) -> Path:
    """The lock of a working folder."""
    return folder.resolve() / ".snakemake" / "fldrep.lock"


def clear(path: Path, host: str, outputs: Sequence[str]) -> list[str]:
    """End and remove what the dead owner of a lock left behind. Returns and raises as `claim_workdir` does."""
    if host != socket.gethostname():
        raise FLDRepError(
            f"{path}: a run on {host} ended without clearing up; start this one there, or, if nothing of it is alive, "
            f"delete this file and call snakemake --unlock"
        )
    folder = path.parent.parent
    done = [f"cancelled left-over Slurm job {one}" for one in cancel_slurm_jobs(folder)]
    done += [f"ended left-over process {one}" for one in end_processes(path)]
    left = [*locks_on(folder, outputs), *half_written(folder, outputs)]
    for one in left:
        one.unlink()
    return done + [f"removed {one.relative_to(folder)}" for one in left]


def former_results(results: Path) -> list[str]:
    """A line for a person where a folder such as `results/demo` holds files that only earlier versions read."""
    found = [path for pattern in FORMER for path in results.glob(pattern)]
    if not found:
        return []
    return [
        f"{results}: {len(found)} files of an earlier version, such as {found[0].relative_to(results)}, are not read; "
        "what this version makes lies beside them, and they may be deleted"
    ]


def end_processes(path: Path) -> list[int]:
    """Kill the processes that carry this lock's path in their environment. Outputs appear whole or not at all."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = [one for one in psutil.process_iter() if one.pid not in own and _mark_of(one) == str(path)]
    for one in found:
        try:
            one.kill()  # psutil compares start times, so a number used again harms nobody
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, timeout=WAIT_S)
    return [one.pid for one in found]


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):  # gone, a zombie, or another user's
        return None


def cancel_slurm_jobs(folder: Path) -> list[str]:
    """Cancel the Slurm jobs that runs in this folder sent, and wait until they are gone."""
    if not (folder / ".snakemake" / "slurm_logs").is_dir():
        return []
    jobs = _slurm_jobs(folder)
    if jobs:
        _said("scancel", *jobs)
    deadline = time.monotonic() + WAIT_S
    while left := _slurm_jobs(folder):
        if time.monotonic() > deadline:
            raise FLDRepError(f"Slurm job {left[0]} of a run that died does not end; see squeue, then start again")
        time.sleep(0.5)
    return jobs


def _slurm_jobs(folder: Path) -> list[str]:
    lines = [line.split("|", 1) for line in _said("squeue", "--me", "--noheader", "--format=%A|%Z").splitlines()]
    return sorted({job for job, where in lines if Path(where) == folder}, key=int)


def locks_on(folder: Path, outputs: Sequence[str]) -> list[Path]:
    """Snakemake's locks on files under `outputs`."""
    starts = tuple(f"{one}/" for one in outputs)
    locks = sorted((folder / ".snakemake" / "locks").glob("*.lock"))
    return [lock for lock in locks if any(line.startswith(starts) for line in lock.read_text().splitlines())]


def half_written(folder: Path, outputs: Sequence[str]) -> list[Path]:
    """What a killed job was writing under `outputs`."""
    return [path for one in outputs for path in sorted((folder / one).rglob(f"{BESIDE}*"))]


def _said(*command: str) -> str:
    """What a command of Slurm prints. Errors: `FLDRepError` with its last line where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FLDRepError(f"{command[0]}: left-over Slurm jobs cannot be looked for: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise FLDRepError(f"{command[0]}: left-over Slurm jobs cannot be looked for: {last}")
    return done.stdout


def _alone(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)


def _leave(handle: int) -> None:
    """The end of a run that could clear up after itself: the last one in a folder leaves its lock empty."""
    if _alone(handle):
        _write(handle, "")
    os.close(handle)
