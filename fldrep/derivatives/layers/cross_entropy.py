"""The last layer and the mean cross entropy of its logits: where the way back begins."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.derivatives.layer import Gradient, NoRule, each, layer_of
from fldrep.derivatives.layers.linear import Linear
from fldrep.derivatives.network import Names


def loss_passes(head: nn.Linear, names: Names) -> Callable[[Tensor, Tensor], tuple]:
    """How the gradient of each problem's loss begins, from r (P * B, F) and soft labels (P, B, classes).

    The function made returns the slope by r, the gradients of the last layer's parameters, and two derivatives:
    `pull(dr, v)` gives that of the slope, and the slope of <v, gradients> by the soft labels; `push(dr, dsoft)` gives
    that of the slope, and of the gradients. Errors: `NoRule` for a last layer that is not a plain linear one.
    """
    rules = layer_of(head)
    if not isinstance(rules, Linear):
        raise NoRule(f"{rules.words} as the last layer")
    own = rules.own(names)
    weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
    own_weight, own_bias = own["weight"], own.get("bias")

    def run(r: Tensor, soft: Tensor):
        count, batch = soft.shape[:2]
        p = F.linear(r, weight, bias).softmax(-1)
        gz = (p - soft.flatten(0, 1)) / batch
        r_each, gz_each = each(r, count), each(gz, count)

        def gradients(g: Tensor) -> dict[str, Tensor]:
            found = {own_weight: g.mT @ r_each}
            return found if bias is None else found | {own_bias: g.sum(1)}

        def pull(dr: Tensor | None, v: Gradient) -> tuple[Tensor, Tensor]:
            dz = torch.zeros_like(gz) if dr is None else F.linear(dr, weight)
            if own_weight in v:
                dz = dz + (r_each @ v[own_weight].mT).flatten(0, 1)
            if own_bias in v:
                dz = dz + v[own_bias].repeat_interleave(batch, 0)
            dz = (dz - (p * dz).sum(-1, keepdim=True)) / batch
            dgr = (p * dz) @ weight
            if own_weight in v:
                dgr = dgr + (gz_each @ v[own_weight]).flatten(0, 1)
            return dgr, -dz.unflatten(0, (count, batch))

        def push(dr: Tensor, dsoft: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
            dz = F.linear(dr, weight)
            dgz = p * (dz - (p * dz).sum(-1, keepdim=True))
            if dsoft is not None:
                dq = dsoft.flatten(0, 1)
                dgz = dgz + p * dq.sum(-1, keepdim=True) - dq
            dgz = dgz / batch
            down = gradients(each(dgz, count))
            down[own_weight] = down[own_weight] + gz_each.mT @ each(dr, count)
            return dgz @ weight, down

        return gz @ weight, gradients(gz_each), pull, push

    return run
