"""What a part of a run is told."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.scale import Scale


@dataclass(frozen=True)
class Asked:
    """Where to write, how much to do, on which device (auto, cpu, cuda), and with which data."""

    folder: Path
    scale: Scale
    device: str
    photo: Path
    images: Path | None


@dataclass(frozen=True)
class Task(Asked):
    """The same, and until when, by time.monotonic()."""

    ends: float

    def left(self) -> float:
        """Seconds that a part may still plan for."""
        return self.ends - time.monotonic()
