"""GradDefense: noise on a random half of slices that are equally sensitive to the images.

Found in: Wang, Guo, Xie and Qi 2022, "Protect Privacy from Gradient Leakage Attack in Federated Learning", INFOCOM, by
its code, github.com/wangjunxiao/GradDefense (sensitivity.py, perturb.py, data/dataloader.py), with Plato's values: 10
slices, 5 perturbed, scale 0.01. A tensor's sensitivity is the mean over the images of a root set (5 of each class) of
the norm of the derivative, by the image, of the sum of the tensor's gradient. All entries, in order, are cut into
slices of about equal sensitivity, a tensor's being shared evenly by its entries. N(0, scale^2) is added to randomly
chosen slices.
What differs: the root set is of the client's own images, since no public one is given, and the sensitivity is taken
when the update is sent. Slices are cut between entries, where the code cuts at multiples of the tensors' common
divisor, with one entry shared by neighbours. So measured, the last layer is not sensitive at all: over classes its
gradient adds up to 0. Left out: clipping sample by sample, which the code has as an option, and the server's
compensation, which denoises the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from fldrep.config.section import Positive, Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client
    from fldrep.models.model import Model


@defense("graddefense")
class GradDefense(Defense):
    """Add Gaussian noise to some slices of the update, drawn anew each time."""

    class Settings(Section):
        """How many slices, and how much noise."""

        slices: Positive = option(10, "slices of about equal sensitivity that the update is cut into")
        perturbed: int = option(5, "slices that get noise", ge=0, le=2**31 - 1)
        scale: float = option(0.01, "standard deviation of the noise", unit="gradient entries", ge=0)
        root_per_class: Positive = option(5, "images of each class that sensitivity is measured on")

        @model_validator(mode="after")
        def _check(self):
            if self.perturbed > self.slices:
                raise ValueError(f"perturbed: {self.perturbed}: expected at most {self.slices}, the slices")
            return self

    distorts = True
    order, colour, marker, line = 72, "#ca9161", "h", "-."
    strengths = ({"scale": 0.1}, {"scale": 1.0})

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """Each update with noise on the slices drawn for it."""
        import torch

        client.require("model", "images", "labels", "generator", by="graddefense")
        rows = root_set(client.labels, self.settings.root_per_class)
        felt = sensitivity(client.model, client.images[rows], client.labels[rows])
        sizes = [update[name][0].numel() for name in felt]
        slices = slices_of(list(felt.values()), sizes, self.settings.slices)
        sent = {name: values.clone() for name, values in update.items()}
        for number in range(len(next(iter(sent.values())))):
            chosen = torch.randperm(self.settings.slices, generator=client.generator)[: self.settings.perturbed]
            noisy = torch.isin(slices, chosen)
            for name, part in zip(felt, noisy.split(sizes), strict=True):
                like = sent[name][number]
                drawn = torch.randn(like.shape, generator=client.generator, dtype=like.dtype)
                like += (self.settings.scale * drawn * part.view(like.shape)).to(like.device)
        return sent


def root_set(labels: Tensor, each: int) -> Tensor:
    """The places of the first images of each class. Shape: (B,) -> (images,)."""
    import torch

    return torch.cat([(labels == one).nonzero()[:each, 0] for one in labels.unique()])


def sensitivity(model: Model, images: Tensor, labels: Tensor) -> dict[str, float]:
    """How strongly the sum of each tensor's gradient depends on an image, mean over images (B, C, H, W)."""
    import torch

    from fldrep.derivatives.network import fixed_statistics
    from fldrep.functional import functional_call
    from fldrep.models.updates import cross_entropy

    weights = {name: one.detach().requires_grad_() for name, one in model.named_parameters()}
    with torch.enable_grad(), fixed_statistics(model):
        images = images.detach().clone().requires_grad_()
        logits = functional_call(model, (weights, dict(model.named_buffers())), (images,))
        loss = cross_entropy(logits, labels)
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        by_image = [torch.autograd.grad(one.sum(), images, retain_graph=True)[0] for one in found]
    return {name: float(one.flatten(1).norm(dim=1).mean()) for name, one in zip(weights, by_image, strict=True)}


def slices_of(felt: list[float], sizes: list[int], slices: int) -> Tensor:
    """The slice of each entry, in order, each slice of about the same summed sensitivity. Returns (entries,).

    >>> slices_of([1.0, 3.0], [2, 3], 2)
    tensor([0, 0, 0, 1, 1])
    """
    import torch

    shares = [torch.full((size,), one / size, dtype=torch.float64) for one, size in zip(felt, sizes, strict=True)]
    each = torch.cat(shares)
    before, share = each.cumsum(0) - each, sum(felt) / slices
    place = before / share if share else torch.arange(len(each)) * slices / len(each)
    return (place + 1e-9).long().clamp_max(slices - 1)
