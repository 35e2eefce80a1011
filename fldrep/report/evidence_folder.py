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
FILES = (RECORD, FIGURE, *(f"{table.name}{suffix}" for table in TABLES for suffix in (".parquet", ".csv")))
OPTIONAL = (PICTURES,)  # what the figure shows of the reconstructions, where there are any
REQUIRED = ("device", "commit", "made", "machine", "versions", "limits_s", "parts")
UNKNOWN = "unknown"  # a commit where there is no repository
FILE_LIMIT, FOLDER_LIMIT = 500_000, 1_000_000  # bytes


def publish_evidence(folder: Path, out: Path, commit: str | None = None) -> Path:
    """Copy a folder of evidence to out/evidence-<device>, in the place of the one that is there; returns it.

    Args: commit: what made it, where its record does not know. Errors: as for `check_evidence`.
    """
    told = check_evidence(folder, commit)
    name = f"evidence-{slug(told['device'])}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=out) as made:
        beside = Path(made) / name
        beside.mkdir()
        for file in (*FILES, *OPTIONAL):
            if (folder / file).exists():
                shutil.copyfile(folder / file, beside / file)
        (beside / RECORD).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        shutil.rmtree(out / name, ignore_errors=True)
        beside.rename(out / name)
    return out / name


def check_evidence(folder: Path, commit: str | None = None) -> dict:
    """The record of a folder of evidence that is whole.

    Errors: `DataError` naming the file that is missing, unreadable, too large or not what another one says, or what the
    record lacks.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        how = f"; draw it: python -m benchmarks.gpu.evidence draw {folder}" if missing == [FIGURE] else ""
        raise DataError(f"{folder}: no {', '.join(missing)}{how}")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name in (*FILES, *OPTIONAL)}
    if max(sizes.values()) > FILE_LIMIT or sum(sizes.values()) > FOLDER_LIMIT:
        raise DataError(f"{folder}: more than {FILE_LIMIT} bytes a file or {FOLDER_LIMIT} in all: {sizes}")
    told = _record(folder / RECORD)
    if told.get("commit") in (None, UNKNOWN):
        told["commit"] = commit
    lacking = [key for key in REQUIRED if not told.get(key)]
    if lacking:
        hint = "; give it by --commit" if lacking == ["commit"] else ""
        raise DataError(f"{folder / RECORD}: no {', '.join(lacking)}{hint}")
    for table in TABLES:
        rows = table.read(folder / f"{table.name}.parquet")
        if (folder / f"{table.name}.csv").read_text(encoding="utf-8") != csv_text(rows):
            raise DataError(f"{folder / table.name}.csv: not what {table.name}.parquet holds")
    return told


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
