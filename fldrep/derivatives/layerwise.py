"""Gradients of updates and their pullback for networks made of layers that have rules, without autograd.

For V held fixed, the derivative of <V, G(x)> by x is the derivative along V of the ordinary input gradient: with
weights W + eV, d/de of dL/dx at e = 0 (Pearlmutter 1994, "Fast exact multiplication by the Hessian"). So one pass
forward and back gives G, and one more pass forward and back carries the derivatives along V; or those along a change of
the images, which gives the push. The weights are shared by all problems, so half of the work is ordinary batched
convolution; only products with G and V are per problem. `layer` says how the passes fit together.
"""

import torch
from torch import Tensor

from fldrep.derivatives.layer import Gradient, NoRule, Shape, added, as_it_is
from fldrep.derivatives.layers.cross_entropy import loss_passes
from fldrep.derivatives.network import Network
from fldrep.derivatives.pullback import GradientMap, Pullback, Push, by_autodiff
from fldrep.derivatives.trust import close, require_agreement, rules_of, tell_once
from fldrep.models.updates import LocalSteps


def gradient_map(model, shape: Shape, local: LocalSteps | None = None) -> GradientMap:
    """The fastest map there is for a model and what its clients do; shape (C, H, W) of an image."""
    plain = layerwise(model, shape) if local is None else None
    return plain or by_autodiff(Network.of(model).module, local)


def layerwise(model, shape: Shape) -> GradientMap | None:
    """As `pullback.by_autodiff`, or None where there are no rules that give the same; shape (C, H, W) of an image."""
    network = Network.of(model)
    try:
        made = by_rules(network, shape)
        require_agreement(network, shape, "gradients", _gradients_agree)
    except NoRule as reason:
        tell_once(network, reason)
        return None
    return made


def by_rules(network: Network, shape: Shape) -> GradientMap:
    """The map that the layers' rules give. Errors: `NoRule` naming a layer that has none."""
    names = network.names
    body, loss = rules_of(network, shape).passes(names, shape), loss_passes(network.head, names)

    def linearise(images: Tensor, soft: Tensor) -> tuple[dict[str, Tensor], Pullback, Push]:
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        r, back = body.run(flat, len(images))
        slope, found, loss_pull, loss_push = loss(r, soft)
        _, own, body_pull, body_push = back(slope, False)
        added(found, own)

        def pull(v: Gradient) -> tuple[Tensor, Tensor]:
            whole = {name: v[name] if name in v else torch.zeros_like(own[name]) for name in own}
            along, pull_back = body_pull(None, whole)
            along, by_soft = loss_pull(along, v)
            return pull_back(along).view_as(images), by_soft

        def push(along: Tensor, soft_along: Tensor | None = None) -> dict[str, Tensor]:
            dr, push_back = body_push(along.flatten(0, 1).contiguous(memory_format=torch.channels_last))
            dslope, found = loss_push(dr, soft_along)
            added(found, push_back(dslope, False)[1])
            return found

        return found, pull, push

    def arrange(update: Gradient) -> dict[str, Tensor]:
        return {name: body.order.get(name, as_it_is)(value) for name, value in update.items()}

    return GradientMap(linearise, arrange)


def _gradients_agree(network: Network, images: Tensor) -> bool:
    rules, images = by_rules(network, tuple(images.shape[1:])), images.unsqueeze(0)
    soft = torch.eye(network.head.out_features, dtype=images.dtype)[[0, -1]].unsqueeze(0)
    found, expected = rules.run(images, soft)[0], rules.arrange(by_autodiff(network.module).run(images, soft)[0])
    return found.keys() == expected.keys() and all(close(found[name], expected[name]) for name in expected)
