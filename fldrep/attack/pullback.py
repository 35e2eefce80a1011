"""The gradient an update would have, and the way back: how a change of that gradient moves the image behind it.

Every attack by gradient matching descends a distance D(G(x)), where G(x) is the gradient of the loss by the weights.
Its slope is the pullback of V = dD/dG: the derivative of <V, G(x)> by x, with V held fixed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.models.model import Model
from fldrep.models.updates import LocalSteps, update_gradients

Gradient = Mapping[str, Tensor]
Pullback = Callable[[Gradient], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class GradientMap:
    """From images to the gradients of their updates, and back.

    `run` takes images (P, B, C, H, W) and soft labels (P, B, classes), and returns the gradients {name: (P, ...)} and
    their pullback, which turns one such dict (a name that is absent counts as zero) into slopes of the shapes of images
    and soft labels. `arrange` brings an update {name: (P, *shape)} into the order of entries that `run` works in.
    """

    run: Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Pullback]]
    arrange: Callable[[Gradient], dict[str, Tensor]]


def by_autodiff(model: Model, local: LocalSteps | None = None) -> GradientMap:
    """For any model, and for updates of several local steps, in the order of the parameters' own entries."""

    def run(images: Tensor, soft: Tensor) -> tuple[dict[str, Tensor], Pullback]:
        found, back = torch.func.vjp(lambda x, q: update_gradients(model, x, q, local=local), images, soft)

        def pull(v: Gradient) -> tuple[Tensor, Tensor]:
            return back({name: v.get(name, torch.zeros_like(value)) for name, value in found.items()})

        return found, pull

    return GradientMap(run, dict)
