import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.labels import inferred_labels, labels_for
from fldrep.attack.observation import Observation
from fldrep.errors import ConfigError
from fldrep.models.model import Model
from fldrep.models.normalisation import normalisation_for
from fldrep.models.updates import client_update


def update_of(activation, bias, count=12):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 30), activation)
    model = Model(body, nn.Linear(30, 10, bias=bias))
    labels = torch.arange(count) % 10
    return model, client_update(model, torch.randn(count, 3, 2, 2), labels), labels


def observed(model, update, labels):
    return Observation(model, update, labels, (3, 2, 2), normalisation_for(3), None, "none")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Sigmoid()])
def test_labels_are_read_from_the_last_layer(activation, bias):
    model, update, labels = update_of(activation, bias)
    assert torch.equal(inferred_labels(model, update)[:, 0], labels)


def test_labels_are_read_through_every_defense(convnet):
    """A column mask and a pruning of the smallest entries leave the true class's sign."""
    update = {name: value.clone() for name, value in convnet.update.items()}
    update["head.weight"][:, :, ::2] = 0
    update["head.bias"][update["head.bias"].abs() < update["head.bias"].abs().amax(1, keepdim=True)] = 0
    assert torch.equal(inferred_labels(convnet.model, update)[:, 0], convnet.labels)


def test_known_labels_must_be_given():
    model, update, _ = update_of(nn.ReLU(), True)
    with pytest.raises(ConfigError, match="labels"):
        labels_for("known", observed(model, update, None))


def test_optimised_labels_are_left_to_the_optimiser(lenet):
    assert labels_for("optimised", observed(lenet.model, lenet.update, lenet.labels)) is None


def test_inferred_labels_do_not_use_the_known_ones(lenet):
    found = fldrep.reconstruct(lenet.model, lenet.update, 4 - lenet.labels, "idlg", 0)
    assert torch.equal(found.labels_found[:, 0], lenet.labels)
