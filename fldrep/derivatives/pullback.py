"""The gradient an update would have, and its derivatives: how it and the image behind it move with each other.

Every attack by gradient matching descends a distance D(G(x)), where G(x) is the gradient of the loss by the weights.
Its slope is the pullback of V = dD/dG: the derivative of <V, G(x)> by x, with V held fixed. The push is the other
direction, the derivative of G along a change of x: Gauss-Newton steps need both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fldrep.derivatives.autodiff import pushed
from fldrep.derivatives.layer import Gradient
from fldrep.functional import differentiable
from fldrep.models.updates import LocalSteps, update_gradients

Pullback = Callable[[Gradient], tuple[Tensor, Tensor]]
Push = Callable[..., dict[str, Tensor]]


@dataclass(frozen=True)
class GradientMap:
    """From images to the gradients of their updates, and back.

    `linearise` takes images (P, B, C, H, W) and soft labels (P, B, classes), and returns the gradients {name: (P, ...)}
    and two functions: their pullback, which turns one such dict (a name that is absent counts as zero) into slopes of
    the shapes of images and soft labels; and their push, which turns changes of the images, and of the soft labels if
    given, into that of the gradients. `arrange` brings an update {name: (P, *shape)} into the order of entries that
    they work in.
    """

    linearise: Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Pullback, Push]]
    arrange: Callable[[Gradient], dict[str, Tensor]]

    def run(self, images: Tensor, soft: Tensor) -> tuple[dict[str, Tensor], Pullback]:
        """The gradients and their pullback."""
        return self.linearise(images, soft)[:2]


def by_autodiff(model: nn.Module, local: LocalSteps | None = None) -> GradientMap:
    """For any model, and for updates of several local steps, in the order of the parameters' own entries."""

    def gradients(images: Tensor, soft: Tensor) -> dict[str, Tensor]:
        return update_gradients(model, images.clone(), soft, local=local)  # a first layer may work in place

    def linearise(images: Tensor, soft: Tensor) -> tuple[dict[str, Tensor], Pullback, Push]:
        with differentiable():
            found, back = torch.func.vjp(gradients, images, soft)

        def pull(v: Gradient) -> tuple[Tensor, Tensor]:
            return back({name: v.get(name, torch.zeros_like(value)) for name, value in found.items()})

        def push(along: Tensor, soft_along: Tensor | None = None) -> dict[str, Tensor]:
            soft_along = torch.zeros_like(soft) if soft_along is None else soft_along
            with differentiable():
                return pushed(gradients, (images, soft), (along, soft_along))[1]

        return found, pull, push

    return GradientMap(linearise, dict)
