"""Objectives of attacks that know a defense: what was really sent has distance 0, and other gradients do not."""

import pytest
import torch

from fldrep import registry
from fldrep.defenses.face import defend

SHAPES = {"head.weight": (4, 6), "head.bias": (5,), "body.0.weight": (3, 2, 4)}


def gradient(seed):
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(3, *shape, generator=random, dtype=torch.float64) for name, shape in SHAPES.items()}


def distance(name, trial, observed, **keys):
    return registry.value("objective", name)(trial, observed, **keys)[0]


@pytest.mark.parametrize(
    ("objective", "method", "settings", "keys"),
    [
        ("signs", "signsgd", {}, {}),
        ("intervals", "qsgd", {"levels": 3}, {}),
        ("intervals", "qsgd", {"levels": 8, "norm": "max"}, {}),
        ("truncated", "compression", {"rate": 0.5}, {}),
        ("truncated", "percentile", {"percentile": 60, "gamma": 1.2}, {"limit": 1.2}),
    ],
)
def test_the_true_gradient_fits_and_another_does_not(objective, method, settings, keys):
    true, other = gradient(0), gradient(1)
    sent = dict(defend(true, method, **settings))
    assert distance(objective, true, sent, **keys).abs().max() < 1e-12
    assert (distance(objective, other, sent, **keys) > 1e-3).all()


def test_signs_do_not_mind_magnitudes_as_the_cosine_does():
    true = gradient(0)
    sent = {name: one.sign() for name, one in true.items()}
    assert distance("signs", {name: 7 * one for name, one in true.items()}, sent).abs().max() < 1e-12
    assert (distance("cosine", true, sent) > 0.1).all()
    torch.testing.assert_close(
        distance("signs", {name: -one for name, one in sent.items()}, sent), torch.ones(3).double()
    )


def test_without_the_limit_what_was_limited_does_not_fit():
    true = gradient(0)
    sent = dict(defend(true, "percentile", percentile=0, gamma=0.5))
    assert (distance("truncated", true, sent) > 0.1).all()
    assert distance("truncated", true, sent, limit=0.5).abs().max() < 1e-12


def test_a_right_angle_and_the_same_length_fit():
    true = gradient(0)
    turned = {}
    for name, one in gradient(1).items():
        g, r = true[name].flatten(1), one.flatten(1)
        r = r - (r * g).sum(1, keepdim=True) / (g * g).sum(1, keepdim=True) * g
        turned[name] = (r / r.norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True)).view_as(one)
    assert distance("orthogonal", true, turned).abs().max() < 1e-12
    assert (distance("orthogonal", true, true) > 0.9).all()
