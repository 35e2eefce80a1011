"""How well representations and labels are read from the gradient of the last layer, by batch size and by round."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fldrep import registry
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, median_interval
from fldrep.figures import theme

PANEL = ["dataset", "model", "partition"]
SIDE_BY_SIDE = 10  # with more defenses each panel has a row of its own, and smaller markers
LINES = {"public": ("mean of public images; an even guess", "--")}


@dataclass(frozen=True)
class Quantity:
    """What panels show: columns of the filled and of the hollow markers, and of who has no gradient; words."""

    filled: str
    hollow: str
    unknowing: str
    words: str


QUANTITIES = (
    Quantity(
        "correlation",
        "correlation_kept",
        "correlation_public",
        "correlation with the true representation\nhollow: over the features that were sent",
    ),
    Quantity(
        "label_accuracy",
        "label_accuracy_public",
        "label_accuracy_even",
        "share of labels found\nhollow: with labelled public images",
    ),
)


@dataclass(frozen=True)
class View:
    """Rows in which one number varies (a column), the words of that axis, and what is the same in all of them."""

    axis: str
    label: str
    fixed: str
    rows: pd.DataFrame


@registry.figure(
    "leakage",
    title="Leakage of representations",
    caption="How well a server that sees only the gradient of the last layer reads the class-wise representations of "
    "a batch, and its labels: by the number of images (left, or above, at the last round looked at) and by round (for "
    "the largest batch). A marker is the median over batches of one client each, the same images under every defense; "
    "its bar is the 95 % bootstrap interval, and with fewer than 8 batches each one is a small point and there is no "
    "interval. Filled is the correlation of row c of the weight gradient over entry c of the bias gradient with the "
    "true mean representation of class c, over all features; hollow is the same over the features whose column was "
    "sent, as the mask of a defense is there to see. For labels, filled uses the bias gradient alone, and hollow "
    "labelled public images besides. The dashed line is what takes no gradient: the mean representation of public "
    "images, or an even guess of the labels; in the shaded region the gradient tells no more than that.",
    reads=("leakage",),
    needs=("leakage",),
    order=70,
)
@theme.themed
def draw(leakage: pd.DataFrame) -> Figure:
    """For each data set, model and partition a row of panels for representations and one for labels.

    Args: table `tables.leakage`.
    """
    if leakage.empty:
        return theme.message_figure("No update was searched for representations in this grid.")
    shown = [
        (key, quantity, view) for key, rows in leakage.groupby(PANEL) for quantity in QUANTITIES for view in views(rows)
    ]
    styles = theme.defense_styles(leakage)
    columns, width = (2, 5.4) if len(styles) <= SIDE_BY_SIDE else (1, 13)
    figure, axes = theme.panel_grid(len(shown), columns, width=width, height=3.2)
    for ax, (key, quantity, view) in zip(axes, shown, strict=True):
        _draw_panel(ax, view, quantity, styles)
        ax.set_title(" · ".join([*key, view.fixed]) + f", n = {counts_text(view, quantity.filled)}")
    handles = [Line2D([], [], **style.point, markersize=8, label=style.label) for style in styles.values()]
    theme.legend_below(figure, [*handles, *theme.uninformed_handles(LINES)])
    return figure


def views(rows: pd.DataFrame) -> list[View]:
    """By batch size at the last round, by round for the largest batch: what varies; by batch size if nothing does."""
    last, largest = rows["round"].max(), rows["batch_size"].max()
    sizes = View("batch_size", "images a batch", f"round {last}", rows[rows["round"] == last])
    rounds = View("round", "round", f"batches of {largest}", rows[rows["batch_size"] == largest])
    return [view for view in (sizes, rounds) if view.rows[view.axis].nunique() > 1] or [sizes]


def counts_text(view: View, column: str) -> str:
    """How many batches (of all seeds) stand behind each marker.

    >>> rows = pd.DataFrame({"defense": "none", "round": 0, "correlation": [0.9, 0.8, None]})
    >>> counts_text(View("round", "", "", rows), "correlation")
    '2'
    """
    sizes = view.rows.groupby(["defense", view.axis])[column].count()
    return "–".join(map(str, sorted({sizes.min(), sizes.max()})))


def _draw_panel(ax: Axes, view: View, quantity: Quantity, styles: dict[str, theme.Style]) -> None:
    values = sorted(view.rows[view.axis].unique())
    defenses = [name for name in styles if name in set(view.rows["defense"])]
    for name, shift in zip(defenses, theme.side_by_side(len(defenses)), strict=True):
        own = view.rows[view.rows["defense"] == name]
        places = [place + shift for place in range(len(values))]
        for column in _columns(own, quantity):
            cells = [own.loc[own[view.axis] == one, column].dropna() for one in values]
            size = 7.5 if len(styles) <= SIDE_BY_SIDE else 4.5
            _draw_cells(ax, places, cells, styles[name], column == quantity.hollow, size)
    theme.places_axis(ax, values, view.label)
    ax.set_ylabel(quantity.words)
    if quantity.filled == "label_accuracy":
        ax.set_ylim(-0.04, 1.04)
    _no_information(ax, view.rows.groupby(view.axis)[quantity.unknowing].median())


def _columns(rows: pd.DataFrame, quantity: Quantity) -> list[str]:
    """The columns worth drawing: the hollow one only where it tells something else."""
    same = ((rows[quantity.filled] - rows[quantity.hollow]).abs() < 1e-9).all()
    return [quantity.filled] if same else [quantity.filled, quantity.hollow]


def _draw_cells(
    ax: Axes, places: list[float], cells: list[pd.Series], style: theme.Style, hollow: bool, size: float
) -> None:
    """Medians of cells, joined, with their intervals; where a cell is too small for one, its values as points."""
    for place, cell in zip(places, cells, strict=True):
        if len(cell) < LEAST_FOR_INTERVAL:
            ax.plot([place] * len(cell), cell, ".", color=style.colour, alpha=0.45, markersize=4.5)
    theme.join_estimates(ax, places, [median_interval(cell) for cell in cells], style, hollow, size)


def _no_information(ax: Axes, levels: pd.Series) -> None:
    """What an attacker without the gradient has at each place, and the region below it."""
    left, right = ax.get_xlim()
    places = [left, *range(len(levels)), right]
    values = [levels.iloc[0], *levels, levels.iloc[-1]]
    ax.plot(places, values, color=theme.GREY, linestyle=LINES["public"][1], linewidth=1.2, zorder=1.5)
    low, high = ax.get_ylim()
    ax.fill_between(places, values, low, color="#000000", alpha=0.06, linewidth=0, zorder=0.5)
    ax.set_ylim(low, high)
