"""Memory of a computation: what is free for it, what it takes, and what it frees and soon needs again."""

import ctypes
import os
import resource
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # mallopt's names for them, from malloc.h of glibc
NEVER = 2**31 - 1

# Of the free memory a computation plans for: the rest is for what no operation accounts for (workspaces of libraries,
# fragments), and on a CPU, where nothing reports that memory ran out before the system kills the job, for others.
SHARE = {"cpu": 0.5, "cuda": 0.8}
FEW, MORE = 2, 4  # problems tried to tell what one takes; one alone may be spared copies


def keep_freed_memory() -> bool:
    """Have this process keep the memory it frees, for its next use, instead of returning it to the system each time.

    A step of an attack allocates and frees tensors of megabytes; fresh pages cost more than the arithmetic on them. The
    process's memory then stays at its peak until it ends. Returns whether it could be done (Linux with glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM_THRESHOLD, NEVER)) and bool(mallopt(MMAP_MAX, 0))


def free_bytes(device: torch.device) -> int:
    """Memory that a job may still take: the GPU's, or its threads' share of what the machine or its limits leave."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    share = min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
    limits = [_left_to_address(), *(_left_in_group(*names) for names in GROUP_LIMITS)]
    return min([int(_machine_bytes() * share), *(limit for limit in limits if limit is not None)])


def _machine_bytes() -> int:
    """Memory available on this machine; half of what it has where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


# What a scheduler or a container grants: limit and use of a control group, version 2 and version 1.
GROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def _left_in_group(limit: Path, used: Path) -> int | None:
    """What a control group leaves, or None where it sets no limit."""
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no such file, or the word `max`
        return None


def _left_to_address() -> int | None:
    """What the limit of the address space leaves (`ulimit -v`), or None where there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return max(0, limit - used)


class TensorBytes(TorchDispatchMode):
    """Counts the memory of the tensors that operations make while it is active: `held` now, and `peak` at once."""

    def __init__(self):
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run an operation, and count what it made."""
        made = function(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


def bytes_per_problem(work: Callable[[int], object]) -> int:
    """What one more problem adds to the peak of `work(number of problems)`, counted while it runs on a few."""
    peaks = []
    for count in (FEW, MORE):
        with TensorBytes() as counted:
            work(count)
        peaks.append(counted.peak)
    return max(1, (peaks[1] - peaks[0]) // (MORE - FEW))


def fitting_chunk(work: Callable[[int], object], most: int, device: torch.device) -> int:
    """How many problems fit into the memory free now: a power of two, at most `most` (then that number); at least 1.

    Args: work: runs a given number of problems for one step.
    """
    try:
        fitting = int(SHARE[device.type] * free_bytes(device)) // bytes_per_problem(work)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return 1
    return most if fitting >= most else 1 << max(fitting, 1).bit_length() - 1


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def halved(chunk: int) -> int:
    """The largest proper divisor of a chunk, its half if it is even: what is done by then stays aligned to it.

    >>> [halved(64), halved(50), halved(25), halved(7)]
    [32, 25, 5, 1]
    """
    return next(size for size in range(chunk // 2, 0, -1) if chunk % size == 0)
