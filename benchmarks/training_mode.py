"""What batch norm in training mode tells of an image: `python -m benchmarks.training_mode` writes docs/results.

The same images are attacked as clients in evaluation mode send them, in training mode, and by an attack that uses their
statistics. Besides, how many directions of an image the statistics alone determine, whatever attacks them.
"""

from pathlib import Path

import torch
from torch import Tensor

import fldrep
from benchmarks.exact.clients import images_of
from benchmarks.rows import write_rows
from fldrep.config.updates import UpdateSettings
from fldrep.defenses.sent import statistics_sent
from fldrep.models.batch_statistics import in_training_mode, moments_of
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import Update
from fldrep.storage.imageset import as_pixels

OUT = Path(__file__).parents[1] / "docs/results/training-mode.json"
TARGETS, WIDTH, STEPS = range(100, 108), 16, 100
DESCENT = {"objective": "cosine", "optimiser": "adam-spectral", "labels": "known", "start": 0.5, "iterations": STEPS}
HEADS = ["client", "attack", "images", "SSIM, median", "MSE (pixels), median", "error of the mean colour, median"]
RANKED = 1e-6  # of the largest singular value


def main() -> None:
    """Attack the three ways, and count directions."""
    torch.set_num_threads(1)
    data = images_of("cifar10")
    normalisation = Normalisation.of(data.mean, data.std)
    images = normalisation.to_input(as_pixels(data.test_images[list(TARGETS)]))
    labels = data.test_labels[list(TARGETS)]
    plain = fldrep.build_model("convnet", data.shape, 10, seed=0, width=WIDTH).eval()
    model = in_training_mode(plain)
    statistics = statistics_sent(model, images[:, None], UpdateSettings(training_mode=True))
    update = Update(fldrep.client_update(model, images, labels), statistics=statistics)
    asked = {
        ("evaluation mode", "the gradient"): (plain, fldrep.client_update(plain, images, labels), {}),
        ("training mode", "the gradient"): (model, update, {}),
        ("training mode", "gradient and statistics"): (model, update, {"batch_statistics": 1.0}),
        ("training mode", "gradient and statistics, weight 10"): (model, update, {"batch_statistics": 10.0}),
    }
    rows = [
        [*titles, *scores(network, sent, labels, images, normalisation, more)]
        for titles, (network, sent, more) in asked.items()
    ]
    rank, numbers = rank_of_statistics(model, images[0])
    said = (
        f"CIFAR-10 test images {TARGETS[0]}..{TARGETS[-1]}, one update an image, ConvNet-{WIDTH}, untrained, {STEPS} "
        f"evaluations of the gradient, one start. Of image {TARGETS[0]} the statistics are {numbers} numbers, which "
        f"determine {rank} of {images[0].numel()} directions to first order"
    )
    write_rows(OUT, HEADS, rows, said)


def scores(
    model: Model, update: Update, labels: Tensor, images: Tensor, normalisation: Normalisation, more: dict
) -> list[str]:
    """How near an attack comes."""
    found = fldrep.reconstruct(model, update, labels, {**DESCENT, **more}, normalisation=normalisation).images
    near = fldrep.compare(found, images, normalisation)
    colours = [normalisation.to_pixels(some).mean((2, 3)) for some in (found, images)]
    apart = (colours[0] - colours[1]).abs().mean(1).median()
    return [str(len(images)), f"{near['ssim'].median():.2f}", f"{near['mse_pixel'].median():.3f}", f"{apart:.3f}"]


def rank_of_statistics(model: Model, image: Tensor) -> tuple[int, int]:
    """The rank of the derivative of an image's statistics, and how many numbers they are."""
    model = model.double()
    jacobian = torch.func.jacrev(
        lambda one: torch.cat([value.flatten() for value in moments_of(model, one[None]).values()]), chunk_size=64
    )(image.double())
    values = torch.linalg.svdvals(jacobian.flatten(1))
    return int((values > RANKED * values[0]).sum()), len(jacobian)


if __name__ == "__main__":
    main()
