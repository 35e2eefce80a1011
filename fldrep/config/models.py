"""A network, its initial weights and its input."""

from typing import Literal

from pydantic import model_validator

from fldrep.config.section import Positive, Section, option


class ModelSettings(Section):
    """A network, its initial weights and its input."""

    architecture: Literal["lenet", "convnet", "resnet18", "softmax"] = option(
        "lenet", "network in front of and including the last layer"
    )
    width: Positive | None = option(None, "channels of the first convolution (convnet; 64 if not given)")
    init: Literal["default", "uniform"] = option(
        "default", "PyTorch's default initialisation, or every weight and bias uniform in (-0.5, 0.5)"
    )
    normalisation: Literal["dataset", "none"] = option(
        "dataset", "what the network's input is: normalised with the data set's constants, or pixels in [0, 1]"
    )

    @model_validator(mode="after")
    def _check(self):
        if self.width is not None and self.architecture != "convnet":
            raise ValueError(f"width belongs to architecture convnet, not to {self.architecture!r}")
        return self
