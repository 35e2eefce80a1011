"""Soteria: prune the features of the last layer's input that tell most about the image.

Source: Sun et al. 2021, arXiv:2012.06043. This file is the defense; rules.py says how features are ranked, masks.py
which are pruned at a rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from fldrep.config.section import Rate, Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client
    from fldrep.models.model import Model


@defense("soteria")
class Soteria(Defense):
    """Prune the features that a rule names, by one mask a local step, at the weights that the step starts from.

    `prune: gradient` zeroes their columns of the last layer's weight gradient, and leaves all else as it is.
    `prune: representation` takes the loss of r' = mask * r, the mask a constant: the logits, their error and every
    lower gradient change, and through a pruned feature nothing flows back.
    """

    class Settings(Section):
        """Which features are pruned, and of what."""

        rule: Literal["ratio", "inverse", "reference-notebook", "reference-script"] = option(
            "ratio", "how features are ranked"
        )
        rate: Rate = option(..., "share of the live features that is pruned")
        prune: Literal["gradient", "representation"] = option(
            "gradient", "mask the gradient of the last layer, or recompute the loss with the masked representation"
        )
        norm_estimator: Literal["variance", "jvp", "exact"] = option(
            "variance", "how the Jacobian's norms are estimated in training; before an attack they are exact"
        )

    zeros = "head"
    order, colour, marker = 10, "#0173b2", "o"
    strengths = ({"rate": 0.4}, {"rate": 0.6}, {"rate": 0.8})
    rules: ClassVar[dict[str, tuple[str, str]]] = {
        "ratio": ("o", "#0173b2"),
        "inverse": ("P", "#029e73"),
        "reference-notebook": ("h", "#cc78bc"),
        "reference-script": ("p", "#d55e00"),
    }

    kept: Tensor | None = None  # the mask of the step under way, (F,) bool; None between steps, as in evaluation

    @property
    def prunes_representation(self) -> bool:
        """As the settings say."""
        return self.settings.prune == "representation"

    @property
    def changes_gradient(self) -> bool:
        """Only the masked representation does; the mask of a gradient is laid on a plain one."""
        return self.prunes_representation

    def on_model(self, model: Model) -> None:
        """Have the last layer see the masked representation, where that is what is pruned."""
        if self.prunes_representation:
            model.head.register_forward_pre_hook(
                lambda head, seen: seen if self.kept is None else (seen[0] * self.kept,)
            )

    def on_batch(self, images: Tensor, labels: Tensor, client: Client) -> tuple[Tensor, Tensor]:
        """The mask of the step, from its images."""
        from fldrep.defenses.soteria.masks import training_mask, update_masks

        client.require("model", "images", by="soteria")
        if client.training:
            self.kept = training_mask(client.model, images, self.settings, client.generator)
        else:
            self.kept = update_masks(client.model, images.unsqueeze(0), self.settings.rate, self.settings.rule)[0]
        return images, labels

    def on_step(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The gradient with the pruned features' columns of the last weight at zero."""
        from fldrep.models.updates import HEAD_WEIGHT

        kept, self.kept = self.kept, None
        return {**gradient, HEAD_WEIGHT: gradient[HEAD_WEIGHT] * kept.to(gradient[HEAD_WEIGHT].dtype)}

    def agreement(self, model: Model, images: Tensor, client: Client) -> float | None:
        """Share of what the masks of training prune that the exact ones prune too, mean over images."""
        if self.settings.norm_estimator == "exact":
            return None
        import torch

        from fldrep.defenses.soteria.masks import column_mask, mask_agreement, training_mask

        masks = [training_mask(model, image.unsqueeze(0), self.settings, client.generator) for image in images]
        exact = column_mask(model, images, self.settings.rate, self.settings.rule)
        return mask_agreement(torch.stack(masks), exact).mean().item()
