"""One step of DP-SGD on a digit, by Opacus, audited at several strengths of noise: `python dp_sgd.py [NOISE ...]`.

Epsilon at a delta of 1e-5: of this step for a digit that is drawn by chance from 600, as Opacus accounts it, and for a
digit of which it is known that it was drawn. The floor is what the noise leaves open of the picture.
"""

import copy
import sys

import numpy as np
import torch
from opacus import PrivacyEngine
from opacus.accountants import RDPAccountant
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fldrep
from fldrep.applications.opacus import floors, step_of
from fldrep.config.data import DataSettings
from fldrep.data.datasets import load_arrays
from fldrep.models.normalisation import normalisation_for

SHAPE, DIGITS, CLIP, DELTA = (1, 28, 28), 600, 1.0, 1e-5


def digits() -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """MNIST's first training images: pixels, the network's input, and labels."""
    arrays = load_arrays("mnist", DataSettings())
    pixels = arrays.train_images[:DIGITS, None]
    images = normalisation_for(1, "mnist").to_input(torch.from_numpy(pixels) / 255)
    return pixels, images, torch.from_numpy(arrays.train_labels[:DIGITS]).long()


def main(noises: list[float], budget: float = 60) -> None:
    """A row of a table for each strength of noise."""
    pixels, images, labels = digits()
    print("| noise multiplier | epsilon, drawn by chance | epsilon, drawn | floor | verdict of the audit | best SSIM |")
    print("|---|---|---|---|---|---|")
    for noise in noises:
        network = fldrep.build_model("lenet", SHAPE, classes=10, init="uniform")
        before, engine = copy.deepcopy(network), PrivacyEngine(accountant="rdp")
        module, optimizer, _ = engine.make_private(
            module=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(images, labels), batch_size=1),
            noise_multiplier=noise,
            max_grad_norm=CLIP,
            poisson_sampling=False,  # for exactly one digit in the step
        )
        nn.functional.cross_entropy(module(images[:1]), labels[:1]).backward()
        optimizer.step()
        step = step_of(module, optimizer)
        given = {"shape": SHAPE, "normalisation": "mnist", "originals": pixels[:1], "budget": budget}
        found = fldrep.audit(before, step.sent, **given)
        drawn = RDPAccountant()
        drawn.step(noise_multiplier=noise, sample_rate=1.0)
        spent = engine.get_epsilon(DELTA), drawn.get_epsilon(DELTA)
        floor = float(floors(before, images[:1], labels[:1], clip=step.clip, multiplier=step.multiplier))
        best = max((one["ssim"] for one in found.to_dict()["attacks"] if one["ssim"] is not None), default=float("nan"))
        cells = (f"{noise:g}", *(f"{one:.2g}" for one in (*spent, floor)), found.verdict, f"{best:.2g}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main([float(one) for one in sys.argv[1:]] or [1e-4, 1e-3, 1e-2, 1.0])
