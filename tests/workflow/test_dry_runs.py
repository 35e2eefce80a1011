"""Every config plans, from any folder, and a wrong one is refused in one line."""

import copy
import re
import shutil
from dataclasses import astuple
from pathlib import Path

import pytest
import yaml

from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.plan.grid import grid_of

ROOT = Path(__file__).parent.parent.parent
TINY = Path(__file__).with_name("tiny.yaml")
DEMO = ROOT / "config/demo.yaml"
CONFIGS = [*sorted((ROOT / "config").glob("*.yaml")), TINY]


def counted(text: str) -> dict[str, int]:
    """The table of a dry run: jobs by rule."""
    table = text.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_plans_the_jobs_of_its_grid(snakemake, tmp_path, path):
    raw = {**yaml.safe_load(path.read_text()), "seeds": [0]}  # three seeds plan as one does, in three times the time
    shutil.copytree(ROOT / "config", tmp_path / "config")  # as a deployed workflow has it
    one_seed = tmp_path / "config" / path.name
    one_seed.write_text(yaml.safe_dump(raw))
    found = snakemake("-n", "--quiet", "rules", "--configfile", one_seed, folder=tmp_path)
    assert found.code == 0, found.text[-3000:]
    jobs = grid_of(read_config(one_seed))
    dealt = {(run.dataset, run.partition, run.seed) for run in jobs.runs} | {astuple(split) for split in jobs.splits}
    assert counted(found.text) == {
        "data": len({dataset for dataset, _, _ in dealt}),
        "partition": len(dealt),
        "train": len(jobs.runs),
        "attack": len(list(jobs.blocks())),
        **{analysis: len(files) for analysis, files in jobs.analyses().items() if files},
        "metrics": 1,
        "figures": len(figures_of(read_config(one_seed))),
        "claims": 1,
        "report": 1,
        "all": 1,
    }


@pytest.fixture
def deployed(tmp_path) -> Path:
    """A folder with the paper's config, as a deployed workflow has it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text((ROOT / "config/config.yaml").read_text())
    return tmp_path


def test_a_config_on_the_command_line_replaces_the_papers(snakemake, deployed):
    without = snakemake("results/paper/data/mnist.safetensors", "--summary", folder=deployed)
    assert without.jobs == {"data": {"results/paper/data/mnist.safetensors"}}
    found = snakemake("--summary", "--configfile", DEMO, folder=deployed)
    demo, paper = read_config(DEMO), read_config(ROOT / "config/config.yaml")
    only_paper = {*paper.defenses, *paper.models, *paper.attacks} - {*demo.defenses, *demo.models, *demo.attacks}
    assert only_paper, "this test needs a name that only the paper's config has"
    made = [output for outputs in found.jobs.values() for output in outputs]
    assert made
    assert not [output for output in made if only_paper & set(output.split("/"))]
    assert not [output for output in made if "/paper/" in output]


def test_single_keys_on_the_command_line_win_over_the_file(snakemake, tmp_path):
    found = snakemake("--summary", "--configfile", TINY, "--config", "name=other", folder=tmp_path)
    assert found.jobs["report"] == {"reports/other/report.html", "reports/other/record.json"}
    assert all(output.startswith("results/other/") for output in found.jobs["train"])


def test_one_figure_as_target_plans_no_other_figure_and_no_page(snakemake, tmp_path):
    target = "reports/tiny/figures/accuracy_by_round.png"
    found = snakemake(target, "--summary", "--configfile", TINY, folder=tmp_path)
    assert found.jobs["figures"] == {target}
    assert "report" not in found.jobs


def test_one_training_run_as_target_plans_its_data_and_nothing_else(snakemake, tmp_path):
    target = "results/tiny/train/mnist/lenet/iid/none/seed-0/training.parquet"
    found = snakemake(target, "--summary", "--configfile", TINY, folder=tmp_path)
    assert {rule: len(outputs) for rule, outputs in found.jobs.items()} == {"data": 1, "partition": 1, "train": 2}


def test_it_runs_from_any_folder_with_a_name_that_needs_quoting(snakemake, tmp_path):
    elsewhere, results = tmp_path / "else where", tmp_path / "it's here"
    elsewhere.mkdir()
    found = snakemake("-n", "--configfile", TINY, folder=results, cwd=elsewhere)
    assert found.code == 0, found.text
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(("device", "asked"), [("cpu", "0"), ("cuda", "1")])
def test_a_gpu_is_asked_for_only_where_the_config_wants_one(snakemake, tmp_path, device, asked):
    source = tmp_path / "source"
    for part in ("fldrep", "workflow"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    rule = source / "workflow/rules/attack.smk"  # a dry run shows resources only of jobs without a message
    rule.write_text(re.sub(r"    message:\n( {8}.*\n)+", "", rule.read_text()))
    config = tmp_path / "gpu.yaml"
    config.write_text(TINY.read_text().replace("device: cpu", f"device: {device}"))
    said = snakemake("-n", "--configfile", config, folder=tmp_path / "run", source=source).text
    attacks = re.findall(r"^rule attack:\n(?:.+\n)*?    resources: (.*)$", said, re.MULTILINE)
    assert len(attacks) == 5, said
    assert {dict(one.split("=") for one in line.split(", ")).get("gpu", "0") for line in attacks} == {asked}


# ---- the photo


PHOTO = ROOT / "config/photo.yaml"


def test_a_photo_that_is_missing_is_named_before_anything_runs(snakemake, tmp_path):
    found = snakemake("-n", "--configfile", PHOTO, folder=tmp_path)
    assert found.code != 0
    assert "config/photos/car.jpg" in found.text
    assert "Traceback" not in found.text


# ---- wrong configs


WRONG = {
    "an unknown key": (lambda raw: raw.update(colour="red"), "colour: unknown key"),
    "a value out of range": (lambda raw: raw["defenses"]["soteria-60"].update(rate=60), "defenses.soteria-60.rate: 60"),
    "a contradiction": (lambda raw: raw["grid"][1].update(rounds=[7]), "grid[1].rounds: [7] not among"),
    "two entries that disagree": (lambda raw: raw["grid"].append({**raw["grid"][0], "targets": 9}), "grid[4].targets"),
    "a certificate of a defense that prunes nothing": (
        lambda raw: raw["grid"][0].update(theory=["certificate"]),
        "grid[0].theory: certificate is of a pruned representation, but 'none' prunes none",
    ),
    "a name with a command": (lambda raw: raw.update(name="$(touch hacked)"), "name: '$(touch hacked)'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_config_ends_in_one_line_that_names_the_key(snakemake, tmp_path, case):
    change, told = WRONG[case]
    raw = copy.deepcopy(yaml.safe_load(TINY.read_text()))
    change(raw)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(raw))
    folder = tmp_path / "folder"
    found = snakemake("-n", "--configfile", path, folder=folder)
    assert found.code != 0
    lines = [one for one in found.text.splitlines() if told in one]
    assert len(lines) == 1, found.text
    assert "Traceback" not in found.text
    assert len(found.text.splitlines()) <= 6, found.text
    assert not (folder / "results").exists()
    assert not (folder / "hacked").exists()


def test_a_wrong_key_on_the_command_line_is_refused_too(snakemake, tmp_path):
    found = snakemake("-n", "--configfile", TINY, "--config", "engines=1", folder=tmp_path)
    assert found.code != 0
    assert "engines: unknown key" in found.text


def test_every_rule_has_a_log_an_environment_threads_memory_and_time():
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL):
            for needed in ("conda:", "threads:", "mem_mb=", "runtime=", "log:", f'command("{name}")', "code="):
                assert needed in body, f"rule {name} has no {needed}"
