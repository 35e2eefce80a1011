"""Tables: what is written is read, and what does not fit is refused by name."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fldrep.errors import DataError
from fldrep.tables.accounting import ACCOUNTING
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.attacks import ATTACKS, IMAGE_METRICS
from fldrep.tables.certificate import CERTIFICATE
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.leakage import LEAKAGE
from fldrep.tables.shards import SHARDS
from fldrep.tables.table import Column, Table
from fldrep.tables.training import TRAINING

TABLES = [SHARDS, TRAINING, ATTACK_RUNS, ATTACKS, LEAKAGE, CERTIFICATE, CONVERGENCE, ACCOUNTING]
SMALL = Table(
    "small",
    3,
    (
        Column("name", "str", "a word"),
        Column("count", "int", "a number", "images"),
        Column("share", "float", "a share", "share in [0, 1]", null=True),
        Column("done", "bool", "whether"),
    ),
)
ROWS = [{"name": "a", "count": 1, "share": 0.5, "done": True}, {"name": "b", "count": 2, "share": None, "done": False}]


def test_what_is_written_is_read(tmp_path):
    SMALL.write(ROWS, tmp_path / "t.parquet")
    found = SMALL.read(tmp_path / "t.parquet")
    assert list(found.columns) == ["name", "count", "share", "done"]
    assert found["name"].tolist() == ["a", "b"]
    assert found["count"].dtype == "int64"
    assert found["share"].dtype == "float64"
    assert found["share"].isna().tolist() == [False, True]
    assert found["done"].tolist() == [True, False]


@pytest.mark.parametrize("rows", [[], pd.DataFrame()], ids=["list", "frame"])
def test_a_table_without_rows_keeps_its_columns(tmp_path, rows):
    SMALL.write(rows, tmp_path / "t.parquet")
    assert list(SMALL.read(tmp_path / "t.parquet").columns) == SMALL.names


def test_the_order_of_columns_does_not_matter_and_the_index_is_dropped(tmp_path):
    frame = pd.DataFrame(ROWS)[["done", "share", "count", "name"]].set_index(pd.Index([7, 9]))
    SMALL.write(frame, tmp_path / "t.parquet")
    assert list(SMALL.read(tmp_path / "t.parquet").columns) == SMALL.names


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda frame: frame.drop(columns="count"), r"missing columns \['count'\]"),
        (lambda frame: frame.assign(colour="red"), r"unknown columns \['colour'\]"),
        (lambda frame: frame.assign(count=["x", "y"]), "table small: .*count"),
        (lambda frame: frame.assign(count=[1.5, 2.0]), "table small: "),
        (lambda frame: frame.assign(done=["yes", "no"]), "table small: .*done"),
        (lambda frame: frame.assign(name=["a", None]), "column name has empty cells"),
        (lambda frame: frame.assign(count=[1, None]), "column count has empty cells"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_leave_no_file(tmp_path, change, told):
    with pytest.raises(DataError, match=told):
        SMALL.write(change(pd.DataFrame(ROWS)), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_write_keeps_the_old_table(tmp_path):
    SMALL.write(ROWS, tmp_path / "t.parquet")
    with pytest.raises(DataError):
        SMALL.write([{"name": "only"}], tmp_path / "t.parquet")
    assert len(SMALL.read(tmp_path / "t.parquet")) == 2


def test_a_write_cut_short_keeps_the_old_table_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    SMALL.write(ROWS, tmp_path / "t.parquet")

    def full_disk(table, path):
        Path(path).write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(DataError, match=r"t\.parquet: cannot be written: No space left"):
        SMALL.write(ROWS[:1], tmp_path / "t.parquet")
    assert len(SMALL.read(tmp_path / "t.parquet")) == 2
    assert len(list(tmp_path.iterdir())) == 1


def _foreign(path, frame, metadata):
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(metadata), path)


MARKED = {"fldrep_table": "small", "fldrep_version": "3"}


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        (None, "holds table '[?]' version [?], expected 'small' version 3"),
        ({**MARKED, "fldrep_version": "2"}, "version 2, expected 'small' version 3"),
        ({**MARKED, "fldrep_table": "big"}, "holds table 'big'"),
    ],
)
def test_a_table_of_another_kind_or_version_is_refused_by_name(tmp_path, metadata, told):
    path = tmp_path / "other.parquet"
    _foreign(path, pd.DataFrame(ROWS), metadata)
    with pytest.raises(DataError, match=told) as refused:
        SMALL.read(path)
    assert str(path) in str(refused.value)


def test_a_table_that_lacks_a_column_is_refused_by_name(tmp_path):
    _foreign(tmp_path / "t.parquet", pd.DataFrame(ROWS).drop(columns="share"), MARKED)
    with pytest.raises(DataError, match=r"t\.parquet: missing columns \['share'\]"):
        SMALL.read(tmp_path / "t.parquet")


def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path):
    whole = tmp_path / "whole.parquet"
    SMALL.write(ROWS, whole)
    for name, content in {"cut": whole.read_bytes()[:-20], "empty": b"", "html": b"<html>404</html>"}.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.parquet: not a readable Parquet table: ") as refused:
            SMALL.read(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match=r"absent\.parquet"):
        SMALL.read(tmp_path / "absent.parquet")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_says_what_it_means_and_numbers_say_their_unit(table):
    assert len(set(table.names)) == len(table.names)
    for column in table.columns:
        assert len(column.meaning) > 3, column.name
        if column.name.endswith(("_s", "_bytes", "_db", "rate", "accuracy")):
            assert column.unit, f"{column.name} has no unit"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_file_tells_units_and_meanings_to_any_reader(tmp_path, table):
    table.write([], tmp_path / "t.parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.metadata[b"fldrep_table"] == table.name.encode()
    for column in table.columns:
        stored = schema.field(column.name).metadata
        assert (stored[b"meaning"].decode(), stored[b"unit"].decode()) == (column.meaning, column.unit)


def test_the_attack_table_names_what_identifies_a_row_and_what_judges_it():
    identity = {"dataset", "model", "partition", "defense", "rule", "rate", "round", "attack", "label_strategy", "seed"}
    identity |= {"target", "restart", "is_best_restart"}
    outcome = {"gradient_distance", "iterations", "diverged", "recovered", "label", "label_found"}
    outcome |= {"live_pruned", "norm2_removed", "runtime_s", "device", "problems_at_once", "code"}
    lines = {f"{prefix}{metric}" for prefix in ("", "grey_", "class_mean_") for metric in IMAGE_METRICS}
    assert identity | outcome | lines <= set(ATTACKS.names)
