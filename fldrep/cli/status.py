"""`python -m fldrep status`: how far the run of a config has come."""

from pathlib import Path
from typing import Annotated

import typer


def status_command(
    config: Annotated[Path, typer.Argument(help="a config file")] = Path("config/config.yaml"),
    folder: Annotated[Path, typer.Option(help="the folder in which the workflow runs")] = Path("."),
    tail: Annotated[int, typer.Option(help="how many last lines of a failed job's log are shown", min=1)] = 10,
) -> None:
    """Tell which jobs are done, running, failed and left, the time left, and the last lines of each failed log."""
    from fldrep.applications.status import status
    from fldrep.config.reading import read_config

    for line in status(read_config(config), folder).lines(tail):
        print(line)
