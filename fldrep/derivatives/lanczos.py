"""The norm of the Jacobian of a network's representation at an image, by products with it."""

import torch
from torch import Tensor
from torch.func import vjp

from fldrep.derivatives.autodiff import pushed
from fldrep.derivatives.network import Network, fixed_statistics
from fldrep.functional import differentiable


def jacobian_norms(
    model, images: Tensor, *, steps: int = 40, tolerance: float = 0.01, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """||dr/dX||_2 at each image, from below, and the direction that reaches it.

    Shape: (N, C, H, W) -> (N,), (N, C, H, W).

    Lanczos iteration on J^T J with full reorthogonalisation: one forward- and one reverse-mode product a step, and
    after each the largest value over all directions met so far; none is ever above the true norm. It ends where for
    every image ||J^T J v - value v|| is at most `tolerance` times the value, whose own relative error is about the
    square of that.
    Args: start: directions to begin with, (N, C, H, W); random ones of a fixed seed if not given.
    """
    if start is None:
        drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0), dtype=images.dtype)
        start = drawn.to(images.device).expand_as(images)
    network, basis = Network.of(model), [unit(start.flatten(1))]
    inner = images.new_zeros(len(images), steps, steps)
    with torch.no_grad(), fixed_statistics(network):
        for step in range(steps):
            pulled = gram_product(network, images, basis[-1].view_as(images)).flatten(1)
            pulled, along = without(pulled, torch.stack(basis, 1))
            inner[:, step, : step + 1], inner[:, : step + 1, step] = along, along
            values, vectors = torch.linalg.eigh(inner[:, : step + 1, : step + 1])
            beyond = torch.linalg.vector_norm(pulled, dim=1)
            if step + 1 == steps or bool((beyond * vectors[:, -1, -1].abs() <= tolerance * values[:, -1]).all()):
                break
            basis.append(unit(pulled))
    direction = torch.einsum("nkp,nk->np", torch.stack(basis, 1), vectors[:, :, -1])
    return values[:, -1].clamp_min(0).sqrt(), direction.view_as(images)


def gram_product(model, images: Tensor, directions: Tensor) -> Tensor:
    """J^T J v, J = dr/dX at each image. Shape: (N, C, H, W) twice -> same."""
    represent = Network.of(model).represent
    changes = pushed(represent, (images,), (directions,))[1]
    with torch.enable_grad(), differentiable():
        return vjp(represent, images)[1](changes)[0]


def without(vectors: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of vectors off an orthonormal basis, and their parts along it.

    Shapes: (N, P), (N, K, P) -> (N, P), (N, K). Done twice, since the first pass leaves rounding errors of the size of
    the parts taken off.
    """
    along = torch.einsum("nkp,np->nk", basis, vectors)
    left = vectors - torch.einsum("nkp,nk->np", basis, along)
    again = torch.einsum("nkp,np->nk", basis, left)
    return left - torch.einsum("nkp,nk->np", basis, again), along + again


def unit(directions: Tensor) -> Tensor:
    """Each scaled to norm 1; zero, or what is too small to tell from it, becomes zero. Shape: (N, P) -> same.

    Entries are scaled before they are squared: where a sigmoid is saturated they are so small that squares vanish.
    """
    largest = directions.abs().amax(1, keepdim=True)
    scaled = torch.where(largest > torch.finfo(directions.dtype).tiny, directions / largest, 0)
    return scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp_min(1)
