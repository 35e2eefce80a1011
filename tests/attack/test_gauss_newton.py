"""Levenberg-Marquardt on the image: its derivatives against autograd, images that come back exactly, and refusals."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.attacker import carry_out
from fldrep.attack.attempt import attempt
from fldrep.attack.certificate import smallest_exceeds
from fldrep.attack.engine import ProblemSet, Work
from fldrep.attack.gauss_newton import conjugate_gradients
from fldrep.attack.gram import gram
from fldrep.attack.least_squares import LeastSquares
from fldrep.attack.observation import Observation
from fldrep.attack.resume import Checkpointer
from fldrep.config.attacks import attack_settings
from fldrep.config.needs import Structure
from fldrep.derivatives.smoothness import first_kink
from fldrep.errors import AttackRefused, ConfigError
from fldrep.models.updates import LocalSteps, Update
from fldrep.seeds import generator

EXACT, ROUNDED = 1e-10, 1e-6  # mean squared error of pixels: of updates in float64, in float32
SHAPE = (1, 8, 8)


def smooth_net(activation=nn.Tanh, *, norm=nn.Identity, shape=SHAPE, dtype=torch.float64, seed=0):
    """A small convolutional network with an average pool."""
    torch.manual_seed(seed)
    first = [nn.Conv2d(shape[0], 6, 5, 2, 2), norm(), activation()]
    layers = [*first, nn.Conv2d(6, 8, 3, 1, 1), activation(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * (shape[1] // 4) ** 2, 4)).to(dtype).eval()


def small_chain():
    """One convolution and the head."""
    torch.manual_seed(4)
    body = [nn.Conv2d(1, 6, 5, 2, 2), nn.Sigmoid(), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(96, 4)).double().eval()


def observation_of(it, update, zeros="none"):
    model = fldrep.wrap(it.model, shape=it.shape)
    update = {here: update[name] for name, here in model.own_names().items()}

    def draw(target, restart):
        return generator("test", target, restart)

    return Observation(model, update, it.labels, it.shape, it.normalisation, draw, zeros)


def system_of(it, update, zeros="none", **settings):
    settings = attack_settings("gauss-newton", **settings)
    problems = ProblemSet.of(observation_of(it, update, zeros).in_float64(), settings).some([(0, 0), (1, 0)])
    return LeastSquares.of(problems, settings.free_scale), problems


# ---- derivatives


@pytest.mark.parametrize("free", [{}, {"labels": "optimised", "free_scale": True}], ids=["image", "all"])
def test_the_jacobian_is_that_of_autograd_row_by_row(exact, free):
    it = exact.scene(smooth_net())
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    update["7.weight"][:, :, ::3] = 0  # a public mask
    system, problems = system_of(it, update, "head", **free)
    point = system.begin(problems.images)
    point[:, system.pixels :] += 0.1
    for problem in (0, 1):
        one, used = system.copies(problem, 1), system.copies(problem, 1).residuals.used
        values, jacobian = system.jacobian(problem, point[problem])
        twin = torch.autograd.functional.jacobian(lambda at, one=one: one.values(at[None])[0], point[problem])
        torch.testing.assert_close(values, one.values(point[problem : problem + 1])[0, used])
        torch.testing.assert_close(jacobian, twin[used], rtol=1e-9, atol=1e-12)
        assert not twin[~used].any()
        assert int(used.sum()) == sum(v[0].numel() for v in update.values()) - 4 * 11
    values, push, pull = system.linearise(point)
    along, by = torch.randn_like(point), torch.randn_like(values)
    torch.testing.assert_close((push(along) * by).sum(1), (pull(by) * along).sum(1))


def test_residuals_are_those_of_the_objective_in_units_of_each_tensor(exact):
    it = exact.scene(smooth_net())
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    update["0.weight"][:, :2] = 0
    system, problems = system_of(it, update, "all")
    point = system.begin(problems.images)
    distance, _, _ = problems.match(*system.parts(point))
    torch.testing.assert_close(system.values(point).square().sum(1), distance)
    kept = {name: value[0][value[0] != 0] for name, value in observation_of(it, update).update.items()}
    trial = fldrep.client_update(it.model, system.parts(point)[0][:, 0], it.labels)
    names = dict(zip(kept, trial, strict=True))
    apart = [
        (trial[names[name]][0][update[names[name]][0] != 0] - one).square() / one.square().mean()
        for name, one in kept.items()
    ]
    torch.testing.assert_close(distance[0], torch.cat(apart).mean())


def test_conjugate_gradients_solve_each_system_by_itself():
    drawn = torch.Generator().manual_seed(1)
    roots = torch.randn(3, 9, 6, generator=drawn, dtype=torch.float64)
    right = torch.randn(3, 6, generator=drawn, dtype=torch.float64)
    damping, alive = torch.tensor([[0.1], [0.0], [1.0]], dtype=torch.float64), torch.tensor([True, True, False])
    normal = roots.mT @ roots
    found = conjugate_gradients(lambda p: (normal @ p[:, :, None])[..., 0], damping, right, alive, 40)
    expected = torch.linalg.solve(normal + damping[:, :, None] * torch.eye(6, dtype=torch.float64), right)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=1e-6)
    assert not found[2].any()


def test_the_bound_on_the_smallest_singular_value_is_sharp_and_never_too_large():
    drawn = torch.Generator().manual_seed(2)
    matrix = torch.randn(30, 8, generator=drawn, dtype=torch.float64)
    least = float(torch.linalg.svdvals(matrix)[-1])
    assert smallest_exceeds(matrix.mT @ matrix, 0.99 * least)
    assert not smallest_exceeds(matrix.mT @ matrix, 1.01 * least)
    matrix[:, 3] = matrix[:, 5]
    assert not smallest_exceeds(matrix.mT @ matrix, 0.0)


# ---- images that come back


NETWORKS = {
    "sigmoid": (nn.Sigmoid, nn.Identity),
    "gelu, group norm": (nn.GELU, lambda: nn.GroupNorm(2, 6)),
    "silu, batch norm": (nn.SiLU, lambda: nn.BatchNorm2d(6)),
    "softplus": (nn.Softplus, nn.Identity),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.filterwarnings("ignore:network .* no rule for")
def test_smooth_networks_of_any_layers_give_their_images_away(exact, kind):
    activation, norm = NETWORKS[kind]
    it = exact.scene(smooth_net(activation, norm=norm))
    found, error = exact.attacked(it, fldrep.client_update(it.model, it.inputs, it.labels), restarts=2)
    assert (error < EXACT).all(), (error, found.distance)
    assert found.certified.all()
    assert (found.distance < 1e-9).all()


def test_through_a_mask_on_the_whole_last_weight(exact):
    it = exact.scene(smooth_net(dtype=torch.float32))
    update = Update(fldrep.client_update(it.model, it.inputs, it.labels), "head")
    update["7.weight"] = torch.zeros_like(update["7.weight"])
    found, error = exact.attacked(it, update)
    assert (error < ROUNDED).all()
    assert found.certified.all()
    assert found.images.dtype == torch.float32


def test_products_with_the_jacobian_find_what_the_whole_jacobian_finds(exact):
    it = exact.scene(smooth_net(nn.Sigmoid))
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    found, error = exact.attacked(it, update, solver="matrix-free", products=150, iterations=12)
    assert (error < ROUNDED).all()
    assert not found.certified.any()


def test_the_label_and_the_scale_of_clipping_may_be_among_the_unknowns(exact):
    it = exact.scene(smooth_net())
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    clipped = {name: value * 0.37 for name, value in update.items()}
    blind, error = exact.attacked(it, update, None, label_strategy="optimised", restarts=2)
    assert (error < EXACT).all()
    assert torch.equal(blind.labels_found[torch.arange(2), blind.best_restart], it.labels)
    scaled, error = exact.attacked(it, clipped, free_scale=True, restarts=2)
    assert (error < EXACT).all()
    assert scaled.certified.all()


def test_several_images_and_several_local_steps(exact):
    it = exact.scene(smooth_net(nn.Sigmoid), count=1, images=2)
    found, _ = exact.attacked(it, fldrep.client_update(it.model, it.inputs, it.labels), restarts=3)
    shown = exact.normalisation.to_pixels(found.images)
    errors = [(one - it.pixels).square().mean() for one in (shown, shown.flip(1))]
    assert min(errors) < EXACT, errors
    local = LocalSteps(2, 1, 0.1)
    update = fldrep.client_update(it.model, it.inputs, it.labels, local)
    _, error = exact.attacked(it, update, local=local, iterations=15)
    assert (error < EXACT).all()


# ---- what is certified


def test_nothing_wrong_is_certified(exact):
    it = exact.scene(smooth_net(dtype=torch.float32), count=3)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    cases = {"undefended": (update, it.labels), "a wrong label": (update, (it.labels + 1) % 4)}
    for rate in (0.6, 0.8):
        cases[f"compression {rate}"] = (fldrep.defend(update, "compression", rate=rate), it.labels)
    cases["noise"] = (fldrep.defend(update, "gaussian", std=1e-3, seed=0), it.labels)
    certified = {}
    for name, (sent, labels) in cases.items():
        found, error = exact.attacked(it, sent, labels, iterations=25)
        assert not (found.certified & (error > 1e-4)).any(), (name, error)
        certified[name] = int(found.certified.sum())
    assert certified["undefended"] == 3
    assert certified["a wrong label"] == certified["noise"] == 0


def test_other_attacks_certify_nothing(exact):
    it = exact.scene(smooth_net())
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    found, _ = exact.attacked(it, update, attack="gs", iterations=2, restarts=2)
    assert found.certified.shape == (2,)
    assert not found.certified.any()
    assert found.all_certified.shape == (2, 2)


# ---- what is refused


def test_networks_whose_gradient_jumps_are_refused_by_layer(exact):
    it = exact.scene(smooth_net(nn.ReLU))
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    with pytest.raises(AttackRefused, match=r"'gauss-newton' needs a network whose gradient is smooth, .* ReLU '.*2'"):
        exact.attacked(it, update)


def test_kinks_are_found_wherever_they_are_called(monkeypatch):
    class Own(nn.Module):
        def forward(self, x):
            return nn.functional.relu(x)

    assert first_kink(nn.Sequential(nn.Conv2d(1, 2, 3), Own()), SHAPE) == "relu in Own '1'"
    assert first_kink(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), SHAPE) == "MaxPool2d '1'"
    for activation in (nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.Identity):
        assert first_kink(smooth_net(activation, norm=lambda: nn.GroupNorm(2, 6)), SHAPE) == ""


@pytest.mark.parametrize("name", ["lenet", "convnet", "resnet18", "softmax"])
def test_networks_say_of_themselves_whether_their_gradient_jumps(name):
    from fldrep.config.models import model_settings

    told = Structure.of(model_settings(name)).kinks
    found = first_kink(fldrep.build_model(name, shape=(3, 32, 32), classes=10).eval(), (3, 32, 32))
    assert found.split()[:1] == told.split()[:1]


def test_fewer_entries_than_unknowns_are_refused_by_number_and_the_others_attacked(exact):
    it = exact.scene(smooth_net(dtype=torch.float32))
    update = Update(fldrep.client_update(it.model, it.inputs, it.labels), "all")
    update = Update({name: one.clone() for name, one in update.items()}, "all")
    for name in update:
        if name != "7.bias":
            update[name][1] = 0
    with pytest.raises(AttackRefused, match="target 1 keeps 4 entries for 64 unknowns"):
        exact.attacked(it, update)
    found, refused = attempt(observation_of(it, update, "all"), attack_settings("gauss-newton"), Work())
    assert refused == ["", "keeps 4 entries for 64 unknowns"]
    assert found.images[1].isnan().all()
    assert found.diverged[:, 0].tolist() == [False, True]
    alone, _ = exact.attacked(it, {name: one[:1] for name, one in update.items()} | {}, it.labels[:1], defended="all")
    assert found.certified.tolist() == [True, False] == [bool(alone.certified[0]), False]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"objective": "cosine"}, "objective: 'cosine': .* takes a sum of squares: balanced-l2, l2, relative-l2"),
        ({"objective": "l2", "total_variation": 1e-3}, "total_variation: .* takes no regularisers"),
        ({"objective": "l2", "compares": "representation"}, "compares: 'representation': .* compares gradients alone"),
    ],
    ids=str,
)
def test_parts_that_give_no_residuals_are_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        attack_settings(optimiser="levenberg-marquardt", iterations=3, **given)


# ---- together and after a kill


def test_targets_do_not_depend_on_their_neighbours(exact):
    it = exact.scene(smooth_net(), count=3)
    update = fldrep.client_update(it.model, it.inputs, it.labels)
    for solver in ("dense", "matrix-free"):
        given = {"iterations": 2, "solver": solver, "products": 5, "start": 0.0}
        together, _ = exact.attacked(it, update, **given)
        one = SimpleNamespace(**{**vars(it), "pixels": it.pixels[1:2]})
        alone, _ = exact.attacked(one, {name: value[1:2] for name, value in update.items()}, it.labels[1:2], **given)
        torch.testing.assert_close(together.images[1:2], alone.images, rtol=1e-8, atol=1e-8)


class Killed(Exception):
    """Stands for a kill."""


class Doomed(Checkpointer):
    """Keeps every step, and is killed after one."""

    def step(self, steps, state):
        super().step(steps, state)
        raise Killed


@pytest.mark.parametrize("preset", ["gauss-newton", "closed-form"])
def test_a_killed_attack_gives_the_bits_of_an_undisturbed_one(preset, exact, tmp_path):
    it = exact.scene(small_chain(), count=3)
    observation = observation_of(it, fldrep.client_update(it.model, it.inputs, it.labels))
    own = {"begin": "grey", "solver": "dense"} if preset == "gauss-newton" else {}
    settings = attack_settings(preset, iterations=4, **own)
    undisturbed = carry_out(observation, settings, Work(2))
    for _ in range(2):
        checkpointer = Doomed(tmp_path / "progress", "key", save_every_s=0)
        with pytest.raises(Killed):
            carry_out(observation, settings, Work(2, checkpointer=checkpointer))
    resumed = carry_out(observation, settings, Work(2, checkpointer=Checkpointer(tmp_path / "progress", "key")))
    for name in ("images", "distance", "iterations", "all_certified", "initial_distance"):
        assert torch.equal(getattr(resumed, name), getattr(undisturbed, name)), name


def test_gram_is_the_product_and_symmetric_to_the_bit(monkeypatch):
    drawn = torch.Generator().manual_seed(3)
    matrix = torch.randn(40, 23, generator=drawn, dtype=torch.float64)
    monkeypatch.setattr("fldrep.attack.gram.BLOCK", 7)
    torch.testing.assert_close(gram(matrix), matrix.mT @ matrix)
    assert torch.equal(gram(matrix), gram(matrix).mT)
