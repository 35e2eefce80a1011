"""An imprint module: layers by which an active server reads images off a gradient, whatever the network behind.

Each of K units measures the same h, the mean of the input's entries, and is on where h is above its threshold c_k; all
units have the same effect on what follows. So row k of dL/dW sums g x over the images x above c_k, and dL/db sums g.
The difference of neighbouring rows is of the images between two thresholds: where there is one, dL/dW over dL/db is it.

Source: Fowl et al. 2022, "Robbing the Fed", arXiv:2110.13057: thresholds at quantiles of h over public images. Ours is
that the sum of the units is added to every pixel, weakly, so that the network behind works on; and that weights may be
divided by a gain that their sum is multiplied with: the network stays, and the gradient of the units is larger by it.
"""

import torch
from torch import Tensor, nn

from fldrep.models.model import Model

WEIGHT, BIAS = "body.0.units.weight", "body.0.units.bias"
STRENGTH = 1e-3  # of what is added to the pixels; gradients are divided by each other, so it does not matter


class Imprint(nn.Module):
    """Images as they are, plus a little of how far their mean is above each threshold, in ascending order (K,)."""

    def __init__(self, thresholds: Tensor, entries: int, gain: float = 1.0):
        super().__init__()
        self.gain, self.units = gain, nn.Linear(entries, len(thresholds)).to(thresholds)
        with torch.no_grad():
            self.units.weight.fill_(1 / entries / gain)
            self.units.bias.copy_(-thresholds / gain)

    @property
    def thresholds(self) -> Tensor:
        """In ascending order, (K,)."""
        return -self.gain * self.units.bias.detach()

    def forward(self, images: Tensor) -> Tensor:
        """Shape: (B, C, H, W) -> same."""
        above = self.units(images.flatten(1)).relu().sum(1)
        return images + STRENGTH * self.gain * above.view(-1, 1, 1, 1)


def with_imprint(model: Model, public: Tensor, units: int, gain: float = 1.0) -> Model:
    """The network that the server sends: with the module in front. Args: public: images (M, C, H, W) for quantiles."""
    means = public.to(model.head.weight).flatten(1).mean(1)
    steps = torch.arange(units, device=means.device, dtype=means.dtype) / units
    body = [*model.body] if isinstance(model.body, nn.Sequential) else [model.body]
    module = Imprint(means.quantile(steps), public[0].numel(), gain)
    return Model(nn.Sequential(module, *body), model.head, model.shape).train(model.training)


def images_in(weight: Tensor, bias: Tensor, thresholds: Tensor, count: int) -> Tensor:
    """Images that the gradients of the units tell, the surest first; what is not told is 0.

    An image is sure where its own mean lies between the thresholds that it was found between.
    Shapes: weight (K, E), bias (K,), thresholds (K,) -> (count, E).
    """
    weight, bias = weight.double(), bias.double()
    apart = weight - torch.cat([weight[1:], torch.zeros_like(weight[:1])])
    size = bias - torch.cat([bias[1:], torch.zeros_like(bias[:1])])
    told = size.abs() > 1e-5 * bias.abs().max()  # float32: less is the rounding of two rows that are the same
    images = torch.where(told[:, None], apart / torch.where(told, size, 1.0)[:, None], 0.0)
    upper = torch.cat([thresholds[1:], thresholds.new_full((1,), torch.inf)])
    means = images.mean(1)
    between = told & (means > thresholds - 1e-3) & (means < upper + 1e-3)
    order = (between.double() * 2 + told.double() + size.abs() / size.abs().max().clamp_min(1e-300) / 2).argsort(
        descending=True
    )
    found = images.new_zeros(count, images.shape[1])
    best = order[:count]
    found[: len(best)] = images[best]
    return found
