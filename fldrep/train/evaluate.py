"""Accuracy and loss on the whole test set, or on what is held out of training."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fldrep.train.federation import Federation, Part

BATCH = 250  # images at once; part of what makes a float32 loss


def scored_batches(
    federation: Federation, state: Mapping[str, Tensor], part: Part, starts: Iterable[int]
) -> list[tuple[int, float]]:
    """Images classified correctly and the sum of their losses, for the batch at each start; batch norm fixed."""
    model = federation.model_at(state).eval()
    found = []
    with torch.no_grad():
        for start in starts:
            images, labels = federation.some(part, slice(start, start + BATCH))
            logits = model(federation.inputs(images))
            labels = labels.to(logits.device)
            correct = (logits.argmax(1) == labels).sum().item()
            found.append((correct, cross_entropy(logits.double(), labels, reduction="sum").item()))
    return found


def mean_scores(batches: Iterable[tuple[int, float]], images: int) -> tuple[float, float]:
    """Share of images classified correctly, and mean loss in nats: infinite where the network's output is not a number.

    The sum is exact, so the order in which batches come does not matter.
    """
    correct, losses = zip(*batches, strict=True)
    loss = math.fsum(losses) / images
    return sum(correct) / images, math.inf if math.isnan(loss) else loss
