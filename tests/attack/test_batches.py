"""Updates of several images, and of several local steps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.labels import inferred_counts, inferred_labels, labels_for, whole_shares
from fldrep.attack.observation import Observation
from fldrep.config.attacks import attack_settings
from fldrep.errors import AttackRefused
from fldrep.models.normalisation import normalisation_for
from fldrep.models.updates import LocalSteps, client_update

LABELS = torch.tensor([[0, 0, 3, 4], [2, 2, 2, 2], [4, 1, 3, 0]])


@pytest.fixture(scope="module", params=["lenet", "convnet"])
def made(request):
    return request.getfixturevalue(request.param)


def images_of(made, count=3, batch=4):
    drawn = torch.Generator().manual_seed(8)
    return torch.rand(count, batch, *made.shape, generator=drawn, dtype=torch.float64) * 2 - 1


def test_labels_of_a_batch_are_read_from_the_last_layer(made):
    update = client_update(made.model, images_of(made), LABELS)
    assert torch.equal(inferred_labels(made.model, update, 4), LABELS.sort(1).values)


@pytest.mark.parametrize("batch", [8, 16, 32, 64])
@pytest.mark.parametrize("classes", [2, 5])
def test_most_labels_of_large_batches_are_read_off_an_untrained_network(made, batch, classes):
    drawn = torch.Generator().manual_seed(batch)
    labels = torch.randint(classes, (4, batch), generator=drawn)
    found = inferred_labels(made.model, client_update(made.model, images_of(made, 4, batch), labels), batch)
    counts = [torch.stack([torch.bincount(row, minlength=5) for row in some]) for some in (found, labels)]
    assert torch.minimum(*counts).sum() / labels.numel() > 0.95


def test_counts_sum_to_the_batch(made):
    drawn = torch.Generator().manual_seed(4)
    for _ in range(20):
        noise = {
            name: torch.randn(value.shape, generator=drawn, dtype=value.dtype) for name, value in made.update.items()
        }
        assert inferred_counts(made.model, noise, 7).sum(1).tolist() == [7, 7, 7]


def test_counts_sum_to_the_batch_where_the_update_says_nothing(made):
    """Every class pushed up by more than any softmax: no class has evidence for it."""
    update = {name: torch.ones_like(value) for name, value in made.update.items()}
    assert inferred_counts(made.model, update, 7).sum(1).tolist() == [7, 7, 7]


def test_whole_shares_go_by_largest_remainder():
    shares = torch.tensor([[0.55, 0.15, 0.3], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert whole_shares(shares, 4).tolist() == [[2, 1, 1], [4, 0, 0], [2, 1, 1], [2, 1, 1]]


def test_labels_of_a_batch_need_a_bias(lenet):
    update = {name: value for name, value in lenet.update.items() if name != "head.bias"}
    with pytest.raises(AttackRefused, match="4 images"):
        inferred_labels(lenet.model, update, 4)


def batch_twin(made, seen, labels, start, steps):
    """GS on one update of several images, without box, prior and decay."""
    images, parameters = start.clone().requires_grad_(), list(made.model.parameters())
    optimiser = torch.optim.Adam([images], lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(made.model(images), labels)
        trial = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = [torch.cat([one.flatten() for one in gradient]) for gradient in (trial, seen)]
        (1 - nn.functional.cosine_similarity(*flat, dim=0)).backward()
        images.grad.sign_()
        optimiser.step()
    return images.detach()


def test_attack_on_a_batch_is_that_of_a_loop(made):
    update = client_update(made.model, images_of(made), LABELS)
    settings = {"box": False, "total_variation": 0.0, "lr_decay": False}
    found = fldrep.reconstruct(made.model, update, LABELS, "gs", 5, **settings)
    assert found.images.shape == (3, 4, *made.shape)
    assert found.all_images.shape == (3, 1, 4, *made.shape)
    assert found.labels_found.shape == (3, 1, 4)
    start = fldrep.reconstruct(made.model, update, LABELS, "gs", 0).images
    for target in range(3):
        seen = [value[target] for value in update.values()]
        twin = batch_twin(made, seen, LABELS[target], start[target], 5)
        torch.testing.assert_close(found.images[target], twin, rtol=1e-8, atol=1e-8)


def sgd_twin(made, images, labels, local):
    """Local training by torch's own optimiser on a copy of the model."""
    import copy

    model = copy.deepcopy(made.model)
    optimiser = torch.optim.SGD(model.parameters(), lr=local.lr, momentum=local.momentum)
    for _ in range(local.epochs):
        for start in range(0, len(images), local.batch_size):
            optimiser.zero_grad()
            part = slice(start, start + local.batch_size)
            nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
            optimiser.step()
    after = dict(model.named_parameters())
    return {name: (value - after[name]).detach() / local.lr for name, value in made.model.named_parameters()}


LOCAL = [LocalSteps(1, 4, 0.1), LocalSteps(2, 3, 0.05), LocalSteps(1, 1, 0.1), LocalSteps(2, 2, 0.05, momentum=0.9)]


@pytest.mark.parametrize("local", LOCAL)
def test_an_update_of_local_steps_is_the_weight_change_over_lr(local, made):
    images = images_of(made)
    update = client_update(made.model, images, LABELS, local)
    for target in range(3):
        twin = sgd_twin(made, images[target], LABELS[target], local)
        for name, value in update.items():
            torch.testing.assert_close(value[target], twin[name])


def test_one_step_over_the_whole_batch_is_the_gradient(made):
    images = images_of(made)
    steps = client_update(made.model, images, LABELS, LocalSteps(1, 4, 0.1))
    for name, value in client_update(made.model, images, LABELS).items():
        torch.testing.assert_close(steps[name], value, rtol=1e-9, atol=1e-11)


def observed(made, update, **besides):
    """What a server sees; where attacks start is not asked here."""
    return Observation(made.model, update, LABELS, made.shape, normalisation_for(3), None, "none", **besides)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_true_images_match_an_update_of_local_steps(lenet, momentum):
    from fldrep.attack.compares import Comparison
    from fldrep.attack.engine import distances_at

    local, images = LocalSteps(2, 2, 0.1, momentum), images_of(lenet)
    update = client_update(lenet.model, images, LABELS, local)
    at = (images[:, None], LABELS[:, None], Comparison.of(attack_settings("gs"), "none"))
    assert distances_at(observed(lenet, update, local=local), *at).abs().max() < 1e-12
    assert distances_at(observed(lenet, update), *at).min() > 1e-6
    if momentum:
        without = replace(local, momentum=0.0)
        assert distances_at(observed(lenet, update, local=without), *at).max() > 1e-2, "an attacker has to know of it"


def test_labels_are_read_off_an_update_of_steps_with_momentum(lenet):
    local = LocalSteps(2, 2, 0.001, momentum=0.9)
    seen = observed(lenet, client_update(lenet.model, images_of(lenet), LABELS, local), local=local)
    assert local.gradients(4) == pytest.approx(1 + 1.9 + 2.71 + 3.439)
    assert torch.equal(labels_for("inferred", seen), LABELS.sort(1).values)


def test_an_attack_on_local_steps_descends(lenet):
    local = LocalSteps(1, 2, 0.01)
    update = client_update(lenet.model, images_of(lenet), LABELS, local)
    found = fldrep.reconstruct(lenet.model, update, LABELS, "gs", 12, local=local)
    assert (found.distance < found.initial_distance[:, 0]).all()
    blind = fldrep.reconstruct(lenet.model, update, None, "gs", 0, local=local, batch=4, label_strategy="inferred")
    assert torch.equal(blind.labels_found[:, 0], LABELS.sort(1).values)
