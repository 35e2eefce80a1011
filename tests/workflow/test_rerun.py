"""One tiny run of the whole chain on real images, then what Snakemake makes again, as tests/plan says of all cases."""

import re
import shutil
from pathlib import Path

import yaml

from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.plan.jobs import JOBS
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.training import TRAINING

TINY = Path(__file__).with_name("tiny.yaml")
DRAWN = figures_of(read_config(TINY))
LATER = {"metrics", "figures", "claims", "report"}


def test_the_chain_makes_tables_figures_and_the_page(finished):
    attacks = ATTACKS.read(finished.folder / "results/tiny/metrics/attacks.parquet")
    assert len(attacks) == 5 * 2
    assert attacks["is_best_restart"].all()
    assert set(attacks["attack"]) == {"dlg", "gs", "gs-masked"}
    assert (attacks["iterations"] <= 2).all()
    assert (attacks.groupby("target")["index"].nunique() == 1).all(), "the same targets under every defense and attack"
    assert attacks["grey_mse"].between(0.1, 3).all()
    training = TRAINING.read(finished.folder / "results/tiny/metrics/training.parquet")
    assert set(training["model"]) == {"lenet", "convnet-4"}
    assert sorted(training.loc[training["model"] == "lenet", "round"]) == [0, 0, 1, 1]
    for figure in DRAWN:
        png = (finished.folder / f"reports/tiny/figures/{figure}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 5_000, f"{figure} is empty"
    page = (finished.folder / "reports/tiny/report.html").read_text()
    assert page.count('<div class="scroll picture"') == len(DRAWN)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page), "the page asks the network for something"


def test_the_chain_runs_every_job_and_leaves_nothing_but_outputs_and_one_log_a_job(finished):
    left = [path for part in ("results", "reports") for path in (finished.folder / part).rglob("*") if path.is_file()]
    assert [path for path in left if path.name.startswith(".") or "resume" in path.name] == []
    ran = re.findall(r"^(?:local)?rule (\w+):", finished.text, re.MULTILINE)
    assert set(ran) - {"all"} == set(JOBS), "a rule that this config does not run is not tried by the tests"
    assert len(list((finished.folder / "logs/tiny").rglob("*.log"))) == len(ran) - 1
    assert "5 attack jobs on 10 targets" in finished.text
    assert re.search(r"\d+ of \d+ steps \(\d+%\) done", finished.text)


def test_a_second_call_says_that_nothing_is_to_be_done(snakemake, finished):
    again = snakemake("--cores", 1, "--configfile", TINY, folder=finished.folder, source=finished.source)
    assert again.code == 0
    assert "Nothing to be done" in again.text


def test_neither_another_place_nor_words_nor_another_cache_remake_anything(plan, tiny, source, tmp_path):
    for path in sorted((source / "fldrep").rglob("*.py")):
        path.write_text(f'"""In other words: {path.read_text()[3:]}\n# A remark at the end.\n')
    tiny["data"] = {"sources": ["folder", "torchvision"], "folder": str(tmp_path), "cache": str(tmp_path / "moved")}
    assert plan(tiny, source=source).jobs == {}


def test_a_changed_value_and_a_changed_line_remake_what_they_touch(plan, tiny, source):
    tiny["attacks"]["gs"]["total_variation"] = 0.5
    path = source / "fldrep/theory/leakage.py"
    path.write_text(path.read_text() + "\nANOTHER_CONSTANT = 1\n")
    found = plan(tiny, source=source)
    assert found.attacks == {"none/gs/0", "soteria-60/gs/0"}
    assert set(found.jobs) == {"attack", "leakage", *LATER}


def test_a_changed_caption_or_template_remakes_the_pages_that_show_it(plan, tiny, source):
    figure = source / "fldrep/figures/privacy_utility.py"
    figure.write_text(figure.read_text().replace('title="', 'title="Once more: ', 1))
    assert set(plan(tiny, source=source).jobs) == {"report"}, "a title stands on the page, and not in the picture"
    template = source / "fldrep/report/templates/report.css"
    template.write_text(template.read_text() + " ")
    assert set(plan(tiny, source=source).jobs) == {"claims", "report"}


def test_only_a_damaged_or_missing_output_is_made_again(snakemake, finished, tmp_path, tiny):
    """On a copy, as this one changes files: a figure that is gone is drawn again, and nothing before it."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    (copy / "reports/tiny/figures/reconstructions.png").unlink()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    found = snakemake("--summary", "--configfile", tmp_path / "tiny.yaml", folder=copy, source=finished.source)
    assert found.jobs["figures"] == {"reports/tiny/figures/reconstructions.png"}
    assert set(found.jobs) == {"figures", "report"}
