"""How far a trial gradient is from the one seen, together with the slope of that distance.

A comparison first prepares an aim from what is seen, {name: (P, ...)}, once; at each step it compares a trial of the
same shapes with it: distance (P,) and slope {name: (P, ...)}, its derivative by each entry of the trial. Tensors that a
comparison leaves out have no slope. The distances are those of `models.updates`; the slopes are written out, so that
a step needs no autograd.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fldrep.attack.pullback import Gradient

Aim = dict[str, dict[str, Tensor]]


class Comparison(NamedTuple):
    """`prepare(seen)` -> aim, and `compare(trial, aim)` -> distance and slope."""

    prepare: Callable[[Gradient], Aim]
    compare: Callable[[Gradient, Aim], tuple[Tensor, dict[str, Tensor]]]


def keep_all(seen: Gradient) -> Aim:
    """Compare every entry."""
    return keep(seen, {})


def keep(seen: Gradient, kept: Gradient) -> Aim:
    """Compare the entries where `kept` {name: bool, broadcastable to the tensor} holds; all of a tensor not named."""
    seen = {name: one * kept[name] if name in kept else one for name, one in seen.items()}
    return {"seen": seen, "kept": dict(kept), "norm": {"seen": _norm(seen)}}


def squared(trial: Gradient, aim: Aim) -> tuple[Tensor, dict[str, Tensor]]:
    """The plain sum of squared differences. Source: Zhu et al. 2019 (DLG), arXiv:1906.08935."""
    apart = {name: _kept(trial, name, aim) - seen for name, seen in aim["seen"].items()}
    return _squares(apart), {name: 2 * one for name, one in apart.items()}


def relative_squared(trial: Gradient, aim: Aim) -> tuple[Tensor, dict[str, Tensor]]:
    """The squared difference over the squared norm of what was seen: what Gaussian noise on it calls for."""
    distance, slope = squared(trial, aim)
    scale = aim["norm"]["seen"].square().reciprocal()
    return distance * scale, {name: _each(scale, one) * one for name, one in slope.items()}


def scaled_squared(trial: Gradient, aim: Aim) -> tuple[Tensor, dict[str, Tensor]]:
    """The squared difference to what was seen once the trial is scaled as fits it best: for updates that were clipped.

    |s|^2 - <g, s>^2 / |g|^2 for a trial g and seen s; the scale <g, s> / |g|^2 is never taken below 0.
    """
    seen = aim["seen"]
    trial = {name: _kept(trial, name, aim) for name in seen}
    norm = _norm(trial)
    scale = (sum(_each_sum(trial[name] * seen[name]) for name in seen) / norm.square()).clamp_min(0)
    distance = aim["norm"]["seen"].square() - (scale * norm).square()
    slope = {name: 2 * _each(scale, one) * (_each(scale, one) * trial[name] - one) for name, one in seen.items()}
    return distance, slope


def cosine(trial: Gradient, aim: Aim) -> tuple[Tensor, dict[str, Tensor]]:
    """1 - cosine over all tensors of the aim jointly. Source: Geiping et al. 2020, arXiv:2003.14053.

    A gradient that is zero everywhere has distance 1.
    """
    seen = aim["seen"]
    trial = {name: _kept(trial, name, aim) for name in seen}
    norm = _norm(trial)
    scale = 1 / (norm * aim["norm"]["seen"])
    alike = sum(_each_sum(trial[name] * seen[name]) for name in seen) * scale
    pull = alike / norm.square()
    slope = {
        name: torch.addcmul(_each(pull, one) * trial[name], _each(scale, one), one, value=-1)
        for name, one in seen.items()
    }
    return 1 - alike, slope


SQUARED = Comparison(keep_all, squared)
SCALED_SQUARED = Comparison(keep_all, scaled_squared)
RELATIVE_SQUARED = Comparison(keep_all, relative_squared)
COSINE = Comparison(keep_all, cosine)


def _kept(trial: Gradient, name: str, aim: Aim) -> Tensor:
    return trial[name] * aim["kept"][name] if name in aim["kept"] else trial[name]


def _each_sum(values: Tensor) -> Tensor:
    return values.sum(tuple(range(1, values.ndim)))


def _squares(gradient: Gradient) -> Tensor:
    return sum(torch.linalg.vector_norm(one, dim=tuple(range(1, one.ndim))).square() for one in gradient.values())


def _norm(gradient: Gradient) -> Tensor:
    """At least the root of the smallest number, so that nothing divides by zero."""
    squares = _squares(gradient)
    return squares.sqrt().clamp_min(torch.finfo(squares.dtype).tiny ** 0.5)


def _each(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
