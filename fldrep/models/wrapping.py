"""Any network of torch as a `Model`: its last layer found and taken off, its parameters shared, itself left as it is.

The network is copied but for its parameters and buffers, which stay the caller's own; in the copy another module stands
where the head was, and keeps what the head is given. A chain of layers, an `nn.Sequential` that ends in its head, stays
a chain, so that rules of layers apply to it.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fldrep.arguments import check_module, check_one_of, check_shape, check_text, line_of
from fldrep.errors import ConfigError
from fldrep.functional import differentiable
from fldrep.models.model import Model, Shape

# What a network's own code may raise where it is given an image of a shape it does not take, or where it is copied.
OF_OTHERS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ArithmeticError)


def wrap(module: nn.Module, shape: Shape, head: str | None = None) -> Model:
    """A network for all functions of this package, with what cannot be found out of it said.

    Args: shape (C, H, W) of an image; head: the name of the `nn.Linear` that gives the logits, whatever the network
    makes of them afterwards; if not given, it is the one called last, whose output must be the network's.
    The result shares the parameters and buffers of the module, which stays as it is; it starts in the module's mode,
    and has one of its own from then on. Its updates have the module's own parameter names, in its own order.
    Errors: `ConfigError` where the head is not found, is called more than once, or is not given (N, F); where the
    network does not take such images; where it cannot be copied.
    """
    check_module(module, "module")
    shape = check_shape(shape)
    if isinstance(module, Model):
        return _for_shape(as_model(module, shape), shape, head)
    network = _sharing_copy(module)
    images = _random_images(network, shape)
    with evaluating(network):
        calls, output = _calls_of_linear(network, images, shape)
        found = _called_last(network, calls, output) if head is None else _called(network, calls, head)
        _require_vectors(network, found)
        made = _taken_apart(module, network, found.layer, shape)
        _require_the_same(made, found, images)
    made.training = made.body.training = module.training
    return made


def as_model(module: nn.Module, shape: Shape | None = None) -> Model:
    """A `Model` as it is, any other network wrapped.

    Args: shape (C, H, W) of an image; what the model itself says if not given.
    Errors: `ConfigError` where the shape is not known, or the model does not take such images; and as for `wrap`.
    """
    check_module(module)
    shape = getattr(module, "shape", None) if shape is None else shape
    if shape is None:
        raise ConfigError(
            "shape: the model does not say what images it takes; give fldrep.wrap(model, shape=(C, H, W))"
        )
    shape = check_shape(shape)
    if not isinstance(module, Model):
        return wrap(module, shape)
    if module.shape != shape:
        with evaluating(module):
            _run(module, _random_images(module, shape), shape)
    return module


def _for_shape(model: Model, shape: Shape, head: str | None) -> Model:
    """A model that says it takes images of a shape."""
    if head is not None:
        check_one_of("head", head, ("head",))
    if model.shape == shape:
        return model
    made = copy.copy(model)
    made.shape = shape
    return made


class Wrapped(Model):
    """A network taken apart; `names` are its own names of parameters, in its own order, and those here."""

    def __init__(self, body: nn.Module, head: nn.Linear, shape: Shape, names: dict[str, str]):
        super().__init__(body, head, shape)
        self.names = names

    def features(self, images: Tensor) -> Tensor:
        """What the head is given, by operations that can be differentiated in every way. (N, C, H, W) -> (N, F)."""
        with differentiable():
            return self.body(images.clone())  # a network may overwrite its input

    def own_names(self) -> dict[str, str]:
        """What the network calls each parameter, in its order, and what it is called here."""
        return dict(self.names)


class Headless(nn.Module):
    """A network up to its head: what this would have been given."""

    def __init__(self, network: nn.Module, tap: "Tap"):
        super().__init__()
        self.network, self.tap = network, tap

    def forward(self, images: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, F)."""
        try:
            self.network(images)
            return self.tap.given
        finally:
            self.tap.given = None


class Tap(nn.Module):
    """Stands where the head was: keeps what it is given, and gives zeros in the place of logits."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes, self.given = classes, None

    def forward(self, input: Tensor) -> Tensor:
        """Shape: (N, F) -> (N, classes)."""
        self.given = input
        return input.new_zeros(*input.shape[:-1], self.classes)


# Finding the head -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call of a linear layer: its name, what it was given and what it made of that."""

    name: str
    layer: nn.Linear
    given: Tensor
    output: Tensor
    logits: Tensor  # a copy of the output: the network may overwrite it


def _calls_of_linear(network: nn.Module, images: Tensor, shape: Shape) -> tuple[list[Call], object]:
    """The calls of linear layers in one pass, in order, and the network's output."""
    calls: list[Call] = []

    def watch(name: str, layer: nn.Linear):
        def keep(module, args: tuple, kwargs: dict, output: Tensor) -> None:
            calls.append(Call(name, layer, (*args, *kwargs.values())[0], output, output.clone()))

        return layer.register_forward_hook(keep, with_kwargs=True)

    hooks = [watch(name, one) for name, one in network.named_modules() if isinstance(one, nn.Linear)]
    try:
        return calls, _run(network, images.clone(), shape)
    finally:
        for hook in hooks:
            hook.remove()


def _called_last(network: nn.Module, calls: list[Call], output: object) -> Call:
    """The call that gave the output. Errors: `ConfigError` that says what was found instead."""
    if not calls:
        raise ConfigError(f"{_words(network)} calls no nn.Linear, and its last layer must be one")
    last = calls[-1]
    ask = f"; if one of its nn.Linear gives the logits, name it: fldrep.wrap(module, shape=..., head={last.name!r})"
    times = sum(call.layer is last.layer for call in calls)
    if times > 1:
        raise ConfigError(f"{_words(network)} calls {last.name!r}, its last nn.Linear, {times} times{ask}")
    if not isinstance(output, Tensor):
        raise ConfigError(f"{_words(network)} gives a {type(output).__name__}, not the output of {last.name!r}{ask}")
    same = output.data_ptr() == last.output.data_ptr() and torch.equal(output, last.logits)
    if not same:
        raise ConfigError(
            f"{_words(network)} gives something else than the output of {last.name!r}, its last nn.Linear{ask}"
        )
    return last


def _called(network: nn.Module, calls: list[Call], head: str) -> Call:
    """The one call of a layer. Errors: `ConfigError` that says which layers there are, or how often it is called."""
    known = dict.fromkeys(call.name for call in calls)
    layer = dict(network.named_modules(remove_duplicate=False)).get(check_text("head", head))
    found = [call for call in calls if call.layer is layer]
    if not found:
        raise ConfigError(f"head: {head!r}: expected a layer nn.Linear that is called: {', '.join(known) or 'none is'}")
    if len(found) > 1:
        raise ConfigError(f"head: {head!r}: called {len(found)} times, expected a layer that is called once")
    return found[0]


def _require_vectors(network: nn.Module, call: Call) -> None:
    if call.given.ndim != 2:
        raise ConfigError(
            f"head {call.name!r} of {_words(network)} is given shape {tuple(call.given.shape)} for two images, expected"
            " (2, F): one vector an image"
        )


# Taking it off --------------------------------------------------------------------------------------------------------


def _sharing_copy(module: nn.Module) -> nn.Module:
    """A copy of a network that holds the same parameters and buffers, and changes no input of a layer in place."""
    parameters = list(module.named_parameters())
    if not parameters:
        raise ConfigError(f"{_words(module)} has no parameters, so that there is no update")
    shared = {id(value): value for value in [*module.parameters(), *module.buffers()]}
    try:
        network = copy.deepcopy(module, shared)
    except OF_OTHERS as error:
        raise ConfigError(f"{_words(module)} cannot be copied: {line_of(error)}") from None
    for one in network.modules():
        if getattr(one, "inplace", False) is True:
            one.inplace = False
    return network


def _taken_apart(module: nn.Module, network: nn.Module, head: nn.Linear, shape: Shape) -> Wrapped:
    """A copy of a module as body and head."""
    body = _chain_before(network, head) or _tapped(network, head)
    made = Wrapped(body, head, shape, {})
    here = {id(value): name for name, value in made.named_parameters()}
    if here[id(head.weight)] != "head.weight":
        raise ConfigError(f"{_words(module)} uses the weight of its last layer in another layer too")
    made.names = {name: here[id(value)] for name, value in module.named_parameters()}
    return made


def _chain_before(network: nn.Module, head: nn.Linear) -> nn.Sequential | None:
    """The layers before the head, where the network is a chain of layers and nothing else."""
    hooks = network._forward_hooks or network._forward_pre_hooks
    if type(network) is not nn.Sequential or hooks or "forward" in vars(network):
        return None
    *before, (_, last) = network._modules.items()
    return nn.Sequential(OrderedDict(before)) if last is head and before else None


def _tapped(network: nn.Module, head: nn.Linear) -> Headless:
    tap = Tap(head.out_features).eval()
    for one in network.modules():
        for name, child in one._modules.items():
            if child is head:
                one._modules[name] = tap
    return Headless(network, tap)


# Running it -----------------------------------------------------------------------------------------------------------


def _require_the_same(made: Wrapped, call: Call, images: Tensor) -> None:
    """Errors: `ConfigError` where the network, taken apart, does not compute what it did."""
    with torch.no_grad():
        features = made.features(images)
        apart = None if features is None else (features, made.head(features))
    if apart is None or not all(map(_close, apart, (call.given, call.logits))):
        raise ConfigError(
            f"a copy of the network with its last layer {call.name!r} taken off computes something else: by hooks of"
            " that layer, random numbers, or modules that are found in another way than by their names"
        )


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, equal_nan=True)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Every module is in evaluation mode inside the block, and is left as it was."""
    training = [one for one in network.modules() if one.training]
    for one in training:
        one.training = False
    try:
        yield
    finally:
        for one in training:
            one.training = True


def _run(network: nn.Module, images: Tensor, shape: Shape) -> object:
    """The output. Errors: `ConfigError` where the network does not take the images."""
    try:
        with torch.no_grad(), differentiable():
            return network(images)
    except OF_OTHERS as error:
        built = f", it was built for {network.shape}" if isinstance(network, Model) and network.shape else ""
        raise ConfigError(f"{_words(network)} does not take images of shape {shape}{built}: {line_of(error)}") from None


def _random_images(network: nn.Module, shape: Shape) -> Tensor:
    """Two images, the same at every call. Shape: (2, C, H, W)."""
    like = next(value for value in network.parameters() if value.is_floating_point())
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(like)


def _words(module: nn.Module) -> str:
    return f"network {type(module).__name__}"
