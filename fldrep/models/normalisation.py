"""Between pixels in [0, 1] and a network's input.

Constants: per-channel mean and standard deviation of the training images, as in the reference configuration of Geiping
et al. 2020 (github.com/JonasGeiping/invertinggradients); those of Fashion-MNIST and CIFAR-100 as commonly published.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.errors import named

STATISTICS = {
    "mnist": ((0.13066,), (0.30811,)),
    "cifar10": ((0.49147, 0.48226, 0.44677), (0.24703, 0.24349, 0.26159)),
    "fashion-mnist": ((0.28604,), (0.35302,)),
    "cifar100": ((0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)),
}
STATISTICS["photo"] = STATISTICS["cifar10"]  # a photo goes where an image of CIFAR-10 would
BY_CHANNELS = {1: "mnist", 3: "cifar10"}


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation, in pixels of [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_input(self, pixels: Tensor) -> Tensor:
        """Pixels (..., C, H, W) in [0, 1] to the network's input, same shape."""
        mean, std = self._like(pixels)
        return (pixels - mean) / std

    def to_pixels(self, images: Tensor) -> Tensor:
        """The network's input (..., C, H, W) to pixels, not clamped, same shape."""
        mean, std = self._like(images)
        return images * std + mean

    def valid_range(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where pixels lie in [0, 1], in the network's input space: least and largest entry, (C, 1, 1) each.

        Args: images: tell dtype and device.
        """
        mean, std = self._like(images)
        return -mean / std, (1 - mean) / std

    def clamp(self, images: Tensor) -> Tensor:
        """The nearest images whose pixels lie in [0, 1], in the network's input space."""
        return images.clamp(*self.valid_range(images))

    def _like(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(self.mean), 1, 1)
        return (
            torch.tensor(self.mean, dtype=images.dtype, device=images.device).view(shape),
            torch.tensor(self.std, dtype=images.dtype, device=images.device).view(shape),
        )


def normalisation_for(images: Tensor | int, normalisation: "str | Normalisation | None" = None) -> Normalisation:
    """The constants asked for: a data set's name, `none` (pixels stay), constants, or those that fit the channels.

    Args: images (..., C, H, W), or the channel count C itself.
    Errors: `UnknownName` for a name or a channel count without constants.
    """
    if isinstance(normalisation, Normalisation):
        return normalisation
    channels = images if isinstance(images, int) else images.shape[-3]
    if normalisation == "none":
        return Normalisation((0.0,) * channels, (1.0,) * channels)
    if normalisation is None:
        normalisation = named("number of channels without normalisation=", channels, BY_CHANNELS)
    return Normalisation(*named("normalisation", normalisation, STATISTICS))
