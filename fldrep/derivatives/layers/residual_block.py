"""The residual block of ResNet-18 and -34: a branch of two convolutions beside the input, or a shortcut from it.

Source: He et al. 2016, arXiv:1512.03385, as torchvision has it. It is known by its name, so that torchvision is not
imported for networks that do not use it.
"""

from torch import nn

from fldrep.derivatives.composition import Chain, Sum
from fldrep.derivatives.layer import layer, layer_of


@layer("torchvision.models.resnet.BasicBlock")
class ResidualBlock(Chain):
    """The rules of torchvision's `BasicBlock`."""

    def __init__(self, module: nn.Module):
        branch = [module.conv1, module.bn1, module.relu, module.conv2, module.bn2]
        shortcut = nn.Identity() if module.downsample is None else module.downsample
        super().__init__([Sum(Chain([layer_of(part) for part in branch]), layer_of(shortcut)), layer_of(module.relu)])
