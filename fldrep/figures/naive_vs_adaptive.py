"""What is left of each defense when the attack knows of it."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fldrep import registry
from fldrep.analysis.families import family, is_adaptive, naive_counterpart
from fldrep.analysis.rows import ERROR, ERROR_NAMES, PAIR, SETTING, chosen, converged, paired_differences
from fldrep.analysis.words import setting_text
from fldrep.figures import theme

LINE_INCHES = 0.27


@registry.figure(
    "naive_vs_adaptive",
    title="Attacks that know of the defense",
    caption="The same defended updates under an attack that ignores the defense and under attacks that know of it. "
    "Left is the MSE of each attacked image on clamped pixels (points; lines join the attacks on one image), the "
    "median (large marker) and, from 8 targets on, its 95 % bootstrap interval; the black line is the median of the "
    "undefended client under the attack that sees most of it, and in the shaded region the attacker is no better than "
    "one who knows nothing. Right is the paired difference to the naive attack on the same image: left of zero, the "
    "attack that knows of the defense sees more. Diverged attacks are left out, and counted beside each line.",
    reads=("attacks",),
    needs=(),
    order=40,
)
@theme.themed
def draw(attacks: pd.DataFrame, error: str = ERROR) -> Figure:
    """A row of panels a checkpoint attacked both ways: errors, paired differences.

    Args: attacks: table `tables.attacks`; error: which of `rows.ERROR_NAMES` is shown.
    """
    settings = [(key, rows) for key, rows in attacks.groupby(SETTING) if is_adaptive(rows).any()]
    if not settings:
        return theme.message_figure("No adaptive attack was run in this grid.")
    lines = [comparisons(rows) for _, rows in settings]
    heights = [LINE_INCHES * len(one) + 0.95 for one in lines]
    figure = Figure(figsize=(12, sum(heights)))
    grid = figure.subplots(len(settings), 2, squeeze=False, sharey="row", height_ratios=heights, width_ratios=[3, 2])
    styles = theme.defense_styles(attacks)
    for (left, right), (key, rows), compared in zip(grid, settings, lines, strict=True):
        _draw_errors(left, rows, compared, styles, error)
        _draw_differences(right, rows, compared, styles, error)
        left.set_title(setting_text(key))
    theme.legend_below(figure, _handles())
    return figure


def comparisons(setting: pd.DataFrame) -> pd.DataFrame:
    """The lines of a panel, from the top: defense, attack, and the naive attack it is paired with.

    `naive` is empty for a naive attack itself. Only families with an adaptive attack are shown; a defense that was
    attacked only naively keeps its line.
    """
    each = setting.drop_duplicates("attack").set_index("attack")
    adaptive, families = is_adaptive(each), family(each)
    compared = set(families[adaptive])
    lines = []
    for name in theme.defense_styles(setting):
        rows = setting[setting["defense"] == name]
        shown = [one for one in rows["attack"].unique() if families[one] in compared]
        for attack in sorted(shown, key=lambda one: (adaptive[one], one)):
            naive = (naive_counterpart(rows, attack) or "") if adaptive[attack] else ""
            lines.append({"defense": name, "attack": attack, "naive": naive})
    return pd.DataFrame(lines)


def _cell(rows: pd.DataFrame, line) -> pd.DataFrame:
    return rows[(rows["defense"] == line.defense) & (rows["attack"] == line.attack)]


def _draw_errors(
    ax: Axes, rows: pd.DataFrame, compared: pd.DataFrame, styles: dict[str, theme.Style], error: str
) -> None:
    shown = rows[rows["attack"].isin(compared["attack"])]
    levels = [chosen(shown)[f"{guess}_{error}"] for guess in theme.LINE_OF]
    theme.error_scale([ax], pd.concat([converged(shown)[error], *levels]), "x")
    for name, lines in compared.groupby("defense", sort=False):
        _join_targets(ax, rows, lines, styles[name], error)
    for line in compared.itertuples():
        cell = _cell(rows, line)
        theme.estimate_line(ax, converged(cell)[error], line.Index, styles[line.defense])
        theme.note_beside(ax, line.Index, count_text(len(chosen(cell)), len(converged(cell))))
    plain = converged(shown[shown["method"] == "none"]).groupby("attack")[error].median()
    if len(plain):
        ax.axvline(plain.min(), color=theme.INK, linewidth=1.1, zorder=1.6)
    theme.uninformed_baseline(ax, chosen(shown), error, horizontal=False)
    theme.name_lines(ax, compared)
    ax.set_xlabel(f"{ERROR_NAMES[error]}; right: better for the client")


def _join_targets(ax: Axes, rows: pd.DataFrame, lines: pd.DataFrame, style: theme.Style, error: str) -> None:
    """Thin lines from attack to attack, one a target."""
    errors = {line.Index: converged(_cell(rows, line)).set_index(PAIR)[error] for line in lines.itertuples()}
    for _, target in pd.DataFrame(errors).iterrows():
        known = target.dropna()
        ax.plot(known.to_numpy(), list(known.index), color=style.colour, linewidth=0.6, alpha=0.35, zorder=1.7)


def _draw_differences(
    ax: Axes, rows: pd.DataFrame, compared: pd.DataFrame, styles: dict[str, theme.Style], error: str
) -> None:
    adapted = set(compared.loc[compared["naive"] != "", "defense"])
    for line in compared.itertuples():
        if line.naive:
            naive = rows[(rows["defense"] == line.defense) & (rows["attack"] == line.naive)]
            differences = paired_differences(_cell(rows, line), naive, error)
            theme.estimate_line(ax, differences, line.Index, styles[line.defense])
            theme.note_beside(ax, line.Index, f"n = {len(differences)}")
        elif line.defense not in adapted and line.defense != "none":
            theme.note_beside(ax, line.Index, "no adaptive attack")
    ax.axvline(0, color=theme.INK, linewidth=1.1)
    ax.margins(x=0.08)
    ax.tick_params(labelleft=False)
    ax.grid(False, axis="y")
    ax.set_xlabel("paired difference to the naive attack;\nleft: the adaptive attack sees more")


def count_text(targets: int, usable: int) -> str:
    """How many targets a line stands for, and how many of them diverged.

    >>> count_text(20, 18), count_text(3, 3)
    ('n = 18 + 2 diverged', 'n = 3')
    """
    return f"n = {usable}" + (f" + {targets - usable} diverged" if usable < targets else "")


def _handles() -> list:
    naive = Line2D([], [], color=theme.INK, linewidth=1.1, label="undefended, median of the attack that sees most")
    return [naive, *theme.uninformed_handles()]
