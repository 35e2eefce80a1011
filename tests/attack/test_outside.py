"""Attacks that the package does not know: combined in a config, and of parts that a stranger's file brings."""

import sys

import pytest
import torch

import fldrep
from fldrep import registry
from fldrep.config.attacks import attack_settings, modules_of
from fldrep.errors import ConfigError, FLDRepError
from fldrep.models.updates import HEAD_WEIGHT, Update

MINE = {
    "objective": "cosine",
    "compares": "surviving",
    "optimiser": "signed-adam",
    "total_variation": 1.0e-3,
    "iterations": 3,
}

OBJECTIVE = '''
import fldrep


@fldrep.objective("huber")
def huber(trial, observed, *, delta: float = fldrep.option(0.1, "where it turns linear", gt=0)):
    """Squares of small differences, absolute values of large ones."""
    apart = [(trial[name] - one).flatten(1) for name, one in observed.items()]
    return sum((delta**2 * ((1 + (one / delta) ** 2).sqrt() - 1)).sum(1) for one in apart)
'''

REGULARISER = '''
import fldrep


@fldrep.regulariser("mean-colour")
def mean_colour(images):
    """How far the mean of an image is from 0."""
    mean = images.flatten(1).mean(1)
    return mean.square(), (2 * mean / images[0].numel()).view(-1, 1, 1, 1, 1).expand_as(images)
'''

OPTIMISER = '''
import fldrep


@fldrep.optimiser("descent")
class Descent:
    """Plain gradient descent."""

    class Settings(fldrep.Section):
        step: float = fldrep.option(0.5, "length of a step", gt=0)

    def solve(self, problems, settings, progress):
        from fldrep.attack.problem import Outcome, finite

        images, labels = problems.images, problems.soft_labels
        initial, _, _ = problems.match(images, labels)
        for _ in range(settings.iterations):
            distance, grad_images, _ = problems.match(images, labels)
            _, grad_images = problems.regularised(images, distance, grad_images)
            images = images - settings.step * grad_images
            progress.advance(1)
        final, _, _ = problems.match(images, labels)
        taken = final.new_full(final.shape, settings.iterations).long()
        return Outcome(images, problems.labels, initial, final, finite(images, final), taken)
'''


@pytest.fixture
def load(tmp_path):
    """Loads a plug-in from its text; what it brought is forgotten after the test."""
    added, values, modules = dict(registry._ADDED), dict(registry._VALUES), {*sys.modules}

    def load(name: str, text: str) -> list[str]:
        (tmp_path / name).write_text(text)
        return fldrep.load_plugins(tmp_path / name)

    yield load
    for known, before in ((registry._ADDED, added), (registry._VALUES, values)):
        known.clear()
        known.update(before)
    for name in {*sys.modules} - modules:
        if name.startswith("fldrep_plugin_"):
            del sys.modules[name]


def defended(made):
    shared = Update({name: value.clone() for name, value in made.update.items()}, "head")
    shared[HEAD_WEIGHT][:, :, ::3] = 0
    return shared


def test_an_attack_in_a_config_alone_is_what_its_parts_make_it(lenet):
    """The one of these parts that has a name gives the same bits."""
    found = fldrep.reconstruct(lenet.model, defended(lenet), lenet.labels, MINE)
    named = fldrep.reconstruct(lenet.model, defended(lenet), lenet.labels, "gs-masked", 3, total_variation=1e-3)
    assert torch.equal(found.images, named.images)
    settings = attack_settings(**MINE)
    again = fldrep.reconstruct(lenet.model, defended(lenet), lenet.labels, settings, lr=0.2)
    assert not torch.equal(again.images, found.images)
    assert settings.preset is None
    with pytest.raises(FLDRepError, match=r"needs a public mask"):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, MINE)


def test_parts_of_published_attacks_combine(lenet):
    """L-BFGS with total variation; what is reported is the distance alone."""
    mine = {"objective": "cosine", "optimiser": "lbfgs", "labels": "optimised", "iterations": 2}
    rough, smooth = (
        fldrep.reconstruct(lenet.model, lenet.update, None, mine, **given) for given in ({}, {"total_variation": 0.1})
    )
    assert smooth.images.diff(dim=-1).abs().mean() < rough.images.diff(dim=-1).abs().mean()
    assert torch.equal(smooth.initial_distance, rough.initial_distance)
    assert (smooth.final_distance < 2).all()


def test_the_start_is_as_far_from_grey_as_said(lenet):
    near, far = (
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 0, start=deviation).images
        for deviation in (0.1, 1.0)
    )
    torch.testing.assert_close(near, 0.1 * far)


def test_an_objective_from_outside(load, lenet):
    assert load("huber.py", OBJECTIVE) == ["huber"]
    mine = {"objective": "huber", "optimiser": "lbfgs", "iterations": 10, "delta": 0.5}
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, mine)
    assert (found.distance < found.initial_distance[:, 0]).all()
    assert attack_settings(**mine).delta == 0.5
    with pytest.raises(ConfigError, match="delta: -1: "):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, mine, delta=-1)
    with pytest.raises(ConfigError, match=r"delta: 0.5: not used by preset 'gs'"):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 1, delta=0.5)


def test_a_regulariser_from_outside(load, lenet):
    with pytest.raises(ConfigError, match=r"mean_colour: 1\.0: unknown key; this attack takes batch_statistics, box"):
        attack_settings(**MINE, mean_colour=1.0)
    assert load("colour.py", REGULARISER) == ["mean-colour"]
    mine = {**MINE, "compares": "all", "iterations": 20}
    off, none, much = (
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, mine, **given).images
        for given in ({}, {"mean_colour": 0.0}, {"mean_colour": 1e4})
    )
    assert torch.equal(off, none)
    assert (much.flatten(1).mean(1).abs() < off.flatten(1).mean(1).abs()).all()
    assert attack_settings("gs") == attack_settings("gs", mean_colour=None)
    with pytest.raises(ConfigError, match=r"mean_colour: -1.0: "):
        attack_settings(**mine, mean_colour=-1.0)
    with pytest.raises(ConfigError, match=r"mean_colour: 1.0: not used by preset 'gs'"):
        attack_settings("gs", mean_colour=1.0)


def test_an_optimiser_from_outside(load, lenet):
    with pytest.raises(ConfigError, match=r"optimiser: 'descent': .*'lbfgs', .*or 'signed-adam'"):
        attack_settings(objective="l2", optimiser="descent", iterations=1)
    assert load("descent.py", OPTIMISER) == ["descent"]
    mine = {"objective": "cosine", "optimiser": "descent", "iterations": 5, "total_variation": 1e-9}
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, mine, restarts=2, step=0.1)
    assert (found.final_distance < found.initial_distance).all()
    assert (found.iterations == 5).all()
    (module,) = [one for one in modules_of(attack_settings(**mine)) if one.startswith("fldrep_plugin_")]
    assert module == registry.entry("optimiser", "descent").module
    with pytest.raises(ConfigError, match="step: 0: "):
        attack_settings(**mine, step=0)
    with pytest.raises(ConfigError, match=r"lr: 0.1: not used by this attack, which takes .*step"):
        attack_settings(**mine, lr=0.1)
    with pytest.raises(ConfigError, match="labels: 'optimised': optimiser 'descent'"):
        attack_settings(**mine, labels="optimised")


def test_a_key_of_two_parts_is_refused(load):
    load("descent.py", OPTIMISER.replace("step: float", "iterations: float"))
    with pytest.raises(ConfigError, match="iterations: a key of two parts"):
        attack_settings(objective="l2", optimiser="descent", iterations=1)


def test_parts_by_keywords_are_an_attack_of_ones_own(load, lenet):
    load("objective.py", OBJECTIVE)
    own = {"objective": "huber", "optimiser": "signed-adam", "iterations": 1, "delta": 0.5}
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, **own)
    assert torch.equal(found.images, fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, own).images)
    plain = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, iterations=1)
    assert torch.equal(plain.images, fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 1).images)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('@fldrep.objective("odd")\ndef odd(trial, observed): pass', "what odd returns: None: expected values"),
        ('@fldrep.objective("odd")\ndef odd(trial, observed): return sum(v.sum() for v in trial.values())', "what odd"),
        (
            '@fldrep.objective("odd")\ndef odd(trial, observed):\n'
            "  return next(iter(trial.values())).flatten(1).sum(1), {}",
            r"the derivative that odd returns\['.*'\]: None: expected a tensor of shape",
        ),
        (
            '@fldrep.objective("odd")\ndef odd(trial, observed):\n'
            "  return next(iter(trial.values())).flatten(1).sum(1), {n: v.flatten(1)[:, :1] for n, v in trial.items()}",
            r"the derivative that odd returns\['.*'\]: shape .*: expected a tensor of shape",
        ),
        (
            '@fldrep.optimiser("odd")\nclass Odd:\n  def solve(self, *given): pass',
            "optimiser 'odd': what solve returns",
        ),
    ],
)
def test_what_a_part_returns_is_checked(load, lenet, text, told):
    load("odd.py", f"import fldrep\n{text}\n")
    kind = text.partition(".")[2].partition("(")[0]
    own = {"objective": "l2", "optimiser": "signed-adam", "iterations": 1, kind: "odd"}
    with pytest.raises(ConfigError, match=told) as refused:
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, own)
    assert "\n" not in str(refused.value)
