"""Natural images are smooth but for edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import regulariser

if TYPE_CHECKING:
    from torch import Tensor


@regulariser("total-variation")
def total_variation(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute difference of horizontal neighbours plus that of vertical neighbours, over the images of an update.

    Shape: (P, B, C, H, W) -> (P,) and (P, B, C, H, W), in the space the images are in. The derivative is 0 where
    neighbours are equal. Source: Geiping et al. 2020, arXiv:2003.14053, as their code scales it (a mean, not a sum).

    >>> import torch
    >>> total_variation(torch.ones(2, 1, 3, 4, 4))[0]
    tensor([0., 0.])
    """
    from torch.nn.functional import pad

    across, down = images[..., :, 1:] - images[..., :, :-1], images[..., 1:, :] - images[..., :-1, :]
    value = across.abs().flatten(1).mean(1) + down.abs().flatten(1).mean(1)
    across, down = across.sign() / across[0].numel(), down.sign() / down[0].numel()
    return value, pad(across, (1, 0)) - pad(across, (0, 1)) + pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1))
