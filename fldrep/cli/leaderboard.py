"""`python -m fldrep leaderboard`: defenses on the same terms."""

import os
from pathlib import Path
from typing import Annotated

import typer


def leaderboard_command(
    plugins: Annotated[
        list[Path] | None, typer.Argument(help="files that register defenses; none: the built-in ones")
    ] = None,
    terms: Annotated[Path, typer.Option(help="a config of the client without a defense")] = Path(
        "config/leaderboard-terms.yaml"
    ),
    cores: Annotated[int, typer.Option(help="processor cores to use", min=1)] = os.cpu_count() or 1,
    published: Annotated[Path, typer.Option(help="the published leaderboard, whose rows stand beside")] = Path(
        "docs/results/leaderboard"
    ),
    folder: Annotated[Path, typer.Option(help="where the config of the whole run is written")] = Path("config"),
) -> None:
    """Train each defense, choose its strongest setting that costs at most a point of accuracy, and attack it."""
    from fldrep.applications.leaderboard import run_leaderboard

    config, board = run_leaderboard(terms, plugins or [], cores, folder, published)
    print("\n".join(board))
    print(f"The page: reports/{config.stem}/report.html; its config: {config}")
