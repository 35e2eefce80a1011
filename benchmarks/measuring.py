"""What the benchmarks measure with: networks, targets, and the clock between two steps of an attack."""

from collections.abc import Callable
from time import process_time

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import fldrep
from fldrep.models.building import build_model
from fldrep.models.model import Model

NETWORKS = {"softmax": ("softmax", None, "default"), "lenet": ("lenet", None, "uniform")} | {
    f"convnet-{width}": ("convnet", width, "default") for width in (4, 8, 14, 16, 20, 28, 32, 40, 64)
}


def network(name: str, dtype: torch.dtype = torch.float32, device: str = "cpu", seed: int = 0) -> Model:
    """An untrained network for images (3, 32, 32), as the reference initialises it."""
    architecture, width, init = NETWORKS[name]
    return build_model(architecture, init=init, seed=seed, width=width, dtype=dtype).eval().to(device)


def images(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random images in [-1, 1], (count, 3, 32, 32)."""
    return (
        torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype) * 2 - 1
    )


def targets(model: Model, count: int) -> tuple[dict[str, Tensor], Tensor]:
    """The undefended updates of `count` targets and their labels, on the model's device."""
    like = model.head.weight
    labels = (torch.arange(count) % 10).to(like.device)
    return fldrep.client_update(model, images(count, like.dtype).to(like.device), labels), labels


class StepClock:
    """Stands where an attack expects `tqdm`, and notes the time after each step.

    An attack begins by telling how many steps were done before: none here, and no time of a step.
    """

    def __init__(self, now: Callable[[], float] = process_time):
        self.now, self.times = now, []

    def __call__(self, total: int, desc: str) -> "StepClock":
        return self

    def __enter__(self) -> "StepClock":
        return self

    def __exit__(self, *_) -> None:
        pass

    def update(self, steps: int) -> None:
        if steps:
            self.times.append(self.now())


def step_seconds(
    model: Model, count: int, attack: str, steps: int, now: Callable[[], float] = process_time, **options
) -> float:
    """Seconds a step of an attack on `count` targets at once, without the first step and what surrounds the loop."""
    clock = StepClock(now)
    update, labels = targets(model, count)
    known = labels if attack == "gs" else None
    fldrep.reconstruct(
        model, update, known, attack=attack, iterations=steps + 1, problems_at_once=count, progress=clock, **options
    )
    assert len(clock.times) == steps + 1
    return (clock.times[-1] - clock.times[0]) / steps


def seconds(work: Callable[[], object], now: Callable[[], float] = process_time) -> float:
    """How long a piece of work takes."""
    began = now()
    work()
    return now() - began


def counting_flops() -> FlopCounterMode:
    """A block whose products and convolutions are counted, those too that are added to what is there."""
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: _baddbmm_flop})


def _baddbmm_flop(into, a, b, **_) -> int:
    """Torch counts a batched product only where it makes a new tensor."""
    return 2 * a[0] * a[1] * a[2] * b[2]
