"""What the clients train, and on what."""

from functools import cache

import numpy as np
import torch
from torch import nn

import fldrep
from fldrep.applications.flower import defend_step
from fldrep.config.data import DataSettings
from fldrep.data.datasets import load_arrays
from fldrep.models.normalisation import normalisation_for

SHAPE = (1, 28, 28)


def build() -> nn.Module:
    """LeNet, its weights uniform in [-0.5, 0.5], the same at every call."""
    return fldrep.build_model("lenet", SHAPE, classes=10, init="uniform")


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """MNIST's training images, uint8 (60000, 28, 28), and their labels."""
    arrays = load_arrays("mnist", DataSettings())
    return arrays.train_images, arrays.train_labels


def share_of(client: int, clients: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images of a client's share, uint8 (images, 1, 28, 28), and their labels (images,)."""
    pixels, labels = digits()
    own = slice(client, client + images * clients, clients)
    return pixels[own][:, None], labels[own]


def train(network: nn.Module, pixels: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int, lr: float) -> None:
    """SGD over the images in their order."""
    images = normalisation_for(1, "mnist").to_input(torch.from_numpy(pixels) / 255)
    classes = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    for _ in range(epochs):
        for batch, own in zip(images.split(batch_size), classes.split(batch_size), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch), own).backward()
            defend_step(network, batch, own)  # for defenses that act on each step; does nothing under no DefenseMod
            optimizer.step()
