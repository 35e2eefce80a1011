"""What a server sees, against a plain loop over images with `torch.autograd.grad`, in float64."""

import pytest
import torch
from torch import nn

from fldrep.errors import ConfigError
from fldrep.models.building import build_model
from fldrep.models.updates import (
    HEAD_BIAS,
    HEAD_WEIGHT,
    Update,
    client_update,
    cosine_distance,
    cross_entropy,
    squared_distance,
    update_gradients,
)

SHAPE = (3, 16, 16)
MODELS = {"lenet": {"init": "uniform"}, "convnet": {"width": 3}, "softmax": {}}


def some_model(name, **change):
    model = build_model(name, SHAPE, seed=2, dtype=torch.float64, **{**MODELS[name], **change})
    if name == "convnet":
        model(batch(9)[0])  # running statistics that are not 0 and 1
    return model.eval()


def batch(seed, *count):
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(*(count or (5,)), *SHAPE, generator=random, dtype=torch.float64)
    return images, torch.randint(0, 10, count or (5,), generator=random)


def loop_of_one(model, images, labels):
    """The gradient of minus the log of the true class's softmax, averaged over images; no shared code."""
    total = 0
    for image, label in zip(images, labels, strict=True):
        logits = model(image[None])[0]
        total = total + torch.logsumexp(logits, 0) - logits[label]
    return dict(
        zip(
            (name for name, _ in model.named_parameters()),
            torch.autograd.grad(total / len(images), list(model.parameters())),
            strict=True,
        )
    )


@pytest.mark.parametrize("name", MODELS)
def test_each_update_is_the_gradient_of_its_own_image(name):
    model, (images, labels) = some_model(name), batch(0)
    found = client_update(model, images, labels)
    assert list(found) == [one for one, _ in model.named_parameters()]
    for place in range(5):
        expected = loop_of_one(model, images[place : place + 1], labels[place : place + 1])
        for key, value in expected.items():
            torch.testing.assert_close(found[key][place], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_an_update_of_a_batch_is_the_gradient_of_its_mean_loss(name):
    model, (images, labels) = some_model(name), batch(1, 2, 3)
    found = client_update(model, images, labels)
    for place in range(2):
        for key, value in loop_of_one(model, images[place], labels[place]).items():
            torch.testing.assert_close(found[key][place], value, rtol=1e-9, atol=1e-12)


def test_the_last_layers_gradient_is_delta_times_r():
    """FACTS of the paper: dL/dW = delta r^T and dL/db = delta, so a row over its bias entry is r exactly."""
    model, (images, labels) = some_model("lenet"), batch(2)
    found = client_update(model, images, labels)
    assert HEAD_WEIGHT in found
    delta = torch.softmax(model(images), 1) - torch.eye(10, dtype=torch.float64)[labels]
    torch.testing.assert_close(found[HEAD_BIAS], delta)
    row = found[HEAD_WEIGHT][:, 4] / found[HEAD_BIAS][:, 4, None]
    torch.testing.assert_close(row, model.features(images))


def test_the_loss_takes_probabilities_as_well_as_classes():
    model, (images, labels) = some_model("lenet"), batch(3)
    soft = torch.eye(10, dtype=torch.float64)[labels]
    hard = update_gradients(model, images[:, None], labels[:, None])
    torch.testing.assert_close(hard, update_gradients(model, images[:, None], soft[:, None]))
    mixed = torch.full((5, 10), 0.1, dtype=torch.float64)
    logits = model(images)
    torch.testing.assert_close(cross_entropy(logits, mixed), (logits.logsumexp(1) - logits.mean(1)).mean())


def test_gradients_can_be_differentiated_to_images_and_soft_labels():
    model, (images, _) = some_model("lenet"), batch(4, 2)
    images, soft = images[:, None].requires_grad_(), torch.rand(2, 1, 10, dtype=torch.float64).requires_grad_()

    def first_layer(images, soft):
        return update_gradients(model, images, soft)["body.0.bias"].sum()

    assert torch.autograd.gradcheck(first_layer, (images, soft), fast_mode=True)
    assert not client_update(model, images.detach()[:, 0], torch.tensor([1, 2]))["body.0.bias"].requires_grad


@pytest.mark.parametrize("chunk", [1, 2, 5, 7])
def test_chunks_change_nothing(chunk):
    model, (images, labels) = some_model("convnet"), batch(5)
    whole = update_gradients(model, images[:, None], labels[:, None])
    torch.testing.assert_close(update_gradients(model, images[:, None], labels[:, None], chunk=chunk), whole)


def test_an_update_does_not_depend_on_its_neighbours_nor_on_the_state_of_autograd():
    model, (images, labels) = some_model("convnet"), batch(6)
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    together = client_update(model, images, labels)
    with torch.no_grad():
        alone = client_update(model, images[3:4], labels[3:4])
    for key in together:
        torch.testing.assert_close(together[key][3:4], alone[key])
    assert all((value.grad == 1).all() for value in model.parameters())


def test_dtype_is_the_models_and_the_kind_of_update_is_kept():
    model = build_model("lenet", SHAPE, seed=0).eval()
    images, labels = batch(7)
    found = client_update(model, images.float(), labels)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert isinstance(found, Update)
    assert found.defended == "none"


def test_what_would_not_be_one_clients_update_is_refused():
    images, labels = batch(8)
    with pytest.raises(ConfigError, match=r"batch norm 'body\.1' is in training mode; call model.eval\(\)"):
        client_update(some_model("convnet").train(), images, labels)
    with pytest.raises(ConfigError, match=r"images have shape \(3, 16, 16\); expected \(N, C, H, W\)"):
        client_update(some_model("lenet"), images[0], labels[:1])


# ---- distances


def two_updates():
    random = torch.Generator().manual_seed(0)
    shapes = {"a": (4, 3, 2), "b": (4, 5), "c": (4, 1)}
    draw = {name: torch.randn(2, *shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: both[0] for name, both in draw.items()}, {name: both[1] for name, both in draw.items()}


def as_rows(update):
    return torch.cat([value.reshape(4, -1) for value in update.values()], 1)


def test_cosine_distance_is_taken_over_all_layers_jointly():
    one, other = two_updates()
    expected = 1 - nn.functional.cosine_similarity(as_rows(one), as_rows(other))
    torch.testing.assert_close(cosine_distance(one, other), expected, rtol=1e-12, atol=1e-14)
    scaled = {name: 1e-9 * value for name, value in other.items()}
    torch.testing.assert_close(cosine_distance(one, scaled), expected)
    torch.testing.assert_close(cosine_distance(one, {k: -v for k, v in one.items()}), torch.full((4,), 2.0).double())


def test_squared_distance_is_a_plain_sum():
    one, other = two_updates()
    expected = nn.functional.mse_loss(as_rows(one), as_rows(other), reduction="none").sum(1)
    torch.testing.assert_close(squared_distance(one, other), expected)
    torch.testing.assert_close(squared_distance(one, one), torch.zeros(4).double())


def test_distances_look_only_at_the_tensors_of_the_trial():
    one, other = two_updates()
    some = {name: one[name] for name in ("a", "c")}
    seen = {name: other[name] for name in ("a", "c")}
    torch.testing.assert_close(cosine_distance(some, other), cosine_distance(some, seen))
    torch.testing.assert_close(squared_distance(some, other), squared_distance(some, seen))


def test_an_update_of_zeros_is_at_distance_one_and_has_a_finite_slope():
    one, _ = two_updates()
    one = {name: value.requires_grad_() for name, value in one.items()}
    zeros = {name: torch.zeros_like(value) for name, value in one.items()}
    for distance in (cosine_distance(one, zeros), cosine_distance({k: 0 * v for k, v in one.items()}, zeros)):
        torch.testing.assert_close(distance.detach(), torch.ones(4).double())
        slopes = torch.autograd.grad(distance.sum(), list(one.values()))
        assert all(slope.isfinite().all() for slope in slopes)
