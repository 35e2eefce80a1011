"""A client, its network and its update, small enough to be audited in a second."""

import pytest
import torch
from torch import nn

SHAPE = (1, 12, 12)


class Net(nn.Module):
    """A network with names of its own: convolutions, sigmoids or ReLUs, batch norm if asked for."""

    def __init__(self, activation=nn.Sigmoid, norm=False, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.act = activation()
        self.mix = nn.Conv2d(6, 8, 3, padding=1)
        self.act2 = activation()
        self.fc = nn.Linear(8 * 36, classes)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        return self.fc(self.act2(self.mix(x)).flatten(1))


def chain(activation=nn.Sigmoid, classes=5) -> nn.Sequential:
    """The same as a chain of layers, which can be solved for."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, stride=2),
        activation(),
        nn.Conv2d(6, 8, 3, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(8 * 36, classes),
    )


def seeded(made) -> nn.Module:
    """A network with weights that let its gradient through, the same at every call."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = made()
        for value in network.parameters():
            value.uniform_(-0.5, 0.5)
    return network


@pytest.fixture
def network():
    """The function that makes a seeded network: `network(made=chain)`."""
    return lambda made=chain: seeded(made)


@pytest.fixture
def pixels() -> torch.Tensor:
    """Three images with edges and a slope, (3, 1, 12, 12), pixels in [0, 1]."""
    down, across = torch.meshgrid(torch.linspace(0, 1, 12), torch.linspace(0, 1, 12), indexing="ij")
    disc = ((down - 0.4) ** 2 + (across - 0.6) ** 2 < 0.1).float()
    return torch.stack([0.2 + 0.6 * disc, (down + disc) / 2, across * (1 - disc)])[:, None]
