"""ReLU: its second derivative is zero wherever it exists."""

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import Passes, Shape, layer, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.pointwise import Pointwise


@layer(nn.ReLU)
class ReLU(Pointwise):
    """The rules of `nn.ReLU`, in place or not."""

    def values(self, x: Tensor) -> Tensor:
        """The output; the input is left as it was."""
        return x.relu()

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Slope 1 above 0, 0 elsewhere."""
        return x.relu(), (x > 0).to(x.dtype)

    def passes(self, names: Names, shape: Shape) -> Passes:
        """What arrives where the output is above 0."""
        return Passes(without_weights(_forward), shape)

    def norm(self, x: Tensor) -> float:
        """The slope above 0."""
        return 1.0


def _forward(x: Tensor):
    y = x.relu()

    def through(g: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(g, y, 0)  # g where y > 0, in one pass

    return y, through, through, None
