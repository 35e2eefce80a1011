"""The results of a config wherever they lie: a published folder, or those of a finished run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fldrep.config.reading import read_config
from fldrep.config.whole import Config
from fldrep.errors import DataError, told
from fldrep.report.plugin_files import published_config
from fldrep.report.record import read_json, read_record
from fldrep.report.results_folder import codes_in
from fldrep.storage.places import CLAIMS as CLAIMS_FILE
from fldrep.storage.places import RECORD, final_table
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL

ORIGIN = ("commit", "machine", "memory", "GPUs", "made")  # facts of a run's record


@dataclass(frozen=True)
class Results:
    """What a config gave: its final tables and claims by name, and what made them.

    `origin`: facts in words; `versions` of packages; `code`: digests of the code that made the rows of each table.
    """

    said: str
    config: Config
    tables: Mapping[str, pd.DataFrame]
    claims: pd.DataFrame
    origin: Mapping[str, str]
    versions: Mapping[str, str]
    code: Mapping[str, list[str]]


def read_results(said: str, root: Path = Path()) -> Results:
    """The results that are meant by a published folder, a folder of `results/`, a config file or a run's name.

    Args: root: the folder with results/ and reports/. Errors: `DataError` where there are none, or they are damaged.
    """
    path = Path(said)
    if (path / "provenance.json").is_file():
        return _published(said, path)
    if (path / "metrics").is_dir():
        folder = path.resolve()
        return _finished(said, folder.name, folder.parent.parent)
    name = read_config(path).name if path.is_file() else said
    if (root / "results" / name / "metrics").is_dir():
        return _finished(said, name, root)
    raise DataError(
        f"{told(path)}: no results: expected a published folder (with provenance.json), a folder of results/ whose run "
        f"is finished, its config file, or its name; there is no {told(root / 'results' / name / 'metrics')}"
    )


def _published(said: str, folder: Path) -> Results:
    facts = read_json(folder / "provenance.json")
    config = published_config(folder)
    tables = {name: table.read_in(folder) for name, table in FINAL.items()}
    claims = CLAIMS.read_in(folder)
    origin = {key: str(facts[key]) for key in ORIGIN if key in facts}
    return Results(said, config, tables, claims, origin, facts.get("versions", {}), codes_in(tables))


def _finished(said: str, name: str, root: Path) -> Results:
    record = read_record(root / "reports" / name / RECORD)
    tables = {table: FINAL[table].read(root / "results" / name / final_table(table)) for table in FINAL}
    claims = CLAIMS.read(root / "reports" / name / CLAIMS_FILE)
    origin = {key: record.facts[key] for key in ORIGIN if key in record.facts}
    return Results(said, record.config, tables, claims, origin, record.versions, codes_in(tables))
