"""Parquet tables: every column's type, unit and meaning, declared once. Figures and the page read only these tables.

Importing this module imports no other package: the workflow is read with the names of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fldrep.atomic import atomic_write
from fldrep.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}  # as Arrow calls them


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (a key of `TYPES`), its unit and what it says; `null` where it may be absent."""

    name: str
    type: str
    meaning: str
    unit: str = ""
    null: bool = False


@dataclass(frozen=True)
class Table:
    """A named, versioned list of columns."""

    name: str
    version: int
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema, each field with its unit and meaning, the table with its name and version."""
        import pyarrow as pa

        fields = [
            pa.field(c.name, pa.type_for_alias(TYPES[c.type]), c.null, {"unit": c.unit, "meaning": c.meaning})
            for c in self.columns
        ]
        return pa.schema(fields, {"fldrep_table": self.name, "fldrep_version": str(self.version)})

    def write(self, rows: pd.DataFrame | list[dict], path: Path | str) -> None:
        """Write rows atomically. Errors: `DataError` naming the column that is missing, unknown or of another type."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        frame = pd.DataFrame(rows, columns=None if len(rows) else self.names)
        missing = [name for name in self.names if name not in frame]
        unknown = [name for name in frame if name not in self.names]
        if missing or unknown:
            raise DataError(f"table {self.name}: missing columns {missing}, unknown columns {unknown}")
        for column in self.columns:
            if not column.null and frame[column.name].isna().any():
                raise DataError(f"table {self.name}: column {column.name} has empty cells")
        try:
            table = pa.Table.from_pandas(frame[self.names], self.arrow_schema(), preserve_index=False)
            table.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"table {self.name}: {error}") from None
        with atomic_write(Path(path)) as beside:
            pq.write_table(table, beside)

    def read(self, path: Path | str) -> pd.DataFrame:
        """Read a table written by `write`. Errors: `DataError` naming the file and what is wrong with it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:  # one file: names of folders add no columns
                table = file.read()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a readable Parquet table: {str(error).splitlines()[0]}") from None
        meta = table.schema.metadata or {}
        found = tuple(meta.get(key, b"?").decode(errors="replace") for key in (b"fldrep_table", b"fldrep_version"))
        if found != (self.name, str(self.version)):
            raise DataError(
                f"{path}: holds table {found[0]!r} version {found[1]}, expected {self.name!r} version {self.version}"
            )
        missing = [name for name in self.names if name not in table.column_names]
        if missing:
            raise DataError(f"{path}: missing columns {missing}")
        for column in self.columns:
            stored, expected = table.schema.field(column.name).type, pa.type_for_alias(TYPES[column.type])
            if stored != expected:
                raise DataError(f"{path}: column {column.name} holds {stored}, expected {expected}")
            if not column.null and table[column.name].null_count:
                raise DataError(f"{path}: column {column.name} has empty cells, expected none")
        return table.select(self.names).to_pandas()
