"""The images of a data set as every stage reads them."""

import pytest
import torch

from fldrep.errors import DataError
from fldrep.storage import imageset
from fldrep.storage.imageset import ImageSet, as_pixels, mean_of_each_class, pixel_statistics
from fldrep.storage.tensors import write_tensors


def some_images(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 5), dtype=torch.uint8, generator=random)
    return images, torch.randint(0, 4, (count,), generator=random)


def test_class_means_are_the_means_of_a_plain_loop():
    images, labels = some_images(40)
    found = mean_of_each_class(images, labels, 4)
    for label in range(4):
        members = [images[place].numpy() / 255 for place in range(40) if labels[place] == label]
        torch.testing.assert_close(found[label].double(), torch.tensor(sum(members) / len(members)), rtol=1e-6, atol=0)
    assert found.dtype == torch.float32


def test_more_images_than_one_step_of_the_sum_are_all_counted():
    images = torch.full((25_001, 1, 1, 1), 51, dtype=torch.uint8)
    images[20_000:] = 255
    found = mean_of_each_class(images, torch.zeros(25_001, dtype=torch.long), 2)
    assert found[0].item() == pytest.approx((20_000 * 0.2 + 5_001) / 25_001, rel=1e-6)
    assert found[1].item() == 0  # a class without images


def test_a_set_is_read_as_written(tmp_path):
    images, labels = some_images(12)
    whole = ImageSet(images, labels, images[:2], labels[:2], mean_of_each_class(images, labels, 4))
    whole.write(tmp_path / "set.safetensors", {"source": "npm"})
    found = ImageSet.read(tmp_path / "set.safetensors")
    assert (found.shape, found.classes) == ((3, 4, 5), 4)
    for name, value in vars(whole).items():
        assert torch.equal(getattr(found, name), value)
        assert getattr(found, name).dtype == value.dtype


def test_a_file_that_lacks_a_part_is_refused_by_name(tmp_path):
    write_tensors(tmp_path / "set.safetensors", {"train_images": torch.zeros(1)})
    with pytest.raises(DataError, match=r"set\.safetensors: holds no tensor 'train_labels'"):
        ImageSet.read(tmp_path / "set.safetensors")


def test_pixels_lie_in_0_to_1():
    assert as_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


# ---- the constants of a set


def test_the_constants_are_those_of_the_training_images_if_not_given():
    images, labels = some_images(30)
    means = mean_of_each_class(images, labels, 4)
    found = ImageSet(images, labels, images[:2], labels[:2], means)
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(found.mean, pixels.mean(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.std, pixels.std(1, correction=0), rtol=1e-10, atol=0)
    own = ImageSet(images, labels, images[:2], labels[:2], means, torch.tensor([0.1] * 3), torch.tensor([0.2] * 3))
    assert own.with_tests(1).mean.tolist() == own.mean.tolist() == pytest.approx([0.1] * 3)


def test_neither_constants_nor_class_means_depend_on_how_many_images_are_summed_at_once(monkeypatch):
    images, labels = some_images(40)
    found = pixel_statistics(images), mean_of_each_class(images, labels, 4)
    monkeypatch.setattr(imageset, "PIXELS_AT_ONCE", 200)
    again = pixel_statistics(images), mean_of_each_class(images, labels, 4)
    assert all(torch.equal(one, other) for one, other in zip((*found[0], found[1]), (*again[0], again[1]), strict=True))


def test_a_channel_without_contrast_can_be_divided_by():
    images = torch.full((5, 2, 4, 4), 37, dtype=torch.uint8)
    images[0, 1, 0, 0] = 38
    mean, std = pixel_statistics(images)
    assert mean[0].item() == pytest.approx(37 / 255)
    assert std[0] == 1
    assert 0 < std[1] < 0.01


@pytest.mark.parametrize(
    ("name", "value"), [("mean", [0.1, 0.2]), ("std", [0.1, 0.0, 0.2]), ("std", [0.1, float("nan"), 0.2])]
)
def test_a_file_with_constants_that_are_none_is_refused_by_name(tmp_path, name, value):
    images, labels = some_images(12)
    whole = ImageSet(images, labels, images[:2], labels[:2], mean_of_each_class(images, labels, 4))
    write_tensors(tmp_path / "set", {**vars(whole), name: torch.tensor(value, dtype=torch.float64)})
    with pytest.raises(DataError, match=rf"set: {name} is \[0.1, .*expected 3 finite, std above 0"):
        ImageSet.read(tmp_path / "set")
