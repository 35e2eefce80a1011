"""What a defense is: its settings, what is public of it, and what a client does at each step and to what it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fldrep.config.section import Section

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fldrep.defenses.client import Client


class Defense:
    """A client's defense. Override what it does; everything else leaves things as they are.

    One object serves all clients of a run, one after the other. The same hooks run in training, at each local step of
    each client, and before an attack, on the client's one gradient or its local steps.

    Class attributes say what an attacker may know: `zeros`, where the update that is sent has zeros (`none`; `head`:
    columns of the last weight; `all`: entries of any tensor); `noise`, the law of what is added to every entry (`none`,
    `gaussian` or `laplace`), whose deviation is the setting `std`. An update scaled down has the setting `clip`.
    `order`, `colour` and `marker` say where and how figures show it.
    """

    class Settings(Section):
        """The keys of the config's section."""

    zeros: ClassVar[Literal["none", "head", "all"]] = "none"
    noise: ClassVar[Literal["none", "gaussian", "laplace"]] = "none"
    order: ClassVar[int] = 100
    colour: ClassVar[str] = "#949494"
    marker: ClassVar[str] = "*"

    def __init__(self, settings: Any):
        self.settings = settings

    @property
    def clip(self) -> float | None:
        """The L2 norm that an update is scaled down to, where the defense does that."""
        return getattr(self.settings, "clip", None)

    def on_model(self, module: nn.Module) -> None:
        """Prepare a copy of the network that clients compute in, such as by hooks."""

    def on_batch(self, images: Tensor, labels: Tensor, client: Client) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) and labels (B,) that a step is taken on, before its gradient is computed."""
        return images, labels

    def on_step(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The gradient of a step, {parameter: its shape}."""
        return gradient

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """What is sent, {parameter: (N, *shape)}: N = 1 in training, as many clients as there are elsewhere."""
        return update

    def memory(self, shapes: dict[str, Tensor]) -> dict[str, Tensor]:
        """What each client keeps from round to round, as it is at first; `client.memory` holds it, to be changed."""
        return {}

    def agreement(self, model: nn.Module, images: Tensor, client: Client) -> float | None:
        """At a checkpoint: how well what training estimates agrees with the exact; None where nothing is estimated."""
        return None

    def privacy(self, run: Any) -> list[dict] | None:
        """What a client spends over a run, as rows of the table `accounting`; None: by the law of the noise."""
        return None
