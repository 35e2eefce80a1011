"""What a person types after `snakemake`: nested values, odd names, dry runs in any spelling, and old folders."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
PHOTO = ROOT / "config/photo.yaml"
GPU = ("name=photo-gpu", 'attacks={"gs":{"preset":"gs","iterations":24000}}')  # as config/README.md has it


@pytest.fixture
def deployed(tmp_path) -> Path:
    """A folder with the photo's config, as a deployed workflow has it."""
    shutil.copytree(ROOT / "config", tmp_path / "deployed/config")
    return tmp_path / "deployed"


def rebuild_command(text: str) -> list[str]:
    """The words of the command that the claims would print, of a dry run with its shell commands."""
    claims = next(line for line in text.splitlines() if "python -m fldrep run claims " in line)
    words = shlex.split(claims.partition("Shell command: ")[2].partition(" > logs/")[0])
    return shlex.split(words[words.index("--command") + 1])


def test_nested_values_are_read_with_their_types_and_the_printed_command_makes_the_same(snakemake, deployed):
    found = snakemake("-np", "--configfile", PHOTO, "--config", *GPU, folder=deployed)
    assert found.code == 0, found.text[-3000:]
    attacks = [line for line in found.text.splitlines() if "python -m fldrep run attack " in line]
    assert attacks
    assert all('"iterations": 24000' in line and "results/photo-gpu/" in line for line in attacks)
    printed = rebuild_command(found.text)
    assert printed[:3] == ["snakemake", "--cores", "all"]
    again = snakemake(*printed[3:], "-n", "--quiet", "rules", folder=deployed, cwd=deployed)
    assert again.code == 0, again.text[-3000:]
    assert re.search(r"^claims +1$", again.text, re.MULTILINE)
    assert "figures" not in again.text.partition("Job stats:")[2]


def test_text_in_a_file_is_refused_as_ever(snakemake, tmp_path, tiny):
    tiny["attacks"]["gs"]["iterations"] = "24000"
    (tmp_path / "text.yaml").write_text(yaml.safe_dump(tiny))
    found = snakemake("-n", "--configfile", tmp_path / "text.yaml", folder=tmp_path)
    assert found.code != 0
    assert "attacks.gs.iterations: '24000': " in found.text
    assert "this is text, write 24000" in found.text


@pytest.mark.parametrize("spelt", [["-np"], ["-pn"], ["--dry-run"]])
def test_any_dry_run_tells_what_the_grid_means(snakemake, tmp_path, spelt):
    found = snakemake(*spelt, "--configfile", TINY, folder=tmp_path)
    assert found.code == 0
    assert found.text.count("tiny: 1 data sets, 4 training runs, 5 attack jobs on 10 targets, 5 analyses") == 1


ODD = 'it\'s {dataset} of {x} "$(touch sprung)"'


def test_config_and_folders_may_have_any_name(snakemake, tmp_path, tiny):
    folder = tmp_path / ODD
    folder.mkdir()
    photo = "a } {} b's.jpg"
    shutil.copy(ROOT / "config/photos/car.jpg", folder / photo)
    tiny["data"] = {"photo": {"path": photo, "label": 1}, "folder": ODD, "cache": ODD}
    tiny["data"]["sources"] = ["folder", "npm"]
    config = folder / f"{ODD}.yaml"
    config.write_text(yaml.safe_dump(tiny))
    found = snakemake("-np", "--configfile", config, folder=folder)
    assert found.code == 0, found.text[-3000:]
    assert rebuild_command(found.text)[-2:] == ["--configfile", config.name]
    data = next(line for line in found.text.splitlines() if "python -m fldrep run data " in line)
    words = shlex.split(data.partition("Shell command: ")[2].partition(" > logs/")[0])
    assert yaml.safe_load(words[words.index("--places") + 1])["folder"] == ODD
    assert not list(tmp_path.rglob("sprung"))


REFUSED = {
    "a key given twice": ({}, "seeds: [1]\n", "seeds: stands twice, in lines"),
    "an old key": ({"engine": {"block": 2}}, "", "engine.block: renamed, write targets_per_job"),
    "a plug-in that is not there": ({"plugins": ["absent.py"]}, "", "plugins: 'absent.py': no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told_in_one_line_that_names_key_and_file(snakemake, tmp_path, tiny, case):
    changes, added, told = REFUSED[case]
    config = tmp_path / "my.yaml"
    config.write_text(yaml.safe_dump({**tiny, **changes}, sort_keys=False) + added)
    found = snakemake("-n", "--configfile", config, folder=tmp_path / "run")
    assert found.code != 0
    lines = [line for line in found.text.splitlines() if told in line]
    assert len(lines) == 1, found.text
    assert "Traceback" not in found.text
    assert not added or str(config) in lines[0]


def test_results_of_an_earlier_version_are_named_and_made_again(snakemake, finished, tmp_path):
    """As who updates finds it: files under old names, and those of today's names made by other code."""
    copy = tmp_path / "old"
    shutil.copytree(finished.folder / "results", copy / "results")
    run = copy / "results/tiny/train/mnist/lenet/iid/none/seed-0"
    (run / "training.parquet").rename(run / "history.parquet")
    metrics = copy / "results/tiny/metrics"
    (metrics / "training.parquet").rename(metrics / "utility.parquet")
    found = snakemake("-n", "--configfile", TINY, folder=copy, source=finished.source)
    assert found.code == 0
    said = [line for line in found.text.splitlines() if line.startswith("results/tiny: 2 files of an earlier version")]
    assert len(said) == 1, found.text[:3000]
    assert "may be deleted" in said[0]
    assert "metrics" in found.text
