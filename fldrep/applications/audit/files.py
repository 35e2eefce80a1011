"""What lies in the files of an audit: named tensors, one array, the code of a network. Nothing is unpickled."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fldrep.applications.audit.record import is_record, read_record
from fldrep.arguments import check_module, line_of
from fldrep.errors import ConfigError, DataError, told
from fldrep.registry import run_file
from fldrep.storage.tensors import read_tensors

ZIP, NPY, PICKLE = b"PK\x03\x04", b"\x93NUMPY", b"\x80"  # how files begin
NO_PICKLE = "a pickle, which runs code when it is read: save it by safetensors.torch.save_file or numpy.savez"
READERS = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError)


def read_update(path: Path) -> dict[str, Tensor]:
    """The tensors of an update or of weights, by name: a file of safetensors or NumPy's .npz.

    Errors: `DataError` naming the file.
    """
    found = _named(path)
    if not found:
        raise DataError(f"{told(path)}: holds no tensors: expected one for each parameter of the model")
    return found


def read_given(paths: Mapping[str, Path | None], network: nn.Module) -> dict[str, Any]:
    """What an audit takes, by keyword, from the files of update, weights, before and after, those that are given.

    An update may be a record, which holds the weights before and after. Errors: `DataError` naming the file;
    `ConfigError` for weights beside a record.
    """
    given = {name: path for name, path in paths.items() if path is not None}
    update = given.pop("update", None)
    if update is None or not is_record(update):
        return {name: None if path is None else read_update(path) for name, path in paths.items()}
    if given:
        raise ConfigError(f"{next(iter(given))}: expected none beside a record, which holds the weights")
    return read_record(update).of_audit(network)


def read_images(path: Path) -> Tensor:
    """One array: .npy, or the only one of a .npz or safetensors file. Errors: `DataError` naming the file."""
    if _start(path).startswith(NPY):
        return _tensor(path, "its array", _loaded(path))
    found = _named(path)
    if len(found) != 1:
        raise DataError(f"{told(path)}: holds {len(found)} arrays: expected one, of images")
    return next(iter(found.values()))


def network_from(place: str, own_weights: bool = False) -> nn.Module:
    """The network that a function of a file gives. Args: place: FILE.py:FUNCTION; it is run as code; own_weights: no
    others are given, so that its own must not be random.

    Errors: `ConfigError` where there is none, where it raises, or gives something else than a network.
    """
    name, colon, function = place.rpartition(":")
    if not colon or not function.isidentifier():
        raise ConfigError(f"model: {place!r}: expected FILE.py:FUNCTION, such as my_model.py:build")
    build = getattr(_module_of(Path(name)), function, None)
    if not callable(build):
        raise ConfigError(f"model: {told(name)}: holds no function {function!r}")
    made = _built(build, place, 0)
    if own_weights:
        state, again = made.state_dict(), _built(build, place, 1).state_dict()
        drawn = [key for key in state if not torch.allclose(state[key], again[key], rtol=0, atol=0, equal_nan=True)]
        if drawn:
            raise ConfigError(f"weights: expected those the client began from: {place} draws {drawn[0]!r} at random")
    return made


def _built(build, place: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = _called(build, place)
    if not isinstance(made, nn.Module):
        raise ConfigError(f"model: {told(place)}: gives a {type(made).__name__}: expected a torch.nn.Module")
    return check_module(made)


def _start(path: Path) -> bytes:
    """How a file begins. Errors: `DataError` where it cannot be read, or is a pickle."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as error:
        raise DataError(f"{told(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if start.startswith(PICKLE) and start[1:2] <= b"\x05" and start[2:8] != b"\0" * 6:
        raise DataError(f"{told(path)}: {NO_PICKLE}")
    return start


def _named(path: Path) -> dict[str, Tensor]:
    if _start(path).startswith(ZIP):
        return {name: _tensor(path, repr(name), value) for name, value in _loaded(path).items()}
    try:
        return read_tensors(path)
    except DataError as error:
        raise DataError(f"{line_of(error)}: expected safetensors or NumPy's .npz") from None


def _loaded(path: Path) -> np.ndarray | Mapping[str, np.ndarray]:
    """What NumPy reads of a file, without pickles."""
    try:
        if zipfile.is_zipfile(path) and any(not one.endswith(".npy") for one in zipfile.ZipFile(path).namelist()):
            raise DataError(f"{told(path)}: {NO_PICKLE}")
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except READERS as error:
        if "allow_pickle" in str(error):
            raise DataError(f"{told(path)}: holds Python objects: {NO_PICKLE}") from None
        raise DataError(f"{told(path)}: not a readable file of NumPy: {line_of(error)}") from None


def _tensor(path: Path, what: str, value: np.ndarray) -> Tensor:
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise DataError(f"{told(path)}: {what} is of {value.dtype}: expected numbers of at most 64 bits")
    return torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))).reshape(value.shape))


def _module_of(path: Path):
    if not path.is_file():
        raise ConfigError(f"model: {told(path)}: there is no such file")
    return _called(lambda: run_file(path, f"fldrep_audited_{path.stem}"), path)


def _called(function, whose: object):
    """What a user's function gives. Errors: `ConfigError` with what it raises."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"model: {told(whose)}: {type(error).__name__}: {line_of(error)}") from None
