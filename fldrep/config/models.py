"""A network, its initial weights and its input."""

import json
from typing import Annotated, Any, Literal

from fldrep.config.entries import OneOf
from fldrep.config.section import Section, option


class ModelSettings(Section):
    """A network, its initial weights and its input."""

    architecture: str = option("lenet", "network, the last layer included")
    init: Literal["default", "uniform", "own"] = option(
        "default",
        "weights of convolutions and linear layers: PyTorch's default initialisation, every one uniform in (-0.5, 0.5),"
        " or as the network's own code draws them",
    )
    normalisation: Literal["dataset", "none"] = option(
        "dataset", "what the network's input is: normalised with the data set's constants, or pixels in [0, 1]"
    )

    @property
    def own(self) -> dict[str, Any]:
        """The keys of the architecture itself, as the function that builds it takes them."""
        return {key: getattr(self, key) for key in type(self).model_fields if key not in ModelSettings.model_fields}


NETWORKS = OneOf("model", key="architecture", base=ModelSettings, default="lenet")
ChosenModel = Annotated[ModelSettings, NETWORKS]


def model_settings(architecture: str = "lenet", **keys: Any) -> ModelSettings:
    """The settings of a network. Errors: `UnknownName` for the architecture; `ConfigError` naming the key."""
    from fldrep.config.checking import parse_section

    section = NETWORKS.section(architecture)
    return parse_section(section, json.dumps({"architecture": architecture, **keys}, default=str))
