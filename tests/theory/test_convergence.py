"""The bound of FedAvg and a problem in which all of it is known."""

import math

import numpy as np
import pytest
import torch

from fldrep.defenses.soteria.masks import column_mask
from fldrep.errors import ConfigError
from fldrep.models.building import build_model
from fldrep.theory import convergence
from fldrep.theory.convergence import Constants, Problem

BY_HAND = {
    "smoothness": 2.0,
    "convexity": 1.0,
    "weights": (0.5, 0.5),
    "variances": (4.0, 8.0),
    "gradient_square": 3.0,
    "heterogeneity": 0.5,
    "distance_square": 10.0,
    "local_steps": 3,
    "sampled": 1,
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(clients=3, images=5, features=4, classes=3, mu=0.1):
    inputs = torch.nn.functional.pad(drawn(clients, images, features), (0, 1), value=1.0)
    return Problem(
        inputs / inputs.norm(dim=-1).max(), torch.arange(clients * images).view(clients, -1) % classes, classes, mu
    )


# The theorem


def test_the_bound_by_hand():
    found = Constants(**BY_HAND)
    assert found.condition == 2
    assert found.shift == 16
    assert found.learning_rate(0) == pytest.approx(2 / 16)
    assert found.learning_rate(4) == pytest.approx(2 / 20)
    assert found.local_term == pytest.approx(0.25 * 12 + 6 * 2 * 0.5 + 8 * 4 * 3)
    assert found.sampling_term == pytest.approx(1 / 1 * 4 * 9 * 3 / 1)
    assert found.gap_bound(4) == pytest.approx(2 / 20 * (2 * (105 + 108) / 1 + 1 * 16 / 2 * 10))


def test_many_local_steps_shift_the_step_size():
    assert Constants(**{**BY_HAND, "local_steps": 40}).shift == 40


def test_all_clients_add_no_sampling_term():
    assert Constants(**{**BY_HAND, "sampled": 2}).sampling_term == 0
    assert Constants(**{**BY_HAND, "sampled": None}).sampling_term == 0


def test_the_bound_crosses_a_gap_where_it_says():
    found = Constants(**BY_HAND)
    assert found.gap_bound(found.crossing(0.3)) == pytest.approx(0.3)
    assert found.crossing(1e6) == 0


def quadratic(curvature, start, variance=0.0):
    values = {"weights": (1.0,), "variances": (variance,), "gradient_square": 1.0, "heterogeneity": 0.0}
    shape = {"smoothness": curvature, "convexity": curvature, "local_steps": 1, "sampled": None}
    return Constants(**values, **shape, distance_square=start**2)


def test_the_bound_is_tight_for_a_quadratic_at_its_start():
    """F = 3/2 w^2 from w = 2, no noise: the gap is 6, and so is the bound; afterwards it holds with room."""
    constants, w = quadratic(3.0, 2.0), 2.0
    assert constants.gap_bound(0) == pytest.approx(3 / 2 * w**2)
    for step in range(50):
        w -= constants.learning_rate(step) * 3 * w
        assert 3 / 2 * w**2 < constants.gap_bound(step + 1)


def test_the_bound_closes_the_recursion_that_the_proof_starts_from():
    """D(t+1) <= (1 - eta mu) D(t) + eta^2 B, as an equality: never above 2 / L times the bound, and equal in the end
    up to the terms that die out."""
    constants = Constants(**BY_HAND)
    mu, noise = constants.convexity, constants.local_term + constants.sampling_term
    distance = constants.distance_square
    for step in range(100_000):
        assert constants.smoothness / 2 * distance <= constants.gap_bound(step) * (1 + 1e-12)
        eta = constants.learning_rate(step)
        distance = (1 - eta * mu) * distance + eta**2 * noise
    assert constants.smoothness / 2 * distance > 0.8 * constants.gap_bound(100_000)


def test_noise_keeps_the_mean_gap_of_a_quadratic_below_the_bound():
    constants, generator = quadratic(1.0, 1.0, variance=4.0), torch.Generator().manual_seed(0)
    w = torch.ones(2000, dtype=torch.float64)
    for step in range(100):
        noise = 2 * torch.randn(2000, generator=generator, dtype=torch.float64)
        w = w - constants.learning_rate(step) * (w + noise)
        assert float(w.square().mean()) / 2 <= constants.gap_bound(step + 1)


def test_an_unbiased_mask_enlarges_second_moments_exactly():
    """g kept with probability 1/4 and multiplied by 4: E g^2 grows 4 times, and the variance by 3 E g^2."""
    masked = Constants(**BY_HAND).unbiased_mask(0.75)
    assert masked.gradient_square == pytest.approx(12)
    assert masked.variances == pytest.approx((4 + 9, 8 + 9))


def test_the_enlarged_constants_of_a_biased_mask():
    assert Constants(**BY_HAND).perturbed(1.0).variances == pytest.approx((9, (math.sqrt(8) + 1) ** 2))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"convexity": 0.0}, "mu=0.0: the theorem needs strong convexity"),
        ({"smoothness": 0.5}, "L=0.5 is below mu=1.0"),
        ({"local_steps": 0}, "local_steps=0"),
        ({"sampled": 3}, "sampled=3: between 1 and the 2 clients"),
        ({"weights": (0.4, 0.6)}, "equal weights"),
    ],
)
def test_what_the_theorem_does_not_assume_is_refused(changed, words):
    with pytest.raises(ConfigError, match=words):
        Constants(**{**BY_HAND, **changed})


# The problem


def test_losses_against_a_loop():
    found, weights = problem(), drawn(2, 3, 5)
    for run in range(2):
        for client in range(3):
            loss = 0.1 / 2 * float((weights[run] ** 2).sum())
            for x, y in zip(found.inputs[client].numpy(), found.labels[client].tolist(), strict=True):
                z = weights[run].numpy() @ x
                loss += (np.log(np.exp(z).sum()) - z[y]) / 5
            assert float(found.losses(weights)[run, client]) == pytest.approx(loss)


def test_the_gradient_is_that_of_the_loss():
    found, weights = problem(), drawn(3, 5).requires_grad_()
    gradients = torch.stack(
        [torch.autograd.grad(loss, weights, retain_graph=True)[0] for loss in found.losses(weights)]
    )
    got = convergence.stochastic_gradient(weights.detach().expand(3, 3, 5), found.inputs, found.labels, found.mu)
    torch.testing.assert_close(got, gradients)


def hessian_norm(found, weights, client):
    loss = lambda flat: found.losses(flat.view(weights.shape))[client]  # noqa: E731
    return float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, weights.flatten()))[-1])


def test_smoothness_bounds_every_curvature():
    found = problem()
    bound = convergence.smoothness(found)
    assert max(hessian_norm(found, 3 * drawn(3, 5, seed=s), k) for s in range(4) for k in range(3)) <= bound


def test_smoothness_is_tight_for_two_even_classes():
    """At W = 0 with two classes p = (1/2, 1/2): the curvature in the logits is 1/2."""
    found = problem(classes=2)
    worst = max(hessian_norm(found, torch.zeros(2, 5, dtype=torch.float64), k) for k in range(3))
    assert convergence.smoothness(found) == pytest.approx(worst)


def newton(found, columns):
    """The minimiser by Newton's method, a solver of its own."""
    free = torch.zeros(found.classes, len(columns), dtype=torch.bool)
    free[:, columns] = True
    flat, free = torch.zeros(free.numel(), dtype=torch.float64), free.flatten()
    loss = lambda w: found.losses(w.view(found.classes, -1)).mean()  # noqa: E731
    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(loss, flat)[free]
        hessian = torch.autograd.functional.hessian(loss, flat)[free][:, free]
        flat[free] -= torch.linalg.solve(hessian, gradient)
    return flat.view(found.classes, -1), float(loss(flat))


@pytest.mark.parametrize("columns", [[True] * 5, [False, True, True, False, True]])
def test_the_optimum_against_newton(columns):
    found, columns = problem(), torch.tensor(columns)
    weights, value = convergence.minimise(found, columns)
    expected, least = newton(found, columns)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)
    assert value == pytest.approx(least, abs=1e-12)
    assert not weights[:, ~columns].any()
    assert float(weights.norm()) <= found.radius


def test_an_optimum_that_is_not_reached_is_refused():
    with pytest.raises(ConfigError, match="optimum is known only to"):
        convergence.minimise(problem(), precision=0.0)


def test_constants_bound_what_is_met_in_the_ball():
    found = problem()
    start, batch = torch.zeros(3, 5, dtype=torch.float64), 2
    options = {"radius": found.radius, "batch_size": batch, "local_steps": 1, "sampled": None}
    constants, optimum = convergence.constants_of(found, start, **options)
    generator = torch.Generator().manual_seed(0)
    for seed in range(5):
        weights = drawn(3, 5, seed=seed)
        weights *= found.radius / weights.norm()
        for k in range(3):
            chosen = torch.randint(5, (4000, batch), generator=generator)
            inputs, labels = found.inputs[k][chosen], found.labels[k][chosen]
            seen = convergence.stochastic_gradient(weights.expand(4000, 3, 5), inputs, labels, found.mu)
            assert float(seen.square().sum((1, 2)).mean()) <= constants.gradient_square
            assert float(seen.var(0).sum()) <= constants.variances[k]
        assert float(found.losses(weights).mean()) >= optimum
    best = newton(found, torch.ones(5, dtype=torch.bool))
    alone = [
        newton(Problem(x[None], y[None], 3, 0.1), torch.ones(5, dtype=torch.bool))[1]
        for x, y in zip(found.inputs, found.labels, strict=True)
    ]
    assert constants.distance_square == pytest.approx(float(best[0].square().sum()))
    assert constants.heterogeneity == pytest.approx(best[1] - sum(alone) / 3)


def test_equal_clients_are_not_heterogeneous():
    found = problem(clients=1)
    same = Problem(found.inputs.expand(3, -1, -1), found.labels.expand(3, -1), 3, 0.1)
    options = {"radius": 1.0, "batch_size": 1, "local_steps": 1, "sampled": None}
    constants, _ = convergence.constants_of(same, torch.zeros(3, 5, dtype=torch.float64), **options)
    assert constants.heterogeneity == pytest.approx(0, abs=1e-9)


def test_the_problem_of_a_model():
    images, labels = drawn(2, 3, 1, 2, 2), torch.tensor([[0, 1, 2], [2, 1, 0]])
    found = convergence.problem_of(build_model("softmax", (1, 2, 2), 3), images, labels, 0.1)
    raw = torch.cat([images.view(2, 3, 4), torch.ones(2, 3, 1)], -1)
    torch.testing.assert_close(found.inputs, raw / raw.norm(dim=-1).max())
    assert found.classes == 3


def test_a_network_is_refused_by_what_makes_it_not_convex():
    images, labels = drawn(2, 3, 1, 8, 8), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ConfigError, match="not convex in the weights of Conv2d"):
        convergence.problem_of(build_model("lenet", (1, 8, 8), 3), images, labels, 0.1)


def test_without_l2_there_is_no_strong_convexity():
    images, labels = drawn(2, 3, 1, 2, 2), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ConfigError, match=r"mu=0\.0"):
        convergence.problem_of(build_model("softmax", (1, 2, 2), 3), images, labels, 0.0)


# Masks and the run


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 1.0])
def test_the_mask_is_soterias(rate):
    model = build_model("softmax", (1, 3, 3), 3, dtype=torch.float64)
    images = drawn(2, 4, 1, 3, 3)
    inputs = torch.nn.functional.pad(images.view(2, 4, 9), (0, 1), value=1.0)
    found = convergence.ratio_mask(inputs, rate, torch.Generator())
    for one, batch in zip(found, images, strict=True):
        expected = column_mask(model, batch, rate, per="batch")
        assert one[:-1].bool().tolist() == expected.tolist()
        assert one[-1] == 1


def test_the_random_mask_changes_no_mean():
    inputs = torch.ones(20_000, 2, 4, dtype=torch.float64)
    found = convergence.random_mask(inputs, 0.75, torch.Generator().manual_seed(0))
    assert sorted(found.unique().tolist()) == [0, 1, 4]
    torch.testing.assert_close(found.mean(0), torch.ones(4, dtype=torch.float64), atol=0.06, rtol=0)
    assert (found[:, -1] == 1).all()


def test_into_ball():
    weights = torch.tensor([[[3.0, 4.0]], [[0.3, 0.4]]])
    inside, outside = convergence.into_ball(weights, 1.0)
    torch.testing.assert_close(inside, torch.tensor([[[0.6, 0.8]], [[0.3, 0.4]]]))
    assert outside == 1


@pytest.mark.parametrize("mask", ["none", "soteria"])
@pytest.mark.parametrize("radius", [0.05, 10.0])
def test_the_run_against_a_plain_loop(mask, radius):
    """Two repetitions, two of three clients, two local steps, batches of two, three rounds, one after another."""
    found = problem()
    constants = Constants(
        **{**BY_HAND, "weights": (1 / 3,) * 3, "variances": (1.0,) * 3, "local_steps": 2, "sampled": 2}
    )
    start = drawn(3, 5, seed=7) / 50
    options = {"mask": mask, "rate": 0.5, "rounds": 3, "moments": [0, 2, 3], "repetitions": 2, "batch_size": 2}
    path = convergence.federated_path(
        found,
        constants,
        start,
        **options,
        radius=radius,
        draws=torch.Generator().manual_seed(5),
        masking=torch.Generator(),
    )
    generator, server, kept, projected, step = torch.Generator().manual_seed(5), [start, start], {}, 0, 0
    for round in range(1, 4):
        order = torch.rand(2, 3, generator=generator).argsort(1)[:, :2]
        chosen = [torch.randint(5, (2, 2, 2), generator=generator) for _ in range(2)]
        for run in range(2):
            ends = []
            for place, client in enumerate(order[run].tolist()):
                w = server[run]
                for local in range(2):
                    batch = chosen[local][run, place]
                    x, y = found.inputs[client, batch], found.labels[client, batch]
                    g = sum(torch.outer((w @ a).softmax(0) - torch.eye(3)[b], a) for a, b in zip(x, y, strict=True)) / 2
                    g = g + 0.1 * w
                    if mask == "soteria":
                        worst = x[:, :-1].abs().sum(0).argsort(descending=True)[:2]
                        g[:, worst] = 0
                    w = w - constants.learning_rate(step + local) * g
                    if w.norm() > radius:
                        w, projected = w * radius / w.norm(), projected + 1
                ends.append(w)
            server[run] = sum(ends) / 2
        step += 2
        kept[round] = torch.stack(server)
    assert path.steps == [0, 4, 6]
    torch.testing.assert_close(path.weights, torch.stack([start.expand(2, -1, -1), kept[2], kept[3]]))
    assert path.projected == pytest.approx(projected / 24)
    assert (projected > 0) == (radius < 1)


# Rows


def rows_of(masks, bright=3.0, **changed):
    """Two clients, two classes told apart by one bright pixel alone, which Soteria always prunes."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(20).view(2, 10) % 2
    images = 0.1 * torch.rand(2, 10, 1, 1, 4, generator=generator, dtype=torch.float64)
    images[..., 2] += torch.where(labels.view(2, 10, 1, 1) == 1, bright, -bright)
    given = {"mu": 0.1, "rounds": 300, "moments": 6, "repetitions": 3, "batch_size": 4, **changed}
    draw = lambda name: torch.Generator().manual_seed(len(name))  # noqa: E731
    return convergence.convergence_rows(
        build_model("softmax", (1, 1, 4), 2), images, labels, masks=masks, generator_of=draw, **given
    )


def mean_gaps(rows, mask):
    steps = sorted({row["steps"] for row in rows if row["mask"] == mask})
    return {s: np.mean([row["gap"] for row in rows if row["mask"] == mask and row["steps"] == s]) for s in steps}


MASKS = {"none": ("none", 0.0), "pruned": ("soteria", 0.25), "random": ("random", 0.25)}


def test_the_bound_holds_where_the_theorem_covers_the_mask():
    rows = rows_of(MASKS)
    for name in ("none", "random"):
        gaps = mean_gaps(rows, name)
        one = {row["steps"]: row for row in rows if row["mask"] == name}
        assert one[0]["bound_covers"]
        assert one[0]["projected"] == 0
        assert one[0]["floor"] == 0
        for steps, gap in gaps.items():
            assert 0 <= gap <= one[steps]["bound_defended"]
        assert gaps[300] < gaps[0] / 100


def test_a_deterministic_mask_breaks_the_enlarged_bound_and_the_rows_say_so():
    """The pixel pruned in every step is never learnt: the gap stops at a proven floor, and the bound goes below it."""
    rows = rows_of({"pruned": MASKS["pruned"]}, rounds=1000)
    gaps, last = mean_gaps(rows, "pruned"), rows[-1]
    assert not last["bound_covers"]
    assert last["floor"] > 0.9 * gaps[0]
    assert all(gap >= last["floor"] for gap in gaps.values())
    assert last["crossing"] < 1000
    assert last["bound_defended"] < last["floor"]
    assert rows[0]["bound_defended"] > rows[0]["gap"]


def test_a_pixel_that_is_not_always_pruned_leaves_no_floor():
    rows = rows_of({"pruned": ("soteria", 0.25)}, bright=0.02)
    assert rows[0]["floor"] == 0
    assert rows[0]["crossing"] is None


def test_masks_meet_the_same_batches():
    rows = rows_of({"none": ("none", 0.0), "zero": ("random", 0.0), "also": ("soteria", 0.0)})
    gaps = [[row["gap"] for row in rows if row["mask"] == name] for name in ("none", "zero", "also")]
    assert gaps[0] == pytest.approx(gaps[1])
    assert gaps[0] == pytest.approx(gaps[2])
    assert all(row["bound_covers"] for row in rows)


def test_rows_with_local_steps_and_drawn_clients():
    rows = rows_of({"none": ("none", 0.0)}, local_steps=3, sampled=1, rounds=100)
    assert [row["steps"] for row in rows][-1] == 300
    assert {row["sampled"] for row in rows} == {1}
    for steps, gap in mean_gaps(rows, "none").items():
        assert gap <= next(row["bound"] for row in rows if row["steps"] == steps)


@pytest.mark.parametrize(
    ("masks", "words"),
    [({"a": ("soteria", 1.0)}, r"masks\.a: rate=1\.0"), ({"a": ("dropout", 0.5)}, "unknown mask 'dropout'")],
)
def test_masks_are_checked(masks, words):
    with pytest.raises(ConfigError, match=words):
        rows_of(masks, rounds=1)


def test_no_rounds_keep_the_start():
    assert convergence.kept_rounds(0, 5) == [0]
    assert {row["round"] for row in rows_of({"none": ("none", 0.0)}, rounds=0)} == {0}
