"""Which device a job computes on. Snakemake counts GPUs and does not pick one, so a job claims a free one itself."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fldrep.errors import ConfigError


def gpus_visible() -> list[str]:
    """Names of the GPUs of this machine that a job may use, found without importing torch."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name.strip()]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def lock_folder() -> Path:
    """Where the lock files of devices lie: one folder a user and machine."""
    folder = Path(tempfile.gettempdir()) / f"fldrep-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def claimed(devices: list[str], folder: Path) -> Iterator[str]:
    """A device nobody else has claimed, given back when the block or the process ends, however it ends.

    Where all are claimed (more jobs than devices were asked for), the first one is shared.
    """
    for name in devices:
        handle = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        try:
            yield name
        finally:
            os.close(handle)  # the kernel drops the lock, also when the process is killed
        return
    yield devices[0]


@contextmanager
def device_for(asked: str, tf32: bool = False) -> Iterator[str]:
    """The torch device for `auto`, `cpu` or `cuda`. Errors: `ConfigError` where cuda is asked for and there is none."""
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: {asked!r}: expected auto, cpu or cuda")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        yield "cpu"
        return
    if not torch.cuda.is_available():
        raise ConfigError("engine.device: 'cuda' asked for, but torch finds no GPU; use auto or cpu")
    indices = [str(index) for index in range(torch.cuda.device_count())]
    with claimed(indices, lock_folder()) as index:
        yield f"cuda:{index}"


def device_words(device: str, dtype: str = "float32") -> str:
    """The device and precision as the tables name them."""
    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)} {dtype}{' tf32' if torch.backends.cuda.matmul.allow_tf32 else ''}"
    return f"cpu {dtype} {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
