"""Pixels to network input and back."""

import pytest
import torch
from torchvision.transforms.functional import normalize

from fldrep.config.models import ModelSettings
from fldrep.errors import UnknownName
from fldrep.models.checkpoint import input_of
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.storage.imageset import ImageSet

CIFAR = ((0.49147, 0.48226, 0.44677), (0.24703, 0.24349, 0.26159))
MNIST = ((0.13066,), (0.30811,))


@pytest.mark.parametrize(("name", "constants"), [("cifar10", CIFAR), ("photo", CIFAR), ("mnist", MNIST)])
def test_input_is_what_torchvision_makes_of_the_same_constants(name, constants):
    pixels = torch.rand(2, 5, len(constants[0]), 4, 6, dtype=torch.float64)
    found = normalisation_for(pixels, name).to_input(pixels)
    torch.testing.assert_close(found, normalize(pixels, *map(list, constants)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back_is_the_same_image(dtype):
    constants = normalisation_for(3)
    pixels = torch.rand(4, 3, 5, 5, dtype=dtype)
    back = constants.to_pixels(constants.to_input(pixels))
    assert back.dtype == dtype
    torch.testing.assert_close(back, pixels)


def test_clamping_to_the_valid_range_is_clamping_of_pixels():
    constants = normalisation_for(3)
    images = 10 * torch.randn(4, 3, 5, 5, dtype=torch.float64)
    expected = constants.to_input(constants.to_pixels(images).clamp(0, 1))
    clamped = images.clamp(*constants.valid_range(images))
    torch.testing.assert_close(clamped, expected, rtol=1e-12, atol=1e-12)
    pixels = constants.to_pixels(clamped)
    assert pixels.min() == pytest.approx(0, abs=1e-12)
    assert pixels.max() == pytest.approx(1)


def test_constants_are_chosen_by_name_by_channels_or_as_given():
    own = Normalisation((0.5,), (0.25,))
    assert normalisation_for(torch.zeros(2, 1, 8, 8)) == normalisation_for(1, "mnist") == Normalisation(*MNIST)
    assert normalisation_for(torch.zeros(2, 3, 8, 8)) == normalisation_for(3) == Normalisation(*CIFAR)
    assert normalisation_for(1, own) is own
    image = torch.rand(3, 3, 4, 4)
    assert torch.equal(normalisation_for(image, "none").to_input(image), image)


def test_what_has_no_constants_is_refused_by_name():
    with pytest.raises(UnknownName, match="unknown normalisation 'imagenet'; known: cifar10"):
        normalisation_for(3, "imagenet")
    with pytest.raises(UnknownName, match=r"number of channels .* 4; known: 1, 3"):
        normalisation_for(torch.zeros(1, 4, 8, 8))


BUILT_IN = {
    "mnist": MNIST,
    "cifar10": CIFAR,
    "photo": CIFAR,
    "fashion-mnist": ((0.28604,), (0.35302,)),
    "cifar100": ((0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_network_takes_the_constants_that_its_image_set_holds_exactly(name, tmp_path):
    """Through the file of a data set, to the last bit."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in BUILT_IN[name])
    images = torch.zeros(4, len(mean), 12, 12, dtype=torch.uint8)
    labels = torch.arange(4) % 2
    ImageSet(images, labels, images, labels, torch.zeros(2, *images.shape[1:]), mean, std).write(tmp_path / "set", {})
    found = ImageSet.read(tmp_path / "set")
    assert input_of(ModelSettings(), found) == normalisation_for(1, name) == Normalisation(*BUILT_IN[name])
    plain = input_of(ModelSettings(normalisation="none"), found)
    assert plain == Normalisation((0.0,) * len(mean), (1.0,) * len(mean))
