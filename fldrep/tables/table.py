"""Parquet tables: every column's type, unit and meaning, declared once. Figures and the page read only these tables.

Importing this module imports no other package: the workflow is read with the names of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fldrep.atomic import atomic_write
from fldrep.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}  # as Arrow calls them
NAME, VERSION = "fldrep_table", "fldrep_version"  # what a file says of itself; other words of it start like these
PREFIX = "fldrep_"


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (a key of `TYPES`), its unit and what it says; `null` where it may be absent.

    `larger_is_better`: for a metric of images, whether a larger value is a better reconstruction.
    """

    name: str
    type: str
    meaning: str
    unit: str = ""
    null: bool = False
    larger_is_better: bool | None = None

    @property
    def stored_type(self) -> pa.DataType:
        """Its type in a file."""
        import pyarrow as pa

        return pa.type_for_alias(TYPES[self.type])

    @property
    def field(self) -> pa.Field:
        """The column in an Arrow schema, with its unit and meaning."""
        import pyarrow as pa

        said = {"unit": self.unit, "meaning": self.meaning}
        if self.larger_is_better is not None:
            said["larger_is_better"] = str(self.larger_is_better).lower()
        return pa.field(self.name, self.stored_type, self.null, said)


@dataclass(frozen=True)
class Older:
    """An older version of a table, and what makes the next version of its rows.

    `name`: the table's name then, if it was another; `renamed`: {old column: new column}; `values`: {new column: {old
    value: new value}}; `added`: {new column: function of the rows}. New columns without a function are null.
    """

    version: int
    name: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    added: Mapping[str, Callable[[pd.DataFrame], object]] = field(default_factory=dict)

    def next(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows as the next version has them."""
        rows = rows.rename(columns=self.renamed)
        for column, words in self.values.items():
            rows[column] = rows[column].replace(words)
        return rows.assign(**self.added)


@dataclass(frozen=True)
class Table:
    """A named, versioned list of columns; `older` versions that can still be read, the oldest first.

    `extensible`: a file may have more columns, which its own schema describes.
    """

    name: str
    version: int
    columns: tuple[Column, ...]
    older: tuple[Older, ...] = ()
    extensible: bool = False

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def with_columns(self, columns: Iterable[Column]) -> Table:
        """The table with more columns after its own."""
        return replace(self, columns=(*self.columns, *columns))

    def arrow_schema(self, said: Mapping[str, str] | None = None) -> pa.Schema:
        """The Arrow schema, each field with its unit and meaning, the table with its name and version.

        Args: said: what the file says besides.
        """
        import pyarrow as pa

        besides = {PREFIX + key: value for key, value in (said or {}).items()}
        return pa.schema([c.field for c in self.columns], {NAME: self.name, VERSION: str(self.version), **besides})

    def write(self, rows: pd.DataFrame | list[dict], path: Path | str, **settings: object) -> None:
        """Write rows atomically, and the words in `rows.attrs`, which `read` puts there again.

        Args: settings: of `pyarrow.parquet.write_table`.
        Errors: `DataError` naming the column that is missing, unknown or of another type.
        """
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
            table = self._arrow(frame, getattr(rows, "attrs", {}))
            table.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"table {self.name}: {error}") from None
        with atomic_write(Path(path)) as beside:
            pq.write_table(table, beside, **settings)

    def read(self, path: Path | str, older: bool = False) -> pd.DataFrame:
        """Read a table written by `write`.

        Args: older: take older versions too, their columns renamed and new ones null. Results that are still being
        made are read without it: rows of two versions are not mixed.
        Errors: `DataError` naming the file and what is wrong with it.
        """
        import pyarrow as pa

        stored = _stored(path)
        steps = self._steps(stored.schema, path, older)
        if steps:
            rows = stored.to_pandas()
            for step in steps:
                rows = step.next(rows)
            missing = [column.name for column in self.columns if column.null and column.name not in rows]
            rows = rows.assign(**dict.fromkeys(missing))
            try:
                stored = self._arrow(rows, _said(stored.schema))
            except (KeyError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise DataError(f"{path}: not what version {steps[0].version} of {self.name} was: {error}") from None
        rows = self._in(stored.schema)._checked(stored, path).to_pandas()
        rows.attrs = _said(stored.schema)
        return rows

    def in_file(self, path: Path | str, older: bool = False) -> Table:
        """The table with the columns that a file has besides, as its schema describes them.

        Args and errors as for `read`.
        """
        schema = _stored(path).schema
        return self if self._steps(schema, path, older) else self._in(schema)

    def file_in(self, folder: Path) -> Path:
        """Where the table lies in a published folder: under its name, or under one that it had before."""
        names = dict.fromkeys([self.name, *(one.name for one in reversed(self.older) if one.name)])
        paths = [folder / f"{name}.parquet" for name in names]
        return next((path for path in paths if path.exists()), paths[0])

    def read_in(self, folder: Path) -> pd.DataFrame:
        """The rows in a published folder, of any version; a table without rows was left out. Errors: as for `read`."""
        import pandas as pd

        path = self.file_in(folder)
        return self.read(path, older=True) if path.exists() else pd.DataFrame(columns=self.names)

    def _in(self, schema: pa.Schema) -> Table:
        if not self.extensible:
            return self
        return self.with_columns(filter(None, (_described(one) for one in schema if one.name not in self.names)))

    def _arrow(self, rows: pd.DataFrame, said: Mapping[str, str]) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_pandas(rows[self.names], self.arrow_schema(said), preserve_index=False)

    def _steps(self, schema: pa.Schema, path: Path | str, older: bool) -> tuple[Older, ...]:
        """What must be done to the rows of a file to have those of this version. Errors: `DataError`."""
        meta = schema.metadata or {}
        name, version = (meta.get(key.encode(), b"?").decode(errors="replace") for key in (NAME, VERSION))
        if (name, version) == (self.name, str(self.version)):
            return ()
        known = [(one.name or self.name, str(one.version)) for one in self.older]
        if older and (name, version) in known:
            return self.older[known.index((name, version)) :]
        told = f"{path}: holds table {name!r} version {version}, expected {self.name!r} version {self.version}"
        if version.isdigit() and version != str(self.version):
            told += "; another version of FLDRep made it: delete it, and snakemake makes it again"
        raise DataError(told)

    def _checked(self, table: pa.Table, path: Path | str) -> pa.Table:
        """The columns in their order. Errors: `DataError` for one that is missing, of another type or has holes."""
        missing = [name for name in self.names if name not in table.column_names]
        if missing:
            raise DataError(f"{path}: missing columns {missing}")
        for column in self.columns:
            stored, expected = table.schema.field(column.name).type, column.stored_type
            if stored != expected:
                raise DataError(f"{path}: column {column.name} holds {stored}, expected {expected}")
            if not column.null and table[column.name].null_count:
                raise DataError(f"{path}: column {column.name} has empty cells, expected none")
        return table.select(self.names)


def _stored(path: Path | str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # one file: names of folders add no columns
            return file.read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet table: {str(error).splitlines()[0]}") from None


def _said(schema: pa.Schema) -> dict[str, str]:
    """What a file says besides its table's name and version."""
    words = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    return {key[len(PREFIX) :]: words[key] for key in words if key.startswith(PREFIX) and key not in (NAME, VERSION)}


def _described(stored: pa.Field) -> Column | None:
    """A column as a file's schema describes it; None where it does not."""
    said = {key.decode(): value.decode() for key, value in (stored.metadata or {}).items()}
    kind = {Column("", one, "").stored_type: one for one in TYPES}.get(stored.type)
    if kind is None or "meaning" not in said:
        return None
    better = {"true": True, "false": False}.get(said.get("larger_is_better", ""))
    return Column(stored.name, kind, said["meaning"], said.get("unit", ""), stored.nullable, better)
