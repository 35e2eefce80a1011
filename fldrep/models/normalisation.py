"""Between pixels in [0, 1] and a network's input."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep import registry
from fldrep.config.datasets import facts_of
from fldrep.errors import ConfigError, named

BY_CHANNELS = {1: "mnist", 3: "cifar10"}


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation, in pixels of [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: Tensor, std: Tensor) -> "Normalisation":
        """The constants that an `ImageSet` holds. Shape: (C,) twice."""
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

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
    Errors: `UnknownName` for a name or a channel count without constants; `ConfigError` for a data set without.
    """
    if isinstance(normalisation, Normalisation):
        return normalisation
    channels = images if isinstance(images, int) else images.shape[-3]
    if normalisation == "none":
        return Normalisation((0.0,) * channels, (1.0,) * channels)
    if normalisation is None:
        normalisation = named("number of channels without normalisation=", channels, BY_CHANNELS)
    named("normalisation", normalisation, registry.entries("dataset"))
    facts = facts_of(normalisation)
    if facts.mean is None:
        raise ConfigError(
            f"normalisation: data set {normalisation!r} does not say its constants, they are computed from its images; "
            "give Normalisation(mean, std)"
        )
    return Normalisation(facts.mean, facts.std)
