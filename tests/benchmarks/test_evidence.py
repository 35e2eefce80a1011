"""Evidence from a GPU, run small on a CPU: every part measures, says what it did not, and is published whole."""

import doctest
import json
import shutil
import time

import pandas as pd
import pytest
import torch

from benchmarks.gpu import attacks, cifar10, photo
from benchmarks.gpu.agreement import comparisons
from benchmarks.gpu.evidence import main
from benchmarks.gpu.inner import GRADIENT_ATTACKS
from benchmarks.gpu.photo import DEFENSES, costs_of_modes
from benchmarks.gpu.scale import SMALL, WHOLE
from benchmarks.gpu.speed import rows_of
from benchmarks.gpu.task import Task
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.errors import DataError
from fldrep.report import evidence_folder
from fldrep.report.evidence_folder import FOR_READING, check_published, publish_evidence
from fldrep.report.evidence_tables import AGREEMENT, CIFAR10, MEASURED, PHOTO, SPEED
from fldrep.storage.imageset import ImageSet


def rows(folder, table) -> pd.DataFrame:
    return table.read(folder / f"{table.name}.parquet")


def test_the_record_tells_what_was_run_where_and_within_which_limits(measured):
    told = json.loads((measured / "evidence.json").read_text())
    assert list(told["parts"]) == ["device", "agreement", "speed", "cifar10", "photo"]
    assert {part["ended"] for part in told["parts"].values()} == {"finished"}
    assert told["device"] == "cpu"
    assert told["limits_s"].keys() == told["parts"].keys()
    assert {"torch", "cuda", "python"} <= told["versions"].keys()
    assert sum(told["parts"]["agreement"]["rows"].values()) == len(rows(measured, AGREEMENT))


def test_every_attack_and_score_is_compared_in_both_precisions(measured):
    found = rows(measured, AGREEMENT)
    assert set(found["status"]) == {MEASURED}
    attacks_on_lenet = found[(found["kind"] == "attack") & (found["network"] == "lenet")]
    assert set(zip(attacks_on_lenet["name"], attacks_on_lenet["dtype"], strict=True)) == {
        (name, dtype) for name in GRADIENT_ATTACKS for dtype in ("float32", "float64")
    }
    assert found["largest"].max() == 0, "the CPU against itself"
    assert found.loc[found["kind"] == "attack", "start_apart"].max() == 0
    assert found.loc[found["kind"] == "score", "columns"].max() == 0
    assert set(found.loc[found["kind"] == "attack", "waits_where"]) == {"not run: no GPU"}


def test_speed_is_measured_against_the_loop_and_modes_that_need_a_gpu_say_so(measured):
    found = rows(measured, SPEED)
    assert set(found["mode"]) == {"loop", "eager", "graphs", "compiled"}
    graphs = found["mode"] == "graphs"
    assert found.loc[graphs, "status"].str.startswith("not run: ").all()
    assert found.loc[graphs, "status"].str.contains("needs a GPU").all()
    assert set(found.loc[~graphs, "status"]) == {MEASURED}
    assert set(found.loc[graphs, "device"]) == {""}
    together = found[found["mode"] == "eager"]
    assert set(together["targets"]) == set(SMALL.counts)
    assert (together["target_steps_per_s"] / together["steps_per_s"]).round(6).eq(together["targets"]).all()
    assert together["against_loop"].gt(0).all()
    assert found.loc[~graphs, "peak_share"].between(0, 1.5).all()


def test_the_slice_is_attacked_before_and_after_training(measured):
    found = rows(measured, CIFAR10)
    assert set(found["status"]) == {MEASURED}
    assert found["round"].min() == 0 < found["round"].max()
    assert set(found["iterations"]) <= set(SMALL.cifar10_iterations)
    masked = found[found["method"] == "soteria"]
    assert masked["live_pruned"].sub(masked["rate"]).abs().max() < 0.02
    assert found[["mse", "psnr_db", "ssim", "grey_mse", "test_accuracy"]].notna().all(axis=None)


def test_the_photo_is_attacked_under_each_defense_by_the_most_iterations_that_fit(measured):
    found = rows(measured, PHOTO)
    most = found[found["iterations"] == max(SMALL.photo_iterations)]
    assert set(most["status"]) == {MEASURED}
    assert len(most) == len(DEFENSES)
    skipped = found[found["status"] != MEASURED]
    assert set(skipped["status"]) == {f"not run: there was time for {max(SMALL.photo_iterations)}"}
    # the reference's rule prunes dead features first: at 40 % nothing is lost
    script = most[most["rule"] == "reference-script"].set_index("rate")
    assert script.loc[0.4, "live_pruned"] == 0 < script.loc[0.8, "live_pruned"]
    assert script.loc[0.4, "mse"] == pytest.approx(most.loc[most["method"] == "none", "mse"].item(), rel=1e-3)
    assert most["reference_mse"].notna().sum() == len(DEFENSES) - 1


def test_evidence_is_not_mixed_with_older_evidence(measured, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", str(measured), "--small"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"evidence: error: {measured}: holds evidence already")


def test_without_images_there_is_a_row_that_says_so(tmp_path):
    assert cifar10.measure(Task(tmp_path, SMALL, "cpu", None, None, ends=time.monotonic() + 60)) == {}
    assert set(rows(tmp_path, CIFAR10)["status"]) == {"not run: no images"}


def test_without_the_photo_nothing_is_begun(tmp_path):
    with pytest.raises(SystemExit, match=r"nothing can be run: failed: DataError: .*no\.jpg"):
        main(["run", str(tmp_path / "none"), "--small", "--device", "cpu", "--photo", str(tmp_path / "no.jpg")])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_whole_is_not_spent_on_a_cpu(tmp_path):
    with pytest.raises(SystemExit, match=r"nothing can be run: failed: ConfigError: .*no GPU"):
        main(["run", str(tmp_path / "none")])


def test_a_slice_holds_the_first_images(tmp_path, measured):
    source, out = measured.parent / "images of the small evidence.safetensors", tmp_path / "few.safetensors"
    main(["slice", str(source), str(out), "--train", "7", "--tests", "3"])
    whole, part = ImageSet.read(source), ImageSet.read(out)
    assert part.train_images.equal(whole.train_images[:7])
    assert part.test_labels.equal(whole.test_labels[:3])
    assert part.class_means.equal(whole.class_means)


# ---- what is planned for a GPU


def test_the_whole_takes_eight_minutes_and_leaves_time_for_the_last_part():
    assert WHOLE.total_s == 480
    assert WHOLE.total_s - sum(WHOLE.limits_s.values()) >= 180
    assert WHOLE.within(240).limits_s["speed"] == 60


def test_the_whole_covers_what_was_asked():
    planned = rows_of(WHOLE)
    cases = {
        (attack, network, count)
        for attack in ("gs", "dlg")
        for network in ("lenet", "convnet-64")
        for count in (1, 8, 64, 512)
    }
    for mode in ("eager", "compiled", "graphs"):
        assert {case for one, case in planned if one == mode} == cases
    assert len(planned) == len(set(planned))
    assert {one.name for one in comparisons("convnet-64") if one.kind == "attack"} == set(GRADIENT_ATTACKS)
    exact = {"closed-form", "closed-form-pruned", "closed-form-below", "gauss-newton"}
    asking = {"learned", "imprint", "gs-spectral-below", "gs-spectral-statistics"}  # for what these cells do not have
    assert set(ATTACK_PRESETS) - set(GRADIENT_ATTACKS) == exact | asking | {"ensemble"}


@pytest.mark.parametrize("module", [attacks, photo])
def test_choices_by_time_are_as_documented(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_the_photo_uses_the_mode_that_speed_found_faster(measured, tmp_path):
    table = rows(measured, SPEED)
    eager = table[(table["mode"] == "eager") & (table["attack"] == "gs") & (table["network"] == SMALL.convnet)]
    graphs = eager[eager["targets"] > 1].assign(mode="graphs", warm_up_s=60.0)
    graphs["target_steps_per_s"] *= 4
    SPEED.write(pd.concat([table, graphs]), tmp_path / "speed.parquet")
    task = Task(tmp_path, SMALL, "cpu", None, None, ends=0.0)
    assert costs_of_modes(task, 0.01) == {"eager": (0.0, 0.01), "graphs": (60.0, pytest.approx(0.0025))}
    assert costs_of_modes(Task(tmp_path / "none", SMALL, "cpu", None, None, ends=0.0), 0.01) == {"eager": (0.0, 0.01)}


# ---- publishing


@pytest.fixture
def folder(measured, tmp_path):
    """A copy of the evidence, to change."""
    return shutil.copytree(measured, tmp_path / "evidence")


def test_published_evidence_is_whole_and_named_after_its_device(folder, tmp_path):
    (folder / "speed.csv").write_text("half wri")  # a run that was killed between table and text
    out = publish_evidence(folder, tmp_path / "results")
    assert out == tmp_path / "results" / "evidence-cpu"
    assert {path.name for path in out.iterdir()} == {*evidence_folder.MADE, *FOR_READING, "pictures.safetensors"}
    check_published(out)
    assert publish_evidence(folder, tmp_path / "results") == out, "in the place of what is there"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda out: (out / "speed.csv").write_text("attack\n"), "speed.csv: not what speed.parquet holds"),
        (lambda out: (out / "photo.csv").unlink(), "photo.csv: not what photo.parquet holds"),
        (lambda out: (out / "notes.txt").touch(), "not expected: notes.txt"),
        (lambda out: (out / "agreement.parquet").unlink(), "no agreement.parquet"),
    ],
)
def test_a_published_folder_that_was_changed_is_found(folder, tmp_path, change, told):
    out = publish_evidence(folder, tmp_path / "results")
    change(out)
    with pytest.raises(DataError, match=told):
        check_published(out)


def test_evidence_without_a_commit_needs_one(folder, tmp_path):
    told = json.loads((folder / "evidence.json").read_text())
    (folder / "evidence.json").write_text(json.dumps(told | {"commit": "unknown"}))
    with pytest.raises(DataError, match=r"evidence.json: no commit; give it by --commit"):
        publish_evidence(folder, tmp_path / "results")
    out = publish_evidence(folder, tmp_path / "results", commit="0123456789ab")
    assert json.loads((out / "evidence.json").read_text())["commit"] == "0123456789ab"


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("speed.parquet", lambda path: path.write_bytes(b"no table"), "speed.parquet: not a readable Parquet table"),
        ("photo.parquet", lambda path: path.unlink(), "no photo.parquet"),
        (
            "evidence.png",
            lambda path: path.unlink(),
            "no evidence.png; draw it: python -m benchmarks.gpu.evidence draw",
        ),
        ("evidence.png", lambda path: path.write_bytes(bytes(600_000)), "more than 500000 bytes a file"),
        ("evidence.json", lambda path: path.write_text("{"), "evidence.json: not readable JSON"),
        ("evidence.json", lambda path: path.write_text("{}"), "evidence.json: no device, commit, made"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder, tmp_path, file, change, told):
    change(folder / file)
    with pytest.raises(DataError, match=told):
        publish_evidence(folder, tmp_path / "results")
    assert not list((tmp_path / "results").glob("evidence-*"))
