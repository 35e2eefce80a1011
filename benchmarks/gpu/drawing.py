"""The figure of a folder of evidence: speed, the reference's figure, CIFAR-10, and what was found of the photo."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.gpu.inner import CIFAR10, FIGURE, MEASURED, PHOTO, PICTURES, SPEED, atomic_write, read_tensors

MODES = {"loop": "#999999", "eager": "#0173b2", "compiled": "#de8f05", "graphs": "#029e73"}
METHODS = {"none": "#333333", "soteria": "#d55e00", "compression": "#0173b2"}
WORDS = {"lenet": "LeNet", "gs": "GS", "dlg": "DLG", "none": "undefended", "soteria": "Soteria"}


def possible() -> bool:
    """Whether this machine can draw."""
    return find_spec("matplotlib") is not None


def draw(folder: Path) -> Path:
    """Write evidence.png from what the folder's tables hold. Errors: `DataError` for a table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = {table.name: _measured(table.read(folder / f"{table.name}.parquet")) for table in (SPEED, PHOTO, CIFAR10)}
    figure = Figure(figsize=(12.5, 12), layout="constrained")
    upper, middle, lower = figure.subfigures(3, 1, height_ratios=[1, 1.1, 0.75])
    _speed(upper, tables["speed"])
    left, right = middle.subplots(1, 2)
    _photo(left, tables["photo"])
    _cifar10(right, tables["cifar10"])
    _pictures(lower, folder / PICTURES, tables["photo"])
    with atomic_write(folder / FIGURE) as beside:
        FigureCanvasAgg(figure).print_png(beside, metadata={"Software": None})
    return folder / FIGURE


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == MEASURED]


def _word(name: str) -> str:
    return WORDS.get(name, name.replace("convnet", "ConvNet"))


def _nothing(ax) -> None:
    ax.text(0.5, 0.5, "not measured", ha="center", va="center", transform=ax.transAxes, color="#777777")
    ax.set(xticks=[], yticks=[])


def _speed(figure, rows: pd.DataFrame) -> None:
    """A panel an attack and network: target-steps a second by the number of targets."""
    figure.suptitle("Steps a second, summed over the targets attacked at once")
    panels = list(rows.groupby(["attack", "network"], sort=False))
    for ax, ((attack, network), panel) in zip(
        np.ravel(figure.subplots(1, max(1, len(panels)), squeeze=False)), panels or [(("", ""), rows)], strict=True
    ):
        ax.set_title(f"{_word(attack)} · {_word(network)}", fontsize=10)
        if panel.empty:
            _nothing(ax)
            continue
        for mode, lines in panel.groupby("mode"):
            if mode == "loop":
                ax.axhline(lines["target_steps_per_s"].iloc[0], color=MODES[mode], linestyle="--", label="loop")
                continue
            lines = lines.sort_values("targets")
            ax.plot(lines["targets"], lines["target_steps_per_s"], "o-", color=MODES[mode], label=mode)
        ax.set(xscale="log", yscale="log", xlabel="targets")
        _plain_ticks(ax, sorted(panel.loc[panel["mode"] != "loop", "targets"].unique()))
        ax.legend(fontsize=7.5, frameon=False)


def _plain_ticks(ax, counts: list[int]) -> None:
    """Numbers as one writes them on both logarithmic axes, the counts of targets on the first."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _photo(ax, rows: pd.DataFrame) -> None:
    """The error by nominal rate, with the reference's own, the undefended one and what grey scores."""
    if rows.empty:
        _nothing(ax)
        return
    rows = rows[rows["iterations"] == rows["iterations"].max()]
    ax.set_title(
        f"The photo, {_word(rows['network'].iloc[0])}, GS, {rows['iterations'].iloc[0]} iterations", fontsize=10
    )
    for method, lines in rows[rows["rate"].notna()].groupby("method", sort=False):
        colour = METHODS[method]
        ax.plot(lines["rate"], lines["mse"], "o-", color=colour, label=f"{_word(method)}, here")
        ax.plot(
            lines["rate"], lines["reference_mse"], "s--", color=colour, mfc="none", label=f"{_word(method)}, reference"
        )
    for level in rows.loc[rows["method"] == "none", "mse"]:
        ax.axhline(level, color=METHODS["none"], linewidth=1, label="undefended, here")
    ax.axhline(rows["grey_mse"].iloc[0], color="#777777", linestyle=":", label="a grey image: no information")
    ax.set(xlabel="nominal rate", ylabel="MSE, normalised", ylim=(0, None))
    ax.legend(fontsize=7.5, frameon=False)


def _cifar10(ax, rows: pd.DataFrame) -> None:
    """Median error, and each target's, of each attack and defense, untrained and trained."""
    if rows.empty:
        _nothing(ax)
        return
    rounds = sorted(rows["round"].unique())
    ax.set_title(
        f"CIFAR-10, {_word(rows['network'].iloc[0])}, {rows['iterations'].max():.0f} iterations, "
        f"{rows['target'].nunique()} targets",
        fontsize=10,
    )
    cells = list(rows.groupby(["attack", "method", "rate"], sort=False, dropna=False))
    for place, ((_, method, _), cell) in enumerate(cells):
        for shift, round in zip(np.linspace(-0.17, 0.17, len(rounds)), rounds, strict=True):
            errors = cell.loc[cell["round"] == round, "mse"].dropna()
            ax.plot(np.full(len(errors), place + shift), errors, ".", color=METHODS[method], alpha=0.35)
            ax.plot(place + shift, errors.median(), "o", color=METHODS[method], mfc="none" if round == 0 else None)
    ax.axhline(rows["grey_mse"].median(), color="#777777", linestyle=":")
    ax.text(1.0, rows["grey_mse"].median(), " grey", transform=ax.get_yaxis_transform(), va="center", fontsize=7.5)
    names = [
        f"{_word(method)}{'' if pd.isna(rate) else f' {rate:.0%}'}\n{_word(attack)}"
        for (attack, method, rate), _ in cells
    ]
    ax.set_xticks(range(len(cells)), names, fontsize=7.5)
    accuracy = rows.groupby("round")["test_accuracy"].first()
    told = ", ".join(f"round {round:.0f}: {accuracy[round]:.0%}" for round in rounds)
    ax.set(ylabel="MSE, normalised", ylim=(0, None), xlabel=f"hollow: untrained, full: trained; accuracy: {told}")


def _pictures(figure, path: Path, rows: pd.DataFrame) -> None:
    """The photo and its reconstructions."""
    figure.suptitle("The photo, and what GS found of it")
    if rows.empty or not path.exists():
        _nothing(figure.subplots())
        return
    rows = rows[rows["iterations"] == rows["iterations"].max()]
    images = read_tensors(path, ["photo"])["photo"].permute(0, 2, 3, 1).numpy()
    grid = figure.subplots(2, 6)
    names = ["the photo"] + [
        _word(row.method) + ("" if pd.isna(row.rate) else f" {row.rate:.0%}") for row in rows.itertuples()
    ]
    # the photo above the undefended, then a row a method
    for ax, number in zip(grid.ravel(), [0, 2, 3, 4, 5, 6, 1, 7, 8, 9, 10, 11], strict=True):
        ax.imshow(images[number])
        ax.set_title(names[number], fontsize=8)
        ax.set_axis_off()
