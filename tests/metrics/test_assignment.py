"""Reconstructions of an update against its images, in whatever order the attacker has them."""

from itertools import permutations

import pandas as pd
import pytest
import torch

from fldrep.metrics.assignment import assigned, matches
from fldrep.metrics.collect import matched


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 1, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_a_permuted_copy_is_matched_wholly():
    images = pixels(5)
    for order in ([4, 2, 0, 1, 3], [1, 2, 3, 4, 0], [0, 1, 2, 3, 4]):
        assert torch.equal(images[order][assigned(images[order], images)], images)


@pytest.mark.parametrize("seed", range(5))
def test_the_assignment_is_the_cheapest_of_all(seed):
    found, images = pixels(4, seed=seed) * 3 - 1, pixels(4, seed=seed + 100)
    costs = {
        order: sum((found[one].clamp(0, 1) - images[place]).square().mean().item() for place, one in enumerate(order))
        for order in permutations(range(4))
    }
    assert tuple(assigned(found, images).tolist()) == min(costs, key=costs.get)


def test_what_is_no_image_is_left_over_for_the_image_that_nothing_else_fits():
    images = pixels(3)
    found = torch.stack([torch.full_like(images[0], torch.nan), images[2], images[0]])
    assert assigned(found, images).tolist() == [2, 0, 1]


def test_every_update_and_restart_is_matched_by_itself():
    images = pixels(6)
    first, second = images[[2, 0, 1, 5, 4, 3]], images[[0, 1, 2, 4, 3, 5]]
    found = matches(torch.stack([first, second], 1), images, 3)
    assert found.T.tolist() == [[1, 2, 0, 2, 1, 0], [0, 1, 2, 1, 0, 2]]
    assert matches(torch.stack([first, second], 1), images, 1).eq(0).all()


def test_a_block_is_put_in_order_with_the_labels_its_images_were_made_with():
    images = pixels(4)
    tensors = {"originals": images, "images": images[[1, 0, 3, 2]].unsqueeze(1)}
    rows = pd.DataFrame({"target": [8, 9, 10, 11], "restart": 0, "images_per_update": 2, "label_found": [5, 6, 7, 8]})
    ordered, kept = matched(rows, tensors)
    assert torch.equal(kept["images"][:, 0], images)
    assert ordered["match"].tolist() == [1, 0, 1, 0]
    assert ordered["label_found"].tolist() == [6, 5, 8, 7]
    alone, unmoved = matched(rows.assign(images_per_update=1), tensors)
    assert not torch.equal(unmoved["images"][:, 0], images), "without matching, a permuted copy is no copy"
    assert alone["label_found"].tolist() == [5, 6, 7, 8]
