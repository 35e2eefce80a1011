"""Tensor files between stages: safetensors only, written whole, read with honest errors; nothing is ever unpickled."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fldrep.errors import DataError
from fldrep.files import written_beside


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors and text metadata atomically. Errors: `DataError` naming the file."""
    # safetensors refuses tensors that share memory, as the state of a round and its checkpoint may
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with written_beside(Path(path)) as beside:
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


def read_metadata(path: Path | str) -> dict[str, str]:
    """The text metadata of a file. Errors: `DataError` naming the file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None


def write_checkpoints(
    path: Path | str, states: Mapping[int, Mapping[str, Tensor]], metadata: Mapping[str, str]
) -> None:
    """The model's state after each kept round, in one file: tensor `round-R/NAME`."""
    write_tensors(path, {f"round-{r}/{name}": t for r, state in states.items() for name, t in state.items()}, metadata)


def read_checkpoint(path: Path | str, round: int, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of one round, of the shapes of `expected`. Errors: `DataError` naming file, tensor, and the two shapes,
    or a tensor that is not finite."""
    state = read_tensors(path, [f"round-{round}/{name}" for name in expected])
    found = {name: state[f"round-{round}/{name}"] for name in expected}
    for name, value in found.items():
        if value.shape != expected[name].shape:
            raise DataError(f"{path}: {name} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}")
        if value.is_floating_point() and not value.isfinite().all():
            raise DataError(f"{path}: {name} of round {round} is not finite")
    return found
