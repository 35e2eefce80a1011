"""The case of an audit: network, update, and what is said of the client, checked before anything is computed."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fldrep.applications.audit.given import Given, change_of, gradient_of, take_weights
from fldrep.applications.audit.pictures import originals_of
from fldrep.arguments import (
    check_above_zero,
    check_finite,
    check_labels,
    check_module,
    check_seed,
    check_shape,
    check_whole,
    line_of,
    refuse,
)
from fldrep.errors import ConfigError
from fldrep.models.face import constants_for, steady
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps
from fldrep.models.wrapping import OF_OTHERS

MOST_NUMBERS = 10**9  # that all images behind an update may have: 4 GB
MOST_STEPS = 10**5  # of a client
PIXEL_DEVIATION = 0.25  # of pixels in [0, 1], where no data set's constants say it: about that of natural images


@dataclass(frozen=True)
class Case:
    """What is audited. `update` {inner name: (1, *shape)}; `rounding` {inner name: deviation of an entry's rounding}.

    `images`: of each client, of which there are `clients`, whose mean the update is; `images_told`: whether anything
    told them, else it is one; `labels` (clients * images,) or None; `originals` (b, C, H, W), the network's input, of
    one client or of all; `prior_std`: deviation of a pixel in the network's input before anything is sent.
    """

    model: Model
    update: dict[str, Tensor]
    rounding: dict[str, float]
    kind: str
    shape: tuple[int, int, int]
    normalisation: Normalisation
    prior_std: float
    images: int
    images_told: bool
    clients: int
    labels: Tensor | None
    originals: Tensor | None
    originals_as: str | None
    local: LocalSteps | None
    seed: int
    notes: list[str]

    @property
    def total(self) -> int:
        """Images behind the update, of all clients."""
        return self.images * self.clients

    @property
    def unknowns(self) -> int:
        """Numbers that make up all images behind the update."""
        return self.total * math.prod(self.shape)

    @property
    def steps(self) -> int:
        """Gradient steps of each client."""
        return 1 if self.local is None else len(self.local.batches(self.images))


def case_of(
    model: nn.Module,
    update: Mapping[str, Any] | None = None,
    *,
    weights: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    labels: Any = None,
    shape: tuple[int, int, int] | None = None,
    images: int | None = None,
    clients: int = 1,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    originals: Any = None,
    normalisation: str | Normalisation | None = None,
    seed: int = 0,
) -> Case:
    """Check all that is given. The model is copied, and stays as it is. Errors: `ConfigError` naming the argument."""
    network, notes = _evaluated(check_module(model))
    shape = check_shape(getattr(model, "shape", None) if shape is None else shape)
    _require_room("shape", shape, math.prod(shape))
    _require_one_form(update, weights, before, after, lr, epochs, batch_size)
    if weights is not None:
        notes += take_weights(network, weights)
    given = gradient_of(network, update) if update is not None else change_of(network, before, after, lr)
    for name, value in network.named_parameters():
        check_finite(f"model: {name!r}", value)
    taken = steady(network, shape)
    constants = constants_for(shape[0], normalisation)
    known, originals_as = (None, None) if originals is None else originals_of(originals, shape, constants)
    clients, labels = check_whole("clients", clients, 1), _class_numbers(labels)
    told = _images_of_each(images, clients, known, labels)
    images = 1 if told is None else told
    _require_room("images" if clients == 1 else "clients", clients * images, clients * images * math.prod(shape))
    if told is None:
        notes.append("nothing told how many images a client has: taken for one")
    if given.kind == "weights" and images > 1 and epochs is batch_size is None:
        notes.append(f"no local steps were told: taken for one step over all {images} images")
    return Case(
        model=taken,
        **_inner(taken, given),
        kind=given.kind,
        shape=shape,
        normalisation=constants,
        prior_std=_prior_std(constants, normalisation),
        images=images,
        images_told=told is not None,
        clients=clients,
        labels=_labels_of_all(labels, images * clients, clients, taken.head.out_features),
        originals=_originals_of_some(known, images, clients),
        originals_as=originals_as,
        local=_local(epochs, batch_size, lr, images),
        seed=check_seed(seed),
        notes=notes + given.notes,
    )


def _evaluated(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy in evaluation mode and at least float32, and what was changed."""
    try:
        network = copy.deepcopy(model)
    except OF_OTHERS as error:
        raise ConfigError(f"model: cannot be copied: {line_of(error)}") from None
    if not any(True for _ in network.parameters()):
        raise ConfigError("model: it has no parameters, so that there is no update")
    notes = []
    if any(one.training for one in network.modules()):
        notes.append("the model is put in eval mode: batch norm by its running statistics, no dropout")
    if any(one.dtype in (torch.float16, torch.bfloat16) for one in network.parameters()):
        network, notes = network.float(), [*notes, "the model is computed in float32"]
    return network.eval().cpu(), notes


def _require_one_form(update, weights, before, after, lr, epochs, batch_size) -> None:
    """Errors: `ConfigError` unless an update is given, or the weights before and after with lr."""
    if (update is None) == (before is None and after is None):
        raise ConfigError("update: expected either an update, or before and after")
    if update is None and (before is None or after is None):
        raise ConfigError(f"{'before' if before is None else 'after'}: expected the weights before and after together")
    if update is None and lr is None:
        raise ConfigError("lr: expected the client's step size: the gradient is (before - after) / lr")
    if update is None and weights is not None:
        raise ConfigError("weights: expected none beside before and after, which say the weights")
    several = epochs is not None or batch_size is not None
    if update is not None and lr is not None and not several:
        raise ConfigError(f"lr: {lr}: expected before and after, or epochs: an update holds gradients as they are")
    if several and lr is None:
        raise ConfigError("lr: expected the step size of the client's local steps")


def _require_room(name: str, value: Any, numbers: int) -> None:
    """Errors: `ConfigError` where images would not fit into memory."""
    if numbers > MOST_NUMBERS:
        refuse(name, value, f"images of at most {MOST_NUMBERS} numbers in all, not {numbers}")


def _class_numbers(labels: Any) -> Tensor | None:
    if labels is None:
        return None
    if isinstance(labels, list | tuple) and labels and all(type(one) is int and abs(one) < 2**63 for one in labels):
        labels = torch.tensor(labels)
    if not isinstance(labels, Tensor) or labels.ndim != 1 or not len(labels):
        refuse("labels", labels, "class numbers, one an image, such as [3, 7]")
    return labels.cpu()


def _images_of_each(images: int | None, clients: int, originals: Tensor | None, labels: Tensor | None) -> int | None:
    """Images of each client: as said, or as labels or originals tell; None where nothing does."""
    if images is not None:
        return check_whole("images", images, 1)
    if labels is not None and len(labels) % clients == 0:
        return len(labels) // clients
    return None if originals is None or clients > 1 else len(originals)


def _labels_of_all(labels: Tensor | None, total: int, clients: int, classes: int) -> Tensor | None:
    if labels is None:
        return None
    if len(labels) != total:
        each = "one an image" if clients == 1 else "those of all clients' images"
        refuse("labels", f"{len(labels)} classes", f"{total}, {each}")
    return check_labels(labels, (total,), classes)


def _originals_of_some(originals: Tensor | None, images: int, clients: int) -> Tensor | None:
    if originals is not None and len(originals) not in (images, images * clients):
        told = f"{images}, as many as the client has images" + (f", or all {images * clients}" if clients > 1 else "")
        refuse("originals", f"{len(originals)} images", told)
    return originals


def _local(epochs: int | None, batch_size: int | None, lr: float | None, images: int) -> LocalSteps | None:
    """What a client did, None where that is one step over all its images."""
    if epochs is None and batch_size is None:
        return None
    epochs = check_whole("epochs", 1 if epochs is None else epochs, 1)
    size = min(images, check_whole("batch_size", images if batch_size is None else batch_size, 1))
    if epochs * math.ceil(images / size) > MOST_STEPS:
        refuse("epochs", epochs, f"at most {MOST_STEPS} steps of {size} of {images} images")
    local = LocalSteps(epochs, size, check_above_zero("lr", lr))
    return local if len(local.batches(images)) > 1 else None


def _inner(model: Model, given: Given) -> dict[str, dict]:
    """Update and rounding by the names behind the face."""
    own = model.own_names()
    return {
        "update": {here: given.tensors[name][None] for name, here in own.items()},
        "rounding": {here: given.rounding[name] for name, here in own.items()},
    }


def _prior_std(constants: Normalisation, asked: str | Normalisation | None) -> float:
    """The deviation of a pixel in the network's input: 1 with a data set's own constants."""
    if asked is None or (isinstance(asked, str) and asked != "none"):
        return 1.0
    return math.sqrt(sum((PIXEL_DEVIATION / std) ** 2 for std in constants.std) / len(constants.std))
