"""What each defense takes away from what an update determines of its images, and what attacks made of the rest."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fldrep import registry
from fldrep.analysis.floors import RECOGNISED, one_an_update
from fldrep.analysis.rows import SETTING, converged, rows_where
from fldrep.analysis.words import number, setting_text
from fldrep.figures import theme

LINE_INCHES = 0.3
BAR = 12  # points
ATTACK = {"marker": "|", "markersize": 13, "markeredgewidth": 3, "linestyle": "none"}
LONGEST_REASON = 60  # characters


@registry.figure(
    "identifiability",
    title="What updates determine",
    caption="Left is the mean squared error a pixel that is left to an attacker who knows the network, the labels, the "
    "mask, the law of the noise and the rounding of the update, and of images no more than a prior: filled for white "
    "pixels, hollow for the spectrum of natural images. Points are updates, the marker is their median, and from 8 on "
    "it has a 95 % bootstrap interval. A bar is the median of the attack that came nearest on the same setting, in "
    "the same units: where it is far to the right of the markers, the attack fell short of what the update tells. The "
    "black line is the undefended client, and an image left of the dotted line is recognised; in the shaded region, "
    "beyond the prior's variance, nothing is known. Right is the share of the image's directions that the update shows "
    "at the precision of the threshold (median), and how many of its entries arrive. It is a statement to first order, "
    "at the true image.",
    reads=("identifiability", "attacks"),
    needs=("identifiability",),
    order=65,
)
@theme.themed
def draw(identifiability: pd.DataFrame, attacks: pd.DataFrame) -> Figure:
    """A row of panels a setting: floors, and the share that is determined.

    Args: tables `tables.identifiability` and `tables.attacks`.
    """
    if identifiability.empty:
        return theme.message_figure("No entry of this grid asks what its updates determine.")
    settings = list(identifiability.groupby(SETTING))
    styles = theme.defense_styles(identifiability)
    heights = [LINE_INCHES * rows["defense"].nunique() + 1.0 for _, rows in settings]
    figure = Figure(figsize=(12, sum(heights)))
    grid = figure.subplots(len(settings), 2, squeeze=False, sharey="row", height_ratios=heights, width_ratios=[3, 2])
    for (left, right), (key, rows) in zip(grid, settings, strict=True):
        names = [name for name in styles if name in set(rows["defense"])]
        _draw_floors(left, rows, nearest(attacks, key), names, styles)
        _draw_shares(right, rows, names, styles)
        left.set_title(setting_text(key))
    theme.legend_below(figure, _handles())
    return figure


def nearest(attacks: pd.DataFrame, setting: tuple) -> dict[str, float]:
    """The least median error of an attack on each defense of a setting, in the network's input space.

    Args: setting: values of `SETTING`.
    """
    own = rows_where(attacks, SETTING, setting)
    if own.empty:
        return {}
    medians = converged(own).groupby(["defense", "attack"])["mse"].median()
    return medians.groupby("defense").min().to_dict()


def _draw_floors(
    ax: Axes, rows: pd.DataFrame, found: dict[str, float], names: list[str], styles: dict[str, theme.Style]
) -> None:
    prior = rows["prior_std"].iloc[0] ** 2
    ranked = one_an_update(rows)
    theme.error_scale([ax], [*ranked["floor"], *ranked["floor_spectral"], *found.values(), prior], "x")
    for height, name in enumerate(names):
        own, style = ranked[ranked["defense"] == name], styles[name]
        if own.empty:
            _say_why_not(ax, height, rows[rows["defense"] == name])
            continue
        theme.estimate_line(ax, own["floor_spectral"], height, style, hollow=True)
        theme.estimate_line(ax, own["floor"], height, style)
        if name in found:
            ax.plot(found[name], height, **ATTACK, color=style.colour, zorder=3)
    plain = ranked.loc[ranked["method"] == "none", "floor"]
    if len(plain):
        ax.axvline(plain.median(), color=theme.INK, linewidth=1.1, zorder=1.6)
    ax.axvline(RECOGNISED, color=theme.GREY, linestyle=":", linewidth=1.2, zorder=1.5)
    low, high = ax.get_xlim()
    ax.axvline(prior, color=theme.GREY, linestyle="--", linewidth=1.2, zorder=1.5)
    ax.axvspan(prior, max(high, 1.6 * prior), color="#000000", alpha=0.06, linewidth=0, zorder=0.5)
    ax.set_xlim(low, max(high, 1.6 * prior))
    ax.set_yticks(range(len(names)), [styles[name].label for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.set_xlabel("MSE (normalised); right: better for the client")


def _say_why_not(ax: Axes, height: int, rows: pd.DataFrame) -> None:
    reason = rows["reason"].iloc[0]
    reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
    ax.text(0.01, height, reason, transform=ax.get_yaxis_transform(), va="center", fontsize=7.5, color=theme.GREY)


def _draw_shares(ax: Axes, rows: pd.DataFrame, names: list[str], styles: dict[str, theme.Style]) -> None:
    ranked = one_an_update(rows)
    for height, name in enumerate(names):
        own = ranked[ranked["defense"] == name]
        if own.empty:
            continue
        share = 1 - own["undetermined"].median()
        ax.hlines(height, 0, 1, color="#e6e6e6", linewidth=BAR)
        ax.hlines(height, 0, share, color=styles[name].colour, linewidth=BAR)
        entries = f"{own['entries'].median():,.0f} entries, n = {len(own)}"
        theme.note_beside(ax, height, f"{number(share, 'share')} by {entries}")
    ax.axvline(1, color=theme.GREY, linewidth=1.2)
    ax.set_xlim(0, 1)
    ax.tick_params(labelleft=False)
    ax.grid(False, axis="y")
    ax.set_xlabel("share of the image's directions that is determined")


def _handles() -> list:
    marker = {"color": theme.GREY, "linestyle": "none", "markersize": 8}
    return [
        Line2D([], [], color=theme.INK, linewidth=1.1, label="undefended, median"),
        Line2D([], [], marker="o", **marker, label="floor, white prior"),
        Line2D([], [], marker="o", markerfacecolor="white", **marker, label="floor, prior of natural images"),
        Line2D([], [], color=theme.GREY, **ATTACK, label="nearest attack, median"),
        Line2D([], [], color=theme.GREY, linestyle=":", label=f"recognised below, MSE {RECOGNISED:g}"),
        Patch(color="#000000", alpha=0.1, linewidth=0, label="no better than the prior"),
    ]
