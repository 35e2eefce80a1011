import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.defenses.censor import orthogonal_to
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.models.updates import client_update, cross_entropy


@pytest.fixture
def case(make_network, draw_images):
    return make_network(nn.Conv2d(3, 4, 3, 2), nn.Sigmoid(), nn.Flatten()), draw_images(2), torch.tensor([0, 3])


def test_each_tensor_is_at_a_right_angle_and_as_long(case):
    gradient = {name: one[0] for name, one in client_update(case[0], case[1][None], case[2][None]).items()}
    gradient |= {"one": torch.tensor([3.0]), "none": torch.zeros(4)}
    found = orthogonal_to(gradient, torch.Generator().manual_seed(0))
    for name, one in gradient.items():
        assert (found[name] * one).sum().abs() <= 1e-6 * one.square().sum()
        assert float(found[name].norm()) == pytest.approx(0 if one.numel() == 1 else float(one.norm()), rel=1e-6)


def test_of_all_trials_the_one_of_least_loss_is_sent(case):
    model, images, labels = case
    before = {name: one.clone() for name, one in model.state_dict().items()}
    defense = defense_of(defense_settings("censor", trials=6, lr=0.01))
    sent = defended_update(defense, Client(model, images, labels, torch.Generator().manual_seed(3)))
    random = torch.Generator().manual_seed(3)
    gradient = {name: one[0] for name, one in client_update(model, images[None], labels[None]).items()}
    tried = [orthogonal_to(gradient, random) for _ in range(6)]

    def loss(update):
        with torch.no_grad():
            weights = {name: one - 0.01 * update[name] for name, one in model.named_parameters()}
            return float(cross_entropy(torch.func.functional_call(model, weights, (images,)), labels))

    best = min(tried, key=loss)
    assert all(torch.equal(sent[name][0], one) for name, one in best.items())
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
