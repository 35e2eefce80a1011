"""What is known of a kind of layer: one class a kind, with every operation that needs its derivative.

A file in `layers/` registers a class for a type of module. What a class does not define, or refuses, raises `NoRule`;
whoever asked then takes autograd, which is slower and knows every module.

Gradients of updates and their derivatives are made by passes. A layer is a function of its input. It returns its output
and the way back; the way back returns the slope by the input, the gradients of the layer's own parameters, and two
derivatives of both passes: `pull`, along a change V of the parameters, and `push`, along a change of the images.

    y, back = run(x, count);  gx, own, pull, push = back(gy, needed)
    dy, pull_back = pull(dx, v);  dgx = pull_back(dgy)
    dy, push_back = push(dx);     dgx, down = push_back(dgy, needed)

Activations are (P * B, ...) for P = count problems of B images; own gradients, their derivatives `down` and v are
{name: (P, ...)}, convolution weights in the order of entries that their rule works in. A dx of None stands for zero:
nothing in front of the layer depends on the weights. Where the slope by the input is not `needed`, it may be None.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Record

Gradient = Mapping[str, Tensor]
Run = Callable[[Tensor, int], tuple[Tensor, Callable]]
Shape = tuple[int, ...]


class NoRule(Exception):
    """What is asked of a layer is not known for it; the text names the layer."""


@dataclass(frozen=True)
class Passes:
    """A layer's passes, the shape of one output, and the order of entries in which they hold each of its parameters.

    `order`: {name: a function that brings (P, *shape of the parameter) into that order}.
    """

    run: Run
    shape: Shape
    order: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)


class Layer:
    """One module and its rules; this class knows none."""

    def __init__(self, module: nn.Module):
        self.module = module

    def values(self, x: Tensor) -> Tensor:
        """The output. Shape: (N, ...) -> (N, ...)."""
        return self.module(x)

    def passes(self, names: Names, shape: Shape) -> Passes:
        """How gradients of updates pass, for inputs of this shape, (C, H, W) or (F,)."""
        raise NoRule(self.words)

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and its derivative along dx. Shape: (N, ...) twice -> (N, ...) twice."""
        raise NoRule(self.words)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """The output, and how rows of the Jacobian are pulled back from it, part by part."""
        raise NoRule(self.words)

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and its variance if the inputs vary independently. Shape: (N, ...) twice -> (N, ...) twice."""
        raise NoRule(self.words)

    def inverse(self, y: Tensor) -> Tensor:
        """The input that gives an output, entry for entry. Shape: (N, ...) -> (N, ...)."""
        raise NoRule(self.words)

    def norm(self, x: Tensor) -> float:
        """A number that no ||f(x) - f(y)|| / ||x - y|| exceeds, in float64, for inputs of the shape of x."""
        raise NoRule(self.words)

    @property
    def unknown(self) -> "Layer | None":
        """A layer in here that has no rules at all."""
        return self if type(self) is Layer else None

    @property
    def words(self) -> str:
        """What an error calls this layer."""
        return f"module {type(self.module).__name__}"

    def own(self, names: Names) -> dict[str, str]:
        """The names of the module's own parameters, by what it calls them: {'weight': 'body.0.weight'}."""
        given = {key: value for key, value in self.module._parameters.items() if value is not None}
        if missing := [key for key, value in given.items() if id(value) not in names]:
            raise NoRule(f"{self.words}, whose {missing[0]} is no parameter of the network")
        return {key: names[id(value)] for key, value in given.items()}


KINDS: dict[type[nn.Module] | str, type[Layer]] = {}


def layer(kind: type[nn.Module] | str) -> Callable[[type[Layer]], type[Layer]]:
    """Register a class for a type of module; its full name stands for one whose package is not imported for it."""

    def register(rules: type[Layer]) -> type[Layer]:
        KINDS[kind] = rules
        return rules

    return register


def layer_of(module: nn.Module) -> Layer:
    """A module with the rules of its type, or of one it is derived from without another forward pass.

    One whose function its type does not tell (a forward of the instance's own, a weight that is computed) has none.
    """
    for kind in type(module).__mro__:
        rules = KINDS.get(kind) or KINDS.get(f"{kind.__module__}.{kind.__qualname__}")
        if rules is not None:
            plain = type(module).forward is kind.forward and "forward" not in vars(module)
            return rules(module) if plain and not parametrize.is_parametrized(module) else Layer(module)
    return Layer(module)


def without_weights(forward: Callable[[Tensor], tuple]) -> Run:
    """The passes of a layer that has no parameters.

    Args: forward: x -> y, along, back, bent: y's derivative along a dx; the slope by x from a gy; and `bent(dgy, gy,
    dx)`, how that slope changes where gy changes by dgy and x by dx, or None where it does not depend on x.
    """

    def run(x: Tensor, count: int):
        y, along, slope, bent = forward(x)

        def back(gy: Tensor, needed: bool):
            def changed(dgy: Tensor, dx: Tensor | None) -> Tensor:
                return slope(dgy) if bent is None or dx is None else bent(dgy, gy, dx)

            def pull(dx: Tensor | None, v: Gradient):
                return None if dx is None else along(dx), lambda dgy: changed(dgy, dx)

            def push(dx: Tensor):
                return along(dx), lambda dgy, needed: (changed(dgy, dx) if needed else None, {})

            return slope(gy) if needed else None, {}, pull, push

        return y, back

    return run


def each(values: Tensor, count: int) -> Tensor:
    """By problem. Shape: (P * B, ...) -> (P, B, ...)."""
    return values.unflatten(0, (count, -1))


def added(own: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    """Add the gradients of more layers; those of a parameter that several layers use add up."""
    for name, value in more.items():
        own[name] = own[name] + value if name in own else value


def output_shape(module: nn.Module, shape: Shape) -> Shape:
    """Of a module without parameters, by running it on tensors without values."""
    return tuple(module(torch.empty(1, *shape, device="meta")).shape[1:])


def as_it_is(value: Tensor) -> Tensor:
    """The order of entries of the parameter itself."""
    return value


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """A size for both directions."""
    return size if isinstance(size, tuple) else (size, size)
