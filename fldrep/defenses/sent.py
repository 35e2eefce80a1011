"""What the clients of a grid send, and the images behind it: attacks and analyses meet the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fldrep.config.checking import stable_json
from fldrep.config.defenses import DefenseSettings
from fldrep.config.models import ModelSettings
from fldrep.config.section import Section
from fldrep.config.updates import UpdateSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_gradient, defended_update, defense_of, images_taken
from fldrep.models.batch_statistics import in_training_mode, sent_statistics
from fldrep.models.checkpoint import input_of
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps, Update, as_batches, client_update
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.places import Identity, Run
from fldrep.storage.shards import read_shards
from fldrep.storage.targets import Target, choose_targets
from fldrep.storage.tensors import job_key


@dataclass(frozen=True)
class Batches:
    """The images of some targets, and these by the update that holds them.

    `pixels` (T, C, H, W) on the CPU; `inputs` (N, C, H, W) and `labels` (N,), or with an axis B for updates of several
    images; `numbers` of the updates, and the `clients` that send them.
    """

    targets: list[Target]
    pixels: Tensor
    inputs: Tensor
    labels: Tensor
    numbers: list[int]
    clients: list[int]
    normalisation: Normalisation

    @classmethod
    def of(
        cls,
        run: Run,
        model: ModelSettings,
        update: UpdateSettings,
        numbers: list[int],
        imageset: ImageSet,
        shards: Path,
    ) -> Batches:
        """Those that the targets of these numbers are in."""
        each = update.images
        shares, identity = read_shards(shards, imageset.train_labels), (run.dataset, run.partition, run.seed)
        targets = choose_targets(shares, numbers, *identity, images=each)
        normalisation = input_of(model, imageset)
        pixels = as_pixels(imageset.train_images[[target.index for target in targets]])
        return cls(
            targets=targets,
            pixels=pixels,
            inputs=in_updates(normalisation.to_input(pixels), each),
            labels=in_updates(torch.tensor([target.label for target in targets]), each),
            numbers=[target.target // each for target in targets[::each]],
            clients=[target.client for target in targets[::each]],
            normalisation=normalisation,
        )

    def to(self, device: torch.device) -> Batches:
        """With what a network sees on a device."""
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))

    def key(self, where: Identity, job: Section, code: str, model: Model) -> str:
        """What decides a job on these targets, for what a killed one left: where it runs counts, too."""
        words = (where, *self.targets, stable_json(job), code, self.inputs.device.type, torch.__version__)
        return job_key(words, (*model.state_dict().values(), self.pixels))


def in_updates(values: Tensor, images_per_update: int) -> Tensor:
    """Group per-target values by update: (T, *) -> (T / B, B, *), as it is for one image an update."""
    return values if images_per_update == 1 else values.unflatten(0, (-1, images_per_update))


def sent_updates(
    model: Model,
    batches: Batches,
    run: Run,
    settings: DefenseSettings,
    update: UpdateSettings,
    memories: list[dict[str, Tensor]],
    repeats: int = 1,
) -> Update:
    """The defended update of each client: {name: (N, *shape)}. Only what is drawn depends on the defense's name.

    Args: model: as `as_clients_compute` gives it; memories: what the defense of the client of each number kept up to
    this round; repeats: rounds in which the client sends, whose mean it is; only noise differs from one to the next.
    """
    defense, sent, taken = defense_of(settings), [], []
    repeats, local = repeats if defense.std else 1, LocalSteps.of(update)
    images, labels = as_batches(batches.inputs, batches.labels)
    for number, held, classes, memory in zip(batches.numbers, images, labels, memories, strict=True):
        named = "noise", run.dataset, run.model, run.partition, run.defense, number, run.seed
        client = Client(model, held, classes, generator(*named), memory=memory, normalisation=batches.normalisation)
        rounds = [defended_update(defense, client, local) for _ in range(repeats)]
        sent.append({name: sum(one[name] for one in rounds) / repeats for name in rounds[0]})
        if update.training_mode:
            taken.append(images_taken(defense, replace(client, generator=generator(*named))))
    joined = {name: torch.cat([one[name] for one in sent]) for name in sent[0]}
    return Update(joined, defense.zeros, defense.distorts, statistics_sent(model, taken, update))


def as_clients_compute(model: Model, update: UpdateSettings) -> Model:
    """The network as a client has it while it computes its update. Errors: as for `in_training_mode`."""
    return in_training_mode(model) if update.training_mode else model


def statistics_sent(model: Model, images: Iterable[Tensor], update: UpdateSettings) -> dict[str, Tensor]:
    """What batch norms of clients in training mode send after one step; nothing is kept of several steps.

    Shape: N times (B, C, H, W) -> {name: (N, 2, C)}.
    """
    if not update.training_mode or update.local_epochs is not None:
        return {}
    each = [sent_statistics(model, held) for held in images]
    return {name: torch.cat([one[name] for one in each]) for name in each[0]}


def sending(
    model: Model,
    settings: DefenseSettings,
    update: UpdateSettings,
    normalisation: Normalisation,
    drawn: torch.Generator,
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """Plays clients in their first round, for one who knows their defense: images (N, C, H, W), labels -> updates.

    The function made draws from one generator on, so the same calls in the same order give the same.
    """
    defense, local = defense_of(settings), LocalSteps.of(update)

    def send(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        plain, sent = client_update(model, images, labels, local), []
        for number in range(len(images)):
            one = slice(number, number + 1)
            client = Client(model, images[one], labels[one], drawn, normalisation=normalisation)
            own = {name: value[one] for name, value in plain.items()}
            made = defended_gradient(defense, client, own) if local is None else defended_update(defense, client, local)
            sent.append(made)
        return {name: torch.cat([one[name] for one in sent]) for name in plain}

    return send
