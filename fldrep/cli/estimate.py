"""`python -m fldrep estimate`: what a config costs, before it is run."""

from pathlib import Path
from typing import Annotated

import typer


def estimate_command(
    config: Annotated[Path, typer.Argument(help="a config file")] = Path("config/config.yaml"),
    settings: Annotated[str | None, typer.Option(help="the whole config as JSON, in place of the file")] = None,
    plugins: Annotated[list[Path] | None, typer.Option(help="a Python file that adds entries, for the JSON")] = None,
    cores: Annotated[int, typer.Option(help="jobs at once", min=1)] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; what attacks would take, if not given")] = None,
    within: Annotated[float | None, typer.Option(help="seconds after which no more costs are measured", min=0)] = None,
) -> None:
    """Tell how many jobs, hours and gigabytes a config means, from a short calibration on this device."""
    import math

    from fldrep.config.checking import parse_section
    from fldrep.config.reading import read_config
    from fldrep.config.whole import Config
    from fldrep.plan.estimate import estimate
    from fldrep.registry import load_plugins

    load_plugins(plugins or [])
    whole = read_config(config) if settings is None else parse_section(Config, settings)
    print(f"{whole.name}: {estimate(whole, device, math.inf if within is None else within).sentence(cores)}")
