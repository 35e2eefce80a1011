import pytest
import torch
from torch import nn

import fldrep
from fldrep import registry
from fldrep.attack.compares import Comparison, features_of
from fldrep.config.attacks import attack_settings
from fldrep.errors import AttackRefused
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT, Update, client_update


def masked(update):
    shared = Update({name: value.clone() for name, value in update.items()}, "head")
    shared[HEAD_WEIGHT][:, :, ::3] = 0
    return shared


def random_like(update, seed):
    drawn = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=drawn, dtype=value.dtype) for name, value in update.items()}


def test_features_are_read_exactly_wherever_a_column_was_kept(lenet):
    r = lenet.model.features(lenet.images)
    torch.testing.assert_close(features_of(lenet.update)[0], r)
    kept = torch.arange(r.shape[1]) % 3 > 0
    torch.testing.assert_close(features_of(masked(lenet.update))[0][:, kept], r[:, kept])


@pytest.mark.parametrize("defended", ["none", "head", "all"])
def test_the_derivative_is_that_of_autograd(defended, lenet):
    update, trial = masked(lenet.update), random_like(lenet.update, 1)
    plain = Comparison.of(attack_settings("gs-masked"), defended)
    besides = Comparison.of(attack_settings("r-matching", feature_weight=0.7), defended)
    variables = {name: value.clone().requires_grad_() for name, value in trial.items()}
    w, b = variables[HEAD_WEIGHT], variables[HEAD_BIAS]
    found = (w * b[:, :, None]).sum(1) / b.square().sum(1)[:, None]
    r = lenet.model.features(lenet.images).detach()
    kept = torch.arange(r.shape[1]) % 3 > 0
    by_features = (found - r)[:, kept].square().sum(1) / r[:, kept].square().sum(1)
    expected = plain.distance(variables, plain.prepare(update))[0] + 0.7 * by_features
    derivatives = torch.autograd.grad(expected.sum(), list(variables.values()))
    distance, found = besides.distance(trial, besides.prepare(update))
    torch.testing.assert_close(distance, expected)
    for name, one in zip(variables, derivatives, strict=True):
        torch.testing.assert_close(found[name], one)


def test_a_perfect_image_has_no_distance_under_the_mask(lenet):
    comparison = Comparison.of(attack_settings("r-matching"), "head")
    distance, _ = comparison.distance(dict(lenet.update), comparison.prepare(masked(lenet.update)))
    assert (distance.abs() < 1e-12).all()


def test_it_runs_and_descends(lenet):
    found = fldrep.reconstruct(lenet.model, masked(lenet.update), lenet.labels, "r-matching", 30)
    assert (found.distance < found.initial_distance[:, 0]).all()


def test_it_is_refused_where_r_cannot_be_read(lenet):
    images = lenet.images.repeat(2, 1, 1, 1).view(2, 3, *lenet.shape)
    labels = lenet.labels.repeat(2).view(2, 3)
    with pytest.raises(AttackRefused, match="3 "):
        fldrep.reconstruct(lenet.model, client_update(lenet.model, images, labels), labels, "r-matching", 1)
    model = Model(nn.Flatten(), nn.Linear(12, 3, bias=False), (3, 2, 2))
    update = client_update(model, torch.ones(1, 3, 2, 2), torch.tensor([1]))
    with pytest.raises(AttackRefused, match=r"head\.bias"):
        fldrep.reconstruct(model, update, torch.tensor([1]), "r-matching", 1)


def test_a_clipped_update_has_no_scaled_distance(lenet):
    clipped = {name: 0.1 * value for name, value in lenet.update.items()}
    distance, _ = registry.value("objective", "scaled-l2")(dict(lenet.update), clipped)
    assert (distance.abs() < 1e-12).all()


def test_the_scaled_attack_sees_through_clipping():
    """DLG cannot reach a gradient that is a tenth of its own; the scaled one recovers the image."""
    model = fldrep.build_model("lenet", shape=(1, 8, 8), classes=4, init="uniform", seed=1, dtype=torch.float64)
    images = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([1])
    clipped = {name: 0.1 * value for name, value in client_update(model, images, labels).items()}
    plain, scaled = (
        fldrep.reconstruct(model, clipped, labels, preset, 20, restarts=2, label_strategy="known")
        for preset in ("dlg", "dlg-scaled")
    )
    assert (scaled.images - images).abs().max() < 0.1 < (plain.images - images).abs().max()
