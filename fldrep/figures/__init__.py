"""Figures: each is a module of the same name with a pure function `draw(...)` -> matplotlib figure.

Modules are imported by name, on use: what one figure is made by does not depend on another, and a caller who only wants
the names pays for no plotting library. Nothing here imports torch.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from fldrep.config.data import PHOTO
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, named

Wanted = Callable[[Config], bool]


def _always(config: Config) -> bool:
    return True


def _attacks_photo(config: Config) -> bool:
    return any(PHOTO in entry.datasets for entry in config.grid)


def _varies_updates(config: Config) -> bool:
    return len({update for entry in config.grid if entry.attacks for update in entry.updates}) > 1


def _analyses(name: str) -> Wanted:
    return lambda config: any(name in entry.theory for entry in config.grid)


def _checks_convergence(config: Config) -> bool:
    return config.theory.convergence is not None


# Each figure: what it reads, in the order of its `draw`, and which configs have something for it to draw.
FIGURES: dict[str, tuple[tuple[str, ...], Wanted]] = {
    "privacy_utility": (("attacks", "training"), _always),
    "reconstructions": (("attacks", "gallery"), _always),
    "accuracy_by_round": (("training",), _always),
    "naive_vs_adaptive": (("attacks",), _always),
    "batches": (("attacks",), _varies_updates),
    "photo": (("attacks",), _attacks_photo),
    "leakage": (("leakage",), _analyses("leakage")),
    "certificate": (("certificate",), _analyses("certificate")),
    "convergence": (("convergence",), _checks_convergence),
}


def figures_of(config: Config) -> list[str]:
    """The figures that a config has something to draw for, in the order of the page."""
    return [name for name, (_, wanted) in FIGURES.items() if wanted(config)]


def render(name: str, inputs: Mapping[str, Path | None], out_png: Path | str) -> None:
    """Draw one figure from files and write it as PNG; equal inputs give equal bytes.

    Args: inputs: paths of the tables of `tables` (Parquet) and of `gallery` (safetensors) by their names; a figure
    reads those that `FIGURES` names, and the others may be absent or None.
    Errors: `UnknownName` for a figure; `ConfigError` for an input that is needed and not given; `DataError` for a file.
    """
    from fldrep.figures.theme import save_png
    from fldrep.storage.gallery import read_gallery
    from fldrep.tables.attacks import ATTACKS
    from fldrep.tables.certificate import CERTIFICATE
    from fldrep.tables.convergence import CONVERGENCE
    from fldrep.tables.leakage import LEAKAGE
    from fldrep.tables.training import TRAINING

    tables = (ATTACKS, TRAINING, LEAKAGE, CERTIFICATE, CONVERGENCE)
    readers: dict[str, Callable] = {"gallery": read_gallery, **{table.name: table.read for table in tables}}
    needed, _ = named("figure", name, FIGURES)
    missing = [kind for kind in needed if inputs.get(kind) is None]
    if missing:
        raise ConfigError(f"figure {name!r} needs --{missing[0]}; it reads {', '.join(needed)}")
    save_png(import_module(f"{__name__}.{name}").draw(*(readers[kind](inputs[kind]) for kind in needed)), out_png)
