"""Leaky ReLU: two slopes; its second derivative is zero wherever it exists."""

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import NoRule, Passes, Shape, layer, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.pointwise import Pointwise


@layer(nn.LeakyReLU)
class LeakyReLU(Pointwise):
    """The rules of `nn.LeakyReLU`, in place or not."""

    def values(self, x: Tensor) -> Tensor:
        """The output; the input is left as it was."""
        return self.values_and_slopes(x)[0]

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Slope 1 above 0, the module's own elsewhere."""
        slopes = torch.where(x > 0, torch.ones_like(x), torch.full_like(x, self.module.negative_slope))
        return x * slopes, slopes

    def passes(self, names: Names, shape: Shape) -> Passes:
        """What arrives, times the slope."""

        def forward(x: Tensor):
            y, slopes = self.values_and_slopes(x)
            return y, slopes.mul, slopes.mul, None

        return Passes(without_weights(forward), shape)

    def inverse(self, y: Tensor) -> Tensor:
        """The sign tells the slope. Errors: `NoRule` for a slope that is not above 0."""
        if self.module.negative_slope <= 0:
            raise NoRule(f"LeakyReLU of slope {self.module.negative_slope}, which has no inverse")
        return torch.where(y > 0, y, y / self.module.negative_slope)

    def norm(self, x: Tensor) -> float:
        """The larger slope."""
        return max(1.0, abs(self.module.negative_slope))
