"""One tiny run of the whole chain on real images, then: what a change makes again, and what it does not."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.training import TRAINING

TINY = Path(__file__).with_name("tiny.yaml")
EVERY_ATTACK = {"none/dlg/0", "soteria-60/dlg/0", "none/gs/0", "soteria-60/gs/0", "soteria-60/gs-masked/0"}
EVERY_TRAINING = {"lenet/none", "lenet/soteria-60", "convnet-4/none", "convnet-4/soteria-60"}
DRAWN = figures_of(read_config(TINY))
LATER = {"metrics", "figures", "claims", "report"}
OF_REPRESENTATIONS = {"leakage", "certificate"}


def test_the_chain_makes_tables_figures_and_the_page(finished):
    attacks = ATTACKS.read(finished.folder / "results/tiny/metrics/attacks.parquet")
    assert len(attacks) == 5 * 2
    assert attacks["is_best_restart"].all()
    assert set(attacks["attack"]) == {"dlg", "gs", "gs-masked"}
    assert (attacks["iterations"] <= 2).all()
    assert (attacks.groupby("target")["index"].nunique() == 1).all(), "the same targets under every defense and attack"
    assert attacks["grey_mse"].between(0.1, 3).all()
    training = TRAINING.read(finished.folder / "results/tiny/metrics/training.parquet")
    assert {"/".join(row) for row in training[["model", "defense"]].values} == EVERY_TRAINING
    assert sorted(training.loc[training["model"] == "lenet", "round"]) == [0, 0, 1, 1]
    for figure in DRAWN:
        png = (finished.folder / f"reports/tiny/figures/{figure}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 5_000, f"{figure} is empty"
    page = (finished.folder / "reports/tiny/report.html").read_text()
    assert page.count("data:image/png;base64,") == len(DRAWN)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page), "the page asks the network for something"


def test_the_chain_leaves_nothing_but_outputs_and_one_log_a_job(finished):
    left = [path for part in ("results", "reports") for path in (finished.folder / part).rglob("*") if path.is_file()]
    assert [path for path in left if path.name.startswith(".") or "resume" in path.name] == []
    logs = list((finished.folder / "logs/tiny").rglob("*.log"))
    assert len(logs) == 1 + 1 + len(EVERY_TRAINING) + len(EVERY_ATTACK) + len(THEORY) + 1 + len(DRAWN) + 1 + 1
    assert "5 attack jobs on 10 targets" in finished.text
    assert re.search(r"\d+ of \d+ steps \(\d+%\) done", finished.text)


def test_a_second_run_has_nothing_to_do(plan, tiny):
    assert plan(tiny).jobs == {}


def test_a_second_call_says_so(snakemake, finished):
    again = snakemake("--cores", 1, "--configfile", TINY, folder=finished.folder, source=finished.source)
    assert again.code == 0
    assert "Nothing to be done" in again.text


# ---- a changed config


def test_another_tv_weight_of_gs_remakes_gs_and_what_follows(plan, tiny):
    tiny["attacks"]["gs"]["total_variation"] = 0.5
    found = plan(tiny)
    assert found.attacks == {"none/gs/0", "soteria-60/gs/0"}
    assert set(found.jobs) == {"attack", *LATER}


def test_a_default_written_out_remakes_nothing_but_what_shows_the_config(plan, tiny):
    tiny["attacks"]["gs"]["total_variation"] = 1e-4
    tiny["train"]["lenet"]["batch_size"] = 32
    assert plan(tiny).jobs == {}


def test_another_rate_remakes_the_runs_of_that_defense_only(plan, tiny):
    tiny["defenses"]["soteria-60"]["rate"] = 0.61
    found = plan(tiny)
    assert found.trainings == {"lenet/soteria-60", "convnet-4/soteria-60"}
    assert found.attacks == {"soteria-60/dlg/0", "soteria-60/gs/0", "soteria-60/gs-masked/0"}
    assert set(found.jobs) == {"train", "attack", "accounting", *OF_REPRESENTATIONS, *LATER}


def test_a_new_defense_adds_its_runs_and_remakes_no_other(plan, tiny):
    tiny["defenses"]["soteria-80"] = {"method": "soteria", "rate": 0.8}
    tiny["grid"][0]["defenses"].append("soteria-80")
    found = plan(tiny)
    assert (found.trainings, found.attacks) == ({"lenet/soteria-80"}, {"soteria-80/dlg/0"})


def test_another_target_adds_a_block_and_remakes_none(plan, tiny):
    tiny["grid"][1]["targets"] = 3
    found = plan(tiny)
    assert found.attacks == {"none/gs/1", "soteria-60/gs/1"}
    assert set(found.jobs) == {"attack", *LATER}


def test_another_seed_adds_its_runs_and_remakes_none(plan, tiny):
    tiny["seeds"] = [0, 1]
    found = plan(tiny)
    assert (found.trainings, found.attacks) == (EVERY_TRAINING, EVERY_ATTACK)
    made = [output for rule in ("partition", "train", "attack") for output in found.jobs[rule]]
    assert all("seed-1" in output and "seed-0" not in output for output in made)
    assert "data" not in found.jobs


def test_another_threshold_remakes_the_metrics_and_what_follows(plan, tiny):
    tiny["metrics"] = {"recovered_ssim": 0.6}
    assert set(plan(tiny).jobs) == LATER


def test_another_lr_remakes_that_models_training_and_attacks(plan, tiny):
    tiny["train"]["lenet"]["lr"] = 0.2
    found = plan(tiny)
    assert found.trainings == {"lenet/none", "lenet/soteria-60"}
    assert found.attacks == {"none/dlg/0", "soteria-60/dlg/0"}


def test_another_partition_remakes_all_but_the_data(plan, tiny):
    tiny["partitions"]["iid"]["clients"] = 50
    found = plan(tiny)
    assert (found.trainings, found.attacks) == (EVERY_TRAINING, EVERY_ATTACK)
    assert "data" not in found.jobs


def test_an_attack_taken_out_remakes_only_the_tables_and_what_follows(plan, tiny):
    del tiny["grid"][2]
    assert set(plan(tiny).jobs) == LATER


def test_one_figure_alone_needs_only_its_tables(plan, tiny):
    tiny["metrics"] = {"recovered_ssim": 0.6}
    found = plan(tiny, "reports/tiny/figures/naive_vs_adaptive.png")
    assert set(found.jobs) == {"metrics", "figures"}
    assert found.jobs["figures"] == {"reports/tiny/figures/naive_vs_adaptive.png"}


def test_moving_the_cache_or_the_archives_remakes_nothing(snakemake, finished, tiny, tmp_path):
    tiny["data"] = {"sources": ["folder", "torchvision"], "folder": str(tmp_path), "cache": str(tmp_path / "moved")}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    given = ("--dry-run", "--configfile", tmp_path / "tiny.yaml")
    planned = snakemake(*given, folder=finished.folder, source=finished.source)
    assert planned.code == 0
    assert "Nothing to be done" in planned.text


# ---- changed code


def comment(path: Path) -> None:
    path.write_text(path.read_text() + "\n# A remark at the end.\n")


def docstring(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""')
    path.write_text('"""In other words: ' + text[3:])


def line(path: Path) -> None:
    path.write_text(path.read_text() + "\nANOTHER_CONSTANT = 1\n")


def test_the_same_code_in_another_place_remakes_nothing(plan, tiny, source):
    assert plan(tiny, source=source).jobs == {}


def test_comments_and_docstrings_remake_nothing(plan, tiny, source):
    for path in sorted((source / "fldrep").rglob("*.py")):
        comment(path)
        docstring(path)
    assert plan(tiny, source=source).jobs == {}


DLG = {"none/dlg/0", "soteria-60/dlg/0"}
GS = {"none/gs/0", "soteria-60/gs/0"}
MASKED = {"soteria-60/gs-masked/0"}
THEORY = {"leakage", "certificate", "convergence", "accounting"}
UNDER_SOTERIA = {name for name in EVERY_ATTACK if name.startswith("soteria")}
TRAINED_WITH_SOTERIA = {name for name in EVERY_TRAINING if name.endswith("soteria-60")}
# module in which a line is changed -> what is planned: rules, attacks, trainings
EDITS = {
    "attack/gs.py": ({"attack", *LATER}, GS | MASKED, set()),
    "attack/dlg.py": ({"attack", "certificate", *LATER}, DLG, set()),
    "attack/adaptive.py": ({"attack", *LATER}, MASKED, set()),
    "attack/engine.py": ({"attack", "certificate", *LATER}, EVERY_ATTACK, set()),
    "train/fedavg.py": ({"train", "attack", *OF_REPRESENTATIONS, *LATER}, EVERY_ATTACK, EVERY_TRAINING),
    "metrics/images.py": (LATER, set(), set()),
    "report/tables.py": ({"claims", "report"}, set(), set()),
    "report/verdicts.py": ({"claims", "report"}, set(), set()),
    "theory/leakage.py": ({"leakage", *LATER}, set(), set()),
    "theory/convergence.py": ({"convergence", *LATER}, set(), set()),
    "figures/theme.py": ({"figures", "report"}, set(), set()),
    "analysis/rows.py": ({"figures", "claims", "report"}, set(), set()),
    "attack/ensemble.py": (set(), set(), set()),
    "defenses/soteria/prune.py": (
        {"train", "attack", *OF_REPRESENTATIONS, *LATER},
        UNDER_SOTERIA,
        TRAINED_WITH_SOTERIA,
    ),
    "defenses/noise.py": (set(), set(), set()),
    "data/datasets.py": ({"data", "partition", "train", "attack", *THEORY, *LATER}, EVERY_ATTACK, EVERY_TRAINING),
    "config/attacks.py": (set(), set(), set()),
    "cli/main.py": (set(), set(), set()),
    "applications/quickstart.py": (set(), set(), set()),
}


@pytest.mark.parametrize("module", EDITS)
def test_a_changed_line_remakes_what_runs_it_and_what_follows(plan, tiny, source, module):
    line(source / "fldrep" / module)
    found = plan(tiny, source=source)
    rules, attacks, trainings = EDITS[module]
    assert (set(found.jobs), found.attacks, found.trainings) == (rules, attacks, trainings)


# value of a preset, and another -> rules, and the attacks that have it
PRESETS = {
    ('"total_variation": 1e-4', '"total_variation": 2e-4'): ({"attack", *LATER}, GS | MASKED),
    ('"history": 100', '"history": 50'): ({"attack", "certificate", *LATER}, DLG),
}


@pytest.mark.parametrize(("old", "new"), PRESETS)
def test_another_value_of_a_preset_remakes_the_attacks_that_have_it(plan, tiny, source, old, new):
    path = source / "fldrep/config/presets.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    found = plan(tiny, source=source)
    assert (set(found.jobs), found.attacks) == PRESETS[old, new]


def test_a_new_setting_with_a_default_remakes_nothing(plan, tiny, source):
    path = source / "fldrep/config/engine.py"
    text = path.read_text()
    before = "    tf32: bool = option(False"
    assert text.count(before) == 1
    path.write_text(text.replace(before, f'    colour: str | None = option(None, "a new key")\n{before}'))
    assert plan(tiny, source=source).jobs == {}


def test_a_line_of_one_figure_remakes_that_figure_and_the_page(plan, tiny, source):
    line(source / "fldrep/figures/privacy_utility.py")
    found = plan(tiny, source=source)
    assert found.jobs["figures"] == {"reports/tiny/figures/privacy_utility.png"}
    assert set(found.jobs) == {"figures", "report"}


def test_a_changed_template_remakes_the_pages_that_show_it(plan, tiny, source):
    text = source / "fldrep/report/templates/report.css"
    text.write_text(text.read_text() + " ")
    assert set(plan(tiny, source=source).jobs) == {"claims", "report"}


def test_a_line_of_the_records_remakes_every_table(plan, tiny, source):
    line(source / "fldrep/tables/table.py")
    found = plan(tiny, source=source)
    assert {"partition", "train", "attack", "metrics"} <= set(found.jobs)
    assert (found.attacks, found.trainings) == (EVERY_ATTACK, EVERY_TRAINING)


def test_only_a_damaged_or_missing_output_is_made_again(snakemake, finished, tmp_path, tiny):
    """On a copy, as this one changes files: a figure that is gone is drawn again, and nothing before it."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy, copy_function=os.link)
    (copy / "reports/tiny/figures/reconstructions.png").unlink()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    found = snakemake("--summary", "--configfile", tmp_path / "tiny.yaml", folder=copy, source=finished.source)
    assert found.jobs["figures"] == {"reports/tiny/figures/reconstructions.png"}
    assert set(found.jobs) == {"figures", "report"}
