"""Golden numbers, small networks of every kind, and the slow twin of all Jacobian norms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fldrep.models.model import Model, build_model

GOLDEN = Path(__file__).parents[1] / "golden" / "lenet.npz"


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def golden_case(request, golden):
    """(model, images in [0, 1], labels, golden arrays)."""
    model = build_model("lenet", init="uniform", dtype=request.param)
    model.load_state_dict({k.removeprefix("state/"): torch.tensor(v) for k, v in golden.items() if k[:6] == "state/"})
    images = torch.tensor(golden["images"]).permute(0, 3, 1, 2).to(request.param) / 255
    return model, images, torch.tensor(golden["labels"]), golden


def network(*layers: nn.Module, shape=(3, 9, 9), classes=4, seed=0) -> Model:
    """A float64 network with a body of these layers, batch norm statistics and weights away from their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(*layers)
        for tensor in body.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.5, 0.5)
        for module in body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2)
        body.double().eval()
        features = body(torch.zeros(1, *shape).double()).shape[1]
        return Model(body, nn.Linear(features, classes).double()).eval()


@pytest.fixture
def make_network():
    return network


@pytest.fixture
def draw_images():
    def draw(count=2, shape=(3, 9, 9), seed=1):
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return draw


@pytest.fixture
def backward_norms():
    """The reference's way: one backward pass a feature and image."""

    def norms(model: Model, images: torch.Tensor) -> torch.Tensor:
        found = []
        for image in images:
            leaf = image.clone().unsqueeze(0).requires_grad_()
            features = model.features(leaf)[0]
            row = [torch.autograd.grad(feature, leaf, retain_graph=True)[0].norm() for feature in features]
            found.append(torch.stack(row))
        return torch.stack(found)

    return norms
