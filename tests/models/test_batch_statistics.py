"""Clients in training mode: gradients and running statistics as torch has them, and what these tell of the batch."""

import copy

import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.regularisers.batch_statistics import batch_statistics
from fldrep.config.attacks import attack_settings
from fldrep.config.checking import stable_json
from fldrep.config.threat import threat_of
from fldrep.config.updates import UpdateSettings
from fldrep.defenses.sent import statistics_sent
from fldrep.derivatives.layerwise import gradient_map
from fldrep.errors import AttackRefused, ConfigError
from fldrep.models.batch_statistics import in_training_mode, moments_behind, moments_of, sent_statistics
from fldrep.models.model import with_head
from fldrep.models.updates import Update, client_update

SHAPE = (3, 12, 12)
LABELS = torch.tensor([[0, 1], [2, 3]])
TRAINING = UpdateSettings(images=2, training_mode=True)


def images(seed=1):
    """Two clients of two images, (2, 2, 3, 12, 12)."""
    return torch.randn(2, 2, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def plain():
    """A network whose running statistics are not those of a new one."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid()
    second = nn.Conv2d(4, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU()
    made = with_head(nn.Sequential(*first, *second, nn.Flatten()), SHAPE, 4).double().train()
    made(images(9)[0])
    return made.eval()


@pytest.fixture
def model(plain):
    return in_training_mode(plain)


def sent_of(model, held):
    return Update(client_update(model, held, LABELS), statistics=statistics_sent(model, held, TRAINING))


def test_gradients_and_running_statistics_are_torchs_own(plain, model):
    found = sent_of(model, images())
    for client in range(2):
        twin = copy.deepcopy(plain).train()
        loss = nn.functional.cross_entropy(twin(images()[client]), LABELS[client])
        expected = torch.autograd.grad(loss, list(twin.parameters()))
        for (name, _), value in zip(twin.named_parameters(), expected, strict=True):
            torch.testing.assert_close(found[name][client], value)
        for name, value in found.statistics.items():
            norm = twin.get_submodule(name)
            torch.testing.assert_close(value[client], torch.stack([norm.running_mean, norm.running_var]))


def test_the_derivative_by_the_images_is_that_of_differences(model):
    """torch's own batch norm in training mode gives another one under torch.func."""
    gradients, soft = gradient_map(model, SHAPE), nn.functional.one_hot(LABELS, 4).double()
    drawn = torch.Generator().manual_seed(3)
    weights = {name: torch.randn(2, *value.shape, generator=drawn).double() for name, value in model.named_parameters()}
    along, step = torch.randn(images().shape, generator=drawn).double(), 1e-6

    def value(at):
        return sum((gradients.run(at, soft)[0][name] * one).sum() for name, one in weights.items())

    found = (gradients.run(images(), soft)[1](weights)[0] * along).sum()
    expected = (value(images() + step * along) - value(images() - step * along)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_the_batchs_own_statistics_are_read_off_what_is_sent(model):
    read = moments_behind(model, sent_of(model, images()).statistics)
    for client in range(2):
        for name, value in moments_of(model, images()[client]).items():
            torch.testing.assert_close(read[name][client], value)


def test_a_cumulative_average_is_read_too(plain):
    for one in plain.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = None
    model = in_training_mode(plain)
    read = moments_behind(model, sent_statistics(model, images()[0]))
    for name, value in moments_of(model, images()[0]).items():
        torch.testing.assert_close(read[name][0], value)


def test_the_network_itself_is_left_as_it_is(plain):
    before = copy.deepcopy(plain.state_dict())
    sent_of(in_training_mode(plain), images())
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    assert any(isinstance(one, nn.BatchNorm2d) for one in plain.modules())


class Known:
    """As an observation, for the regulariser."""

    def __init__(self, model, update):
        self.model, self.statistics = model, update.statistics


def test_the_regulariser_is_zero_at_the_images_alone_each_update_against_its_own(model):
    known = Known(model, sent_of(model, images()))
    torch.testing.assert_close(batch_statistics(images(), known), torch.zeros(2).double(), atol=1e-12, rtol=0)
    assert (batch_statistics(images().flip(0), known) > 1e-2).all()
    assert (batch_statistics(images(2), known) > 1e-2).all()


def test_an_attack_descends_it(model):
    update = sent_of(model, images())
    given = {"objective": "cosine", "optimiser": "adam-spectral", "start": 0.5, "iterations": 40}
    found = [
        fldrep.reconstruct(model, update, LABELS, {**given, **more}).images
        for more in ({}, {"batch_statistics": 100.0})
    ]
    apart = [batch_statistics(one, Known(model, update)) for one in found]
    assert (apart[1] < apart[0] / 2).all()


def test_each_restart_and_chunk_meets_the_statistics_of_its_update(model):
    update = sent_of(model, images())
    whole, apart = (
        fldrep.reconstruct(model, update, LABELS, "gs-spectral-statistics", 3, restarts=2, problems_at_once=size)
        for size in (4, 1)
    )
    torch.testing.assert_close(whole.all_images, apart.all_images)


def test_without_statistics_the_attack_is_refused_and_it_says_what_it_knows(model):
    with pytest.raises(AttackRefused, match="needs the statistics of the batch in batch norm, but this update comes"):
        fldrep.reconstruct(model, client_update(model, images(), LABELS), LABELS, "gs-spectral-statistics", 1)
    assert threat_of(attack_settings("gs-spectral-statistics")).knows == ("labels", "statistics")


def test_of_several_local_steps_nothing_is_kept(model):
    local = UpdateSettings(images=2, training_mode=True, local_epochs=1, batch_size=1, lr=0.1)
    assert statistics_sent(model, images(), local) == {}


def test_a_network_without_batch_norm_has_no_such_mode():
    with pytest.raises(ConfigError, match="training_mode: True: the network has no batch norm"):
        in_training_mode(fldrep.build_model("lenet", SHAPE, 4))


def test_updates_that_do_not_ask_for_it_are_what_they_were():
    assert "training_mode" not in stable_json(UpdateSettings())
