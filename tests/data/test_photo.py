"""A user's photo: read as Pillow reads it, or refused by name."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fldrep import registry
from fldrep.config.data import PhotoSettings
from fldrep.config.datasets import facts_of
from fldrep.data.datasets import image_set, load_arrays, prepare
from fldrep.data.pictures import MAX_PIXELS, read_photo
from fldrep.errors import ConfigError, DataError
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.tensors import read_metadata

PATTERN = Path(__file__).with_name("pattern.png")


def pattern(mode: str = "RGB") -> Image.Image:
    """The test image: gradients and a slanted edge, 61 x 43, drawn by the two lines in its test below."""
    return Image.open(PATTERN).convert(mode)


def saved(tmp_path: Path, picture: Image.Image, name: str = "photo.png", **options) -> Path:
    path = tmp_path / name
    picture.save(path, **options)
    return path


def bicubic(picture: Image.Image, width: int = 32, height: int = 32) -> torch.Tensor:
    pixels = np.asarray(picture.resize((width, height), Image.BICUBIC), dtype=np.float32) / 255
    return torch.tensor(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def test_the_test_image_is_what_it_says():
    y, x = np.mgrid[0:43, 0:61]
    whole = np.stack([4 * x, 255 - 5 * y, np.where(x > y + 10, 220, 40)], 2).astype(np.uint8)
    assert np.array_equal(np.asarray(pattern()), whole)


def test_a_photo_is_resized_with_pillows_bicubic_filter():
    found = read_photo(PATTERN)
    assert (found.shape, found.dtype) == ((3, 32, 32), torch.float32)
    assert torch.equal(found, bicubic(pattern()))
    assert found.min() >= 0
    assert found.max() <= 1
    nearest = np.asarray(pattern().resize((32, 32), Image.NEAREST), dtype=np.float32).transpose(2, 0, 1) / 255
    assert not torch.equal(found, torch.tensor(nearest))


def test_height_and_width_are_not_swapped():
    assert torch.equal(read_photo(PATTERN, (3, 20, 30)), bicubic(pattern(), width=30, height=20))
    assert torch.equal(read_photo(PATTERN, (1, 28, 28)), bicubic(pattern("L"), 28, 28))


def test_a_photo_of_the_right_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = read_photo(saved(tmp_path, Image.fromarray(pixels)))
    assert torch.equal(found, torch.tensor(pixels).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_colour_spaces_become_rgb(tmp_path, mode):
    picture = pattern().quantize(16) if mode == "P" else pattern(mode)
    name = "photo.tiff" if mode in ("CMYK", "YCbCr") else "photo.png"
    assert torch.equal(read_photo(saved(tmp_path, picture, name)), bicubic(picture.convert("RGB")))


def test_transparent_parts_are_laid_on_white(tmp_path):
    rgba = pattern("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    colour, alpha = np.asarray(rgba, dtype=np.float64)[..., :3], np.asarray(rgba, dtype=np.float64)[..., 3:] / 255
    expected = (alpha * colour + (1 - alpha) * 255).round().astype(np.uint8)
    found = read_photo(saved(tmp_path, rgba))
    torch.testing.assert_close(found, bicubic(Image.fromarray(expected)), rtol=0, atol=1.01 / 255)
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    assert (read_photo(saved(tmp_path, clear)) == 1).all()
    assert (read_photo(saved(tmp_path, Image.new("LA", (40, 40), (0, 0))), (1, 28, 28)) == 1).all()
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert (read_photo(saved(tmp_path, palette, transparency=0)) == 1).all()


@pytest.mark.parametrize(
    ("mark", "turn"),
    [(3, Image.ROTATE_180), (6, Image.ROTATE_270), (8, Image.ROTATE_90), (2, Image.FLIP_LEFT_RIGHT)],
)
def test_a_cameras_rotation_mark_is_obeyed(tmp_path, mark, turn):
    exif = Image.Exif()
    exif[0x0112] = mark
    found = read_photo(saved(tmp_path, pattern(), exif=exif))
    assert torch.equal(found, bicubic(pattern().transpose(turn)))


# ---- what is refused


def refused(path: Path, told: str) -> None:
    with pytest.raises(DataError, match=told) as error:
        read_photo(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def encoded(kind: str, **options) -> bytes:
    whole = io.BytesIO()
    pattern().save(whole, kind, **options)
    return whole.getvalue()


def png_of(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


NOT_IMAGES = {
    "zero bytes": b"",
    "html": b"<html><body>404 Not Found</body></html>",
    "text": b"a photo of a car\n",
    "cut jpeg": encoded("JPEG")[:-400],
    "cut png": encoded("PNG")[:-60],
    "only a png's first bytes": encoded("PNG")[:8],
    "a cut jpeg header": encoded("JPEG")[:30],
    "zero pixels": png_of(0, 0, 8, 2, b""),
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins.",
}


@pytest.mark.parametrize("kind", NOT_IMAGES)
def test_what_is_no_whole_image_is_refused(tmp_path, kind):
    path = tmp_path / "photo.jpg"
    path.write_bytes(NOT_IMAGES[kind])
    refused(path, "not a readable image: ")


def test_missing_files_and_folders_are_refused(tmp_path):
    refused(tmp_path / "absent.jpg", "not a readable image: .*No such file")
    refused(tmp_path, "not a readable image: ")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    for name in ("moving.gif", "moving.webp", "moving.png"):
        refused(
            saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:]), "animated, 3 frames; .*still"
        )
    still = saved(tmp_path, pattern(), "still.gif")
    assert read_photo(still).shape == (3, 32, 32)


@pytest.mark.parametrize("kind", ["grey", "RGB", "RGBA", "grey and alpha", "tiff", "float"])
def test_more_than_8_bits_a_channel_is_refused(tmp_path, kind):
    path = tmp_path / "deep.png"
    channels = {"grey": (1, 0), "RGB": (3, 2), "RGBA": (4, 6), "grey and alpha": (2, 4)}
    if kind in channels:
        count, colour = channels[kind]
        path.write_bytes(png_of(40, 30, 16, colour, (b"\0" + b"\x12\x34" * 40 * count) * 30))
    elif kind == "tiff":
        path = saved(tmp_path, Image.fromarray(np.full((40, 40), 4660, np.uint16)), "deep.tiff")
    else:
        path = saved(tmp_path, Image.fromarray(np.full((40, 40), 0.5, np.float32)), "deep.tiff")
    refused(path, "more than 8 bits a channel; expected an 8-bit image")


@pytest.mark.parametrize(("width", "height"), [(8_000, 6_250), (20_000, 20_000), (100_000, 1_000)])
def test_a_huge_image_is_refused_from_its_header(tmp_path, width, height):
    assert width * height >= 50_000_000 > MAX_PIXELS
    path = tmp_path / "huge.png"
    path.write_bytes(png_of(width, height, 1, 0, b"\0"))  # one bit a pixel, and hardly any of them there
    refused(path, rf"(large|{width} x {height} pixels).* at most {MAX_PIXELS}")


# ---- the photo as a data set


@pytest.fixture
def among(world, monkeypatch):
    """Settings whose photo lies among a tiny colour data set in the place of CIFAR-10."""
    entry = registry.entry("dataset", "photo")
    monkeypatch.setitem(entry.words, "test_images", 10)
    monkeypatch.setattr(sys.modules[entry.value.__module__], "cifar10", lambda data: load_arrays("colour", data))
    world.put(world.colour_batches())

    def settings(path=PATTERN, label=7):
        return world.settings("folder").model_copy(update={"photo": PhotoSettings(path=str(path), label=label)})

    return settings


def test_the_photo_is_the_one_training_image_with_the_pixels_of_read_photo(world, among):
    prepare("photo", among(), world.out)
    found = ImageSet.read(world.out)
    assert torch.equal(as_pixels(found.train_images), read_photo(PATTERN).unsqueeze(0))
    assert (found.train_images.dtype, found.train_labels.tolist()) == (torch.uint8, [7])
    assert read_metadata(world.out)["dataset"] == "photo"


def test_beside_the_photo_stand_the_tests_and_class_means_of_the_data_set(world, among):
    prepare("photo", among(), world.out)
    arrays = load_arrays("colour", world.settings("folder"))
    photo, around = ImageSet.read(world.out), image_set(arrays, facts_of("colour"))
    for name in ("test_images", "test_labels", "class_means"):
        assert torch.equal(getattr(photo, name), getattr(around, name)), name
    assert not torch.allclose(photo.class_means[7], as_pixels(photo.train_images[0]), atol=0.1)


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_photo_that_is_missing_or_unreadable_is_named_and_nothing_is_written(world, among, tmp_path, content):
    path = tmp_path / "mine.jpg"
    if content:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.jpg: not a readable image"):
        prepare("photo", among(path), world.out)
    assert not world.out.exists()


def test_the_data_set_photo_without_a_photo_names_the_key(world):
    with pytest.raises(ConfigError, match=r"data\.photo"):
        prepare("photo", world.settings("folder"), world.out)
