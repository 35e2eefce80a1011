"""Sequential: one layer behind the other."""

from torch import nn

from fldrep.derivatives.composition import Chain
from fldrep.derivatives.layer import layer, layer_of


@layer(nn.Sequential)
class Sequential(Chain):
    """The rules of `nn.Sequential`; a module that it holds twice is two parts."""

    def __init__(self, module: nn.Sequential):
        super().__init__([layer_of(part) for part in module])
