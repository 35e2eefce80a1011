"""Every kind of layer has every operation, each against autograd in float64."""

import pytest
import torch
from torch import nn
from torch.func import jvp
from torchvision.models.resnet import BasicBlock

from fldrep import registry
from fldrep.derivatives.layer import KINDS, Layer, layer_of
from fldrep.derivatives.layerwise import by_rules
from fldrep.derivatives.lipschitz import layer_norm
from fldrep.derivatives.network import Network, fixed_statistics
from fldrep.derivatives.pullback import by_autodiff
from fldrep.derivatives.rows import windowed_rows
from fldrep.models.building import build_model
from fldrep.models.model import Model
from fldrep.models.wrapping import Headless


def shortcut(incoming, outgoing):
    return nn.Sequential(nn.Conv2d(incoming, outgoing, 1, 2, bias=False), nn.BatchNorm2d(outgoing))


# A layer, and the shape of its input
LAYERS = {
    "convolution": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 6, 6)),
    "convolution, stride 2": (lambda: nn.Conv2d(3, 4, 5, stride=2, padding=2), (3, 7, 6)),
    "convolution, 7 x 7": (lambda: nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False), (3, 8, 8)),
    "convolution, 1 x 1, stride 2": (lambda: nn.Conv2d(3, 4, 1, stride=2, bias=False), (3, 6, 6)),
    "convolution by Winograd": (lambda: nn.Conv2d(64, 64, 3, padding=1), (64, 16, 16)),
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "linear without bias": (lambda: nn.Linear(7, 5, bias=False), (7,)),
    "batch norm": (lambda: nn.BatchNorm2d(3), (3, 4, 4)),
    "batch norm without weights": (lambda: nn.BatchNorm2d(3, affine=False), (3, 4, 4)),
    "sigmoid": (nn.Sigmoid, (3, 4, 4)),
    "sigmoid of features": (nn.Sigmoid, (7,)),
    "tanh": (nn.Tanh, (3, 4, 4)),
    "relu": (nn.ReLU, (3, 4, 4)),
    "relu in place": (lambda: nn.ReLU(inplace=True), (3, 4, 4)),
    "leaky relu": (lambda: nn.LeakyReLU(0.2), (3, 4, 4)),
    "max pool": (lambda: nn.MaxPool2d(3), (3, 7, 7)),
    "max pool that overlaps": (lambda: nn.MaxPool2d(3, 2, 1), (3, 6, 6)),
    "max pool, rounded up": (lambda: nn.MaxPool2d(2, ceil_mode=True), (3, 5, 5)),
    "average pool": (lambda: nn.AvgPool2d((2, 3)), (3, 6, 6)),
    "average pool that overlaps": (lambda: nn.AvgPool2d(3, 2), (3, 7, 7)),
    "adaptive average pool": (lambda: nn.AdaptiveAvgPool2d((2, 3)), (3, 6, 6)),
    "adaptive average pool to one": (lambda: nn.AdaptiveAvgPool2d((1, 1)), (3, 4, 5)),
    "flatten": (nn.Flatten, (3, 4, 4)),
    "identity": (nn.Identity, (3, 4, 4)),
    "dropout": (nn.Dropout, (3, 4, 4)),
    "sequential": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Tanh(), nn.MaxPool2d(2))), (3, 6, 6)),
    "residual block": (lambda: BasicBlock(3, 3), (3, 5, 5)),
    "residual block with a shortcut": (lambda: BasicBlock(3, 4, 2, shortcut(3, 4)), (3, 6, 6)),
}
# Those whose output is one linear map of the input, or picks from it, where propagated variances are exact
ALONE = [name for name in LAYERS if not name.startswith(("residual", "sequential", "convolution by"))]


# Those whose Jacobian is too large to write out
LARGE = {"convolution by Winograd"}


@pytest.fixture(params=list(LAYERS))
def case(request, make_network):
    """A layer away from its initial values, and the shape of its input."""
    make, shape = LAYERS[request.param]
    return made(make, shape, make_network), shape


def made(make, shape, make_network):
    return make_network(make(), nn.Flatten(), shape=shape).body[0]


def jacobian_of(module, x):
    """Written out, an image at a time; what works in place gets a copy. Shape: (N, ...) -> (N, outputs, inputs)."""
    rows = [torch.autograd.functional.jacobian(lambda one: module(one.clone()), one[None]) for one in x]
    return torch.stack([one.reshape(-1, x[0].numel()) for one in rows])


# ---- the operations


@pytest.mark.parametrize("behind", [False, True], ids=["first", "behind a layer with weights"])
def test_gradient_pull_and_push(behind, case, numbers, assert_same_map):
    """As the first layer nothing flows in from weights; behind one something does."""
    layer, shape = case
    flat, shape = len(shape) == 1, (*shape, 1, 1)[:3]
    front = [nn.Conv2d(shape[0], shape[0], 1)] * behind + [nn.Flatten()] * flat
    body = nn.Sequential(*front, layer, nn.Flatten()).double().eval()
    model = Model(body, nn.Linear(body(numbers(1, *shape)).shape[1], 4).double())
    soft = numbers(2, 2, 4, seed=1).softmax(-1)
    assert_same_map(by_rules(Network.of(model), shape), by_autodiff(model), numbers(2, 2, *shape), soft)


def test_push(case, numbers):
    layer, shape = case
    x, dx = numbers(2, *shape), numbers(2, *shape, seed=1)
    for found, expected in zip(layer_of(layer).push(x, dx), jvp(lambda x: layer(x.clone()), (x,), (dx,)), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="reflect"),
        nn.Conv2d(4, 6, (1, 3), (2, 1), "valid", dilation=2),
        nn.Conv2d(4, 6, 4, padding="same", padding_mode="circular"),
    ],
)
def test_a_convolution_of_any_kind_is_pushed_through_and_its_variance_known_with_zeros_around(layer, numbers):
    layer, x, dx = layer.double(), numbers(2, 4, 7, 7), numbers(2, 4, 7, 7, seed=1)
    for found, expected in zip(layer_of(layer).push(x, dx), jvp(layer, (x,), (dx,)), strict=True):
        torch.testing.assert_close(found, expected)
    if layer.padding_mode == "zeros":
        found = layer_of(layer).variance(x[:1], dx[:1].square())[1]
        torch.testing.assert_close(found.flatten(), jacobian_of(layer, x[:1])[0].square() @ dx[0].square().flatten())


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in LARGE])
def test_rows(name, make_network, numbers):
    make, shape = LAYERS[name]
    layer, x = made(make, shape, make_network), numbers(1, *shape)
    values, rows = windowed_rows(layer_of(layer), x)
    expected = jacobian_of(layer, x[:1])
    found = torch.zeros_like(expected).view(1, -1, *(*shape, 1, 1)[:3])
    for image, feature, part in rows:
        high, wide = part.values.shape[2:]
        found[image, feature, :, part.top : part.top + high, part.left : part.left + wide] = part.values
    torch.testing.assert_close(values, layer(x.clone()).flatten(1))
    torch.testing.assert_close(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("name", ALONE)
def test_variance_is_the_squared_jacobian_times_the_variance_in_front(name, make_network, numbers):
    make, shape = LAYERS[name]
    layer, x, variance = made(make, shape, make_network), numbers(1, *shape), numbers(1, *shape, seed=1).square()
    values, found = layer_of(layer).variance(x, variance)
    torch.testing.assert_close(values, layer(x.clone()))
    torch.testing.assert_close(found.flatten(), jacobian_of(layer, x)[0].square() @ variance.flatten())


def test_norm_is_never_below_the_jacobians(case, numbers):
    layer, shape = case
    x = torch.cat([numbers(3, *shape), 0.1 * numbers(2, *shape, seed=1)])
    with torch.no_grad():
        moved, along = layer_of(layer).push(x, numbers(*x.shape, seed=2))[1], numbers(*x.shape, seed=2)
    reached = (moved.flatten(1).norm(dim=1) / along.flatten(1).norm(dim=1)).max()
    if x[0].numel() * moved[0].numel() < 1e5:
        reached = torch.linalg.matrix_norm(jacobian_of(layer, x), 2).max()
    assert 0 < float(reached) <= layer_norm(layer, x) * (1 + 1e-12)


# ---- what is covered


def test_every_kind_that_is_registered_is_tried():
    tried = {type(part) for make, _ in LAYERS.values() for part in all_parts(layer_of(make()))}
    assert set(KINDS.values()) <= tried


@pytest.mark.parametrize("name", list(registry.built_in("model")))
def test_every_layer_of_every_network_of_the_project_has_every_operation(name):
    network = Network.of(layered(name, 16))
    body, x = layer_of(network.body), torch.zeros(1, 3, 16, 16)
    with torch.no_grad(), fixed_statistics(network):
        assert body.passes(network.names, (3, 16, 16)).shape == (network.head.in_features,)
        assert body.push(x, x)[1].shape == (1, network.head.in_features)
        assert windowed_rows(body, x)[0].shape == (1, network.head.in_features)
        assert body.variance(x, x)[1].shape == (1, network.head.in_features)
        assert body.norm(x) > 0


@pytest.mark.parametrize("name", list(registry.built_in("model")))
def test_what_is_tried_are_the_layers_of_the_projects_networks(name):
    """The same type, kernel, stride and padding."""
    here = {key_of(part.module) for make, _ in LAYERS.values() for part in all_parts(layer_of(make())) if leaf(part)}
    model = layered(name, 32)
    there = {key_of(part.module) for part in all_parts(layer_of(model.body)) if leaf(part)}
    assert there - here <= {(nn.Conv2d, (5, 5), (1, 1), (2, 2)), (nn.Conv2d, (3, 3), (2, 2), (1, 1))}


def layered(name: str, size: int) -> Model:
    """A small network of the project for square images, where it is made of layers."""
    model = build_model(name, (3, size, size), 10, width=4 if name == "convnet" else None)
    if isinstance(model.body, Headless):
        pytest.skip("this network is run as it is, by autograd: it has no layers to try")
    return model


def leaf(part: Layer) -> bool:
    return hasattr(part, "module")


def key_of(module: nn.Module) -> tuple:
    return (type(module), *(getattr(module, one, None) for one in ("kernel_size", "stride", "padding")))


def all_parts(layer: Layer) -> list[Layer]:
    inner = [*getattr(layer, "parts", ()), *(getattr(layer, one) for one in ("first", "second") if hasattr(layer, one))]
    return [layer, *(part for one in inner for part in all_parts(one))]
