"""PRECODE: what is sent is the gradient of a network that draws, and of its divergence; evaluation draws nothing."""

import math

import pytest
import torch
from torch.nn import functional as F

import fldrep
from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.defenses.networks import network_under
from fldrep.errors import ConfigError
from fldrep.models.model import Model
from fldrep.models.sampling import Sampled, divergence, divergence_slope
from fldrep.models.updates import LocalSteps

SHAPE = (1, 12, 12)


@pytest.fixture
def precode():
    return defense_of(defense_settings("precode", width=6, beta=0.01))


@pytest.fixture
def network(precode):
    plain = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64, seed=2)
    return network_under(precode, plain, torch.Generator().manual_seed(1)).eval()


def client_of(network, count=3, seed=5):
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(count, *SHAPE, generator=drawn, dtype=torch.float64)
    return Client(network, images, torch.arange(count) % 4, torch.Generator().manual_seed(seed))


def by_hand(network, client, width, beta):
    """The gradient of cross entropy and divergence, the bottleneck written out."""
    noise = torch.randn(len(client.images), width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    *front, encoder, _, decoder = network.body
    told = encoder(torch.nn.Sequential(*front)(client.images))
    mean, std = told[:, :width], F.softplus(told[:, width:])
    logits = network.head(decoder(mean + std * noise))
    apart = -0.5 * (1 + 2 * std.log() - mean.square() - std.square()).sum(1).mean() / math.log(2)
    loss = F.cross_entropy(logits, client.labels) + beta * apart
    return dict(zip(dict(network.named_parameters()), torch.autograd.grad(loss, [*network.parameters()]), strict=True))


def test_what_is_sent_is_the_gradient_of_the_loss_with_its_divergence(precode, network):
    client = client_of(network)
    sent = defended_update(precode, client)
    expected = by_hand(network, client, 6, 0.01)
    assert sent.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(sent[name][0], value, msg=name)


def test_the_slope_of_the_divergence_is_its_derivative():
    told = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (slope,) = torch.autograd.grad(divergence(told).sum(), told)
    torch.testing.assert_close(divergence_slope(told.detach()), slope)


def test_each_update_has_noise_of_its_own_and_the_same_seed_the_same(precode, network):
    first, again, other = (defended_update(precode, client_of(network, seed=seed)) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_outside_of_a_step_nothing_is_drawn(precode, network):
    images = client_of(network).images
    before = network(images)
    defended_update(precode, client_of(network))
    assert torch.equal(network(images), before)
    assert all(one.noise is None for one in network.modules() if isinstance(one, Sampled))


def test_local_steps_draw_at_each(precode, network):
    sent = defended_update(precode, client_of(network, 4), LocalSteps(2, 2, 0.1))
    assert sent["head.weight"].shape == (1, 4, network.head.in_features)
    assert all(value.isfinite().all() for value in sent.values())


def test_the_network_keeps_its_own_layers_and_takes_two_more(precode, network):
    plain = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64, seed=2)
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    assert {name.split(".")[1] for name in state.keys() - plain.state_dict().keys()} == {"9", "11"}
    shapes = [tuple(state[f"body.{one}.weight"].shape) for one in (9, 11)]
    assert shapes == [(12, plain.head.in_features), (plain.head.in_features, 6)]


def test_weights_of_the_bottleneck_follow_the_generator(precode):
    plain = fldrep.build_model("lenet", SHAPE, 4)
    made = [network_under(precode, plain, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    weights = [one.body[9].weight for one in made]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_from_python_and_its_attack():
    model = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64, init="uniform").eval()
    network = fldrep.defended_model(model, "precode", width=8)
    assert not network.training
    client = client_of(network, 1)
    plain = fldrep.client_update(network, client.images, client.labels)
    given = {"model": network, "images": client.images, "labels": client.labels, "normalisation": "none"}
    sent = fldrep.defend(plain, "precode", width=8, **given)
    found = fldrep.reconstruct(network, sent, attack="closed-form-below", normalisation="none")
    assert found.certified.all()
    assert (found.images - client.images).abs().max() < 1e-6
    with pytest.raises(ConfigError, match=r"fldrep.defended_model\(model, 'precode'\)"):
        fldrep.defend(fldrep.client_update(model, client.images, client.labels), "precode", **{**given, "model": model})


def test_a_hook_that_gives_another_kind_of_network_is_refused():
    plain = fldrep.build_model("lenet", SHAPE, 4)
    for given in (None, Model(plain.body, torch.nn.Linear(plain.head.in_features, 3))):
        wrong = type("Wrong", (fldrep.Defense,), {"on_network": lambda self, model, drawn, given=given: given})
        with pytest.raises(ConfigError, match="'none': what on_network returns"):
            network_under(wrong(defense_settings("none")), plain, torch.Generator())
