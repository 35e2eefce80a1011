"""What an audit found, as an object, as JSON and as files."""

import json
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fldrep.applications.audit.page import page_text
from fldrep.atomic import atomic_write
from fldrep.report.pictures import picture_of

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Audit:
    """The verdict on one update.

    `content` is what result.json holds; `pictures` {name: (C, H, W)}, pixels in [0, 1]: those found, and the originals.
    """

    content: dict[str, object]
    pictures: dict[str, Tensor]

    @property
    def verdict(self) -> str:
        """One of the words of docs/audit.md."""
        return self.content["verdict"]

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return self.content["sentence"]

    def to_dict(self) -> dict[str, object]:
        """What result.json holds, a copy."""
        return json.loads(self.text())

    def text(self) -> str:
        """result.json."""
        return json.dumps(self.content, indent=2, allow_nan=False) + "\n"

    def save(self, folder: Path | str) -> list[Path]:
        """Write result.json, audit.html and the pictures, all or none; returns their paths. Errors: `DataError`."""
        folder = Path(folder)
        texts = {"result.json": self.text(), "audit.html": page_text(self.to_dict(), self.pictures)}
        written = []
        with ExitStack() as all_or_none:
            for name, pixels in self.pictures.items():
                written.append(folder / f"{name}.png")
                picture_of(pixels.numpy()).save(all_or_none.enter_context(atomic_write(written[-1])))
            for name, text in texts.items():
                written.append(folder / name)
                all_or_none.enter_context(atomic_write(written[-1])).write_text(text, encoding="utf-8")
        return written


def number(value: float | None) -> float | None:
    """A number for JSON, where there is no NaN: six digits, None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
