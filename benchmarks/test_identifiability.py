"""What updates determine, whole, against the rows of their Jacobian by a loop of backward passes."""

import pytest
import torch

import fldrep
from benchmarks.measuring import images, network, seconds
from benchmarks.twins import update_rows_by_loop


@pytest.mark.parametrize(
    ("name", "words", "mark", "rows", "pairs"), [("lenet", "LeNet", 3, 150, 3), ("convnet-16", "ConvNet-16", 15, 20, 1)]
)
def test_identifiability_against_a_loop_of_rows(compare, name, words, mark, rows, pairs):
    model, image, label = network(name, torch.float64), images(1, torch.float64), torch.tensor([3])
    entries = sum(value.numel() for value in model.parameters())
    compare(
        f"identifiability, {words}, one image, float64",
        f"one backward pass an entry, timed on {rows} of {entries}",
        lambda: update_rows_by_loop(model, image, label, rows),
        lambda: seconds(lambda: fldrep.identifiability(model, image, label)),
        mark=mark,
        pairs=pairs,
    )
