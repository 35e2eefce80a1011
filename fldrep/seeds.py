"""Randomness by name: every random draw comes from a seed derived from what it is for, never from global state.

Two jobs that share a name share the draw. Initial points, client sampling and batch order are named by data set, model,
partition, target, restart and seed, and never by the defense or the attack, so comparisons between them are paired.
"""

import hashlib


def job_seed(*identity: object) -> int:
    """A seed in [0, 2**63) that depends on the names given and on nothing else (not on the process or the platform).

    >>> job_seed("mnist", "lenet", 0) == job_seed("mnist", "lenet", 0)
    True
    >>> job_seed("mnist", 1) == job_seed("mnist1")
    False
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in identity)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*identity: object):
    """A CPU `torch.Generator` seeded by `job_seed`; draw on the CPU and move, so that every device starts alike."""
    import torch

    return torch.Generator().manual_seed(job_seed(*identity))
