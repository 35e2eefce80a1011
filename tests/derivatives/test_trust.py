"""Where a network is not what the types of its layers tell, autograd differentiates it, and this is said once."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

import fldrep
from fldrep.derivatives import trust
from fldrep.derivatives.jacobian import feature_norms, full_jacobian, live_features
from fldrep.derivatives.lanczos import jacobian_norms
from fldrep.derivatives.layerwise import layerwise
from fldrep.derivatives.lipschitz import lipschitz_bound
from fldrep.derivatives.network import Network
from fldrep.derivatives.pullback import by_autodiff
from fldrep.errors import ConfigError
from fldrep.models.model import Model

SHAPE = (3, 8, 8)
pytestmark = pytest.mark.filterwarnings("ignore:network .* no rule for")


def model_of(*layers, sequential=nn.Sequential, model=Model, shape=SHAPE, classes=4):
    torch.manual_seed(0)
    body = sequential(*layers, nn.Flatten()).double().eval()
    features = body(torch.zeros(1, *shape).double()).shape[1]
    return model(body, nn.Linear(features, classes).double(), shape).eval()


def plain_layers():
    return [nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1), nn.Sigmoid()]


# ---- networks whose function their types do not tell


class Twice(nn.Sequential):
    def forward(self, x):
        for layer in self:
            x = layer(x)
        return 2 * x


class Reversed(nn.Sequential):
    def __iter__(self):
        return reversed(list(self._modules.values()))

    def forward(self, x):
        for layer in self._modules.values():
            x = layer(x)
        return x


class Scaled(Model):
    def forward(self, images):
        return self.head(3 * self.features(images))


class OtherFeatures(Model):
    def features(self, images):
        return self.body(images).sin()


class Standardised(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Noisy(nn.Tanh):
    def forward(self, x):
        return x.sin()


def with_own_forward():
    model = model_of(*plain_layers())
    model.body[1].forward = torch.sin
    return model


def with_hook():
    model = model_of(*plain_layers())
    model.body[1].register_forward_hook(lambda module, given, output: output * 2)
    return model


def with_hook_on_input():
    model = model_of(*plain_layers())
    model.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    return model


def with_computed_weight():
    model = model_of(*plain_layers())
    parametrizations.weight_norm(model.body[2])
    return model


def with_weight_set_by_a_hook():
    model = model_of(*plain_layers())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        weight_norm(model.body[2])
    return model


STRANGE = {
    "a sequence with a forward pass of its own": lambda: model_of(*plain_layers(), sequential=Twice),
    "a sequence with an order of its own": lambda: model_of(*plain_layers(), sequential=Reversed),
    "a model with a forward pass of its own": lambda: model_of(*plain_layers(), model=Scaled),
    "a model with features of its own": lambda: model_of(*plain_layers(), model=OtherFeatures),
    "a layer that overrides a part": lambda: model_of(Standardised(3, 4, 3), nn.Tanh()),
    "a layer that overrides all": lambda: model_of(nn.Conv2d(3, 4, 3), Noisy()),
    "one object's own forward": with_own_forward,
    "a hook": with_hook,
    "a hook on the input": with_hook_on_input,
    "a computed weight": with_computed_weight,
    "a weight set by a hook": with_weight_set_by_a_hook,
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_network_that_its_types_do_not_tell_is_differentiated_as_it_is(name, numbers, backward_norms):
    model = STRANGE[name]()
    images = numbers(2, *SHAPE)
    assert layerwise(model, SHAPE) is None
    torch.testing.assert_close(feature_norms(model, images), backward_norms(model, images))
    assert torch.equal(feature_norms(model, images, "variance"), feature_norms(model, images, "jvp"))
    with pytest.raises(ConfigError, match="no Lipschitz bound is known"):
        lipschitz_bound(model, SHAPE)


@pytest.mark.parametrize("name", STRANGE)
def test_this_is_said_once(name, numbers):
    model = STRANGE[name]()

    def used_twice():
        for _ in range(2):
            layerwise(model, SHAPE)
            feature_norms(model, numbers(1, *SHAPE))

    with pytest.warns(
        UserWarning, match=f"network {type(model).__name__}: no rule for .*autograd differentiates"
    ) as said:
        used_twice()
    assert len(said) == 1


def test_a_layer_that_only_has_another_name_keeps_its_rules():
    class Renamed(nn.Conv2d):
        pass

    class Block(nn.Sequential):
        pass

    assert layerwise(model_of(Renamed(3, 4, 3), Block(nn.Tanh(), nn.MaxPool2d(2))), SHAPE)


def test_the_question_is_asked_once_and_again_when_the_modules_change(monkeypatch, numbers):
    asked = []
    monkeypatch.setattr(trust, "_asked", lambda *given: asked.append(given) or True)
    model = model_of(*plain_layers())
    for _ in range(3):
        feature_norms(model, numbers(1, *SHAPE))
    assert len(asked) == 1
    with torch.no_grad():
        model.body[0].weight.mul_(2)  # as training does
    feature_norms(model, numbers(1, *SHAPE))
    assert len(asked) == 1
    model.body[1] = nn.ReLU()
    feature_norms(model, numbers(1, *SHAPE))
    assert len(asked) == 2
    feature_norms(copy.deepcopy(model), numbers(1, *SHAPE))
    assert len(asked) == 3


def test_a_hook_put_on_later_is_seen(numbers, backward_norms):
    model, images = model_of(*plain_layers()), numbers(2, *SHAPE)
    feature_norms(model, images)
    model.body[1].register_forward_hook(lambda module, given, output: output**2)
    with pytest.warns(UserWarning, match="no rule for a network with hooks"):
        found = feature_norms(model, images)
    torch.testing.assert_close(found, backward_norms(model, images))


# ---- modules and weights in several places


def with_one_activation():
    shared = nn.Sigmoid()
    return model_of(nn.Conv2d(3, 4, 3), shared, nn.Conv2d(4, 4, 3), shared, nn.Conv2d(4, 2, 3), shared)


def with_one_convolution():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    return model_of(shared, nn.Tanh(), shared, nn.BatchNorm2d(3), shared)


def with_one_batch_norm():
    shared = nn.BatchNorm2d(4)
    return model_of(nn.Conv2d(3, 4, 3), shared, nn.Tanh(), nn.Sequential(nn.Conv2d(4, 4, 1), shared))


def with_one_weight():
    model = model_of(nn.Conv2d(3, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 48))
    model.body[2].weight = model.body[0].weight
    return model


def with_the_heads_weight():
    model = model_of(nn.Flatten(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12), shape=(3, 2, 2), classes=12)
    model.head.weight = model.body[1].weight
    return model


SHARED = {
    "one activation": with_one_activation,
    "one convolution": with_one_convolution,
    "one batch norm": with_one_batch_norm,
    "one weight": with_one_weight,
    "the head's weight": with_the_heads_weight,
}


def gradient_by_backward(model, image, label):
    loss = nn.functional.cross_entropy(model(image[None]), label[None])
    names, values = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, values), strict=True))


@pytest.mark.parametrize("name", SHARED)
def test_what_is_used_twice_counts_twice(name, numbers, assert_same_map, backward_norms):
    model = SHARED[name]()
    images, labels = numbers(2, *model.shape), torch.tensor([1, 3])
    update = fldrep.client_update(model, images, labels)
    for place in range(2):
        for key, value in gradient_by_backward(model, images[place], labels[place]).items():
            torch.testing.assert_close(update[key][place], value)
    soft = numbers(2, 2, model.head.out_features).softmax(-1)
    assert_same_map(layerwise(model, model.shape), by_autodiff(model), numbers(2, 2, *model.shape), soft)
    torch.testing.assert_close(feature_norms(model, images), backward_norms(model, images))


@pytest.mark.parametrize("name", SHARED)
def test_the_callers_network_is_left_as_it_was(name, numbers):
    model = SHARED[name]()
    before = [(path, id(value)) for path, value in model.named_parameters(remove_duplicate=False)]
    values = copy.deepcopy(model.state_dict())
    images, labels, soft = numbers(2, *model.shape), torch.tensor([1, 3]), numbers(2, 2, model.head.out_features)
    update = fldrep.client_update(model, images, labels)
    if name != "the head's weight":  # whose gradient has no column of a feature's own
        fldrep.defend(update, "soteria", rate=0.5, prune="representation", model=model, images=images, labels=labels)
    for made in (layerwise(model, model.shape), by_autodiff(model)):
        gradient, pull, push = made.linearise(images.unsqueeze(1).expand(-1, 2, -1, -1, -1), soft.softmax(-1))
        pull(gradient)
        push(images.unsqueeze(1).expand(-1, 2, -1, -1, -1))
    full_jacobian(model, images[0])
    live_features(model, images)
    jacobian_norms(model, images, steps=2)
    assert [(path, id(value)) for path, value in model.named_parameters(remove_duplicate=False)] == before
    assert all(isinstance(value, nn.Parameter) for module in model.modules() for value in module._parameters.values())
    assert all(torch.equal(value, values[key]) for key, value in copy.deepcopy(model).state_dict().items())


def test_a_weight_that_two_rules_hold_in_two_orders_is_left_to_autograd(numbers):
    shared = nn.Conv2d(64, 64, 3, padding=1)  # by Winograd's algorithm on the large map, by patches on the small one
    model = model_of(shared, nn.MaxPool2d(4), shared, shape=(64, 16, 16))
    assert layerwise(model, model.shape) is None


# ---- layers that torch alone knows


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)

    def forward(self, images):
        tokens = images.flatten(2).transpose(1, 2)
        return (tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]).flatten(1)


class Halved(torch.autograd.Function):
    """An operation whose author wrote no forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x / 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return slope / 2


class Halving(nn.Module):
    def forward(self, x):
        return Halved.apply(x)


UNKNOWN = {
    "gelu and group norm": lambda: [nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.GELU()],
    "hard sigmoid": lambda: [nn.Conv2d(3, 4, 3), nn.Hardsigmoid(), nn.Conv2d(4, 4, 3)],
    "attention": lambda: [nn.Conv2d(3, 4, 3, 2), nn.Tanh(), Block()],
    "no forward mode": lambda: [nn.Conv2d(3, 4, 3), nn.Tanh(), Halving(), nn.Tanh()],
    "in place": lambda: [nn.Hardtanh(inplace=True), nn.Conv2d(3, 4, 3), nn.SiLU(inplace=True)],
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_any_network_has_every_derivative(name, numbers, backward_norms):
    model, images = model_of(*UNKNOWN[name]()), numbers(2, *SHAPE)
    kept = images.clone()
    expected = backward_norms(model, images)
    torch.testing.assert_close(feature_norms(model, images), expected)
    sketch = feature_norms(model, images, "jvp", directions=2000, chunk=500)
    assert float((sketch / expected.clamp_min(1e-12) - 1)[expected > 0].abs().mean()) < 0.05
    assert torch.equal(feature_norms(model, images, "variance"), feature_norms(model, images, "jvp"))
    norms = [torch.linalg.matrix_norm(full_jacobian(model, image), 2) for image in images]
    torch.testing.assert_close(jacobian_norms(model, images, tolerance=1e-5)[0], torch.stack(norms))
    assert torch.equal(images, kept)

    made, soft, along = by_autodiff(model), numbers(2, 1, 4).softmax(-1), numbers(2, 1, *SHAPE, seed=2)
    gradient, pull, push = made.linearise(images.unsqueeze(1), soft)
    change, v = push(along), {key: numbers(*value.shape, seed=3) for key, value in gradient.items()}
    torch.testing.assert_close(sum((v[key] * change[key]).sum() for key in v), (pull(v)[0] * along).sum())
    ahead, behind = (made.run(images.unsqueeze(1) + sign * 1e-5 * along, soft)[0] for sign in (1, -1))
    for key, value in change.items():
        torch.testing.assert_close(value, (ahead[key] - behind[key]) / 2e-5, rtol=1e-5, atol=1e-8)


# ---- networks that say what they are piece by piece


def test_a_network_is_told_by_its_parts(numbers, assert_same_map):
    """Parameters keep the names that the module itself gives them."""

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.stage = nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
            self.fc = nn.Linear(36, 5)

        def forward(self, images):
            return self.fc(self.stage(self.stem(images)).flatten(1))

    torch.manual_seed(0)
    module = Mine().double().eval()
    body = nn.Sequential(module.stem, module.stage, nn.Flatten())
    network = Network(module, body, module.fc, body)
    made = layerwise(network, SHAPE)
    assert_same_map(made, by_autodiff(module), numbers(2, 2, *SHAPE), numbers(2, 2, 5).softmax(-1))
    assert {"stem.weight", "fc.bias"} <= set(made.run(numbers(1, 1, *SHAPE), numbers(1, 1, 5).softmax(-1))[0])
    torch.testing.assert_close(
        feature_norms(network, numbers(2, *SHAPE)), feature_norms(Network(module, body, module.fc), numbers(2, *SHAPE))
    )
    assert lipschitz_bound(network, SHAPE) > 0


def test_a_guess_at_the_layers_that_is_wrong_is_not_used(numbers, backward_norms):
    model = model_of(*plain_layers())
    guess = nn.Sequential(model.body[0], nn.Flatten())
    network = Network(model, model.features, model.head, guess)
    with pytest.warns(UserWarning, match="something else than the types of its layers tell"):
        found = feature_norms(network, numbers(2, *SHAPE))
    torch.testing.assert_close(found, backward_norms(model, numbers(2, *SHAPE)))
