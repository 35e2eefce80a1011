"""A client's batch norms were given images of a known mean and variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import regulariser

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.attack.observation import Observation


@regulariser("batch-statistics", observes=True, needs=["one-step", "statistics"], knows=["statistics"])
def batch_statistics(images: Tensor, observation: Observation) -> Tensor:
    """How far the moments of what each batch norm is given are from those that the client's statistics tell.

    Mean over batch norms and channels of the squared difference of means over the variance, and of that of standard
    deviations over the standard deviation. Shape: (P, B, C, H, W) -> (P,). Source: Yin et al. 2021 (GradInversion),
    arXiv:2104.07586, who take running statistics for the batch's; Huang et al. 2021, arXiv:2112.00059, give the attack
    the batch's own. Both sum norms; ours is free of the scale of a layer.
    """
    import torch

    from fldrep.models.batch_statistics import moments_behind, moments_of

    model = observation.model
    known = {name: one.to(images) for name, one in moments_behind(model, observation.statistics).items()}

    def apart(batch: Tensor, expected: dict[str, Tensor]) -> Tensor:
        layers = []
        for name, (mean, variance) in moments_of(model, batch).items():
            eps, (wanted, told) = model.get_submodule(name).eps, expected[name]
            width = told.clamp_min(0) + eps
            spread = ((variance + eps) / width).sqrt() - 1
            layers.append(((mean - wanted).square() / width + spread.square()).mean())
        return torch.stack(layers).mean()

    return torch.func.vmap(apart)(images, known)
