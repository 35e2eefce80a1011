import pytest
import torch

import fldrep
from fldrep.attack.compares import Comparison
from fldrep.config.attacks import attack_settings
from fldrep.errors import AttackRefused
from fldrep.models.model import without_pruned
from fldrep.models.updates import HEAD_WEIGHT, LocalSteps, update_gradients


@pytest.fixture(scope="module")
def shared(lenet):
    """What clients send who prune half of the representation, each by a mask of its own."""
    given = {"model": lenet.model, "images": lenet.images, "labels": lenet.labels}
    return fldrep.defend(lenet.update, "soteria", rate=0.5, rule="ratio", prune="representation", **given)


def errors(found, made):
    return (found.images - made.images).square().mean((1, 2, 3))


def test_the_image_itself_explains_the_update_only_through_the_mask(lenet, shared):
    """All tensors, to the last bits; without the mask in the trial, layers below the last contradict the truth."""
    comparison = Comparison.of(attack_settings("gs-pruned"), "head")
    for target in range(3):
        update = {name: value[target : target + 1] for name, value in shared.items()}
        image, label = lenet.images[target : target + 1, None], lenet.labels[target : target + 1, None]
        observed = comparison.prepare(update)
        through = update_gradients(without_pruned(lenet.model, update[HEAD_WEIGHT][0]), image, label)
        assert comparison.distance(through, observed)[0].abs() < 1e-12
        assert comparison.distance(update_gradients(lenet.model, image, label), observed)[0] > 1e-3


def test_dlg_recovers_through_the_mask_what_it_loses_beside_it(lenet, shared):
    near, far = (
        fldrep.reconstruct(lenet.model, shared, lenet.labels, preset, 40, restarts=2, label_strategy="known")
        for preset in ("dlg-pruned", "dlg-masked")
    )
    assert errors(near, lenet).median() < 1e-4 < 0.1 < errors(far, lenet).median()


def test_gs_ends_nearer_through_the_mask(lenet, shared):
    near, far = (
        fldrep.reconstruct(lenet.model, shared, lenet.labels, preset, 200, total_variation=0.0)
        for preset in ("gs-pruned", "gs-masked")
    )
    assert (near.final_distance < 0.2 * far.final_distance).all()
    assert errors(near, lenet).median() < 0.5 * errors(far, lenet).median()


@pytest.mark.parametrize("preset", ["gs-pruned", "dlg-pruned"])
def test_a_target_is_attacked_the_same_alone_and_beside_others(lenet, shared, preset):
    whole = fldrep.reconstruct(lenet.model, shared, lenet.labels, preset, 2, restarts=2)
    assert whole.all_images.shape == (3, 2, *lenet.shape)
    alone = fldrep.reconstruct(
        lenet.model, {name: one[:1] for name, one in shared.items()}, lenet.labels[:1], preset, 2, restarts=2
    )
    assert torch.equal(whole.all_images[:1], alone.all_images)
    assert not torch.equal(whole.all_images[1, 0], whole.all_images[1, 1])


def test_the_model_is_left_as_it_was(lenet, shared):
    before = lenet.model.head.weight.clone()
    fldrep.reconstruct(lenet.model, shared, lenet.labels, "gs-pruned", 1)
    assert torch.equal(lenet.model.head.weight, before)


def test_without_one_mask_an_update_it_is_refused_by_name(lenet, shared):
    for update in (lenet.update, fldrep.defend(lenet.update, "compression", rate=0.5)):
        with pytest.raises(AttackRefused, match="gs-pruned"):
            fldrep.reconstruct(lenet.model, update, lenet.labels, "gs-pruned", 1)
    steps = LocalSteps(epochs=2, batch_size=1, lr=0.01)
    with pytest.raises(AttackRefused, match="local step"):
        fldrep.reconstruct(lenet.model, shared, lenet.labels, "gs-pruned", 1, local=steps)
