"""From results to docs/results/<name>: tables, claims and figures that a repository can hold, with what made them.

Nothing is published that does not fit together: the page, which records the run, must be of this config and show these
figures, and the claims must be what this code says of the tables.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fldrep.analysis.cells import summarise
from fldrep.analysis.rows import ERROR_NAMES
from fldrep.config.reading import read_config
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, DataError
from fldrep.plan.jobs import without_places
from fldrep.report.claims import claims_page, claims_table
from fldrep.report.evidence import Tables
from fldrep.report.page import seconds_spent
from fldrep.report.record import Record, record_of
from fldrep.tables.accounting import ACCOUNTING
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.certificate import CERTIFICATE
from fldrep.tables.claims import CLAIMS
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.leakage import LEAKAGE
from fldrep.tables.training import TRAINING

TABLES = (ATTACKS, TRAINING, LEAKAGE, CERTIFICATE, CONVERGENCE, ACCOUNTING)
TABLE_SUFFIXES = (".parquet", ".csv")
TABLES_LIMIT = 2_000_000  # bytes, all tables of the folder together
FIGURE_AIM, FILE_LIMIT = 300_000, 1_000_000  # bytes; a larger figure is reduced to 256 colours
UNKNOWN = "unknown"  # how `origin.commit` says that there is no repository
REQUIRED = ("name", "config", "commit", "machine", "made", "versions", "devices", "seconds", "rows", "code")


def publish(config_file: Path, root: Path, out: Path, figures: Sequence[str], commit: str | None = None) -> Path:
    """Write the folder out/<name> of a config, in the place of the one that is there; returns it.

    Args: root: the folder with results/ and reports/; figures: names of the figures the config has; commit: what made
    the results, where their page could not tell.
    Errors: `ConfigError` where the config is not that of the page; `DataError` for a file that is missing, damaged or
    not of the same run as the others, for an unknown commit, and for tables or figures that are too large.
    """
    config = read_config(config_file)
    metrics, reports = root / "results" / config.name / "metrics", root / "reports" / config.name
    record = record_of(reports / "report.html")
    check_config(config, record, config_file)
    tables = {table.name: table.read(metrics / f"{table.name}.parquet") for table in TABLES}
    claims = CLAIMS.read(reports / "claims.parquet")
    check_claims(claims, claims_table(Tables(config, **tables), str(config_file)), reports / "claims.parquet")
    pictures = {name: _figure(reports / "figures" / f"{name}.png", record) for name in figures}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as made:
        beside = Path(made) / config.name
        (beside / "figures").mkdir(parents=True)
        paths = {name: metrics / f"{name}.parquet" for name in tables} | {"claims": reports / "claims.parquet"}
        for name, rows in {**tables, "claims": claims}.items():
            if len(rows):
                _write_table(name, rows, paths[name], beside)
        (beside / "claims.html").write_text(claims_page(config.name, claims), encoding="utf-8")
        for name, picture in pictures.items():
            (beside / "figures" / f"{name}.png").write_bytes(picture)
        shutil.copyfile(config_file, beside / "config.yaml")
        told = provenance_of(config, config_file, record, tables, commit)
        (beside / "provenance.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        check_sizes(beside, out)
        shutil.rmtree(out / config.name, ignore_errors=True)
        beside.rename(out / config.name)
    return out / config.name


def check_config(config: Config, record: Record, config_file: Path) -> None:
    """Refuse a config that is not the one the page was made from. Errors: `ConfigError` naming the sections."""
    now, then = (without_places(one).model_dump(mode="json") for one in (config, record.config))
    differ = [key for key in now if now[key] != then[key]]
    if differ:
        raise ConfigError(
            f"{config_file}: {', '.join(differ)}: not what the results were made with; "
            f"run: snakemake --cores all --configfile {config_file}"
        )


def check_claims(stored: pd.DataFrame, judged: pd.DataFrame, path: Path) -> None:
    """Refuse claims that are not what the tables say, up to rounding. Errors: `DataError` naming the file."""
    columns = [name for name in CLAIMS.names if name != "command"]  # it names the config's path
    as_stored = pa.Table.from_pandas(judged, CLAIMS.arrow_schema(), preserve_index=False).to_pandas()
    try:
        pd.testing.assert_frame_equal(stored[columns], as_stored[columns], rtol=1e-6)
    except AssertionError as error:
        raise DataError(
            f"{path}: not what this code says of the tables; run snakemake ({' '.join(str(error).split())[:200]})"
        ) from None


def _figure(path: Path, record: Record) -> bytes:
    """A figure that the page shows, made smaller: without loss, or in 256 colours where that is not enough."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: no readable figure: {error.strerror}") from None
    if base64.b64encode(content).decode() not in record.text:
        raise DataError(f"{path}: not the figure that the page shows; run snakemake")
    picture = Image.open(BytesIO(content)).convert("RGB")
    smaller = _as_png(picture)
    return smaller if len(smaller) <= FIGURE_AIM else _as_png(picture.quantize(256))


def _as_png(picture: Image.Image) -> bytes:
    made = BytesIO()
    picture.save(made, "PNG", optimize=True)
    return made.getvalue()


def _write_table(name: str, rows: pd.DataFrame, source: Path, folder: Path) -> None:
    """The rows as Parquet, and as CSV what one reads of them."""
    with pq.ParquetFile(source) as file:
        pq.write_table(file.read(), folder / f"{name}.parquet", compression="zstd", compression_level=12)
    stem, shown = for_reading(name, rows)
    shown.to_csv(folder / f"{stem}.csv", index=False, float_format="%.6g", lineterminator="\n")


def for_reading(name: str, rows: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What the CSV of a table holds, and the name that says so: all rows, or a summary where rows are many.

    `attacks_by_cell`: `cells.summarise` for each of the two errors (column `measure`); `convergence_last_round`:
    each run after its last round.
    """
    if name == "attacks":
        cells = [summarise(rows, error).assign(measure=error) for error in ERROR_NAMES]
        return "attacks_by_cell", pd.concat(cells, ignore_index=True)
    if name == "convergence":
        runs = rows.groupby(["dataset", "partition", "seed", "mask", "repetition"])
        return "convergence_last_round", rows.loc[runs["round"].idxmax()]
    return name, rows


def provenance_of(
    config: Config, config_file: Path, record: Record, tables: Mapping[str, pd.DataFrame], commit: str | None = None
) -> dict[str, object]:
    """What made the results: the page's record, and what the tables tell of devices, times, rows and code.

    Args: commit: stands in where the page could not tell. Errors: `DataError` where neither knows the commit.
    """
    facts = dict(record.facts)
    if facts.get("commit", UNKNOWN) == UNKNOWN:
        if commit is None:
            raise DataError(f"{config.name}: the page knows no commit of these results; give it by --commit")
        facts["commit"] = commit
    spent = seconds_spent(tables["attacks"], tables["training"])
    return {
        "name": config.name,
        "config": _inside(config_file),
        **facts,
        "versions": record.versions,
        "devices": sorted(tables["attacks"]["device"].unique()),
        "seeds": len(config.seeds),
        "seconds": {what: round(seconds, 1) for what, seconds in spent.items()},
        "rows": {name: len(rows) for name, rows in tables.items()},
        "code": {name: sorted(rows["code"].unique()) for name, rows in tables.items() if len(rows)},
    }


def _inside(path: Path) -> str:
    """A path as seen from the working directory; outside of it the name alone, which tells nothing of the machine."""
    here = path.resolve()
    return here.relative_to(Path.cwd()).as_posix() if here.is_relative_to(Path.cwd()) else path.name


def check_sizes(folder: Path, out: Path) -> None:
    """Refuse a folder that would make `out` too large. Errors: `DataError` with the sizes."""
    large = {path.name: size for path in folder.rglob("*") if (size := path.stat().st_size) > FILE_LIMIT}
    if large:
        raise DataError(f"{folder.name}: files of more than {FILE_LIMIT} bytes: {large}")
    own = table_sizes(folder)
    others = {
        other.name: sum(table_sizes(other).values())
        for other in out.iterdir()
        if other.is_dir() and other.name != folder.name and not other.name.startswith(".")
    }
    if sum(own.values()) + sum(others.values()) > TABLES_LIMIT:
        raise DataError(
            f"{folder.name}: tables of {sum(own.values())} bytes ({own}) beside {others or 'no others'} "
            f"are more than {TABLES_LIMIT} in all"
        )


def table_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each table of a published folder, the largest first."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix in TABLE_SUFFIXES}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
