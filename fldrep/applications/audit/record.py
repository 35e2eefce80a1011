"""A record: what one client received and sent, and what it says of its training, in one file that `audit` reads.

A file of safetensors whose metadata has `format: fldrep-record` and, as JSON under `told`, what the client tells. Its
tensors are `received/NAME` and `sent/NAME`, the weights before and after, of all parameters and buffers that were sent.
The mod of `applications/flower` writes such files; any other system may, by `write`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fldrep.errors import DataError
from fldrep.errors import told as path_told
from fldrep.storage.tensors import read_metadata, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = "fldrep-record"
PARTS = ("received", "sent")


@dataclass(frozen=True)
class Record:
    """Weights {name: tensor} as a client `received` and `sent` them, and what is `told` of the client.

    Of `told`, an audit takes images, lr, epochs and batch_size; other keys, such as round and client, are for people.
    Where weights were sent as a list, their names are their places: "0", "1" and so on.
    """

    received: Mapping[str, Tensor]
    sent: Mapping[str, Tensor]
    told: Mapping[str, int | float | str] = field(default_factory=dict)

    def write(self, path: Path | str) -> None:
        """Write it, whole or not at all; a file of this name is replaced. Errors: `DataError` naming the file."""
        parts = zip(PARTS, (self.received, self.sent), strict=True)
        tensors = {f"{part}/{name}": value for part, weights in parts for name, value in weights.items()}
        write_tensors(path, tensors, {"format": FORMAT, "told": json.dumps(dict(self.told))})

    def of_audit(self, network: nn.Module) -> dict[str, Any]:
        """What `fldrep.audit` takes of it, by keyword. Args: network: whose names a list of weights gets, in order."""
        taken = {key: self.told[key] for key in ("images", "lr", "epochs", "batch_size") if key in self.told}
        names = names_in(network, self.received)
        before, after = ({names[key]: value for key, value in one.items()} for one in (self.received, self.sent))
        return {"before": before, "after": after, **taken}


def is_record(path: Path) -> bool:
    """Whether a readable file of safetensors says that it is a record."""
    try:
        return read_metadata(path).get("format") == FORMAT
    except DataError:
        return False


def read_record(path: Path | str) -> Record:
    """A record from its file. Errors: `DataError` naming the file."""
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path_told(path)}: no record: expected what fldrep.applications.flower.RecordMod writes")
    try:
        said = json.loads(metadata.get("told", "{}"))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise DataError(f"{path_told(path)}: its metadata 'told' is no JSON of keys and values")
    weights: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for key, value in read_tensors(path).items():
        part, _, name = key.partition("/")
        if part not in weights or not name:
            raise DataError(f"{path_told(path)}: tensor {key!r}: expected received/NAME or sent/NAME")
        weights[part][name] = value
    return Record(*weights.values(), said)


def names_in(network: nn.Module, weights: Iterable[str]) -> dict[str, str]:
    """What a network calls the weights of these names: the same, or by place where they were sent as a list."""
    state = list(network.state_dict())
    listed = [str(place) for place in range(len(state))]
    names = list(weights)
    return dict(zip(listed, state, strict=True)) if set(names) == set(listed) else {name: name for name in names}
