"""Figures of a published folder, drawn again from its own tables."""

from pathlib import Path

from fldrep import registry
from fldrep.figures import figures_of
from fldrep.figures.theme import save_png
from fldrep.report.plugin_files import published_config
from fldrep.report.results_folder import smaller_png
from fldrep.tables.final import FINAL


def redraw(folder: Path) -> list[str]:
    """Draw the figures that need no more than tables, as this version draws them; others stay. Returns their names.

    Args: folder: published results of a config. Errors: `DataError` for a file that is missing or damaged.
    """
    figures = registry.built_in("figure")
    drawn = [name for name in figures_of(published_config(folder)) if set(figures[name].words["reads"]) <= set(FINAL)]
    for name in drawn:
        tables = (FINAL[kind].read_in(folder) for kind in figures[name].words["reads"])
        path = folder / "figures" / f"{name}.png"
        save_png(figures[name].value(*tables), path)
        path.write_bytes(smaller_png(path.read_bytes()))
    return drawn
