"""Figures: each is a file with a pure function under `@figure` that takes tables and returns a matplotlib figure.

What a decorator says of a figure: its `title` and `caption`, the tables it `reads` in the order of the function, what a
config `needs` to have for it (words of `plan.has`), and its place in the `order` of the page. These words are read
without importing the file, so that a caller who only wants names pays for no plotting library. Nothing here imports
torch.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fldrep import registry
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, named
from fldrep.plan.has import features_of


def figures_of(config: Config) -> list[str]:
    """The figures that a config has something to draw for, in the order of the page."""
    has = features_of(config)
    return [name for name, entry in registry.in_order("figure").items() if has.issuperset(entry.words["needs"])]


def render(name: str, inputs: Mapping[str, Path | None], out_png: Path | str) -> None:
    """Draw one figure from files and write it as PNG; equal inputs give equal bytes.

    Args: inputs: paths of the tables of `tables` (Parquet) and of `gallery` (safetensors) by their names; a figure
    reads those that its decorator names, and the others may be absent or None.
    Errors: `UnknownName` for a figure; `ConfigError` for an input that is needed and not given; `DataError` for a file.
    """
    from fldrep.figures.theme import save_png
    from fldrep.storage.gallery import read_gallery
    from fldrep.tables.final import FINAL

    readers: dict[str, Callable] = {"gallery": read_gallery} | {name: table.read for name, table in FINAL.items()}
    figure = named("figure", name, registry.built_in("figure"))
    reads = figure.words["reads"]
    missing = [kind for kind in reads if inputs.get(kind) is None]
    if missing:
        raise ConfigError(f"figure {name!r} needs --{missing[0]}; it reads {', '.join(reads)}")
    save_png(figure.value(*(readers[kind](inputs[kind]) for kind in reads)), out_png)
