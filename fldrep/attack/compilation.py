"""torch.compile for the functions that an attack calls at every step, where that pays after its cost."""

import os
import shutil
import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

import torch

Compile = Literal["auto", "always", "never"]
Function = TypeVar("Function", bound=Callable)

# Compiling takes about a minute on one core and saves about a third of each step, so a job must be long. Decided by
# counts and not by clocks, so that the same config always computes in the same way.
WORTH_STEPS = 10_000


def hastening(asked: Compile, steps: int) -> Callable[[Function], Function] | None:
    """What compiles a function of tensors, or None where functions stay as they are.

    Args: asked: `always`, `never`, or `auto`: from `WORTH_STEPS` evaluations on; steps: evaluations to be done.
    Without a C++ compiler functions stay as they are, with one warning.
    """
    if asked == "never" or (asked == "auto" and steps < WORTH_STEPS):
        return None
    if not has_compiler():
        warnings.warn("no C++ compiler found (g++, clang++ or $CXX): attacks run uncompiled", stacklevel=2)
        return None
    return lambda function: torch.compile(function, dynamic=False)


def has_compiler() -> bool:
    """Whether a C++ compiler can be found, as torch.compile needs one."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
