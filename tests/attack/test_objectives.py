import pytest
import torch
from torch.nn import functional as F

from fldrep import registry
from fldrep.attack.compares import Comparison
from fldrep.attack.differentiated import differentiated
from fldrep.models.updates import cosine_distance, squared_distance

SHAPES = {"head.weight": (2, 3), "head.bias": (4,), "body.0.weight": (2, 1, 3)}


def gradient(seed, count=3):
    drawn = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, *s, generator=drawn, dtype=torch.float64) for name, s in SHAPES.items()}


def flat(one):
    return torch.cat([value.flatten(1) for value in one.values()], 1)


def relative(trial, observed):
    return squared_distance(trial, observed) / flat(observed).square().sum(1)


def scaled(trial, observed):
    g, s = flat(trial), flat(observed)
    fit = ((g * s).sum(1) / (g * g).sum(1)).clamp_min(0)
    return (fit[:, None] * g - s).square().sum(1)


def balanced(trial, observed):
    entries = sum(value[0].numel() for value in observed.values())
    weights = {name: value.square().flatten(1).mean(1) * entries for name, value in observed.items()}
    return sum((trial[name] - value).square().flatten(1).sum(1) / weights[name] for name, value in observed.items())


def disagreeing(trial, observed):
    g, s = flat(trial), flat(observed).sign()
    return (g.abs() * (1 - s * g.sign()) / 2).sum(1) / g.abs().sum(1)


def least(value):
    return torch.where(value != 0, value.abs(), torch.inf).flatten(1).amin(1).view(-1, *[1] * (value.ndim - 1))


def outside(trial, observed):
    parts = [((trial[name] - one).abs() - least(one)).clamp_min(0) for name, one in observed.items()]
    return sum(one.square().flatten(1).sum(1) for one in parts) / flat(observed).square().sum(1)


def bounded(trial, observed):
    parts = [
        torch.where(one == 0, (trial[name].abs() - least(one)).clamp_min(0), trial[name] - one)
        for name, one in observed.items()
    ]
    return sum(one.square().flatten(1).sum(1) for one in parts) / flat(observed).square().sum(1)


def right_angles(trial, observed):
    parts = []
    for name, value in observed.items():
        g, s = trial[name].flatten(1), value.flatten(1)
        parts.append(F.cosine_similarity(g, s, dim=1).square() + (g.norm(dim=1) / s.norm(dim=1) - 1).square())
    return sum(parts) / len(parts)


TWINS = {
    "balanced-l2": balanced,
    "cosine": cosine_distance,
    "intervals": outside,
    "orthogonal": right_angles,
    "signs": disagreeing,
    "truncated": bounded,
    "l2": squared_distance,
    "relative-l2": relative,
    "scaled-l2": scaled,
}


def objective(name):
    return registry.value("objective", name)


def test_every_objective_has_a_twin():
    assert TWINS.keys() == registry.entries("objective").keys()


@pytest.mark.parametrize("name", TWINS)
def test_distance_and_derivative_are_those_of_autograd(name):
    observed = gradient(2)
    trial = {key: value + 0.3 * observed[key] for key, value in gradient(1).items()}
    variables = {key: value.clone().requires_grad_() for key, value in trial.items()}
    expected = TWINS[name](variables, observed)
    derivatives = torch.autograd.grad(expected.sum(), list(variables.values()))
    distance, found = objective(name)(trial, observed)
    torch.testing.assert_close(distance, expected)
    for key, one in zip(variables, derivatives, strict=True):
        torch.testing.assert_close(found[key], one)


@pytest.mark.parametrize("name", TWINS)
def test_an_objective_without_a_derivative_gets_autograds(name):
    trial, observed = gradient(1), gradient(2)
    distance, found = differentiated(TWINS[name], trial, observed)
    expected, derivatives = differentiated(objective(name), trial, observed)
    torch.testing.assert_close(distance, expected)
    torch.testing.assert_close(found, derivatives)


def test_cosine_is_over_all_tensors_jointly():
    trial, observed = gradient(1), gradient(2)
    expected = 1 - F.cosine_similarity(flat(trial), flat(observed), dim=1)
    torch.testing.assert_close(objective("cosine")(trial, observed)[0], expected)


def test_zero_gradient_has_distance_one():
    nothing = {name: torch.zeros(1, *shape) for name, shape in SHAPES.items()}
    something = {name: torch.ones(1, *shape) for name, shape in SHAPES.items()}
    assert objective("cosine")(something, nothing)[0].tolist() == [1]
    assert objective("cosine")(nothing, something)[0].tolist() == [1]


@pytest.mark.parametrize("name", TWINS)
def test_what_is_not_kept_is_not_compared(name):
    """The columns that are 0 in what was observed, whatever the trial says there."""
    observed = gradient(2)
    trial = {key: value + observed[key] for key, value in gradient(1).items()}
    observed["head.weight"][:, :, 1] = 0
    comparison = Comparison(objective(name), "surviving", "head")
    inside = [{**one, "head.weight": one["head.weight"][..., [0, 2]]} for one in (trial, observed)]
    distance, found = comparison.distance(trial, comparison.prepare(observed))
    torch.testing.assert_close(distance, TWINS[name](*inside))
    assert not found["head.weight"][..., 1].any()
    assert found["head.weight"][..., 0].any()


@pytest.mark.parametrize("name", TWINS)
def test_the_last_layer_can_be_left_out(name):
    trial, observed = gradient(1), gradient(2)
    comparison = Comparison(objective(name), "without-head", "head")
    distance, found = comparison.distance(trial, comparison.prepare(observed))
    inside = [{"body.0.weight": one["body.0.weight"]} for one in (trial, observed)]
    torch.testing.assert_close(distance, TWINS[name](*inside))
    assert found.keys() == {"body.0.weight"}


def test_an_objective_that_does_not_mind_the_mask_says_nothing_of_masked_entries():
    """Its derivative there does not count."""
    trial, observed = gradient(1), gradient(2)
    observed["head.weight"][:, :, 1] = 0

    def off(trial, observed):
        return squared_distance(trial, observed), {name: torch.ones_like(one) for name, one in observed.items()}

    comparison = Comparison(off, "surviving", "all")
    assert not comparison.distance(trial, comparison.prepare(observed))[1]["head.weight"][..., 1].any()
