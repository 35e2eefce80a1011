"""What a problem takes, what is free, and how many problems fit: counted, measured, and with stand-in limits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fldrep.machine import memory
from fldrep.machine.memory import TensorBytes, bytes_per_problem, fitting_chunk, free_bytes, halved, ran_out

CPU = torch.device("cpu")
MB = 2**20


def test_tensors_are_counted_while_they_live():
    with TensorBytes() as counted:
        one = torch.zeros(MB, dtype=torch.uint8)
        same = one.view(2, -1)
        other = torch.cat([same, same])
        del same, other
        last = one + 1
    assert counted.peak == 3 * MB
    assert counted.held == 2 * MB
    del one, last
    assert counted.held == 0


def test_what_a_problem_takes_leaves_out_what_all_share():
    def work(count: int) -> None:
        shared = torch.ones(1000, 1000)
        each = torch.zeros(count, 500, 1000)
        (each * 2).sum() + shared.sum()

    assert bytes_per_problem(work) == 2 * 500 * 1000 * 4


@pytest.mark.parametrize(
    ("free_mb", "most", "expected"), [(64, 100, 16), (64, 10, 10), (0, 10, 1), (4, 10, 1), (50, 12, 12), (50, 13, 8)]
)
def test_a_power_of_two_that_fits_into_half_of_what_is_free(monkeypatch, free_mb, most, expected):
    monkeypatch.setattr(memory, "free_bytes", lambda device: free_mb * MB)
    assert fitting_chunk(lambda count: torch.zeros(count, 2 * MB, dtype=torch.uint8), most, CPU) == expected


def test_where_not_even_a_few_fit_the_chunk_is_one():
    def too_much(count: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert fitting_chunk(too_much, 10, CPU) == 1
    with pytest.raises(RuntimeError, match="size"):
        fitting_chunk(lambda count: torch.ones(2) @ torch.ones(3), 10, CPU)


def test_what_counts_as_out_of_memory():
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory."))
    assert ran_out(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(caught.value), "what torch says on this CPU"
    assert not ran_out(RuntimeError("shapes cannot be multiplied"))
    assert not ran_out(OSError("can't allocate memory"))


def test_a_halved_chunk_divides_it():
    for chunk in range(2, 130):
        assert chunk % halved(chunk) == 0
        assert halved(chunk) == chunk // 2 or chunk % 2


def test_free_memory_is_the_threads_share_of_the_machine(monkeypatch):
    monkeypatch.setattr(memory, "_machine_bytes", lambda: 16_000)
    monkeypatch.setattr(memory, "GROUP_LIMITS", ())
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(memory.torch, "get_num_threads", lambda: 1)
    assert free_bytes(CPU) == 4_000
    monkeypatch.setattr(memory.torch, "get_num_threads", lambda: 8)
    assert free_bytes(CPU) == 16_000


@pytest.mark.parametrize(("limit", "expected"), [("3000", 2000), ("max", 16_000), ("500", 0)])
def test_free_memory_keeps_to_the_limit_of_a_control_group(monkeypatch, tmp_path, limit, expected):
    files = tmp_path / "limit", tmp_path / "used"
    for path, text in zip(files, (limit, "1000"), strict=True):
        path.write_text(text + "\n")
    monkeypatch.setattr(memory, "_machine_bytes", lambda: 16_000)
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(memory, "GROUP_LIMITS", (files, (tmp_path / "none", tmp_path / "none")))
    assert free_bytes(CPU) == expected


# ---- what an attack takes


MEASURE = """
import json, sys
from pathlib import Path
import torch
import fldrep
from fldrep.attack import engine
from fldrep.machine.memory import bytes_per_problem

torch.set_num_threads(1)
preset, name, counts = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
model = fldrep.build_model(name, (3, 32, 32), 10, width=16 if name == "convnet" else None).eval()
found = []
engine.fitting_chunk = lambda work, most, device: found.append(bytes_per_problem(work)) or most
options = {} if preset == "gs" else {"inner_iterations": 2}
for count in counts:
    images, labels = torch.randn(count, 3, 32, 32), torch.arange(count) % 10
    update = fldrep.client_update(model, images, labels)
    said = fldrep.reconstruct(model, update, labels, preset, 1, problems_at_once="auto", **options)
    # getrusage would tell the peak of the process that started this one, if that was higher
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(json.dumps({"each": found[-1], "peak": int(peak) * 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's own peak is read from Linux's /proc")
@pytest.mark.parametrize(("preset", "network", "few", "many"), [("gs", "convnet", 4, 36), ("dlg", "lenet", 16, 144)])
def test_the_memory_of_an_attack_grows_by_what_was_counted_for_each_problem(preset, network, few, many):
    """The constant, counted on a few problems, against the peaks of a process that attacks few and then many."""
    command = [sys.executable, "-c", MEASURE, preset, network, str(few), str(many)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()[-2:]]
    assert said[0]["each"] == said[1]["each"]
    grown = (said[1]["peak"] - said[0]["peak"]) / (many - few)
    assert 1 / 2 < grown / said[0]["each"] < 2, "within a factor of 2"
