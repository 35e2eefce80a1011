"""Derivatives of any network by torch.func, also where torch itself gives up."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.utils._pytree import tree_map

from fldrep.functional import differentiable


def pushed(function: Callable, at: tuple[Tensor, ...], along: tuple[Tensor, ...]) -> tuple:
    """A function's value and its derivative along a direction: in forward mode, or where an operation has none, by
    the backward pass, which is linear in what it pulls back, differentiated once more."""
    with warnings.catch_warnings(), differentiable():  # torch's forward mode scripts its own rules when first used
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        try:
            return jvp(function, at, along)
        except NotImplementedError:
            value, pull = vjp(function, *at)
            return value, vjp(pull, tree_map(torch.zeros_like, value))[1](along)[0]
