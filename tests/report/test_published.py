"""What docs/results holds is whole, of the configs in config/, and the README says the same numbers."""

import json
from pathlib import Path

import pytest

from fldrep.config.reading import read_config
from fldrep.report.claims import claims_page
from fldrep.report.publish import FILE_LIMIT, REQUIRED, TABLES, TABLES_LIMIT, for_reading, table_sizes
from fldrep.report.readme import filled, names_in, readme_blocks
from fldrep.tables.claims import CLAIMS
from fldrep.tables.table import Table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"


def folders(results: Path) -> list[Path]:
    return sorted(path for path in results.glob("*") if path.is_dir())


def faults(folder: Path, root: Path) -> list[str]:
    """All that is wrong with a published folder. Args: root: the repository whose configs it is held against."""
    told = json.loads((folder / "provenance.json").read_text())
    found = [f"provenance.json: no {key}" for key in REQUIRED if not told.get(key)]
    config = read_config(folder / "config.yaml")
    if config != read_config(root / told["config"]):
        found.append(f"config.yaml: not {told['config']}")
    if not config.name == told["name"] == folder.name:
        found.append(f"{config.name} and {told['name']} in a folder {folder.name}")
    expected = {"config.yaml", "provenance.json", "claims.html"}
    for table in (*TABLES, CLAIMS):
        if told["rows"].get(table.name, 1):
            expected |= {f"{table.name}.parquet"} | _of_table(table, folder, found)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    found += [f"{name}: missing, or not expected" for name in names ^ expected]
    if (folder / "claims.html").read_text() != claims_page(config.name, CLAIMS.read(folder / "claims.parquet")):
        found.append("claims.html: not claims.parquet")
    return found


def _of_table(table: Table, folder: Path, found: list[str]) -> set[str]:
    """Reads a table; its CSV must say the same. Returns the CSV's name."""
    stem, shown = for_reading(table.name, table.read(folder / f"{table.name}.parquet"))
    text = shown.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    if (folder / f"{stem}.csv").read_text() != text:
        found.append(f"{stem}.csv: not {table.name}.parquet")
    return {f"{stem}.csv"}


def test_every_number_between_the_readmes_markers_is_that_of_the_tables():
    text = (ROOT / "README.md").read_text()
    blocks, lacking = readme_blocks(RESULTS, names_in(text))
    assert not lacking, f"blocks without published results: {lacking}"
    assert filled(text, blocks) == text, "run: python -m fldrep publish"


@pytest.mark.parametrize("folder", folders(RESULTS), ids=lambda path: path.name)
def test_a_published_folder_is_whole(folder):
    assert faults(folder, ROOT) == []


def test_published_tables_are_small():
    assert sum(sum(table_sizes(folder).values()) for folder in folders(RESULTS)) <= TABLES_LIMIT
    assert [path for path in RESULTS.rglob("*") if path.stat().st_size > FILE_LIMIT] == []


# ---- the judge, judged


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_was_just_published_is_whole(published):
    assert faults(published.published, published.root) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("config.yaml", "rate: 0.8", "rate: 0.7", "config.yaml: not config/small.yaml"),
        ("provenance.json", '"commit": "0123456789ab"', '"commit": ""', "provenance.json: no commit"),
        ("attacks_by_cell.csv", "mnist", "minst", "attacks_by_cell.csv: not attacks.parquet"),
        ("claims.html", "Certificate", "Certitude", "claims.html: not claims.parquet"),
    ],
)
def test_an_edited_file_is_found(published, file, old, new, told):
    edit(published.published / file, old, new)
    assert faults(published.published, published.root) == [told]


def test_a_config_edited_since_is_found(published):
    edit(published.config, "rate: 0.8", "rate: 0.7")
    assert faults(published.published, published.root) == ["config.yaml: not config/small.yaml"]


def test_a_number_edited_in_the_readme_is_found(published_runs):
    blocks, _ = readme_blocks(published_runs("demo").published.parent, ["demo"])
    text = filled("<!-- results:demo:begin -->\n<!-- results:demo:end -->\n", blocks)
    assert filled(text, blocks) == text
    edited = text.replace(" of 9", " of 8", 1)
    assert edited != filled(edited, blocks) == text
