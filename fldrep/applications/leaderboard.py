"""The leaderboard: every defense on the same terms, at its strongest setting that hardly costs accuracy.

A config says the terms for the client without a defense. A defense goes through the same with each of its `strengths`;
the strongest one that costs at most `COST` on the images held out of training is then attacked like that client, and
besides by the attack that knows the defense. One config holds all of it, so that one run has the whole evidence.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from fldrep import registry
from fldrep.analysis.accuracy import OF_RUNS
from fldrep.analysis.leaderboard import COST, paired_costs
from fldrep.atomic import atomic_write
from fldrep.config.defenses import defense_settings
from fldrep.config.documents import read_document
from fldrep.config.reading import parse_config
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, DataError
from fldrep.report.leaderboard import leaderboards
from fldrep.report.results import Results, read_results
from fldrep.storage.places import final_table
from fldrep.tables.training import TRAINING

UNDEFENDED = "none"

Raw = dict[str, Any]  # a config as YAML has it


def run_leaderboard(
    terms: Path, plugins: Sequence[Path], cores: int, folder: Path, published: Path
) -> tuple[Path, list[str]]:
    """Train, choose, attack and report; what an earlier call did is kept.

    Returns the config written, and the leaderboard in lines, with the rows of defenses that are published.
    Args: terms: a config of the client without a defense; plugins: files whose defenses are run, none: the built-in
    ones; folder: where the config is written, under its name; published: the folder of the published leaderboard.
    Errors: `ConfigError` for the terms, and for what a defense says of itself; `DataError` where the workflow fails.
    """
    methods = added_by(plugins) if plugins else list(registry.built_in("defense"))
    asked = named_for(read_document(terms), plugins)
    trained = with_candidates(asked, methods)
    path = folder / f"{trained['name']}.yaml"
    training = Path("results") / trained["name"] / final_table(TRAINING.name)
    _write(trained, path)
    _run_workflow(cores, path, training)
    _write(with_attacks(trained, asked, chosen(TRAINING.read(training), trained)), path)
    _run_workflow(cores, path)
    return path, [*lines(*beside_published(read_results(str(path)), published))]


def added_by(plugins: Iterable[Path]) -> list[str]:
    """The names of the defenses that files register. Errors: `ConfigError` where a file registers none."""
    found: list[str] = []
    for path in plugins:
        names = [name for name in registry.load_plugins(path) if name in registry.entries("defense")]
        if not names:
            raise ConfigError(f"{path}: registers no defense")
        found += names
    return found


def named_for(terms: Raw, plugins: Sequence[Path]) -> Raw:
    """The terms under a name of their own for these plug-ins, which they load.

    >>> named_for({"name": "leaderboard"}, [Path("mine.py")])
    {'name': 'leaderboard-mine', 'plugins': ['mine.py']}
    """
    if not plugins:
        return terms
    name = "-".join([terms["name"], *(path.stem.replace("_", "-") for path in plugins)])
    return {**terms, "name": name, "plugins": [str(path) for path in plugins]}


def with_candidates(terms: Raw, methods: Iterable[str]) -> Raw:
    """The terms with each defense at each of its strengths, trained and not attacked.

    They are called METHOD-1, METHOD-2 and so on, from the weakest to the strongest.
    Errors: `ConfigError` naming the key of a strength.
    """
    sections: dict[str, Raw] = {}
    for method in methods:
        for number, keys in enumerate(registry.value("defense", method).strengths, start=1):
            defense_settings(method, **keys)  # what is wrong with it is said before anything is run
            sections[f"{method}-{number}"] = {"method": method, **keys}
    runs = [{key: entry[key] for key in ("datasets", "models", "partitions")} for entry in terms["grid"]]
    trained = [run for place, run in enumerate(runs) if run not in runs[:place]]
    defenses = {**terms["defenses"], **sections}
    return {**terms, "defenses": defenses, "grid": [{**run, "defenses": list(defenses)} for run in trained]}


def chosen(training: pd.DataFrame, config: Raw) -> dict[str, str]:
    """The name of the strongest setting of each method that costs at most `COST`; of none that does, of the weakest.

    Args: training: the table `training` of a config by `with_candidates`.
    Errors: `DataError` where no accuracy on images held out is known.
    """
    costs = paired_costs(training, "held_out_accuracy").groupby(OF_RUNS)["cost"].mean()
    cost = costs.groupby("defense").max()  # by the network that loses most
    found: dict[str, str] = {}
    for name, section in config["defenses"].items():
        method = section.get("method", UNDEFENDED)
        if method == UNDEFENDED:
            continue
        if name not in cost or pd.isna(cost[name]):
            raise DataError(f"defense {name}: no accuracy on images held out; expected partitions with held_out")
        if method not in found or cost[name] <= COST:
            found[method] = name
    return found


def with_attacks(trained: Raw, terms: Raw, names: Mapping[str, str]) -> Raw:
    """A config by `with_candidates`, in which the chosen defenses go through what the terms say, and what knows them.

    Args: names: by method, from `chosen`. An attack that knows a defense is called knows-METHOD.
    """
    entries = [{**entry, "defenses": [*entry["defenses"], *names.values()]} for entry in terms["grid"]]
    attacks = dict(terms["attacks"])
    for method, name in names.items():
        section = trained["defenses"][name]
        settings = defense_settings(**section)
        if adaptive := registry.value("defense", method)(settings).adaptive:
            attacks[f"knows-{method}"] = dict(adaptive)
            own = {"defenses": [name], "attacks": [f"knows-{method}"]}
            entries += [{**entry, **own} for entry in terms["grid"] if entry.get("attacks")]
    return {**trained, "attacks": attacks, "grid": [*trained["grid"], *entries]}


def beside_published(own: Results, folder: Path) -> tuple[Mapping[str, pd.DataFrame], Config]:
    """Tables of a run with the rows of other defenses on the published leaderboard, and a config with all defenses.

    The rows are those of the run alone where nothing is published, or where it was published on other terms.
    """
    if not folder.is_dir():
        return own.tables, own.config
    other = read_results(str(folder))
    if any(
        getattr(other.config, key) != getattr(own.config, key) for key in ("seeds", "partitions", "models", "train")
    ):
        return own.tables, own.config
    both = {name: pd.concat([_others(other.tables[name], own.config), rows]) for name, rows in own.tables.items()}
    defenses = {**other.config.defenses, **own.config.defenses}
    return both, own.config.model_copy(update={"defenses": defenses})


def _others(rows: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The rows of the defenses that a config does not have."""
    return rows[~rows["defense"].isin(list(config.defenses))] if "defense" in rows else rows.iloc[:0]


def lines(tables: Mapping[str, pd.DataFrame], config: Config) -> Iterator[str]:
    """The leaderboard for a terminal."""
    for board in leaderboards(tables, config.model_dump(mode="json")):
        yield board.title
        yield pd.DataFrame(board.rows, columns=[head for head, _ in board.heads]).to_string(index=False)


def _write(config: Raw, path: Path) -> None:
    """Write a config that is right, whole or not at all. Errors: `ConfigError` naming the key."""
    parse_config(config)
    said = "# Made by `python -m fldrep leaderboard`; what is to be changed stands in the terms and in the defenses.\n"
    text = yaml.dump(config, Dumper=_Plain, sort_keys=False, width=118, allow_unicode=True, default_flow_style=None)
    with atomic_write(path) as beside:
        beside.write_text(said + text, encoding="utf-8")


def _run_workflow(cores: int, config: Path, *targets: Path) -> None:
    """Make targets, or all there is. Errors: `DataError` where a job fails."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        str(cores),
        *map(str, targets),
        "--configfile",
        str(config),
    ]
    if subprocess.run(command, check=False).returncode:
        raise DataError(f"{config}: a job failed; its log is named above, and the same command goes on from here")


class _Plain(yaml.SafeDumper):
    """Values written out wherever they stand."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whether a value is written out again."""
        return True
