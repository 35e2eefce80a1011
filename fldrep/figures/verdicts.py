"""What became of the attacked images under each defense, at a glance."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fldrep import registry
from fldrep.analysis import verdicts
from fldrep.analysis.rows import SETTING
from fldrep.analysis.verdicts import VERDICTS, cell_verdicts, counts_text, image_verdicts
from fldrep.analysis.words import setting_text
from fldrep.figures import theme

LINE_INCHES = 0.3
BAR = 0.62  # of a line
COLOURS = {
    verdicts.FOUND: theme.COLOURS[3],
    verdicts.FOUND_BY_ATTACKS: theme.COLOURS[3],
    verdicts.NOT_FOUND: theme.COLOURS[8],
    verdicts.NOT_ATTACKED: theme.COLOURS[5],
    verdicts.NOT_FOUND_BY_ATTACKS: "#d9d9d9",
    verdicts.NOT_LOOKED_AT: "#f0f0f0",
    verdicts.NOT_EVEN_UNDEFENDED: theme.COLOURS[9],
    verdicts.NOT_IDENTIFIABLE: theme.COLOURS[0],
}
FOUND_LABEL = "found by an attack"
LABELS = {
    verdicts.FOUND: FOUND_LABEL,
    verdicts.FOUND_BY_ATTACKS: FOUND_LABEL,
    verdicts.NOT_FOUND_BY_ATTACKS: "not found; whether it is identifiable is not known",
}


@registry.figure(
    "verdicts",
    title="What became of the images",
    caption="One line a defense, one part of a bar an attacked image. Red: some attack found the image (it certified "
    "it, or the reconstruction has the config's SSIM). Yellow: no attack found it, but the update determines it, so "
    "that a better attack can: no protection. Blue: the update does not determine it, as noise or rounding leave more "
    "error than a recognised image has, and at least twice that of the same image undefended; light blue: more than a "
    "recognised image has, but the defense is not what hides it. Grey: no attack found it, and what its update "
    "determines is not known. A defense protects the images of a line only where all of it is blue.",
    reads=("attacks", "identifiability"),
    needs=(),
    order=5,
)
@theme.themed
def draw(attacks: pd.DataFrame, identifiability: pd.DataFrame) -> Figure:
    """A panel a setting, a bar a defense. Args: tables `tables.attacks` and `tables.identifiability`."""
    cells = cell_verdicts(image_verdicts(attacks, identifiability))
    if cells.empty:
        return theme.message_figure("No attack was run, and no entry asks what its updates determine.")
    settings = list(cells.groupby(SETTING))
    heights = [LINE_INCHES * len(own) + 0.75 for _, own in settings]
    figure = Figure(figsize=(9, sum(heights)))
    panels = figure.subplots(len(settings), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (key, own) in zip(panels, settings, strict=True):
        _draw_cells(ax, own)
        ax.set_title(setting_text(key))
    panels[-1].set_xlabel("images")
    theme.legend_below(figure, _handles(cells))
    return figure


def _draw_cells(ax: Axes, cells: pd.DataFrame) -> None:
    for height, (_, cell) in enumerate(cells.iterrows()):
        reached = 0
        for verdict in VERDICTS:
            ax.barh(height, cell[verdict], BAR, reached, color=COLOURS[verdict], edgecolor="white", linewidth=0.8)
            reached += cell[verdict]
        theme.note_beside(ax, height, counts_text(cell))
    ax.set_yticks(range(len(cells)), list(cells["defense"]))
    ax.set_ylim(len(cells) - 0.4, -0.6)
    ax.set_xlim(0, cells["images"].max())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False, axis="y")


def _handles(cells: pd.DataFrame) -> list[Patch]:
    shown = [verdict for verdict in VERDICTS if cells[verdict].any()]
    labels = {LABELS.get(verdict, verdict): COLOURS[verdict] for verdict in shown}
    return [Patch(color=colour, label=label) for label, colour in labels.items()]
