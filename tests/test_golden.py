"""Networks and gradients against the numbers the reference computes on four real images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fldrep.models.building import build_model
from fldrep.models.updates import client_update, cross_entropy

GOLDEN = Path(__file__).parent / "golden" / "lenet.npz"
TOLERANCE = {torch.float32: {"rtol": 2e-5, "atol": 1e-6}, torch.float64: {"rtol": 2e-5, "atol": 1e-6}}


@pytest.fixture(params=TOLERANCE, ids=str)
def case(request):
    golden = dict(np.load(GOLDEN))
    model = build_model("lenet", init="uniform", dtype=request.param).eval()
    state = {name.removeprefix("state/"): torch.tensor(golden[name]) for name in golden if name.startswith("state/")}
    model.load_state_dict(state)
    images = torch.tensor(golden["images"]).permute(0, 3, 1, 2).to(request.param) / 255
    return model, images, torch.tensor(golden["labels"]), golden, TOLERANCE[request.param]


def test_features_logits_and_loss(case):
    model, images, labels, golden, tolerance = case
    np.testing.assert_allclose(model.features(images).detach(), golden["features"], **tolerance)
    np.testing.assert_allclose(model(images).detach(), golden["logits"], **tolerance)
    losses = [cross_entropy(model(images)[[k]], labels[[k]]).item() for k in range(4)]
    np.testing.assert_allclose(losses, golden["loss"], **tolerance)


def test_gradients_of_every_parameter(case):
    model, images, labels, golden, tolerance = case
    update = client_update(model, images, labels)
    norms = torch.stack([value.flatten(1).norm(dim=1) for value in update.values()], 1)
    np.testing.assert_allclose(norms, golden["gradient_norms"], **tolerance)
    np.testing.assert_allclose(update["head.bias"], golden["fc_bias_gradient"], **tolerance)
    outer = golden["fc_bias_gradient"][:, :, None] * golden["features"][:, None, :]
    np.testing.assert_allclose(update["head.weight"], outer, **tolerance)
