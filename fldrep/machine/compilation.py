"""torch.compile for the functions that an attack calls at every step, where that pays after its cost.

What is compiled is kept in the package's cache, so that a later job finds it. In float32 compiled and eager functions
round differently; in float64 their results agree to 1e-10 over a few steps (tests).
"""

import os
import shutil
import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fldrep.arguments import line_of
from fldrep.errors import ConfigError
from fldrep.storage.cache import cache_folder

Compile = Literal["auto", "always", "never", "graphs"]
Function = TypeVar("Function", bound=Callable)

# Compiling takes about a minute on one core and saves about a third of each step, so a job must be long. Decided by
# counts and not by clocks, so that the same config always computes in the same way.
WORTH_STEPS = 10_000


def compiler(asked: Compile, steps: int, device: str = "cpu") -> Callable[[Function], Function] | None:
    """What compiles a function of tensors, or None where functions stay as they are.

    Args: asked: `always`, `never`, `auto`: from `WORTH_STEPS` evaluations on, or `graphs`: with CUDA graphs (never
    run so far, for lack of a GPU, and so never chosen by auto); steps: evaluations to be done; device: its type.
    Without a C++ compiler functions stay as they are, with one warning. Errors: `ConfigError` for graphs on a CPU.
    """
    if asked == "graphs" and device != "cuda":
        raise ConfigError(f"compile: 'graphs' needs a GPU, the model is on {device}; use auto, always or never")
    if asked == "never" or (asked == "auto" and steps < WORTH_STEPS):
        return None
    if not has_compiler():
        warnings.warn("no C++ compiler found (g++, clang++ or $CXX): attacks run uncompiled", stacklevel=2)
        return None
    keep_compiled()
    return as_graph if asked == "graphs" else compiled


def as_it_is(function: Function) -> Function:
    """What compiles nothing."""
    return function


def compiled(function: Function) -> Function:
    """A function, compiled for the shapes it meets first."""
    return where_it_compiles(function, torch.compile(function, dynamic=False))


def as_graph(function: Function) -> Function:
    """A function as one CUDA graph; its results are copied out, since the next call overwrites them."""
    replayed = where_it_compiles(function, torch.compile(function, dynamic=False, mode="reduce-overhead"))
    return lambda *inputs: tree_map_only(Tensor, torch.clone, replayed(*inputs))


def where_it_compiles(function: Function, compiled: Function) -> Function:
    """The compiled function, or the function as it is from the first call on that torch cannot compile, with a warning.

    What networks of others do is not always within torch's reach, and an attack on them must not end for that.
    """
    chosen = compiled

    def run(*inputs):
        nonlocal chosen
        try:
            return chosen(*inputs)
        except RuntimeError as error:
            if not isinstance(error, torch._dynamo.exc.TorchDynamoException):
                raise
            said = line_of(error)[:200]
        warnings.warn(f"torch cannot compile this attack, which runs uncompiled: {said}", stacklevel=2)
        chosen = function
        return function(*inputs)

    return run


def keep_compiled() -> None:
    """Have torch keep what it compiles in the package's cache, unless TORCHINDUCTOR_CACHE_DIR says where."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))


def has_compiler() -> bool:
    """Whether a C++ compiler can be found, as torch.compile needs one."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)
