import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fldrep
from fldrep.attack.observation import initial_point
from fldrep.attack.optimisers.signed_adam import learning_rates
from fldrep.config.attacks import attack_settings
from fldrep.models.updates import HEAD_WEIGHT, Update
from fldrep.seeds import generator

ITERATIONS = 16  # past the three milestones, 5.99, 10 and 14.01
PRUNED = torch.tensor([0, 3, 4, 17, 30])


def defended(update, method):
    """A mask on the last layer's columns (head), or the smaller half of each tensor zeroed (all)."""
    shared = Update({name: value.clone() for name, value in update.items()}, method)
    if method == "head":
        shared[HEAD_WEIGHT][:, :, PRUNED] = 0
    if method == "all":
        for value in shared.values():
            value[value.abs() < value.abs().flatten(1).median(1).values.view(-1, *[1] * (value.ndim - 1))] = 0
    return shared


def start_of(target, shape, restart=0, seed=0):
    return initial_point(generator("initial point", seed, target, restart), shape)[0]


def keep_of(preset, shared, target):
    """What each preset compares, written down once more by hand."""
    if preset == "gs-drop":
        return lambda name, one: one[:0] if name.startswith("head.") else one
    if preset == "gs-masked" and shared.defended == "all":
        return lambda name, one: one * (shared[name][target] != 0)
    if preset == "gs-masked":
        columns = (shared[HEAD_WEIGHT][target].abs().sum(0) > 0).double()
        return lambda name, one: one * columns if name == HEAD_WEIGHT else one
    return lambda name, one: one


CASES = [("gs", "none"), ("gs", "head"), ("gs-masked", "head"), ("gs-masked", "all"), ("gs-drop", "head")]


@pytest.mark.parametrize("network", ["lenet", "convnet"])
@pytest.mark.parametrize(("preset", "method"), CASES)
def test_attack_is_that_of_a_loop_with_autograd_and_torchs_adam(preset, method, network, twins, request):
    made = request.getfixturevalue(network)
    shared = defended(made.update, method)
    found = fldrep.reconstruct(
        made.model, shared, made.labels, preset, ITERATIONS, total_variation=0.01, normalisation="cifar10"
    )
    for target in range(len(made.labels)):
        twin = twins.signed_adam(
            made.model,
            [value[target] for value in shared.values()],
            made.labels[target],
            start_of(target, made.shape),
            iterations=ITERATIONS,
            lr=0.1,
            weight=0.01,
            normalisation=twins.normalisation,
            box=True,
            lr_decay=True,
            keep=keep_of(preset, shared, target),
        )
        torch.testing.assert_close(found.images[target], twin.image, rtol=1e-9, atol=1e-9)
        assert float(found.initial_distance[target, 0]) == pytest.approx(twin.initial, rel=1e-9)
        assert float(found.distance[target]) == pytest.approx(twin.final, rel=1e-9)


def test_box_and_schedule_can_be_left_off(lenet, twins):
    settings = {"total_variation": 0.0, "box": False, "lr_decay": False, "lr": 0.3}
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 8, **settings)
    twin = twins.signed_adam(
        lenet.model,
        [value[1] for value in lenet.update.values()],
        lenet.labels[1],
        start_of(1, lenet.shape),
        iterations=8,
        lr=0.3,
        weight=0.0,
        normalisation=twins.normalisation,
        box=False,
        lr_decay=False,
        keep=lambda name, one: one,
    )
    torch.testing.assert_close(found.images[1], twin.image, rtol=1e-9, atol=1e-9)


def test_the_box_holds_pixels_in_their_range(lenet, twins):
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, lr=10.0)
    pixels = twins.normalisation.to_pixels(found.images)
    assert pixels.min() > -1e-12
    assert pixels.max() < 1 + 1e-12


@pytest.mark.parametrize("iterations", [0, 1, 2, 7, 8, 100, 24_000])
def test_schedule_is_that_of_multi_step_lr(iterations):
    settings = attack_settings("gs", iterations=iterations)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings.lr)
    milestones = [iterations // 2.667, iterations // 1.6, iterations // 1.142]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)
    expected = []
    for _ in range(iterations):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert learning_rates(iterations, settings.lr, settings.lr_decay) == pytest.approx(expected)


def test_the_reported_distance_has_no_total_variation(lenet):
    with_prior, without = (
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 0, total_variation=weight)
        for weight in (5.0, 0.0)
    )
    assert torch.equal(with_prior.distance, without.distance)


def test_the_prior_smooths(lenet):
    rough, smooth = (
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 20, total_variation=weight).images
        for weight in (0.0, 10.0)
    )
    assert smooth.diff(dim=-1).abs().mean() < rough.diff(dim=-1).abs().mean()


class Numbers(TorchDispatchMode):
    """Counts tensors that are made out of Python's numbers: on a GPU the host waits for each."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.made += function is torch.ops.aten.lift_fresh.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("preset", ["gs", "gs-l2", "gs-spectral", "r-matching"])
def test_no_step_brings_numbers_to_the_device(lenet, preset):
    def made(iterations: int) -> int:
        with Numbers() as numbers:
            fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, iterations)
        return numbers.made

    assert made(4) == made(2)
