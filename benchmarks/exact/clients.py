"""The clients of a cell: networks, untrained or after FedAvg, test images, and what is sent of them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

import fldrep
from benchmarks.exact.cells import FIRST_SEED, Cell
from fldrep.config.data import DataSettings
from fldrep.config.datasets import facts_of
from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.data.datasets import image_set, load_arrays
from fldrep.data.partition import iid
from fldrep.models.building import build_model
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.models.updates import Update
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.tensors import read_tensors, write_tensors
from fldrep.train.fedavg import train

CLIENTS, BATCH, LR = 100, 16, 0.1
NETWORKS = {"lenet": ("lenet", None, "uniform"), "convnet-64": ("convnet", 64, "default")}


@dataclass(frozen=True)
class Clients:
    """Images (N, C, H, W) or (N, B, C, H, W) in the network's input space, their labels, and what is sent of them."""

    model: Model
    images: Tensor
    labels: Tensor
    sent: Update
    normalisation: Normalisation

    @classmethod
    def of(cls, cell: Cell, targets: range, networks: Path) -> "Clients":
        """Those of a group of targets. Args: networks: the folder of trained ones."""
        data = images_of(cell.dataset)
        pixels, labels = as_pixels(data.test_images[list(targets)]), data.test_labels[list(targets)]
        pixels = pixels if cell.side is None else F.adaptive_avg_pool2d(pixels, cell.side)
        normalisation = normalisation_for(pixels.shape[1])
        images = normalisation.to_input(pixels)
        if cell.images > 1:
            images, labels = images.unflatten(0, (-1, cell.images)), labels.view(-1, cell.images)
        architecture, width, init = NETWORKS[cell.network]
        shape, seed = tuple(pixels.shape[1:]), cell.seed(targets)
        model = build_model(architecture, shape, init=init, width=width, seed=seed).eval()
        if cell.rounds:
            model.load_state_dict(trained(cell.dataset, cell.rounds, model, networks))
        update = fldrep.client_update(model, images, labels)
        if cell.defense:
            update = fldrep.defend(
                update, **cell.defense, model=model, images=images, labels=labels, seed=targets.start
            )
        return cls(model, images, labels, update, normalisation)


@cache
def images_of(dataset: str) -> ImageSet:
    """A data set, where it is at hand or can be fetched. Errors: `DataError`."""
    data = DataSettings()
    return image_set(load_arrays(dataset, data), facts_of(dataset, data))


def trained(dataset: str, rounds: int, model: Model, networks: Path) -> dict[str, Tensor]:
    """The weights after FedAvg of 10 of 100 clients a round, kept in a folder as it takes minutes."""
    kept = networks / f"{dataset}-lenet-{rounds}-of-{FIRST_SEED}.safetensors"
    if not kept.exists():
        data, identity = images_of(dataset), (dataset, "lenet", "iid", FIRST_SEED)
        run = train(
            model,
            data,
            iid(data.train_labels, CLIENTS, generator("exact", *identity)),
            TrainSettings(rounds=rounds, checkpoints=[rounds], lr=LR, batch_size=BATCH),
            defense_settings(),
            normalisation=normalisation_for(data.shape[0]),
            identity=identity,
            defense_name="none",
        )
        write_tensors(kept, run.checkpoints[rounds], {"test_accuracy": str(run.history[-1]["test_accuracy"])})
    return read_tensors(kept)
