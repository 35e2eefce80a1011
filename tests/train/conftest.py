"""Small federations: a few clients with a few random images each."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.defenses.defended import defense_of
from fldrep.models.building import build_model
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.storage.imageset import ImageSet
from fldrep.train.fedavg import train
from fldrep.train.federation import Federation

SHAPE, CLASSES = (1, 12, 12), 4
IDENTITY = ("noise", "small", "dealt", 0)
NORMALISATION = Normalisation((0.4,), (0.3,))


def random_images(count=60, tests=40):
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count + tests, *SHAPE), generator=g, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count + tests,), generator=g)
    images[:, :, 0, 0] = (labels * 60).to(torch.uint8).unsqueeze(1)
    means = torch.zeros(CLASSES, *SHAPE)
    return ImageSet(images[:count], labels[:count], images[count:], labels[count:], means)


def batch_norm_model(dtype=torch.float64):
    """A convolution, batch norm and a residual block: what LeNet does not have."""
    torch.manual_seed(0)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

        def forward(self, x):
            return torch.relu(x + self.inner(x))

    body = nn.Sequential(nn.Conv2d(1, 3, 3, stride=3), nn.BatchNorm2d(3), nn.ReLU(), Residual(), nn.Flatten())
    return Model(body, nn.Linear(48, CLASSES)).to(dtype)


@pytest.fixture
def data():
    return random_images()


@pytest.fixture
def shards():
    """Five clients of 4, 8, 12, 16 and 20 images."""
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    return list(order.split([4, 8, 12, 16, 20]))


@pytest.fixture
def lenet():
    return build_model("lenet", SHAPE, CLASSES, dtype=torch.float64)


@pytest.fixture
def normed():
    return batch_norm_model()


@pytest.fixture
def settings():
    return TrainSettings(rounds=2, fraction=0.6, local_epochs=2, batch_size=5, lr=0.2, lr_decay=0.5)


@pytest.fixture
def small(data, shards, settings):
    """A federation to train: `small.train(model, ...)` with any argument replaced; and its parts."""

    def run(model, defense=None, **changed):
        given = {"data": data, "shards": shards, "settings": settings, "identity": IDENTITY, "defense_name": "named"}
        given |= {"normalisation": NORMALISATION, **changed}
        return train(model, defense=defense or defense_settings(), **given)

    def federation(model, defense=None, settings=settings, name="named"):
        hooks = defense_of(defense or defense_settings())
        hooks.on_model(model)
        return Federation(model, data, shards, settings, hooks, NORMALISATION, IDENTITY, name)

    return SimpleNamespace(train=run, federation=federation, data=data, shards=shards, settings=settings)
