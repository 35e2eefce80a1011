"""What docs/results holds is whole, of the configs in config/, and the README says the same numbers."""

from pathlib import Path

import pytest

from fldrep.report.publish import folders, kind_of
from fldrep.report.readme import filled, names_in, readme_blocks
from fldrep.report.results_folder import FILE_LIMIT, TABLES_LIMIT, faults, table_sizes

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"


def test_every_number_between_the_readmes_markers_is_that_of_the_tables():
    text = (ROOT / "README.md").read_text()
    blocks, lacking = readme_blocks(RESULTS, names_in(text))
    assert not lacking, f"blocks without published results: {lacking}"
    assert filled(text, blocks) == text, "run: python -m fldrep publish"


@pytest.mark.parametrize("name", folders(RESULTS))
def test_a_published_folder_is_whole(name):
    assert kind_of(RESULTS / name).faults(RESULTS / name, ROOT) == []


def test_published_tables_are_small():
    assert sum(sum(table_sizes(RESULTS / name).values()) for name in folders(RESULTS)) <= TABLES_LIMIT
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
