"""Tables: what is written is read, and what does not fit is refused by name."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fldrep import registry
from fldrep.errors import ConfigError, DataError
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.attacks import ATTACKS, attacks_here, metrics_in
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL
from fldrep.tables.shards import SHARDS
from fldrep.tables.table import Column, Older, Table

TABLES = [SHARDS, ATTACK_RUNS, CLAIMS, *FINAL.values()]
METRICS = ["mse", "mse_pixel", "psnr_db", "ssim"]
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
    identity |= {"target", "restart", "preset", "variant_of", "is_best_restart"}
    outcome = {"gradient_distance", "iterations", "diverged", "recovered", "label", "label_found", "judged_by"}
    outcome |= {"live_pruned", "norm2_removed", "runtime_s", "device", "problems_at_once", "member", "code"}
    lines = {f"{prefix}{metric}" for prefix in ("", "grey_", "class_mean_") for metric in METRICS}
    assert identity | outcome | lines <= set(ATTACKS.names)


# ---- the final tables


def test_the_final_tables_are_found_in_their_files_and_stand_in_order():
    assert list(FINAL) == [
        "attacks",
        "training",
        "identifiability",
        "leakage",
        "certificate",
        "convergence",
        "accounting",
    ]
    assert {table.name for table in FINAL.values()} == set(FINAL)
    for analysis in registry.in_order("analysis").values():
        assert set(analysis.words) == {"title", "note", "order"}
        assert analysis.value(pd.DataFrame(columns=FINAL[analysis.name].names)) == []


# ---- metrics


def test_metrics_say_their_unit_and_whether_larger_is_better_in_the_file(tmp_path):
    ATTACKS.write([], tmp_path / "t.parquet")
    found = metrics_in(ATTACKS.in_file(tmp_path / "t.parquet").columns)
    assert [(one.name, one.unit, one.larger_is_better) for one in found] == [
        ("mse", "data set std squared", False),
        ("mse_pixel", "pixel range squared", False),
        ("psnr_db", "dB", True),
        ("ssim", "", True),
    ]


NEAR = """
import fldrep

@fldrep.metric("near-ness", unit="pixel range", larger_is_better=True, meaning="one less the mean absolute error")
def nearness(images, originals):
    return 1 - (images - originals).abs().flatten(1).mean(1)
"""


def test_a_metric_of_a_plug_in_is_a_column_that_is_read_where_no_plug_in_is(synthetic, tmp_path, plug_in):
    rows = synthetic.attack_table(2, ("gs",), ("none",))
    plug_in(NEAR)
    more = rows.assign(near_ness=0.9, grey_near_ness=0.5, class_mean_near_ness=None)
    attacks_here().write(more, tmp_path / "t.parquet")
    assert ATTACKS.names == [name for name in attacks_here().names if "near_ness" not in name]
    read = ATTACKS.read(tmp_path / "t.parquet")
    assert list(read["grey_near_ness"]) == [0.5, 0.5]
    (*_, own) = metrics_in(ATTACKS.in_file(tmp_path / "t.parquet").columns)
    assert (own.name, own.unit, own.larger_is_better) == ("near_ness", "pixel range", True)
    assert own.meaning.startswith("one less the mean absolute error, of the reconstruction")
    with pytest.raises(DataError, match=r"missing columns \['near_ness'"):
        attacks_here().write(rows, tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("decorator", "told"),
    [
        ('metric("seed")', "metric 'seed': attacks have a column 'seed' already; choose another name"),
        ('metric("error")', "metric 'error': attacks have a column 'error' already"),
        ('metric("x", larger=True)', "metric 'x': unknown word 'larger'; it takes meaning, unit"),
        ('metric("x", unit=3)', "metric 'x': unit=3: not a str"),
        ('metric("x", space="latent")', "metric 'x': space='latent': expected 'pixels' or 'input'"),
        ('metric("2-norm")', "metric '2-norm': expected a name that begins with a letter"),
    ],
)
def test_what_is_wrong_with_a_metrics_decorator_is_said_by_its_word(plug_in, decorator, told):
    plug_in(f"import fldrep\n@fldrep.{decorator}\ndef judge(images, originals): ...\n")
    with pytest.raises(ConfigError, match=told):
        attacks_here()


# ---- older versions

YOUNG = Table(
    "small",
    4,
    (*SMALL.columns[1:], Column("who", "str", "a name"), Column("size", "int", "a size", null=True)),
    older=(
        Older(2, "tiny", renamed={"number": "count"}),
        Older(3, renamed={"name": "who"}, values={"who": {"a": "A"}}),
    ),
)


def test_an_older_table_is_read_under_todays_words_with_nulls(tmp_path):
    path = tmp_path / "small.parquet"
    SMALL.write(ROWS, path)
    rows = YOUNG.read(path, older=True)
    assert list(rows) == ["count", "share", "done", "who", "size"]
    assert rows["who"].tolist() == ["A", "b"]
    assert rows["size"].isna().all()
    YOUNG.write(rows, tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(YOUNG.read(tmp_path / "again.parquet"), rows)


def test_each_version_is_brought_to_the_next(tmp_path):
    oldest = Table("tiny", 2, (*SMALL.columns[2:], Column("number", "int", "a number"), SMALL.columns[0]))
    oldest.write([{"share": 0.5, "done": True, "number": 7, "name": "a"}], tmp_path / "tiny.parquet")
    assert YOUNG.file_in(tmp_path) == tmp_path / "tiny.parquet"
    (row,) = YOUNG.read(YOUNG.file_in(tmp_path), older=True).to_dict("records")
    assert (row["count"], row["who"], row["done"]) == (7, "A", True)
    assert YOUNG.file_in(tmp_path / "none").name == "small.parquet"


def test_what_jobs_read_is_of_one_version_and_the_error_says_what_to_do(tmp_path):
    SMALL.write(ROWS, tmp_path / "small.parquet")
    with pytest.raises(DataError, match=r"small\.parquet: .* version 3, expected 'small' version 4; .* snakemake"):
        YOUNG.read(tmp_path / "small.parquet")


def test_an_older_table_that_is_not_what_its_version_was_is_named(tmp_path):
    _foreign(tmp_path / "t.parquet", pd.DataFrame(ROWS).drop(columns="count"), MARKED)
    with pytest.raises(DataError, match=r"t\.parquet: not what version 3 of small was: .*count"):
        YOUNG.read(tmp_path / "t.parquet", older=True)
