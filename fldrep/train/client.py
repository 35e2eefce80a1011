"""One client's part of a round: local SGD from the server's weights, under the hooks of its defense.

A defense acts on each local step, on what is sent, or on both. What is sent is the weight change / lr, the sum of the
local steps' gradients: for one step it is the gradient an attack sees, and a noise `std` means the same in both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from fldrep.config.train import TrainSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defense import Defense, overrides
from fldrep.defenses.hooks import batch_of, memory_of, step_of, update_of
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_WEIGHT, along, cross_entropy
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
    """What a client sends: for each parameter its defended update, for each buffer (batch norm) its value as it is.

    `memory` is not sent: it is the client's own, and stands here because one process plays many clients.
    """

    tensors: dict[str, Tensor]
    report: Report
    memory: dict[str, Tensor]


def train_client(
    federation: Federation,
    state: Mapping[str, Tensor],
    number: int,
    round: int,
    memory: dict[str, Tensor] | None = None,
) -> Sent:
    """Local epochs of SGD on a client's images from the server's `state`, and the defended update.

    The order of the images is drawn by (identity, client, round) and not by the defense.
    Args: number: the client's; memory: what its defense kept of earlier rounds, None in its first.
    """
    began = perf_counter()
    model, defense = federation.model_at(state).train(), federation.defense
    lr = local_lr(federation.train, round)
    shard = federation.shards[number]
    images = federation.inputs(federation.data.train_images[shard])
    labels = federation.data.train_labels[shard].to(images.device)
    batches = local_batches(len(shard), federation.train, generator("batches", *federation.identity, number, round))
    drawn = (*federation.identity, federation.defense_name, number, round)
    drawing, normalisation = generator("scores", *drawn), federation.normalisation
    client = Client(model, images, labels, drawing, training=True, normalisation=normalisation)
    if memory is not None:
        client.memory = {name: value.to(images.device) for name, value in memory.items()}
    elif overrides(defense, "memory"):
        client.memory = memory_of(defense, client)
    defending_s, rates = local_sgd(client, batches, lr, defense, federation.train.momentum or 0.0)

    update = {name: (state[name] - value) / lr for name, value in copy_of(dict(model.named_parameters())).items()}
    defending = perf_counter()
    client.generator = generator("noise", *drawn)
    sent = update_of(defense, {name: value.unsqueeze(0) for name, value in update.items()}, client)
    update = {name: value.squeeze(0) for name, value in sent.items()}
    ended = perf_counter()
    report = Report(
        images=len(shard),
        train_s=ended - began,
        defense_s=defending_s + (ended - defending),
        sent_bytes=sum(tensor_bytes(values) for values in update.values()),
        nonzero_pruned=torch.stack(rates).mean().item() if rates else None,
    )
    return Sent({**update, **copy_of(dict(model.named_buffers()))}, report, client.memory)


def local_batches(images: int, train: TrainSettings, order: torch.Generator) -> Iterator[Tensor]:
    """Positions of the images of each local step: every epoch a new order, the last batch of an epoch as it falls."""
    for _ in range(train.local_epochs):
        yield from torch.randperm(images, generator=order).split(train.batch_size)


def local_sgd(
    client: Client, batches: Iterable[Tensor], lr: float, defense: Defense, momentum: float = 0.0
) -> tuple[float, list[Tensor]]:
    """Move the weights of the client's model by -lr times the defended gradient of each batch of its images.

    With momentum a step goes along the gradient plus so much of the step before.
    Returns the seconds spent in the defense and, where it prunes columns of the last weight, for each step the share of
    nonzero features pruned.
    """
    parameters = dict(client.model.named_parameters())
    seconds, rates, moved = 0.0, [], None
    for step, batch in enumerate(batches):
        at = replace(client, images=client.images[batch], labels=client.labels[batch], step=step)
        began = perf_counter()
        at.images, at.labels = batch_of(defense, at)
        seconds += perf_counter() - began
        gradient, at.features = local_gradient(client.model, at.images, at.labels)
        began = perf_counter()
        gradient = step_of(defense, gradient, at)
        seconds += perf_counter() - began
        if defense.zeros == "head":
            rates.append(share_pruned(at.features, gradient[HEAD_WEIGHT].ne(0).any(0)))
        moved = along(gradient, moved, momentum)
        with torch.no_grad():
            for name, value in parameters.items():
                value.sub_(moved[name], alpha=lr)
    return seconds, rates


def local_gradient(model: Model, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient of the mean cross entropy for every parameter, and the representation r.

    Shapes: images (B, C, H, W), labels (B,) -> {name: shape of the parameter}, (B, F).
    """
    features = model.features(images)
    loss = cross_entropy(model.head(features), labels)
    parameters = dict(model.named_parameters())
    gradient = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
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


def tensor_bytes(values: Tensor) -> int:
    """Bytes to send a tensor: 4 an entry, or 8 (position and value) a non-zero entry, whichever is less.

    >>> tensor_bytes(torch.tensor([0.0, 0.0, 1.0])), tensor_bytes(torch.tensor([0.0, 1.0, 1.0]))
    (8, 12)
    """
    return min(4 * values.numel(), 8 * int(values.count_nonzero()))
