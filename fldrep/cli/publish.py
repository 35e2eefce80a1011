"""`python -m fldrep publish`: finished results into the repository."""

from pathlib import Path
from typing import Annotated

import typer

from fldrep.errors import DataError


def publish_command(
    config: Annotated[
        Path | None, typer.Argument(help="a config file whose results are there; none: README only")
    ] = None,
    results: Annotated[Path, typer.Option(help="the folder that holds results/ and reports/")] = Path("."),
    out: Annotated[Path, typer.Option(help="the folder of published results")] = Path("docs/results"),
    readme: Annotated[Path, typer.Option(help="the text whose blocks of numbers are written anew")] = Path("README.md"),
    commit: Annotated[str | None, typer.Option(help="what made the results, where their page knows no commit")] = None,
) -> None:
    """Publish the results of a config: tables, claims and figures, what made them, and the README's numbers."""
    from fldrep.atomic import atomic_write
    from fldrep.config.reading import read_config
    from fldrep.figures import figures_of
    from fldrep.report.publish import publish, table_sizes
    from fldrep.report.readme import filled, names_in, readme_blocks

    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{readme}: cannot be read: {error}") from None
    names = names_in(text)
    if config is not None:
        folder = publish(config, results, out, figures_of(read_config(config)), commit)
        print(f"{folder}: {sum(table_sizes(folder).values()) / 1e6:.2f} MB of tables")
    blocks, lacking = readme_blocks(out, names)
    with atomic_write(readme) as beside:
        beside.write_text(filled(text, blocks), encoding="utf-8")
    print(f"{readme}: {len(blocks)} of {len(names)} blocks written")
    for name, source in lacking.items():
        print(f"{readme}: block {name} left as it is: there is no {out / source}")
