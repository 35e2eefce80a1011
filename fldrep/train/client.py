"""One client's part of a round: local SGD from the server's weights, and the defense before anything leaves.

Soteria acts on the gradient of every local step; compression and noise act on what is sent, the weight change / lr.
That is the sum of the local steps' gradients: for one step it is the gradient an attack sees, and a noise `std` means
the same in both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from fldrep.config.defenses import DefenseSettings
from fldrep.config.train import TrainSettings
from fldrep.defenses import defense_module, defense_named
from fldrep.defenses.client import Client
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_WEIGHT, Update, cross_entropy
from fldrep.seeds import generator
from fldrep.train.federation import Federation, copy_of, local_lr


@dataclass(frozen=True)
class Report:
    """What a client's part of a round was, and cost.

    `images` it trained on; `train_s` seconds, `defense_s` of them in the defense (on a GPU, the time to launch it);
    `sent_bytes` of its update; `nonzero_pruned`, the mean over its steps of `share_pruned`.
    """

    images: int
    train_s: float
    defense_s: float
    sent_bytes: int
    nonzero_pruned: float | None


@dataclass(frozen=True)
class Sent:
    """What a client sends: for each parameter its defended update, for each buffer (batch norm) its value as it is."""

    tensors: dict[str, Tensor]
    report: Report


def train_client(federation: Federation, state: Mapping[str, Tensor], client: int, round: int) -> Sent:
    """Local epochs of SGD on a client's images from the server's `state`, and the defended update.

    The order of the images is drawn by (identity, client, round) and not by the defense.
    """
    began = perf_counter()
    model = federation.model_at(state).train()
    lr = local_lr(federation.train, round)
    shard = federation.shards[client]
    images = federation.inputs(federation.data.train_images[shard])
    labels = federation.data.train_labels[shard].to(images.device)
    batches = local_batches(len(shard), federation.train, generator("batches", *federation.identity, client, round))
    scores = generator("scores", *federation.identity, federation.defense_name, client, round)
    masking_s, rates = local_sgd(model, images, labels, batches, lr, federation.defense, scores)

    update = {name: (state[name] - value) / lr for name, value in copy_of(dict(model.named_parameters())).items()}
    defending = perf_counter()
    update = defended(federation, update, client, round)
    ended = perf_counter()
    report = Report(
        images=len(shard),
        train_s=ended - began,
        defense_s=masking_s + (ended - defending),
        sent_bytes=sum(tensor_bytes(values) for values in update.values()),
        nonzero_pruned=torch.stack(rates).mean().item() if rates else None,
    )
    return Sent({**update, **copy_of(dict(model.named_buffers()))}, report)


def local_batches(images: int, train: TrainSettings, order: torch.Generator) -> Iterator[Tensor]:
    """Positions of the images of each local step: every epoch a new order, the last batch of an epoch as it falls."""
    for _ in range(train.local_epochs):
        yield from torch.randperm(images, generator=order).split(train.batch_size)


def local_sgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    batches: Iterable[Tensor],
    lr: float,
    defense: DefenseSettings,
    scores: torch.Generator,
) -> tuple[float, list[Tensor]]:
    """Move the model's weights by -lr times the gradient of each batch, under Soteria's mask where that is the defense.

    Args: scores: draws the directions of Soteria's estimates.
    Returns the seconds spent on masks and, for each of them, the share of live features pruned.
    """
    parameters = dict(model.named_parameters())
    seconds, rates = 0.0, []
    for batch in batches:
        chosen, kept = images[batch], None
        if defense.method == "soteria":
            began = perf_counter()
            kept = defense_module(defense.method).training_mask(model, chosen, defense, scores)
            seconds += perf_counter() - began
        gradient, features = local_gradient(model, chosen, labels[batch], kept, defense.prune)
        if kept is not None:
            rates.append(share_pruned(features, kept))
        with torch.no_grad():
            for name, value in parameters.items():
                value.sub_(gradient[name], alpha=lr)
    return seconds, rates


def local_gradient(
    model: Model, images: Tensor, labels: Tensor, kept: Tensor | None = None, prune: str | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient of the mean cross entropy for every parameter, under Soteria's mask if given; and r before the mask.

    Shapes: images (B, C, H, W), labels (B,), kept (F,) -> {name: shape of the parameter}, (B, F).
    Args: pruned: `gradient` zeroes columns of the last layer's weight gradient; `representation` takes the loss of
    r * kept.
    """
    features = model.features(images)
    seen = features * kept if kept is not None and prune == "representation" else features
    loss = cross_entropy(model.head(seen), labels)
    parameters = dict(model.named_parameters())
    gradient = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    if kept is not None and prune == "gradient":
        gradient[HEAD_WEIGHT] = gradient[HEAD_WEIGHT] * kept
    return gradient, features.detach()


def share_pruned(features: Tensor, kept: Tensor) -> Tensor:
    """Share of the live features that a mask prunes, counting as live what is not 0 for every image of the batch.

    Shapes: (B, F), (F,) -> (), 0 where nothing is live. With ReLU or sigmoid features, short of saturation, these are
    the features that depend on the image, found without a derivative.

    >>> share_pruned(torch.tensor([[3.0, 4.0, 0.0]]), torch.tensor([True, False, False]))
    tensor(0.5000)
    """
    in_use = features.ne(0).any(0)
    return (in_use & ~kept).sum() / in_use.sum().clamp_min(1)


def defended(federation: Federation, update: dict[str, Tensor], client: int, round: int) -> dict[str, Tensor]:
    """The update as it is sent; Soteria has acted before, on every step. Shape: {parameter name: its shape} -> same."""
    settings = federation.defense
    if settings.method in ("none", "soteria"):
        return update
    noise = generator("noise", *federation.identity, federation.defense_name, client, round)
    one = Update({name: value.unsqueeze(0) for name, value in update.items()})
    sent = defense_named(settings.method)(one, settings, Client(generator=noise))
    return {name: value.squeeze(0) for name, value in sent.items()}


def tensor_bytes(values: Tensor) -> int:
    """Bytes to send a tensor: 4 an entry, or 8 (position and value) a non-zero entry, whichever is less.

    >>> tensor_bytes(torch.tensor([0.0, 0.0, 1.0])), tensor_bytes(torch.tensor([0.0, 1.0, 1.0]))
    (8, 12)
    """
    return min(4 * values.numel(), 8 * int(values.count_nonzero()))
