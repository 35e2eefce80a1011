"""The image behind a gradient through ReLU, batch norm and max-pools, without the last layer's weight gradient.

The gradient of one convolution tells its input, but for a factor, whatever is behind it (`overlaps`). The layers behind
must take it to the probabilities that the last bias's gradient tells: that is the factor. Its own gradient must be the
one sent: nothing is built on what does not hold. From there down, inputs are solved for layer by layer as far as that
goes; a ReLU's output tells where it passes slopes. A max-pool hides its winners: an image with the features behind it
is looked for (`feature_descent`).
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from fldrep.attack.feature_descent import image_with_features
from fldrep.attack.layer_by_layer import Known, below
from fldrep.attack.overlaps import input_by_overlaps
from fldrep.attack.way_down import OverlapChain
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.patches import Geometry
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import HEAD_BIAS

TUNED_ON = {"cifar10": (range(5000, 5024),)}  # test images that these constants were found on
HOLDS = 1e-3  # relative residual of the convolution's own gradient from which nothing is built on its input
FACTORS = torch.arange(-60, 61, dtype=torch.float64).div(4).exp2()  # tried first: 3e-5 to 3e4
AT_ONCE = 16  # factors tried in one pass
CORRECTED = 2  # times that the factor is put right by the size of the gradient: probabilities tell it to some 1e-5
REFINED = 20  # most steps of Gauss-Newton on a factor


def image_through_pools(
    chain: OverlapChain,
    model: Model,
    update: Mapping[str, Tensor],
    normalisation: Normalisation,
    soft: Tensor | None = None,
) -> Tensor:
    """The image (C, H, W) behind one gradient {name: (*shape)} in float64.

    Of the convolutions that may give their input away, the first that does is taken.
    Args: soft: the label (classes,) in the loss, where it is no class. Errors: `NoRule` saying why the convolution
    nearest to the image does not.
    """
    reasons, bias = [], update[HEAD_BIAS]
    target = bias + (nn.functional.one_hot(bias.argmin(), len(bias)) if soft is None else soft)
    for at in chain.convolutions:
        try:
            known, first = input_of(chain, at, model, update, target), chain.solvable_from(at)
            known = below(chain.parts[first:at], known, update)
        except NoRule as reason:
            reasons.append(reason)
            continue
        if not first:
            return known.values
        front = nn.Sequential(*(part.layer.module for part in chain.parts[:first]))
        return _descended(front, known.values, chain.parts[0].shape, normalisation).to(known.values)
    raise reasons[0]


def input_of(chain: OverlapChain, at: int, model: Model, update: Mapping[str, Tensor], target: Tensor) -> Known:
    """What is known in front of a convolution. Args: target: the probabilities that the network gives.

    Errors: `NoRule` where its gradient does not tell, with numbers.
    """
    part = chain.parts[at]
    module, gradient = part.layer.module, update[part.names["weight"]]
    values = input_by_overlaps(gradient, Geometry.of(module), *part.shape[1:])
    behind = nn.Sequential(*(one.layer.module for one in chain.parts[at + 1 :]), model.head)
    values = values * factor_of(nn.Sequential(module, behind), values, target)
    for _ in range(CORRECTED):
        slopes, made = _gradients(module, behind, values, update[HEAD_BIAS])
        values = values * (gradient.square().sum() / (made * gradient).sum())
    slopes, made = _gradients(module, behind, values, update[HEAD_BIAS])
    missed = float((made - gradient).norm() / gradient.norm())
    if not missed < HOLDS:
        raise NoRule(f"Conv2d whose input, as found, misses {missed:.0e} of its gradient")
    return Known(values, slopes, torch.ones_like(slopes))


def _gradients(module: nn.Module, behind: nn.Module, values: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives of the loss by a convolution's input and weight; dL/dlogits is that of the last bias."""
    with torch.enable_grad():
        values = values.detach().requires_grad_()
        out = module(values[None])
        (steep,) = torch.autograd.grad(behind(out)[0] @ bias, out, retain_graph=True)
        return torch.autograd.grad(out, (values, module.weight), steep)


def factor_of(behind: nn.Module, values: Tensor, target: Tensor) -> Tensor:
    """The factor on values (C, H, W) at which the layers behind give probabilities that are known.

    dL/dlogits tells them: it is the probabilities less 1 at the label, where alone it is negative.
    """
    tried = torch.cat([FACTORS, -FACTORS]).to(values)

    def missed(factors: Tensor) -> Tensor:
        return behind(factors.view(-1, 1, 1, 1) * values).softmax(1) - target

    sizes = torch.cat([missed(some).norm(dim=1) for some in tried.split(AT_ONCE)])
    best, size = tried[sizes.argmin()], sizes.min()
    for _ in range(REFINED):
        by, slope = torch.func.jvp(lambda one: missed(one)[0], (best,), (torch.ones_like(best),))
        moved = best - slope @ by / slope.square().sum()
        if not (now := missed(moved).norm()) < size:
            break
        best, size = moved, now
    return best


def _descended(front: nn.Module, features: Tensor, shape: tuple[int, ...], valid: Normalisation) -> Tensor:
    """By a copy in float32, which is twice as fast and precise enough to tell winners."""
    quick = deepcopy(front).float().requires_grad_(False)
    return image_with_features(quick, features.float(), shape, valid)
