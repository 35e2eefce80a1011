"""A photo that is none, and settings that make no sense for one, end in one line; alpha is accepted, laid on white."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fldrep.data.pictures import read_photo
from fldrep.errors import DataError

PATTERN = Path(__file__).parents[1] / "data" / "pattern.png"


def encoded(kind: str, picture: Image.Image | None = None, **options) -> bytes:
    whole = io.BytesIO()
    (picture or Image.open(PATTERN).convert("RGB")).save(whole, kind, **options)
    return whole.getvalue()


def png_of(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A grey PNG written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


FRAMES = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green")]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
# cause, the file's content (None: no file), what the line must say
PHOTOS = [
    ("a web page", b"<html>404</html>", "not a readable image: expected one of BMP, GIF, JPEG, PNG"),
    ("empty", b"", "not a readable image"),
    ("missing", None, "No such file"),
    ("a pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins.", "not a readable image"),
    ("a program in PostScript", EPS, "not a readable image: expected one of"),
    ("a cut JPEG", encoded("JPEG")[:-400], "not a readable image: "),
    ("animated", encoded("GIF", FRAMES[0], save_all=True, append_images=FRAMES[1:]), "animated, 2 frames; expected"),
    ("16 bits a channel", png_of(40, 30, 16, (b"\0" + b"\x12\x34" * 40) * 30), "more than 8 bits a channel; expected"),
    ("zero pixels", png_of(0, 0, 8, b""), "not a readable image"),
    ("50 megapixels", png_of(8_000, 6_250, 1, b"\0"), "8000 x 6250 pixels; expected at most 40000000"),
]

# option, wrong value, what the line must say
OPTIONS = [
    ("label", "10", "label: 10: expected 0 to 9"),
    ("attack", "deepleak", "unknown attack 'deepleak'; known:"),
    ("defense", "dropout", "'dropout'"),
    ("rule", "l2", "'l2'"),
    ("model", "vgg", "unknown model 'vgg'; known:"),
    ("init", "zeros", "unknown initialisation 'zeros'; known:"),
    ("device", "gpu", "'gpu'"),
    ("width", "0", "width"),
    ("restarts", "0", "restarts"),
    ("iterations", "-1", "iterations"),
    ("rate", "60", "rate"),
]


@pytest.mark.parametrize(("cause", "content", "told"), PHOTOS, ids=[cause for cause, *_ in PHOTOS])
def test_a_wrong_photo_is_named(refused, tmp_path, cause, content, told):
    path = tmp_path / "photo.png"
    if content is not None:
        path.write_bytes(content)
    refused(["photo", path, "--label", "1", "--out", tmp_path / "out"], tmp_path, str(path), told)


@pytest.mark.parametrize(("option", "value", "told"), OPTIONS, ids=[f"{name}={value}" for name, value, _ in OPTIONS])
def test_a_wrong_option_is_named(refused, tmp_path, option, value, told):
    given = {"label": "1", "width": "4", "defense": "soteria", "rate": "0.5", "device": "cpu", "iterations": "1"}
    given[option] = value
    words = [word for name, one in given.items() for word in (f"--{name}", one)]
    refused(["photo", PATTERN, *words, "--out", tmp_path / "out"], tmp_path, told)


def test_damaged_bytes_end_in_no_other_error(tmp_path, record_property):
    random, trials = np.random.default_rng(0), 40
    path = tmp_path / "photo"
    wholes = [encoded(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
    for whole in wholes:
        for _ in range(trials):
            damaged = bytearray(whole)
            for place in random.integers(0, min(len(whole), 300), size=4):
                damaged[place] = random.integers(256)
            path.write_bytes(damaged)
            with contextlib.suppress(DataError):
                assert read_photo(path).shape == (3, 32, 32)
    record_property("cases", trials * len(wholes))
