"""Memory that a computation frees and soon needs again."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # mallopt's names for them, from malloc.h of glibc
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have this process keep the memory it frees, for its next use, instead of returning it to the system each time.

    A step of an attack allocates and frees tensors of megabytes; fresh pages cost more than the arithmetic on them. The
    process's memory then stays at its peak until it ends. Returns whether it could be done (Linux with glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM_THRESHOLD, NEVER)) and bool(mallopt(MMAP_MAX, 0))
