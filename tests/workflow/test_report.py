"""`snakemake --report` after a finished run: every figure with its own sentences."""

import re
import zipfile
from pathlib import Path

import pytest

from fldrep import registry
from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.plan.jobs import JOBS

TINY = Path(__file__).with_name("tiny.yaml")
CAPTIONS = Path(__file__).parents[2] / "workflow/report"


@pytest.fixture(scope="module")
def reports(snakemake, finished, tmp_path_factory):
    """The report as one page and as an archive."""
    folder, found = tmp_path_factory.mktemp("reports"), {}
    for name in ("report.html", "report.zip"):
        given = ("--report", folder / name, "--configfile", TINY)
        done = snakemake(*given, folder=finished.folder, source=finished.source)
        assert done.code == 0, done.text[-3000:]
        found[name] = folder / name
    return found


def words(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text)


def test_the_page_holds_every_figure_and_page_with_its_caption(reports):
    text = reports["report.html"].read_text()
    for name in (*(f"{figure}.png" for figure in figures_of(read_config(TINY))), "claims.html", "report.html"):
        assert name in text, name
    said = words(re.sub(r"<[^>]+>|\\n|&\w+;", " ", text))
    captions = {name: registry.entry("figure", name).words["caption"] for name in figures_of(read_config(TINY))}
    captions |= {name: (CAPTIONS / f"{name}.rst").read_text() for name in ("claims", "report")}
    for name, caption in captions.items():
        first = words(caption.split(".")[0])[:60].strip()
        assert first in said, f"{name}: {first}"
    assert "snakemake.params" not in text


def test_every_result_stands_in_its_category_under_a_label(reports):
    text = reports["report.html"].read_text()
    labels = {"figure": set(figures_of(read_config(TINY))), "page": {"claims", "report"}}
    for category in ("Figures", "Claims", "Report"):
        assert f'"{category}"' in text, category
    for label, values in labels.items():
        said = set(re.findall(rf'"{label}":\s*"(\w+)"', text))
        assert values <= said, (label, said)


def test_the_archive_holds_the_files_themselves(reports, finished):
    with zipfile.ZipFile(reports["report.zip"]) as archive:
        held = {Path(name).name: archive.read(name) for name in archive.namelist()}
    for figure in figures_of(read_config(TINY)):
        assert held[f"{figure}.png"] == (finished.folder / f"reports/tiny/figures/{figure}.png").read_bytes()


@pytest.mark.parametrize(
    "job", ["train", "attack", "identifiability", "leakage", "certificate", "convergence", "metrics"]
)
def test_the_log_of_a_job_that_takes_long_says_how_fast_it_is_and_what_is_left(finished, job):
    for log in finished.folder.glob(f"logs/tiny/{re.sub(r'{.*?}', '*', JOBS[job].log)}"):
        assert re.search(r"(/s|s/\w+|s a round), .*left", log.read_text()), log


def test_a_run_says_what_is_done_and_left_while_it_runs(finished):
    assert re.search(r"^tiny: \d+ of \d+ jobs done.*left, (about|at least)", finished.text, re.MULTILINE), (
        finished.text[:3000]
    )
