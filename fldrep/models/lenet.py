"""LeNet as in the DLG notebook (github.com/mit-han-lab/dlg)."""

from torch import nn


def lenet(channels: int) -> nn.Sequential:
    """Its body: four convolutions, each behind a sigmoid."""
    layers: list[nn.Module] = []
    for incoming, stride in ((channels, 2), (12, 2), (12, 1), (12, 1)):
        layers += [nn.Conv2d(incoming, 12, kernel_size=5, stride=stride, padding=2), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Flatten())
