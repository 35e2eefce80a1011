"""A folder that version 0.1.0 published is read, and rewritten in today's words with every number as it was.

`older/small` was made by that version from a part of the rows of docs/results/cpu.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from fldrep.config.reading import read_config
from fldrep.errors import DataError
from fldrep.report import blocks
from fldrep.report.publish import kind_of, publish_again
from fldrep.report.reworded import reworded
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL
from fldrep.tables.training import TRAINING

OLDER = Path(__file__).parent / "older" / "small"
NOW = {"attacks": "attacks", "utility": "training", "certificate": "certificate", "claims": "claims"}
CSV = {"attacks_by_cell": "attacks_by_cell", **{old: new for old, new in NOW.items() if old != "attacks"}}
RENAMED = {
    "sent": "update_kind",
    "images": "images_per_update",
    "chosen": "is_best_restart",
    "energy_removed": "norm2_removed",
    "chunk": "problems_at_once",
    "train_scores": "norm_estimator",
}


# Which errors count goes by what is found since, where it went by the error: this claim counts a cell more.
JUDGED_ANEW = "worse-than-grey"
LIVE = {"utility": "nonzero_pruned"}
NO_LONGER_SAID = {"attack too weak to judge": "not testable here"}


def renamed(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    now = frame.rename(columns=RENAMED | {"live_rate": LIVE.get(table, "live_pruned")})
    if table != "claims":
        return now
    return now[now["claim"] != JUDGED_ANEW].replace({"verdict": NO_LONGER_SAID})


def judged_then(now: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """The rows of claims that the older version judged by the same rule; of other tables all."""
    return now[now["claim"].isin(before["claim"])].reset_index(drop=True) if "claim" in before else now


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory):
    """A repository with the older folder, rewritten, and what the command told."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(OLDER, root / "docs/results/small")
    told = list(publish_again(["small"], root / "docs/results"))
    (root / "config").mkdir()
    shutil.copyfile(root / "docs/results/small/config.yaml", root / "config/small.yaml")
    return root / "docs/results/small", told


def test_an_older_folder_is_read_with_nulls_for_what_it_did_not_say():
    attacks, training = (table.read(table.file_in(OLDER), older=True) for table in (ATTACKS, TRAINING))
    assert TRAINING.file_in(OLDER).name == "utility.parquet"
    assert (len(attacks), len(training)) == (120, 31)
    assert attacks["judged_by"].isna().all()
    assert set(attacks["preset"]) == {"dlg", "gs", "gs-masked", "ensemble"}
    assert "strongest" in set(attacks["attack"]), "a name that the user gave stays"
    assert training["nonzero_pruned"].notna().any()
    assert set(CLAIMS.read(OLDER / "claims.parquet", older=True)["update_kind"]) == {"", "single"}


def test_blocks_of_the_readme_are_written_from_an_older_folder():
    attacks = ATTACKS.read(OLDER / "attacks.parquet", older=True)
    text = blocks.attacks_block(attacks)
    assert "strongest, 300 iterations" in text
    assert "**mnist · lenet · iid · round 0**" in text


@pytest.mark.parametrize("old", NOW)
def test_every_value_is_as_it_was(rewritten, old):
    before = renamed(pd.read_parquet(OLDER / f"{old}.parquet"), old)
    now = pd.read_parquet(rewritten[0] / f"{NOW[old]}.parquet")
    if old == "attacks":
        before["preset"] = before["preset"].replace({"strongest": "ensemble"})
    pd.testing.assert_frame_equal(judged_then(now, before)[before.columns], before)
    assert set(now) - set(before) <= {"judged_by", "member", "variant_of", "certified", "refused", "held_out_accuracy"}


@pytest.mark.parametrize("old", CSV)
def test_every_number_for_reading_is_as_it_was(rewritten, old):
    before = renamed(pd.read_csv(OLDER / f"{old}.csv"), old)
    now = pd.read_csv(rewritten[0] / f"{CSV[old]}.csv")
    for name in before.select_dtypes("number"):
        np.testing.assert_array_equal(judged_then(now, before)[name], before[name])


def test_the_folder_is_that_of_this_version_and_whole(rewritten):
    folder, told = rewritten
    assert told == [
        f"{folder}: written again; 1 claims say something else",
        f"{folder}: claim {JUDGED_ANEW}, soteria-80, representation-80: n 4 instead of 3",
    ]
    assert kind_of(folder).faults(folder, folder.parents[2]) == []
    names = {path.name for path in folder.iterdir()}
    assert names & {"utility.parquet", "utility.csv"} == set()
    for name in ("attacks", "training", "certificate"):
        version = pq.read_schema(folder / f"{name}.parquet").metadata[b"fldrep_version"]
        assert version == str(FINAL[name].version).encode()
    facts, before = (json.loads((one / "provenance.json").read_text()) for one in (folder, OLDER))
    assert facts["rows"]["training"] == before["rows"]["utility"]
    assert facts["code"]["training"] == before["code"]["utility"]
    same = [name for name in before if name not in ("rows", "code")]
    assert {name: facts[name] for name in same} == {name: before[name] for name in same}


def test_the_config_has_todays_words_and_its_comments_and_layout(rewritten):
    text = (rewritten[0] / "config.yaml").read_text()
    config = read_config(rewritten[0] / "config.yaml")
    assert config.defenses["representation-80"].norm_estimator == "exact"
    assert config.attacks["strongest"].preset == "ensemble"
    assert "prune: representation, norm_estimator: exact}  # r itself is pruned" in text
    lines = zip(text.splitlines(), (OLDER / "config.yaml").read_text().splitlines(), strict=True)
    assert sum(now != before for now, before in lines) == 4


def test_writing_again_changes_nothing_more(rewritten, tmp_path):
    shutil.copytree(rewritten[0], tmp_path / "small")
    list(publish_again([], tmp_path))
    for path in rewritten[0].rglob("*"):
        if path.is_file():
            assert (tmp_path / "small" / path.relative_to(rewritten[0])).read_bytes() == path.read_bytes(), path.name


def test_a_folder_that_was_not_rewritten_says_how_it_is():
    (fault,) = kind_of(OLDER).faults(OLDER, OLDER.parent)
    assert fault.endswith("run: python -m fldrep publish --again small")


def test_claims_that_say_something_else_now_are_told(tmp_path):
    shutil.copytree(OLDER, tmp_path / "small")
    claims = CLAIMS.read(OLDER / "claims.parquet", older=True)
    claims.loc[claims["claim"] == "accuracy", ["median", "verdict"]] = [-0.5, "reproduced"]
    CLAIMS.write(claims, tmp_path / "small/claims.parquet")
    first, *told = publish_again(["small"], tmp_path)
    assert first.endswith("2 claims say something else")
    line, _ = told
    assert "claim accuracy, none, soteria-80: median " in line
    assert line.endswith("instead of -0.5, verdict not reproduced instead of reproduced")


def test_what_is_no_published_folder_is_named(tmp_path):
    (tmp_path / "small").mkdir()
    with pytest.raises(
        DataError, match=r"small: no published results: it has no evidence\.json and no provenance\.json"
    ):
        list(publish_again(["small"], tmp_path))
    assert list(publish_again([], tmp_path)) == []


def test_a_text_whose_keys_moved_is_written_anew():
    text = "a: 1  # one\nb: [x, y]\n"
    assert reworded(text, {"a": 2, "b": ["x", "z"]}) == "a: 2  # one\nb: [x, z]\n"
    assert yaml.safe_load(reworded(text, {"b": ["x"], "c": None})) == {"b": ["x"], "c": None}
