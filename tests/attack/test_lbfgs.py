import pytest
import torch

from fldrep.attack import quasi_newton

CENTRES = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, -0.7], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
SCALES = torch.tensor([[1.0, 0.3, 0.2], [0.5, 0.01, 0.1], [0.9, 0.9, 0.9], [0.6, 0.5, 0.4]], dtype=torch.float64)


def bowl(x, centre, scale):
    """Convex, not quadratic."""
    away = (x - centre) * scale
    return (away.square() + 0.1 * away.cosh() - 0.1).sum(-1)


def ripples(x, centre, scale):
    """Not convex: pairs without curvature are left out of the memory."""
    return ((x - centre).square() * scale + 0.5 * torch.sin(3 * x)).sum(-1)


def torch_path(function, centre, scale, steps, inner, history, lr):
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([x], lr=lr, max_iter=inner, history_size=history)
    path = []
    for _ in range(steps):

        def closure():
            optimiser.zero_grad()
            value = function(x, centre, scale)
            value.backward()
            return value

        optimiser.step(closure)
        path.append(x.detach().clone())
    return torch.stack(path)


def batched_path(function, steps, inner, history, lr):
    def objective(points):
        x = points.clone().requires_grad_()
        value = function(x, CENTRES, SCALES)
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    state = quasi_newton.begin(torch.zeros_like(CENTRES), history)
    path = []
    for _ in range(steps):
        quasi_newton.step(state, objective, lr, inner)
        path.append(state.points.clone())
    return torch.stack(path, 1)


@pytest.mark.parametrize("function", [bowl, ripples])
@pytest.mark.parametrize(("inner", "history"), [(20, 100), (7, 2), (1, 3), (30, 5)])
def test_each_problem_walks_as_under_torchs_optimiser(function, inner, history):
    """Through convergence (each problem stops by its own tolerances) and a memory that overflows."""
    found = batched_path(function, 12, inner, history, lr=0.8)
    for problem in range(len(CENTRES)):
        expected = torch_path(function, CENTRES[problem], SCALES[problem], 12, inner, history, 0.8)
        torch.testing.assert_close(found[problem], expected, rtol=1e-8, atol=1e-10)


def test_a_problem_at_its_minimum_does_not_move():
    state = quasi_newton.begin(torch.zeros(2, 3, dtype=torch.float64), 4)

    def objective(points):
        value = (points - torch.tensor([[0.0], [1.0]])).square().sum(1)
        return value, 2 * (points - torch.tensor([[0.0], [1.0]]))

    moved, first = quasi_newton.step(state, objective, 1.0, 5)
    assert moved.tolist() == [False, True]
    assert first.tolist() == [0, 3]
    assert not state.points[0].any()


def test_a_problem_that_blows_up_keeps_its_last_finite_point_and_leaves_others_alone():
    def bowl_with_a_hole(holes):
        def objective(points):
            value = points.square().sum(1)
            return torch.where(torch.tensor(holes) & (value < 50), torch.inf, value), 2 * points

        return objective

    start = torch.tensor([[1.0, 10.0], [1.0, 9.0]], dtype=torch.float64)
    both, alone = quasi_newton.begin(start, 4), quasi_newton.begin(start[1:], 4)
    quasi_newton.step(both, bowl_with_a_hole([True, False]), 1.0, 4)
    quasi_newton.step(alone, bowl_with_a_hole([False]), 1.0, 4)
    assert both.alive.tolist() == [False, True]
    first_move = start[0] - 2 * start[0] / (2 * start[0]).sum()
    torch.testing.assert_close(both.points[0], first_move)
    torch.testing.assert_close(both.points[1], alone.points[0])
    assert alone.points.abs().max() < 1e-6
