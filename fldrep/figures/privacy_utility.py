"""What an attack gets from each defense, against what the defense costs in accuracy."""

from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fldrep import registry
from fldrep.analysis.cells import summarise
from fldrep.analysis.families import is_adaptive, undefended
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL
from fldrep.analysis.rows import ERROR, ERROR_NAMES, SETTING, chosen, converged, last_rounds, rows_where
from fldrep.analysis.words import setting_text
from fldrep.figures import theme

COLUMNS = 3
TITLE_CHARACTERS = 44  # in a line over one panel
ACCURACY = ["dataset", "model", "partition", "defense"]


@registry.figure(
    "privacy_utility",
    title="Privacy against utility",
    caption="Up is what an attacker misses: the median MSE of the reconstructions over the attacked images, on "
    "pixels clamped to the valid range (as an attacker can clamp at no cost), with its 95 % bootstrap interval over "
    "targets; with fewer than 8 targets each one is a small point and there is no interval. Right is the test "
    "accuracy of the same training run after its last round, the thin bar its range over seeds; where the model was "
    "not trained the defenses stand side by side instead. In the shaded region the attacker is no better than one who "
    "answers with a grey image or the mean image of the class, so no defense is credited beyond its edge. Diverged "
    "attacks are left out of the median and make its marker hollow, since a diverged attack is not a protected "
    "client; how many they are stands above the panel. A large error says that this attack does not find the image, "
    "not that the update hides it: the verdicts tell the two apart.",
    reads=("attacks", "training"),
    needs=(),
    order=10,
)
@theme.themed
def draw(attacks: pd.DataFrame, training: pd.DataFrame, error: str = ERROR) -> Figure:
    """One panel an attacked checkpoint and attack.

    Args: tables `tables.attacks` and `tables.training`; error: which of `rows.ERROR_NAMES` is shown.
    """
    if attacks.empty:
        return theme.message_figure("No attack was run.")
    cells, styles, accuracy = summarise(attacks, error), theme.defense_styles(attacks), accuracy_of_runs(training)
    panels = list(cells.groupby([*SETTING, "attack"], sort=False))
    figure, axes = theme.panel_grid(len(panels), COLUMNS, width=3.9, height=3.5)
    for ax, ((*setting, attack), panel) in zip(axes, panels, strict=True):
        rows = rows_where(attacks, SETTING, setting)
        panel = panel.merge(accuracy, how="left", on=ACCURACY)
        _scale(ax, rows_where(cells, SETTING, setting), rows, error)
        _draw_panel(ax, panel, rows[rows["attack"] == attack], styles, error)
        _draw_undefended(ax, panel, undefended(rows, attack), error)
        ax.set_title(f"{attack}, {targets_text(panel)}\n{fill(setting_text(setting), TITLE_CHARACTERS)}")
    theme.legend_below(figure, _handles(styles, cells))
    return figure


def accuracy_of_runs(training: pd.DataFrame) -> pd.DataFrame:
    """A row a trained run: its last round, and the test accuracy after it: median, least, greatest over seeds."""
    last = last_rounds(training[training["round"] > 0])
    named = {"accuracy": "median", "accuracy_low": "min", "accuracy_high": "max"}
    found = last.groupby(ACCURACY)["test_accuracy"].agg(**named)
    return found.assign(rounds=last.groupby(ACCURACY)["round"].max()).reset_index()


def targets_text(cells: pd.DataFrame) -> str:
    """How many targets stand behind each marker, and how many of them diverged.

    >>> targets_text(pd.DataFrame({"targets": [20, 20], "diverged": [0, 3]}))
    'n = 20 (0–3 diverged)'
    """
    targets, diverged = ("–".join(map(str, sorted({min(c), max(c)}))) for c in (cells["targets"], cells["diverged"]))
    return f"n = {targets}" + (f" ({diverged} diverged)" if cells["diverged"].any() else "")


def _draw_panel(ax: Axes, panel: pd.DataFrame, rows: pd.DataFrame, styles: dict[str, theme.Style], error: str) -> None:
    trained = panel["accuracy"].notna().all()
    for place, cell in enumerate(panel.itertuples()):
        style = styles[cell.defense]
        x = cell.accuracy if trained else place
        if trained:
            ax.hlines(cell.error, cell.accuracy_low, cell.accuracy_high, color=style.colour, linewidth=1)
        if cell.n >= LEAST_FOR_INTERVAL:
            ax.vlines(x, cell.low, cell.high, color=style.colour, linewidth=1.6, zorder=3.5)
        else:
            each = converged(rows[rows["defense"] == cell.defense])[error]
            ax.plot([x] * len(each), each, ".", color=style.colour, alpha=0.55, markersize=5)
        if cell.n:
            ax.plot(x, cell.error, **(style.hollow if cell.diverged else style.point), markersize=9, zorder=3)
        else:
            ax.plot(x, 0.04, "x", color=style.colour, transform=ax.get_xaxis_transform(), markersize=7)
    if trained:
        rounds = sorted({int(one) for one in panel["rounds"]})
        ax.set_xlabel(f"test accuracy of the same run after round {', '.join(map(str, rounds))}")
        ax.margins(x=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(5))
    else:
        names = [_tick(cell, styles) for cell in panel.itertuples()]
        ax.set_xticks(range(len(panel)), names, rotation=40, ha="right", rotation_mode="anchor")
        ax.set_xlim(-0.6, len(panel) - 0.4)
        ax.grid(False, axis="x")
        ax.set_xlabel("model not trained: no accuracy to show")
    ax.set_ylabel(f"{ERROR_NAMES[error]}\nup: better for the client")
    theme.uninformed_baseline(ax, chosen(rows), error)


def _scale(ax: Axes, cells: pd.DataFrame, rows: pd.DataFrame, error: str) -> None:
    """Limits that hold every point, interval and uninformed baseline of a setting: its attacks can be compared."""
    levels = [cells[column] for column in ("error", "low", "high", *theme.LINE_OF)]
    few = cells[cells["n"] < LEAST_FOR_INTERVAL][["attack", "defense"]]
    theme.error_scale([ax], pd.concat([*levels, converged(rows.merge(few))[error]]))


def _draw_undefended(ax: Axes, panel: pd.DataFrame, plain: pd.DataFrame, error: str) -> None:
    """The undefended client's level where the attack itself was not run on it."""
    if (panel["method"] == "none").any() or converged(plain).empty:
        return
    ax.axhline(converged(plain)[error].median(), color=theme.INK, linewidth=1.1, zorder=1.6)


def _tick(cell, styles: dict[str, theme.Style]) -> str:
    live = theme.strength_text(None, None, cell.live_pruned)
    return f"{cell.defense} ({live})" if live else cell.defense


def _handles(styles: dict[str, theme.Style], cells: pd.DataFrame) -> list:
    """Legend entries, those of divergence and of the undefended level where there is some to show."""
    grey, ink = {"color": (0.4, 0.4, 0.4), "linestyle": "none"}, theme.INK
    handles = [Line2D([], [], **style.point, markersize=8, label=style.label) for style in styles.values()]
    if ((cells["diverged"] > 0) & (cells["n"] > 0)).any():
        hollow = {"marker": "o", "markerfacecolor": "white", "markeredgewidth": 1.4, "markersize": 8}
        handles.append(Line2D([], [], **grey, **hollow, label="hollow: some targets diverged"))
    if (cells["n"] == 0).any():
        handles.append(Line2D([], [], **grey, marker="x", label="all targets diverged"))
    if is_adaptive(cells).any():
        handles.append(Line2D([], [], color=ink, linewidth=1.1, label="undefended, under the naive attack"))
    return [*handles, *theme.uninformed_handles()]
