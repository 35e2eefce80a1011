"""A real step of Opacus: what it sends, its noise, and the floor beside its epsilon."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import fldrep
from fldrep.applications.opacus import Step, floors, step_of
from fldrep.errors import ConfigError
from fldrep.models.normalisation import Normalisation

opacus = pytest.importorskip("opacus", reason="the extra opacus is not installed")

CONSTANTS = Normalisation((0.4,), (0.3,))
LABELS = torch.tensor([1, 3, 0])


def taken(network, images, labels, *, multiplier, clip) -> tuple[Step, float]:
    """A step of DP-SGD on all images, and the epsilon that Opacus accounts for it at 1e-5."""
    data = torch.utils.data.TensorDataset(images, labels)
    engine = opacus.PrivacyEngine(accountant="rdp")
    module, optimizer, loader = engine.make_private(
        module=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        data_loader=torch.utils.data.DataLoader(data, batch_size=len(images)),
        noise_multiplier=multiplier,
        max_grad_norm=clip,
        poisson_sampling=False,
        noise_generator=torch.Generator().manual_seed(0),
    )
    for batch, classes in loader:
        nn.functional.cross_entropy(module(batch), classes).backward()
        optimizer.step()
    return step_of(module, optimizer), engine.get_epsilon(1e-5)


@pytest.fixture
def step(network, pixels):
    """The function that takes a step on the first images: the network before it, the step, and epsilon."""

    def take(images=1, *, multiplier=1e-6, clip=1.0):
        made = network()
        before = copy.deepcopy(made)
        given = CONSTANTS.to_input(pixels[:images]), LABELS[:images]
        return before, *taken(made.train(), *given, multiplier=multiplier, clip=clip)

    return take


def test_what_is_sent_is_the_mean_of_clipped_gradients(step, pixels):
    before, found, _ = step(3, clip=0.1)
    each = fldrep.client_update(fldrep.wrap(before, (1, 12, 12)).eval(), CONSTANTS.to_input(pixels), LABELS)
    norms = sum(value.flatten(1).square().sum(1) for value in each.values()).sqrt()
    factor = (0.1 / norms).clamp_max(1)
    assert found.sent.keys() == dict(before.named_parameters()).keys()
    for name, value in each.items():
        mean = (value * factor.view(-1, *[1] * (value.ndim - 1))).mean(0)
        assert torch.allclose(found.sent[name], mean, atol=1e-6), name


def test_the_noise_is_as_it_says(step):
    quiet, loud = step(3)[1], step(3, multiplier=3.0)[1]
    apart = torch.cat([(loud.sent[name] - value).flatten() for name, value in quiet.sent.items()])
    assert loud.std == pytest.approx(1.0)
    assert float(apart.std()) == pytest.approx(loud.std, rel=0.05)


def test_an_audit_takes_a_step_and_its_verdict_goes_with_the_floor(step, pixels):
    image, label = CONSTANTS.to_input(pixels[:1]), LABELS[:1]
    given = {"shape": (1, 12, 12), "normalisation": CONSTANTS, "originals": pixels[:1], "budget": 4.0}
    for multiplier, open_share, verdict in ((1e-6, (0, 0.1), "recovered"), (1.0, (0.1, 1), "not-identifiable")):
        before, found, epsilon = step(multiplier=multiplier)
        floor = float(floors(before, image, label, clip=found.clip, multiplier=found.multiplier))
        assert open_share[0] <= floor <= open_share[1]
        assert fldrep.audit(before, found.sent, **given).verdict.startswith(verdict)
        assert epsilon > 0


def test_the_floor_of_one_image_is_that_of_its_own_update(network, pixels):
    images, clip = CONSTANTS.to_input(pixels), 1e3  # above every gradient's norm: nothing is clipped
    made = network().eval()
    own = floors(made, images, LABELS, clip=clip, multiplier=1e-5)
    whole = fldrep.identifiability(fldrep.wrap(made, (1, 12, 12)), images, LABELS, noise_std=1e-5 * clip)
    assert torch.allclose(own, torch.minimum(whole.floor, whole.floor_spectral))
    more = floors(made, images, LABELS, clip=clip, multiplier=1e-3)
    assert (more >= own).all()
    assert (more <= 1).all()


def test_what_is_missing_is_told(network):
    made = network()
    optimizer = opacus.optimizers.DPOptimizer(
        torch.optim.SGD(made.parameters(), lr=0.1), noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=1
    )
    with pytest.raises(ConfigError, match=r"'0.weight' has no gradient: expected step_of after optimizer.step"):
        step_of(made, optimizer)
    optimizer.max_grad_norm = [1.0]
    with pytest.raises(ConfigError, match="clipping='flat'"):
        step_of(made, optimizer)
    with pytest.raises(ConfigError, match="multiplier: 0: expected a number above 0"):
        floors(made, torch.zeros(1, 1, 12, 12), torch.tensor([0]), clip=1.0, multiplier=0)


def rows(text: str) -> list[list[str]]:
    """The rows of the example's table, without its head."""
    _, _, table = text.partition("| best SSIM |\n|---|---|---|---|---|---|\n")
    lines = itertools.takewhile(lambda line: line.startswith("|"), table.splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_example_prints_what_its_page_has_of_epsilon_and_the_floor(capsys, monkeypatch):
    from fldrep.config.data import DataSettings
    from fldrep.data.datasets import load_arrays
    from fldrep.errors import DataError

    try:
        load_arrays("mnist", DataSettings())
    except DataError as error:
        pytest.skip(f"MNIST: neither in the cache nor to be downloaded: {error}")
    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(root / "examples/opacus")
    import dp_sgd

    published = rows((root / "docs/opacus.md").read_text())
    dp_sgd.main([float(row[0]) for row in published], budget=0.1)  # what is audited has no part in these columns
    found = rows(capsys.readouterr().out)
    assert [row[:3] for row in found] == [row[:3] for row in published]
    assert [float(row[3]) for row in found] == pytest.approx([float(row[3]) for row in published], rel=0.1)
    for _, seldom, drawn, floor, verdict, _ in published:
        assert float(seldom) <= float(drawn)
        assert (verdict == "not-identifiable") == (float(floor) > 0.1)
