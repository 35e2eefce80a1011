import pytest
import torch
from torch import nn

from fldrep.config.defenses import defense_settings
from fldrep.defenses.face import defend
from fldrep.defenses.graddefense import root_set, sensitivity, slices_of
from fldrep.errors import ConfigError
from fldrep.models.updates import client_update


def test_slices_share_sensitivity():
    felt, sizes = [5.0, 1.0, 2.0], [1000, 200, 500]
    slices = slices_of(felt, sizes, 8)
    each = torch.cat([torch.full((n,), one / n) for one, n in zip(felt, sizes, strict=True)])
    summed = torch.zeros(8).index_add(0, slices, each)
    assert (summed - 1).abs().max() < 0.02
    assert (slices.diff() >= 0).all()
    assert slices_of([0.0], [4], 2).tolist() == [0, 0, 1, 1]


def test_the_root_set_has_so_many_of_each_class():
    assert root_set(torch.tensor([2, 0, 2, 2, 0]), 2).tolist() == [1, 4, 0, 2]


def test_sensitivity_is_the_norm_of_the_derivative_by_differences(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 2, 3, 2), nn.Sigmoid(), nn.Flatten(), shape=(3, 5, 5))
    images, labels, small = draw_images(2, (3, 5, 5)), torch.tensor([0, 1]), 1e-6
    found = sensitivity(model, images, labels)

    def sums(at):
        return {name: one.sum() for name, one in client_update(model, at[None], labels[None]).items()}

    slopes = {name: torch.zeros_like(images) for name in found}
    for place in range(images.numel()):
        step = torch.zeros(images.numel(), dtype=images.dtype)
        step[place] = small
        above, below = sums(images + step.view_as(images)), sums(images - step.view_as(images))
        for name, slope in slopes.items():
            slope.view(-1)[place] = (above[name] - below[name]) / (2 * small)
    assert found["head.bias"] < 1e-12  # the entries of softmax - label add up to 0
    for name, slope in slopes.items():
        assert found[name] == pytest.approx(float(slope.flatten(1).norm(dim=1).mean()), rel=1e-4, abs=1e-7)


def test_noise_is_on_the_slices_drawn_and_nowhere_else(make_network, draw_images):
    model = make_network(nn.Conv2d(3, 4, 3, 2), nn.Sigmoid(), nn.Flatten())
    images, labels = draw_images(3), torch.tensor([0, 1, 2])
    update = client_update(model, images, labels)
    asked = {"model": model, "images": images, "labels": labels}
    for perturbed in (0, 4, 10):
        sent = defend(update, "graddefense", perturbed=perturbed, scale=0.5, **asked)
        apart = torch.cat([(sent[name] - one).flatten(1) for name, one in update.items()], 1)
        whole = sensitivity(model, images[:1], labels[:1])
        slices = slices_of([*whole.values()], [update[name][0].numel() for name in whole], 10)
        touched = {int(one) for one in slices[apart[0] != 0]}
        assert len(touched) == perturbed
        if perturbed == 10:
            assert apart.std().item() == pytest.approx(0.5, rel=0.1)


def test_more_slices_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="perturbed: 11: expected at most 10, the slices"):
        defense_settings("graddefense", perturbed=11)
