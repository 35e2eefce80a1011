"""Theorem 1: how far from the image each bound puts a reconstruction, how far it is, and how often a bound holds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fldrep import registry
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, Estimate, median_interval, share_interval
from fldrep.analysis.rows import SETTING, bounded, targets_of
from fldrep.analysis.words import setting_text
from fldrep.figures import theme
from fldrep.tables.certificate import CONSTANTS

# Colours and markers of what is measured and of the bounds, from the top of a line.
LOOKS = {
    "measured": (theme.INK, "X"),
    "local": (theme.COLOURS[0], "o"),
    "segment": (theme.COLOURS[1], "D"),
    "layers": (theme.COLOURS[2], "s"),
    "any": (theme.COLOURS[4], "v"),
}
LINE_INCHES = 0.62


@registry.figure(
    "certificate",
    title="The certificate of theorem 1",
    caption="What theorem 1 promises of each reconstruction against what was found. Left: the measured distance from "
    "the image (median, with its 95 % bootstrap interval over targets, from 8 on; with fewer each one is a small "
    "point), and the distance that each bound demands: by the norm of the Jacobian at the image, as in the paper; by "
    "the largest norm sampled on the way to the reconstruction, which is an estimate and no bound; by the product of "
    "the layers' norms, which is proven; and that one for any attacker, whether or not the reconstruction has the "
    "representation that the client sent. In the shaded region lies no image with valid pixels. Right: the share of "
    "reconstructions where each bound holds, with Wilson's 95 % interval over as many cases as targets, and where the "
    "theorem's premise is met. Reconstructions of updates from which nothing was pruned, and those that are not "
    "finite, are left out; n counts the others.",
    reads=("certificate",),
    needs=("certificate",),
    order=80,
)
@theme.themed
def draw(certificate: pd.DataFrame) -> Figure:
    """A row of panels an attacked checkpoint: distances and bounds, shares of reconstructions where each holds.

    Args: table `tables.certificate`.
    """
    settings = [(key, rows) for key, rows in bounded(certificate).groupby(SETTING)]
    if not settings:
        return theme.message_figure("No reconstruction of a pruned representation has a bound in this grid.")
    lines = [lines_of(rows) for _, rows in settings]
    heights = [LINE_INCHES * len(one) + 0.95 for one in lines]
    figure = Figure(figsize=(12, sum(heights)))
    grid = figure.subplots(len(settings), 2, squeeze=False, sharey="row", height_ratios=heights, width_ratios=[3, 2])
    for (left, right), (key, rows), own in zip(grid, settings, lines, strict=True):
        _draw_distances(left, rows, own)
        _draw_shares(right, rows, own)
        left.set_title(setting_text(key))
    theme.legend_below(figure, _handles())
    return figure


def lines_of(setting: pd.DataFrame) -> pd.DataFrame:
    """The lines of a panel, from the top: columns defense, attack."""
    attacks = setting.groupby("defense")["attack"].unique()
    pairs = [(name, attack) for name in theme.defense_styles(setting) for attack in sorted(attacks[name])]
    return pd.DataFrame(pairs, columns=["defense", "attack"])


def _each(rows: pd.DataFrame, lines: pd.DataFrame):
    """Each line's height, and its rows."""
    for line in lines.itertuples():
        yield line.Index, rows[(rows["defense"] == line.defense) & (rows["attack"] == line.attack)]


def _draw_distances(ax: Axes, rows: pd.DataFrame, lines: pd.DataFrame) -> None:
    ax.set_xscale("log")
    for height, cell in _each(rows, lines):
        for name, shift in zip(LOOKS, theme.side_by_side(len(LOOKS)), strict=True):
            values = cell["distance" if name == "measured" else f"bound_{name}"]
            _draw_values(ax, values, targets_of(cell), height + shift, name)
    farthest = rows["farthest"].median()
    ax.axvline(farthest, color=theme.GREY, linestyle="--", linewidth=1.2, zorder=1.5)
    low, high = ax.get_xlim()
    high = max(high, 1.5 * farthest)
    ax.axvspan(farthest, high, color="#000000", alpha=0.06, linewidth=0, zorder=0.5)
    ax.set_xlim(low, high)
    theme.name_lines(ax, lines)
    _shade(ax, len(lines))
    ax.set_xlabel("norm of the network's input; a bound right of the measured distance (X) is broken")


def _draw_values(ax: Axes, values: pd.Series, targets: pd.Series, height: float, name: str) -> None:
    """The median with its interval, points where there are too few values; a cross at the edge for a bound of 0."""
    colour, _ = LOOKS[name]
    finite = values[np.isfinite(values) & (values > 0)]
    whole = np.isfinite(values).all()  # an endless bound has no interval
    estimate = median_interval(values, groups=targets) if whole else Estimate(len(values), values.median())
    if len(values) < LEAST_FOR_INTERVAL:
        ax.plot(finite, np.full(len(finite), height), ".", color=colour, alpha=0.45, markersize=4.5)
    if np.isfinite(estimate.median) and estimate.median > 0:
        _draw_estimate(ax, estimate, height, name)
    else:
        edge = 0.012 if estimate.median == 0 else 0.988
        ax.plot(edge, height, "x", color=colour, transform=ax.get_yaxis_transform(), markersize=6)


def _draw_estimate(ax: Axes, estimate: Estimate, height: float, name: str, hollow: bool = False) -> None:
    if estimate.low is not None:
        ax.hlines(height, estimate.low, estimate.high, color=LOOKS[name][0], linewidth=1.8, zorder=2.5)
    ax.plot(estimate.median, height, **_look(name, hollow), zorder=3)


def _draw_shares(ax: Axes, rows: pd.DataFrame, lines: pd.DataFrame) -> None:
    for height, cell in _each(rows, lines):
        for name, shift in zip(LOOKS, theme.side_by_side(len(LOOKS)), strict=True):
            column = "premise_holds" if name == "measured" else f"holds_{name}"
            share = share_interval(cell[column].astype(bool), groups=targets_of(cell))
            _draw_estimate(ax, share, height + shift, name, hollow=name == "measured")
        theme.note_beside(ax, height, f"n = {len(cell)}")
    _shade(ax, len(lines))
    ax.set(
        xlim=(-0.04, 1.04), xlabel="share of reconstructions where the bound holds\n(hollow: where its premise does)"
    )
    ax.tick_params(labelleft=False)
    ax.grid(False, axis="y")


def _shade(ax: Axes, lines: int) -> None:
    """A tint behind every second line, which keeps its five markers together."""
    for line in range(0, lines, 2):
        ax.axhspan(line - 0.5, line + 0.5, color=theme.COLOURS[0], alpha=0.04, linewidth=0, zorder=0.4)


def _look(name: str, hollow: bool = False) -> dict:
    colour, marker = LOOKS[name]
    look = theme.Style(colour, marker, name)
    return {**(look.hollow if hollow else look.point), "markersize": 7.5}


def _handles() -> list:
    bounds = [Line2D([], [], **_look(name), label=f"bound by {meaning}") for name, meaning in CONSTANTS.items()]
    measured = Line2D([], [], **_look("measured"), label="measured: ||X − X'||")
    premise = Line2D([], [], **_look("measured", hollow=True), label="premise: f(X') is r' (up to 1 %)")
    edge = Line2D([], [], color=theme.GREY, marker="x", linestyle="none", label="cross at the left edge: a bound of 0")
    line = Line2D([], [], color=theme.GREY, linestyle="--", label="farthest valid image, median")
    beyond = Patch(color="#000000", alpha=0.1, linewidth=0, label="no valid image is so far")
    return [measured, *bounds, premise, edge, line, beyond]
