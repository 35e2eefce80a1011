"""Attackers who have more than the update, through the whole workflow: one who learns, and an active server."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from fldrep.tables.attacks import ATTACKS

TINY = Path(__file__).with_name("tiny.yaml")
MORE = {
    "learned": {"preset": "learned", "iterations": 1, "hashed": 256, "width": 64},
    "imprint": {"preset": "imprint"},
}

pytestmark = pytest.mark.long


def test_their_images_are_judged_and_shown_beside_those_of_others(snakemake, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    raw = yaml.safe_load(TINY.read_text())
    raw["attacks"] |= MORE
    raw["grid"] = raw["grid"][:1]
    raw["grid"][0]["attacks"] += MORE
    del raw["theory"]
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(raw))
    given = ("--cores", 2, "--configfile", tmp_path / "more.yaml")
    done = snakemake(*given, folder=tmp_path / "run", source=finished.source)
    assert done.code == 0, done.text[-6000:]
    ran = re.findall(r"^(?:local)?rule (\w+):", done.text, re.MULTILINE)
    assert (ran.count("train"), ran.count("attack")) == (0, 4), "only what is new is run"
    rows = ATTACKS.read(tmp_path / "run/results/tiny/metrics/attacks.parquet").groupby(["attack", "defense"])
    assert rows.size()[[*MORE]].tolist() == [2] * 4
    assert rows["refused"].max()[[*MORE]].tolist() == [""] * 4
    assert (rows["mse"].max()["imprint"] < 1e-9).all(), "Soteria's mask lies behind the module"
    assert (rows["mse"].max()["learned"] < rows["grey_mse"].max()["learned"]).all()
    page = (tmp_path / "run/reports/tiny/report.html").read_text()
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "imprint active public-images" in told
    assert "learned honest-but-curious mechanism, public-images" in told
