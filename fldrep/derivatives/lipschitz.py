"""How strongly a network's representation can react to its input, wherever it is: a bound from its layers.

All norms are spectral: largest singular values, from the 2-norm of the input to the 2-norm of the output.
"""

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import KINDS, NoRule, Shape, layer_of
from fldrep.derivatives.network import Network, fixed_statistics
from fldrep.derivatives.trust import rules_of
from fldrep.errors import ConfigError


def lipschitz_bound(model, shape: Shape | None = None) -> float:
    """A number that no ||f(X) - f(Y)|| / ||X - Y|| exceeds, in float64: the product of the layers' bounds.

    Args: shape (C, H, W) of an image, `model.shape` if not given. Batch norm uses its running statistics.
    Errors: `ConfigError` naming a module that no bound is known for.
    """
    network, shape = Network.of(model), shape or model.shape
    try:
        with torch.no_grad(), fixed_statistics(network):
            return rules_of(network, shape).norm(network.head.weight.new_zeros(1, *shape))
    except NoRule as unknown:
        raise _refusal(unknown) from None


def layer_norm(module: nn.Module, x: Tensor) -> float:
    """Bound of one module for inputs of the shape of x. Errors: `ConfigError` naming the module."""
    try:
        return layer_of(module).norm(x)
    except NoRule as unknown:
        raise _refusal(unknown) from None


def _refusal(unknown: NoRule) -> ConfigError:
    known = sorted(kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__ for kind in KINDS)
    return ConfigError(f"no Lipschitz bound is known for {unknown}; known: {', '.join(known)}")
