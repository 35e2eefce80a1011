"""Tensor files between stages."""

import pickle

import pytest
import torch
from safetensors.torch import load_file

from fldrep.errors import DataError
from fldrep.models.checkpoint import read_checkpoint, write_checkpoints
from fldrep.storage.tensors import read_metadata, read_tensors, write_tensors

STATE = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.zeros(2), "seen": torch.tensor(4)}


def test_what_is_written_is_read_by_us_and_by_safetensors(tmp_path):
    path = tmp_path / "new" / "t.safetensors"
    write_tensors(path, STATE, {"settings": "{}"})
    for found in (read_tensors(path), load_file(path)):
        assert {name: value.tolist() for name, value in found.items()} == {k: v.tolist() for k, v in STATE.items()}
    assert read_metadata(path) == {"settings": "{}"}
    assert list(read_tensors(path, ["seen"])) == ["seen"]
    assert list(path.parent.iterdir()) == [path]


def test_shared_transposed_and_tracked_tensors_are_stored_as_they_look(tmp_path):
    whole = torch.arange(6.0).view(2, 3).requires_grad_()
    write_tensors(tmp_path / "t", {"a": whole, "b": whole.t(), "row": whole[0]})
    found = read_tensors(tmp_path / "t")
    assert torch.equal(found["b"], whole.detach().t())
    assert torch.equal(found["row"], whole.detach()[0])
    assert read_metadata(tmp_path / "t") == {}


def test_a_missing_tensor_is_named_with_the_file(tmp_path):
    write_tensors(tmp_path / "t.safetensors", STATE)
    with pytest.raises(DataError, match=r"t\.safetensors: holds no tensor 'images'; it holds head.bias, head.weight"):
        read_tensors(tmp_path / "t.safetensors", ["seen", "images"])


class Trap:
    """Unpickling this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["empty", "html", "cut", "pickle", "folder", "absent"])
def test_what_is_no_safetensors_file_is_refused_and_never_unpickled(tmp_path, kind):
    path = tmp_path / f"{kind}.safetensors"
    write_tensors(tmp_path / "whole", STATE)
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    contents = {"empty": b"", "html": b"<html>", "cut": (tmp_path / "whole").read_bytes()[:-1], "pickle": trap}
    if kind == "folder":
        path.mkdir()
    elif kind in contents:
        path.write_bytes(contents[kind])
    for read in (read_tensors, read_metadata):
        with pytest.raises(DataError, match=rf"{kind}\.safetensors: not a readable safetensors file") as refused:
            read(path)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "sprung").exists()


# ---- checkpoints


def test_each_round_is_read_as_it_was(tmp_path):
    later = {name: value + 1 for name, value in STATE.items()}
    write_checkpoints(tmp_path / "c", {0: STATE, 12: later}, {"code": "ab"})
    for round, state in {0: STATE, 12: later}.items():
        found = read_checkpoint(tmp_path / "c", round, STATE)
        assert all(torch.equal(found[name], state[name]) for name in state)
    assert list(found) == list(STATE)


@pytest.mark.parametrize(
    ("round", "expected", "told"),
    [
        (3, STATE, "holds no tensor 'round-3/head.weight'"),
        (0, {**STATE, "body.0.weight": torch.zeros(1)}, "holds no tensor 'round-0/body.0.weight'"),
        (0, {**STATE, "head.weight": torch.zeros(3, 2)}, r"head.weight has shape \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_a_checkpoint_of_another_network_or_round_is_refused_by_name(tmp_path, round, expected, told):
    write_checkpoints(tmp_path / "c.safetensors", {0: STATE}, {})
    with pytest.raises(DataError, match=told) as refused:
        read_checkpoint(tmp_path / "c.safetensors", round, expected)
    assert "c.safetensors" in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_that_is_not_finite_is_refused_by_name(tmp_path, value):
    spoilt = {**STATE, "head.bias": torch.tensor([0.0, value])}
    write_checkpoints(tmp_path / "c.safetensors", {0: STATE, 1: spoilt}, {})
    read_checkpoint(tmp_path / "c.safetensors", 0, STATE)
    with pytest.raises(DataError, match=r"c\.safetensors: head.bias of round 1 is not finite"):
        read_checkpoint(tmp_path / "c.safetensors", 1, STATE)
