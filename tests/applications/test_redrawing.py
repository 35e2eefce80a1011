"""Published figures drawn again: those that need only tables, from the tables beside them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fldrep.analysis.rows import SETTING
from fldrep.applications.redrawing import redraw
from fldrep.report.results_folder import FILE_LIMIT
from fldrep.tables.attacks import ATTACKS

DEMO = Path(__file__).parents[2] / "docs/results/demo"


@pytest.fixture
def folder(tmp_path) -> Path:
    return shutil.copytree(DEMO, tmp_path / "demo")


def test_what_needs_the_gallery_stays_and_all_else_is_of_the_tables(folder):
    figures = {path.stem: path for path in (folder / "figures").glob("*.png")}
    before = {name: path.read_bytes() for name, path in figures.items()}
    rows = ATTACKS.read(folder / "attacks.parquet")
    first = rows[SETTING].iloc[0]
    ATTACKS.write(rows[(rows[SETTING] == first).all(axis=1)], folder / "attacks.parquet")
    drawn = redraw(folder)
    assert set(figures) - set(drawn) == {"reconstructions"}
    assert figures["reconstructions"].read_bytes() == before["reconstructions"]
    heights = {name: Image.open(figures[name]).height for name in ("verdicts", "privacy_utility")}
    assert all(heights[name] < height_of(before[name]) for name in heights), "one setting is left"
    assert all(figures[name].stat().st_size <= FILE_LIMIT for name in drawn)
    assert redraw(folder) == drawn
    for name in drawn:
        assert np.asarray(Image.open(figures[name])).std() > 0, name


def height_of(content: bytes) -> int:
    return int.from_bytes(content[20:24], "big")
