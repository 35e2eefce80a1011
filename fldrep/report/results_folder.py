"""The published folder of a config's results: tables, claims and figures, with what made them.

Nothing is published that does not fit together: the record of the run must be of this config and of these figures, and
the claims must be what this code says of the tables.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from PIL import Image

from fldrep.analysis.cells import summarise
from fldrep.analysis.rows import ERROR_NAMES
from fldrep.config.documents import read_document
from fldrep.config.reading import parse_config, plugin_files, read_config
from fldrep.config.renamed import with_new_words
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, DataError, FLDRepError
from fldrep.plan.jobs import without_places
from fldrep.report.claims_table import claims_page, claims_table
from fldrep.report.evidence import Tables
from fldrep.report.few_pictures import FOLDER as PICTURES
from fldrep.report.few_pictures import write_pictures
from fldrep.report.page import seconds_spent
from fldrep.report.plugin_files import Files, beside, load_beside, with_bare_names
from fldrep.report.record import Record, read_json, read_record
from fldrep.report.reworded import reworded
from fldrep.storage.gallery import read_gallery
from fldrep.syntax import tree_digest
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL
from fldrep.tables.table import Table

TABLE_SUFFIXES = (".parquet", ".csv")
TABLES_LIMIT = 2_000_000  # bytes, all tables of the folder together
FIGURE_AIM, FILE_LIMIT = 300_000, 1_000_000  # bytes; a larger figure is reduced to 256 colours
UNKNOWN = "unknown"  # how `origin.commit` says that there is no repository
REQUIRED = ("name", "config", "commit", "machine", "made", "versions", "devices", "seconds", "rows", "code")

Read = dict[str, tuple[Table, pd.DataFrame]]  # tables by name, each as its file has it, and its rows


def publish_results(config_file: Path, root: Path, out: Path, commit: str | None = None) -> Path:
    """Write the folder out/<name> of a config, in the place of the one that is there; returns it.

    Args: root: the folder with results/ and reports/; commit: what made the results, where their record does not know.
    Errors: `ConfigError` where the config is not that of the run; `DataError` for a file that is missing, damaged or
    not of the same run as the others, for an unknown commit, and for tables or figures that are too large.
    """
    config = read_config(config_file)
    metrics, reports = root / "results" / config.name / "metrics", root / "reports" / config.name
    record = read_record(reports / "record.json")
    check_config(config, record, config_file)
    read = {name: _read(table, metrics / f"{name}.parquet") for name, table in FINAL.items()}
    claims = CLAIMS.read(reports / "claims.parquet")
    rows = {name: frame for name, (_, frame) in read.items()}
    check_claims(claims, claims_table(Tables(config, rows), ""), reports / "claims.parquet")
    pictures = {name: _figure(reports / "figures" / f"{name}.png", record) for name in record.figures}
    told = provenance_of(config, config_file, record, rows, commit)
    plugins = beside(plugin_files(config.model_dump(), [config_file.parent]))
    text = config_file.read_text(encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    with _replaced(out / config.name) as made:
        _write(made, reworded(text, with_bare_names(yaml.safe_load(text))), config, read, claims, told, plugins)
        for name, picture in pictures.items():
            (made / "figures" / f"{name}.png").write_bytes(picture)
        write_pictures(made, read_gallery(metrics / "gallery.safetensors"))
    return out / config.name


def rewrite(folder: Path) -> list[str]:
    """Write a published folder again in the words of this version, from its own files; figures and pictures stay.

    Returns what its claims say differently now. Errors: `DataError` for a file that is missing or damaged.
    """
    told = read_json(folder / "provenance.json")
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    words = with_new_words(yaml.safe_load(text))
    plugins = beside(load_beside(folder, words))
    config = parse_config(words)
    read = {name: _read_published(table, folder) for name, table in FINAL.items()}
    rows = {name: frame for name, (_, frame) in read.items()}
    before = CLAIMS.read_in(folder)
    claims = claims_table(Tables(config, rows), before["command"].iloc[0])
    differences = _differences(before, claims)
    told |= {"rows": {name: len(frame) for name, frame in rows.items()}, "code": codes_in(rows)}
    with _replaced(folder) as made:
        _write(made, reworded(text, words), config, read, claims, told, plugins)
        for kept in ("figures", PICTURES):
            if (folder / kept).is_dir():
                shutil.copytree(folder / kept, made / kept, dirs_exist_ok=True)
    return differences


def _differences(before: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """The claims whose numbers or verdict differ, a line each; a claim that was not judged then is no difference."""
    now = now[now["claim"].isin(before["claim"])]
    if list(before["claim"]) != list(now["claim"]):
        return [f"claims: {len(before)} rows were {before['claim'].nunique()} claims, now {len(now)} rows"]
    found = []
    for one, other in zip(before.to_dict("records"), now.to_dict("records"), strict=True):
        numbers = {name: (one[name], other[name]) for name in ("n", "median", "low", "high", "seeds")}
        pairs = {name: tuple(np.nan if value is None else value for value in pair) for name, pair in numbers.items()}
        changed = {name: pair for name, pair in pairs.items() if not np.isclose(*pair, rtol=1e-6, equal_nan=True)}
        if one["verdict"] != other["verdict"]:
            changed["verdict"] = (one["verdict"], other["verdict"])
        if changed:
            words = ", ".join(f"{name} {now} instead of {was}" for name, (was, now) in changed.items())
            found.append(f"claim {one['claim']}, {one['defense']}: {words}")
    return found


def _read(table: Table, path: Path) -> tuple[Table, pd.DataFrame]:
    return table.in_file(path), table.read(path)


def _read_published(table: Table, folder: Path) -> tuple[Table, pd.DataFrame]:
    path = table.file_in(folder)
    return table.in_file(path, older=True) if path.exists() else table, table.read_in(folder)


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` where it is not too large."""
    out = folder.parent
    with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as place:
        made = Path(place) / folder.name
        (made / "figures").mkdir(parents=True)
        yield made
        check_sizes(made, out)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _write(
    folder: Path, config_text: str, config: Config, read: Read, claims: pd.DataFrame, told: Mapping, plugins: Files
) -> None:
    """All files of a folder but its figures."""
    for place, content in plugins.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
    for table, rows in (*read.values(), (CLAIMS, claims)):
        if len(rows):
            _write_table(table, rows, folder)
    (folder / "claims.html").write_text(claims_page(config.name, claims), encoding="utf-8")
    (folder / "config.yaml").write_text(config_text, encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_config(config: Config, record: Record, config_file: Path) -> None:
    """Refuse a config that is not the one of the run. Errors: `ConfigError` naming the sections."""
    now, then = (without_places(one).model_dump(mode="json") for one in (config, record.config))
    differ = [key for key in now if now[key] != then[key]]
    if differ:
        raise ConfigError(
            f"{config_file}: {', '.join(differ)}: not what the results were made with; "
            f"run: snakemake --cores all --configfile {config_file}"
        )


def check_claims(stored: pd.DataFrame, judged: pd.DataFrame, path: Path) -> None:
    """Refuse claims that are not what the tables say, up to rounding. Errors: `DataError` naming the file."""
    columns = [name for name in CLAIMS.names if name != "command"]  # it tells how the run was started
    as_stored = pa.Table.from_pandas(judged, CLAIMS.arrow_schema(), preserve_index=False).to_pandas()
    try:
        pd.testing.assert_frame_equal(stored[columns], as_stored[columns], rtol=1e-6)
    except AssertionError as error:
        raise DataError(
            f"{path}: not what this code says of the tables; run snakemake ({' '.join(str(error).split())[:200]})"
        ) from None


def _figure(path: Path, record: Record) -> bytes:
    """A figure that the page shows, made smaller."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: no readable figure: {error.strerror}") from None
    if not record.shows(path.stem, content):
        raise DataError(f"{path}: not the figure that the page shows; run snakemake")
    return smaller_png(content)


def smaller_png(content: bytes) -> bytes:
    """A figure in fewer bytes: without loss, or in 256 colours where that is not enough."""
    picture = Image.open(BytesIO(content)).convert("RGB")
    smaller = _as_png(picture)
    return smaller if len(smaller) <= FIGURE_AIM else _as_png(picture.quantize(256))


def _as_png(picture: Image.Image) -> bytes:
    made = BytesIO()
    picture.save(made, "PNG", optimize=True)
    return made.getvalue()


def _write_table(table: Table, rows: pd.DataFrame, folder: Path) -> None:
    """The rows as Parquet, and as CSV what one reads of them."""
    table.write(rows, folder / f"{table.name}.parquet", compression="zstd", compression_level=12)
    stem, shown = for_reading(table.name, rows)
    (folder / f"{stem}.csv").write_text(csv_text(shown), encoding="utf-8")


def csv_text(rows: pd.DataFrame) -> str:
    """Rows as CSV, numbers to 6 digits."""
    return rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")


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
    """What made the results: the record of the run, and what the tables tell of devices, times, rows and code.

    Args: commit: stands in where the record does not know. Errors: `DataError` where neither knows the commit.
    """
    facts = dict(record.facts)
    if facts.get("commit", UNKNOWN) == UNKNOWN:
        if commit is None:
            raise DataError(f"{config.name}: the record of the run knows no commit; give it by --commit")
        facts["commit"] = commit
    spent = seconds_spent(tables["attacks"], tables["training"])
    return {
        "name": config.name,
        "config": _inside(config_file),
        **facts,
        "versions": dict(record.versions),
        "devices": sorted(tables["attacks"]["device"].unique()),
        "seeds": len(config.seeds),
        "seconds": {what: round(seconds, 1) for what, seconds in spent.items()},
        "rows": {name: len(rows) for name, rows in tables.items()},
        "code": codes_in(tables),
    }


def codes_in(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Digests of the code that made the rows of each table; `judged_by`: of the code that judged the attacks."""
    found = {name: sorted(rows["code"].unique()) for name, rows in tables.items() if len(rows)}
    judged = sorted(filter(None, tables["attacks"]["judged_by"].dropna().unique()))
    return {**found, "judged_by": judged} if judged else found


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


def faults(folder: Path, root: Path) -> list[str]:
    """All that is wrong with a published folder. Args: root: the repository whose configs it is held against."""
    try:
        return list(_faults(folder, root))
    except FLDRepError as error:
        return [f"{error}; run: python -m fldrep publish --again {folder.name}"]


def _faults(folder: Path, root: Path) -> Iterator[str]:
    told = read_json(folder / "provenance.json")
    yield from (f"provenance.json: no {key}" for key in REQUIRED if not told.get(key))
    raw = read_document(folder / "config.yaml")
    plugins = load_beside(folder, raw)
    config = parse_config(raw)
    yield from _edited_since(config, plugins, root / told["config"], told["config"])
    if not config.name == told["name"] == folder.name:
        yield f"{config.name} and {told['name']} in a folder {folder.name}"
    expected = {"config.yaml", "provenance.json", "claims.html"}
    expected |= {place.name for place in beside(plugins) if place.parent == Path()}
    for table in (*FINAL.values(), CLAIMS):
        if told["rows"].get(table.name, 1):
            stem, shown = for_reading(table.name, table.read(folder / f"{table.name}.parquet"))
            expected |= {f"{table.name}.parquet", f"{stem}.csv"}
            if (folder / f"{stem}.csv").read_text() != csv_text(shown):
                yield f"{stem}.csv: not {table.name}.parquet"
    names = {path.name for path in folder.iterdir() if path.is_file()}
    yield from (f"{name}: missing, or not expected" for name in sorted(names ^ expected))
    if (folder / "claims.html").read_text() != claims_page(config.name, CLAIMS.read(folder / "claims.parquet")):
        yield "claims.html: not claims.parquet"


def _edited_since(config: Config, plugins: list[Path], config_file: Path, name: str) -> Iterator[str]:
    """What of a published config and its plug-ins is not that of the repository. Args: name: the file's, as told."""
    now = plugin_files(read_document(config_file), [config_file.parent])
    said, says = ({path.name: tree_digest(path) for path in paths} for paths in (plugins, now))
    edited = [plugin for plugin in sorted(says.keys() & said.keys()) if says[plugin] != said[plugin]]
    yield from (f"{plugin}: not that of {name}" for plugin in edited)
    if not edited and without_places(config) != without_places(read_config(config_file)):
        yield f"config.yaml: not {name}"
