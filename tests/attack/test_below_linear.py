"""A linear layer's own gradient tells what it was given and what came back: what stands behind does not matter."""

import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.below_linear import part_of, told_by
from fldrep.attack.observation import Observation, lowest_linear
from fldrep.errors import AttackRefused, ConfigError
from fldrep.models.updates import HEAD_WEIGHT, Update, client_update
from fldrep.models.wrapping import wrap

SHAPE = (1, 8, 8)


def drawn(*layers):
    torch.manual_seed(4)
    return nn.Sequential(*layers).double().eval()


def connected(middle):
    return drawn(nn.Flatten(), nn.Linear(64, 30), middle, nn.Linear(30, 20), nn.Softmax(1), nn.Linear(20, 4))


def convolved(activation=nn.Tanh):
    first = (nn.Conv2d(1, 8, 3, 2, 1), activation(), nn.Flatten())
    return drawn(*first, nn.Linear(128, 24), nn.ReLU(), nn.Linear(24, 4))


def below(exact, it, update, attack="closed-form-below", **given):
    return exact.attacked(it, update, None, attack, **given)


@pytest.mark.parametrize("middle", [nn.ReLU(), nn.Hardswish(), nn.Threshold(0.0, 0.1)], ids=str)
def test_a_fully_connected_network_gives_its_image_away_whatever_is_behind_its_first_layer(exact, middle):
    it = exact.scene(connected(middle), shape=SHAPE)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    found, error = below(exact, it, update)
    assert error.max() < 1e-20
    assert found.labels_found[:, 0].tolist() == it.labels.tolist()
    # as it is sent: where it is exact to float64, its rounding is as coarse as that of the residual
    found, error = below(exact, it, {name: value.float() for name, value in update.items()})
    assert error.max() < 1e-8
    assert found.certified.all()


def test_a_mask_on_the_last_layer_does_not_matter(exact):
    it = exact.scene(connected(nn.ReLU()), shape=SHAPE)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    name = list(update)[-2]
    masked = Update({**update, name: torch.zeros_like(update[name])}, "head")
    assert below(exact, it, masked)[1].max() < 1e-20


def test_below_convolutions_by_closed_form_and_by_descent(exact):
    it = exact.scene(convolved(), shape=SHAPE)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    found, error = below(exact, it, update)
    assert error.max() < 1e-16
    assert found.certified.all()
    descended, near = below(exact, it, update, "gs-spectral-below", iterations=60)
    assert (descended.final_distance < descended.initial_distance / 10).all()
    assert near.max() < 0.05


def test_the_part_has_the_gradients_that_were_sent(exact):
    it = exact.scene(convolved(), shape=SHAPE)
    model = wrap(it.model, SHAPE)
    update = client_update(model, it.inputs, it.labels)
    seen = Observation(model, update, it.labels, SHAPE, exact.normalisation, None, "none")
    part = part_of(seen.some([1]))
    parameters = dict(part.model.named_parameters())
    logits = part.model(it.inputs[1:2])
    loss = -(part.soft[0] * logits.log_softmax(1)).sum()
    for (name, one), value in zip(
        parameters.items(), torch.autograd.grad(loss, list(parameters.values())), strict=True
    ):
        torch.testing.assert_close(value, part.update[name][0], msg=name)
        assert one.shape == value.shape


def test_what_a_layer_was_given_is_told_by_its_gradients():
    slope, given = torch.tensor([0.0, 2.0, -3.0]), torch.tensor([1.0, -4.0])
    torch.testing.assert_close(told_by(torch.outer(slope, given), slope), given.double())


def test_the_lowest_layer_is_the_one_nearest_to_the_image():
    place, layer = lowest_linear(wrap(convolved(), SHAPE))
    assert (place, layer.in_features) == (3, 128)
    bare = drawn(nn.Flatten(), nn.Linear(64, 5, bias=False), nn.ReLU(), nn.Linear(5, 4))
    assert lowest_linear(wrap(bare, SHAPE)) is None


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: drawn(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 4)), "needs a linear layer with a bias"),
        (lambda: convolved(nn.Softsign), "below the linear layer has module Softsign"),
    ],
)
def test_networks_that_it_cannot_attack_are_named(exact, model, told):
    it = exact.scene(model(), shape=SHAPE)
    with pytest.raises(AttackRefused, match=told):
        below(exact, it, fldrep.client_update(it.model, it.inputs, it.labels))


def test_an_update_that_tells_nothing_there_is_named(exact):
    it = exact.scene(connected(nn.ReLU()), shape=SHAPE)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    quiet = {name: value.clone() for name, value in update.items()}
    for name in [*quiet][:2]:
        quiet[name][1] = 0
    with pytest.raises(AttackRefused, match="target 1 tells nothing below its lowest linear layer") as refused:
        below(exact, it, quiet)
    assert [*refused.value.reasons] == [1]


@pytest.mark.parametrize("defended", ["all"])
def test_zeros_in_every_tensor_are_refused(exact, defended):
    it = exact.scene(connected(nn.ReLU()), shape=SHAPE)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    with pytest.raises(AttackRefused, match="needs whole gradients"):
        below(exact, it, Update(update, defended))


def test_it_takes_labels_and_everything_that_is_sent(exact):
    with pytest.raises(ConfigError, match="below_linear: True"):
        fldrep.reconstruct(
            connected(nn.ReLU()), {}, objective="cosine", optimiser="signed-adam", below_linear=True, iterations=1,
            compares="surviving", shape=SHAPE,
        )  # fmt: skip


def test_head_gradient_of_the_part_has_rank_one(exact):
    it = exact.scene(connected(nn.ReLU()), shape=SHAPE)
    model = wrap(it.model, SHAPE)
    update = client_update(model, it.inputs, it.labels)
    part = part_of(Observation(model, update, it.labels, SHAPE, exact.normalisation, None, "none").some([0]))
    assert part.update[HEAD_WEIGHT].shape == (1, 2, 64)
    torch.testing.assert_close(part.update[HEAD_WEIGHT].sum(1), torch.zeros(1, 64).double())
