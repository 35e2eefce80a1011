"""Theorem 2: the gap to the least loss over the steps, against the bound with and without the term of a mask."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, SymmetricalLogLocator

from fldrep import registry
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, mean_interval
from fldrep.analysis.rows import LEAST_FLOOR
from fldrep.analysis.styles import OTHER, style_of
from fldrep.figures import theme

PANEL = ["dataset", "partition"]
FEW_STEPS = 20  # fewer steps than these are shown side by side
RUN = ["seed", "repetition"]
MASK_COLOURS = {
    "none": style_of("none").colour,
    "soteria": style_of("soteria").colour,
    "random": theme.COLOURS[3],
}
BEFORE = {"color": theme.GREY, "linestyle": "-.", "linewidth": 1.2}


@registry.figure(
    "convergence",
    title="The convergence of theorem 2",
    caption="Softmax regression trained by FedAvg, a problem whose constants and least loss can be computed: the "
    "measured gap to the least loss over local steps under each mask, against the bound of theorem 2 with and without "
    "the mask's term. The bound is on the mean gap, so the thick line is the mean over runs; from 8 runs on it has "
    "its 95 % bootstrap interval, with fewer each run is a thin line. The black line is training without a mask. The "
    "dotted floor is a proven lower limit of the gap, from weights that the mask never lets be updated: a bound that "
    "falls below it cannot hold for this mask. A deterministic mask is a bias, which the proof does not cover. In the "
    "shaded region the gap is larger than before training, and a bound up there tells nothing.",
    reads=("convergence",),
    needs=("convergence",),
    order=90,
)
@theme.themed
def draw(convergence: pd.DataFrame) -> Figure:
    """A panel a data set, partition and mask. Args: table `tables.convergence`."""
    if convergence.empty:
        return theme.message_figure("No convergence was measured in this grid.")
    panels = list(convergence.groupby([*PANEL, "mask"], sort=False))
    figure, axes = theme.panel_grid(len(panels), 2, width=5.2, height=3.3)
    for ax, ((dataset, partition, mask), rows) in zip(axes, panels, strict=True):
        beside = convergence[(convergence["dataset"] == dataset) & (convergence["partition"] == partition)]
        _draw_panel(ax, rows, beside[beside["kind"] == "none"])
        _scale(ax, beside)
        _no_training(ax, beside)
        runs = len(rows[RUN].drop_duplicates())
        ax.set_title(f"{dataset} · {partition} · {mask}, n = {runs}\n{mask_text(rows)}")
    theme.legend_below(figure, _handles(convergence))
    return figure


def mask_text(rows: pd.DataFrame) -> str:
    """What the theorem says of the mask of a panel, and what its floor says of the theorem.

    >>> mask_text(pd.DataFrame({"bound_covers": False, "floor": 0.1, "crossing": [48621.4]}))
    'biased, not covered; bound below the floor after 48,600 steps'
    """
    words = "covered by the theorem" if rows["bound_covers"].all() else "biased, not covered"
    if rows["floor"].max() <= LEAST_FLOOR or rows["crossing"].isna().all():
        return words
    steps = float(f"{rows['crossing'].median():.3g}")
    return f"{words}; bound below the floor after {f'{steps:,.0f}' if steps < 1e6 else f'{steps:.3g}'} steps"


def _draw_panel(ax: Axes, rows: pd.DataFrame, unmasked: pd.DataFrame) -> None:
    kind = rows["kind"].iloc[0]
    colour, by_step = MASK_COLOURS.get(kind, OTHER.colour), rows.groupby("steps", sort=True)
    if kind != "none":
        plain = unmasked.groupby("steps", sort=True)["gap"].mean()
        ax.plot(plain.index, plain, color=theme.INK, linewidth=1.0, zorder=2)
        ax.plot(by_step["bound_defended"].mean(), color=colour, linestyle="--", linewidth=1.3)
    ax.plot(by_step["bound"].mean(), color=theme.INK, linestyle="--", linewidth=1.0)
    _draw_gap(ax, rows, colour)
    if rows["floor"].max() > LEAST_FLOOR:
        ax.axhline(rows.groupby("seed")["floor"].first().mean(), color=colour, linestyle=":", linewidth=1.5)
    ax.set(xlabel="local steps", ylabel="gap F(w) − F*, nats")


def _draw_gap(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    """The mean of the runs, which the theorem bounds, with its interval; each run where there are too few for one."""
    table = rows.pivot(index="steps", columns=RUN, values="gap").sort_index()
    if table.shape[1] < LEAST_FOR_INTERVAL:
        ax.plot(table.index, table, color=colour, linewidth=0.6, alpha=0.4)
        ax.plot(table.index, table.mean(axis=1), color=colour, linewidth=1.8, zorder=3)
        return
    estimates = [mean_interval(row.dropna()) for _, row in table.iterrows()]
    low, high = (np.array([getattr(one, side) for one in estimates], dtype=float) for side in ("low", "high"))
    ax.plot(table.index, [one.median for one in estimates], color=colour, linewidth=1.8, zorder=3)
    ax.fill_between(table.index, low, high, color=colour, alpha=0.18, linewidth=0)


def _scale(ax: Axes, beside: pd.DataFrame) -> None:
    """Both axes logarithmic (a few steps linear), the same for all masks of a data set and partition."""
    shown = pd.concat([beside[column] for column in ("gap", "bound", "bound_defended", "floor")])
    shown = shown[np.isfinite(shown) & (shown > LEAST_FLOOR)]
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(shown.min() / 2, shown.max() * 2)
    ax.yaxis.set_minor_locator(NullLocator())
    most = beside["steps"].max()
    if most < FEW_STEPS:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(-0.15, 1.25 * most)
    ax.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _no_training(ax: Axes, beside: pd.DataFrame) -> None:
    """The gap before any training, and the region above it, where a bound tells nothing."""
    start = beside.loc[beside["steps"] == beside["steps"].min(), "gap"].mean()
    ax.axhline(start, **BEFORE, zorder=1.5)
    low, high = ax.get_ylim()
    if start < high:
        ax.axhspan(start, high, color="#000000", alpha=0.06, linewidth=0, zorder=0.5)
    ax.set_ylim(low, high)


def _handles(convergence: pd.DataFrame) -> list:
    kinds = [kind for kind in MASK_COLOURS if kind in set(convergence["kind"])]
    words = {"none": "no mask", "soteria": "Soteria's mask", "random": "unbiased random mask"}
    gaps = [
        Line2D([], [], color=MASK_COLOURS[kind], linewidth=1.8, label=f"measured gap, mean: {words[kind]}")
        for kind in kinds
    ]
    grey = {"color": (0.4, 0.4, 0.4)}
    return [
        *gaps,
        Line2D([], [], color=theme.INK, linestyle="--", linewidth=1.0, label="bound on the mean, without a mask"),
        Line2D([], [], **grey, linestyle="--", linewidth=1.3, label="in the mask's colour: bound with its term"),
        Line2D([], [], **grey, linestyle=":", linewidth=1.5, label="floor: weights that are never updated"),
        Line2D([], [], **BEFORE, label="gap before training"),
        Patch(color="#000000", alpha=0.1, linewidth=0, label="a bound up here tells nothing"),
    ]
