"""How much a run does: the whole on a GPU in eight minutes, or a small one of the same parts on a CPU in one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

Case = tuple[str, str, int]  # attack, network, targets


@dataclass(frozen=True)
class Scale:
    """Seconds, sizes and repetitions of all parts.

    `threads`: of torch, all cores if None; they matter where the CPU is compared with, or is the device.
    `limits_s` are those of the parts before the last, which has what is left of `total_s`. `convnet` is a name of
    `measuring.NETWORKS`. `compiled` are the cases of `speed` that are tried as graphs and compiled, the surest first;
    after them the others, if `compile_all`. `timed_s`: how long a case is timed, about. Of the iterations the most are
    run that fit the time, as measured.
    """

    total_s: float
    threads: int | None
    limits_s: Mapping[str, float]
    convnet: str
    counts: tuple[int, ...]
    compiled: tuple[Case, ...]
    compile_all: bool
    timed_s: float
    loop_targets: int
    matrix: int
    photo_iterations: tuple[int, ...]
    targets: int
    clients: int
    rounds: int
    cifar10_iterations: tuple[int, ...]

    def within(self, total_s: float) -> "Scale":
        """The same work with another time for all, every part's limit in proportion."""
        factor = total_s / self.total_s
        return replace(self, total_s=total_s, limits_s={name: factor * limit for name, limit in self.limits_s.items()})


WHOLE = Scale(
    total_s=480,
    threads=None,
    limits_s={"device": 30, "agreement": 60, "speed": 120, "cifar10": 60},
    convnet="convnet-64",
    counts=(1, 8, 64, 512),
    compiled=(
        ("gs", "lenet", 64),
        ("gs", "convnet-64", 8),
        ("dlg", "lenet", 64),
        ("gs", "lenet", 1),
        ("gs", "convnet-64", 64),
        ("gs", "lenet", 512),
        ("dlg", "convnet-64", 8),
    ),
    compile_all=True,
    timed_s=0.7,
    loop_targets=3,
    matrix=8192,
    photo_iterations=(24_000, 6_000, 1_500),
    targets=16,
    clients=10,
    rounds=15,
    cifar10_iterations=(1_000, 600, 300, 150, 60),
)

SMALL = Scale(
    total_s=60,
    threads=1,
    limits_s={"device": 5, "agreement": 25, "speed": 25, "cifar10": 12},
    convnet="convnet-4",
    counts=(1, 2),
    compiled=(("gs", "softmax", 1),),  # a network of layers takes a minute to compile on a CPU
    compile_all=False,
    timed_s=0.05,
    loop_targets=1,
    matrix=512,
    photo_iterations=(8, 4, 2),
    targets=2,
    clients=2,
    rounds=2,
    cifar10_iterations=(4, 2),
)
