"""What a client does to an update before it leaves."""

from typing import Literal

from pydantic import model_validator

from fldrep.config.presets import DEFENSE_DEFAULTS, DEFENSE_KEYS
from fldrep.config.section import Rate, Section, option

RULES = ("ratio", "inverse", "reference-notebook", "reference-script")


class DefenseSettings(Section):
    """What a client does to an update before it leaves."""

    method: Literal["none", "soteria", "compression", "gaussian", "laplace"] = option(
        "none", "what is done to an update before it leaves the client"
    )
    rule: Literal[RULES] | None = option(None, "how Soteria ranks features; `ratio` if not given")
    rate: Rate | None = option(None, "share pruned: of the live features (Soteria), of each tensor (compression)")
    std: float | None = option(None, "standard deviation of the noise on each gradient entry", ge=0)
    prune: Literal["gradient", "representation"] | None = option(
        None, "Soteria masks the gradient of the last layer (`gradient`, the default), or recomputes the loss with r'"
    )
    norm_estimator: Literal["variance", "jvp", "exact"] | None = option(
        None, "how Soteria's Jacobian norms are estimated in training (`variance` if not given); attacks use the exact"
    )
    clip: float | None = option(None, "L2 norm to which an update is scaled down before noise is added", gt=0)

    @model_validator(mode="after")
    def _check(self):
        takes = DEFENSE_KEYS[self.method]
        for key in DEFENSE_DEFAULTS:
            if getattr(self, key) is not None and key not in takes:
                raise ValueError(f"{key} is not used by method {self.method!r}, which takes {takes or 'no key'}")
        for key in ("rate", "std"):
            if key in takes and getattr(self, key) is None:
                raise ValueError(f"method {self.method!r} needs {key}")
        for key in takes:
            if getattr(self, key) is None:
                object.__setattr__(self, key, DEFENSE_DEFAULTS[key])
        return self

    @property
    def defended_layers(self) -> str:
        """Which tensors the defense prunes: `head` (Soteria), `all` (compression), or `none`."""
        return {"soteria": "head", "compression": "all"}.get(self.method, "none")


# Where the code of each method and of each preset is; a job depends on the modules of its own, and what they import.
DEFENSE_MODULES = {
    "none": "fldrep.defenses.undefended",
    "soteria": "fldrep.defenses.soteria",
    "compression": "fldrep.defenses.compression",
    "gaussian": "fldrep.defenses.noise",
    "laplace": "fldrep.defenses.noise",
}
