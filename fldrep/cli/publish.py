"""`python -m fldrep publish`: finished results into the repository."""

from pathlib import Path
from typing import Annotated

import typer

TEXTS = ("README.md", "docs/index.md", "docs/findings.md", "docs/leaderboard.md", "docs/attacks.md")


def publish_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="a config file with results, or a folder of evidence; with --again, names of published folders"
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="rewrite published folders, and their figures, from their own tables"),
    ] = False,
    results: Annotated[Path, typer.Option(help="the folder that holds results/ and reports/")] = Path("."),
    out: Annotated[Path, typer.Option(help="the folder of published results")] = Path("docs/results"),
    text: Annotated[
        list[Path] | None,
        typer.Option(help=f"texts whose blocks of numbers are written anew; {' and '.join(TEXTS)} if not given"),
    ] = None,
    commit: Annotated[str | None, typer.Option(help="what made the results, where their record does not know")] = None,
) -> None:
    """Publish results: tables, claims and figures, what made them, and the numbers of README and docs."""
    from fldrep.applications.redrawing import redraw
    from fldrep.report.publish import RESULTS, folders, kind_of, publish, publish_again
    from fldrep.report.results_folder import table_sizes
    from fldrep.report.texts import fill, text_of

    texts = text or [path for path in map(Path, TEXTS) if path.exists()]
    for path in texts:
        text_of(path)  # what is wrong with one is said before anything is published
    if again:
        for line in publish_again(sources or [], out):
            print(line)
        for folder in (out / name for name in sources or folders(out)):
            if kind_of(folder) is RESULTS:
                print(f"{folder}: drawn again: {', '.join(redraw(folder))}")
    else:
        for source in sources or []:
            folder = publish(Path(source), results, out, commit)
            print(f"{folder}: {sum(table_sizes(folder).values()) / 1e6:.2f} MB of tables")
    for path in texts:
        for line in fill(path, out):
            print(line)
