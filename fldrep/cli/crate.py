"""`python -m fldrep crate`: the provenance of a finished run for other programs."""

from pathlib import Path
from typing import Annotated

import typer


def crate_command(
    config: Annotated[Path, typer.Argument(help="a config file whose run is finished")],
    out: Annotated[Path | None, typer.Option(help="the zip file; NAME.crate.zip if not given")] = None,
    folder: Annotated[Path, typer.Option(help="the folder in which the workflow ran")] = Path("."),
) -> None:
    """Pack a finished run as an RO-Crate: the workflow, the config, all results, and what made them."""
    from fldrep.applications.crate import write_crate
    from fldrep.config.reading import read_config

    print(f"The crate: {write_crate(config, out or Path(f'{read_config(config).name}.crate.zip'), folder)}")
