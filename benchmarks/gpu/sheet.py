"""A table that is whole at any time: its rows are planned first, and each is written as soon as it is measured."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.gpu.inner import MEASURED, FLDRepError, Table, atomic_write, csv_text

NOT_REACHED = "not run: the part ended before"


class Sheet:
    """NAME.parquet, and NAME.csv for reading, of a table in a folder; written anew at each change."""

    def __init__(self, table: Table, folder: Path, planned: Sequence[dict]):
        empty = {column.name: None if column.null else "" for column in table.columns}
        self.table, self.folder = table, folder
        self.rows = [empty | row | {"status": NOT_REACHED} for row in planned]
        self._write()

    def fill(self, found: Mapping[int, dict]) -> None:
        """What rows hold beyond what was planned, by their number."""
        for number, columns in found.items():
            self.rows[number].update(columns)
        self._write()

    def _write(self) -> None:
        path = self.folder / f"{self.table.name}.parquet"
        self.table.write(self.rows, path)
        with atomic_write(path.with_suffix(".csv")) as beside:
            beside.write_text(csv_text(self.table.read(path)), encoding="utf-8")


def outcome(work: Callable[[], dict], device: str) -> dict:
    """What a piece of work found, as columns of its row; where it could not be done, why, so that others still are.

    Args: device: in words, on which it was found.
    """
    try:
        return {**work(), "device": device, "status": MEASURED}
    except FLDRepError as error:
        return {"status": f"not run: {error}"}
    except Exception as error:
        traceback.print_exc()
        return {"status": f"failed: {first_line(error)}"}


def first_line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]


def statuses(path: Path) -> dict:
    """How many rows of a table were measured, and how many were not for which reason; nothing where there is none."""
    if not path.exists():
        return {}
    return {"rows": pd.read_parquet(path, columns=["status"])["status"].value_counts().to_dict()}
