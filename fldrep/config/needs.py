"""What an attack needs of an update and of the defense on it, and what of that is not there.

A config is checked by these words before anything runs, and an attack when it meets an update.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fldrep import registry
from fldrep.config.defenses import DefenseSettings
from fldrep.config.models import ModelSettings
from fldrep.config.updates import UpdateSettings


@dataclass(frozen=True)
class Public:
    """What is public of a client's defense; None where nothing is known of it.

    `zeros`: where what is sent has zeros by design: `none`, `head` (columns of the last weight) or `all` (entries of
    every tensor); `noise`, `clip`: whether noise is added, and an update scaled down; `representation`: whether the
    loss was taken of the pruned representation; `distorted`: whether entries that are sent are otherwise not the
    gradient's own, such as rounded ones.
    """

    zeros: Literal["none", "head", "all"] = "none"
    noise: bool | None = None
    clip: bool | None = None
    representation: bool | None = None
    distorted: bool | None = None

    @classmethod
    def of(cls, defense: DefenseSettings) -> "Public":
        """What the config's section says of a defense."""
        known = registry.value("defense", defense.method)(defense)
        noise, clip = bool(known.std), known.clip is not None
        return cls(known.zeros, noise, clip, known.prunes_representation, bool(known.distorts))


@dataclass(frozen=True)
class Sent:
    """What an update is: how many images, after how many local steps (None: one gradient), and with which tensors.

    `public_images`: whether the attacker holds images of the same kind; `statistics`: whether those of the batch in
    batch norm are sent. None where that is not known.
    """

    images: int = 1
    local_steps: int | None = None
    head_bias: bool = True
    public_images: bool | None = None
    statistics: bool | None = None

    @classmethod
    def of(cls, update: UpdateSettings) -> "Sent":
        """What the config's section says of an update."""
        steps = None if update.local_epochs is None else update.local_steps
        return cls(update.images, steps, statistics=bool(update.training_mode))


@dataclass(frozen=True)
class Structure:
    """What is known of a network, None where it is not.

    `kinks`: layers where its gradient jumps, empty for none; `one_way`: layers whose input their output does not tell;
    `inner_linear`: whether it has a linear layer with a bias in front of the last.
    """

    kinks: str | None = None
    one_way: str | None = None
    inner_linear: bool | None = None

    @classmethod
    def of(cls, model: ModelSettings) -> "Structure":
        """What the entry of the config's network says of it."""
        words = registry.entry("model", model.architecture).words
        return cls(words.get("kinks"), words.get("one_way"))


class Need(NamedTuple):
    """One need: who meets it (`defense`, `update` or `model`), what it is, and what is there instead of it, if so."""

    whose: str
    what: str
    instead: Callable[[Public, Sent, Structure], str | None]


def _unless(met: bool | None, instead: str) -> str | None:
    return instead if met is False else None


ZEROS = {"none": "no tensor", "head": "the last layer", "all": "every tensor"}

NEEDS: dict[str, Need] = {
    "mask": Need("defense", "a public mask", lambda it, sent, net: _unless(it.zeros != "none", "leaves none")),
    "head-mask": Need(
        "defense",
        "a mask on the last layer alone",
        lambda it, sent, net: _unless(it.zeros == "head", f"leaves zeros in {ZEROS[it.zeros]}"),
    ),
    "pruned-representation": Need(
        "defense",
        "a client that prunes its representation",
        lambda it, sent, net: _unless(it.representation, "does not"),
    ),
    "noise": Need("defense", "noise to average away", lambda it, sent, net: _unless(it.noise, "adds none")),
    "clip": Need("defense", "updates that are clipped", lambda it, sent, net: _unless(it.clip, "does not clip")),
    "one-image": Need(
        "update", "one image an update", lambda it, sent, net: _unless(sent.images == 1, f"holds {sent.images} images")
    ),
    "one-step": Need(
        "update",
        "one gradient, not the sum of several",
        lambda it, sent, net: _unless(sent.local_steps is None, f"is of {sent.local_steps} local steps"),
    ),
    "head-bias": Need(
        "update", "the gradient of head.bias", lambda it, sent, net: _unless(sent.head_bias, "has no head.bias")
    ),
    "public-images": Need(
        "update",
        "images of the same kind",
        lambda it, sent, net: _unless(sent.public_images, "comes with none; give a surrogate"),
    ),
    "statistics": Need(
        "update",
        "the statistics of the batch in batch norm",
        lambda it, sent, net: _unless(sent.statistics, "comes without them: the client is not in training mode"),
    ),
    "exact": Need(
        "defense",
        "entries as they were computed",
        lambda it, sent, net: "adds noise" if it.noise else _unless(not it.distorted, "sends others"),
    ),
    "whole-body": Need(
        "defense",
        "whole gradients below the last layer",
        lambda it, sent, net: _unless(it.zeros != "all", "leaves zeros in every tensor"),
    ),
    "invertible": Need(
        "model",
        "a chain of layers that can be inverted",
        lambda it, sent, net: f"has {net.one_way}" if net.one_way else None,
    ),
    "inner-linear": Need(
        "model",
        "a linear layer with a bias in front of the last",
        lambda it, sent, net: _unless(net.inner_linear, "has none"),
    ),
    "smooth": Need(
        "model",
        "a network whose gradient is smooth",
        lambda it, sent, net: f"has {net.kinks}, where it jumps" if net.kinks else None,
    ),
}


class Lack(NamedTuple):
    """A need that is not met: by whom, what it is, and what is there instead."""

    whose: str
    needed: str
    instead: str


def lacks(needs: Iterable[str], public: Public, sent: Sent, structure: Structure | None = None) -> list[Lack]:
    """What an attack of these needs (words of `NEEDS`) does not get; what is not known counts as met.

    >>> lacks(["mask", "one-image"], Public("head"), Sent(images=3))
    [Lack(whose='update', needed='one image an update', instead='holds 3 images')]
    """
    known = public, sent, Structure() if structure is None else structure
    found = [(NEEDS[one], NEEDS[one].instead(*known)) for one in needs]
    return [Lack(need.whose, need.what, instead) for need, instead in found if instead is not None]
