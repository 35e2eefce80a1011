"""`python -m fldrep paper`: the published results as one page."""

from pathlib import Path
from typing import Annotated

import typer


def paper_command(
    results: Annotated[Path, typer.Option(help="the folder of published results")] = Path("docs/results"),
    out: Annotated[Path, typer.Option(help="the page, HTML, one file")] = Path("docs/paper.html"),
) -> None:
    """Write the published results as a paper: one page, every number from a table."""
    from fldrep.report.paper import write_paper

    write_paper(results, out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
