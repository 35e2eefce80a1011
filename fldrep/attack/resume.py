"""How far an attack has come, in a file: a killed job goes on from there and ends as an undisturbed one would.

A job works chunk after chunk, always in the same order. Kept are what the finished chunks gave and, of the chunk under
way, its solver's tensors after some step: all that its next step depends on.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fldrep.errors import DataError
from fldrep.storage.tensors import read_metadata, read_tensors, write_tensors

State = dict[str, Tensor]


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(one.shape) for name, one in state.items()}


class Checkpointer:
    """Keeps the way of one job in a file, written at most every `save_every_s` seconds; without a path, keeps nothing.

    A file of another key, or a damaged one, is not taken: what it held can be computed again. Call `finished` before
    each chunk; `begin`, `step` and `finish` where that gives nothing.
    """

    def __init__(self, path: Path | None = None, key: str = "", save_every_s: float = 60.0):
        self.path, self.key, self.save_every_s = path, key, save_every_s
        self.seconds_before = 0.0  # what the job had worked before it was killed, as far as it was kept
        self._finished: list[State] = []
        self._passed = 0  # chunks begun or skipped by this process
        self._steps, self._state = 0, None
        self._began = self._saved = time.perf_counter()
        if path is not None and path.exists():
            self._load(path)

    def finished(self) -> State | None:
        """What the next chunk gave, if that is kept."""
        self._passed += 1
        return self._finished[self._passed - 1] if self._passed <= len(self._finished) else None

    def begin(self, state: State) -> tuple[int, State]:
        """The steps done and the tensors after them: those kept of this chunk, or 0 and `state`."""
        kept, self._state = self._state, None
        if kept is None or shapes(kept) != shapes(state):
            self._steps = 0
            return 0, state
        return self._steps, {name: one.to(state[name]) for name, one in kept.items()}

    def step(self, steps: int, state: Mapping[str, Tensor]) -> None:
        """`steps` more steps are done, and the chunk under way has come to `state`."""
        self._steps += steps
        if self._is_time():
            self._save(state)

    def finish(self, outcome: State) -> None:
        """The chunk under way is done."""
        self._finished.append(outcome)
        self._steps = 0
        if self._is_time():
            self._save({})

    def remove(self) -> None:
        """Delete the file: the job's outputs are written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _is_time(self) -> bool:
        return self.path is not None and time.perf_counter() - self._saved >= self.save_every_s

    def _save(self, state: Mapping[str, Tensor]) -> None:
        chunks = {f"chunk-{number}": one for number, one in enumerate(self._finished)} | {"state": state}
        seconds = self.seconds_before + time.perf_counter() - self._began
        told = {"key": self.key, "steps": str(self._steps), "seconds": str(seconds)}
        write_tensors(self.path, {f"{part}/{name}": t for part, one in chunks.items() for name, t in one.items()}, told)
        self._saved = time.perf_counter()

    def _load(self, path: Path) -> None:
        try:
            told, tensors = read_metadata(path), read_tensors(path)
        except DataError:
            return
        if told.get("key") != self.key:
            return
        parts: dict[str, State] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value.clone()  # in memory of its own, aligned as torch would have it
        self._state, self._steps = parts.pop("state", None), int(told["steps"])
        self._finished = [parts[f"chunk-{number}"] for number in range(len(parts))]
        self.seconds_before = float(told["seconds"])
