"""Patches of one map put in order: neighbours overlap, and those at the border hold zeros of the padding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fldrep.derivatives.layer import NoRule

FITS = 5e-3  # relative to a patch: how far overlapping columns may differ


def places_of(patches: Tensor, cells: Sequence[int], side: int, wide: int) -> list[tuple[int, int]]:
    """The place (row, column) of each patch (C, K, K) in a map.

    Args: cells: the cell of each patch; side: of a cell; wide: cells in a row. Errors: `NoRule` where some fit nowhere.
    """
    sizes = patches.flatten(1).norm(dim=1).clamp_min(torch.finfo(patches.dtype).tiny)
    right, down = (
        torch.cdist(one.flatten(1), other.flatten(1)) / sizes[:, None]
        for one, other in ((patches[..., 1:], patches[..., :-1]), (patches[..., 1:, :], patches[..., :-1, :]))
    )
    first = _corner(patches, cells, sizes)
    found, todo = {first: (0, 0)}, [first]
    while todo:
        one = todo.pop()
        for fit, step in ((right, (0, 1)), (down, (1, 0)), (right.T, (0, -1)), (down.T, (-1, 0))):
            other = int(fit[one].argmin())
            place = (found[one][0] + step[0], found[one][1] + step[1])
            cell = place[0] // side * wide + place[1] // side
            inside = min(place) >= 0 and place[1] < side * wide and cells[other] == cell
            if other not in found and fit[one, other] < FITS and inside:
                found[other] = place
                todo.append(other)
    if len(found) < len(patches) or len(set(found.values())) < len(found):
        raise NoRule(f"MaxPool2d with {len(patches)} winning places, of which {len(set(found.values()))} fit together")
    return [found[one] for one in range(len(patches))]


def _corner(patches: Tensor, cells: Sequence[int], sizes: Tensor) -> int:
    """The patch of the first cell whose first row and column are nearest to the padding's zeros."""
    border = (patches[..., 0].flatten(1).norm(dim=1) + patches[..., 0, :].flatten(1).norm(dim=1)) / sizes
    outside = torch.tensor([cell != 0 for cell in cells], device=border.device)
    return int(torch.where(outside, torch.inf, border).argmin())


def assembled(patches: Tensor, places: Sequence[tuple[int, int]], high: int, wide: int) -> Tensor:
    """The mean of patches (P, C, K, K) at their places in a padded map (C, high, wide)."""
    size = patches.shape[-1]
    whole, count = patches.new_zeros(patches.shape[1], high, wide), patches.new_zeros(high, wide)
    for patch, (row, column) in zip(patches, places, strict=True):
        whole[:, row : row + size, column : column + size] += patch
        count[row : row + size, column : column + size] += 1
    return whole / count.clamp_min(1)
