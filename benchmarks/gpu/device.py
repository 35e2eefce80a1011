"""What a run computes on: found out, and that its files can be read, before anything is measured."""

import subprocess
from datetime import UTC, datetime

import torch

import fldrep
from benchmarks.gpu.inner import ImageSet, commit, device_for, device_words, machine, memory, versions
from benchmarks.gpu.task import Task


def measure(task: Task) -> dict:
    """The device in words; no table. Errors: `DataError` for the photo or the images; `ConfigError` without a GPU."""
    fldrep.read_photo(task.photo)
    if task.images is not None:
        ImageSet.read(task.images)
    with device_for(task.device) as device:
        found = {"device": device_words(device, "").strip() if device != "cpu" else "cpu"}
        if device == "cpu":
            return found
        facts = torch.cuda.get_device_properties(device)
        torch.ones(1, device=device).sum().item()
        return {
            **found,
            "memory_gib": round(facts.total_memory / 2**30, 1),
            "multiprocessors": facts.multi_processor_count,
            "capability": f"{facts.major}.{facts.minor}",
            "cudnn": torch.backends.cudnn.version(),
        }


def circumstances() -> dict[str, object]:
    """Hardware, driver, versions, commit and time, told without touching a GPU (which torch.backends.cudnn would)."""
    return {
        "commit": commit(),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "memory": memory(),
        "gpu": _told_by_driver(),
        "versions": versions() | {"cuda": torch.version.cuda or "none"},
    }


def _told_by_driver() -> str:
    """Name, memory and driver of the GPUs, `none` without a driver."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return "; ".join(f"{line}" for line in done.stdout.strip().splitlines()) or "none"
