"""Memory against the chunk: linear, with the constant that the table tells."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.measuring import network, step_seconds

CHUNKS = {"lenet": (16, 32, 64, 128), "convnet-16": (2, 4, 8, 16)}


def peak_mib(name: str, attack: str, chunk: int) -> float:
    """Largest resident memory of a process that attacks `chunk` targets at once for two steps, in MiB."""
    torch.set_num_threads(1)
    step_seconds(network(name), chunk, attack, 2)
    # getrusage would tell the peak of the process that started this one, if that was higher
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's own peak is read from Linux's /proc")
@pytest.mark.parametrize(("name", "attack"), [("lenet", "gs"), ("lenet", "dlg"), ("convnet-16", "gs")])
def test_memory_is_linear_in_the_chunk(report, name, attack):
    """Each chunk in a process of its own; a line through all leaves at most a tenth of the growth unexplained."""
    chunks = CHUNKS[name]
    found = []
    for chunk in chunks:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
            found.append(executor.submit(peak_mib, name, attack, chunk).result())
    constant, rest = np.polyfit(chunks, found, 1)
    off = np.abs(np.polyval([constant, rest], chunks) - found).max() / (max(found) - min(found))
    words = f"{constant:.2f} MiB a target + {rest:.0f} MiB; off a line by {off:.0%} of the growth at most"
    report(
        f"Peak memory, {attack.upper()} on {name}, chunks {', '.join(map(str, chunks))}", words, "one process a chunk"
    )
    assert off <= 0.1, words
