"""The same work by others, where they are at hand: `breaching` 0.1.2 in a Python of its own.

The variable BREACHING_PYTHON names a Python that imports `breaching` and this package.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import network, step_seconds

ROOT = Path(__file__).parent.parent


@pytest.fixture
def breaching():
    """A function (network, steps) -> seconds a step of GS on one target by `breaching`, or None where it is absent."""
    python = os.environ.get("BREACHING_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import breaching, omegaconf"], capture_output=True, text=True)
    if found.returncode:
        yield None
        return
    command = [python, "-m", "benchmarks.peer_breaching"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def measure(name: str, steps: int) -> float:
            process.stdin.write(f"{name} {steps}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield measure
        process.stdin.close()


@pytest.mark.parametrize(
    ("name", "words", "count", "steps"), [("lenet", "LeNet", 64, 8), ("convnet-64", "ConvNet-64", 8, 1)]
)
def test_gs_against_breaching(compare, skip, breaching, name, words, count, steps):
    work = f"GS step, {words}, {count} targets"
    if breaching is None:
        skip(f"{work}, against breaching", "breaching is not installed (BREACHING_PYTHON names a Python that has it)")
    model = network(name)
    compare(
        work,
        "breaching 0.1.2 on one target after the other, timed on 1, preparation included",
        lambda: breaching(name, 4 * steps) * count,
        lambda: step_seconds(model, count, "gs", steps),
    )
