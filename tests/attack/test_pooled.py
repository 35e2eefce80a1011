"""The image through ReLU and max-pools: winners by sparse columns, their places, and what is refused."""

import pytest
import torch
from torch import nn

import fldrep
from fldrep.attack.jigsaw import assembled, places_of
from fldrep.attack.way_down import way_down
from fldrep.attack.winners import winning_columns
from fldrep.derivatives.layer import NoRule
from fldrep.errors import AttackRefused
from fldrep.models.face import steady

SHAPE = (3, 12, 12)


def pooled(width=96, pool=3, behind=()):
    torch.manual_seed(1)
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, width, 3, padding=1)]
    body += [nn.ReLU(), nn.MaxPool2d(pool, 6 if pool == 6 else pool), *behind, nn.Flatten()]
    features = nn.Sequential(*body)(torch.zeros(1, *SHAPE)).shape[1]
    return nn.Sequential(*body, nn.Linear(features, 10)).eval()


def test_columns_of_a_sparse_product_are_found():
    torch.manual_seed(0)
    winners = torch.randint(0, 4, (60, 2))
    slopes = torch.randn(60, 2, dtype=torch.float64)
    sparse = torch.zeros(60, 8, dtype=torch.float64)
    for cell in range(2):
        sparse[torch.arange(60), 4 * cell + winners[:, cell]] = slopes[:, cell]
    cells, found = winning_columns(sparse @ torch.randn(8, 30, dtype=torch.float64), slopes)
    assert sorted(cells) == [0] * 4 + [1] * 4
    distances = torch.cdist(found.T, sparse.T)
    assert sorted(distances.argmin(1).tolist()) == list(range(8))


def test_patches_are_put_in_their_places():
    whole = torch.zeros(4, 6, 6, dtype=torch.float64)
    whole[:, 1:5, 1:5] = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    places = [(row, column) for row in range(4) for column in range(4)]
    shuffled = [places[one] for one in torch.randperm(16, generator=torch.Generator().manual_seed(1))]
    patches = torch.stack([whole[:, row : row + 3, column : column + 3] for row, column in shuffled])
    cells = [row // 2 * 2 + column // 2 for row, column in shuffled]
    assert places_of(patches, cells, 2, 2) == shuffled
    assert torch.allclose(assembled(patches, shuffled, 6, 6), whole)
    with pytest.raises(NoRule, match="fit together"):
        places_of(patches + torch.rand_like(patches), cells, 2, 2)


def test_more_places_than_channels_are_refused_with_both_numbers():
    model = fldrep.build_model("convnet", shape=(3, 32, 32), width=16)
    images, labels = torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)
    update = fldrep.client_update(model.eval(), images, labels)
    with pytest.raises(AttackRefused, match=r"81 places.*64 channels"):
        fldrep.reconstruct(model, update, labels, attack="closed-form")


def test_what_stands_behind_the_last_pool_is_named():
    with pytest.raises(NoRule, match="not a max-pool"):
        way_down(steady(pooled(behind=(nn.ReLU(),)), SHAPE), SHAPE)


@pytest.mark.long
@pytest.mark.parametrize("rate", [None, 1.0])
def test_the_reference_network_gives_its_image_away_at_any_rate(rate):
    model = fldrep.build_model("convnet", shape=(3, 32, 32), width=64, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(images, scale_factor=4, mode="bilinear") * 2 - 1
    labels = torch.tensor([3])
    update = fldrep.client_update(model, images, labels)
    if rate:
        update = fldrep.defend(update, "soteria", rate=rate, model=model, images=images, labels=labels)
    found = fldrep.reconstruct(model, update, labels, attack="closed-form")
    assert (found.images - images).square().mean() < 1e-3
    assert not found.certified.any()
