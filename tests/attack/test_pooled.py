"""The image through ReLU and max-pools: a convolution's input by overlaps, the descent, and what is refused."""

import re

import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.attempt import reasons_of
from fldrep.attack.feature_descent import image_with_features
from fldrep.attack.layer_by_layer import gradient_matrix
from fldrep.attack.overlaps import input_by_overlaps, require_overlaps
from fldrep.attack.pooled import factor_of
from fldrep.attack.reasons import as_bytes, as_words
from fldrep.attack.way_down import way_down
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.patches import Geometry
from fldrep.errors import AttackRefused
from fldrep.models.face import steady
from fldrep.models.normalisation import Normalisation

SHAPE = (3, 12, 12)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(slopes, values, geometry):
    """The weight gradient (O, C, K, K) of a convolution with this input and these derivatives of its output."""
    flat = gradient_matrix(slopes, *values.shape[1:], geometry) @ values.flatten(1).T
    return flat.view(len(slopes), geometry.size, geometry.size, len(values)).movedim(-1, 1)


def scaled(found, values):
    return found * (values.norm() / found.norm())


@pytest.mark.parametrize(
    "geometry", [Geometry(3, 1, 1), Geometry(5, 1, 2), Geometry(5, 2, 2), Geometry(4, 1, 1)], ids=str
)
def test_a_weight_gradient_gives_the_input_away_whatever_is_behind(geometry):
    values = drawn(24, 7, 6).relu()
    slopes = drawn(60, geometry.coarse(7), geometry.coarse(6), seed=1)
    found = input_by_overlaps(gradient_of(slopes, values, geometry), geometry, 7, 6)
    assert torch.allclose(scaled(found, values), values, atol=1e-9)


def test_single_precision_costs_six_digits_and_no_more():
    values, slopes = drawn(24, 6, 6).relu(), drawn(50, 6, 6, seed=1)
    rounded = gradient_of(slopes, values, Geometry(3, 1, 1)).float().double()
    found = scaled(input_by_overlaps(rounded, Geometry(3, 1, 1), 6, 6), values)
    assert (found - values).norm() < 1e-4 * values.norm()


def test_places_without_a_derivative_are_told_by_their_neighbours():
    values, slopes = drawn(24, 6, 6).relu(), drawn(50, 6, 6, seed=1)
    slopes[:, 5] = slopes[:, 2, 3] = slopes[:, 0, 1] = 0
    found = input_by_overlaps(gradient_of(slopes, values, Geometry(3, 1, 1)), Geometry(3, 1, 1), 6, 6)
    assert torch.allclose(scaled(found, values), values, atol=1e-9)


def test_sparse_derivatives_of_any_skew_do():
    """One channel at a place, and most of them at another, as winners of pools are."""
    values, slopes = drawn(24, 4, 4).relu(), torch.zeros(40, 16, dtype=torch.float64)
    slopes[torch.arange(40), torch.cat([torch.arange(16), torch.full((24,), 5)])] = drawn(40, seed=1)
    gradient = gradient_of(slopes.view(40, 4, 4), values, Geometry(3, 1, 1))
    assert torch.allclose(scaled(input_by_overlaps(gradient, Geometry(3, 1, 1), 4, 4), values), values, atol=1e-9)


def test_a_gradient_of_too_low_rank_is_refused_with_its_numbers():
    values, slopes = drawn(24, 6, 6).relu(), drawn(50, 6, 6, seed=1)
    slopes[20:] = 0
    with pytest.raises(NoRule, match=r"36 places whose gradient has rank 20 and tells \d+ of them"):
        input_by_overlaps(gradient_of(slopes, values, Geometry(3, 1, 1)), Geometry(3, 1, 1), 6, 6)


def test_patches_that_overlap_by_no_more_than_the_padding_are_refused():
    """The patch in the corner fits wherever it is added."""
    for geometry in (Geometry(3, 2, 1), Geometry(3, 1, 0), None):
        with pytest.raises(NoRule, match="overlap"):
            require_overlaps(geometry, 1000, 6, 6)
    with pytest.raises(NoRule, match="36 places and 35 channels"):
        require_overlaps(Geometry(3, 1, 1), 35, 6, 6)


@pytest.mark.parametrize("factor", [3e-3, 1.0, 70.0, -2.0])
def test_probabilities_tell_the_factor_and_its_sign(factor):
    torch.manual_seed(2)
    behind = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 5)).double()
    values = drawn(2, 5, 5)
    with torch.no_grad():
        target = behind(values[None])[0].softmax(0)
        assert float(factor_of(behind, values / factor, target)) == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.95])
def test_the_descent_finds_dark_and_bright_images(level):
    torch.manual_seed(0)
    front = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.MaxPool2d(2))
    image = (level + 0.04 * drawn(3, 12, 12)).clamp(0, 1).float()
    valid = Normalisation((0.0,) * 3, (1.0,) * 3)
    found = image_with_features(front.requires_grad_(False), front(image[None])[0], SHAPE, valid)
    assert (found - image).square().mean() < 1e-6


def pooled(width=192, pool=3, behind=()):
    torch.manual_seed(1)
    body = [nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, width, 3, padding=1)]
    body += [nn.ReLU(), nn.MaxPool2d(pool, 6 if pool == 6 else pool), *behind, nn.Flatten()]
    features = nn.Sequential(*body)(torch.zeros(1, *SHAPE)).shape[1]
    return nn.Sequential(*body, nn.Linear(features, 10)).eval()


def test_more_places_than_channels_are_refused_with_both_numbers():
    model = fldrep.build_model("convnet", shape=(3, 32, 32), width=16)
    images, labels = torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)
    update = fldrep.client_update(model.eval(), images, labels)
    with pytest.raises(AttackRefused, match=r"100 places and 64 channels"):
        fldrep.reconstruct(model, update, labels, attack="closed-form")


def test_without_a_convolution_there_is_no_way():
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 20), nn.ReLU(), nn.Linear(20, 10)).eval()
    with pytest.raises(NoRule, match="no Conv2d"):
        way_down(steady(model, SHAPE), SHAPE)


def test_each_target_that_is_not_told_has_its_reason_and_the_others_their_image():
    """Through Python, in the rows of a job, and out of a chunk that was kept."""
    model = fldrep.wrap(pooled(), shape=SHAPE)
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, 2])
    update = {name: one.clone() for name, one in fldrep.client_update(model, images, labels).items()}
    weight = next(name for name, one in update.items() if one.shape[1:3] == (192, 64))
    update[weight][1, 5:] = 0
    found = fldrep.reconstruct(model, update, labels, attack="closed-form", normalisation="none")
    told = r"has Conv2d of 144 places whose gradient has rank 5 and tells \d+ of them"
    assert [bool(re.fullmatch(told, reason)) for (reason,) in found.refused] == [False, True]
    assert found.diverged.flatten().tolist() == [False, True]
    assert found.images[1].isnan().all()
    assert found.refused[0] == [""]
    assert (found.images[0] - images[0]).square().mean() < 1e-6
    assert reasons_of(found) == ["", found.refused[1][0]]


def test_reasons_are_kept_as_tensors():
    assert as_words(as_bytes(["", "9 places", "ü" * 150])) == ["", "9 places", "ü" * 100]


@pytest.mark.long
@pytest.mark.parametrize("rate", [None, 1.0])
def test_the_reference_network_gives_its_image_away_at_any_rate(rate):
    model = fldrep.build_model("convnet", shape=(3, 32, 32), width=64, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(images, scale_factor=4, mode="bilinear") * 2 - 1
    labels = torch.tensor([3])
    update = fldrep.client_update(model, images, labels)
    if rate:
        update = fldrep.defend(update, "soteria", rate=rate, model=model, images=images, labels=labels)
    found = fldrep.reconstruct(model, update, labels, attack="closed-form")
    assert (found.images - images).square().mean() < 1e-3
    assert not found.certified.any()
