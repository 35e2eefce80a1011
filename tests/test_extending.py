"""Every block of docs/extending.md as it stands, from a folder outside the package, in one run of one config."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from fldrep.config.attacks import attack_settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text()
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
KINDS = {
    "sign.py": "defense",
    "mlp.py": "model",
    "stripes.py": "dataset",
    "l1.py": "objective",
    "greyness.py": "regulariser",
    "momentum.py": "optimiser",
    "edges.py": "metric",
}


def saved() -> dict[str, str]:
    """The text of each file that a recipe says to save."""
    found = re.findall(r"Save\s+this\s+as\s+`([\w.]+)`(?:(?!```).)*```\w+\n(.*?)```", PAGE, re.DOTALL)
    return dict(found)


def write_files(folder: Path) -> None:
    """Make a user's folder: the files of the page, and pictures of flowers."""
    for name, text in saved().items():
        (folder / name).write_text(text)
    random = np.random.default_rng(0)
    for colour, kind in enumerate(("poppy", "violet")):
        (folder / "flowers" / kind).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 120, (24, 20, 3))
            pixels[..., 2 * colour] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "flowers" / kind / f"{number}.png")


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A user's folder."""
    folder = tmp_path_factory.mktemp("of a user")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def run(made_once, snakemake) -> Path:
    """A user's folder after the command of the page."""

    def make(folder: Path) -> None:
        write_files(folder)
        done = snakemake("--cores", 2, "--configfile", folder / "mine.yaml", folder=folder, cwd=folder)
        assert done.code == 0, done.text[-6000:]

    return made_once("the page of extending", make)


def python(*lines: str, folder: Path, source: Path = ROOT) -> str:
    """What lines of Python print in a folder."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(source)!r})\n" + "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_of_the_page_is_run():
    files = saved()
    assert set(files) == {*KINDS, "mine.yaml"}
    others = [text for _, text in BLOCK.findall(PAGE) if text not in files.values()]
    assert [list(yaml.safe_load(text)) for text in others] == [["attacks"]]


def test_one_file_adds_one_entry_and_the_config_of_the_page_uses_each(own):
    found = json.loads(
        python(
            "import fldrep, json",
            f"print(json.dumps({{file: fldrep.load_plugins(file) for file in {list(KINDS)} }}))",
            folder=own,
        )
    )
    assert all(len(names) == 1 for names in found.values())
    config = yaml.safe_load((own / "mine.yaml").read_text())
    words = {
        word
        for text in (json.dumps(config["grid"]), json.dumps(config["attacks"]))
        for word in re.findall(r"[\w-]+", text)
    }
    words |= {one.get("method") for one in config["defenses"].values()}
    words |= {one["architecture"] for one in config["models"].values()}
    assert {name for file, names in found.items() for name in names if KINDS[file] != "metric"} <= words
    assert config["plugins"] == list(KINDS)


def test_the_config_of_the_page_trains_attacks_judges_and_draws(run):
    attacks = pd.read_parquet(run / "results/mine/metrics/attacks.parquet")
    assert len(attacks) == 2 * 2 * 4
    assert set(attacks["attack"]) == {"mine", "far"}
    assert set(attacks["method"]) == {"none", "sign"}
    for column in ("edges", "grey_edges", "class_mean_edges"):
        assert attacks[column].between(0, 2).all()
    assert (attacks["iterations"] == 20).all()
    assert not attacks["diverged"].all()
    training = pd.read_parquet(run / "results/mine/metrics/training.parquet")
    assert set(training["dataset"]) == {"flowers", "stripes"}
    reports = run / "reports/mine"
    page = (reports / "report.html").read_text()
    assert "sign-2" in page
    assert "edges" in page
    assert (reports / "figures/privacy_utility.png").stat().st_size > 10_000
    assert "sign" in (reports / "claims.html").read_text()


def test_a_second_run_finds_nothing_to_do(run, snakemake):
    again = snakemake("--cores", 2, "--configfile", run / "mine.yaml", folder=run, cwd=run)
    assert again.code == 0
    assert "Nothing to be done" in again.text


def test_the_attack_without_code_is_what_the_page_says():
    (text,) = (text for language, text in BLOCK.findall(PAGE) if language == "yaml" and text.startswith("attacks:"))
    mine = attack_settings(**yaml.safe_load(text)["attacks"]["mine"])
    assert (mine.objective, mine.compares, mine.optimiser, mine.iterations) == (
        "cosine",
        "surviving",
        "signed-adam",
        300,
    )


def test_the_lines_for_python_work(own):
    told = python(
        "import fldrep, torch",
        'fldrep.load_plugins(["sign.py", "mlp.py"])',
        'model = fldrep.build_model("mlp", (1, 8, 8), classes=3, width=5)',
        "update = fldrep.client_update(model, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))",
        'update = fldrep.defend(update, "sign", scale=2.0)',
        "print(sorted({float(abs(v)) for one in update.values() for v in one.flatten()}))",
        folder=own,
    )
    assert set(json.loads(told)) <= {0.0, 2.0}


def test_the_schema_and_the_help_show_entries_of_plug_ins(own):
    command = [sys.executable, "-m", "fldrep", "schema", "--plugins", "sign.py", "--plugins", "mlp.py"]
    done = subprocess.run(
        command, cwd=own, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert "factor on the signs" in done.stdout
    assert "mlp" in done.stdout


def test_a_figure_or_a_claim_is_one_file_of_the_package(tmp_path, copied):
    source = copied(ROOT, tmp_path / "source")
    (source / "fldrep/figures/mine.py").write_text(
        "from fldrep.registry import figure\n\n\n"
        '@figure("mine", title="Mine", caption="A line.", reads=("training",), needs=("training",), order=99)\n'
        "def draw(training):\n    return None\n"
    )
    (source / "fldrep/report/claims/mine.py").write_text(
        "from fldrep.registry import claim\n\n\n"
        '@claim("mine", title="Mine", said="A sentence.", source="Nobody", order=99)\n'
        "def judge(tables):\n    return []\n"
    )
    found = python(
        "from fldrep import registry",
        'print("mine" in registry.in_order("figure"), "mine" in registry.in_order("claim"))',
        folder=tmp_path,
        source=source,
    )
    assert found.split() == ["True", "True"]
