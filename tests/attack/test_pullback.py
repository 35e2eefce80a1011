import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fldrep
from fldrep.attack import winograd
from fldrep.attack.convolution import Geometry, as_rows, by_input, own_by_input, patches, turn
from fldrep.attack.layerwise import layerwise
from fldrep.attack.pullback import by_autodiff
from fldrep.models.model import Model


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tanh_model():
    """Layers and geometries that the two networks do not have: tanh, stride 3, no padding, no bias."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=3, padding=1, bias=False),
        nn.Tanh(),
        nn.MaxPool2d(2, stride=1, padding=1),
        nn.Conv2d(4, 2, 2),
        nn.Flatten(),
    )
    return Model(body, nn.Linear(50, 5, bias=False)).double().eval()


def assert_same_map(model, images, soft):
    general, special = by_autodiff(model), layerwise(model, tuple(images.shape[2:]))
    expected, back = general.run(images, soft)
    found, pull = special.run(images, soft)
    arranged = special.arrange(expected)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, arranged[name], msg=name)
    v = {name: numbers(*value.shape, seed=7) for name, value in expected.items()}
    for one, other in zip(pull(special.arrange(v)), back(v), strict=True):
        torch.testing.assert_close(one, other)


def test_layerwise_is_autodiff_on_lenet(lenet):
    assert_same_map(lenet.model, numbers(2, 3, 3, 16, 16), numbers(2, 3, 5).softmax(-1))


def test_layerwise_is_autodiff_on_convnet(convnet):
    assert_same_map(convnet.model, numbers(3, 2, 3, 18, 18), numbers(3, 2, 5).softmax(-1))


def test_layerwise_is_autodiff_on_other_layers():
    assert_same_map(tanh_model(), numbers(2, 1, 3, 15, 15), numbers(2, 1, 5).softmax(-1))


def test_layerwise_is_autodiff_on_softmax_regression():
    model = fldrep.build_model("softmax", shape=(1, 6, 6), classes=5, dtype=torch.float64)
    assert_same_map(model, numbers(2, 2, 1, 6, 6), numbers(2, 2, 5).softmax(-1))


def test_names_left_out_of_a_pullback_count_as_zero(lenet):
    images, soft = numbers(2, 1, 3, 16, 16), numbers(2, 1, 5).softmax(-1)
    for made in (by_autodiff(lenet.model), layerwise(lenet.model, lenet.shape)):
        found, pull = made.run(images, soft)
        v = {name: torch.ones_like(value) for name, value in found.items()}
        zeroed = {name: value * ("head" not in name) for name, value in v.items()}
        short = {name: value for name, value in v.items() if "head" not in name}
        for one, other in zip(pull(short), pull(zeroed), strict=True):
            torch.testing.assert_close(one, other)


def test_a_layer_without_a_rule_is_left_to_autodiff():
    assert layerwise(Model(nn.Sequential(nn.Flatten(), nn.Softplus()), nn.Linear(12, 3)), (3, 2, 2)) is None
    assert (
        layerwise(Model(nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten()), nn.Linear(2, 3)), (2, 3, 3)) is None
    )
    assert layerwise(Model(nn.Sequential(nn.Conv2d(2, 2, (3, 1)), nn.Flatten()), nn.Linear(2, 3)), (2, 3, 3)) is None


GEOMETRIES = [(5, 2, 2, 16), (5, 1, 2, 8), (3, 1, 1, 10), (7, 3, 1, 25), (5, 2, 2, 15), (3, 2, 1, 9), (2, 3, 0, 11)]


@pytest.mark.parametrize(("size", "stride", "padding", "length"), GEOMETRIES)
def test_turned_convolution_is_the_slope_by_the_input(size, stride, padding, length):
    geometry = Geometry(size, stride, padding)
    x, weight = numbers(2, 3, length, length + 1).requires_grad_(), numbers(4, 3, size, size, seed=1)
    y = F.conv2d(x, weight, None, stride, padding)
    gy = numbers(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, gy)
    shared = by_input(gy, turn(as_rows(weight), geometry), geometry, length, length + 1)
    torch.testing.assert_close(shared, expected)
    own = own_by_input(gy, torch.stack([as_rows(weight), 2 * as_rows(weight)]), geometry, length, length + 1)
    torch.testing.assert_close(own, torch.stack([expected[0], 2 * expected[1]]))


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (5, 2), (1, 1), (2, 3)])
def test_patches_times_rows_is_a_convolution(size, stride):
    x, weight = numbers(2, 3, 9, 11), numbers(4, 3, size, size, seed=1)
    found = patches(x, size, stride) @ as_rows(weight).mT
    torch.testing.assert_close(found.permute(0, 3, 1, 2), F.conv2d(x, weight, None, stride))


def test_arrange_only_reorders(lenet):
    for name, value in layerwise(lenet.model, lenet.shape).arrange(lenet.update).items():
        assert torch.equal(value.flatten(1).sort(1).values, lenet.update[name].flatten(1).sort(1).values)


def wide_model():
    """Wide and large enough for Winograd's algorithm, which the small models are not."""
    model = fldrep.build_model("convnet", shape=(3, 16, 20), classes=5, width=16, dtype=torch.float64).eval()
    assert winograd.fits(Geometry.of(model.body[9]), (64, 16, 20), 64)
    return model


def test_layerwise_is_autodiff_with_winograd():
    assert_same_map(wide_model(), numbers(2, 2, 3, 16, 20), numbers(2, 2, 5).softmax(-1))


def test_winograds_transforms_give_a_convolution():
    x, weight = numbers(2, 8, 12, 3), numbers(5, 3, 3, 3, seed=1)
    kernel = winograd.from_kernel(winograd.as_rows(weight))
    found = winograd.to_output(winograd.from_input(x) @ kernel.mT, (2, 8, 12))
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, None, 1, 1)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected)


def test_winograds_rounding_is_that_of_float32():
    x, weight = numbers(1, 32, 32, 64), numbers(64, 64, 3, 3, seed=1)
    exact = F.conv2d(x.permute(0, 3, 1, 2), weight, None, 1, 1)
    kernel = winograd.from_kernel(winograd.as_rows(weight.float()))
    found = winograd.to_output(winograd.from_input(x.float()) @ kernel.mT, (1, 32, 32)).permute(0, 3, 1, 2)
    assert (found - exact).norm() / exact.norm() < 2e-6


def test_winograds_adjoints_are_adjoint():
    """<A x, y> = <x, A' y> for each of the three transforms."""
    x, kernel, y = numbers(2, 8, 12, 3), numbers(9, 5, 3, seed=1), numbers(2, 8, 12, 5, seed=2)
    t_in, t_kernel, t_out = numbers(36, 12, 3, seed=3), numbers(36, 5, 3, seed=4), numbers(36, 12, 5, seed=5)
    pairs = [
        ((winograd.from_input(x) * t_in).sum(), (x * winograd.to_input(t_in, (2, 8, 12))).sum()),
        ((winograd.from_kernel(kernel) * t_kernel).sum(), (kernel * winograd.to_kernel(t_kernel)).sum()),
        ((winograd.to_output(t_out, (2, 8, 12)) * y).sum(), (t_out * winograd.from_output(y)).sum()),
    ]
    for one, other in pairs:
        torch.testing.assert_close(one, other)
