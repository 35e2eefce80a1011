"""A folder of evidence from a GPU (benchmarks/gpu): what it must hold, and how it gets into docs/results.

One kind of published folder, with its own list of files; it needs no config and no run of the workflow.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from fldrep.errors import DataError
from fldrep.report.evidence_tables import TABLES

RECORD, FIGURE, PICTURES = "evidence.json", "evidence.png", "pictures.safetensors"
MADE = (RECORD, FIGURE, *(f"{table.name}.parquet" for table in TABLES))  # what must have been made
FOR_READING = tuple(f"{table.name}.csv" for table in TABLES)
OPTIONAL = (PICTURES,)  # what the figure shows of the reconstructions, where there are any
REQUIRED = ("device", "commit", "made", "machine", "versions", "limits_s", "parts")
UNKNOWN = "unknown"  # a commit where there is no repository
FILE_LIMIT, FOLDER_LIMIT = 500_000, 1_000_000  # bytes


def publish_evidence(folder: Path, out: Path, commit: str | None = None) -> Path:
    """Copy a folder of evidence to out/evidence-<device>, in the place of the one that is there; returns it.

    What is for reading is written anew from the tables, since a run may have been killed between the two.
    Args: commit: what made it, where its record does not know.
    Errors: `DataError` naming the file that is missing, unreadable or too large, or what the record lacks.
    """
    told, tables = _measured(folder, commit)
    name = f"evidence-{slug(told['device'])}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as made:
        beside = Path(made) / name
        beside.mkdir()
        for file in (*MADE, *OPTIONAL):
            if (folder / file).exists():
                shutil.copyfile(folder / file, beside / file)
        for table, rows in tables.items():
            (beside / f"{table}.csv").write_text(csv_text(rows), encoding="utf-8")
        (beside / RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        shutil.rmtree(out / name, ignore_errors=True)
        beside.rename(out / name)
    return out / name


def check_published(folder: Path) -> None:
    """Refuse a published folder that is not whole, or not what `publish_evidence` writes. Errors: `DataError`."""
    told, tables = _measured(folder)
    expected = f"evidence-{slug(told['device'])}"
    if folder.name != expected:
        raise DataError(f"{folder}: evidence from {told['device']}, expected in a folder {expected}")
    for table, rows in tables.items():
        path = folder / f"{table}.csv"
        if not path.is_file() or path.read_text(encoding="utf-8") != csv_text(rows):
            raise DataError(f"{path}: not what {table}.parquet holds")
    strange = {path.name for path in folder.iterdir()} - {*MADE, *FOR_READING, *OPTIONAL}
    if strange:
        raise DataError(f"{folder}: not expected: {', '.join(sorted(strange))}")


def faults(folder: Path) -> list[str]:
    """All that is wrong with a published folder of evidence."""
    try:
        check_published(folder)
    except DataError as error:
        return [str(error)]
    return []


def _measured(folder: Path, commit: str | None = None) -> tuple[dict, dict[str, pd.DataFrame]]:
    """The record and the tables by name of a folder that holds all that must have been made."""
    missing = [name for name in MADE if not (folder / name).is_file()]
    if missing:
        how = f"; draw it: python -m benchmarks.gpu.evidence draw {folder}" if missing == [FIGURE] else ""
        raise DataError(f"{folder}: no {', '.join(missing)}{how}")
    sizes = {name: (folder / name).stat().st_size for name in (*MADE, *OPTIONAL) if (folder / name).exists()}
    if max(sizes.values()) > FILE_LIMIT or sum(sizes.values()) > FOLDER_LIMIT:
        raise DataError(f"{folder}: more than {FILE_LIMIT} bytes a file or {FOLDER_LIMIT} in all: {sizes}")
    told = _record(folder / RECORD)
    if told.get("commit") in (None, UNKNOWN):
        told["commit"] = commit
    lacking = [key for key in REQUIRED if not told.get(key)]
    if lacking:
        hint = "; give it by --commit" if lacking == ["commit"] else ""
        raise DataError(f"{folder / RECORD}: no {', '.join(lacking)}{hint}")
    return told, {table.name: table.read(folder / f"{table.name}.parquet") for table in TABLES}


def _record(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON: {error}") from None


def csv_text(rows: pd.DataFrame) -> str:
    """A table for reading, numbers to 6 digits."""
    return rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def slug(device: str) -> str:
    """A device's name as part of a folder's.

    >>> slug("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
