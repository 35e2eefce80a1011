"""Attacks that need exact entries are refused where a defense says that it changes them, alone and in an ensemble."""

import pytest
import torch
from torch import nn

import fldrep
from fldrep.config.attacks import attack_settings
from fldrep.config.needs import Public, Sent, lacks
from fldrep.errors import AttackRefused
from fldrep.models.updates import Update, client_update

SHAPE = (3, 9, 9)


@pytest.fixture
def case(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 16, 3, 2), nn.Sigmoid(), nn.Flatten())
    return model, draw_images(1), torch.tensor([1])


@pytest.mark.parametrize(
    ("public", "lacking"),
    [
        (Public(distorted=True), ["sends others"]),
        (Public(noise=True, distorted=True), ["adds noise"]),
        (Public(noise=False, distorted=False), []),
        (Public(), []),
    ],
)
def test_exact_entries_are_neither_noisy_nor_changed(public, lacking):
    assert [one.instead for one in lacks(["exact"], public, Sent())] == lacking


def test_from_python_an_update_says_that_it_is_distorted(case):
    update = client_update(*case)
    told = Update(update, "none", distorted=True)
    with pytest.raises(AttackRefused, match="'closed-form' needs entries as they were computed, but this update sends"):
        fldrep.reconstruct(case[0], told, case[2], "closed-form", iterations=1, shape=SHAPE)
    found = fldrep.reconstruct(case[0], update, case[2], "closed-form", iterations=1, shape=SHAPE)
    assert found.images.isfinite().all()


def test_an_ensemble_leaves_out_what_is_refused(case):
    update = client_update(*case)
    settings = attack_settings(
        objective="cosine",
        optimiser="signed-adam",
        iterations=1,
        members={"closed-form": {"preset": "closed-form"}, "gs": {"preset": "gs"}},
    )
    assert fldrep.reconstruct(case[0], update, case[2], settings, shape=SHAPE).members == [["closed-form"]]
    told = Update(update, distorted=True)
    assert fldrep.reconstruct(case[0], told, case[2], settings, shape=SHAPE).members == [["gs"]]
