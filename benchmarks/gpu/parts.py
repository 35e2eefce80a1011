"""The parts of a run, each in a process of its own with a limit: one that hangs, fails or is killed harms no other.

The processes are forked, so that packages are imported once; this process must not touch the GPU before.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping

import torch

from benchmarks.gpu import agreement, cifar10, device, photo, speed
from benchmarks.gpu.inner import RECORD, TABLES, DataError, atomic_write
from benchmarks.gpu.sheet import Sheet, first_line, statuses
from benchmarks.gpu.task import Asked, Task

# The letters are those of the plan; what comes last has the time that is left.
PARTS = {"device": device, "agreement": agreement, "speed": speed, "cifar10": cifar10, "photo": photo}
RESERVE_S = 3.0  # kept for what comes after the last part
SOFT = 0.96  # of a part's limit: what it may plan for


def run_all(asked: Asked, facts: Mapping[str, object], began: float) -> None:
    """Run all parts; evidence.json tells after each what was run, what not, and why.

    Args: facts: of the record; began: when the clock of all started, by time.monotonic().
    Errors: `DataError` where the folder holds evidence, or where nothing can be run.
    """
    if (asked.folder / RECORD).exists():
        raise DataError(f"{asked.folder}: holds evidence already; give another folder")
    for table in TABLES:
        Sheet(table, asked.folder, [])  # a part that does not even begin leaves a table without rows
    record = {**device.circumstances(), **facts, "device": "", "total_s": 0.0, "limits_s": {}, "parts": {}}
    for name, part in PARTS.items():
        left = max(1.0, asked.scale.total_s - RESERVE_S - (time.monotonic() - began))
        limit_s = min(asked.scale.limits_s.get(name, left), left)
        print(f"{name}: at most {limit_s:.0f} s", flush=True)
        told = run_part(part.measure, Task(**vars(asked), ends=time.monotonic() + SOFT * limit_s), limit_s)
        print(f"{name}: {told['ended']}, {told['seconds']:.0f} s", flush=True)
        record["parts"][name] = told | statuses(asked.folder / f"{name}.parquet")
        record["limits_s"][name] = round(limit_s, 1)
        record["device"] = record["parts"]["device"].get("device", "")
        record["total_s"] = round(time.monotonic() - began, 1)
        with atomic_write(asked.folder / RECORD) as beside:
            beside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if not record["device"]:
            sys.exit(f"evidence: nothing can be run: {told['ended']}")


def run_part(work: Callable[[Task], dict], task: Task, limit_s: float) -> dict:
    """Run a part, and end it with all its processes at its limit.

    Returns `ended` (finished, stopped at its limit, failed and why), `seconds`, and the facts that the part returned.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_alone, args=(work, task, sender))
    began = time.monotonic()
    process.start()
    sender.close()
    try:
        process.join(limit_s)
        stopped = process.is_alive()
    finally:
        _end(process)
    told = {"ended": _how_it_ended(process, stopped, limit_s), "seconds": round(time.monotonic() - began, 1)}
    try:
        return told | (receiver.recv() if receiver.poll() else {})
    except EOFError:
        return told


def _end(process: multiprocessing.Process) -> None:
    if process.is_alive():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet the head of its group
            process.kill()
    process.join()


def _how_it_ended(process: multiprocessing.Process, stopped: bool, limit_s: float) -> str:
    if stopped:
        return f"stopped at its limit of {limit_s:.0f} s"
    return "finished" if process.exitcode == 0 else f"failed: exit code {process.exitcode}"


# In the part's own process -------------------------------------------------------------------------------------------


def _alone(work: Callable[[Task], dict], task: Task, sender) -> None:
    os.setsid()  # the head of a group, so that what it starts can be ended with it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if task.scale.threads:
        torch.set_num_threads(task.scale.threads)
    try:
        sender.send(work(task))
    except Exception as error:
        traceback.print_exc()
        sender.send({"ended": f"failed: {first_line(error)}"})


def _end_with_parent() -> None:
    """A parent killed without warning leaves nothing behind."""
    multiprocessing.parent_process().join()
    os.killpg(0, signal.SIGKILL)
