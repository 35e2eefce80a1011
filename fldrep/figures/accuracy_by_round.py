"""What each defense costs the training: test accuracy after each round."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fldrep import registry
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, median_interval
from fldrep.figures import theme

COLUMNS = 2
PANEL = ["dataset", "model", "partition"]


@registry.figure(
    "accuracy_by_round",
    title="Accuracy by round",
    caption="Test accuracy of the federated model by round, one colour a defense. Each seed is a thin line; from 8 "
    "seeds on, the line is their median and the band its 95 % bootstrap interval over seeds. Round 0 is the untrained "
    "model. Runs under different defenses share the initial weights, the clients drawn and the order of batches.",
    reads=("training",),
    needs=(),
    order=30,
)
@theme.themed
def draw(training: pd.DataFrame) -> Figure:
    """One panel a data set, model and partition that was trained. Args: table `tables.training`."""
    panels = [(key, rows) for key, rows in training.groupby(PANEL) if rows["round"].max() > 0]
    if not panels:
        return theme.message_figure("No model was trained in this grid: there is no accuracy to show.")
    styles = theme.defense_styles(pd.concat([rows for _, rows in panels]))
    figure, axes = theme.panel_grid(len(panels), COLUMNS, width=5.6, height=3.8)
    for ax, (key, rows) in zip(axes, panels, strict=True):
        for name in (name for name in styles if name in set(rows["defense"])):
            _draw_defense(ax, rows[rows["defense"] == name], styles[name])
        ax.set_title(" · ".join(key))
        ax.set(xlabel="round", ylabel="test accuracy")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Line2D([], [], **_line(style), label=style.label) for style in styles.values()]
    theme.legend_below(figure, handles)
    return figure


def _draw_defense(ax: Axes, rows: pd.DataFrame, style: theme.Style) -> None:
    line = _line(style)
    table = rows.pivot(index="round", columns="seed", values="test_accuracy").sort_index()
    if table.shape[1] < LEAST_FOR_INTERVAL:
        for seed in table:
            ax.plot(table.index, table[seed], **line)
        return
    estimates = [median_interval(row.dropna()) for _, row in table.iterrows()]
    low, high = (np.array([getattr(one, side) for one in estimates], dtype=float) for side in ("low", "high"))
    ax.plot(table.index, [one.median for one in estimates], **line)
    ax.fill_between(table.index, low, high, color=style.colour, alpha=0.18, linewidth=0)


def _line(style: theme.Style) -> dict:
    return {
        "color": style.colour,
        "linestyle": style.line,
        "linewidth": 1.2,
        "marker": style.marker,
        "markersize": 4.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
        "markevery": 0.12,
    }
