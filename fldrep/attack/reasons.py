"""Reasons as tensors, so that what an optimiser returns is kept, cut and joined like all else it returns."""

from collections.abc import Sequence

import torch
from torch import Tensor

LONGEST = 200  # bytes; what is longer is cut


def as_bytes(reasons: Sequence[str]) -> Tensor:
    """Sentences as bytes of UTF-8 and zeros behind them, (P, 200) uint8."""
    cut = [reason.encode()[:LONGEST].ljust(LONGEST, b"\0") for reason in reasons]
    return torch.tensor([list(one) for one in cut], dtype=torch.uint8).view(-1, LONGEST)


def as_words(held: Tensor) -> list[str]:
    """The sentences.

    >>> as_words(as_bytes(["", "three MaxPool2d"]))
    ['', 'three MaxPool2d']
    """
    return [bytes(one).rstrip(b"\0").decode(errors="ignore") for one in held.tolist()]
