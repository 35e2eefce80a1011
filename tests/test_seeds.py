"""Randomness by name."""

import subprocess
import sys
from itertools import combinations

import torch

from fldrep.seeds import generator, job_seed


def test_the_same_names_give_the_same_seed_in_every_process_and_release():
    assert job_seed("cifar10", "convnet", 17, 0) == 7421511821446549211
    code = "from fldrep.seeds import job_seed; print(job_seed('cifar10', 'convnet', 17, 0))"
    for hash_seed in ("0", "1"):
        said = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True)
        assert int(said.stdout) == 7421511821446549211


def test_seeds_are_63_bits_of_sha256_over_typed_names():
    import hashlib

    whole = hashlib.sha256(b"str:mnist\x1fint:3").hexdigest()
    assert job_seed("mnist", 3) == int(whole[:16], 16) // 2
    assert all(0 <= job_seed(number) < 2**63 for number in range(100))


def test_different_names_give_different_seeds():
    names = [("a", 1), ("a1",), ("a", "1"), (1, "a"), ("a",), (), ("a", 1, ""), ("a", 1.0), ("a", True), ("a", None)]
    for one, other in combinations(names, 2):
        assert job_seed(*one) != job_seed(*other), (one, other)


def test_a_generator_draws_by_its_name_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = torch.rand(4, generator=generator("draw", 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, torch.rand(4, generator=generator("draw", 1)))
    assert not torch.equal(first, torch.rand(4, generator=generator("draw", 2)))
    assert generator("draw").device.type == "cpu"
