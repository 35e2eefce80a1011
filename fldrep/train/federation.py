"""What stays the same through a federated run, for the server and for every client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from fldrep.config.train import TrainSettings
from fldrep.defenses.defense import Defense
from fldrep.errors import DataError
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.storage.imageset import ImageSet, as_pixels

Part = Literal["test", "held_out"]


@dataclass(frozen=True)
class Federation:
    """The clients' images, the settings, and the names that random draws are made from.

    `model` is a place to compute in, prepared by the defense: its weights are overwritten. `shards[k]` holds the
    positions, int64 (n_k,), of client k's images in `data.train_images`. `identity` is (data set, model, partition,
    seed) by name; only what the defense draws also depends on `defense_name`. Errors: `DataError` for a client without
    images.
    """

    model: Model
    data: ImageSet
    shards: Sequence[Tensor]
    train: TrainSettings
    defense: Defense
    normalisation: Normalisation
    identity: tuple[str, str, str, int]
    defense_name: str

    def __post_init__(self):  # noqa: D105
        for client, shard in enumerate(self.shards):
            if not len(shard):
                raise DataError(f"client {client} of partition {self.identity[2]!r} holds no image")

    def model_at(self, state: Mapping[str, Tensor]) -> Model:
        """The model with this state copied in."""
        self.model.load_state_dict(state)
        return self.model

    @cached_property
    def held_out(self) -> Tensor:
        """The positions, int64, of the training images that no client holds, ascending."""
        free = torch.ones(len(self.data.train_labels), dtype=torch.bool)
        for shard in self.shards:
            free[shard] = False
        return free.nonzero().flatten()

    def count(self, part: Part) -> int:
        """How many images there are to evaluate on: of the test set, or held out."""
        return len(self.data.test_labels) if part == "test" else len(self.held_out)

    def some(self, part: Part, batch: slice) -> tuple[Tensor, Tensor]:
        """Stored images and their labels, of the test set or held out."""
        if part == "test":
            return self.data.test_images[batch], self.data.test_labels[batch]
        return self.data.train_images[self.held_out[batch]], self.data.train_labels[self.held_out[batch]]

    def inputs(self, images: Tensor) -> Tensor:
        """The network's input for stored images, in the model's precision and place. Shape: (N, C, H, W) -> same."""
        like = self.model.head.weight
        return self.normalisation.to_input(as_pixels(images.to(like.device)).to(like.dtype))


def copy_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state that later training does not change, stored row-major whatever the model's own layout."""
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}


def local_lr(train: TrainSettings, round: int) -> float:
    """Step size of local SGD in a round, 1 being the first."""
    return train.lr * train.lr_decay ** (round - 1)


def sampled_clients(clients: int, fraction: float, generator: torch.Generator) -> list[int]:
    """The clients of a round: round(fraction * clients) of them, at least one, drawn without replacement, in order."""
    count = max(1, round(fraction * clients))
    return sorted(torch.randperm(clients, generator=generator)[:count].tolist())
