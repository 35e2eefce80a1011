"""Layers made of layers: one behind the other, or two beside each other whose outputs add up.

Every operation of a whole follows from those of its parts. A part that appears twice is two parts with one set of
parameters, whose gradients add up.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from fldrep.derivatives.layer import Gradient, Layer, NoRule, Passes, Run, Shape, added
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Patches, Record, pulled


class Chain(Layer):
    """Parts one behind the other."""

    def __init__(self, parts: Sequence[Layer]):
        self.parts = tuple(parts)

    @property
    def unknown(self) -> Layer | None:
        """The first of the parts'."""
        return next((part.unknown for part in self.parts if part.unknown), None)

    def values(self, x: Tensor) -> Tensor:
        """The output."""
        for part in self.parts:
            x = part.values(x)
        return x

    def passes(self, names: Names, shape: Shape) -> Passes:
        """Forward through the parts, and back through them in the opposite order."""
        runs, order = [], {}
        for part in self.parts:
            made = part.passes(names, shape)
            runs.append(made.run)
            order = joined(order, made.order)
            shape = made.shape
        return Passes(_one_behind_the_other(runs), shape, order)

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The chain rule."""
        for part in self.parts:
            x, dx = part.push(x, dx)
        return x, dx

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """The parts' own, in order."""
        records = []
        for part in self.parts:
            x, more = part.rows(x)
            records += more
        return x, records

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """From part to part, whose outputs are taken to vary independently."""
        for part in self.parts:
            values, variances = part.variance(values, variances)
        return values, variances

    def norm(self, x: Tensor) -> float:
        """The product of the parts' bounds."""
        bound = 1.0
        for part in self.parts:
            bound *= part.norm(x)
            x = part.values(x)
        return bound


class Sum(Layer):
    """Two branches from one input, whose outputs add up."""

    def __init__(self, first: Layer, second: Layer):
        self.first, self.second = first, second

    @property
    def unknown(self) -> Layer | None:
        """That of one of the branches."""
        return self.first.unknown or self.second.unknown

    def values(self, x: Tensor) -> Tensor:
        """The output."""
        return self.first.values(x) + self.second.values(x)

    def passes(self, names: Names, shape: Shape) -> Passes:
        """Through both branches; the slopes by their common input add up."""
        first, second = self.first.passes(names, shape), self.second.passes(names, shape)
        return Passes(_side_by_side(first.run, second.run), first.shape, joined(first.order, second.order))

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of both."""
        (y, dy), (more, dmore) = self.first.push(x, dx), self.second.push(x, dx)
        return y + more, dy + dmore

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """A row through both branches is the sum of two, in a window that holds both of theirs."""
        (y, first), (more, second) = self.first.rows(x), self.second.rows(x)

        def pull(patches: Patches) -> Patches:
            return _both(pulled(first, patches), pulled(second, patches))

        return y + more, [Record(x.shape[1:], pull)]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of both, as if the branches varied independently."""
        first, second = self.first.variance(values, variances), self.second.variance(values, variances)
        return first[0] + second[0], first[1] + second[1]

    def norm(self, x: Tensor) -> float:
        """The sum of both."""
        return self.first.norm(x) + self.second.norm(x)


def joined(order: dict[str, Callable], more: dict[str, Callable]) -> dict[str, Callable]:
    """The orders of entries of two parts. Errors: `NoRule` where they hold one parameter in two orders."""
    if unlike := [name for name, one in more.items() if order.get(name, one) is not one]:
        raise NoRule(f"layers that hold {unlike[0]} in two orders of entries")
    return order | more


def _one_behind_the_other(runs: list[Run]) -> Run:
    def run(x: Tensor, count: int):
        backs = []
        for one in runs:
            x, back = one(x, count)
            backs.append(back)

        def back(gy: Tensor, needed: bool):
            own, pulls, pushes = {}, [], []
            for position in range(len(backs) - 1, -1, -1):
                gy, more, pull, push = backs[position](gy, needed or position > 0)
                added(own, more)
                pulls.insert(0, pull)
                pushes.insert(0, push)

            def pull(dx: Tensor | None, v: Gradient):
                ways = []
                for one in pulls:
                    dx, way = one(dx, v)
                    ways.append(way)

                def pull_back(dgy: Tensor) -> Tensor:
                    for way in reversed(ways):
                        dgy = way(dgy)
                    return dgy

                return dx, pull_back

            def push(dx: Tensor):
                ways = []
                for one in pushes:
                    dx, way = one(dx)
                    ways.append(way)

                def push_back(dgy: Tensor, needed: bool):
                    down = {}
                    for position in range(len(ways) - 1, -1, -1):
                        dgy, more = ways[position](dgy, needed or position > 0)
                        added(down, more)
                    return dgy, down

                return dx, push_back

            return gy, own, pull, push

        return x, back

    return run


def _side_by_side(first: Run, second: Run) -> Run:
    def run(x: Tensor, count: int):
        (y, first_back), (more, second_back) = first(x, count), second(x, count)

        def back(gy: Tensor, needed: bool):
            gx, own, first_pull, first_push = first_back(gy, needed)
            other, others, second_pull, second_push = second_back(gy, needed)
            added(own, others)

            def pull(dx: Tensor | None, v: Gradient):
                (dy, first_way), (dmore, second_way) = first_pull(dx, v), second_pull(dx, v)
                return _plus(dy, dmore), lambda dgy: first_way(dgy) + second_way(dgy)

            def push(dx: Tensor):
                (dy, first_way), (dmore, second_way) = first_push(dx), second_push(dx)

                def push_back(dgy: Tensor, needed: bool):
                    (dgx, down), (dother, downs) = first_way(dgy, needed), second_way(dgy, needed)
                    added(down, downs)
                    return _plus(dgx, dother), down

                return dy + dmore, push_back

            return _plus(gx, other), own, pull, push

        return y + more, back

    return run


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Their sum; None stands for zero."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _both(one: Patches, other: Patches) -> Patches:
    """The sum of two patches of the same units, in the smallest window that holds both."""
    pair = one, other
    top, left = min(p.top for p in pair), min(p.left for p in pair)
    bottom, right = (max(p.top + p.values.shape[2] for p in pair), max(p.left + p.values.shape[3] for p in pair))

    def grown(p: Patches) -> Tensor:
        high, wide = p.values.shape[2:]
        return F.pad(p.values, (p.left - left, right - p.left - wide, p.top - top, bottom - p.top - high))

    return Patches(grown(one) + grown(other), top, left, one.image)
