"""Tables that are measured by a script of their own: docs/results/NAME.json, which a block of a text is made from."""

import json
from pathlib import Path

from benchmarks.table import circumstances


def write_rows(path: Path, heads: list[str], rows: list[list[str]], said: str) -> None:
    """Write a table. Args: said: n and conditions, in a line."""
    told = {"measured": circumstances(), "said": said, "heads": heads, "rows": rows}
    path.write_text(json.dumps(told, indent=1) + "\n")
