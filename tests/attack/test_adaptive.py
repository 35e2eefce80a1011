import pytest
import torch
from fldrep.attack.masks import defended_part, masked_columns, without_head

import fldrep
from fldrep.attack import attack_named
from fldrep.attack.objectives import cosine, keep_all
from fldrep.config.attacks import ATTACK_MODULES
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.errors import AttackRefused, UnknownName
from fldrep.models.updates import HEAD_WEIGHT, Update, update_gradients
from fldrep.plan.digest import imported_modules


def masked(update, defended=None):
    shared = {name: value.clone() for name, value in update.items()}
    shared[HEAD_WEIGHT][:, :, ::3] = 0
    return shared if defended is None else Update(shared, defended)


def test_every_preset_has_its_attack():
    assert ATTACK_MODULES.keys() == ATTACK_PRESETS.keys()
    for preset in ATTACK_PRESETS:
        assert callable(attack_named(preset))
    with pytest.raises(UnknownName, match="gs-masked"):
        attack_named("deep-leakage")


def test_a_preset_imports_no_other():
    """GS jobs do not depend on the L-BFGS code, nor DLG jobs on GS."""
    for preset, absent in (("gs", ("lbfgs", "dlg", "adaptive")), ("dlg", ("gs", "adaptive", "priors"))):
        found = imported_modules(ATTACK_MODULES[preset])
        assert "fldrep.attack.engine" in found
        assert not found & {f"fldrep.attack.{name}" for name in absent}


def test_what_is_defended_is_told_or_said_or_seen(lenet):
    plain = dict(lenet.update)
    assert defended_part(lenet.update) == "none"
    assert defended_part(plain) == "none"
    assert defended_part(masked(plain)) == "head"
    assert defended_part(masked(plain, "all")) == "all"
    assert defended_part(masked(plain, "all"), "head") == "head"
    with pytest.raises(UnknownName, match="body"):
        defended_part(plain, "body")


@pytest.mark.parametrize("preset", ["gs-masked", "gs-drop", "dlg-masked"])
def test_without_a_defense_they_are_refused_by_name(preset, lenet):
    with pytest.raises(AttackRefused, match=preset):
        fldrep.reconstruct(lenet.model, lenet.update, lenet.labels, preset, 1)


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
    _, slope = cosine({name: torch.ones_like(value) for name, value in shared.items()}, masked_columns(shared))
    assert slope[HEAD_WEIGHT][0, 0, 5] != 0
    assert slope[HEAD_WEIGHT][1, 0, 5] == 0
    assert slope[HEAD_WEIGHT][0, 0, 0] == 0
    assert slope[HEAD_WEIGHT][1, 0, 0] != 0


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
    assert (cosine(trial, masked_columns(shared))[0].abs() < 1e-12).all()
    assert (cosine(trial, without_head(shared))[0].abs() < 1e-12).all()
    assert (cosine(trial, keep_all(shared))[0] > 0.01).all()
