"""An active server reads images off the gradient of layers that it put in front of the network."""

import pytest
import torch

import fldrep
from fldrep.attack.active import sent_network
from fldrep.attack.imprint import images_in, with_imprint
from fldrep.attack.surrogate import Surrogate
from fldrep.config.attacks import attack_settings
from fldrep.config.threat import ACTIVE, threat_of
from fldrep.errors import AttackRefused, ConfigError
from fldrep.models.normalisation import Normalisation

SHAPE = (1, 12, 12)
PLAIN = Normalisation((0.4,), (0.25,))
IMPRINT = attack_settings("imprint")


def images(count, seed):
    """Inputs of different brightness, (N, 1, 12, 12)."""
    drawn = torch.Generator().manual_seed(seed)
    bright = torch.rand(count, 1, 1, 1, generator=drawn)
    return PLAIN.to_input((bright + 0.3 * torch.rand(count, *SHAPE, generator=drawn)).clamp(0, 1)).double()


@pytest.fixture
def model():
    plain = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64).eval()
    return sent_network(IMPRINT, plain, images(200, 1))


def attacked(model, update, **given):
    surrogate = Surrogate(images(200, 1), torch.zeros(200).long(), None)
    return fldrep.reconstruct(model, update, attack="imprint", normalisation=PLAIN, surrogate=surrogate, **given)


def test_one_image_is_read_off_exactly(model):
    sent = images(3, 2)
    found = attacked(model, fldrep.client_update(model, sent, torch.tensor([0, 1, 2])))
    torch.testing.assert_close(found.images, sent)
    assert found.labels_found[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("rate", [0.4, 0.9])
def test_a_mask_on_the_last_layer_stops_nothing(model, rate):
    sent, labels = images(2, 2), torch.tensor([0, 1])
    update = fldrep.defend(
        fldrep.client_update(model, sent, labels), "soteria", rate=rate, model=model, images=sent, labels=labels
    )
    torch.testing.assert_close(attacked(model, update).images, sent)


def test_of_a_batch_images_between_different_thresholds_are_told_apart(model):
    sent, labels = images(6, 3), torch.tensor([[0, 1, 2, 3, 0, 1]])
    found = attacked(model, fldrep.client_update(model, sent[None], labels), batch=6).images[0]
    nearest = torch.cdist(sent.flatten(1), found.flatten(1)).min(1).values
    assert (nearest < 1e-6).sum() >= 4


def test_the_network_behind_works_on():
    plain = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64).eval()
    made = with_imprint(plain, images(100, 1), 16)
    torch.testing.assert_close(made(images(2, 2)), plain(images(2, 2)), atol=1e-2, rtol=0)
    assert dict(made.named_parameters())["body.0.units.weight"].shape == (16, 144)


def test_a_gain_leaves_the_network_and_raises_the_gradient_above_noise():
    plain = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64).eval()
    weak, strong = (with_imprint(plain, images(100, 1), 64, gain) for gain in (1.0, 1e12))
    sent, labels = images(3, 2), torch.tensor([0, 1, 2])
    torch.testing.assert_close(strong(sent), weak(sent))
    found = []
    for model in (weak, strong):
        noisy = fldrep.defend(fldrep.client_update(model, sent, labels), "gaussian", std=0.01)
        found.append(attacked(model, noisy).images)
    assert (found[0] - sent).abs().max() > 0.1
    torch.testing.assert_close(found[1], sent, atol=1e-3, rtol=0)


def test_rows_that_tell_nothing_give_no_image():
    nothing = images_in(torch.zeros(4, 9), torch.zeros(4), torch.arange(4.0).double(), 2)
    assert nothing.tolist() == [[0] * 9] * 2


def test_only_an_active_server_sends_another_network():
    plain = fldrep.build_model("lenet", SHAPE, 4)
    assert sent_network(attack_settings("gs"), plain, images(9, 1)) is plain
    assert threat_of(IMPRINT) == (ACTIVE, ("public-images",))


def test_it_needs_its_own_network_and_one_step(model):
    plain = fldrep.build_model("lenet", SHAPE, 4, dtype=torch.float64).eval()
    update = fldrep.client_update(plain, images(1, 2), torch.tensor([0]))
    with pytest.raises(ConfigError, match="model: attack 'imprint' needs the network that its server sends"):
        attacked(plain, update)
    with pytest.raises(AttackRefused, match="needs images of the same kind"):
        fldrep.reconstruct(plain, update, attack="imprint", normalisation=PLAIN)
