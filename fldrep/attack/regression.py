"""A network that answers with the image when it is shown an update, trained on public images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

AT_ONCE = 250  # public images whose updates are made together


@dataclass(frozen=True)
class Sketch:
    """Updates as vectors of a fixed size: every entry is added, with a sign, to one of `size` places.

    Distances are kept but for noise. Source: feature hashing, Weinberger et al. 2009, arXiv:0902.2206, as Wu et al.
    use it. Updates of no more entries than `size` are taken as they are.
    """

    places: Tensor | None
    signs: Tensor | None
    size: int

    @classmethod
    def of(cls, entries: int, size: int, drawn: torch.Generator, device: torch.device) -> "Sketch":
        """With places and signs drawn for so many entries."""
        if entries <= size:
            return cls(None, None, entries)
        places = torch.randint(size, (entries,), generator=drawn)
        signs = 2 * torch.randint(2, (entries,), generator=drawn) - 1
        return cls(places.to(device), signs.to(device), size)

    def __call__(self, update: Mapping[str, Tensor]) -> Tensor:
        """Shapes: {name: (N, *shape)} -> (N, size)."""
        flat = torch.cat([value.flatten(1) for value in update.values()], 1)
        if self.places is None:
            return flat
        return flat.new_zeros(len(flat), self.size).index_add(1, self.places, flat * self.signs)


@dataclass(frozen=True)
class Regression:
    """What is trained: sketches, less their mean and over their deviation, to pixels in [0, 1]."""

    sketch: Sketch
    mean: Tensor
    std: Tensor
    network: nn.Module
    shape: tuple[int, int, int]

    def answer(self, update: Mapping[str, Tensor]) -> Tensor:
        """Pixels for updates. Shapes: {name: (N, *shape)} -> (N, C, H, W)."""
        with torch.no_grad():
            return self.network((self.sketch(update) - self.mean) / self.std).sigmoid().view(-1, *self.shape)


def trained(
    updates: Tensor,
    sketch: Sketch,
    pixels: Tensor,
    *,
    width: int,
    epochs: int,
    lr: float,
    batch_size: int,
    drawn: torch.Generator,
    advance: Callable[[int], None],
) -> Regression:
    """A perceptron with two hidden layers, by Adam on the mean squared error of pixels, step sizes along half a cosine.

    Shapes: updates (M, size), sketches; pixels (M, C, H, W).
    """
    mean, std = updates.mean(0), updates.std(0).clamp_min(1e-12)
    network = _perceptron(updates.shape[1], width, pixels[0].numel(), drawn).to(updates)
    given, wanted = (updates - mean) / std, pixels.flatten(1)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
    with torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.randperm(len(given), generator=drawn).to(given.device).split(batch_size):
                optimiser.zero_grad()
                nn.functional.mse_loss(network(given[batch]).sigmoid(), wanted[batch]).backward()
                optimiser.step()
            schedule.step()
            advance(1)
    return Regression(sketch, mean, std, network.requires_grad_(False), tuple(pixels.shape[1:]))


def _perceptron(inputs: int, width: int, outputs: int, drawn: torch.Generator) -> nn.Module:
    made = nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )
    with torch.no_grad():
        for layer in made:
            if isinstance(layer, nn.Linear):
                bound = (1 / layer.in_features) ** 0.5
                layer.weight.uniform_(-bound, bound, generator=drawn)
                layer.bias.zero_()
    return made
