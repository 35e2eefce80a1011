"""Vision transformers of plain layers, without the fused attention that lacks second derivatives."""

import torch
from torch import Tensor, nn


class Transformer(nn.Module):
    """Patches as tokens, with learned places, through blocks of attention; the mean token goes to the last layer."""

    def __init__(self, shape: tuple[int, int, int], classes: int, patch: int, width: int, depth: int, heads: int):
        super().__init__()
        tokens = (shape[1] // patch) * (shape[2] // patch)
        self.patches = nn.Conv2d(shape[0], width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits. Shape: (N, C, H, W) -> (N, classes)."""
        tokens = self.patches(images).flatten(2).mT + self.places
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class Block(nn.Module):
    """Attention and a perceptron of two layers, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wider, self.narrower = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shape: (N, T, W) -> same."""
        tokens = tokens + self.mixed(self._attended(self.before(tokens)))
        return tokens + self.narrower(nn.functional.gelu(self.wider(self.between(tokens))))

    def _attended(self, tokens: Tensor) -> Tensor:
        query, key, value = self.asked(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        return (weights @ value).transpose(1, 2).flatten(2)
