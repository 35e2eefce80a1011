"""What the attacks on CIFAR-10 and on the photo share: defended updates as one batch, and rows of what was found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

import fldrep
from benchmarks.gpu.clock import Stopwatch
from benchmarks.gpu.inner import attack, rates_of_update

MARGIN = 1.15  # what is left must be so many times what the work should take


@dataclass(frozen=True)
class Defense:
    """What a client does to its update."""

    method: str = "none"
    rule: str = ""
    rate: float | None = None


@dataclass(frozen=True)
class Victims:
    """N images with their labels, the network they are trained on, and start(number), the generator of an initial
    point, which an image has under every defense.

    Shapes: images (N, C, H, W), labels (N,). Updates are made once for each defense.
    """

    model: torch.nn.Module
    images: Tensor
    labels: Tensor
    start: Callable[[int], torch.Generator]
    _sent: dict[Defense, Mapping[str, Tensor]] = field(default_factory=dict)

    def sent(self, defense: Defense) -> Mapping[str, Tensor]:
        """The updates as they leave the clients, {name: (N, *shape)}."""
        if defense not in self._sent:
            given = {"model": self.model, "images": self.images, "labels": self.labels, "rule": defense.rule}
            self._sent[defense] = fldrep.defend(
                fldrep.client_update(self.model, self.images, self.labels),
                defense.method,
                rate=defense.rate,
                **(given if defense.method == "soteria" else {}),
            )
        return self._sent[defense]

    def attack(
        self, preset: str, defenses: Sequence[Defense], iterations: int, mode: str = "never", warm: int = 1
    ) -> tuple[list[dict], Tensor]:
        """One batch of problems: rows, defense by defense and image by image, and the images found in that order.

        Args: mode: of `compile`; warm: steps that are not timed. Shape: -> (defenses * N, C, H, W).
        """
        count, parts = len(self.images), [self.sent(one) for one in defenses]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        watch = Stopwatch(self.images.device, warm, iterations - warm)
        found = attack(
            self.model,
            type(parts[0])(joined, parts[0].defended),
            self.labels.repeat(len(parts)),
            preset,
            iterations,
            start=lambda number: self.start(number % count),
            progress=watch,
            compile=mode,
        )
        rates = [rates for one in defenses for rates in self._rates(one)]
        shared = {"step_s": watch.step_s, "problems": watch.problems}
        return [one | two | shared for one, two in zip(rates, self._rows(found), strict=True)], found.images

    def step_s(self, preset: str, defenses: Sequence[Defense]) -> float:
        """Seconds of an eager step of all problems, measured on a few."""
        return self.attack(preset, defenses, 4)[0][0]["step_s"]

    def _rates(self, defense: Defense) -> list[dict]:
        """The effective rates of each update, none where the defense prunes no feature."""
        if defense.method != "soteria":
            return [{}] * len(self.images)
        pairs = rates_of_update(self.sent(defense), self.model, self.images)
        live, energy = (one.tolist() for one in pairs)
        return [{"live_pruned": a, "norm2_removed": b} for a, b in zip(live, energy, strict=True)]

    def _rows(self, found) -> list[dict]:
        """What became of each problem."""
        originals = self.images.cpu().repeat(len(found.images) // len(self.images), 1, 1, 1)
        grey = fldrep.compare(torch.zeros_like(originals), originals)[["mse", "mse_pixel"]].add_prefix("grey_")
        errors = fldrep.compare(found.images, originals).join(grey).to_dict("records")
        return [
            {
                "initial_distance": found.initial_distance[number, 0].item(),
                "gradient_distance": found.final_distance[number, 0].item(),
                "diverged": found.diverged[number, 0].item(),
                **errors[number],
            }
            for number in range(len(originals))
        ]


def largest_that_fits(choices: Sequence[int], step_s: float, left_s: float) -> int | None:
    """The most iterations that the time allows, or None.

    >>> largest_that_fits((24_000, 6_000, 1_500), 0.01, 200.0)
    6000
    """
    return next((one for one in sorted(choices, reverse=True) if MARGIN * one * step_s <= left_s), None)
