"""Where the gradient of a network jumps: at layers whose slope is not continuous, such as ReLU and max pooling.

What is solved by derivatives of the gradient cannot go through these: a unit that turns on moves the gradient by a step
of which no derivative tells.
"""

import copy

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

# Operations whose slope jumps, by the names that torch gives them.
# fmt: off
KINKED = {
    "abs", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin", "clamp", "clip",
    "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "max", "max_pool1d", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "maximum", "min", "minimum", "prelu", "relu", "relu6", "rrelu", "selu",
    "softshrink", "sort", "threshold", "topk",
}
# fmt: on


def first_kink(module: nn.Module, shape: tuple[int, int, int]) -> str:
    """The first layer at which the gradient jumps, as an error names it; empty where there is none.

    It is found by running the network on one image of this shape, so what a forward pass calls by itself counts too.
    Operations that only their results tell of (`torch.where`, say) are not found.

    >>> first_kink(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), (1, 4, 4))
    "ReLU '1'"
    """
    watched, inside = copy.deepcopy(module), []
    for name, one in watched.named_modules():
        one.register_forward_pre_hook(lambda one, given, name=name: inside.append((name, type(one).__name__)))
        one.register_forward_hook(lambda one, given, found: inside.pop() and None)
    like = next(watched.parameters())
    with torch.no_grad(), _Watch(inside) as seen:
        watched(torch.full((1, *shape), 0.5, dtype=like.dtype, device=like.device))
    return seen.found


class _Watch(TorchFunctionMode):
    """Remembers the first operation with a kink, and the module that was at work."""

    def __init__(self, inside: list[tuple[str, str]]):
        super().__init__()
        self.inside, self.found = inside, ""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        called = getattr(func, "__name__", "")
        if not self.found and called.strip("_") in KINKED:
            name, kind = self.inside[-1] if self.inside else ("", "")
            spelled = called.lower().replace("_", "")
            self.found = f"{kind} {name!r}" if kind.lower() in spelled else f"{called} in {kind} {name!r}"
        return func(*args, **(kwargs or {}))
