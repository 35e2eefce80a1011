"""The blocks of README and docs say what published tables say, and nothing outside of the markers is touched."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fldrep.analysis.published import PHOTO_MSE
from fldrep.analysis.rows import chosen, converged
from fldrep.analysis.words import number
from fldrep.errors import DataError, UnknownName
from fldrep.report import blocks, texts
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS


def marked(*names: str) -> str:
    return "".join(
        f"Words of {name}.\n<!-- results:{name}:begin -->\nold\n<!-- results:{name}:end -->\n" for name in names
    )


def cells(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text, rows of cells, heads first."""
    found: list[list[list[str]]] = []
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        if line.startswith("|") and not line.startswith("|---"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def test_only_what_is_between_markers_is_replaced():
    text = marked("demo", "photo")
    new = texts.filled(text, {"photo": "| x |", "demo": "y", "absent": "z"})
    assert new == (
        "Words of demo.\n<!-- results:demo:begin -->\ny\n<!-- results:demo:end -->\n"
        "Words of photo.\n<!-- results:photo:begin -->\n| x |\n<!-- results:photo:end -->\n"
    )
    assert texts.filled(new, {"photo": "| x |", "demo": "y"}) == new
    assert texts.filled(text, {"demo": "y"}).endswith(marked("photo"))
    assert texts.names_in(text) == ["demo", "photo"]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- results:demo:begin -->",
        "<!-- results:demo:end -->",
        "<!-- results:demo:end --><!-- results:demo:begin -->",
        "<!-- results:demo:begin --><!-- results:photo:end -->",
        marked("demo", "demo"),
    ],
)
def test_markers_that_do_not_pair_are_named(text):
    with pytest.raises(DataError, match="marker <!-- results:demo"):
        texts.filled(text, {})


def test_a_block_that_nobody_makes_is_named(tmp_path):
    with pytest.raises(UnknownName, match=r"'pie'; known: claims, contrast, demo"):
        texts.blocks_of(tmp_path, ["pie"], tmp_path)


def test_every_claim_stands_with_its_verdicts_counted(finished):
    claims = CLAIMS.read(finished.reports / "claims.parquet")
    ((heads, *rows),) = cells(blocks.claims_block(claims))
    assert {len(row) for row in rows} == {len(heads)}
    counts = [int(row[1].rpartition("×")[2]) for row in rows]
    assert sum(counts) == len(claims)
    assert [row[0] for row in rows if row[0]] != []
    assert len([row for row in rows if row[0]]) == claims["claim"].nunique()
    assert "||r - r'||" in "".join(row[0] for row in rows).replace("\\|", "|")


def test_cells_of_a_verdict_are_told_from_the_least_to_the_largest():
    row = {"dataset": "mnist", "model": "lenet", "partition": "iid", "round": 0, "attack": "dlg", "defense": "none",
           "quantity": "share", "low": None, "high": None, "n": 8, "measured": "words"}  # fmt: skip
    rows = pd.DataFrame([row | {"median": median} for median in (2.0, 1.0, 3.0)])
    here = "(n = 8; mnist · lenet · iid · round 0 · dlg · none)"
    assert blocks.measured(rows) == f"1.00 {here} to 3.00 {here}: share"
    assert blocks.measured(rows[:1].assign(low=1.5, high=2.5)) == f"2.00 [1.50, 2.50] {here}: share"
    rows = pd.DataFrame([row | {"median": None, "measured": f"too few {number}"} for number in (1, 2)])
    assert blocks.measured(rows) == "too few 1 (and 1 more such)"


def test_the_demo_shows_errors_intervals_and_how_many_were_recovered(synthetic):
    attacks = synthetic.attack_table(9, ("gs", "gs-masked"), ("none", "soteria-80"))
    own = attacks["defense"].eq("soteria-80") & attacks["attack"].eq("gs")
    lost = own & attacks["target"].lt(2)
    attacks.loc[lost, ["diverged", "recovered"]] = [True, False]
    attacks.loc[own & ~lost, "mse"] = 9.0
    text = blocks.attacks_block(attacks)
    ((heads, plain, soteria),) = cells(text)
    assert heads == ["defense", "gs, 100 iterations", "gs-masked, 100 iterations"]
    assert plain[0] == "none"
    assert plain[2] == ""
    undefended = converged(attacks[attacks["defense"] == "none"])
    assert plain[1].startswith(f"{undefended['mse'].median():.3f} [")
    assert plain[1].endswith(f"]; {undefended['recovered'].sum()} of 9")
    recovered = attacks.loc[own, "recovered"].sum()
    assert soteria[1] == f"9.00 *; {recovered} of 9, 2 diverged"
    assert "grey image 1.08, mean image of the class 0.880" in text


def test_the_photo_stands_beside_the_ten_numbers_of_the_reference(synthetic):
    whole = synthetic.attack_table(1, ("gs",), ("none", "soteria-40", "compression-60"), (("photo", "c", "alone", 0),))
    plain, soteria, compression = whole.to_dict("records")
    ours = [
        plain,
        soteria | {"rate": 0.4, "live_pruned": 0.31, "mse": 0.777},
        compression | {"rate": 0.8, "mse": 0.555},
    ]
    text = blocks.photo_block(pd.DataFrame(ours)[ATTACKS.names])
    ((heads, *rows),) = cells(text)
    assert heads[3:] == ["soteria ratio", "compression"]
    table = {row[0]: row[1:] for row in rows}
    for method, column in zip(PHOTO_MSE, (0, 1), strict=True):
        assert {rate: float(table[f"{100 * rate:.0f} %"][column]) for rate in PHOTO_MSE[method]} == PHOTO_MSE[method]
    assert table["40 %"][2:] == ["0.777 (31 %)", ""]
    assert table["80 %"][2:] == ["", "0.555"]
    assert f"undefended {number(chosen(whole)['mse'].iloc[0])}" in text


def test_performance_is_what_was_measured(tmp_path):
    line = {"work": "scores", "against": "a loop", "mark": 5.0, "at_most": False, "slow_s": [2.0, 2.0], "ratio": 7.5}
    other = {**line, "work": "memory", "mark": None, "ratio": None, "slow_s": [], "result": "reported"}
    (tmp_path / "performance.json").write_text(
        json.dumps({"measured": {"processor": "fast"}, "lines": [{**line, "result": "reached"}, other]})
    )
    made, _ = texts.blocks_of(tmp_path, ["performance"], tmp_path)
    ((_, *rows),) = cells(made["performance"])
    assert rows[0] == ["scores", "a loop", "at least 5x", "7.5x", "2", "reached"]
    assert rows[1] == ["memory", "a loop", "", "", "", "reported"]
    assert "processor: fast" in made["performance"]


def test_the_command_publishes_and_writes_the_blocks_it_has_numbers_for(finished_runs, copy_of, call):
    run = copy_of(finished_runs("demo"))
    page = run.root / "README.md"
    page.write_text(marked("demo", "photo"))
    code, out, _ = call("publish", "config/demo.yaml")
    assert code == 0
    assert re.fullmatch(
        r"docs/results/demo: 0\.\d\d MB of tables\nREADME\.md: 1 of 2 blocks written\n"
        r"README\.md: block photo left as it is: there is no docs/results/photo\n",
        out,
    )
    text = page.read_text()
    assert text.endswith(marked("photo"))
    assert "From [docs/results/demo](docs/results/demo): `config/demo.yaml`, 1 seed, commit 0123456789ab" in text
    assert "linux, a <fast> processor, 2 cores" in text
    attacks = ATTACKS.read(run.root / "docs/results/demo/attacks.parquet")
    assert cells(text) == cells(blocks.attacks_block(attacks))
    assert sorted(path.name for path in (run.root / "docs/results/demo/figures").iterdir()) == sorted(
        path.name for path in (run.reports / "figures").iterdir()
    )
    assert call("publish")[0] == 0  # the blocks alone
    assert page.read_text() == text


def test_the_command_rewrites_an_older_folder_by_name(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("Words.\n")
    shutil.copytree(Path(__file__).parent / "older" / "small", "docs/results/small")
    code, out, _ = call("publish", "--again", "small")
    assert code == 0
    first, *_, last = out.splitlines()
    assert first == "docs/results/small: written again; 1 claims say something else"
    assert last == "README.md: 0 of 0 blocks written"
    assert (tmp_path / "docs/results/small/training.csv").exists()
    code, out, told = call("publish", "--again", "large")
    assert (code, out) == (2, "")
    assert (
        told
        == "fldrep: error: docs/results/large: no published results: it has no evidence.json and no provenance.json\n"
    )


def test_a_mistake_leaves_the_readme_and_docs_as_they_were(finished, call):
    page = finished.root / "README.md"
    page.write_text(marked("demo"))
    (finished.metrics / "attacks.parquet").unlink()
    code, out, told = call("publish", "config/small.yaml")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"fldrep: error: .*attacks\.parquet: not a readable Parquet table[^\n]*\n", told)
    assert page.read_text() == marked("demo")
    assert not list(finished.root.glob("docs/results/*"))
    page.write_text(marked("pie"))
    assert "unknown block of a text 'pie'" in call("publish")[2]
