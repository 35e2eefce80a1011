"""What trials leave of the updates observed, as vectors, and how they move with what is unknown.

An objective that is a weighted sum of squares, and says so, is all that Gauss-Newton needs: its residuals are
sqrt(weight) * (trial - observed), entry for entry, and the weights are read off its derivative.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fldrep.derivatives.pullback import Gradient, GradientMap


@dataclass(frozen=True)
class Residuals:
    """Those of P problems: `observed` and `weights` {name: (P, ...)} in the order of entries of `gradients`.

    `rounding` is the spacing of numbers near 1 in the dtype that the update came in.
    """

    gradients: GradientMap
    observed: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    rounding: float

    def copies(self, problem: int, count: int) -> "Residuals":
        """Those of one problem, so many times."""

        def repeated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: one[problem : problem + 1].expand(count, *one.shape[1:]) for name, one in tensors.items()}

        return replace(self, observed=repeated(self.observed), weights=repeated(self.weights))

    @cached_property
    def target(self) -> Tensor:
        """The observed gradient as vectors, (P, M), weighted."""
        return self.vectors(self.observed)

    @cached_property
    def roots(self) -> dict[str, Tensor]:
        """The square roots of the weights."""
        return {name: one.sqrt() for name, one in self.weights.items()}

    def vectors(self, gradient: Gradient) -> Tensor:
        """A gradient {name: (P, ...)} as weighted vectors, (P, M)."""
        return torch.cat([(gradient[name] * one).flatten(1) for name, one in self.roots.items()], 1)

    def gradient(self, vectors: Tensor) -> dict[str, Tensor]:
        """Weighted vectors (P, M) as a gradient {name: (P, ...)}: the transpose of `vectors`."""
        parts = vectors.split([one[0].numel() for one in self.roots.values()], 1)
        return {name: part.view_as(one) * one for (name, one), part in zip(self.roots.items(), parts, strict=True)}

    @property
    def used(self) -> Tensor:
        """Which entries of the first problem's vectors count, (M,) bool."""
        return torch.cat([one[0].expand_as(self.observed[name][0]).flatten() for name, one in self.weights.items()]) > 0
