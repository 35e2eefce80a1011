"""What an attacker has who holds images of the same kind: they, and what clients would send of them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# images (N, C, H, W) and labels (N,) -> {parameter: (N, *shape)}, one update an image, under the defense
Send = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Surrogate:
    """Public images (M, C, H, W), as the network's input, and labels (M,); `send` plays clients that hold them."""

    images: Tensor
    labels: Tensor
    send: Send
