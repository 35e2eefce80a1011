"""How far a run has come, in a file: a killed run goes on from there and ends as an undisturbed one would."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fldrep.config.checking import stable_json
from fldrep.errors import DataError
from fldrep.storage.tensors import job_key, read_metadata, read_tensors, write_tensors
from fldrep.train.federation import Federation


@dataclass
class Progress:
    """The rounds done: their history, the checkpoints kept so far, the last weights, and the clients' memories."""

    state: dict[str, Tensor]
    history: list[dict] = field(default_factory=list)
    checkpoints: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    memories: dict[str, Tensor] = field(default_factory=dict)


def run_key(federation: Federation, code: str) -> str:
    """A digest of all that decides a run but the pixels: code, settings, names, first weights, and who holds what."""
    names = [*map(str, federation.identity), federation.defense_name, str(federation.normalisation), code]
    sections = [stable_json(federation.train), stable_json(federation.defense.settings)]
    held = (*federation.model.state_dict().values(), *federation.shards, federation.data.train_labels)
    return job_key([*names, *sections], held)


def save_progress(path: Path, key: str, progress: Progress) -> None:
    """Write the progress of the run with this key, whole or not at all."""
    rounds = {f"round-{number}": state for number, state in progress.checkpoints.items()}
    states = {"state": progress.state, "memory": progress.memories, **rounds}
    tensors = {f"{where}/{name}": value for where, state in states.items() for name, value in state.items()}
    write_tensors(path, tensors, {"key": key, "history": json.dumps(progress.history)})


def load_progress(path: Path, key: str) -> Progress | None:
    """The progress of the run with this key; None where there is no file, or it is another run's, or damaged."""
    if not path.exists():
        return None
    try:
        metadata, tensors = read_metadata(path), read_tensors(path)
    except DataError:
        return None  # what it held can be computed again
    if metadata.get("key") != key:
        return None
    states: dict[str, dict[str, Tensor]] = {}
    for where, value in tensors.items():
        state, _, name = where.partition("/")
        states.setdefault(state, {})[name] = value
    current, memories = states.pop("state"), states.pop("memory", {})
    checkpoints = {int(name.removeprefix("round-")): state for name, state in states.items()}
    return Progress(current, json.loads(metadata["history"]), dict(sorted(checkpoints.items())), memories)
