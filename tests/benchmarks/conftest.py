"""One small run of the evidence for all tests, however many processes share them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fldrep.storage.imageset import ImageSet, mean_of_each_class

ROOT = Path(__file__).parents[2]
PLENTY_S = 900  # a machine busy with other work may be ten times slower than a free one


def evidence(*arguments: object) -> subprocess.CompletedProcess:
    """The command, as one types it."""
    command = [sys.executable, "-m", "benchmarks.gpu.evidence", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PLENTY_S + 60)


def random_images(path: Path) -> Path:
    """A data set of noise, 60 training and 20 test images."""
    drawn = torch.Generator().manual_seed(0)
    train, test = (torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=drawn) for count in (60, 20))
    labels = torch.arange(60) % 10
    ImageSet(train, labels, test, labels[:20], mean_of_each_class(train, labels, 10)).write(path, {})
    return path


@pytest.fixture(scope="session")
def measured(made_once) -> Path:
    """The folder that `run --small` wrote, beside the images that it took."""

    def make(place: Path) -> None:
        images = random_images(place / "images of the small evidence.safetensors")
        asked = ("--small", "--device", "cpu", "--seconds", PLENTY_S, "--images", images)
        done = evidence("run", place / "small evidence", *asked)
        assert done.returncode == 0, done.stderr[-4000:]

    return made_once("small evidence", make) / "small evidence"
