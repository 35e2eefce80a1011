"""Networks with one face: `features(images) -> r`, the representation the last layer sees, and `head`, that layer."""

import copy

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]


class Model(nn.Module):
    """A body that turns images into features and a linear head that turns features into logits.

    `shape` is the (C, H, W) of the images it was built for, where that is known.
    """

    def __init__(self, body: nn.Module, head: nn.Linear, shape: Shape | None = None):
        super().__init__()
        self.shape = shape
        self.body = body
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """The representation r in front of the last layer. Shape: (N, C, H, W) -> (N, F)."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits. Shape: (N, C, H, W) -> (N, classes)."""
        return self.head(self.features(images))

    def own_names(self) -> dict[str, str]:
        """What a user calls each parameter, in the order of an update, and what it is called here."""
        return {name: name for name, _ in self.named_parameters()}


def without_pruned(model: Model, head_gradient: Tensor) -> Model:
    """A copy of the model whose last weight is zero where its gradient's columns are. Shape: (classes, F)."""
    own = copy.deepcopy(model)
    with torch.no_grad():
        own.head.weight.mul_((head_gradient != 0).any(0).to(own.head.weight))
    return own


def with_head(body: nn.Module, shape: Shape, classes: int) -> Model:
    """A body and the linear layer behind it, which takes as many features as the body gives.

    Args: shape (C, H, W) of an image. Errors: `RuntimeError`, torch's own, where the body does not take such images.
    """
    with torch.no_grad():
        features = body.eval()(torch.zeros(1, *shape)).shape[1]
    return Model(body, nn.Linear(features, classes), tuple(shape))
