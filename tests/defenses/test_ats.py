import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from fldrep.config.defenses import defense_settings
from fldrep.defenses.ats import LARGEST, OPERATIONS, transformed
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of, images_taken
from fldrep.errors import ConfigError
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import client_update

PIXELS = (torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def as_pillow(pixels):
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).round().numpy().astype(np.uint8))


def as_tensor(image):
    return torch.tensor(np.array(image)).permute(2, 0, 1) / 255


def pillow(operation, magnitude):
    image, size = as_pillow(PIXELS), (32, 32)
    if operation.startswith("shift"):
        x, y = (magnitude * 32, 0) if operation == "shift-x" else (0, magnitude * 32)
        return as_tensor(image.transform(size, Image.AFFINE, (1, 0, x, 0, 1, y)))
    if operation == "invert":
        return 1 - PIXELS
    enhance = {"contrast": ImageEnhance.Contrast, "brightness": ImageEnhance.Brightness}[operation]
    return as_tensor(enhance(image).enhance(1 + magnitude))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("operation", sorted(set(OPERATIONS.values())))
def test_operations_are_pillows(operation, sign):
    name, step = operation
    magnitude = sign * step / 9 * LARGEST[name]
    torch.testing.assert_close(transformed(PIXELS, name, magnitude), pillow(name, magnitude), atol=1.5 / 255, rtol=0)


def test_the_gradient_is_that_of_the_changed_images(make_network):
    model = make_network(torch.nn.Flatten(), shape=(3, 8, 8))
    normalisation = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    pixels = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images, labels = normalisation.to_input(pixels), torch.tensor([0, 1, 2, 3])
    client = Client(model, images, labels, torch.Generator().manual_seed(2), normalisation=normalisation)
    sent = defended_update(defense_of(defense_settings("ats", policy="0")), client)
    expected = client_update(model, normalisation.to_input(1 - pixels)[None], labels[None])
    for name, value in expected.items():
        torch.testing.assert_close(sent[name], value)
    assert (sent.defended, sent.distorted) == ("none", False)


def test_one_policy_is_drawn_for_each_image():
    normalisation = Normalisation((0.0,), (1.0,))
    defense = defense_of(defense_settings("ats", policy="0+0-0"))
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    client = Client(generator=torch.Generator().manual_seed(0), normalisation=normalisation)
    changed, _ = defense.on_batch(images, torch.zeros(200), client)
    inverted = torch.isclose(changed, 1 - images).flatten(1).all(1)
    assert torch.isclose(changed[~inverted], images[~inverted]).all()
    assert 70 < int(inverted.sum()) < 130


@pytest.mark.parametrize("policy", ["", "3-", "99", "3-1-7+", "a", "3 1"])
def test_unknown_policies_are_refused_by_key(policy):
    with pytest.raises(ConfigError, match=r"policy: .*expected numbers such as"):
        defense_settings("ats", policy=policy)


def test_statistics_of_batch_norm_are_those_of_the_changed_images():
    defense, images = defense_of(defense_settings("ats")), PIXELS[None].repeat(2, 1, 1, 1)
    first, second = (
        Client(None, images, torch.tensor([0, 1]), torch.Generator().manual_seed(3), normalisation=PLAIN)
        for _ in range(2)
    )
    expected = defense.on_batch(images, first.labels, first)[0]
    assert not torch.equal(expected, images)
    assert torch.equal(images_taken(defense, second), expected)
