"""GS ("inverting gradients"): cosine distance, total variation, Adam on the gradient's sign, valid pixels only.

Source: Geiping et al. 2020, arXiv:2003.14053, with the values of github.com/JonasGeiping/invertinggradients.
"""

from collections.abc import Mapping

from torch import Tensor

from fldrep.attack.engine import solve_all
from fldrep.attack.objectives import COSINE
from fldrep.attack.optimisers.signed_adam import signed_adam
from fldrep.attack.problem import Reconstruction
from fldrep.config.attacks import AttackSettings
from fldrep.models.model import Model


def gs(
    model: Model, seen: Mapping[str, Tensor], labels: Tensor | None, settings: AttackSettings, **setup
) -> Reconstruction:
    """Attack by cosine distance over all layers jointly; `setup` as in `engine.solve_all`."""
    setup.pop("defended", None)
    return solve_all(model, seen, labels, settings, COSINE, signed_adam, **setup)


# gs-averaged differs in what it is given: the mean of several updates of the same images.
PRESETS = {"gs": gs, "gs-averaged": gs}
