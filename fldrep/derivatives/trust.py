"""The rules of a network's layers, where they give what the network computes: asked once, of random images.

The types of its layers do not tell: a forward pass may be overridden, a hook may change what passes. Where the answers
differ, or where a layer has no rule, autograd takes over, and this is said once.
"""

import warnings
from collections.abc import Callable
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fldrep.derivatives.autodiff import pushed
from fldrep.derivatives.layer import Layer, NoRule, Shape, layer_of
from fldrep.derivatives.network import Network, fixed_statistics

TOLERANCE = 1e-6  # of float64: rules and autograd differ by rounding only
Agree = Callable[[Network, Tensor], bool]

_answers: WeakKeyDictionary[nn.Module, dict[tuple, bool]] = WeakKeyDictionary()


def rules_of(network: Network, shape: Shape) -> Layer:
    """The rules of a network's body, for images of this shape.

    Errors: `NoRule` naming a layer that has none, or saying that they give other features, another derivative of them
    or other logits than the network's.
    """
    if network.body is None:
        raise NoRule("a network whose layers are not known")
    rules = layer_of(network.body)
    if rules.unknown:
        raise NoRule(rules.unknown.words)
    require_agreement(network, shape, "features", _features_agree)
    return rules


def require_agreement(network: Network, shape: Shape, what: str, agree: Agree) -> None:
    """Ask `agree(network in float64, two images)`; the answer is kept while the network's modules are what they are.

    Errors: `NoRule` where it says no, or where a module that is asked of has hooks: for `features`, one of the body.
    """
    modules = tuple(network.module.modules())
    if any(map(_has_hooks, network.body.modules() if what == "features" else modules)):
        raise NoRule("a network with hooks")
    answers = _answers.setdefault(network.module, {})
    key = what, tuple(shape), "forward" in vars(network.module), *map(type, (*modules, *network.body.modules()))
    if key not in answers:
        answers[key] = _asked(network, shape, agree)
    if not answers[key]:
        raise NoRule("a network that computes something else than the types of its layers tell")


def exact_copy(network: Network, device: str | None = None) -> Network:
    """The network in float64, on another device if given; what is answered for one holds for both."""
    made = network.in_float64(device)
    _answers[made.module] = _answers.setdefault(network.module, {})
    return made


def tell_once(
    network: Network, reason: NoRule, instead: str = "autograd differentiates it, which takes longer"
) -> None:
    """Say why a network's rules are not used, and what is done instead."""
    _warn_once(f"network {type(network.module).__name__}: no rule for {reason}; {instead}")


@cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def close(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors differ by rounding only, relative to the largest entry; what is not a number is equal."""
    if found.shape != expected.shape:
        return False
    size = float(expected.abs().nan_to_num(0, 0, 0).max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * size, equal_nan=True)


def _asked(network: Network, shape: Shape, agree: Agree) -> bool:
    drawn = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    try:
        exact = exact_copy(network, "cpu")
        with torch.no_grad(), fixed_statistics(exact):
            return agree(exact, drawn)
    except (RuntimeError, TypeError, ValueError):  # layers that do not fit together, or that cannot be copied
        return False


def _features_agree(network: Network, images: Tensor) -> bool:
    along = images.flip(0)
    r, change = layer_of(network.body).push(images, along)
    expected = pushed(network.represent, (images,), (along,))
    return (
        close(r, expected[0]) and close(change, expected[1]) and close(network.head(r), network.module(images.clone()))
    )


def _has_hooks(module: nn.Module) -> bool:
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks)
