from dataclasses import replace

import pytest
import torch

import fldrep
from fldrep.attack import ensemble
from fldrep.attack.compares import Comparison
from fldrep.attack.engine import distances_at
from fldrep.attack.ensemble import best
from fldrep.attack.observation import Observation, public_zeros
from fldrep.attack.reconstruction import Reconstruction
from fldrep.config.attacks import attack_settings, evaluations_of, members_of
from fldrep.models.normalisation import normalisation_for
from fldrep.models.updates import HEAD_WEIGHT, Update


def as_sent(made):
    """The update in float32, whose rounding leaves room to certify what solves for the image in float64."""
    return {name: value.float() for name, value in made.update.items()}


def shared_of(made, defended):
    update = as_sent(made)
    if defended == "head":
        update[HEAD_WEIGHT][:, :, ::3] = 0
    return Update(update, defended)


def common_distance(made, shared, one):
    """The distance by which the ensemble chooses."""
    observation = Observation(made.model, shared, made.labels, made.shape, normalisation_for(3), None, "none")
    comparison = Comparison.of(attack_settings("ensemble"), public_zeros(shared))
    return distances_at(observation, one.all_images, one.labels_found, comparison, 4)


def result(images, diverged=(False, False)):
    """A reconstruction of one target with two restarts."""
    images = torch.tensor(images).view(1, 2, 1, 1, 1)
    none, lost = torch.zeros(1, 2), torch.tensor([diverged])
    first = none[:, 0].long()
    return Reconstruction(images[:, 0], none[:, 0], first, images, none, none, none, lost, none, none)


def test_each_restart_is_the_member_of_least_common_cost():
    found = {"a": result([1.0, 2.0]), "b": result([3.0, 4.0]), "c": result([5.0, 6.0], (True, False))}
    costs = {"a": torch.tensor([[0.5, 0.4]]), "b": torch.tensor([[0.3, 0.6]]), "c": torch.tensor([[0.1, torch.nan]])}
    whole = best(found, costs, torch.ones(1, 2))
    assert whole.members == [["b", "a"]]
    assert whole.all_images.flatten().tolist() == [3.0, 2.0]
    assert whole.images.item() == 3.0
    assert whole.final_distance.tolist() == [[pytest.approx(0.3), pytest.approx(0.4)]]
    assert whole.best_restart.tolist() == [0]
    assert not whole.diverged.any()


def test_an_image_that_its_attack_certifies_comes_first():
    """Whatever the distances, and within a target as within a restart."""
    found = {"a": result([1.0, 2.0]), "b": replace(result([3.0, 4.0]), all_certified=torch.tensor([[False, True]]))}
    costs = {"a": torch.tensor([[0.1, 0.2]]), "b": torch.tensor([[0.3, 0.4]])}
    whole = best(found, costs, torch.ones(1, 2))
    assert whole.members == [["a", "b"]]
    assert whole.best_restart.tolist() == [1]
    assert whole.images.item() == 4.0
    assert whole.certified.tolist() == [True]
    assert best({"a": found["a"]}, costs, torch.ones(1, 2)).certified.tolist() == [False]


@pytest.mark.parametrize(
    ("defended", "refused"),
    [
        ("none", {"gs-masked", "gs-drop", "dlg-masked", "closed-form-pruned"}),
        ("head", set()),
        ("all", {"gs-drop", "closed-form", "closed-form-pruned"}),
    ],
)
def test_it_is_at_least_as_close_as_every_member(defended, refused, lenet):
    shared = shared_of(lenet, defended)
    whole = fldrep.reconstruct(lenet.model, shared, lenet.labels, "ensemble", 20, restarts=2)
    settings = attack_settings("ensemble", iterations=20, restarts=2)
    members = {name: one for name, one in members_of(settings).items() if name not in refused}
    for name, member in members.items():
        changed = {key: getattr(member, key) for key in ("iterations", "restarts")}
        one = fldrep.reconstruct(lenet.model, shared, lenet.labels, name, label_strategy="known", **changed)
        cost = common_distance(lenet, shared, one)
        assert (whole.final_distance <= cost.masked_fill(one.diverged, torch.inf) + 1e-12).all()
    assert {name for row in whole.members for name in row} <= members.keys()
    assert (whole.certified == ("closed-form" in members)).all(), "what can be certified comes first"


def test_the_common_cost_is_the_distance_that_gs_reports(lenet):
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, "gs", 3, restarts=2)
    torch.testing.assert_close(common_distance(lenet, lenet.update, found), found.final_distance)


def test_every_member_that_descends_may_evaluate_the_gradient_as_often():
    settings = attack_settings("ensemble", iterations=400, restarts=3)
    members = members_of(settings)
    assert {"gs", "gs-masked", "gs-drop", "gs-l2", "dlg", "dlg-scaled", "dlg-masked"} < members.keys()
    assert {"r-matching", "r-matching-spectral", "gs-spectral-masked", "closed-form"} < members.keys()
    assert members["closed-form"].iterations == attack_settings("closed-form").iterations, "it descends nothing"
    for one in members.values():
        assert one.iterations * evaluations_of(one) == 400 or one.optimiser == "layer-by-layer"
        assert one.restarts == 3
        assert one.labels == "known"


def test_what_an_ensemble_says_goes_to_the_members_by_its_optimiser():
    members = members_of(attack_settings("ensemble", lr=0.3, total_variation=0.5, feature_weight=2.0))
    assert (members["gs"].lr, members["gs"].total_variation, members["gs"].feature_weight) == (0.3, 0.5, None)
    assert (members["dlg"].lr, members["dlg"].total_variation) == (1.0, None)
    assert members["r-matching"].feature_weight == 2.0
    assert (members["gs-spectral-masked"].lr, members["gs-spectral-masked"].start) == (0.4, 0.5)
    assert {one.start for one in members_of(attack_settings("ensemble", start=0.2)).values()} == {0.2, 0.5, 1.0}


def test_what_is_certified_is_left_alone_by_the_members_after_it(lenet, monkeypatch):
    """And only that."""
    update = as_sent(lenet)
    for name, value in update.items():
        if name != HEAD_WEIGHT:
            value[0] *= 1 + 1e-3 * torch.linspace(-1, 1, value[0].numel()).view(value[0].shape)
    attacked, members = [], {"exact": {"preset": "closed-form"}, "gs": {"preset": "gs"}}
    whole = ensemble.attempt

    def attempt(observation, settings, work):
        attacked.append((settings.title, observation.count()))
        return whole(observation, settings, work)

    monkeypatch.setattr(ensemble, "attempt", attempt)
    mine = {"objective": "cosine", "optimiser": "signed-adam", "iterations": 20, "members": members}
    found = fldrep.reconstruct(lenet.model, update, lenet.labels, mine)
    assert found.certified.tolist() == [False, *[True] * (len(lenet.labels) - 1)]
    assert attacked == [("exact", len(lenet.labels)), ("gs", 1)]


def test_an_ensemble_of_ones_own(lenet):
    """Members by preset and by parts; what it compares judges them."""
    mine = {
        "objective": "l2",
        "optimiser": "signed-adam",
        "iterations": 40,
        "members": {"gs": {"preset": "gs", "lr": 0.3}, "flat": {"objective": "l2", "optimiser": "lbfgs"}},
    }
    found = fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, mine)
    assert {name for row in found.members for name in row} <= {"gs", "flat"}
    assert (found.final_distance <= found.initial_distance).all()
    settings = attack_settings(**mine)
    assert {name: one.iterations for name, one in members_of(settings).items()} == {"gs": 40, "flat": 2}
    assert attack_settings(**settings.model_dump(exclude_none=True)) == settings
