"""A step of DP-SGD as Opacus takes it, for an audit: what is sent, and the floor that its noise leaves of an image.

DP-SGD (Abadi et al. 2016, arXiv:1607.00133) scales the gradient of each image down to a norm C, adds them up, adds
normal noise of deviation sigma C to each entry, and divides by the expected batch size. Its epsilon is about whether an
image is in the data at all, for an attacker who knows all others. So is the floor here: of one image of the batch, the
others and the labels known, which takes them off the sum. It does not depend on how seldom an image is drawn; epsilon
does (privacy amplification by sampling), so both are to be seen beside each other.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fldrep.arguments import check_above_zero, check_labels
from fldrep.errors import ConfigError
from fldrep.models.face import clients_of
from fldrep.theory.identifiability import spectrum_of


@dataclass(frozen=True)
class Step:
    """What a step of DP-SGD sends: `sent` {name of the network's own: (*shape)}, a mean over `images` expected ones.

    `clip`: the norm that each image's gradient is scaled down to; `std`: of the noise on each entry of the mean;
    `multiplier`: the deviation of the noise on the sum, over the clip.
    """

    sent: dict[str, Tensor]
    clip: float
    multiplier: float
    images: int

    @property
    def std(self) -> float:
        """The standard deviation of the noise on each entry that is sent."""
        return self.multiplier * self.clip / self.images


def step_of(module: nn.Module, optimizer: Any) -> Step:
    """The step that an optimizer has just taken, whose gradients are still there: after `step()`, before `zero_grad()`.

    Args: module and optimizer: as `PrivacyEngine.make_private` gives them. The weights it was taken at are those before
    the step: keep a copy of the network. Errors: `ConfigError` where a gradient lacks, or each layer has a clip.
    """
    if not isinstance(optimizer.max_grad_norm, int | float):
        raise ConfigError("optimizer: clips each layer by a norm of its own: expected clipping='flat'")
    inner = getattr(module, "_module", module)
    sent = {name: value.grad for name, value in inner.named_parameters()}
    missing = [name for name, value in sent.items() if value is None]
    if missing:
        raise ConfigError(f"module: {missing[0]!r} has no gradient: expected step_of after optimizer.step()")
    mean = optimizer.loss_reduction == "mean"
    return Step(
        sent={name: value.detach().clone() for name, value in sent.items()},
        clip=float(optimizer.max_grad_norm),
        multiplier=float(optimizer.noise_multiplier),
        images=int(optimizer.expected_batch_size) * optimizer.accumulated_iterations if mean else 1,
    )


def floors(
    network: nn.Module, images: Tensor, labels: Tensor, *, clip: float, multiplier: float, prior_std: float = 1.0
) -> Tensor:
    """The share of each image's variance that a step's noise leaves open, all other images of the batch known. (B,).

    Shapes: images (B, C, H, W) in the network's input space, labels (B,). Args: network: at the weights before the
    step; clip, multiplier: as of the step; prior_std: of a pixel, in the network's input, before anything is sent.
    An image is recognised where 0.1 or less is left. Errors: `ConfigError` naming the argument.
    """
    clip, multiplier = check_above_zero("clip", clip), check_above_zero("multiplier", multiplier)
    prior_std = check_above_zero("prior_std", prior_std)
    model, images, _ = clients_of(network, images, dims=(4,))
    labels = check_labels(labels, (len(images),), model.head.out_features).to(images.device)
    noise = {name: multiplier * clip for name, _ in model.named_parameters()}
    found = [
        spectrum_of(model, images[one], labels[one], noise=noise, prior_std=prior_std, clip=clip)
        for one in torch.arange(len(images)).split(1)
    ]
    return torch.tensor([min(one.floor, one.floor_spectral) / prior_std**2 for one in found], dtype=torch.float64)
