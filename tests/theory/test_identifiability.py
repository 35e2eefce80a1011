"""What an update determines: against rows by autograd, and where the answer is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fldrep
from fldrep.derivatives.layerwise import gradient_map
from fldrep.derivatives.update_jacobian import Exact, SentGradient, Sketch
from fldrep.errors import ConfigError
from fldrep.models.updates import LocalSteps, update_gradients
from fldrep.theory import identifiability as theory
from fldrep.theory.identifiability import THRESHOLD, spectrum_of
from fldrep.theory.priors import spectral_basis

LABELS = torch.tensor([1, 3])


def rows_by_autograd(model, images, labels, kept=None, clip=None, local=None):
    """J, a row an entry, each by a backward pass of its own. Shapes: images (B, C, H, W), labels (B,) -> (M, P)."""
    images = images.clone().requires_grad_()
    soft = nn.functional.one_hot(labels, model.head.out_features).to(images)
    sent = update_gradients(model, images[None], soft[None], local=local)
    names = [name for name, _ in model.named_parameters()]
    entries = torch.cat([sent[name].flatten() for name in names])
    if clip is not None:
        entries = entries * (clip / entries.norm()).clamp_max(1)
    if kept is not None:
        entries = entries[torch.cat([kept[name].flatten() for name in names])]
    rows = [torch.autograd.grad(one, images, retain_graph=True)[0].flatten() for one in entries]
    return torch.stack(rows)


def expected(rows, prior_std=1.0, noise=None, basis=None):
    """Rank, smallest and median singular value, and the floor, by their definitions."""
    rows = rows.detach()
    sigma = torch.linalg.svdvals(rows)
    sigma = torch.cat([sigma, sigma.new_zeros(max(0, rows.shape[1] - len(sigma)))])
    rank = int((sigma > THRESHOLD * sigma[0]).sum())
    if noise is None:
        return rank, float(sigma.min()), float(sigma.median()), math.nan
    basis = torch.eye(rows.shape[1]).double() if basis is None else basis
    prior = prior_std**2 * basis @ basis.T
    posterior = torch.linalg.inv(rows.T @ rows / noise**2 + torch.linalg.inv(prior))
    return rank, float(sigma.min()), float(sigma.median()), float(posterior.trace() / len(posterior))


@pytest.fixture
def smooth(make_network):
    layers = nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Sigmoid(), nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten()
    return make_network(*layers, shape=(2, 7, 7))


@pytest.fixture
def pooled(make_network):
    layers = nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3)
    return make_network(*layers, nn.ReLU(), nn.Flatten(), shape=(2, 8, 8))


def row_of(found, number=0):
    return SimpleNamespace(**found.to_frame().iloc[number])


def agrees(found, rows, **known):
    rank, least, median, floor = expected(rows, **known)
    assert found.rank == rank
    assert found.sigma_min == pytest.approx(least, rel=1e-5, abs=1e-12)
    assert found.sigma_median == pytest.approx(median, rel=1e-8, abs=1e-12)
    assert found.floor == pytest.approx(floor, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(("kind", "side"), [("smooth", 7), ("pooled", 8)])
def test_it_is_what_rows_by_autograd_say(kind, side, request, draw_images):
    model, images = request.getfixturevalue(kind), draw_images(2, (2, side, side))
    found = fldrep.identifiability(model, images, LABELS, noise_std=1e-2)
    assert found.method == "exact"
    for number in range(2):
        rows = rows_by_autograd(model, images[number, None], LABELS[number, None])
        agrees(row_of(found, number), rows, noise=1e-2)
        basis = spectral_basis(*images.shape[1:])
        assert found.floor_spectral[number] == pytest.approx(expected(rows, noise=1e-2, basis=basis)[3], rel=1e-6)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
def test_a_public_mask_takes_rows_away(pooled, draw_images, rate):
    images = draw_images(1, (2, 8, 8))
    update = fldrep.defend(fldrep.client_update(pooled, images, LABELS[:1]), "compression", rate=rate)
    found = fldrep.identifiability(pooled, images, LABELS[:1], update, noise_std=1e-3, prior_std=2.0)
    kept = {name: value[0] != 0 for name, value in update.items()}
    rows = rows_by_autograd(pooled, images, LABELS[:1], kept)
    agrees(row_of(found), rows, noise=1e-3, prior_std=2.0)


@pytest.mark.parametrize("local", [None, LocalSteps(2, 1, 0.1)])
def test_updates_of_several_images_and_steps(smooth, draw_images, local):
    images = draw_images(2, (2, 7, 7))
    found = spectrum_of(smooth, images, LABELS, noise=dict.fromkeys(dict(smooth.named_parameters()), 0.1), local=local)
    assert found.unknowns == 2 * 2 * 7 * 7
    agrees(found, rows_by_autograd(smooth, images, LABELS, local=local), noise=0.1)


@pytest.mark.parametrize("share", [0.3, 3.0])
def test_clipping_loses_the_length_and_no_more(smooth, draw_images, share):
    images = draw_images(1, (2, 7, 7))
    update = fldrep.client_update(smooth, images, LABELS[:1])
    norm = share * float(torch.cat([value.flatten() for value in update.values()]).norm())
    found = spectrum_of(smooth, images, LABELS[:1], clip=norm, noise=dict.fromkeys(update, 0.01))
    agrees(found, rows_by_autograd(smooth, images, LABELS[:1], clip=norm), noise=0.01)


# Known answers -------------------------------------------------------------------------------------------------------


def linear(classes=4, shape=(1, 4, 4), weight=None):
    """Softmax regression with logits of zero, so that every class has the same probability."""
    model = fldrep.build_model("softmax", shape=shape, classes=classes).double()
    with torch.no_grad():
        model.head.weight.copy_(torch.randn(classes, math.prod(shape)) if weight is None else weight)
        model.head.bias.zero_()
    return model


def masked(update, columns):
    return {name: value.clone() if value.ndim < 3 else value * ~columns for name, value in update.items()}


@pytest.mark.parametrize("hidden", [0, 2, 7, 16])
def test_pixels_whose_columns_are_masked_leave_as_many_numbers_as_classes_less_one(hidden, draw_images):
    model, images = linear(), draw_images(1, (1, 4, 4))
    columns = torch.arange(16) < hidden
    update = masked(fldrep.client_update(model, images, LABELS[:1]), columns)
    found = fldrep.identifiability(model, images, LABELS[:1], update)
    assert (int(found.rank), int(found.unknowns)) == (16 - hidden + min(hidden, 3), 16)
    assert float(found.undetermined) == pytest.approx((hidden - min(hidden, 3)) / 16)
    assert math.isnan(found.floor)


def test_the_floor_of_a_linear_model(draw_images):
    """Of the bias gradient alone: J = (I / C - 11' / C^2) W, W of orthogonal rows of length c."""
    classes, length, noise, prior = 4, 3.0, 0.5, 2.0
    weight = torch.linalg.qr(torch.randn(16, classes).double()).Q.T * length
    model, images = linear(weight=weight), draw_images(1, (1, 4, 4))
    with torch.no_grad():
        model.head.bias.copy_(-model.head.weight @ images.flatten())
    update = masked(fldrep.client_update(model, images, LABELS[:1]), torch.ones(16, dtype=torch.bool))
    found = fldrep.identifiability(model, images, LABELS[:1], update, noise, prior)
    seen, unseen = 1 / ((length / classes / noise) ** 2 + prior**-2), prior**2
    assert int(found.rank) == classes - 1
    assert float(found.floor) == pytest.approx(((classes - 1) * seen + (16 - classes + 1) * unseen) / 16)
    assert float(found.sigma_min) == pytest.approx(0, abs=1e-12)


def test_a_layer_of_low_rank_hides_all_else(make_network, draw_images):
    model, images = (
        make_network(nn.Flatten(), nn.Linear(18, 9), nn.Sigmoid(), shape=(2, 3, 3)),
        draw_images(1, (2, 3, 3)),
    )
    with torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        tall, wide = (torch.randn(shape, generator=draw).double() for shape in ((9, 5), (5, 18)))
        model.body[1].weight.copy_(tall @ wide / 10)  # small: no sigmoid saturates
    update = dict(fldrep.client_update(model, images, LABELS[:1]))
    assert int(fldrep.identifiability(model, images, LABELS[:1], update).rank) == 18, "its own gradient shows all"
    update["body.1.weight"] = torch.zeros_like(update["body.1.weight"])
    assert int(fldrep.identifiability(model, images, LABELS[:1], update).rank) == 5


def test_an_update_of_zeros_determines_nothing(smooth, draw_images):
    images = draw_images(1, (2, 7, 7))
    update = {name: torch.zeros(1, *value.shape).double() for name, value in smooth.named_parameters()}
    found = fldrep.identifiability(smooth, images, LABELS[:1], update, noise_std=0.1, prior_std=3.0)
    assert (int(found.rank), float(found.undetermined)) == (0, 1)
    assert float(found.floor) == pytest.approx(9)
    assert float(found.floor_spectral) == pytest.approx(9)


def test_more_noise_and_more_zeros_leave_more_open(pooled, draw_images):
    images = draw_images(1, (2, 8, 8))
    update = fldrep.client_update(pooled, images, LABELS[:1])
    pruned = fldrep.defend(update, "compression", rate=0.8)
    floors = [
        float(fldrep.identifiability(pooled, images, LABELS[:1], one, std).floor)
        for one, std in ((update, 1e-4), (update, 1e-2), (pruned, 1e-2), (pruned, 1e2))
    ]
    assert floors == sorted(floors)
    assert floors[-1] == pytest.approx(1, rel=1e-3), "the prior is all there is"


def test_rounding_is_noise(smooth, draw_images):
    images = draw_images(1, (2, 7, 7)).float()
    found = [fldrep.identifiability(smooth.float(), images, LABELS[:1], rounding=one) for one in (False, True)]
    assert math.isnan(found[0].floor)
    assert float(found[1].floor) == pytest.approx(float(found[1].undetermined), rel=1e-3), "the rest is known"
    sizes = {"a": torch.full((2, 3), 2.0), "b": torch.zeros(4)}
    assert theory.noise_on(sizes, rounding=True) == dict.fromkeys("ab", pytest.approx(2 * 2**-23))
    assert theory.noise_on(sizes, 1.0, law="laplace")["a"] == pytest.approx(2**-0.5)


# Precision -----------------------------------------------------------------------------------------------------------


def test_singular_values_far_below_the_squares_rounding():
    g = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(size, 40, generator=g).double()).Q for size in (300, 40))
    sigma = torch.logspace(0, -11, 40).double()
    rows = left * sigma @ right.T
    jacobian = SimpleNamespace(grams=lambda along, which: [(rows @ along.T).T @ (rows @ along.T)])
    found = theory.singular_values(jacobian, 0, rows.T @ rows)
    torch.testing.assert_close(found, sigma.flip(0), rtol=1e-2, atol=1e-15)


def test_j_in_parts_is_j(pooled, draw_images, monkeypatch):
    sent = sent_gradient(pooled, draw_images(1, (2, 8, 8)))
    weights = torch.rand(2, len(sent.names)).double()
    together = Exact(sent, weights)
    whole = together.grams()
    torch.testing.assert_close(together.grams(), whole)
    monkeypatch.setattr("fldrep.derivatives.update_jacobian.PART_BYTES", 8 * 128 * 50)
    parts = Exact(sent, weights)
    torch.testing.assert_close(parts.grams(), whole)
    assert parts.held is None
    some = torch.randn(5, 128).double()
    torch.testing.assert_close(parts.grams(some, [1])[0], some @ whole[1] @ some.T)


def test_a_sketch_is_close(make_network, draw_images):
    layers = nn.Conv2d(1, 24, 5, padding=2), nn.Sigmoid(), nn.Conv2d(24, 24, 5), nn.Sigmoid(), nn.Flatten()
    model, images = make_network(*layers, shape=(1, 10, 10), classes=10), draw_images(1, (1, 10, 10))
    names = [name for name, _ in model.named_parameters()]
    found = {}
    for method in ("exact", "sketch"):
        weights = torch.stack([torch.ones(len(names)), torch.full((len(names),), 1e3)]).double()
        sent = sent_gradient(model, images)
        jacobian = Exact(sent, weights) if method == "exact" else Sketch.of(sent, weights, 400, torch.Generator())
        plain, weighed = jacobian.grams()
        sigma = theory.singular_values(jacobian, 0, plain)
        found[method] = int((sigma > THRESHOLD * sigma.max()).sum()), *theory.floors_of(jacobian, weighed, 1.0)
    assert found["sketch"][0] == pytest.approx(found["exact"][0], rel=0.02)
    assert found["sketch"][1:] == pytest.approx(found["exact"][1:], rel=0.1)


def test_a_sketch_is_the_same_each_time(pooled, draw_images):
    images = draw_images(1, (2, 8, 8))
    first, second = (fldrep.identifiability(pooled, images, LABELS[:1], noise_std=0.1, method="sketch") for _ in "ab")
    assert first.method == "sketch"
    assert first.to_frame().equals(second.to_frame())


# At the door ---------------------------------------------------------------------------------------------------------


def test_any_network_under_its_own_names(draw_images):
    torch.manual_seed(0)
    own = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(75, 5))
    images = draw_images(2, (2, 7, 7)).float()
    update = fldrep.client_update(own, images, LABELS)
    found = fldrep.identifiability(own, images, LABELS, update)
    assert found.rank.dtype == found.unknowns.dtype == torch.int64
    assert found.unknowns.tolist() == [98, 98]
    counted = ["rank", "unknowns", "undetermined"]
    measured = ["sigma_min", "sigma_median", "floor", "floor_spectral"]
    assert list(found.to_frame()) == [*counted, *measured, "threshold", "method"]
    assert own[0].weight.dtype == torch.float32, "the network stays as it is"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"noise_std": -1.0}, "noise_std: -1.0"),
        ({"prior_std": 0}, "prior_std: 0"),
        ({"method": "guess"}, "method: 'guess'"),
        ({"update": {"a": torch.zeros(2, 3)}}, "update: tensor"),
        ({"labels": torch.tensor([1, 9])}, "labels: 9"),
    ],
)
def test_wrong_arguments_are_named(smooth, draw_images, wrong, told):
    given = {"images": draw_images(2, (2, 7, 7)), "labels": LABELS, **wrong}
    with pytest.raises(ConfigError, match=told):
        fldrep.identifiability(smooth, **given)


def test_an_update_for_each_image(smooth, draw_images):
    update = fldrep.client_update(smooth, draw_images(2, (2, 7, 7)), LABELS)
    with pytest.raises(ConfigError, match=r"update: .*2 updates.*: expected one for each of the 1"):
        fldrep.identifiability(smooth, draw_images(1, (2, 7, 7)), LABELS[:1], update)


def sent_gradient(model, images):
    shapes = {name: value.shape for name, value in model.named_parameters()}
    soft = nn.functional.one_hot(LABELS[:1], model.head.out_features).double()
    return SentGradient.of(gradient_map(model, tuple(images.shape[1:])), images, soft, shapes)
