"""What a server observed of its clients, what it knows besides, and where its trials start."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fldrep.attack.surrogate import Surrogate
from fldrep.attack.way_down import way_down
from fldrep.config.needs import Public, Sent
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.smoothness import first_kink
from fldrep.errors import ConfigError, named
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT, LocalSteps, Update, require_fixed_statistics

Draw = Callable[[int, int], torch.Generator]


@dataclass(frozen=True)
class Observation:
    """N updates and what is public of them.

    `update` {parameter: (N, *shape)}; `labels` (N,), (N, B) or None; `shape` (C, H, W) of an image; `draw(target,
    restart)`: the CPU generator of an initial point; `zeros`: where the defense is known to leave zeros (`none`, `head`
    or `all`); `batch`: images an update, where labels do not tell (None: one); `local`: what a client did, if more than
    one step; `distorted`: whether entries were changed otherwise, as an `Update` says it (None: not known); `soft`
    (N, B, classes): the labels as they stand in the loss, where these are none of the classes; `surrogate`: the
    attacker's own images; `statistics`: what batch norms sent besides, as an `Update` has it.
    """

    model: Model
    update: Mapping[str, Tensor]
    labels: Tensor | None
    shape: tuple[int, int, int]
    normalisation: Normalisation
    draw: Draw
    zeros: str
    batch: int | None = None
    local: LocalSteps | None = None
    distorted: bool | None = None
    soft: Tensor | None = None
    surrogate: Surrogate | None = None
    statistics: Mapping[str, Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.model.head.weight.device

    @property
    def images(self) -> int | None:
        """Images an update as axis B of images; None where there is one and no such axis."""
        return self.labels.shape[1] if self.labels is not None and self.labels.ndim == 2 else self.batch

    @property
    def public(self) -> Public:
        """What is known of the defense."""
        return Public(self.zeros, distorted=self.distorted)

    @property
    def sent(self) -> Sent:
        """What is known of an update."""
        images = self.images or 1
        steps = None if self.local is None else len(self.local.batches(images))
        return Sent(images, steps, HEAD_BIAS in self.update, self.surrogate is not None, bool(self.statistics))

    @property
    def structure(self) -> "Seen":
        """What is known of the network, found out where it is asked for."""
        return Seen(self.model, self.shape)

    def some(self, targets: list[int]) -> "Observation":
        """That of some of the updates, each with the initial points that it has here."""
        return replace(
            self,
            update={name: value[targets] for name, value in self.update.items()},
            labels=None if self.labels is None else self.labels[targets],
            soft=None if self.soft is None else self.soft[targets],
            statistics=self.statistics and {name: value[targets] for name, value in self.statistics.items()},
            draw=lambda target, restart: self.draw(targets[target], restart),
        )

    def count(self) -> int:
        """The number of updates, N. Errors: `ConfigError` naming a tensor that is missing or of another shape."""
        require_fixed_statistics(self.model)
        update = self.update
        for name, parameter in self.model.named_parameters():
            if name not in update:
                raise ConfigError(f"update: tensor {name!r} is missing; it holds {', '.join(update) or 'nothing'}")
            expected = (len(update[name]), *parameter.shape)
            if update[name].shape != expected or len(update[name]) != len(next(iter(update.values()))):
                found = tuple(update[name].shape)
                raise ConfigError(f"update: {name!r} has shape {found}, expected (N, *{expected[1:]})")
        return len(update[name])

    @property
    def rounding(self) -> float:
        """The spacing of numbers near 1 in the coarsest dtype of the update."""
        return max(torch.finfo(one.dtype).eps for one in self.update.values())

    def in_float64(self) -> "Observation":
        """The same, computed in float64; the update keeps the rounding that it came with."""
        return replace(self, model=copy.deepcopy(self.model).double())

    def rows(self, targets: list[int]) -> dict[str, Tensor]:
        """The updates of some targets, {parameter: (P, *shape)}, on the model's device and in its dtype."""
        like = self.model.head.weight
        return {name: self.update[name][targets].detach().to(like) for name, _ in self.model.named_parameters()}

    def starts(self, numbers: list[tuple[int, int]], deviation: float) -> list[Tensor]:
        """Initial images and logits of some problems (target, restart): (P, B, C, H, W), (P, B, classes)."""
        like, batch = self.model.head.weight, self.images or 1
        shapes = ((batch, *self.shape), (batch, self.model.head.out_features))
        images, logits = zip(*(initial_point(self.draw(*number), *shapes) for number in numbers), strict=True)
        return [(deviation * torch.stack(images)).to(like), torch.stack(logits).to(like)]


@dataclass(frozen=True)
class Seen:
    """A network as `needs.Structure` has it."""

    model: Model
    shape: tuple[int, int, int]

    @property
    def kinks(self) -> str:
        """The first layer at which the gradient jumps."""
        return first_kink(self.model, self.shape)

    @property
    def one_way(self) -> str:
        """The first layer, from the last one down, whose input cannot be solved for."""
        try:
            way_down(self.model, self.shape)
        except NoRule as reason:
            return str(reason)
        return ""

    @property
    def inner_linear(self) -> bool:
        """Whether there is a linear layer with a bias in front of the last."""
        return lowest_linear(self.model) is not None


def lowest_linear(model: Model) -> tuple[int, nn.Linear] | None:
    """The first linear layer with a bias among the layers of the body, and its place; None where there is none.

    Only layers of one vector an image count, in a body that is a chain of layers.
    """
    if not isinstance(model.body, nn.Sequential):
        return None
    flat = False
    for place, layer in enumerate(model.body):
        flat = flat or isinstance(layer, nn.Flatten)
        if flat and isinstance(layer, nn.Linear) and layer.bias is not None:
            return place, layer
    return None


def initial_point(generator: torch.Generator, *shapes: tuple[int, ...]) -> list[Tensor]:
    """One float64 tensor of standard normal numbers for each shape, drawn on the CPU in this order.

    The image comes first, so attacks with and without a soft label start from the same image.
    """
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def public_zeros(update: Mapping[str, Tensor], told: str | None = None) -> str:
    """Where a defense leaves zeros: `none`, `head` or `all`, as told, as the update says, or by the evidence of zeros.

    The evidence: some column of the last weight is zero in all its rows, which an undefended gradient has only where
    a feature is exactly 0. Errors: `UnknownName`.
    """
    if told is not None:
        return named("defended part", told, {part: part for part in ("none", "head", "all")})
    if isinstance(update, Update):
        return update.defended
    if HEAD_WEIGHT not in update:
        return "none"
    return "head" if bool((update[HEAD_WEIGHT] == 0).all(1).any()) else "none"
