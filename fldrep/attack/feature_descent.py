"""The image behind features that are known: a descent that does not mind the wrong winners of max-pools.

Features behind a max-pool tell how large the winner was, and a trial image has others winning. A squared difference
bends the image to fit the wrong winners, and crawls; the logarithm of 1 + (difference / its median)^2 (Cauchy's) lets
them go, so the cells that are right settle first and put the others right.
"""

import torch
from torch import Tensor, nn

from fldrep.attack.adam import adam_change, adam_rates, cosine_schedule
from fldrep.models.normalisation import Normalisation
from fldrep.models.spectrum import NATURAL, Spectrum

STEPS = 300
LR = 0.4  # in units of what natural images have in each coefficient
BETAS = (0.9, 0.99)
OUTSIDE = 3.0  # medians of the differences from where one counts less than squared
LEAST = 1e-3  # of the features' deviation: that of a channel counts as no less
SETTLED = 1e-5  # median of the differences, in deviations of the channel: nothing is gained below in float32


def image_with_features(front: nn.Module, features: Tensor, shape: tuple[int, ...], valid: Normalisation) -> Tensor:
    """The image (C, H, W), within the valid range, that `front` takes to these features (C', H', W').

    It begins at grey; computed in the dtype of `front`.
    """
    image = features.new_zeros(1, *shape)
    target, units = features[None], _units(features)[None]
    spectrum = Spectrum.of(image, **NATURAL)
    least, most = valid.valid_range(image)
    first = second = torch.zeros_like(image)
    for rate in adam_rates(cosine_schedule(STEPS, LR), BETAS).to(image):
        slope, median = _slope(front, image, target, units)
        if median < SETTLED:
            break
        change, first, second = adam_change(first, second, spectrum.gradient(slope), rate, BETAS)
        image = (image - spectrum.images(change)).clamp(least, most)
    return image[0]


def _units(features: Tensor) -> Tensor:
    """One over the deviation of each channel; 0 for a channel without a feature. Shape: (C', H', W') -> (C', 1, 1)."""
    deviation = features.std((1, 2), keepdim=True).clamp_min(LEAST * features.std())
    return (features.abs().amax((1, 2), keepdim=True) > 1e-5 * features.abs().max()) / deviation


def _slope(front: nn.Module, image: Tensor, target: Tensor, units: Tensor) -> tuple[Tensor, float]:
    """The derivative of the loss by the image, and the median of the differences that are not 0."""
    with torch.enable_grad():
        image = image.detach().requires_grad_()
        difference = (front(image) - target) * units
        sizes = difference.detach().abs()
        median = sizes[sizes > 0].median() if sizes.any() else sizes.new_zeros(())
        scale = OUTSIDE * median.clamp_min(torch.finfo(median.dtype).tiny ** 0.5)
        (slope,) = torch.autograd.grad((difference / scale).square().log1p().sum(), image)
    return slope, float(median)
