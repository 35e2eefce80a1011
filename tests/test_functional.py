"""Calling a network with other weights, also where a module or a weight stands in several places."""

import pytest
import torch
from torch import nn

from fldrep.functional import functional_call


def tied():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, first, nn.BatchNorm1d(3)).double().eval()


def test_other_weights_stand_wherever_the_module_uses_them():
    model, x = tied(), torch.randn(2, 3, dtype=torch.float64)
    others = {name: torch.randn_like(value) for name, value in model.named_parameters()}
    found = functional_call(model, (others, dict(model.named_buffers())), (x,))
    one, two = ((others["0.weight"], others[f"{place}.bias"]) for place in (0, 2))
    expected = nn.functional.linear(nn.functional.linear(nn.functional.linear(x, *one).tanh(), *two), *one)
    expected = expected / (1 + model[4].eps) ** 0.5 * others["4.weight"] + others["4.bias"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_left_as_it_was(fails):
    model = tied()
    before = {path: id(value) for path, value in model.named_parameters(remove_duplicate=False)}
    others = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    x = torch.zeros(2, 5 if fails else 3, dtype=torch.float64)
    try:
        functional_call(model, others, (x,))
    except RuntimeError:
        assert fails
    assert {path: id(value) for path, value in model.named_parameters(remove_duplicate=False)} == before


def test_what_is_not_given_stays():
    model, x = tied(), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(functional_call(model, {}, (x,)), model(x))
