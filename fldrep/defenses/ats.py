"""ATS: clients train on images changed by policies that were searched for, so that an attack finds the changed image.

Found in: Gao et al. 2021, "Privacy-preserving Collaborative Learning with Automatic Transformation Search",
arXiv:2011.12505, by its code, github.com/gaow0007/ATSPrivacy (policy.py, autoaugment.py,
benchmark/run/benchmark_attack.sh). A policy is a list of numbered operations, applied in order; of several, one is
drawn for each image. For ResNet20-4 on CIFAR-100 the search found 3-1-7 and 43-18-18, and their union `3-1-7+43-18-18`:
shifts and contrast. Magnitudes are of ten steps, shifts of up to 150/331 of the width, contrast and brightness of up to
0.5, both of random sign. What differs: the operations that these policies use are here, and others of the list that are
as simple; sharpness, shear, rotation and those on histograms are not. Shifts are by whole pixels. The code crops and
flips at random before a policy, as usual augmentation; here nothing is done besides. The search is left out: it needs
attacks of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import field_validator

from fldrep.config.section import Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client

# The numbers of the source's list that are here: operation and step of its magnitude, of 0 to 9.
OPERATIONS = {
    **dict.fromkeys((0, 29, 47), ("invert", 0)),
    **{1: ("contrast", 6), 18: ("contrast", 7), 3: ("shift-x", 9), 21: ("shift-x", 5), 7: ("shift-y", 2)},
    **dict.fromkeys((24, 42, 43, 48), ("shift-y", 3)),
    **{13: ("brightness", 5), 15: ("brightness", 9), 26: ("brightness", 6), 38: ("brightness", 3)},
}
LARGEST = {"invert": 0.0, "contrast": 0.5, "brightness": 0.5, "shift-x": 150 / 331, "shift-y": 150 / 331}


@defense("ats")
class ATS(Defense):
    """Change each image by one of the policies before its gradient is taken."""

    class Settings(Section):
        """Which policies."""

        policy: str = option("3-1-7+43-18-18", "numbers of operations joined by -, of several policies joined by +")

        @field_validator("policy")
        @classmethod
        def _check(cls, value: str) -> str:
            known = ", ".join(map(str, sorted(OPERATIONS)))
            for one in value.replace("+", "-").split("-"):
                if not (one.isascii() and one.isdigit()) or int(one) not in OPERATIONS:
                    raise ValueError(f"expected numbers such as 3-1-7+43-18-18, of {known}")
            return value

    order, colour, marker, line = 80, "#949494", ">", "-"

    def on_batch(self, images: Tensor, labels: Tensor, client: Client) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W), each changed by a policy drawn for it."""
        import torch

        client.require("normalisation", "generator", by="ats")
        policies = [[int(one) for one in policy.split("-")] for policy in self.settings.policy.split("+")]
        changed = []
        for pixels in client.normalisation.to_pixels(images):
            for number in policies[int(torch.randint(len(policies), (), generator=client.generator))]:
                operation, step = OPERATIONS[number]
                sign = 2 * int(torch.randint(2, (), generator=client.generator)) - 1
                pixels = transformed(pixels, operation, sign * step / 9 * LARGEST[operation])
            changed.append(pixels)
        return client.normalisation.to_input(torch.stack(changed)), labels


def transformed(pixels: Tensor, operation: str, magnitude: float) -> Tensor:
    """One image under an operation: pixels in [0, 1], (C, H, W) -> same.

    Shifts are by `magnitude` of the width or height, towards lower places where it is above 0, with black behind.
    """
    if operation == "invert":
        return 1 - pixels
    if operation == "brightness":
        return (pixels * (1 + magnitude)).clamp(0, 1)
    if operation == "contrast":
        grey = grey_of(pixels).mean()
        return (grey + (1 + magnitude) * (pixels - grey)).clamp(0, 1)
    return shifted(pixels, magnitude, {"shift-x": 2, "shift-y": 1}[operation])


def grey_of(pixels: Tensor) -> Tensor:
    """The brightness of each pixel, as Pillow weighs colours. Shape: (C, H, W) -> (H, W)."""
    if len(pixels) != 3:
        return pixels.mean(0)
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)


def shifted(pixels: Tensor, magnitude: float, axis: int) -> Tensor:
    """What stands `magnitude` of the size further along an axis, and 0 where nothing does."""
    import torch

    size = pixels.shape[axis]
    by = math.floor(magnitude * size + 0.5)
    places = torch.arange(size, device=pixels.device) + by
    inside = ((places >= 0) & (places < size)).view([-1 if one == axis else 1 for one in range(pixels.ndim)])
    return pixels.index_select(axis, places.clamp(0, size - 1)) * inside
