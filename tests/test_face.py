"""The package's Python face: light to import, and one call after the other as documented."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fldrep
from fldrep.errors import FLDRepError

GOLDEN = Path(__file__).parent / "golden" / "lenet.npz"


def test_every_name_is_there_and_unknown_ones_are_refused():
    for name in fldrep.__all__:
        assert callable(getattr(fldrep, name)), name
        assert name in dir(fldrep)
    with pytest.raises(AttributeError, match="module 'fldrep' has no attribute 'colour'"):
        _ = fldrep.colour
    assert fldrep.__version__


@pytest.mark.parametrize(("name", "arguments"), [("lenet", {"init": "uniform"}), ("convnet", {"width": 4})])
def test_the_documented_chain(name, arguments):
    golden = np.load(GOLDEN)
    pixels = torch.tensor(golden["images"]).permute(0, 3, 1, 2)[:2].float() / 255
    images, labels = (pixels - 0.5) / 0.25, torch.tensor(golden["labels"])[:2]
    model = fldrep.build_model(name, shape=(3, 32, 32), classes=10, seed=0, **arguments).eval()
    width = model.features(images).shape[1]
    update = fldrep.client_update(model, images, labels)
    assert {key: value.shape for key, value in update.items()} == {
        key: (2, *value.shape) for key, value in model.named_parameters()
    }
    client = {"model": model, "images": images}
    shared = fldrep.defend(update, "soteria", rate=0.6, rule="ratio", labels=labels, seed=0, **client)
    scores = fldrep.feature_scores(model, images, rule="ratio")
    kept = fldrep.column_mask(model, images, rate=0.6, rule="ratio", per="sample")
    assert scores.shape == kept.shape == (2, width)
    assert fldrep.column_mask(model, images, rate=0.6, rule="ratio", per="batch").shape == (width,)
    assert kept.dtype == torch.bool
    assert scores[~kept].min() >= scores[0].min()
    torch.testing.assert_close(shared["head.weight"], update["head.weight"] * kept[:, None, :])
    found = fldrep.reconstruct(model, shared, labels, attack="gs", iterations=3, seed=0)
    assert found.images.shape == images.shape
    assert found.images.dtype == images.dtype
    assert found.distance.shape == (2,)
    table = fldrep.compare(found.images, images)
    assert list(table.columns) == ["mse", "mse_pixel", "psnr_db", "ssim"]
    assert len(table) == 2


def test_the_same_call_gives_the_same_result_and_leaves_the_global_state_alone():
    model = fldrep.build_model("lenet", init="uniform").eval()
    images, labels = torch.zeros(1, 3, 32, 32), torch.tensor([1])
    update = fldrep.client_update(model, images, labels)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    runs = [fldrep.reconstruct(model, update, labels, attack="gs", iterations=2, seed=5).images for _ in range(2)]
    noisy = [fldrep.defend(update, "gaussian", std=0.1, seed=5)["head.bias"] for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*runs)
    assert torch.equal(*noisy)
    other = fldrep.reconstruct(model, update, labels, attack="gs", iterations=2, seed=6).images
    assert not torch.equal(runs[0], other)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda model, update: fldrep.defend(update, "soterai", rate=0.5), "unknown defense 'soterai'"),
        (lambda model, update: fldrep.defend(update, "compression", rate=60), "rate: .*less than or equal to 1"),
        (
            lambda model, update: fldrep.defend(update, "gaussian", rate=0.5),
            "rate: 0.5: unknown key; method 'gaussian'",
        ),
        (
            lambda model, update: fldrep.reconstruct(model, update, attack="gsx"),
            "unknown attack 'gsx'; known: closed-form",
        ),
        (lambda model, update: fldrep.reconstruct(model, update, torch.tensor([1]), iterations=-1), "iterations"),
        (lambda model, update: fldrep.reconstruct(model, update, torch.tensor([1]), history=3), "history"),
        (lambda model, update: fldrep.reconstruct(model, update, torch.tensor([1]), attack="gs-drop"), "gs-drop"),
        (lambda model, update: fldrep.feature_scores(model, torch.zeros(1, 3, 32, 32), rule="l2"), "'l2'"),
        (lambda model, update: fldrep.build_model("alexnet"), "unknown model 'alexnet'"),
    ],
)
def test_mistakes_are_told_by_name(call, told):
    model = fldrep.build_model("lenet", init="uniform").eval()
    update = fldrep.client_update(model, torch.zeros(1, 3, 32, 32), torch.tensor([1]))
    with pytest.raises(FLDRepError, match=told) as refused:
        call(model, update)
    assert "\n" not in str(refused.value)
