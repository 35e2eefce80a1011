"""What the attacker sees: attacked images, and what the published and the strongest attack make of each defense."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fldrep import registry
from fldrep.analysis.rows import SETTING, chosen
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.words import setting_text
from fldrep.errors import DataError
from fldrep.figures import theme
from fldrep.storage.gallery import gallery_key, original_key

THUMB, GAP, MARGIN = 1.0, 0.24, 0.26  # inches: a picture, the space beside it, the figure's edge
TITLE, LINE, TEXT = 0.28, 0.135, 0.36  # inches: a band's title, a line of its column heads, the words under a picture
HEAD_WIDTH = 18  # characters
MOST_COLUMNS = 9  # beside the original; more continue in another band
TARGETS, MANY_BANDS = 2, 10
NOTE = 0.26  # inches: the line above the first band
LEGEND = "MSE: normalised | pixels, clamped to [0, 1]      * no better than grey or class mean (pixels)"
DIVERGED = "#c0392b"


@dataclass(frozen=True)
class Band:
    """Pictures under one title: rows of `table` by target, a column with its head a defense and an attack on it."""

    title: str
    columns: dict[tuple[str, str], str]
    table: pd.DataFrame
    targets: list[int]

    @property
    def head(self) -> float:
        """Inches from the upper edge to the first row of pictures."""
        return TITLE + LINE * max(text.count("\n") + 1 for text in self.columns.values()) + 0.05

    @property
    def height(self) -> float:
        """Inches."""
        return self.head + len(self.targets) * (THUMB + TEXT) + 0.08


@registry.figure(
    "reconstructions",
    title="What the attacker sees",
    caption="Attacked images and what attacks make of them under each defense: the published attack that found most "
    "images there, and the strongest, where it is another. The first targets of the first seed, not a selection; an "
    "attack that was run on fewer has no picture of the others. Under each reconstruction stand its MSE in normalised "
    "space, its MSE on pixels clamped to the valid range, and the share of live features that was pruned from this "
    "very update, above it the nominal rate. Under each original stand the errors of two attackers who know nothing of "
    "the update, one answering with a grey image, one with the mean image of the class; a star marks a reconstruction "
    "that is no better than these on clamped pixels. A red frame marks an attack that diverged. The normalised MSE is "
    "not clamped, the display is: without a box constraint a readable image can have a large one.",
    reads=("attacks", "gallery"),
    needs=(),
    order=20,
)
@theme.themed
def draw(attacks: pd.DataFrame, images: Mapping[str, np.ndarray], targets: int | None = None) -> Figure:
    """A band an attacked setting, a row a target, a column a defense and attack.

    Args: attacks: table `tables.attacks`; images: pixels (C, H, W) by the names of `storage.gallery`; targets: images
    a band shows (2, or 1 where there are many bands).
    Errors: `DataError` where a chosen reconstruction or its original is not among the images.
    """
    rows = chosen(attacks[attacks["seed"] == attacks["seed"].min()])
    rows = rows.loc[[original_key(row) in images for row in rows.itertuples()]]
    groups = list(rows.groupby(SETTING))
    if not groups:
        return theme.message_figure("No reconstruction was kept.")
    shown = targets or (TARGETS if len(groups) <= MANY_BANDS else 1)
    bands = [band for key, group in groups for band in _bands(key, group, shown)]
    columns = 1 + max(len(band.columns) for band in bands)
    height = NOTE + sum(band.height for band in bands)
    figure = Figure(figsize=(max(2 * MARGIN + columns * (THUMB + GAP), theme.LEAST_WIDTH), height), layout="none")
    _write(figure, MARGIN, height - NOTE / 2, LEGEND, fontsize=7.5, ha="left", color=theme.GREY)
    top = height - NOTE
    for band in bands:
        _draw_band(figure, band, top, images)
        top -= band.height
    return figure


def _bands(setting: tuple, group: pd.DataFrame, targets: int) -> list[Band]:
    columns = list(_columns(group).items())
    first = sorted(group["target"].unique())[:targets]
    rows = group[group["target"].isin(first)]
    return [
        Band(
            setting_text(setting) + (" (continued)" if start else ""),
            dict(columns[start : start + MOST_COLUMNS]),
            rows,
            first,
        )
        for start in range(0, len(columns), MOST_COLUMNS)
    ]


def _columns(group: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Heads by defense and attack: its name, its nominal rate or std and the attack under it, published ones first."""
    outcomes = attack_outcomes(group)
    picked = outcomes[outcomes["strongest"] | outcomes["strongest_published"]]
    heads = {}
    for defense, own in picked.groupby("defense", sort=False):
        for row in own.sort_values("strongest").itertuples():
            strength = theme.strength_text(row.rate, row.std, None)
            words = [*textwrap.wrap(defense, HEAD_WIDTH), strength, *textwrap.wrap(f"by {row.attack}", HEAD_WIDTH)]
            heads[(defense, row.attack)] = "\n".join(filter(None, words))
    return heads


def _draw_band(figure: Figure, band: Band, top: float, images: Mapping[str, np.ndarray]) -> None:
    """Draw a band whose upper edge lies `top` inches above the figure's lower edge."""
    _write(figure, MARGIN, top - 0.12, band.title, fontsize=9.5, weight="bold", ha="left")
    for column, head in enumerate(["original", *band.columns.values()]):
        _write(figure, _left(column) + THUMB / 2, top - band.head + 0.04, head, fontsize=7.5, va="bottom")
    for number, target in enumerate(band.targets):
        floor = top - band.head - number * (THUMB + TEXT) - THUMB
        rows = band.table[band.table["target"] == target]
        _write(figure, MARGIN / 2, floor + THUMB / 2, f"target {target}", fontsize=7, rotation=90)
        _draw_original(figure, next(rows.itertuples()), floor, images)
        for column, (defense, attack) in enumerate(band.columns, start=1):
            for row in rows[(rows["defense"] == defense) & (rows["attack"] == attack)].itertuples():
                _draw_reconstruction(figure, row, column, floor, images)


def _draw_original(figure: Figure, row, floor: float, images: Mapping[str, np.ndarray]) -> None:
    _show(_axes(figure, 0, floor), _pixels(images, original_key(row)))
    grey = both_errors(row.grey_mse, row.grey_mse_pixel)
    class_mean = both_errors(row.class_mean_mse, row.class_mean_mse_pixel)
    words = f"grey {grey}\nclass {class_mean}"
    _write(figure, _left(0) + THUMB / 2, floor - 0.03, words, fontsize=7, va="top")


def _draw_reconstruction(figure: Figure, row, column: int, floor: float, images: Mapping[str, np.ndarray]) -> None:
    ax = _axes(figure, column, floor)
    _show(ax, _pixels(images, gallery_key(row)))
    words = "diverged" if row.diverged else error_text(row)
    live = theme.strength_text(None, None, row.live_pruned)
    if row.diverged:
        for spine in ax.spines.values():
            spine.set(edgecolor=DIVERGED, linewidth=2)
    colour = DIVERGED if row.diverged else "black"
    _write(figure, _left(column) + THUMB / 2, floor - 0.03, f"{words}\n{live}", fontsize=7, va="top", color=colour)


def error_text(row) -> str:
    """Both errors of a reconstruction, starred where knowing nothing does as well on clamped pixels."""
    known = min(row.grey_mse_pixel, row.class_mean_mse_pixel)
    return f"MSE {both_errors(row.mse, row.mse_pixel)}" + (" *" if row.mse_pixel >= known else "")


def both_errors(mse: float, mse_pixel: float) -> str:
    """The normalised MSE and that of clamped pixels, in so few characters that they fit under a picture.

    >>> both_errors(0.5641, 0.0334), both_errors(1.09e8, 0.00001)
    ('0.564 | 0.033', '1e+08 | 1e-05')
    """
    texts = (f"{x:.{digits}g}" if 1e-3 <= x < 1e4 else f"{x:.0e}" for x, digits in ((mse, 3), (mse_pixel, 2)))
    return " | ".join(texts)


def _left(column: int) -> float:
    return MARGIN + column * (THUMB + GAP)


def _axes(figure: Figure, column: int, floor: float) -> Axes:
    """Axes for one picture whose lower left corner is given in inches."""
    width, height = figure.get_size_inches()
    ax = figure.add_axes((_left(column) / width, floor / height, THUMB / width, THUMB / height))
    ax.set(xticks=[], yticks=[])
    return ax


def _write(figure: Figure, x: float, y: float, text: str, **style) -> None:
    """Text at a place given in inches."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, **{"ha": "center", "va": "center", "linespacing": 1.15, **style})


def _show(ax: Axes, pixels: np.ndarray) -> None:
    ax.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    ax.grid(False)


def _pixels(images: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Pixels (H, W, C) for display, clamped to [0, 1]; what is not a number is black."""
    if name not in images:
        raise DataError(f"the gallery holds no picture {name!r}")
    pixels = np.nan_to_num(np.asarray(images[name], dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return pixels.clip(0, 1).transpose(1, 2, 0)
