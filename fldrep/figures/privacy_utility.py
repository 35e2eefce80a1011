"""What attacks get from each defense, against what the defense costs in accuracy."""

from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fldrep import registry
from fldrep.analysis.accuracy import OF_RUNS, accuracy_of_runs
from fldrep.analysis.cells import summarise
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL
from fldrep.analysis.rows import CELL, ERROR, ERROR_NAMES, SETTING, chosen, rows_where
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.words import setting_text
from fldrep.figures import theme

COLUMNS = 2
TITLE_CHARACTERS = 60  # in a line over one panel
SIZE, RING = 8.5, 13.5  # of a marker, and of the ring around one


@registry.figure(
    "privacy_utility",
    title="Privacy against utility",
    caption="One panel a setting, all attackers in it; down is better for the attacker. A mark is the median MSE of "
    "the reconstructions over the attacked images, on pixels clamped to the valid range (as an attacker can clamp at "
    "no cost). Filled: the attack that found most images under this defense, with its 95 % bootstrap interval over "
    "targets, from 8 on. Hollow, joined to it: the published attack that found most, where it is another. Small dots: "
    "all other attacks. A ring marks an attack that certified images. Right is the test "
    "accuracy of the same training run after its last round, the thin bar its range over seeds; where the model was "
    "not trained the defenses stand side by side instead. In the shaded region the attacker is no better than one who "
    "answers with a grey image or the mean image of the class, so no defense is credited beyond its edge. Diverged "
    "attacks are left out of the median; how many they are stands above the panel. A large error says that these "
    "attacks do not find the image, not that the update hides it: the verdicts tell the two apart. Settings in which "
    "no defense was attacked are left out where others are.",
    reads=("attacks", "training"),
    needs=(),
    order=10,
)
@theme.themed
def draw(attacks: pd.DataFrame, training: pd.DataFrame, error: str = ERROR) -> Figure:
    """One panel an attacked setting.

    Args: tables `tables.attacks` and `tables.training`; error: which of `rows.ERROR_NAMES` is shown.
    """
    if attacks.empty:
        return theme.message_figure("No attack was run.")
    cells, styles = marks(attacks, training, error), theme.defense_styles(attacks)
    defended = cells.groupby(SETTING)["method"].transform(lambda methods: (methods != "none").any())
    panels = list(cells[defended if defended.any() else slice(None)].groupby(SETTING))
    figure, axes = theme.panel_grid(len(panels), COLUMNS, width=5.4, height=3.7)
    for ax, (setting, panel) in zip(axes, panels, strict=True):
        _draw_panel(ax, panel, rows_where(attacks, SETTING, setting), styles, error)
        ax.set_title(f"{fill(setting_text(setting), TITLE_CHARACTERS)}\n{targets_text(panel)}")
    theme.legend_below(figure, _handles(styles, cells))
    return figure


def marks(attacks: pd.DataFrame, training: pd.DataFrame, error: str = ERROR) -> pd.DataFrame:
    """One row an attack on a defense, as `cells.summarise` has it, with what a panel shows of it besides.

    Columns besides: `found`, `certified`, `strongest` and `strongest_published` of `strongest.attack_outcomes`, empty
    where an attack refused every target; those of `accuracy.accuracy_of_runs`, empty where nothing was trained.
    """
    outcomes = attack_outcomes(attacks, error)[[*CELL, "found", "certified", "strongest", "strongest_published"]]
    told = summarise(attacks, error).merge(outcomes, how="left", on=CELL)
    told = told.fillna({"certified": 0, "found": 0}).astype({"certified": int, "found": int})
    for column in ("strongest", "strongest_published"):
        told[column] = told[column].eq(True)
    return told.merge(accuracy_of_runs(training), how="left", on=OF_RUNS)


def targets_text(cells: pd.DataFrame) -> str:
    """How many targets stand behind each marker, and how many of them diverged.

    >>> targets_text(pd.DataFrame({"targets": [20, 20], "diverged": [0, 3]}))
    'n = 20 (0–3 diverged)'
    """
    targets, diverged = ("–".join(map(str, sorted({min(c), max(c)}))) for c in (cells["targets"], cells["diverged"]))
    return f"n = {targets}" + (f" ({diverged} diverged)" if cells["diverged"].any() else "")


def _draw_panel(ax: Axes, panel: pd.DataFrame, rows: pd.DataFrame, styles: dict[str, theme.Style], error: str) -> None:
    trained = panel["accuracy"].notna().all()
    defenses = [name for name in styles if name in set(panel["defense"])]
    theme.error_scale([ax], pd.concat([panel[column] for column in ("error", "low", "high", *theme.LINE_OF)]))
    for place, defense in enumerate(defenses):
        own = panel[panel["defense"] == defense]
        _draw_defense(ax, own, own["accuracy"].iloc[0] if trained else place, styles[defense])
        if trained:
            _draw_range(ax, own, styles[defense])
    if trained:
        rounds = sorted({int(one) for one in panel["rounds"]})
        ax.set_xlabel(f"test accuracy of the same run after round {', '.join(map(str, rounds))}")
        ax.margins(x=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(5))
    else:
        live = panel.groupby("defense")["live_pruned"].median()
        names = [_tick(defense, live[defense]) for defense in defenses]
        ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.grid(False, axis="x")
        ax.set_xlabel("model not trained: no accuracy to show")
    ax.set_ylabel(f"{ERROR_NAMES[error]}\nup: better for the client")
    theme.uninformed_baseline(ax, chosen(rows), error)


def _draw_defense(ax: Axes, own: pd.DataFrame, x: float, style: theme.Style) -> None:
    """The attacks on one defense above one place: others, published, strongest, from the back to the front."""
    usable = own[own["n"] > 0]
    if usable.empty:
        ax.plot(x, 0.04, "x", color=style.colour, transform=ax.get_xaxis_transform(), markersize=7)
        return
    others = usable[~usable["strongest"] & ~usable["strongest_published"]]
    ax.plot([x] * len(others), others["error"], ".", color=style.colour, alpha=0.6, markersize=5)
    for error in usable.loc[usable["certified"] > 0, "error"]:
        ax.plot(x, error, "o", markersize=RING, markerfacecolor="none", markeredgecolor=theme.INK, zorder=2.8)
    both = usable[usable["strongest"] | usable["strongest_published"]].sort_values("strongest")
    if len(both) == 2:
        ax.plot([x, x], both["error"], color=style.colour, linewidth=0.9, linestyle=":", zorder=2)
    for cell in both.itertuples():
        if cell.strongest and cell.n >= LEAST_FOR_INTERVAL:
            ax.vlines(x, cell.low, cell.high, color=style.colour, linewidth=1.6, zorder=2.5)
        ax.plot(x, cell.error, **(style.point if cell.strongest else style.hollow), markersize=SIZE, zorder=3)


def _draw_range(ax: Axes, own: pd.DataFrame, style: theme.Style) -> None:
    """The range of accuracies over seeds, at the level of the strongest attack."""
    for cell in own[own["strongest"]].itertuples():
        ax.hlines(cell.error, cell.accuracy_low, cell.accuracy_high, color=style.colour, linewidth=1)


def _tick(defense: str, live_pruned: float) -> str:
    live = theme.strength_text(None, None, live_pruned)
    return f"{defense} ({live})" if live else defense


def _handles(styles: dict[str, theme.Style], cells: pd.DataFrame) -> list:
    """Legend entries: the defenses, and what filled, hollow, ringed and small marks are, where there are some."""
    grey = {"color": (0.4, 0.4, 0.4), "linestyle": "none"}
    handles = [Line2D([], [], **style.point, markersize=8, label=style.label) for style in styles.values()]
    handles.append(Line2D([], [], **grey, marker="o", markersize=SIZE, label="filled: strongest attack"))
    if (cells["strongest_published"] & ~cells["strongest"]).any():
        hollow = {"marker": "o", "markerfacecolor": "white", "markeredgewidth": 1.4, "markersize": SIZE}
        handles.append(Line2D([], [], **grey, **hollow, label="hollow: best published attack"))
    if (~cells["strongest_published"] & ~cells["strongest"] & (cells["n"] > 0)).any():
        handles.append(Line2D([], [], **grey, marker=".", markersize=6, label="small: another attack"))
    if (cells["certified"] > 0).any():
        ring = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": theme.INK, "markersize": RING}
        handles.append(Line2D([], [], linestyle="none", **ring, label="ring: images certified"))
    if (cells.groupby([*SETTING, "defense"])["n"].max() == 0).any():
        handles.append(Line2D([], [], **grey, marker="x", label="all targets diverged"))
    return [*handles, *theme.uninformed_handles()]
