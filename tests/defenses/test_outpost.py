import numpy as np
import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defense_of
from fldrep.models.updates import client_update


@pytest.fixture
def case(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 4, 3, 2), nn.Sigmoid(), nn.Flatten())
    return model, {name: one[0] for name, one in client_update(model, draw_images(1), torch.tensor([1])).items()}


def test_a_slow_twin_from_the_same_draws(case):
    model, gradient = case
    defense = defense_of(defense_settings("outpost", phi=30.0, prune=0.6, noise=0.5))
    found = defense.perturbed(gradient, Client(model, generator=torch.Generator().manual_seed(0)))
    random = torch.Generator().manual_seed(0)
    information = {name: (one**2).mean(0) for name, one in gradient.items()}
    least = np.percentile(np.concatenate([one.numpy().ravel() for one in information.values()]), 70)
    weights = {name: one.detach() for name, one in model.named_parameters()}
    for name, one in gradient.items():
        drawn = torch.randn(one.shape, generator=random, dtype=one.dtype).numpy()
        risk = min(float(weights[name].var()), 1)
        kept = np.where(np.abs(one.numpy()) < np.percentile(np.abs(one.numpy()), 60), 0, one.numpy())
        noisy = np.broadcast_to(information[name].numpy() >= least, one.shape)
        np.testing.assert_allclose(found[name].numpy(), kept + 0.5 * risk * drawn * noisy, rtol=1e-12)


def test_it_acts_less_often_with_each_step(case):
    model, gradient = case
    defense, random = defense_of(defense_settings("outpost", beta=1.0)), torch.Generator().manual_seed(0)
    for step, chance in ((0, 1 / 2), (3, 1 / 5)):
        acted = [
            defense.on_step(gradient, Client(model, generator=random, step=step)) is not gradient for _ in range(400)
        ]
        assert np.mean(acted) == pytest.approx(chance, abs=0.1)
    always = defense_of(defense_settings("outpost", beta=0.0, noise=0.0, phi=0.0, prune=1.0))
    sent = always.on_step(gradient, Client(model, generator=random))
    assert all(one.count_nonzero() == 1 for one in sent.values())
