"""Arguments of the Python face, checked: an error is one line with the argument, its value and what would be right.

Checks return the value, in the form that the code behind them takes. They are for people: jobs of the workflow call
what lies behind the face, and have rows for what is not finite. Importing this module does not import torch.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fldrep.errors import AttackRefused, ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

LONGEST_SHOWN = 120  # characters of a wrong value


def refuse(name: str, value: object, expected: str) -> NoReturn:
    """Errors: `ConfigError`, always."""
    raise ConfigError(f"{name}: {shown(value)}: expected {expected}")


def shown(value: object) -> str:
    """A value in an error: on one line, not longer than one can read, and a tensor by its shape and dtype."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, list | tuple | Mapping) and any(hasattr(one, "shape") for one in _items(value)):
        return f"a {type(value).__name__} of {len(value)} tensors"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _items(value: list | tuple | Mapping) -> Iterable[object]:
    return value.values() if isinstance(value, Mapping) else value


def line_of(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


# Numbers and words ----------------------------------------------------------------------------------------------------


def check_whole(name: str, value: Any, at_least: int) -> int:
    """A whole number, also one of NumPy's, as Python's own. Errors: `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < at_least:
        refuse(name, value, f"a whole number of at least {at_least}")
    return int(value)


def check_seed(value: Any, name: str = "seed") -> int:
    """A seed, as Python's own number: a draw is named by it. Errors: `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 <= value < 2**63:
        refuse(name, value, "a whole number in [0, 2**63)")
    return int(value)


def check_share(name: str, value: Any) -> float:
    """A number in [0, 1]. Errors: `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        refuse(name, value, "a number in [0, 1]")
    return float(value)


def check_above_zero(name: str, value: Any) -> float:
    """A finite number above 0. Errors: `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        refuse(name, value, "a number above 0")
    return float(value)


def check_text(name: str, value: Any) -> str:
    """A word. Errors: `ConfigError`."""
    if not isinstance(value, str):
        refuse(name, value, "a name")
    return value


def check_one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the words known. Errors: `ConfigError`."""
    known = list(known)
    if not isinstance(value, str) or value not in known:
        *first, last = map(repr, known)
        refuse(name, value, f"{', '.join(first)} or {last}" if first else last)
    return value


def check_shape(value: Any, name: str = "shape") -> tuple[int, int, int]:
    """(C, H, W) of an image. Errors: `ConfigError`."""
    whole = isinstance(value, list | tuple) and len(value) == 3 and not any(isinstance(one, bool) for one in value)
    if not whole or not all(isinstance(one, numbers.Integral) and one >= 1 for one in value):
        refuse(name, value, "(C, H, W): channels, height and width of an image, such as (3, 32, 32)")
    return tuple(int(one) for one in value)


def check_keywords(given: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
    """Refuse keywords of an older version. Args: renamed: old name -> new name. Errors: `ConfigError` with the new."""
    for old in given.keys() & renamed.keys():
        raise ConfigError(f"{old}: is called {renamed[old]} now")


# Modules --------------------------------------------------------------------------------------------------------------


def check_module(value: Any, name: str = "model") -> nn.Module:
    """A network of torch, none of whose layers waits for an input to have a shape. Errors: `ConfigError`."""
    from torch import nn

    if not isinstance(value, nn.Module):
        refuse(name, value, "a torch.nn.Module")
    for own, one in value.state_dict(keep_vars=True).items():
        if nn.parameter.is_lazy(one):
            raise ConfigError(
                f"{name}: {own!r} has no shape yet: expected layers that are not lazy, or were called once"
            )
    return value


def check_steady(module: nn.Module) -> None:
    """Refuse modules by which an update depends on its neighbours or on chance. Errors: `ConfigError` naming one."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.dropout import _DropoutNd

    for name, one in module.named_modules():
        if isinstance(one, _BatchNorm) and one.running_var is None:
            raise ConfigError(f"batch norm {name!r} has no running statistics: it mixes the images of a batch")
        chance = (isinstance(one, _DropoutNd) and one.p > 0) or (isinstance(one, nn.MultiheadAttention) and one.dropout)
        if one.training and (chance or isinstance(one, _BatchNorm)):
            kind = "dropout" if chance else "batch norm"
            raise ConfigError(f"{kind} {name!r} is in training mode; call model.eval() first")


# Tensors --------------------------------------------------------------------------------------------------------------


def check_tensor(name: str, value: Any, expected: str) -> Tensor:
    """A tensor. Args: expected: what it should be, for the error. Errors: `ConfigError`."""
    from torch import Tensor

    if not isinstance(value, Tensor):
        refuse(name, value, f"a tensor, {expected}")
    return value


def check_finite(name: str, value: Tensor) -> Tensor:
    """A tensor whose entries are all finite. Errors: `ConfigError` with how many are not."""
    wrong = int((~value.isfinite()).sum())
    if wrong:
        raise ConfigError(f"{name}: {wrong} of {value.numel()} entries are not finite: expected finite numbers")
    return value


def check_images(value: Any, name: str = "images", dims: tuple[int, ...] = (4, 5)) -> Tensor:
    """Images in a network's input space: floating point, finite, at least one, with no empty side.

    Shape: (N, C, H, W), or (N, B, C, H, W) for updates of batches. Args: dims: how many axes are taken.
    Errors: `ConfigError`.
    """
    forms = {4: "(N, C, H, W)", 5: "(N, B, C, H, W)"}
    expected = f"floating-point images {' or '.join(forms[one] for one in dims)} in the network's input space"
    images = check_tensor(name, value, expected)
    if not images.is_floating_point():
        bytes_are = "; fldrep.storage.imageset.as_pixels turns bytes into pixels in [0, 1]"
        refuse(name, images, expected + (bytes_are if str(images.dtype) == "torch.uint8" else ""))
    if images.ndim not in dims:
        refuse(name, images, expected)
    if not images.numel():
        refuse(name, images, f"at least one image, {expected}")
    return check_finite(name, images)


def check_labels(value: Any, shape: tuple[int | None, ...], classes: int, name: str = "labels") -> Tensor:
    """Class numbers of a shape, where None stands for any number, as int64.

    Errors: `ConfigError`, also for one-hot rows, and for a class that there is not.
    """
    import torch

    form = f"({', '.join('B' if one is None else str(one) for one in shape)}{',' * (len(shape) == 1)})"
    expected = f"class numbers of shape {form}"
    labels = check_tensor(name, value, expected)
    fits = len(shape) == labels.ndim and all(a in (None, b) for a, b in zip(shape, labels.shape, strict=True))
    if one_hot(labels, classes) and not (fits and None not in shape):
        refuse(name, labels, f"{expected}; these are one-hot rows: give labels.argmax(-1)")
    if not fits or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        refuse(name, labels, expected)
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.numel():
        refuse(name, int(outside[0]), f"classes 0 to {classes - 1}")
    return labels.long()


def one_hot(labels: Tensor, classes: int) -> bool:
    """Whether every row, as long as there are classes, holds one 1 and else 0. Shape: (..., classes)."""
    if labels.ndim < 2 or labels.shape[-1] != classes:
        return False
    return bool(((labels == 0) | (labels == 1)).all()) and bool((labels.sum(-1) == 1).all())


# Updates --------------------------------------------------------------------------------------------------------------


def check_update(value: Any, parameters: Mapping[str, Tensor] | None = None, name: str = "update") -> Mapping:
    """An update of N clients, {parameter: (N, *shape)}: floating point, finite, and N of at least 1 alike everywhere.

    Args: parameters: those of the model by name, in any order; what is there of them is not checked where not given.
    Errors: `ConfigError` naming the tensor.
    """
    expected = "{parameter name: tensor (N, *shape of the parameter)}"
    if isinstance(value, list | tuple):
        refuse(name, value, f"{expected}; name each by model.named_parameters(), one update is value.unsqueeze(0)")
    if not isinstance(value, Mapping) or not value or not all(isinstance(one, str) for one in value):
        refuse(name, value, expected)
    if parameters is not None:
        _check_names(name, value, parameters)
    count = None
    for key, one in value.items():
        tensor = check_tensor(f"{name}[{key!r}]", one, "(N, *shape of the parameter)")
        own = "*shape" if parameters is None else ", ".join(map(str, parameters[key].shape))
        fits = parameters is None or tensor.shape[1:] == parameters[key].shape
        if not tensor.is_floating_point() or tensor.ndim < 1 or not fits or len(tensor) != (count or len(tensor)):
            refuse(f"{name}[{key!r}]", tensor, f"floating-point numbers of shape ({count or 'N'}, {own})")
        count = len(tensor)
        if not count:
            refuse(f"{name}[{key!r}]", tensor, "at least one client's update")
        check_finite(f"{name}[{key!r}]", tensor)
    return value


def _check_names(name: str, value: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    for key in parameters:
        if key not in value:
            raise ConfigError(f"{name}: tensor {key!r} is missing; it holds {_some(value)}")
    for key in value:
        if key not in parameters:
            raise ConfigError(f"{name}: {key!r} is no parameter of the model, whose parameters are {_some(parameters)}")


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_not_zero(update: Mapping[str, Tensor], said: str) -> None:
    """Refuse what says nothing: tensors (N, ...) that are all zero for a target.

    Args: said: what this means, for the error. Errors: `AttackRefused` naming the targets.
    """
    import torch

    zero = torch.stack([(one == 0).flatten(1).all(1).cpu() for one in update.values()]).all(0)
    if zero.any():
        raise AttackRefused(f"{said} for target(s) {', '.join(map(str, zero.nonzero().flatten().tolist()))}")
