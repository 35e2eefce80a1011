"""Dropout in evaluation mode: nothing changes. In training mode it draws, and has no derivative to speak of."""

from torch import nn

from fldrep.derivatives.layer import Layer, layer
from fldrep.derivatives.layers.identity import Identity


@layer(nn.Dropout)
@layer(nn.Dropout2d)
class Dropout(Identity):
    """The rules of `nn.Dropout` and `nn.Dropout2d`."""

    @property
    def unknown(self) -> Layer | None:
        """Itself, while it draws."""
        return self if self.module.training else None
