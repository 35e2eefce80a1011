"""What a user gives about clients and their updates, checked, and in the form that the code behind the face takes.

A user's network has parameter names of its own; behind the face every network is a `Model`, whose last layer is `head`.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fldrep.arguments import (
    check_above_zero,
    check_images,
    check_labels,
    check_module,
    check_not_zero,
    check_steady,
    check_update,
    check_whole,
    refuse,
)
from fldrep.errors import ConfigError
from fldrep.models import updates
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT, LocalSteps, Update
from fldrep.models.wrapping import as_model


def client_update(model: nn.Module, images: Tensor, labels: Tensor, local: LocalSteps | None = None) -> Update:
    """What clients would send undefended: the gradient of the mean cross entropy, one update an image (or a batch).

    Shapes: images (N, C, H, W), labels (N,): one update an image; images (N, B, C, H, W), labels (N, B): one a batch.
    Args: model: of `build_model`, of `wrap`, or any network whose last layer is an `nn.Linear`; images: floating point,
    in its input space; labels: class numbers; local: several steps of SGD instead of one gradient, see
    `updates.update_gradients`.
    Returns {parameter name: (N, *shape)}, the network's own names, in its dtype. The network stays as it is.
    Errors: `ConfigError` naming the argument, or a module in training mode by which an update would depend on its
    neighbours or on chance.
    """
    taken, images, labels = clients_of(model, images, labels)
    return with_own_names(taken, updates.client_update(taken, images, labels, check_local(local)))


def clients_of(
    model: nn.Module, images: Tensor, labels: Tensor | None = None, dims: tuple[int, ...] = (4, 5)
) -> tuple[Model, Tensor, Tensor | None]:
    """The model, and images and labels in its dtype and on its device. Errors: `ConfigError` naming the argument.

    Shapes: images (N, C, H, W) with labels (N,), or (N, B, C, H, W) with (N, B); as they are.
    """
    images = check_images(images, dims=dims)
    taken = steady(model, tuple(images.shape[-3:]))
    like = taken.head.weight
    if labels is not None:
        labels = check_labels(labels, tuple(images.shape[:-3]), taken.head.out_features).to(like.device)
    return taken, images.to(like), labels


def steady(model: nn.Module, shape: tuple[int, int, int] | None = None) -> Model:
    """A network as a `Model`. Args: shape (C, H, W), where the network does not say it itself.

    Errors: `ConfigError` where it is none, mixes images, draws at random or changes its buffers; and as for `wrap`.
    """
    check_steady(check_module(model))
    taken = as_model(model, shape)
    if any(one.training for one in taken.modules()):
        _require_the_same_twice(taken, shape or taken.shape)
    return taken


def _require_the_same_twice(model: Model, shape: tuple[int, int, int]) -> None:
    """Errors: `ConfigError` where a pass in training mode depends on chance, or leaves other buffers behind."""
    tried = copy.deepcopy(model)
    like = tried.head.weight
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(like)
    logits = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for seed in (0, 1):
            torch.default_generator.manual_seed(seed)
            logits.append(tried(image))
    buffers = zip(tried.buffers(), model.buffers(), strict=True)
    if not torch.equal(*logits) or any(not torch.equal(one, other) for one, other in buffers):
        raise ConfigError("model: in training mode it draws at random or changes its buffers; call model.eval() first")


def with_inner_names(model: Model, update: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A user's update under the names behind the face. Errors: `ConfigError` naming what does not fit the model."""
    own, parameters = model.own_names(), dict(model.named_parameters())
    check_update(update, {name: parameters[here] for name, here in own.items()})
    return _like(update, {here: update[name] for name, here in own.items()})


def with_own_names(model: Model, update: Mapping[str, Tensor]) -> Update:
    """An update under the network's own names, in its own order; what is public of it stays."""
    return _like(update, {name: update[here] for name, here in model.own_names().items()})


def require_evidence(model: Model, update: Mapping[str, Tensor], label_strategy: str) -> None:
    """Errors: `AttackRefused` naming targets whose update is all zero, or says nothing of labels to be inferred."""
    check_not_zero(update, "update: nothing to attack, it is zero everywhere")
    if label_strategy == "inferred":
        last = HEAD_BIAS if HEAD_BIAS in update else HEAD_WEIGHT
        own = next(name for name, here in model.own_names().items() if here == last)
        check_not_zero({own: update[last]}, f"labels: nothing to infer them from, {own!r} is zero")


def check_known_labels(
    labels: Tensor | None, update: Mapping[str, Tensor], batch: int | None, model: Model
) -> Tensor | None:
    """Labels of N updates, (N,) or (N, B), on the model's device, or None. Args: batch: B, where it is given.

    Errors: `ConfigError` for a batch below 1, another shape, one-hot rows, or a class that there is not.
    """
    batch = None if batch is None else check_whole("batch", batch, 1)
    if labels is None:
        return None
    count, head = len(next(iter(update.values()))), model.head
    batches = getattr(labels, "ndim", 1) == 2
    shape = (count, batch) if batches or batch not in (None, 1) else (count,)
    return check_labels(labels, shape, head.out_features).to(head.weight.device)


def constants_for(channels: int, normalisation: str | Normalisation | None) -> Normalisation:
    """The constants asked for, which must be those of so many channels. Errors: `UnknownName`; `ConfigError`."""
    constants = normalisation_for(channels, normalisation)
    if len(constants.mean) != channels or len(constants.std) != channels:
        refuse("normalisation", constants, f"a mean and a deviation for each of {channels} channels")
    if not all(math.isfinite(one) for one in constants.mean) or not all(0 < one < math.inf for one in constants.std):
        refuse("normalisation", constants, "finite means, and deviations above 0")
    return constants


def _like(update: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
    if not isinstance(update, Update):
        return tensors
    return Update(tensors, update.defended, update.distorted, update.statistics)


def check_local(local: LocalSteps | None) -> LocalSteps | None:
    """Local steps that can be taken, or None. Errors: `ConfigError`."""
    if local is None:
        return None
    if not isinstance(local, LocalSteps):
        refuse("local", local, "fldrep.models.updates.LocalSteps(epochs, batch_size, lr[, momentum])")
    check_whole("local.epochs", local.epochs, 1)
    check_whole("local.batch_size", local.batch_size, 1)
    check_above_zero("local.lr", local.lr)
    if not 0 <= local.momentum < 1:
        refuse("local.momentum", local.momentum, "a number in [0, 1)")
    return local
