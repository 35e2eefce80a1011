"""The bench of exact attacks: which images it takes, how it goes on, and what is published of it."""

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pandas as pd
import pytest

import fldrep
from benchmarks.exact import kept as keeping
from benchmarks.exact.cells import CELLS, MARKS, Cell
from benchmarks.exact.kept import EXACT, Kept
from benchmarks.exact.page import counterexamples, outcome, page
from fldrep.config.presets import ATTACK_PRESETS

PUBLISHED = Path(__file__).parents[2] / "docs/results"


def tuned_on() -> dict[str, dict[str, tuple[range, ...]]]:
    """Test images that constants were chosen on, as the modules of these constants say."""
    names = [one.name for one in walk_packages(fldrep.__path__, "fldrep.") if ".attack." in one.name]
    modules = {name: import_module(name) for name in names}
    return {name: module.TUNED_ON for name, module in modules.items() if hasattr(module, "TUNED_ON")}


def test_no_constant_was_chosen_on_an_image_that_a_mark_is_measured_on():
    tuned = tuned_on()
    assert {"fldrep.attack.optimisers.adam_spectral", "fldrep.attack.overlaps"} <= set(tuned)
    for module, chosen in tuned.items():
        for cell in CELLS.values():
            taken = {index for images in chosen.get(cell.dataset, ()) for index in images}
            assert not taken & set(cell.targets), (module, cell.name)


def test_marks_are_measured_on_64_images_and_8_networks():
    marked = [cell for cell in CELLS.values() if cell.least is not None and cell.attack.startswith("closed-form")]
    assert {len(cell.targets) for cell in marked} == {64}
    for cell in marked:
        assert set(cell.targets) == set(MARKS)
        assert len({cell.seed(group) for group in cell.groups()}) == (1 if cell.rounds else 8)


@pytest.mark.parametrize("cell", CELLS.values(), ids=str)
def test_groups_hold_all_targets_once(cell):
    assert [target for group in cell.groups() for target in group] == list(cell.targets)
    assert all(len(group) % cell.images == 0 for group in cell.groups())
    assert cell.attack in ATTACK_PRESETS


def rows(cell: Cell, targets, mse_pixel: float = 1e-9, certified: bool = True) -> pd.DataFrame:
    filled = {"str": "", "int": 1, "float": 1.0, "bool": False}
    row = {column.name: filled[column.type] for column in EXACT.columns}
    row |= {"cell": cell.name, "mse_pixel": mse_pixel, "certified": certified, "made": "2026-01-01"}
    return pd.DataFrame([row | {"target": target} for target in targets])


def test_only_what_is_missing_is_attacked(tmp_path, monkeypatch):
    kept, cell = Kept(tmp_path / "exact.parquet", tmp_path), CELLS["small-lenet-0-of-2"]
    monkeypatch.setattr(keeping, "attacked", lambda cell, targets, _: rows(cell, targets[:: cell.images]))
    kept.attack(cell, cell.groups()[2:3])
    assert kept.missing(cell) == [group for place, group in enumerate(cell.groups()) if place != 2]
    kept.attack(cell, kept.missing(cell))
    assert kept.missing(cell) == []
    assert len(kept.of(cell)) == 64
    assert kept.of(CELLS["mnist-lenet-0-none"]).empty


def test_an_outcome_counts_what_was_found_and_what_was_certified_wrongly():
    cell = CELLS["mnist-lenet-0-none"]
    good, bad = rows(cell, MARKS[:62]), rows(cell, MARKS[62:], mse_pixel=1e-3)
    found = outcome(cell, pd.concat([good, bad]))
    assert (found.found, found.wrong, found.result) == (62, 2, "reached")
    assert outcome(cell, good).result == "", "not all were attacked"
    assert outcome(cell, pd.concat([good[1:], bad, bad[:1]])).result == "short"
    assert "62 of 64 | 62 of 64 reached" in page(pd.concat([good, bad]))


def test_images_nearer_than_theorem_1_says_are_counted_by_network():
    cell = CELLS["mnist-lenet-0-ratio-60"]
    near, far = rows(cell, MARKS[:3]), rows(cell, MARKS[3:4])
    near = near.assign(mse=1e-12, unknowns=784, bound=0.1)
    (line,) = counterexamples(pd.concat([near, far.assign(mse=1.0, unknowns=784, bound=0.1)]))
    assert line.startswith("Theorem 1, mnist lenet, behind masks: 75 %")
    assert "of 4 images" in line
    assert counterexamples(near.assign(bound=float("nan"))) == []


def test_what_is_published_reaches_its_marks_and_is_what_the_page_says():
    found = EXACT.read(PUBLISHED / "exact.parquet")
    assert (PUBLISHED / "exact.md").read_text() == page(found)
    for name, own in found.groupby("cell"):
        assert outcome(CELLS[name], own).wrong == 0, name
