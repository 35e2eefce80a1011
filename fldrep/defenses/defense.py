"""What a defense is: its settings, what is public of it, and what a client does at each step and to what it sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fldrep.arguments import check_one_of
from fldrep.config.section import Section
from fldrep.errors import ConfigError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from fldrep.defenses.client import Client
    from fldrep.models.model import Model


class Defense:
    """A client's defense. Override what it does; everything else leaves things as they are.

    One object serves all clients of a run, one after the other. The same hooks run in training, at each local step of
    each client, and before an attack, on the client's one gradient or its local steps.

    Class attributes say what an attacker may know: `zeros`, where the update that is sent has zeros (`none`; `head`:
    columns of the last weight; `all`: entries of any tensor); `noise`, the law of what is added to every entry (`none`,
    `gaussian` or `laplace`), whose standard deviation is the setting `std`, or the property where that is overridden.
    An update that is scaled down to an L2 norm has the setting `clip`. `distorts`: entries that are sent are not the
    gradient's own in some other way: rounded, limited one by one, with noise on some, or of another gradient. `order`,
    `colour`, `marker` and `line` say where and how figures show the defense; `rules` gives the marker and the colour of
    each value of a setting `rule`.

    For the leaderboard: `strengths`, settings from the weakest to the strongest, of which it takes the strongest that
    hardly costs accuracy; none keeps a defense off it.
    """

    class Settings(Section):
        """The keys of the config's section."""

    zeros: ClassVar[Literal["none", "head", "all"]] = "none"
    noise: ClassVar[Literal["none", "gaussian", "laplace"]] = "none"
    distorts: ClassVar[bool] = False
    order: ClassVar[int] = 100
    colour: ClassVar[str] = "#949494"
    marker: ClassVar[str] = "*"
    line: ClassVar[str] = "-"
    rules: ClassVar[Mapping[str, tuple[str, str]]] = {}
    strengths: ClassVar[Sequence[Mapping[str, Any]]] = ({},)

    def __init_subclass__(cls, **words: Any):
        """Errors: `ConfigError` for a method that is called like a hook and is none, and for an attribute's value."""
        super().__init_subclass__(**words)
        for name in vars(cls):
            if name.startswith("on_") and not hasattr(Defense, name):
                hooks = ", ".join(sorted(one for one in vars(Defense) if one.startswith("on_")))
                raise ConfigError(f"{cls.__name__}.{name}: no hook; the hooks are {hooks}")
        check_one_of(f"{cls.__name__}.zeros", cls.zeros, ("none", "head", "all"))
        check_one_of(f"{cls.__name__}.noise", cls.noise, ("none", "gaussian", "laplace"))
        if not issubclass(cls.Settings, Section):
            raise ConfigError(f"{cls.__name__}.Settings: expected a class of fldrep.Section")
        own_std = cls.std is not Defense.std
        if cls.noise != "none" and not own_std and "std" not in cls.Settings.model_fields:
            raise ConfigError(f"{cls.__name__}.Settings: noise {cls.noise!r} needs a setting std")

    def __init__(self, settings: Any):
        self.settings = settings

    @property
    def std(self) -> float:
        """The standard deviation of the noise on every entry, 0 where none is added."""
        return 0.0 if self.noise == "none" else self.settings.std

    @property
    def clip(self) -> float | None:
        """The L2 norm that an update is scaled down to, None where it is not."""
        return getattr(self.settings, "clip", None)

    @property
    def adaptive(self) -> Mapping[str, Any]:
        """An attack that knows the defense, as a config's section `attacks` has it; empty: none but the ensemble's."""
        return {}

    @property
    def prunes_representation(self) -> bool:
        """Whether the loss is that of a pruned representation, so that a trial must be pruned likewise."""
        return False

    @property
    def changes_gradient(self) -> bool:
        """Whether `on_model` or `on_batch` change the gradient itself, so that a plain one cannot be used."""
        return any(overrides(self, hook) for hook in ("on_model", "on_batch"))

    def on_network(self, model: Model, generator: Generator) -> Model:
        """The network that server and clients use in a run, where the defense adds layers; `generator` draws them."""
        return model

    def on_model(self, model: Model) -> None:
        """Prepare the copy of the network that clients compute in, such as by hooks on its modules."""

    def on_batch(self, images: Tensor, labels: Tensor, client: Client) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) and labels (B,) that a step is taken on, before its gradient is computed."""
        return images, labels

    def on_step(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The gradient of a step, {parameter: its shape}."""
        return gradient

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """What is sent, {parameter: (N, *shape)}; N = 1 in training, where the client is one."""
        return update

    def memory(self, model: Model) -> dict[str, Tensor]:
        """What a client keeps from round to round, as it is at first; `client.memory` holds it in the hooks."""
        return {}

    def agreement(self, model: Model, images: Tensor, client: Client) -> float | None:
        """How well training's estimates agree with the exact, on images (N, C, H, W); None: nothing is estimated."""
        return None

    def privacy(self, run: dict[str, Any]) -> list[dict[str, Any]] | None:
        """What a client spends over a run, as rows for the table `accounting`; None: told by the law of the noise.

        Args: run: rounds, clients, sampled, participations, delta and entries (weights of the model).
        """
        return None


def overrides(defense: Defense, hook: str) -> bool:
    """Whether a defense does something of its own in a hook."""
    return getattr(type(defense), hook) is not getattr(Defense, hook)
