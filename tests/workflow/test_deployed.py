"""The conventions of Snakemake's ecosystem: deployed by snakedeploy, and what the workflow catalog reads."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from snakemake.cli import get_argument_parser

from fldrep.config.reading import read_config
from fldrep.plan.grid import grid_of

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / ".snakemake-workflow-catalog.yml"


def repository(folder: Path, copied) -> Path:
    """What a clone of this repository has that deployment asks for, as a repository of its own."""
    folder.mkdir(parents=True)
    copied(ROOT, folder)
    shutil.copytree(ROOT / "config", folder / "config")
    for name in ("LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    return folder


def deployed(source: Path, to: Path) -> str:
    """Deploy as from GitHub, which snakedeploy tells by that word in the address. Returns the Snakefile."""
    program = str(Path(sys.executable).with_name("snakedeploy"))
    command = [program, "deploy-workflow", source.as_uri(), str(to), "--branch", "main"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (to / "workflow/Snakefile").read_text()


def test_a_deployed_workflow_plans_every_job_of_its_config(snakemake, copied, tmp_path):
    source, folder = repository(tmp_path / "github/someone/fldrep", copied), tmp_path / "deployed"
    text = deployed(source, folder)
    declared = 'github("someone/fldrep", path="workflow/Snakefile", branch="main")'
    assert declared in text
    assert (folder / "LICENSE").exists()
    # What GitHub would be asked for lies here.
    (folder / "workflow/Snakefile").write_text(text.replace(declared, repr(str(source / "workflow/Snakefile"))))
    assert {path.name for path in (ROOT / "config").iterdir()} == {path.name for path in (folder / "config").iterdir()}
    # Another config is named there: one on the command line would be merged into it, as in any deployed workflow.
    text = (folder / "workflow/Snakefile").read_text()
    (folder / "workflow/Snakefile").write_text(text.replace("config/config.yaml", "config/demo.yaml"))
    found = snakemake("-n", "--quiet", "rules", folder=folder, source=folder)
    assert found.code == 0, found.text[-3000:]
    blocks = len(list(grid_of(read_config(folder / "config/demo.yaml")).blocks()))
    assert re.search(rf"^attack +{blocks}$", found.text, re.MULTILINE), found.text[-3000:]


def test_the_catalog_file_has_todays_form():
    """By the catalog's own README: what is deployed, and whether a report can be made, stand together."""
    said = yaml.safe_load(CATALOG.read_text())
    assert set(said) == {"usage"}
    assert set(said["usage"]) == {"mandatory-flags", "software-stack-deployment"}
    assert set(said["usage"]["mandatory-flags"]) == {"desc", "flags"}
    stack = said["usage"]["software-stack-deployment"]
    assert set(stack) <= {"conda", "apptainer", "apptainer+conda", "report"}
    assert stack["conda"] is True
    assert stack["report"] is True


def test_the_flags_that_the_catalog_shows_are_those_of_snakemake():
    flags = yaml.safe_load(CATALOG.read_text())["usage"]["mandatory-flags"]["flags"].split()
    given = get_argument_parser().parse_args(["--cores", "1", *flags])
    assert {str(one) for one in given.software_deployment_method} == {"conda"}


def test_the_repository_has_what_the_catalog_asks_for():
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    assert list((ROOT / "workflow/rules").glob("*.smk"))
    words = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in words
    assert "workflow" in words
