"""Attacks on many targets at once against a loop over targets, and the walk of L-BFGS against torch's own."""

from functools import partial
from time import perf_counter

import pytest
import torch

from benchmarks import twins
from benchmarks.measuring import counting_flops, images, network, seconds, step_seconds, targets
from fldrep.attack import quasi_newton
from fldrep.attack.compares import Comparison
from fldrep.attack.engine import matching
from fldrep.attack.observation import initial_point
from fldrep.attack.points import flat_objective, flat_points
from fldrep.attack.problem import Problems
from fldrep.config.attacks import attack_settings
from fldrep.derivatives.layerwise import gradient_map
from fldrep.machine.compilation import as_it_is
from fldrep.models.normalisation import normalisation_for

SHAPE = (3, 32, 32)


def starts(count: int, dtype: torch.dtype = torch.float32) -> list[list[torch.Tensor]]:
    """Initial image and logits of each target."""
    drawn = (initial_point(torch.Generator().manual_seed(number), SHAPE, (10,)) for number in range(count))
    return [[one.to(dtype) for one in point] for point in drawn]


def gs_loop(model, count: int, timed: int, steps: int) -> float:
    """Seconds a step on `count` targets one after the other, timed on the first of them."""
    update, labels = targets(model, count)
    points = starts(timed)
    each = [[value[one] for value in update.values()] for one in range(timed)]
    spent = [twins.gs_steps(model, each[one], labels[one], points[one][0], steps) for one in range(timed)]
    return sum(spent) * count / timed


def dlg_loop(model, count: int, timed: int, steps: int) -> float:
    update, _ = targets(model, count)
    each = [[value[one] for value in update.values()] for one in range(timed)]
    return sum(twins.dlg_steps(model, each[one], *starts(timed)[one], steps) for one in range(timed)) * count / timed


def test_gs_on_lenet(compare):
    model = network("lenet")
    compare(
        "GS step, LeNet, 64 targets",
        "loop over targets, timed on 3 of them",
        lambda: gs_loop(model, 64, 3, 8),
        lambda: step_seconds(model, 64, "gs", 8),
        mark=10,
        pairs=7,
    )


def core_peak() -> float:
    """FLOP/s of one core on what it does best here: a float32 matrix product of side 1024, best of 5."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ b) for _ in range(5))


def test_gs_on_convnet(compare, report):
    model = network("convnet-64")
    spent, peaks = [], []

    def fast() -> float:
        peaks.append(core_peak())
        spent.append(step_seconds(model, 8, "gs", 1))
        return spent[-1]

    try:
        compare(
            "GS step, ConvNet-64, 8 targets",
            "loop over targets, timed on 1 of them",
            lambda: gs_loop(model, 8, 1, 2),
            fast,
            mark=1.5,
        )
    finally:
        plain, done = flops_of_loop(model), flops_of_step(model, 8)
        share = sorted(1 / peak / one for peak, one in zip(peaks, spent, strict=True))[len(spent) // 2]
        report(
            "GS step, ConvNet-64: share of the core's peak",
            f"{done * share:.0%} by the {done / 8e9:.1f} GFLOP an image-iteration that are done; "
            f"{8 * plain * share:.0%} by the {plain / 1e9:.1f} GFLOP of the loop",
            f"a float32 matrix product of side 1024: {sorted(peaks)[len(peaks) // 2] / 1e9:.0f} GFLOP/s",
        )


def flops_of_loop(model) -> int:
    """Of one image-iteration with a gradient of the gradient, products and convolutions only."""
    update, labels = targets(model, 1)
    with counting_flops() as counter:
        twins.gs_steps(model, [value[0] for value in update.values()], labels[0], images(1)[0], 1)
    return counter.get_total_flops()


def flops_of_step(model, count: int) -> int:
    gradients = gradient_map(model, SHAPE)
    update, labels = targets(model, count)
    observed, match = matched(gradients, "gs", update)
    soft = torch.nn.functional.one_hot(labels, 10).float()[:, None]
    with torch.no_grad(), counting_flops() as counter:
        match(observed, images(count)[:, None], soft)
    return counter.get_total_flops()


def matched(gradients, preset: str, update):
    """An update as an attack compares it, and the function that the attack descends."""
    comparison = Comparison.of(attack_settings(preset), "none")
    return comparison.prepare(gradients.arrange(update)), matching(gradients, comparison)


def test_dlg_on_lenet(compare):
    model = network("lenet")
    compare(
        "DLG step (20 iterations of L-BFGS), LeNet, 64 targets",
        "torch.optim.LBFGS on each target, timed on 3 of them, mean of the first 2 steps",
        lambda: dlg_loop(model, 64, 3, 2),
        lambda: dlg_seconds(model, 2),
        mark=10,
    )


def dlg_seconds(model, steps: int) -> float:
    """Seconds a step on 64 targets, from the first step on, as the loop takes them."""
    update, _ = targets(model, 64)
    state, objective = dlg_problem(model, update, starts(64))
    return seconds(lambda: [quasi_newton.step(state, objective, 1.0, 20) for _ in range(steps)]) / steps


def dlg_problem(model, update, points):
    """State and objective of DLG on the given updates, as the attack makes them."""
    gradients = gradient_map(model, SHAPE)
    observed, match = matched(gradients, "dlg", update)
    start, logits = (torch.stack(parts)[:, None] for parts in zip(*points, strict=True))
    problems = Problems(partial(match, observed), (), start, logits, None, normalisation_for(3), as_it_is)
    return quasi_newton.begin(flat_points(problems), 100), flat_objective(problems)


def test_the_walk_of_lbfgs_is_torchs(report):
    """Every point of 50 iterations (two steps of 25), float64, for the targets that do not diverge."""
    model, count = network("lenet", torch.float64), 16
    update, _ = targets(model, count)
    points, walked = starts(count, torch.float64), []
    state, objective = dlg_problem(model, update, points)

    def noted(flat):
        walked.append(flat)
        return objective(flat)

    for _ in range(2):
        quasi_newton.step(state, noted, 1.0, 25)
    walked = torch.stack(walked)
    apart, lost = [], 0
    for one in range(count):
        expected = []
        twins.dlg_steps(model, [value[one] for value in update.values()], *points[one], 2, 25, expected.append)
        expected = torch.stack(expected)
        if not state.alive[one] or not expected.isfinite().all() or expected[-1].norm() > 1e3 * expected[0].norm():
            lost += 1
            continue
        found = walked[: len(expected), one]
        apart.append(((found - expected).norm(dim=1) / expected.norm(dim=1)).max().item())
    found = f"largest relative distance {max(apart):.1e} over {len(apart)} targets; {lost} of {count} diverged"
    report("L-BFGS on LeNet, float64, 50 iterations", found, "torch.optim.LBFGS on each target; at most 1e-8")
    assert max(apart) <= 1e-8, found


@pytest.mark.parametrize("attack", ["gs", "dlg"])
def test_attack_on_a_gpu(compare, skip, attack):
    name = {"gs": "GS", "dlg": "DLG"}[attack]
    work = f"{name} step, LeNet, 64 targets, GPU"
    if not torch.cuda.is_available():
        skip(work, "no GPU here", mark=20)
    model, slow = network("lenet"), {"gs": gs_loop, "dlg": dlg_loop}[attack]

    def now() -> float:
        torch.cuda.synchronize()
        return perf_counter()

    def fast() -> float:
        return step_seconds(network("lenet", device="cuda"), 64, attack, 4, now, compile="always")

    compare(work, "loop over targets on the CPU, 1 thread", lambda: slow(model, 64, 2, 2), fast, mark=20)


def test_no_step_waits_for_the_gpu(report, skip):
    work = "GS step on a GPU without host synchronisation"
    if not torch.cuda.is_available():
        skip(work, "no GPU here")
    model = network("lenet", device="cuda")
    gradients, (update, labels) = gradient_map(model, SHAPE), targets(model, 64)
    observed, match = matched(gradients, "gs", update)
    trial, soft = images(64).cuda()[:, None], torch.nn.functional.one_hot(labels, 10).float()[:, None]
    match(observed, trial, soft)
    torch.cuda.set_sync_debug_mode("error")
    try:
        match(observed, trial, soft)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    report(work, "none in the distance and its derivatives")
