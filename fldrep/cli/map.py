"""`python -m fldrep map`: the rooms of the package, drawn from its code."""

from pathlib import Path
from typing import Annotated

import typer


def map_command(
    out: Annotated[Path, typer.Option(help="the page, in Markdown")] = Path("docs/map.md"),
) -> None:
    """Draw the rooms of the package, their files and what they import, on one page."""
    from fldrep.applications.map import rooms_page
    from fldrep.atomic import atomic_write

    with atomic_write(out) as beside:
        beside.write_text(rooms_page(), encoding="utf-8")
