"""What a client sent, as it was given: a gradient, or the weights before and after with the step size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fldrep.arguments import check_above_zero, check_finite, refuse, shown
from fldrep.errors import ConfigError
from fldrep.models.model import Model
from fldrep.theory.identifiability import rounding_of

HALF = (torch.float16, torch.bfloat16)
STORED = 4.0  # rounding to a dtype leaves an error of a quarter of a unit in the last place, in the root mean square


@dataclass(frozen=True)
class Given:
    """An update {parameter: (*shape)} by a network's own names, as float32 or float64.

    `kind`: `gradient`, or `weights` before and after; `rounding`: what an entry's own rounding may be, a standard
    deviation a tensor; `notes`: what was made of what was given, in words.
    """

    tensors: dict[str, Tensor]
    kind: str
    rounding: dict[str, float]
    notes: list[str] = field(default_factory=list)


def gradient_of(network: nn.Module, update: Mapping[str, Any]) -> Given:
    """An update that holds the gradient of each parameter, (*shape) or (1, *shape).

    Errors: `ConfigError` naming the tensor that is missing, too much, of another shape, or not finite.
    """
    parameters, notes = _parameters(network), []
    tensors = _tensors("update", update)
    buffers = [name for name in tensors if name in dict(network.named_buffers())]
    if buffers:
        notes.append(f"{_count(buffers, 'buffer')} in the update, which attacks here do not use: {_some(buffers)}")
    own = {name: value for name, value in tensors.items() if name not in buffers}
    frozen = [name for name, one in parameters.items() if name not in own and not one.requires_grad]
    if frozen:
        notes.append(f"{_count(frozen, 'frozen parameter')} without a gradient, taken as zero: {_some(frozen)}")
    _require_names("update", own, [name for name in parameters if name not in frozen])
    found, rounding = {}, {}
    for name, parameter in parameters.items():
        value = torch.zeros_like(parameter) if name in frozen else _fitted(f"update[{name!r}]", own[name], parameter)
        # float64 may hold what was computed in float32: no more is taken of it
        found[name] = check_finite(f"update[{name!r}] as {parameter.dtype}", value.to(parameter.dtype))
        rounding[name] = max(rounding_of(value), rounding_of(found[name]))
    if any(value.dtype in HALF for value in own.values()):
        notes.append("half precision is read as float32")
    return Given(found, "gradient", rounding, notes)


def change_of(network: nn.Module, before: Mapping[str, Any], after: Mapping[str, Any], lr: float) -> Given:
    """The sum of the gradients of a client's steps, (before - after) / lr; the network gets the weights before.

    Errors: `ConfigError` naming the file's tensor, or lr; weights that did not change are an update of zeros.
    """
    lr, notes = check_above_zero("lr", lr), take_weights(network, before, "before")
    parameters, tensors = _parameters(network), _tensors("after", after)
    _require_names("after", tensors, list(parameters), list(network.state_dict()))
    first, found, rounding = _tensors("before", before), {}, {}
    for name, parameter in parameters.items():
        then, now = (
            _fitted(f"{what}[{name!r}]", some[name], parameter)
            for what, some in (("before", first), ("after", tensors))
        )
        change = (_wide(then).double() - _wide(now).double()).div(lr).to(parameter.dtype)
        found[name] = check_finite(f"(before[{name!r}] - after[{name!r}]) / lr, with an lr of {lr:g}", change)
        rounding[name] = float(np.hypot(rounding_of(then), rounding_of(now))) / STORED / lr
    moved = [
        name
        for name in first
        if name not in parameters and name in tensors and not torch.equal(first[name], tensors[name])
    ]
    if moved:
        notes.append(f"{_count(moved, 'buffer')} moved with the weights, which attacks here do not use: {_some(moved)}")
    if any(value.dtype in HALF for value in tensors.values()):
        notes.append("half precision is read as float32")
    return Given(found, "weights", rounding, notes)


def take_weights(network: nn.Module, weights: Mapping[str, Any], name: str = "weights") -> list[str]:
    """Give a network its weights, in place; buffers that are not among them keep the network's. Returns notes.

    Errors: `ConfigError` naming what is missing, too much, of another shape, or not finite.
    """
    parameters, tensors = _parameters(network), _tensors(name, weights)
    state = {**network.state_dict(keep_vars=True), **parameters}
    _require_names(name, tensors, list(parameters), list(state))
    fitted = {key: _fitted(f"{name}[{key!r}]", value, state[key]) for key, value in tensors.items()}
    with torch.no_grad():
        for key, value in fitted.items():
            state[key].copy_(value)
    buffers = dict(network.named_buffers())
    missing, notes = [one for one in network.state_dict() if one not in tensors and one in buffers], []
    if missing:
        notes.append(f"{_count(missing, 'buffer')} not among the {name}, the model's own: {_some(missing)}")
    if any(value.dtype in HALF for value in tensors.values()):
        notes.append(f"{name} in half precision are read as float32")
    return notes


def _parameters(network: nn.Module) -> dict[str, Tensor]:
    """The parameters by what a user calls them."""
    own = dict(network.named_parameters())
    return {name: own[here] for name, here in network.own_names().items()} if isinstance(network, Model) else own


# Tensors --------------------------------------------------------------------------------------------------------------


def _tensors(what: str, given: Any) -> dict[str, Tensor]:
    if not isinstance(given, Mapping) or not given or not all(isinstance(name, str) for name in given):
        refuse(what, given, "{parameter name: tensor (*shape of the parameter)}")
    found = {}
    for name, value in given.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape)
        if not isinstance(value, Tensor):
            refuse(f"{what}[{name!r}]", value, "a tensor")
        found[name] = value.detach().cpu()
    return found


def _require_names(what: str, tensors: Mapping[str, Tensor], needed: list[str], besides: list[str] | None = None):
    for name in needed:
        if name not in tensors:
            raise ConfigError(f"{what}: {name!r} is missing: expected the model's names; it holds {_some(tensors)}")
    known = {*needed, *(besides or [])}
    for name in tensors:
        if name not in known:
            raise ConfigError(f"{what}: {name!r}: expected no other names than the model's: {_some(needed)}")


def _fitted(name: str, value: Tensor, like: Tensor) -> Tensor:
    """A tensor in the shape of a parameter or buffer. Errors: `ConfigError`."""
    shape = tuple(like.shape)
    if like.is_floating_point() and not value.is_floating_point():
        refuse(name, value, f"floating-point numbers of shape {shape}")
    if tuple(value.shape) not in (shape, (1, *shape)):
        more = value.ndim == like.ndim + 1 and tuple(value.shape[1:]) == shape
        told = f"one client's update, {shape} or {(1, *shape)}" if more else f"shape {shape}, that of the model"
        refuse(name, value, told)
    return check_finite(name, value).reshape(shape) if value.is_floating_point() else value.reshape(shape)


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.dtype in HALF else value


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _some(names, most: int = 4) -> str:
    names = [shown(name)[1:-1] for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
