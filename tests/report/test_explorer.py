"""What the explorer puts into the page, and how large that is."""

import json

import numpy as np
import pandas as pd
import pytest

from fldrep.report import explorer as module
from fldrep.report.explorer import explorer, vega
from fldrep.tables.identifiability import IDENTIFIABILITY

PAGE_LIMIT = 15_000_000  # characters of a page


@pytest.fixture
def tables(synthetic):
    attacks = synthetic.attack_table(9, ("gs", "gs-masked", "gs-drop"), ("none", "soteria-80", "compression-60"))
    floors = pd.DataFrame(columns=IDENTIFIABILITY.names)
    return {"attacks": attacks, "identifiability": floors, "training": synthetic.training_table()}


@pytest.fixture
def pictures(synthetic, tables):
    return {name: one.numpy() for name, one in synthetic.pictures(tables["attacks"]).items()}


def columns_of(shown) -> pd.DataFrame:
    return pd.DataFrame(shown["data"]["columns"])


def test_all_pictures_are_there_where_they_fit_and_it_says_so(tables, pictures):
    shown = explorer(tables, pictures)
    rows = columns_of(shown)
    assert len(rows) == len(tables["attacks"])
    assert rows["rebuilt"].notna().all()
    assert len(shown["data"]["pictures"]) == len(pictures)
    assert shown["note"] == f"All {len(rows)} reconstructions are in this file as pictures."


def test_where_pictures_do_not_fit_those_of_the_first_targets_are_a_sample_that_is_stated(
    tables, pictures, monkeypatch
):
    whole = sum(map(len, explorer(tables, pictures)["data"]["pictures"]))
    monkeypatch.setattr(module, "PICTURES_LIMIT", whole // 2)
    shown = explorer(tables, pictures)
    rows = columns_of(shown)
    assert whole // 3 < sum(map(len, shown["data"]["pictures"])) <= whole // 2
    kept = rows["rebuilt"].notna()
    assert 0 < kept.sum() < len(rows)
    assert kept.equals(rows["original"].notna())
    assert rows.loc[kept, "target"].astype(int).max() <= rows.loc[~kept, "target"].astype(int).min()
    assert f"A sample of {kept.sum()} of {len(rows)} reconstructions" in shown["note"]
    assert rows["mse_pixel"].notna().all(), "the numbers are there for all"


def test_ten_thousand_attacked_images_leave_room_on_a_page(tables):
    """Numbers of all, pictures up to their limit, the plots' own code, and 3 MB for figures and tables."""
    shown = explorer(tables, {})
    each = len(json.dumps(shown["data"]["columns"])) / len(tables["attacks"])
    assert 10_000 * each + module.PICTURES_LIMIT + len(vega()) + 3_000_000 < PAGE_LIMIT


def test_missing_and_infinite_numbers_are_none(tables):
    tables["attacks"].loc[0, ["mse_pixel", "psnr_db"]] = [np.nan, np.inf]
    text = json.dumps(explorer(tables, {})["data"], allow_nan=False)
    assert "NaN" not in text
    rows = columns_of(explorer(tables, {}))
    assert rows.set_index("id").loc[0, ["mse_pixel", "psnr_db"]].isna().all()
