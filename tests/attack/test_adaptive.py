import pytest
import torch

import fldrep
from fldrep.attack.compares import Comparison
from fldrep.attack.observation import public_zeros
from fldrep.config.attacks import attack_settings, modules_of
from fldrep.errors import AttackRefused, UnknownName
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT, Update, update_gradients
from fldrep.plan.digest import imported_modules


def masked(update, defended=None):
    shared = {name: value.clone() for name, value in update.items()}
    shared[HEAD_WEIGHT][:, :, ::3] = 0
    return shared if defended is None else Update(shared, defended)


def compared(preset, zeros):
    return Comparison.of(attack_settings(preset), zeros)


def test_a_preset_imports_no_other():
    """GS jobs do not depend on the L-BFGS code, nor DLG jobs on GS; neither on how ensembles are made."""
    beside = ("ensemble", "pruned")
    for preset, absent in (("gs", ("quasi_newton", "points", *beside)), ("dlg", ("adam", "regularisers", *beside))):
        found = imported_modules("fldrep.attack.job", *modules_of(attack_settings(preset)))
        assert "fldrep.attack.engine" in found
        assert not {one for one in found for name in absent if one.startswith(f"fldrep.attack.{name}")}
        assert len([one for one in found if one.startswith("fldrep.attack.objectives.")]) == 1
        assert len([one for one in found if one.startswith("fldrep.attack.optimisers.")]) == 1


def test_what_is_defended_is_told_or_said_or_seen(lenet):
    plain = dict(lenet.update)
    assert public_zeros(lenet.update) == "none"
    assert public_zeros(plain) == "none"
    assert public_zeros(masked(plain)) == "head"
    assert public_zeros(masked(plain, "all")) == "all"
    assert public_zeros(masked(plain, "all"), "head") == "head"
    with pytest.raises(UnknownName, match="body"):
        public_zeros(plain, "body")


@pytest.mark.parametrize("preset", ["gs-masked", "gs-drop", "dlg-masked"])
def test_without_a_defense_they_are_refused_by_name(preset, lenet):
    with pytest.raises(AttackRefused, match=preset):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 1)


def test_what_is_not_known_of_a_defense_refuses_no_attack(lenet):
    """Whether noise was added or an update clipped cannot be seen; a config knows, and is checked."""
    for preset in ("gs-averaged", "dlg-scaled"):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 0)


def test_drop_is_refused_where_no_single_layer_is_defended(lenet):
    with pytest.raises(AttackRefused, match="gs-drop"):
        fldrep.reconstruct(lenet.model, masked(lenet.update, "all"), lenet.labels, "gs-drop", 1)


@pytest.mark.parametrize("preset", ["gs-masked", "gs-drop", "dlg-masked"])
def test_the_evidence_of_zero_columns_is_enough(preset, lenet):
    told, seen = (
        fldrep.reconstruct(lenet.model, shared, lenet.labels, preset, 2, defended=defended)
        for shared, defended in ((masked(lenet.update), "head"), (masked(lenet.update), None))
    )
    assert torch.equal(told.images, seen.images)


def test_each_problem_has_its_own_mask(lenet):
    shared = masked(lenet.update)
    shared[HEAD_WEIGHT][1] = lenet.update[HEAD_WEIGHT][1]
    shared[HEAD_WEIGHT][1][:, 5] = 0
    comparison = compared("gs-masked", "head")
    ones = {name: torch.ones_like(value) for name, value in shared.items()}
    _, derivative = comparison.distance(ones, comparison.prepare(shared))
    assert derivative[HEAD_WEIGHT][0, 0, 5] != 0
    assert derivative[HEAD_WEIGHT][1, 0, 5] == 0
    assert derivative[HEAD_WEIGHT][0, 0, 0] == 0
    assert derivative[HEAD_WEIGHT][1, 0, 0] != 0


def test_masked_dlg_recovers_what_dlg_as_published_loses(lenet):
    """A wide enough network, a third of the columns masked: zeros taken for gradients lead away from the image."""
    shared = masked(lenet.update, "head")
    near, far = (
        fldrep.reconstruct(lenet.model, shared, lenet.labels, preset, 40, restarts=2, label_strategy="known")
        for preset in ("dlg-masked", "dlg")
    )
    errors = [(found.images - lenet.images).square().mean((1, 2, 3)).median().item() for found in (near, far)]
    assert errors[0] < 1e-4 < 0.1 < errors[1]


def test_a_perfect_image_has_distance_zero_only_for_an_attacker_who_knows_the_mask(lenet):
    """What the defense gains against GS as published, and loses against the adaptive attacks."""
    shared = masked(lenet.update)
    trial = update_gradients(lenet.model, lenet.images[:, None], lenet.labels[:, None])
    masked_one, dropped, naive = (compared(preset, "head") for preset in ("gs-masked", "gs-drop", "gs"))
    assert (masked_one.distance(trial, masked_one.prepare(shared))[0].abs() < 1e-12).all()
    assert (dropped.distance(trial, dropped.prepare(shared))[0].abs() < 1e-12).all()
    assert not dropped.distance(trial, dropped.prepare(shared))[1].keys() & {HEAD_WEIGHT, HEAD_BIAS}
    assert (naive.distance(trial, naive.prepare(shared))[0] > 0.01).all()
