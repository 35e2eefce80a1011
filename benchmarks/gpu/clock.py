"""Seconds of an attack's steps, and what the host waits for between two of them, seen from its progress bar."""

import time
import warnings
from collections.abc import Callable

import torch


def now(device: torch.device) -> float:
    """The time, once the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Steps:
    """Stands where an attack expects `tqdm`; calls `at(step)` after each step of the chunk worked last, 1 the first.

    An attack tells 0 steps where a chunk begins; where memory ran out it takes steps back, and begins again.
    """

    def __init__(self, at: Callable[[int], None]):
        self.at, self.done, self.problems = at, 0, 0

    def __call__(self, total: int, desc: str) -> "Steps":
        return self

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_) -> None:
        pass

    def update(self, steps: int) -> None:
        """So many more steps of one problem are done."""
        if steps <= 0:
            self.done, self.problems = 0, 0
        elif self.problems in (0, steps):  # more at once: all problems have ended, and the rest is skipped
            self.done, self.problems = self.done + 1, steps
            self.at(self.done)


class Stopwatch(Steps):
    """Times the steps behind the first `warm`; the device is waited for only before the first and after the last."""

    def __init__(self, device: torch.device, warm: int, steps: int):
        super().__init__(self._note)
        self.device, self.warm, self.last = device, warm, warm + steps
        self.began, self.times = now(device), {}

    def _note(self, step: int) -> None:
        if step in (self.warm, self.last):
            self.times[step] = now(self.device)

    def __exit__(self, *_) -> None:
        if self.done < self.last:  # all problems ended early
            self.times[self.done] = now(self.device)

    @property
    def steps(self) -> int:
        """Steps that were timed. Errors: `RuntimeError` where the attack ended before."""
        if self.done <= self.warm:
            raise RuntimeError(f"every target ended within {self.done} steps, so that none could be timed")
        return min(self.done, self.last) - self.warm

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return (self.times[self.warm + self.steps] - self.times[self.warm]) / self.steps

    @property
    def warm_up_s(self) -> float:
        """Seconds from the beginning to the first timed step."""
        return self.times[self.warm] - self.began


class Waits(Steps):
    """Counts how often the host waits for the GPU from the end of one step to the end of the next, and where."""

    def __init__(self, after: int = 1):
        super().__init__(self._switch)
        self.after, self.warned = after, []

    def __enter__(self) -> "Waits":
        self.caught = warnings.catch_warnings(record=True)
        self.warned = self.caught.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *error) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self.caught.__exit__(*error)

    def _switch(self, step: int) -> None:
        torch.cuda.set_sync_debug_mode("warn" if step == self.after else "default")

    @property
    def places(self) -> list[str]:
        """FILE:LINE of each wait, in order."""
        waits = [one for one in self.warned if "synchronizing CUDA operation" in str(one.message)]
        return [f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in waits]
