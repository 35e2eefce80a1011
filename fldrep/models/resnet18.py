"""ResNet-18. Source: He et al. 2016, arXiv:1512.03385."""

from torch import nn


def resnet18(channels: int) -> nn.Sequential:
    """torchvision's ResNet-18 without its last layer; He et al. 2016, arXiv:1512.03385."""
    from torchvision.models import resnet18

    whole = resnet18()
    if channels != 3:
        whole.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    for module in whole.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # in-place changes do not go with per-update gradients
    return nn.Sequential(*list(whole.children())[:-1], nn.Flatten())
