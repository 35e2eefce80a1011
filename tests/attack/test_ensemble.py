import pytest
import torch
from fldrep.attack.masks import what_survives

import fldrep
from fldrep.attack import attack_settings
from fldrep.attack.engine import distances_at
from fldrep.attack.ensemble import MEMBERS, _best, member_settings
from fldrep.attack.problem import Reconstruction
from fldrep.models.updates import HEAD_WEIGHT, Update


def shared_of(made, defended):
    update = {name: value.clone() for name, value in made.update.items()}
    if defended == "head":
        update[HEAD_WEIGHT][:, :, ::3] = 0
    return Update(update, defended)


def result(images, diverged=(False, False)):
    """A reconstruction of one target with two restarts."""
    images = torch.tensor(images).view(1, 2, 1, 1, 1)
    none, lost = torch.zeros(1, 2), torch.tensor([diverged])
    return Reconstruction(images[:, 0], none[:, 0], none[:, 0], images, none, none, none, lost, none, none)


def test_each_restart_is_the_member_of_least_common_cost():
    found = {"a": result([1.0, 2.0]), "b": result([3.0, 4.0]), "c": result([5.0, 6.0], (True, False))}
    costs = {"a": torch.tensor([[0.5, 0.4]]), "b": torch.tensor([[0.3, 0.6]]), "c": torch.tensor([[0.1, torch.nan]])}
    best = _best(found, costs, torch.ones(1, 2))
    assert best.members == [["b", "a"]]
    assert best.all_images.flatten().tolist() == [3.0, 2.0]
    assert best.images.item() == 3.0
    assert best.final_distance.tolist() == [[pytest.approx(0.3), pytest.approx(0.4)]]
    assert best.chosen.tolist() == [0]
    assert not best.diverged.any()


@pytest.mark.parametrize(
    ("defended", "refused"), [("none", {"gs-masked", "gs-drop", "dlg-masked"}), ("head", set()), ("all", {"gs-drop"})]
)
def test_it_is_at_least_as_close_as_every_member(defended, refused, lenet):
    shared = shared_of(lenet, defended)
    best = fldrep.reconstruct(lenet.model, shared, lenet.labels, "ensemble", 20, restarts=2)
    settings = attack_settings("ensemble", iterations=20, restarts=2)
    comparison = what_survives(defended)
    for name in MEMBERS.keys() - refused:
        own = member_settings(settings, name).model_dump(exclude={"preset", "labels"}, exclude_none=True)
        one = fldrep.reconstruct(lenet.model, shared, lenet.labels, name, label_strategy="known", **own)
        cost = distances_at(lenet.model, shared, one.all_images, one.labels_found, comparison, shape=lenet.shape)
        assert (best.final_distance <= cost.masked_fill(one.diverged, torch.inf) + 1e-12).all()
    assert {name for row in best.members for name in row} <= MEMBERS.keys() - refused


def test_the_common_cost_is_the_distance_that_gs_reports(lenet):
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, restarts=2)
    cost = distances_at(
        lenet.model,
        lenet.update,
        found.all_images,
        found.labels_found,
        what_survives("none"),
        shape=lenet.shape,
        chunk=4,
    )
    torch.testing.assert_close(cost, found.final_distance)


def test_every_member_may_evaluate_the_gradient_as_often():
    settings = attack_settings("ensemble", iterations=400, restarts=3)
    for name in MEMBERS:
        one = member_settings(settings, name)
        assert one.iterations * (one.inner_iterations or 1) == 400
        assert one.restarts == 3
        assert one.labels == "known"
