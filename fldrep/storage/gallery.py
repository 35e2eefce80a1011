"""The pictures kept for figures: pixels (C, H, W), not clamped, by names made from the rows of the attack table.

Importing this module does not import torch: figures are drawn without it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fldrep.errors import DataError

IDENTITY = ("dataset", "model", "partition", "defense", "round", "update_kind", "attack", "seed", "target")


def gallery_key(row: Any) -> str:
    """Where the chosen reconstruction of a row lies. Args: row: has the columns of `IDENTITY` as attributes."""
    return "/".join(str(getattr(row, name)) for name in IDENTITY)


def original_key(row: Any) -> str:
    """Where the attacked image of a row lies."""
    return f"original/{row.dataset}/{row.index}"


def read_gallery(path: Path | str) -> dict[str, np.ndarray]:
    """All pictures of a safetensors file, by name. Errors: `DataError` naming the file."""
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None
