"""Norms of Jacobians and layers, against singular values of matrices written out."""

import math

import pytest
import torch
from torch import nn

from fldrep.derivatives import lipschitz
from fldrep.derivatives.jacobian import full_jacobian
from fldrep.derivatives.lanczos import jacobian_norms, unit
from fldrep.derivatives.phases import largest_singular_value, phases_as_channels
from fldrep.errors import ConfigError
from fldrep.models.building import build_model
from fldrep.models.model import Model


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix_of(layer, shape):
    """A linear layer as a matrix, column by column."""
    zero = layer(torch.zeros(1, *shape, dtype=torch.float64))
    columns = [layer(unit.view(1, *shape)) - zero for unit in torch.eye(math.prod(shape), dtype=torch.float64)]
    return torch.stack([column.flatten() for column in columns], 1).detach()


def norm(matrix):
    return float(torch.linalg.svdvals(matrix)[0])


def model_of(*layers, shape=(1, 1, 3), features=3):
    return Model(nn.Sequential(*layers, nn.Flatten()), nn.Linear(features, 2), shape).double().eval()


NETWORKS = [("lenet", {"init": "uniform"}), ("convnet", {"width": 3})]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_jacobian_norms_are_the_largest_singular_values(name, options):
    model = build_model(name, (2, 9, 9), 3, dtype=torch.float64, **options).eval()
    images = drawn(3, 2, 9, 9)
    found, directions = jacobian_norms(model, images, tolerance=1e-5)
    for image, value, direction in zip(images, found, directions, strict=True):
        jacobian = full_jacobian(model, image)
        assert float(value) == pytest.approx(norm(jacobian), rel=1e-8)
        assert float((jacobian @ direction.flatten()).norm()) == pytest.approx(norm(jacobian), rel=1e-8)
        assert float(direction.norm()) == pytest.approx(1)


def test_few_steps_stay_below_and_more_come_closer():
    model = build_model("convnet", (1, 9, 9), 3, width=3, dtype=torch.float64).eval()
    image = drawn(1, 1, 9, 9)
    true = norm(full_jacobian(model, image[0]))
    reached = [float(jacobian_norms(model, image, steps=steps, tolerance=0)[0]) for steps in (1, 2, 4, 8)]
    assert reached == sorted(reached)
    assert reached[0] < reached[-1] <= true * (1 + 1e-12)


def test_an_image_does_not_depend_on_its_neighbours():
    model = build_model("lenet", (1, 8, 8), 3, init="uniform", dtype=torch.float64)
    images = drawn(3, 1, 8, 8)
    together = jacobian_norms(model, images, tolerance=1e-6)[0]
    alone = torch.cat([jacobian_norms(model, image[None], tolerance=1e-6)[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-25, 1e-19, 1.0, 1e19, 1e30])
def test_a_direction_of_any_size_is_scaled_to_norm_one(size):
    """In float32 the squares of the outer ones are 0 or infinite."""
    direction = torch.tensor([[3.0, 0.0, -4.0]]) * size
    found = unit(direction)
    expected = torch.tensor([[0.6, 0.0, -0.8]]) if size > 1e-40 else torch.zeros(1, 3)
    torch.testing.assert_close(found, expected)


def test_saturated_sigmoids_far_from_any_image_have_a_small_and_finite_norm():
    """As DLG leaves them: slopes of 1e-20 and below, whose squares are 0 in float32."""
    model = build_model("lenet", (1, 28, 28), 10, init="uniform").eval()
    images = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    far = images * torch.tensor([1.0, 10.0, 30.0, 1e2, 1e3, 1e5]).view(-1, 1, 1, 1)
    norms, directions = jacobian_norms(model, far)
    assert norms.isfinite().all()
    assert directions.isfinite().all()
    again, _ = jacobian_norms(model, images, start=directions)
    assert again.isfinite().all()
    exact = [norm(full_jacobian(model.double(), one.double())) for one in far[:3]]
    torch.testing.assert_close(norms[:3].double(), torch.tensor(exact, dtype=torch.float64), rtol=0.02, atol=1e-12)


def test_where_nothing_reacts_the_norm_is_zero():
    model = model_of(nn.ReLU())
    images = torch.stack([-torch.ones(1, 1, 3), torch.ones(1, 1, 3)]).double()
    norms, directions = jacobian_norms(model, images)
    torch.testing.assert_close(norms, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert directions.isfinite().all()


CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 5, "padding": 2, "stride": 2},
    {"kernel_size": 3, "stride": 3},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)},
    {"kernel_size": 1, "stride": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("size", [(4, 4), (7, 6)])
def test_a_convolution_is_bounded_from_above_and_closely(options, size):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, **options).double()
    found = lipschitz.layer_norm(layer, torch.zeros(1, 2, *size, dtype=torch.float64))
    true = norm(matrix_of(layer, (2, *size)))
    assert true <= found * (1 + 1e-12)
    assert found < 1.6 * true


def test_a_convolution_whose_gain_peaks_between_the_frequencies_of_a_small_grid():
    """The difference of neighbours of 6 pixels has norm 2 cos(pi / 12), found from a grid of 7: 2 cos(pi / 14)."""
    layer = nn.Conv2d(1, 1, (1, 2), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0]))
    found = lipschitz.layer_norm(layer, torch.zeros(1, 1, 1, 6, dtype=torch.float64))
    assert norm(matrix_of(layer, (1, 1, 6))) == pytest.approx(2 * math.cos(math.pi / 12))
    assert found == pytest.approx(2 * math.cos(math.pi / 14))


def test_a_convolution_of_one_pixel_is_its_matrix():
    layer = nn.Conv2d(4, 3, 1).double()
    found = lipschitz.layer_norm(layer, torch.zeros(1, 4, 5, 5, dtype=torch.float64))
    assert found == pytest.approx(norm(layer.weight.detach()[:, :, 0, 0]))


def test_strided_kernels_as_phases():
    images, kernel = drawn(1, 2, 9, 8), drawn(3, 2, 5, 4, seed=1)
    phases = (
        nn.functional.pad(images, (0, 0, 0, 1)).view(1, 2, 5, 2, 2, 4).permute(0, 1, 3, 5, 2, 4).reshape(1, 16, 5, 2)
    )
    found = nn.functional.conv2d(phases, phases_as_channels(kernel, (2, 4)))
    expected = nn.functional.conv2d(images, kernel, stride=(2, 4))
    torch.testing.assert_close(found[..., : expected.shape[2], : expected.shape[3]], expected)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_largest_singular_value_of_many(shape):
    matrices = drawn(9, *shape) + 1j * drawn(9, *shape, seed=1)
    expected = max(norm(one) for one in matrices)
    assert largest_singular_value(matrices, chunk=4) == pytest.approx(expected)


def batch_norm():
    layer = nn.BatchNorm2d(2).double().eval()
    layer.running_var.copy_(torch.tensor([0.25, 4.0]))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -6.0]))
    return layer


LINEAR = [
    (nn.AvgPool2d(2), (2, 4, 4), 1 / 2),
    (nn.AvgPool2d(3, 2), (1, 9, 9), None),
    (nn.AdaptiveAvgPool2d(1), (2, 3, 4), 1 / math.sqrt(12)),
    (nn.Flatten(), (2, 3, 3), 1.0),
    (nn.Identity(), (2, 3, 3), 1.0),
    (batch_norm(), (2, 2, 2), 6 / math.sqrt(4 + 1e-5)),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), LINEAR)
def test_linear_layers(layer, shape, expected):
    found = lipschitz.layer_norm(layer, torch.zeros(1, *shape, dtype=torch.float64))
    true = norm(matrix_of(layer, shape))
    assert true <= found * (1 + 1e-12)
    if expected is not None:
        assert found == pytest.approx(expected) == pytest.approx(true)


def test_pools_whose_windows_overlap_count_a_pixel_more_than_once():
    """A lone peak shows in four windows of 2 x 2 with stride 1."""
    pool, peak = nn.MaxPool2d(2, 1), torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    peak[..., 1, 1] = 1
    assert lipschitz.layer_norm(pool, peak) == pytest.approx(float(pool(peak).norm())) == pytest.approx(2)
    assert lipschitz.layer_norm(nn.MaxPool2d(3), peak) == 1


@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(2.0)])
def test_slopes_are_the_largest(layer):
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad(layer(x).sum(), x)[0]
    assert lipschitz.layer_norm(layer, x) == pytest.approx(float(slopes.abs().max()))


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_no_two_images_move_the_features_by_more_than_the_bound(name, options):
    model = build_model(name, (2, 9, 9), 3, dtype=torch.float64, **options).eval()
    bound = lipschitz.lipschitz_bound(model)
    first, second = drawn(20, 2, 9, 9), drawn(20, 2, 9, 9, seed=1)
    with torch.no_grad():
        moved = (model.features(first) - model.features(second)).norm(dim=1) / (first - second).flatten(1).norm(dim=1)
    assert float(moved.max()) <= bound
    assert float(jacobian_norms(model, first)[0].max()) <= bound


def test_a_residual_network_is_bounded():
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(2, 3, 1, 2, bias=False), nn.BatchNorm2d(3))
    blocks = [BasicBlock(2, 2), BasicBlock(2, 3, 2, shortcut)]
    model = model_of(*blocks, shape=(2, 4, 4), features=12)
    image = drawn(1, 2, 4, 4)
    bound = lipschitz.lipschitz_bound(model)
    assert norm(full_jacobian(model, image[0])) <= bound
    parts = [lipschitz.layer_norm(m, image) for m in (blocks[0].conv1, blocks[0].bn1, blocks[0].conv2, blocks[0].bn2)]
    assert lipschitz.layer_norm(blocks[0], image) == pytest.approx(1 + math.prod(parts))


REFUSED = [
    (nn.GELU(), "module GELU"),
    (nn.Conv2d(2, 2, 3, groups=2), "groups"),
    (nn.Conv2d(2, 2, 3, padding="same"), "padding 'same'"),
    (nn.Conv2d(2, 2, 3, dilation=2), "dilation"),
    (nn.MaxPool2d(2, dilation=2), "dilation"),
    (nn.AvgPool2d(3, padding=1), "padding"),
    (nn.AdaptiveAvgPool2d(4), "does not divide"),
]


@pytest.mark.parametrize(("layer", "words"), REFUSED)
def test_what_no_bound_is_known_for_is_named(layer, words):
    with pytest.raises(ConfigError, match=words):
        lipschitz.layer_norm(layer, torch.zeros(1, 2, 6, 6))


def test_the_bound_of_a_network_with_an_unknown_layer_is_refused():
    with pytest.raises(ConfigError, match="GELU"):
        lipschitz.lipschitz_bound(model_of(nn.GELU()))
