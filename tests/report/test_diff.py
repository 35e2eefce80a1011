"""What `diff` says of two published results: altered copies against what they were."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from fldrep.analysis.cells import summarise
from fldrep.analysis.rows import CELL
from fldrep.cli.main import app
from fldrep.errors import DataError
from fldrep.report.diff_page import NOTHING
from fldrep.report.differences import Part, differences, results_differ
from fldrep.report.results import read_results
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS
from fldrep.tables.training import TRAINING

DEMO = Path(__file__).parents[2] / "docs/results/demo"


@pytest.fixture(scope="module")
def demo():
    return read_results(str(DEMO))


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(DEMO, tmp_path / "altered")


def altered(folder: Path, table, change) -> pd.DataFrame:
    """A table of a folder, changed in place by `change(rows)`."""
    path = folder / f"{table.name}.parquet"
    rows = table.read(path)
    rows = change(rows)
    table.write(rows, path)
    return rows


def parts_of(before, folder: Path) -> dict[str, Part]:
    return {part.name: part for part in differences(before, read_results(str(folder)))}


def diff(*arguments: object):
    return CliRunner().invoke(app, ["diff", *map(str, arguments)])


def test_equal_results_are_said_to_be_equal(demo, tmp_path):
    said = diff(DEMO, DEMO, "--out", tmp_path / "same.html", "--fail-if-changed")
    assert said.exit_code == 0, said.output
    assert NOTHING in said.output
    text = (tmp_path / "same.html").read_text()
    assert NOTHING in text
    assert "<section" not in text, "nothing to list"
    parts = differences(demo, demo)
    assert len(parts) == 9
    assert all(part.same for part in parts)
    claims = next(part for part in parts if part.name == "claims")
    assert claims.same == len(demo.claims), "every claim has a cell of its own"


def test_another_machine_and_day_are_no_other_result(demo, copy):
    told = json.loads((copy / "provenance.json").read_text())
    told |= {"commit": "0123456789ab", "made": "2030-01-01 00:00 UTC"}
    (copy / "provenance.json").write_text(json.dumps(told))
    altered(copy, ATTACKS, lambda rows: rows.assign(runtime_s=7.0, device="cuda", code="f" * 16))
    parts = parts_of(demo, copy)
    assert not results_differ(list(parts.values()))
    assert {one.cell for one in parts["origin"].changes} == {"commit", "made", "code of the table attacks"}
    said = diff(DEMO, copy, "--out", copy / "page.html", "--fail-if-changed")
    assert said.exit_code == 0
    assert NOTHING in said.output
    assert "0123456789ab" in (copy / "page.html").read_text()


def test_an_error_that_moved_shows_both_medians_and_the_paired_difference(demo, copy):
    cell = summarise(demo.tables["attacks"]).iloc[0]

    def worse(rows):
        own = (rows[CELL] == list(cell[CELL])).all(axis=1)
        return rows.assign(mse_pixel=rows["mse_pixel"] + np.where(own, 0.25, 0.0))

    altered(copy, ATTACKS, worse)
    parts = parts_of(demo, copy)
    (change,) = parts["errors"].changes
    assert cell["attack"] in change.cell
    assert cell["defense"] in change.cell
    assert change.after.values[0] == pytest.approx(change.before.values[0] + 0.25)
    assert change.by.startswith("+0.250")
    assert change.by.endswith(f"over {cell['n']} targets")
    assert parts["errors"].same == len(summarise(demo.tables["attacks"])) - 1
    (rows,) = parts["rows"].changes
    assert re.fullmatch(r"mse_pixel in \d+ rows", rows.by)


def test_numbers_apart_by_rounding_are_the_same(demo, copy):
    altered(copy, ATTACKS, lambda rows: rows.assign(mse=rows["mse"] * (1 + 1e-9)))
    assert not results_differ(differences(demo, read_results(str(copy))))


def test_images_no_longer_found_change_verdicts_answers_and_counts(demo, copy):
    nothing = {"recovered": False, "certified": False}
    altered(copy, ATTACKS, lambda rows: rows.assign(**nothing))
    parts = parts_of(demo, copy)
    lost = [one for one in parts["found"].changes if one.before.values[0]]
    assert lost
    for one in lost:
        assert one.after.values[0] == 0
        assert one.by == f"0 newly found, {one.before.values[0]} no longer"
    assert {one.after.verdict for one in parts["verdicts"].changes} <= {
        "identifiable, not found by our attacks",
        "not found by our attacks",
        "not identifiable",
        "not identifiable even undefended",
    }
    assert any((one.before.verdict, one.before.mark) == ("falls", "no") for one in parts["answers"].changes)


def test_cells_that_one_lacks_are_added_and_removed(demo, copy):
    rows = altered(copy, ATTACKS, lambda rows: rows[rows["attack"] != "dlg"])
    cells = len(summarise(demo.tables["attacks"])) - len(summarise(rows))
    errors = parts_of(demo, copy)["errors"]
    assert errors.counts() == {"changed": 0, "added": 0, "removed": cells}
    assert all(one.after is None for one in errors.changes)
    back = {part.name: part for part in differences(read_results(str(copy)), demo)}
    assert back["errors"].counts() == {"changed": 0, "added": cells, "removed": 0}


def test_accuracy_moves_by_points(demo, copy):
    altered(copy, TRAINING, lambda rows: rows.assign(test_accuracy=rows["test_accuracy"] - 0.015))
    accuracy = parts_of(demo, copy)["accuracy"]
    assert accuracy.changes
    assert {one.by for one in accuracy.changes} == {"−1.50 points"}


def test_settings_are_named_by_their_keys(demo, copy):
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["attacks"]["dlg"]["iterations"] = 7
    config["defenses"]["laplace-01"]["std"] = 0.5
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    changes = {one.cell: (one.before.words, one.after.words) for one in parts_of(demo, copy)["settings"].changes}
    assert changes["attacks.dlg.iterations"][1] == "7"
    assert changes["defenses.laplace-01.std"][1] == "0.5"
    assert len(changes) == 2


def test_a_claim_with_another_verdict_is_marked(demo, copy):
    first = demo.claims.iloc[0]["verdict"]
    other = next(one for one in ("reproduced", "not reproduced") if one != first)

    def judged_otherwise(rows):
        rows.loc[0, "verdict"] = other
        return rows

    altered(copy, CLAIMS, judged_otherwise)
    (change,) = parts_of(demo, copy)["claims"].changes
    assert (change.before.verdict, change.after.verdict) == (first, other)


class Page(HTMLParser):
    """The elements of a page, and the text between them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_asks_the_network_for_nothing_and_escapes_what_it_shows(copy):
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["attacks"]["dlg"]["iterations"] = 7
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    told = json.loads((copy / "provenance.json").read_text())
    (copy / "provenance.json").write_text(json.dumps({**told, "machine": "<script>alert(1)</script>"}))
    assert diff(DEMO, copy, "--out", copy / "page.html").exit_code == 0
    text = (copy / "page.html").read_text()
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object"}
    assert all(attrs.get("href", "#").startswith("#") for _, attrs in page.tags)
    links = {attrs["href"][1:] for tag, attrs in page.tags if tag == "a"}
    assert links == {attrs["id"] for tag, attrs in page.tags if tag == "section"}
    assert "&lt;script&gt;alert(1)" in text
    assert any("attacks.dlg.iterations" in one for one in page.text)


def test_exit_code_where_it_shall_fail(copy):
    altered(copy, TRAINING, lambda rows: rows.assign(test_accuracy=0.5))
    assert diff(DEMO, copy, "--out", copy / "page.html").exit_code == 0
    assert diff(DEMO, copy, "--out", copy / "page.html", "--fail-if-changed").exit_code == 3


def test_what_is_no_result_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="no-such-run: no results: expected a published folder"):
        read_results("no-such-run", tmp_path)
