"""How near the images found are to the originals, where these are given."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.applications.audit.case import Case
from fldrep.attack.certificate import LARGEST_MSE
from fldrep.config.metrics import MetricSettings
from fldrep.metrics.assignment import assigned
from fldrep.metrics.images import compare
from fldrep.metrics.ssim import WINDOW

RECOVERED = MetricSettings().recovered_ssim
SAME = LARGEST_MSE  # of pixels, below which it is the image itself: what a certificate promises


@dataclass(frozen=True)
class Likeness:
    """Of the image that was met best: its errors; how many were recovered, and how many of these to `SAME`.

    `order` (b,): which of the images found is set against each original.
    """

    mse: float
    mse_pixel: float
    ssim: float | None
    recovered: int
    exact: int
    order: Tensor


def likeness(case: Case, found: Tensor, originals: Tensor) -> Likeness:
    """Images found (B, C, H, W) against originals (b, C, H, W), b of them at most B, in the network's input space.

    An image is recovered at an SSIM of 0.5, above that of a grey image and of one in the mean colour;
    where it is too small for SSIM, by `SAME`.
    """
    pixels = [case.normalisation.to_pixels(one.double()) for one in (found, originals)]
    order = assigned(*pixels)
    own, nan = found[order].double(), float("nan")
    if not own.isfinite().all():
        return Likeness(nan, nan, nan if has_ssim(case) else None, 0, 0, order)
    if not has_ssim(case):
        mse = (own - originals).square().flatten(1).mean(1)
        pixel = (pixels[0][order].clamp(0, 1) - pixels[1].clamp(0, 1)).square().flatten(1).mean(1)
        best = int(pixel.argmin())
        same = int((pixel <= SAME).sum())
        return Likeness(float(mse[best]), float(pixel[best]), None, same, same, order)
    table = compare(own, originals, case.normalisation)
    greys = torch.zeros_like(originals), case.normalisation.to_input(torch.full_like(originals, 0.5))
    uninformed = [compare(one, originals, case.normalisation)["ssim"] for one in greys]
    kept = (table["ssim"] >= RECOVERED) & (table["ssim"] > uninformed[0]) & (table["ssim"] > uninformed[1])
    best = table.loc[table["ssim"].idxmax()]
    counts = int(kept.sum()), int((kept & (table["mse_pixel"] <= SAME)).sum())
    return Likeness(float(best["mse"]), float(best["mse_pixel"]), float(best["ssim"]), *counts, order)


def has_ssim(case: Case) -> bool:
    """Whether images are large enough for SSIM."""
    return min(case.shape[1:]) >= WINDOW
