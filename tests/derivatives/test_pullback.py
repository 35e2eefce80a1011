"""Gradients of updates by the layers' rules, against autograd in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fldrep
from fldrep.derivatives import winograd
from fldrep.derivatives.layerwise import layerwise
from fldrep.derivatives.patches import Geometry, as_rows, by_input, own_by_input, patches, turn
from fldrep.derivatives.pullback import by_autodiff
from fldrep.models.model import Model


def with_statistics(model):
    """Batch norm with statistics as after training, so that no constant hides."""
    drawn = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=drawn)
            module.running_var.uniform_(0.2, 0.8, generator=drawn)
            module.weight.data.uniform_(0.5, 2, generator=drawn)
            module.bias.data.normal_(0, 0.3, generator=drawn)
    return model.eval()


def built(name, shape, **options):
    return with_statistics(fldrep.build_model(name, shape, 5, dtype=torch.float64, seed=3, **options))


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


NETWORKS = {
    "lenet": lambda: built("lenet", (3, 16, 16), init="uniform"),
    "convnet": lambda: built("convnet", (3, 18, 18), width=2),
    "convnet by Winograd": lambda: built("convnet", (3, 16, 20), width=16),
    "resnet18": lambda: built("resnet18", (3, 16, 16)),
    "softmax": lambda: built("softmax", (1, 6, 6)),
    "tanh": tanh_model,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rules_give_what_autograd_gives(name, numbers, assert_same_map):
    model = NETWORKS[name]()
    shape = model.shape or (3, 15, 15)
    batch = 1 if name == "resnet18" else 2
    images, soft = numbers(2, batch, *shape), numbers(2, batch, 5).softmax(-1)
    assert_same_map(layerwise(model, shape), by_autodiff(model), images, soft)


def test_the_wide_network_is_wide_enough_for_winograd():
    assert winograd.fits(Geometry.of(NETWORKS["convnet by Winograd"]().body[9]), (64, 16, 20), 64)


@pytest.mark.parametrize("name", ["lenet", "tanh"])
def test_pull_and_push_are_adjoint_and_push_is_a_finite_difference(name, numbers):
    model = NETWORKS[name]()
    shape = model.shape or (3, 15, 15)
    images, soft, along = numbers(2, 1, *shape), numbers(2, 1, 5).softmax(-1), numbers(2, 1, *shape, seed=3)
    for made in (layerwise(model, shape), by_autodiff(model)):
        gradient, pull, push = made.linearise(images, soft)
        v, change = {name: numbers(*value.shape, seed=4) for name, value in gradient.items()}, push(along)
        one, other = sum((v[name] * change[name]).sum() for name in v), (pull(v)[0] * along).sum()
        torch.testing.assert_close(one, other)
        ahead, behind = (made.run(images + sign * 1e-5 * along, soft)[0] for sign in (1, -1))
        for name, value in change.items():
            torch.testing.assert_close(value, (ahead[name] - behind[name]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_what_is_left_out_of_a_pullback_counts_as_zero(numbers):
    model = built("convnet", (3, 18, 18), width=2)
    images, soft = numbers(2, 1, 3, 18, 18), numbers(2, 1, 5).softmax(-1)
    for made in (by_autodiff(model), layerwise(model, model.shape)):
        found, pull = made.run(images, soft)
        for left_out in ("head", "body.0.weight", "body.1.bias", "body"):
            zeroed = {name: torch.ones_like(value) * (left_out not in name) for name, value in found.items()}
            short = {name: value for name, value in zeroed.items() if left_out not in name}
            for one, other in zip(pull(short), pull(zeroed), strict=True):
                torch.testing.assert_close(one, other)


# Every kernel, stride and padding in a chain, those that no rule covers included
CONVOLUTIONS = [
    {"kernel_size": size, "stride": stride, "padding": padding}
    for size in (1, 2, 3, 5)
    for stride in (1, 2, 3)
    for padding in (0, 1, 2)
]
BY_AUTOGRAD = [
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": (1, 3)},
    {"kernel_size": 3, "stride": (1, 2)},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


def chain_with(options, bias=True):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, **options, bias=bias), nn.Flatten()]
    features = nn.Sequential(*body)(torch.zeros(1, 3, 10, 9)).shape[1]
    return Model(nn.Sequential(*body), nn.Linear(features, 5), (3, 10, 9)).double().eval()


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=lambda one: "-".join(map(str, one.values())))
def test_any_square_convolution_in_a_chain(options, numbers, assert_same_map):
    model, images, soft = chain_with(options, bias=False), numbers(2, 2, 3, 10, 9), numbers(2, 2, 5).softmax(-1)
    assert_same_map(layerwise(model, model.shape), by_autodiff(model), images, soft)


@pytest.mark.parametrize("options", BY_AUTOGRAD)
def test_other_convolutions_are_left_to_autograd(options):
    with pytest.warns(UserWarning, match="network Model: no rule for Conv2d with .*autograd differentiates it"):
        assert layerwise(chain_with(options), (3, 10, 9)) is None


GEOMETRIES = [(5, 2, 2, 16), (5, 1, 2, 8), (3, 1, 1, 10), (7, 3, 1, 25), (5, 2, 2, 15), (3, 2, 1, 9), (2, 3, 0, 11)]


@pytest.mark.parametrize(("size", "stride", "padding", "length"), GEOMETRIES)
def test_turned_convolution_is_the_slope_by_the_input(size, stride, padding, length, numbers):
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
def test_patches_times_rows_is_a_convolution(size, stride, numbers):
    x, weight = numbers(2, 3, 9, 11), numbers(4, 3, size, size, seed=1)
    found = patches(x, size, stride) @ as_rows(weight).mT
    torch.testing.assert_close(found.permute(0, 3, 1, 2), F.conv2d(x, weight, None, stride))


def test_arrange_only_reorders(numbers):
    model = built("lenet", (3, 16, 16))
    update = {name: numbers(2, *value.shape) for name, value in model.named_parameters()}
    for name, value in layerwise(model, model.shape).arrange(update).items():
        assert torch.equal(value.flatten(1).sort(1).values, update[name].flatten(1).sort(1).values)


def test_winograds_transforms_give_a_convolution(numbers):
    x, weight = numbers(2, 8, 12, 3), numbers(5, 3, 3, 3, seed=1)
    kernel = winograd.from_kernel(winograd.as_rows(weight))
    found = winograd.to_output(winograd.from_input(x) @ kernel.mT, (2, 8, 12))
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, None, 1, 1)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected)


def test_winograds_rounding_is_that_of_float32(numbers):
    x, weight = numbers(1, 32, 32, 64), numbers(64, 64, 3, 3, seed=1)
    exact = F.conv2d(x.permute(0, 3, 1, 2), weight, None, 1, 1)
    kernel = winograd.from_kernel(winograd.as_rows(weight.float()))
    found = winograd.to_output(winograd.from_input(x.float()) @ kernel.mT, (1, 32, 32)).permute(0, 3, 1, 2)
    assert (found - exact).norm() / exact.norm() < 2e-6


def test_winograds_adjoints_are_adjoint(numbers):
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
