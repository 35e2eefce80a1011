"""An attack: a preset, and what differs from it."""

from typing import Literal

from pydantic import model_validator

from fldrep.config.presets import ATTACK_PRESETS
from fldrep.config.section import Natural, Positive, Section, option

ATTACK_MODULES = {
    "dlg": "fldrep.attack.dlg",
    "idlg": "fldrep.attack.dlg",
    "gs": "fldrep.attack.gs",
    "gs-masked": "fldrep.attack.adaptive",
    "gs-drop": "fldrep.attack.adaptive",
    "gs-pruned": "fldrep.attack.adaptive",
    "gs-l2": "fldrep.attack.adaptive",
    "gs-averaged": "fldrep.attack.gs",
    "dlg-scaled": "fldrep.attack.dlg",
    "dlg-masked": "fldrep.attack.dlg",
    "dlg-pruned": "fldrep.attack.dlg",
    "r-matching": "fldrep.attack.features",
    "ensemble": "fldrep.attack.ensemble",
}


THROUGH_THE_MASK = ("gs-pruned", "dlg-pruned")


class AttackSettings(Section):
    """An attack: a preset, and what differs from it."""

    preset: Literal[tuple(ATTACK_PRESETS)] = option("gs", "the attack whose values the other keys change")
    labels: Literal["known", "inferred", "optimised"] | None = option(
        None, "whether the attacker is given the label, reads it from the gradient, or optimises a soft one"
    )
    iterations: Natural | None = option(
        None,
        "optimiser steps: for GS one Adam step, for DLG one L-BFGS step of `inner_iterations` inner ones; for ensemble"
        " evaluations of the gradient by each member",
        source="GS 24,000 and DLG 300: the reference code (S)",
    )
    restarts: Positive | None = option(None, "initial points tried; the smallest gradient distance is chosen")
    lr: float | None = option(None, "step size of the optimiser", gt=0)
    total_variation: float | None = option(None, "weight of the total variation of the image (GS)", ge=0)
    box: bool | None = option(None, "clamp the image to valid pixels after each step (GS)")
    lr_decay: bool | None = option(None, "multiply lr by 0.1 at 3/8, 5/8 and 7/8 of the iterations (GS)")
    inner_iterations: Positive | None = option(None, "L-BFGS iterations in one step (DLG)")
    history: Positive | None = option(None, "L-BFGS curvature pairs kept (DLG)")
    repeats: Positive | None = option(
        None, "updates of the same images, each with its own noise, whose mean is attacked (gs-averaged)"
    )
    feature_weight: float | None = option(
        None, "weight of the distance between representations read off the gradients (r-matching)", ge=0
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given):
        """Fill in what the preset says, and refuse what it does not use."""
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", "gs")
        values = ATTACK_PRESETS.get(preset) if isinstance(preset, str) else None
        if values is None:
            return given  # the field's own check names the value
        unused = [key for key in given if key in cls.model_fields and key != "preset" and key not in values]
        unused = [key for key in unused if given[key] is not None]
        if unused:
            raise ValueError(f"{', '.join(unused)} not used by preset {preset!r}, which takes {sorted(values)}")
        said = {key: value for key, value in given.items() if value is not None or key not in cls.model_fields}
        return {**values, **said}

    @model_validator(mode="after")
    def _check(self):
        if self.labels == "optimised" and "dlg" not in self.preset:
            raise ValueError(f"labels 'optimised' is what dlg does; preset {self.preset!r} takes known or inferred")
        return self
