import pytest
import torch
from torch.nn import functional as F

from fldrep.attack.objectives import COSINE, SQUARED, cosine, keep
from fldrep.models.updates import cosine_distance, squared_distance

SHAPES = {"a": (2, 3), "b": (4,), "c": (2, 1, 3)}


def gradient(seed, count=3):
    drawn = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, *s, generator=drawn, dtype=torch.float64) for name, s in SHAPES.items()}


def flat(one):
    return torch.cat([value.flatten(1) for value in one.values()], 1)


@pytest.mark.parametrize(("comparison", "twin"), [(COSINE, cosine_distance), (SQUARED, squared_distance)])
def test_distance_and_slope_are_those_of_autograd(comparison, twin):
    trial, seen = gradient(1), gradient(2)
    variables = {name: value.clone().requires_grad_() for name, value in trial.items()}
    expected = twin(variables, seen)
    slopes = torch.autograd.grad(expected.sum(), list(variables.values()))
    distance, slope = comparison.compare(trial, comparison.prepare(seen))
    torch.testing.assert_close(distance, expected)
    for name, one in zip(variables, slopes, strict=True):
        torch.testing.assert_close(slope[name], one)


def test_cosine_is_over_all_tensors_jointly():
    trial, seen = gradient(1), gradient(2)
    expected = 1 - F.cosine_similarity(flat(trial), flat(seen), dim=1)
    torch.testing.assert_close(cosine(trial, COSINE.prepare(seen))[0], expected)


def test_cosine_leaves_out_what_is_not_kept():
    trial, seen = gradient(1), gradient(2)
    kept = {"a": torch.tensor([True, False, True]).view(1, 1, 3)}
    inside = [{**one, "a": one["a"][..., [0, 2]]} for one in (trial, seen)]
    distance, slope = cosine(trial, keep(seen, kept))
    torch.testing.assert_close(distance, 1 - F.cosine_similarity(*map(flat, inside), dim=1))
    assert not slope["a"][..., 1].any()
    assert slope["a"][..., 0].all()


def test_cosine_compares_only_the_tensors_seen():
    trial, seen = gradient(1), gradient(2)
    del seen["b"]
    distance, slope = cosine(trial, COSINE.prepare(seen))
    torch.testing.assert_close(distance, cosine_distance({name: trial[name] for name in seen}, seen))
    assert "b" not in slope


def test_zero_gradient_has_distance_one():
    nothing = {name: torch.zeros(1, *shape) for name, shape in SHAPES.items()}
    something = {name: torch.ones(1, *shape) for name, shape in SHAPES.items()}
    assert cosine(something, COSINE.prepare(nothing))[0].tolist() == [1]
    assert cosine(nothing, COSINE.prepare(something))[0].tolist() == [1]
