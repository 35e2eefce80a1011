"""An active server against defenses: `python -m benchmarks.imprint` writes docs/results/imprint.json."""

from pathlib import Path

import torch
from torch import Tensor

import fldrep
from benchmarks.exact.clients import images_of
from benchmarks.rows import write_rows
from fldrep.attack.imprint import with_imprint
from fldrep.attack.surrogate import Surrogate
from fldrep.models.normalisation import Normalisation
from fldrep.storage.imageset import as_pixels

OUT = Path(__file__).parents[1] / "docs/results/imprint.json"
TARGETS, PUBLIC = range(100, 116), slice(5000, 10_000)
GAINS = (1.0, 1e12)
DEFENSES = {
    "none": {"method": "none"},
    "soteria, every feature": {"method": "soteria", "rate": 1.0},
    "compression 60 %": {"method": "compression", "rate": 0.6},
    "top-k 70 %": {"method": "top-k", "rate": 0.7},
    "percentile": {"method": "percentile", "percentile": 10.0, "gamma": 1.0},
    "signsgd": {"method": "signsgd"},
    "qsgd, 1 level": {"method": "qsgd", "levels": 1},
    "outpost": {"method": "outpost"},
    "gaussian 0.3": {"method": "gaussian", "std": 0.3},
    "laplace 1.0": {"method": "laplace", "std": 1.0},
    "gaussian 0.3, clipped at 1": {"method": "gaussian", "std": 0.3, "clip": 1.0},
    "gaussian-dp, epsilon 100": {"method": "gaussian-dp", "epsilon": 100.0, "clip": 1.0},
}


def main() -> None:
    """Attack every defense at each gain."""
    torch.set_num_threads(1)
    data = images_of("mnist")
    normalisation = Normalisation.of(data.mean, data.std)
    own = normalisation.to_input(as_pixels(data.test_images[PUBLIC]))
    images, labels = normalisation.to_input(as_pixels(data.test_images[list(TARGETS)])), data.test_labels[list(TARGETS)]
    plain = fldrep.build_model("lenet", data.shape, 10, seed=0, init="uniform").eval()
    models = [with_imprint(plain, own, 64, gain) for gain in GAINS]
    surrogate = Surrogate(own, data.test_labels[PUBLIC], None)
    rows = []
    for name, keys in DEFENSES.items():
        cells = [cell(model, keys, images, labels, normalisation, surrogate) for model in models]
        rows.append([name, *(value for pair in cells for value in pair)])
    heads = ["defense", *(f"{what}, gain {gain:g}" for gain in GAINS for what in ("found", "SSIM, median"))]
    said = f"MNIST test images {TARGETS[0]}..{TARGETS[-1]}, one update an image, LeNet (uniform weights), untrained"
    write_rows(OUT, heads, rows, f"{said}, 64 units, one network; found: SSIM of 0.5 or more")


def cell(
    model: torch.nn.Module,
    keys: dict,
    images: Tensor,
    labels: Tensor,
    normalisation: Normalisation,
    surrogate: Surrogate,
) -> tuple[str, str]:
    """Images found of those attacked, and the median SSIM."""
    update = fldrep.client_update(model, images, labels)
    sent = fldrep.defend(update, model=model, images=images, labels=labels, **keys)
    known = {"label_strategy": "known", "normalisation": normalisation, "surrogate": surrogate}
    found = fldrep.reconstruct(model, sent, labels, "imprint", **known)
    ssim = fldrep.compare(found.images, images, normalisation)["ssim"]
    return f"{int((ssim >= 0.5).sum())} of {len(ssim)}", f"{ssim.median():.2f}"


if __name__ == "__main__":
    main()
