"""Adam on coefficients of a cosine transform, in units of what natural images have there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.config.attacks import AttackSettings

TUNED_ON = {"cifar10": (range(4),)}  # test images that the constants below and the settings' values were found on
BETAS = (0.9, 0.99)  # the second shorter than Adam's own 0.999: all ends after some hundred steps


@optimiser("adam-spectral")
class AdamSpectral:
    """Adam on the image's spectrum, by the gradient of the distance's logarithm and a fixed share of smoothing.

    The initial image is white noise in these coefficients, of deviation `start`. The step size falls to 0 along half a
    cosine; the result is the last iterate.
    """

    class Settings(Section):
        """The step size, the spectrum, and the smoothing."""

        lr: float = option(0.4, "step size of the optimiser", gt=0)
        box: bool = option(True, "clamp the image to valid pixels after each step")
        spectrum: float = option(
            1.0,
            "amplitudes of coefficients fall as 1 / frequency to this power",
            ge=0,
            source="1 for natural images: Field 1987, J. Opt. Soc. Am. A 4 (12)",
        )
        chroma: float = option(0.3, "amplitudes of colour relative to those of brightness", gt=0)
        smoothing: float = option(
            0.3, "length of the gradient of a Huber total variation, relative to that of the distance", ge=0
        )
        edge: float = option(
            0.1, "difference of neighbours from which that variation is linear, in the network's input space", gt=0
        )

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Move the images; one iteration is one Adam step."""
        import torch

        from fldrep.attack.adam import adam_change, adam_rates, cosine_schedule
        from fldrep.attack.descent import descend
        from fldrep.models.spectrum import Spectrum

        spectrum = Spectrum.of(problems.images, settings.spectrum, settings.chroma)
        # made once: to bring numbers to a GPU, the host waits for all it was asked before
        least, most = problems.normalisation.valid_range(problems.images)
        smallest = torch.finfo(problems.images.dtype).eps

        def move(images, first, second, distance, grad_images, rates):
            _, grad_images = problems.regularised(images, distance, grad_images)
            grad_images = grad_images / distance.clamp_min(smallest).view(-1, 1, 1, 1, 1)
            smooth = as_long_as(grad_images, variation_slope(images, settings.edge))
            gradient = spectrum.gradient(grad_images + settings.smoothing * smooth)
            change, first, second = adam_change(first, second, gradient, rates, BETAS)
            moved = images - spectrum.images(change)
            return moved.clamp(least, most) if settings.box else moved, first, second

        rates = adam_rates(cosine_schedule(settings.iterations, settings.lr), BETAS)
        return descend(problems, spectrum.images(problems.images), move, rates, progress)


def variation_slope(images: Tensor, edge: float) -> Tensor:
    """The direction that smooths images: differences of neighbours, as far as `edge`, in units of it.

    Shape: (P, B, C, H, W) -> the same. It is the derivative of a total variation with Huber's function for the absolute
    value, summed and not averaged.
    """
    from torch.nn.functional import pad

    across, down = images[..., :, 1:] - images[..., :, :-1], images[..., 1:, :] - images[..., :-1, :]
    across, down = (one.div(edge).clamp(-1, 1) for one in (across, down))
    return pad(across, (1, 0)) - pad(across, (0, 1)) + pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1))


def as_long_as(one: Tensor, other: Tensor) -> Tensor:
    """The other with the length of the one, image by image; (P, B, C, H, W) twice -> the same. What is 0 stays 0."""
    import torch

    lengths = [torch.linalg.vector_norm(each, dim=(2, 3, 4), keepdim=True) for each in (one, other)]
    return other * (lengths[0] / lengths[1].clamp_min(torch.finfo(other.dtype).eps))
