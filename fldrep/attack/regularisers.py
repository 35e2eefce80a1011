"""What is known of images before any is seen."""

from torch import Tensor
from torch.nn import functional as F


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of horizontal neighbours plus that of vertical neighbours, over the images of an update.

    Shape: (P, B, C, H, W) -> (P,), in the space the images are in.
    Source: Geiping et al. 2020, arXiv:2003.14053, as their code scales it (a mean, not a sum).

    >>> import torch
    >>> total_variation(torch.ones(2, 1, 3, 4, 4))
    tensor([0., 0.])
    """
    across, down = _differences(images)
    return across.abs().flatten(1).mean(1) + down.abs().flatten(1).mean(1)


def total_variation_slope(images: Tensor) -> Tensor:
    """The gradient of `total_variation`, 0 where neighbours are equal. Shape: (P, B, C, H, W) -> the same."""
    across, down = _differences(images)
    across, down = across.sign() / across[0].numel(), down.sign() / down[0].numel()
    return F.pad(across, (1, 0)) - F.pad(across, (0, 1)) + F.pad(down, (0, 0, 1, 0)) - F.pad(down, (0, 0, 0, 1))


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., :, 1:] - images[..., :, :-1], images[..., 1:, :] - images[..., :-1, :]
