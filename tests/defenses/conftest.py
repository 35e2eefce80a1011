"""Golden numbers, small networks of every kind, and the slow twin of all Jacobian norms."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fldrep.models.building import build_model
from fldrep.models.model import Model

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
