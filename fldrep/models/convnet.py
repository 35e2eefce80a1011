"""ConvNet as in the GS code (github.com/JonasGeiping/invertinggradients).

That code names one of its nine convolutions twice, so it has eight."""

from torch import nn


def convnet(channels: int, width: int = 64) -> nn.Sequential:
    """Its body, `width` channels behind the first convolution."""
    layers: list[nn.Module] = []
    incoming = channels
    for times in (1, 2, 2, 4, 4, 4, None, 4, 4, None):
        if times is None:
            layers.append(nn.MaxPool2d(3))
            continue
        layers += [
            nn.Conv2d(incoming, times * width, kernel_size=3, padding=1),
            nn.BatchNorm2d(times * width),
            nn.ReLU(),
        ]
        incoming = times * width
    return nn.Sequential(*layers, nn.Flatten())
