"""`python -m fldrep diff`: what changed between two results."""

from pathlib import Path
from typing import Annotated

import typer

DIFFERS = 3  # exit code where something changed, if asked for


def diff_command(
    before: Annotated[
        str, typer.Argument(metavar="A", help="a published folder, a folder of results/, a config file or a run's name")
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="the same, of what it is compared with")],
    out: Annotated[Path, typer.Option(help="the page")] = Path("diff.html"),
    results: Annotated[Path, typer.Option(help="the folder that holds results/ and reports/")] = Path("."),
    fail_if_changed: Annotated[bool, typer.Option("--fail-if-changed", help="exit code 3 if anything changed")] = False,
) -> None:
    """Tell what changed between two results, cell by cell; write it as one page."""
    from fldrep.report.diff_page import diff_lines, write_diff
    from fldrep.report.differences import differences, results_differ
    from fldrep.report.results import read_results

    both = [read_results(said, results) for said in (before, after)]
    parts = differences(*both)
    write_diff(*both, parts, out)
    for line in diff_lines(*both, parts):
        print(line)
    print(f"The page: {out}")
    if fail_if_changed and results_differ(parts):
        raise typer.Exit(DIFFERS)
