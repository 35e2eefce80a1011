"""What of two gradients is compared: all, what survives a public mask, all without the last layer, or r besides.

For logits W r + b and one image, dL/dW = d r' and dL/db = d: the clean bias gradient gives the representation r exactly
wherever a column of dL/dW was kept, whatever mask the defense put on the others.

Sources: Li et al. 2022, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage" (CVPR):
apply the public mask to the trial gradient; Balunović et al. 2022, "Bayesian Framework for Gradient Leakage" (ICLR):
leave the defended layer out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fldrep import registry
from fldrep.attack.differentiated import differentiated
from fldrep.config.attacks import AttackSettings
from fldrep.config.entries import keywords_of
from fldrep.derivatives.pullback import Gradient
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT

Objective = Callable[[Gradient, Gradient], tuple[Tensor, dict[str, Tensor]] | Tensor]


class Observed(NamedTuple):
    """An observed gradient as it is compared.

    `gradient` {name: (P, ...)} has the names that are compared, 0 where an entry is not; `kept` {name: bool,
    broadcastable to the tensor} says which entries are, where that is not all; `features` holds the representation
    (P, F), 0 where it was not kept, and which of it was, or nothing.
    """

    gradient: dict[str, Tensor]
    kept: dict[str, Tensor]
    features: dict[str, Tensor]


@dataclass(frozen=True)
class Comparison:
    """An objective over what is compared; `zeros` says which entries are masked, as `Observation` has it."""

    objective: Objective
    compares: str = "all"
    zeros: str = "none"
    feature_weight: float = 0.0

    @classmethod
    def of(cls, settings: AttackSettings, zeros: str) -> "Comparison":
        """That of an attack."""
        function = registry.value("objective", settings.objective)
        keys = {key: getattr(settings, key) for key in keywords_of(function)}
        return cls(partial(function, **keys), settings.compares, zeros, settings.feature_weight or 0.0)

    def prepare(self, gradient: Gradient) -> Observed:
        """An observed gradient {name: (P, ...)} as it is compared, once for all steps."""
        kept, features = self._kept(gradient), {}
        if self.compares == "representation":
            columns = (gradient[HEAD_WEIGHT] != 0).any(1)
            features = {"kept": columns, "observed": features_of(gradient)[0] * columns}
        left = (HEAD_WEIGHT, HEAD_BIAS) if self.compares == "without-head" else ()
        return Observed({name: laid_on(kept, name, gradient) for name in gradient if name not in left}, kept, features)

    def distance(self, trial: Gradient, observed: Observed) -> tuple[Tensor, dict[str, Tensor]]:
        """Distance (P,) of a trial {name: (P, ...)} and its derivative by the names that are compared."""
        found, kept = {name: laid_on(observed.kept, name, trial) for name in observed.gradient}, observed.kept
        distance, derivative = differentiated(self.objective, found, observed.gradient)
        derivative = {name: laid_on(kept, name, derivative) for name in found}
        if not observed.features:
            return distance, derivative
        besides, by_head = features_apart(trial, observed.features, self.feature_weight)
        return distance + besides, derivative | {name: derivative[name] + one for name, one in by_head.items()}

    def weights(self, observed: Observed) -> dict[str, Tensor]:
        """The weights of squared differences, {name: (P, ...)}, of an objective that is a sum of such (`squares=True`).

        Its derivative is 2 weight (trial - observed): read off at trial = observed + 1.
        """
        beyond = {name: one + 1 for name, one in observed.gradient.items()}
        _, derivative = differentiated(self.objective, beyond, observed.gradient)
        return {name: laid_on(observed.kept, name, derivative) / 2 for name in observed.gradient}

    def _kept(self, gradient: Gradient) -> dict[str, Tensor]:
        """The entries that survive the public mask, which arrive as anything but 0; nothing where all are compared."""
        if self.compares in ("all", "without-head") or self.zeros == "none":
            return {}
        if self.zeros == "head":
            return {HEAD_WEIGHT: (gradient[HEAD_WEIGHT] != 0).any(1, keepdim=True)}
        return {name: value != 0 for name, value in gradient.items()}


def laid_on(kept: Mapping[str, Tensor], name: str, gradient: Gradient) -> Tensor:
    """A tensor of a gradient with what is not kept at 0."""
    return gradient[name] * kept[name] if name in kept else gradient[name]


def features_of(gradient: Gradient) -> tuple[Tensor, Tensor]:
    """r as the least squares fit of dL/dW = dL/db r', and |dL/db|^2. Shapes: {name: (P, *shape)} -> (P, F), (P,)."""
    bias = gradient[HEAD_BIAS]
    power = bias.square().sum(1).clamp_min(torch.finfo(bias.dtype).tiny)
    return (bias[:, None] @ gradient[HEAD_WEIGHT]).squeeze(1) / power[:, None], power


def features_apart(trial: Gradient, features: Mapping[str, Tensor], weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    """`weight` times the squared distance of representations, relative to the one observed, and its derivative."""
    found, power = features_of(trial)
    target = features["observed"]
    apart = (found - target) * features["kept"]
    scale = weight / target.square().sum(1).clamp_min(torch.finfo(target.dtype).tiny)
    by_features = 2 * scale[:, None] * apart / power[:, None]  # derivative by r, over |dL/db|^2
    bias = trial[HEAD_BIAS]
    by_weight = bias[:, :, None] * by_features[:, None]
    by_bias = (trial[HEAD_WEIGHT] @ by_features[:, :, None]).squeeze(2)
    by_bias = by_bias - 2 * bias * (by_features * found).sum(1, keepdim=True)
    return scale * apart.square().sum(1), {HEAD_WEIGHT: by_weight, HEAD_BIAS: by_bias}
