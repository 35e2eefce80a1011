"""Gradient matching as nonlinear least squares: what is unknown of an update as one vector, and the residuals there.

Unknown are the pixels, in [0, 1]; besides, if asked, the soft labels, which move within the probabilities' plane, so
that a true label is an inner point like any other, and a factor on the trial's gradient, which clipping leaves unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fldrep.attack.problem import Problems
from fldrep.attack.residuals import Residuals
from fldrep.models.normalisation import Normalisation

Linear = Callable[[Tensor], Tensor]
ROUNDING = 64  # last digits of the update's dtype that a residual, relative to the update, may come from
COPIES = 64  # directions that are pushed at once: a Jacobian of LeNet takes 0.5 to 2 s so


@dataclass(frozen=True)
class LeastSquares:
    """P systems of M equations for U unknowns. `soft` (P, B, classes): the labels, or where they start if free."""

    residuals: Residuals
    normalisation: Normalisation
    images: tuple[int, int, int, int]
    soft: Tensor
    free_labels: bool
    free_scale: bool

    @classmethod
    def of(cls, problems: Problems, free_scale: bool) -> "LeastSquares":
        """Those of an attack's problems."""
        free = problems.labels is None
        soft = torch.full_like(problems.logits, 1 / problems.logits.shape[-1]) if free else problems.soft_labels
        shape = tuple(problems.images.shape[1:])
        return cls(problems.residuals, problems.normalisation, shape, soft, free, free_scale)

    def copies(self, problem: int, count: int) -> "LeastSquares":
        """One system so many times."""
        soft = self.soft[problem].repeat(count, 1, 1)
        return replace(self, residuals=self.residuals.copies(problem, count), soft=soft)

    @property
    def rounding(self) -> Tensor:
        """What the rounding of the updates explains of the residuals' norms, (P,)."""
        return ROUNDING * self.residuals.rounding * self.residuals.target.norm(dim=1)

    @property
    def pixels(self) -> int:
        """How many of the unknowns are pixels; they come first."""
        return torch.Size(self.images).numel()

    @property
    def unknowns(self) -> int:
        """U."""
        labels = self.soft[0, :, 1:].numel() if self.free_labels else 0
        return self.pixels + labels + self.free_scale

    @cached_property
    def plane(self) -> Tensor:
        """An orthonormal basis of changes of probabilities, whose entries sum to 0. Shape: (classes - 1, classes)."""
        classes = self.soft.shape[-1]
        centred = torch.eye(classes, dtype=torch.float64) - 1 / classes
        return torch.linalg.eigh(centred).eigenvectors[:, 1:].T.to(self.soft)

    @cached_property
    def deviation(self) -> Tensor:
        """Network input per pixel, (C, 1, 1)."""
        least, most = self.normalisation.valid_range(self.soft)
        return most - least

    def begin(self, noise: Tensor) -> Tensor:
        """First unknowns (P, U): grey in the middle of the pixels' range, and noise (P, B, C, H, W) of the input."""
        pixels = (0.5 + noise / self.deviation).clamp(0, 1).flatten(1)
        points = torch.cat([pixels, pixels.new_zeros(len(pixels), self.unknowns - self.pixels)], 1)
        if self.free_scale:
            points[:, -1] = 1.0
            trial, target = self.values(points) + self.residuals.target, self.residuals.target
            points[:, -1] = (trial * target).sum(1).clamp_min(0) / trial.square().sum(1)
        return points

    def points_of(self, images: Tensor) -> Tensor:
        """Unknowns (P, U) with these images (P, B, C, H, W) of the input, and labels and scale as they start."""
        pixels = self.normalisation.to_pixels(images).flatten(1)
        return torch.cat([pixels, pixels.new_zeros(len(pixels), self.unknowns - self.pixels)], 1)

    def parts(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Images in the network's input space, and soft labels, of unknowns (P, U)."""
        images = self.normalisation.to_input(points[:, : self.pixels].unflatten(1, self.images))
        return images, self.soft + self._labels(points) if self.free_labels else self.soft

    def boxed(self, points: Tensor) -> Tensor:
        """The nearest unknowns whose pixels lie in [0, 1]."""
        return torch.cat([points[:, : self.pixels].clamp(0, 1), points[:, self.pixels :]], 1)

    def values(self, points: Tensor) -> Tensor:
        """The residuals, (P, U) -> (P, M)."""
        trial = self.residuals.vectors(self.residuals.gradients.run(*self.parts(points))[0])
        return (trial * points[:, -1:] if self.free_scale else trial) - self.residuals.target

    def linearise(self, points: Tensor) -> tuple[Tensor, Linear, Linear]:
        """The residuals, their push (P, U) -> (P, M) and their pull (P, M) -> (P, U)."""
        found, pull, push = self.residuals.gradients.linearise(*self.parts(points))
        trial, vectors, free = self.residuals.vectors(found), self.residuals.vectors, self.pixels
        scale = points[:, -1:] if self.free_scale else 1.0

        def pushed(along: Tensor) -> Tensor:
            images = along[:, :free].unflatten(1, self.images) * self.deviation
            change = vectors(push(images, self._labels(along) if self.free_labels else None)) * scale
            return change + along[:, -1:] * trial if self.free_scale else change

        def pulled(by: Tensor) -> Tensor:
            by_images, by_soft = pull(self.residuals.gradient(by * scale))
            parts = [(by_images * self.deviation).flatten(1)]
            if self.free_labels:
                parts.append((by_soft @ self.plane.T).flatten(1))
            if self.free_scale:
                parts.append((by * trial).sum(1, keepdim=True))
            return torch.cat(parts, 1)

        return trial * scale - self.residuals.target, pushed, pulled

    def jacobian(self, problem: int, point: Tensor) -> tuple[Tensor, Tensor]:
        """One system's residuals and their derivative, without the equations of weight 0. Shape: (U,) -> (M,), (M, U).

        The copies are linearised once, and each push moves every copy along another unknown.
        """
        used = self.residuals.copies(problem, 1).used
        size = min(COPIES, self.unknowns)
        values, push, _ = self.copies(problem, size).linearise(point.repeat(size, 1))
        found = point.new_empty(self.unknowns, int(used.sum()))
        along = point.new_zeros(size, self.unknowns)
        for first in range(0, self.unknowns, size):
            last = min(first + size, self.unknowns)
            along.zero_()[torch.arange(last - first), torch.arange(first, last)] = 1
            found[first:last] = push(along)[: last - first, used]
        return values[0, used], found.mT

    def _labels(self, points: Tensor) -> Tensor:
        coordinates = points[:, self.pixels : self.pixels + self.soft[0, :, 1:].numel()]
        return coordinates.unflatten(1, (self.soft.shape[1], -1)) @ self.plane
