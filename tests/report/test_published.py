"""What docs/results holds is whole, of the configs in config/, and README and docs say the same numbers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fldrep.cli.publish import TEXTS
from fldrep.errors import DataError
from fldrep.report.plugin_files import beside
from fldrep.report.publish import folders, kind_of, publish
from fldrep.report.results_folder import FILE_LIMIT, TABLES_LIMIT, faults, table_sizes
from fldrep.report.texts import blocks_of, filled, names_in

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"


@pytest.mark.parametrize("name", TEXTS)
def test_every_number_between_markers_is_that_of_the_tables(name):
    path = ROOT / name
    text = path.read_text()
    assert names_in(text)
    blocks, lacking = blocks_of(RESULTS, names_in(text), path.parent)
    if name != "docs/leaderboard.md":  # its grid may not have been run yet
        assert not lacking, f"blocks without published results: {lacking}"
    for one in lacking:
        assert re.search(rf"results:{one}:begin -->\s*<!-- results:{one}:end", text), f"numbers of no results: {one}"
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


def test_plugins_are_published_beside_the_config_and_read_from_there(run_with_plugin):
    run = run_with_plugin
    text = run.config.read_text()
    assert "[own/objective.py]  # why" in text
    folder = publish(run.config, run.root, run.published.parent)
    assert (folder / "config.yaml").read_text() == text.replace("own/objective.py", "objective.py")
    for name in ("objective.py", "factor.py"):
        assert (folder / name).read_text() == (run.root / "own" / name).read_text()
    assert faults(folder, run.root) == []
    alone = "from pathlib import Path; from fldrep.report.results_folder import rewrite; print(rewrite(Path('owned')))"
    (run.root / "own/objective.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {alone}"],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert (folder / "factor.py").is_file()


def test_a_plugin_edited_since_is_found_and_a_comment_in_it_is_not(run_with_plugin):
    run = run_with_plugin
    folder, own = publish(run.config, run.root, run.published.parent), run.root / "own/objective.py"
    own.write_text(f"# a comment\n{own.read_text()}")
    assert faults(folder, run.root) == []
    edit(own, "square()", "abs()")
    assert faults(folder, run.root) == ["objective.py: not that of config/owned.yaml"]
    (folder / "objective.py").unlink()
    assert [fault.partition(": cannot")[0] for fault in faults(folder, run.root)] == [f"plugins: {folder}/objective.py"]


def test_two_plugins_of_one_name_are_not_published(run_with_plugin, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/objective.py").write_text("other = 1\n")
    with pytest.raises(DataError, match=r"other/objective\.py: another file is published as objective\.py already"):
        beside([run_with_plugin.root / "own/objective.py", tmp_path / "other/objective.py"])


def test_a_number_edited_in_the_readme_is_found(published_runs):
    folder = published_runs("demo").published.parent
    blocks, _ = blocks_of(folder, ["demo"], folder)
    text = filled("<!-- results:demo:begin -->\n<!-- results:demo:end -->\n", blocks)
    assert filled(text, blocks) == text
    edited = text.replace(" of 9", " of 8", 1)
    assert edited != filled(edited, blocks) == text
