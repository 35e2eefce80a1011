"""How much less an attack gets from updates of several images, and of several local steps."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fldrep import registry
from fldrep.analysis.intervals import median_interval, share_interval
from fldrep.analysis.rows import ERROR, ERROR_NAMES, chosen, converged, updates_of
from fldrep.figures import theme

CHECKPOINT = ["dataset", "model", "partition", "round", "attack"]


@dataclass(frozen=True)
class Sweep:
    """Rows of one checkpoint and attack whose updates differ in one number, and the words of that axis."""

    title: str
    axis: str
    label: str
    rows: pd.DataFrame


@registry.figure(
    "batches",
    title="Several images, several local steps",
    caption="How recovery falls with the number of images an update holds, and with the number of local steps behind "
    "it. Left: the median error of the reconstructions that did not diverge, each set against the original that the "
    "best one-to-one assignment gives it (the assignment knows the truth, so it favours the attacker); dashed and "
    "dotted: what an attacker who saw nothing would score. Right: the share of all targets recovered, diverged ones "
    "counted as not recovered. Intervals, 95 %: bootstrap over updates, and Wilson's with as many cases as updates, "
    "as images of one update are not independent; fewer than 8 updates have none.",
    reads=("attacks",),
    needs=("several-updates",),
    order=50,
)
@theme.themed
def draw(attacks: pd.DataFrame, error: str = ERROR) -> Figure:
    """A row of panels a sweep: the median error, and the share of targets recovered.

    Args: attacks: table `tables.attacks`; error: which of `rows.ERROR_NAMES` is shown.
    """
    found = sweeps(attacks)
    if not found:
        return theme.message_figure("No updates of several kinds were attacked in this grid.")
    figure, axes = theme.panel_grid(2 * len(found), 2, width=4.6, height=3.1)
    styles = theme.defense_styles(pd.concat([sweep.rows for sweep in found]))
    for left, right, sweep in zip(axes[::2], axes[1::2], found, strict=True):
        _draw_sweep(left, right, sweep, styles, error)
    handles = [Line2D([], [], **style.point, markersize=8, label=style.label) for style in styles.values()]
    theme.legend_below(figure, [*handles, *theme.uninformed_handles()])
    return figure


def sweeps(attacks: pd.DataFrame) -> list[Sweep]:
    """What can be compared: gradients of 1, 2, ... images, and 1, 2, ... local steps over equally many images."""
    found = []
    for (*checkpoint, attack), rows in attacks.groupby(CHECKPOINT):
        title = f"{attack} · " + " · ".join(map(str, checkpoint[:3])) + f" · round {checkpoint[3]}"
        gradients = rows[rows["local_steps"] == 1]
        if gradients["images_per_update"].nunique() > 1:
            found.append(Sweep(title, "images_per_update", "images an update (one gradient of all)", gradients))
        for images, alike in rows.groupby("images_per_update"):
            if alike["local_steps"].nunique() > 1:
                label = f"local steps over {images} image{'s' if images > 1 else ''}"
                found.append(Sweep(title, "local_steps", label, alike))
    return found


def _draw_sweep(left: Axes, right: Axes, sweep: Sweep, styles: dict[str, theme.Style], error: str) -> None:
    values = sorted(sweep.rows[sweep.axis].unique())
    defenses = [name for name in styles if name in set(sweep.rows["defense"])]
    levels = [converged(sweep.rows)[error], *(chosen(sweep.rows)[f"{guess}_{error}"] for guess in theme.LINE_OF)]
    for name, shift in zip(defenses, theme.side_by_side(len(defenses)), strict=True):
        cells = [sweep.rows[(sweep.rows["defense"] == name) & (sweep.rows[sweep.axis] == one)] for one in values]
        places = [place + shift for place in range(len(values))]
        usable, targets = [converged(cell) for cell in cells], [chosen(cell) for cell in cells]
        errors = [median_interval(rows[error], groups=updates_of(rows)) for rows in usable]
        shares = [share_interval(rows["recovered"], groups=updates_of(rows)) for rows in targets]
        theme.join_estimates(left, places, errors, styles[name])
        theme.join_estimates(right, places, shares, styles[name])
    theme.error_scale([left], pd.concat(levels))
    theme.uninformed_baseline(left, chosen(sweep.rows), error)
    left.set(ylabel=f"{ERROR_NAMES[error]}\nup: better for the client")
    right.set(ylabel="share of targets recovered", ylim=(-0.04, 1.04))
    left.set_title(sweep.title)
    right.set_title(counts_text(sweep.rows))
    for ax in (left, right):
        theme.places_axis(ax, values, sweep.label)


def counts_text(rows: pd.DataFrame) -> str:
    """How many targets stand behind each marker of a panel, and how many of all diverged.

    >>> few = {"is_best_restart": True, "diverged": [True, False], "defense": "none"}
    >>> counts_text(pd.DataFrame(few | {"images_per_update": 1, "local_steps": 1}))
    'n = 2; 1 of 2 diverged'
    """
    targets = chosen(rows)
    sizes = targets.groupby(["defense", "images_per_update", "local_steps"]).size()
    counts = "–".join(map(str, sorted({sizes.min(), sizes.max()})))
    lost = int(targets["diverged"].sum())
    return f"n = {counts}" + (f"; {lost} of {len(targets)} diverged" if lost else "")
