"""A network trained on an attacker's own images answers with a client's, under the client's own defense."""

import pytest
import torch

import fldrep
from fldrep.attack.regression import Sketch, trained
from fldrep.attack.surrogate import Surrogate
from fldrep.config.attacks import attack_settings
from fldrep.config.defenses import defense_settings
from fldrep.config.threat import threat_of
from fldrep.config.updates import UpdateSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.defenses.sent import sending
from fldrep.errors import AttackRefused
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps

SHAPE = (1, 12, 12)
PLAIN = Normalisation((0.4,), (0.25,))
BARS = torch.arange(12)


def bars(count, seed):
    """Images of a bright bar at a random place: pixels (N, 1, 12, 12), and labels."""
    drawn = torch.Generator().manual_seed(seed)
    places, labels = torch.randint(2, 10, (count,), generator=drawn), torch.arange(count) % 2
    rows = (BARS[None] - places[:, None]).abs() < 2
    lying = rows[:, :, None].expand(-1, -1, 12)
    image = torch.where(labels[:, None, None] == 0, lying, lying.mT)
    return (0.2 + 0.6 * image).unsqueeze(1).float(), labels


@pytest.fixture(scope="module")
def model():
    return fldrep.build_model("lenet", SHAPE, 2, init="uniform").eval()


def surrogate(model, method, seed=3, count=300, **keys):
    pixels, labels = bars(count, 1)
    settings = defense_settings(method, **keys)
    send = sending(model, settings, UpdateSettings(), PLAIN, torch.Generator().manual_seed(seed))
    return Surrogate(PLAIN.to_input(pixels), labels, send)


def attacked(model, method, epochs=15, **keys):
    pixels, labels = bars(4, 2)
    update = fldrep.client_update(model, PLAIN.to_input(pixels), labels)
    sent = fldrep.defend(update, method, model=model, images=PLAIN.to_input(pixels), labels=labels, **keys)
    given = {"normalisation": PLAIN, "surrogate": surrogate(model, method, **keys)}
    found = fldrep.reconstruct(
        model, sent, attack="learned", iterations=epochs, hashed=512, width=64, lr=3e-3, batch_size=20, **given
    )
    return found, (PLAIN.to_pixels(found.images) - pixels).square().flatten(1).mean(1)


@pytest.mark.parametrize(("method", "keys"), [("none", {}), ("signsgd", {}), ("top-k", {"rate": 0.9})])
def test_it_finds_more_than_the_mean_of_its_own_images(model, method, keys):
    pixels, own = bars(4, 2)[0], bars(300, 1)[0]
    uninformed = (own.mean(0) - pixels).square().flatten(1).mean(1)
    found, error = attacked(model, method, **keys)
    assert (error < uninformed / 2).all()
    assert found.labels_found[:, 0].tolist() == bars(4, 2)[1].tolist()
    assert found.iterations.unique().tolist() == [15]


def test_the_same_attack_gives_the_same_images(model):
    first, again = (attacked(model, "signsgd", epochs=2)[0].images for _ in range(2))
    assert torch.equal(first, again)


def test_what_is_trained_does_not_depend_on_how_many_are_attacked_at_once(model):
    pixels, labels = bars(4, 2)
    update = fldrep.client_update(model, PLAIN.to_input(pixels), labels)
    given = {"attack": "learned", "iterations": 2, "hashed": 512, "width": 16, "normalisation": PLAIN}
    whole, apart = (
        fldrep.reconstruct(model, update, surrogate=surrogate(model, "none"), problems_at_once=size, **given)
        for size in (4, 1)
    )
    torch.testing.assert_close(whole.images, apart.images)


def test_it_needs_images_of_its_own_and_says_what_it_knows(model):
    pixels, labels = bars(2, 2)
    update = fldrep.client_update(model, PLAIN.to_input(pixels), labels)
    with pytest.raises(AttackRefused, match="needs images of the same kind, but this update comes with none"):
        fldrep.reconstruct(model, update, attack="learned", normalisation=PLAIN)
    assert threat_of(attack_settings("learned")).knows == ("mechanism", "public-images")


def test_hashed_updates_keep_inner_products():
    drawn = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 20_000, generator=drawn)
    both = torch.stack([one, one + other])
    sketch = Sketch.of(20_000, 4096, torch.Generator().manual_seed(1), torch.device("cpu"))
    short = sketch({"a": both[:, :5_000], "b": both[:, 5_000:].unflatten(1, (3, 5_000))})
    assert short.shape == (2, 4096)
    torch.testing.assert_close(short @ short.T, both @ both.T, rtol=0.1, atol=0)


def test_short_updates_are_taken_as_they_are():
    sketch = Sketch.of(6, 8, torch.Generator(), torch.device("cpu"))
    assert torch.equal(
        sketch({"a": torch.ones(2, 2), "b": torch.zeros(2, 4)}), torch.tensor([[1.0, 1, 0, 0, 0, 0]] * 2)
    )


def test_training_tells_each_epoch():
    told, drawn = [], torch.Generator().manual_seed(0)
    settings = {"width": 4, "epochs": 3, "lr": 1e-3, "batch_size": 5, "drawn": drawn, "advance": told.append}
    found = trained(torch.randn(10, 6), Sketch(None, None, 6), torch.rand(10, 1, 2, 2), **settings)
    assert told == [1, 1, 1]
    assert found.answer({"a": torch.zeros(3, 6)}).shape == (3, 1, 2, 2)


@pytest.mark.parametrize("update", [UpdateSettings(), UpdateSettings(local_epochs=2, batch_size=1, lr=0.1)])
def test_what_clients_would_send_is_what_they_send(model, update):
    pixels, labels = bars(3, 4)
    images, settings = PLAIN.to_input(pixels), defense_settings("top-k", rate=0.5)
    sent = sending(model, settings, update, PLAIN, torch.Generator())(images, labels)
    client = Client(model, images[1:2], labels[1:2], torch.Generator(), normalisation=PLAIN)
    expected = defended_update(defense_of(settings), client, LocalSteps.of(update))
    for name, value in expected.items():
        torch.testing.assert_close(sent[name][1:2], value, msg=name)
