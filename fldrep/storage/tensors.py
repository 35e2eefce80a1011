"""Named tensors in files of safetensors."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fldrep.atomic import atomic_write
from fldrep.errors import DataError


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors and text metadata atomically. Errors: `DataError` naming the file."""
    # safetensors refuses tensors that share memory, as the state of a round and its checkpoint may
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_write(Path(path)) as beside:
        try:
            save_file(whole, beside, metadata)
        except SafetensorError as error:
            raise DataError(f"{path}: cannot be written: {error}") from None


def read_tensors(path: Path | str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """The named tensors of a file (all if not given). Errors: `DataError` naming the file and the tensor that lacks."""
    try:
        with safe_open(path, "pt") as file:
            held = set(file.keys())
            wanted = held if names is None else list(names)
            missing = [name for name in wanted if name not in held]
            if missing:
                raise DataError(f"{path}: holds no tensor {missing[0]!r}; it holds {', '.join(sorted(held)[:8])}")
            return {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None


def tensor_names(path: Path | str) -> list[str]:
    """The names of a file's tensors. Errors: `DataError` naming the file."""
    try:
        with safe_open(path, "pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None


def read_metadata(path: Path | str) -> dict[str, str]:
    """The text metadata of a file. Errors: `DataError` naming the file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None


def job_key(names: Iterable[object], tensors: Iterable[Tensor]) -> str:
    """A digest of all that decides a job: names, settings and code as text, and the bits of tensors."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode())
    for value in tensors:
        digest.update(f"{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
