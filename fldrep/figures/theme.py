"""How every figure looks: one colour and marker a method, one shade a rate, the uninformed baseline, and the PNG."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fldrep.analysis.intervals import Estimate, median_interval
from fldrep.analysis.rows import defenses_in_order
from fldrep.analysis.styles import styles_in
from fldrep.analysis.uninformed import UNINFORMED
from fldrep.atomic import atomic_write

DPI = 110
LEAST_WIDTH, LEGEND_INCHES = 6.5, 3.1  # of a figure, and of a legend's column
# The colours of seaborn's `colorblind` palette, which stay apart under the common kinds of colour blindness.
COLOURS = sns.color_palette("colorblind").as_hex()
INK = "#222222"  # of text and of the undefended client
PALEST = 0.5  # share of white in the weakest rate of a method
GREY = "#6b6b6b"
PRUNED = {"live_pruned": "live", "nonzero_pruned": "nonzero"}  # columns of shares of features pruned, and of which
LINE_OF = dict(zip(UNINFORMED, (("grey image", "--"), ("mean image of the class", ":")), strict=True))

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "grid.linewidth": 0.6,
    "figure.dpi": DPI,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
}

P = ParamSpec("P")


@contextmanager
def theme() -> Iterator[None]:
    """The project's style, for the time of a block; global settings are left as they were."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**sns.axes_style("whitegrid"), **RC})
        yield


def themed(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A drawing function that runs in the project's style."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with theme():
            return draw(*args, **kwargs)

    return styled


def save_png(figure: Figure, path: Path | str) -> None:
    """Write a figure as PNG, whole or not at all; equal figures give equal bytes (no date, no version inside)."""
    with theme(), atomic_write(Path(path)) as beside:
        FigureCanvasAgg(figure).print_png(beside, metadata={"Software": None})


def message_figure(text: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure = Figure(figsize=(7, 1.4))
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, color=GREY, wrap=True)
    return figure


@dataclass(frozen=True)
class Style:
    """How a defense is drawn, and what it is called: `label` is its name with the rates behind it."""

    colour: tuple[float, float, float]
    marker: str
    label: str
    line: str = "-"

    @property
    def point(self) -> dict:
        """Arguments of `Axes.plot` for a marker without a line."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": "none",
            "markeredgecolor": "white",
            "markeredgewidth": 0.7,
        }

    @property
    def hollow(self) -> dict:
        """The same marker, not filled."""
        return {
            **self.point,
            "markerfacecolor": "white",
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.4,
        }


def defense_styles(frame: pd.DataFrame) -> dict[str, Style]:
    """The style of each defense in a table, in the order in which defenses are shown; the stronger, the darker.

    A table without a column of `PRUNED` has no shares of features in its labels.
    """
    defenses, methods = defenses_in_order(frame), styles_in(frame)
    column = next((name for name in PRUNED if name in frame), "")
    shares = frame.reindex(columns=["defense", column]).groupby("defense")[column].agg(["min", "max"])
    styles = {}
    for _, alike in defenses.groupby(["method", "rule"], sort=False):
        for place, row in enumerate(alike.itertuples()):
            white = PALEST * (1 - place / (len(alike) - 1)) if len(alike) > 1 else 0.0
            method = methods[row.method]
            base, (marker, _) = np.array(to_rgb(method.colour)), method.of_rule(row.rule)
            strength = strength_text(row.rate, row.std, *shares.loc[row.defense], PRUNED.get(column, ""))
            label = f"{row.defense} ({strength})" if strength else row.defense
            styles[row.defense] = Style(tuple(white + (1 - white) * base), marker, label, method.line)
    return {name: styles[name] for name in defenses["defense"]}


def strength_text(
    rate: float | None, std: float | None, low: float, high: float | None = None, of: str = "live"
) -> str:
    """How strong a defense is, in words: its nominal rate and the share of features `of` a kind it prunes, or its std.

    >>> strength_text(0.6, None, 0.23, 0.28)
    'nominal 60 %, live 23–28 %'
    """
    words = []
    if not pd.isna(rate):
        words.append(f"nominal {percent(rate)}")
    if not pd.isna(std):
        words.append(f"std {std:g}")
    if not pd.isna(low):
        low, high = percent(low), percent(low if high is None else high)
        words.append(f"{of} {low}" if low == high else f"{of} {low.removesuffix(' %')}–{high}")
    return ", ".join(words)


def percent(share: float) -> str:
    """A share as a percentage of two or three digits.

    >>> percent(0.6), percent(0.005)
    ('60 %', '0.5 %')
    """
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def error_scale(axes: Sequence[Axes], values: Sequence[float], which: str = "y") -> None:
    """Scale an axis of errors: from zero where that is readable, logarithmic where they span more than 30 times."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    least, most = values.min(), values.max()
    for ax in axes:
        if most <= 30 * least:
            ax.set(**{f"{which}lim": (0, 1.12 * most)})
            continue
        room = max(1.6, (most / least) ** 0.07)  # so that marks at the ends are whole
        ax.set(**{f"{which}scale": "log", f"{which}lim": (least / room, most * room)})
        axis = ax.yaxis if which == "y" else ax.xaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 1000 * least else (1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def uninformed_baseline(ax: Axes, rows: pd.DataFrame, error: str, horizontal: bool = True) -> None:
    """The errors of two attackers who know nothing of the update (medians over `rows`), and the region beyond them."""
    line, span = (ax.axhline, ax.axhspan) if horizontal else (ax.axvline, ax.axvspan)
    levels = {guess: rows[f"{guess}_{error}"].median() for guess in LINE_OF}
    for guess, (_, dashes) in LINE_OF.items():
        line(levels[guess], color=GREY, linestyle=dashes, linewidth=1.2, zorder=1.5)
    low, high = ax.get_ylim() if horizontal else ax.get_xlim()
    least = min(levels.values())
    if least < high:
        span(least, high, color="#000000", alpha=0.06, linewidth=0, zorder=0.5)
    ax.set(**{"ylim" if horizontal else "xlim": (low, high)})


def uninformed_handles(lines_of: Mapping[str, tuple[str, str]] = LINE_OF) -> list[Line2D | Patch]:
    """Legend entries for lines of no information and the region beyond them. Args: lines_of: as `LINE_OF`."""
    lines = [
        Line2D([], [], color=GREY, linestyle=dashes, label=f"no information: {name}")
        for name, dashes in lines_of.values()
    ]
    return [*lines, Patch(color="#000000", alpha=0.1, linewidth=0, label="no better than knowing nothing")]


def estimate_line(ax: Axes, values: pd.Series, height: float, style: Style, hollow: bool = False) -> None:
    """On one level: every value as a point, the median as a marker, and its interval where it has one."""
    values = values.dropna()
    if values.empty:
        return
    estimate = median_interval(values)
    ax.plot(values, np.full(len(values), height), ".", color=style.colour, alpha=0.4, markersize=4.5)
    if estimate.low is not None:
        ax.hlines(height, estimate.low, estimate.high, color=style.colour, linewidth=2.2)
    ax.plot(estimate.median, height, **(style.hollow if hollow else style.point), markersize=8.5, zorder=3)


def join_estimates(
    ax: Axes,
    places: Sequence[float],
    estimates: Sequence[Estimate],
    style: Style,
    hollow: bool = False,
    size: float = 7.5,
) -> None:
    """Medians or shares joined by a thin line (dashed where hollow), each with its interval where it has one."""
    middle, dashes = [one.median for one in estimates], "--" if hollow else "-"
    ax.plot(places, middle, color=style.colour, linestyle=dashes, linewidth=0.8, alpha=0.6)
    ax.plot(places, middle, **(style.hollow if hollow else style.point), markersize=size, zorder=3)
    for place, one in zip(places, estimates, strict=True):
        if one.low is not None:
            ax.vlines(place, one.low, one.high, color=style.colour, linewidth=1.6, zorder=2.5)


def side_by_side(count: int, spread: float = 0.34) -> list[float]:
    """How far from its place on an axis each of so many markers stands.

    >>> side_by_side(1), side_by_side(3, 0.5)
    ([0.0], [-0.5, 0.0, 0.5])
    """
    return np.linspace(-spread, spread, count).tolist() if count > 1 else [0.0]


def places_axis(ax: Axes, names: Sequence[object], label: str) -> None:
    """An axis of equally spaced places, each with its name."""
    ax.set_xticks(range(len(names)), [str(name) for name in names])
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.grid(False, axis="x")
    ax.set_xlabel(label)


def name_lines(ax: Axes, lines: pd.DataFrame) -> None:
    """Tick labels of lines of text, from the top, and a thin rule between defenses. Args: lines: defense, attack."""
    names = [f"{line.defense} · {line.attack}" for line in lines.itertuples()]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")
    changes = np.flatnonzero(lines["defense"].to_numpy()[1:] != lines["defense"].to_numpy()[:-1])
    for change in changes:
        ax.axhline(change + 0.5, color="#dddddd", linewidth=0.7, zorder=0.6)


def note_beside(ax: Axes, height: float, text: str) -> None:
    """A few words to the right of a panel, level with a line."""
    ax.text(1.012, height, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7.5, color=GREY)


def panel_grid(panels: int, columns: int, width: float, height: float, **kwargs) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels (width x height inches each), in rows of at most `columns`; none is left empty."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(max(columns * width, LEAST_WIDTH), rows * height))
    grid = figure.subplots(rows, columns, squeeze=False, **kwargs).ravel()
    for spare in grid[panels:]:
        spare.remove()
    return figure, list(grid[:panels])


def legend_below(figure: Figure, handles: Sequence) -> None:
    """One legend for the whole figure, under its panels, with room made for it."""
    columns = max(1, int(figure.get_figwidth() // LEGEND_INCHES))
    rows = -(-len(handles) // columns)
    extra = 0.21 * rows + 0.15
    figure.set_figheight(figure.get_figheight() + extra)
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, frameon=False, borderaxespad=0.3)
