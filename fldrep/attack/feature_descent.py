"""The image behind features that are known: a descent that does not mind the wrong winners of max-pools.

Features behind a max-pool tell how large the winner was, and a trial image has others winning. A squared difference
bends the image to fit the wrong winners, and crawls; the logarithm of 1 + (difference / its median)^2 (Cauchy's) lets
them go, so the cells that are right settle first and put the others right. From grey, it may end beside a bright, dark
or coloured image, whose mean the features tell badly; so it begins at the one colour whose features are nearest, and
where its own residual says that it ended elsewhere, it is begun again.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fldrep.attack.adam import adam_change, adam_rates, cosine_schedule
from fldrep.models.normalisation import Normalisation
from fldrep.models.spectrum import NATURAL, Spectrum

TUNED_ON = {"cifar10": (range(5000, 5024),)}  # test images that these constants were found on
STEPS = 300
LR = 0.4  # in units of what natural images have in each coefficient
BETAS = (0.9, 0.99)
OUTSIDE = 3.0  # medians of the differences from where one counts less than squared
LEAST = 1e-3  # of the features' deviation: that of a channel counts as no less
SETTLED = 1e-5  # median of the differences, in deviations of the channel: nothing is gained below in float32
LEVELS = 5  # of each channel, in the colours tried: all combinations of three channels, else greys alone
THERE = 5e-4  # relative residual of the features from where the image is not begun again: right ones end below 1e-4


def image_with_features(front: nn.Module, features: Tensor, shape: tuple[int, ...], valid: Normalisation) -> Tensor:
    """The image (C, H, W), within the valid range, that `front` takes to these features (C', H', W').

    Of several descents, the one that ended nearest; computed in the dtype of `front`.
    """
    best, least = features.new_zeros(shape), float("inf")
    for start, steps in _starts(front, features, shape, valid):
        found = _descended(front, features, start, steps, valid)
        left = float((front(found[None])[0] - features).norm() / features.norm())
        if left < least:
            best, least = found, left
        if least < THERE:
            break
    return best


def _starts(
    front: nn.Module, features: Tensor, shape: tuple[int, ...], valid: Normalisation
) -> Iterator[tuple[Tensor, int]]:
    """Where descents begin, and their steps: the nearest colour, grey, and the nearest colour for longer."""
    colour = _nearest_colour(front, features, shape, valid)
    yield colour, STEPS
    yield torch.zeros_like(colour), STEPS
    yield colour, 2 * STEPS


def _nearest_colour(front: nn.Module, features: Tensor, shape: tuple[int, ...], valid: Normalisation) -> Tensor:
    """The image of one colour whose features are nearest, in units of their channels' deviations."""
    levels, units = torch.linspace(0, 1, LEVELS).to(features), _units(features)
    combined = (
        torch.cartesian_prod(*[levels] * shape[0]) if shape[0] in (2, 3) else levels[:, None].expand(-1, shape[0])
    )
    least, most = valid.valid_range(features)
    colours = least + (most - least) * combined[..., None, None]
    errors = [((front(one.expand(1, *shape))[0] - features) * units).square().mean() for one in colours]
    return colours[int(torch.stack(errors).argmin())].expand(shape).clone()


def _descended(front: nn.Module, features: Tensor, start: Tensor, steps: int, valid: Normalisation) -> Tensor:
    """The image (C, H, W) after one descent."""
    image, target, units = start[None], features[None], _units(features)[None]
    spectrum = Spectrum.of(image, **NATURAL)
    least, most = valid.valid_range(image)
    first = second = torch.zeros_like(image)
    for rate in adam_rates(cosine_schedule(steps, LR), BETAS).to(image):
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
