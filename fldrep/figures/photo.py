"""One photo under every rule and rate: the reference's own figure, its numbers beside ours."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from fldrep import registry
from fldrep.analysis.families import undefended
from fldrep.analysis.published import PHOTO_MSE
from fldrep.analysis.rows import ERROR_NAMES, SETTING, chosen, rows_where
from fldrep.analysis.styles import MethodStyle, style_of, styles_in
from fldrep.analysis.words import setting_text
from fldrep.config.data import PHOTO
from fldrep.figures import theme

ERROR = "mse"  # the reference's; GS keeps pixels valid, so clamping would change nothing
X_AXES = {"rate": "nominal rate", "live_pruned": "effective rate: share of live features pruned"}


@registry.figure(
    "photo",
    title="The photo of the reference",
    caption="One photo under each rule of Soteria and under compression: the error of the reconstruction by nominal "
    "rate (left) and by the share of live features that was really pruned (right; compression prunes no feature and "
    "has none). Dashed and hollow are the ten numbers that the reference code published for its photo of a car at "
    "24,000 iterations; its Soteria is the rule reference-script. It is one target, so there are points and no "
    "interval; a hollow marker of ours is an attack that diverged, and the black line is the undefended client. In "
    "the shaded region the attacker is no better than one who answers with a grey image or the mean image of the "
    "class, so no defense is credited beyond its edge.",
    reads=("attacks",),
    needs=("photo",),
    order=60,
)
@theme.themed
def draw(attacks: pd.DataFrame) -> Figure:
    """A row of two panels a model, checkpoint and attack: the error by nominal rate, and by effective rate.

    Args: table `tables.attacks`; only the data set `photo` is drawn.
    """
    rows = chosen(attacks[attacks["dataset"] == PHOTO])
    panels = list(rows.groupby([*SETTING, "attack"]))
    if not panels:
        return theme.message_figure("No photo was attacked in this grid.")
    figure, axes = theme.panel_grid(2 * len(panels), 2, width=5.4, height=4.0)
    for number, ((*setting, attack), panel) in enumerate(panels):
        for ax, rate in zip(axes[2 * number : 2 * number + 2], X_AXES, strict=True):
            plain = undefended(rows_where(rows, SETTING, setting), attack)
            _draw_panel(ax, panel, plain, rate)
            ax.set_title(f"{attack}, {panel['iterations'].max()} iterations · {setting_text(setting)}")
    theme.legend_below(figure, _handles(rows))
    return figure


def _draw_panel(ax: Axes, panel: pd.DataFrame, plain: pd.DataFrame, rate: str) -> None:
    published = [error for errors in PHOTO_MSE.values() for error in errors.values()]
    theme.error_scale([ax], pd.concat([panel[ERROR], panel[f"grey_{ERROR}"], pd.Series(published)]))
    for error in plain[ERROR]:
        ax.axhline(error, color=theme.INK, linewidth=1.1, zorder=1.6)
    for (method, rule), rows in _series(panel):
        look = _look(styles_in(panel)[method], rule)
        _draw_series(ax, rows.dropna(subset=[rate]).sort_values(rate), look, rate)
    if rate == "rate":
        for method, errors in PHOTO_MSE.items():
            ax.plot([*errors], [*errors.values()], **_published(method))
    ax.set_xlim(-0.03 if rate == "live_pruned" else 0.37, 0.83)
    theme.uninformed_baseline(ax, panel, ERROR)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.set(xlabel=X_AXES[rate], ylabel=f"{ERROR_NAMES[ERROR]}; up: better for the client")


def _series(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """The points that one line joins: a pruning method and its rule."""
    return list(rows[rows["rate"].notna()].groupby(["method", "rule"], sort=False))


def _draw_series(ax: Axes, rows: pd.DataFrame, look: dict, rate: str) -> None:
    """A line through the medians over seeds, diverged ones left out; a marker each seed, hollow where it diverged."""
    by_rate = rows[~rows["diverged"]].groupby("rate", sort=True)
    ax.plot(by_rate[rate].median(), by_rate[ERROR].median(), color=look["color"], linewidth=1.0)
    for diverged, points in rows.groupby("diverged"):
        ax.plot(points[rate], points[ERROR], **{**look, **({"markerfacecolor": "white"} if diverged else {})})


def _look(method: MethodStyle, rule: str) -> dict:
    marker, colour = method.of_rule(rule)
    return {"color": colour, "marker": marker, "linestyle": "none", "markersize": 6, "markeredgecolor": colour}


def _published(method: str) -> dict:
    """How the reference's own numbers look: the rule's or the method's colour, dashed, hollow."""
    look = _look(style_of(method), "reference-script" if method == "soteria" else "")
    return {**look, "linestyle": "--", "linewidth": 1.0, "markerfacecolor": "none", "alpha": 0.75}


def _handles(rows: pd.DataFrame) -> list:
    styles = styles_in(rows)
    looks = {" · ".join(filter(None, key)): _look(styles[key[0]], key[1]) for key, _ in _series(rows)}
    ours = [Line2D([], [], **{**look, "linestyle": "-", "label": name}) for name, look in looks.items()]
    theirs = [
        Line2D([], [], **_published(method), label=f"{method}, as the reference published") for method in PHOTO_MSE
    ]
    plain = Line2D([], [], color=theme.INK, linewidth=1.1, label="undefended")
    return [*ours, *theirs, plain, *theme.uninformed_handles()]
