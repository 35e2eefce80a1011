"""The site is built without a complaint, asks the network for nothing, and has what the code says; links hold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import fldrep
from fldrep.config.whole import Config
from fldrep.tables.attacks import ATTACKS

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
MADE = {"docs/paper.html"}  # by `make paper`


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_there_and_nothing_is_asked_of_the_network(site):
    nav = re.findall(r"[\w/-]+\.(?:md|html)\b", (ROOT / "mkdocs.yml").read_text().partition("nav:")[2])
    assert len(nav) > 15
    for place in nav:
        page = site / re.sub(r"README\.md$", "index.html", place).replace(".md", ".html")
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\s\">]+)|<link[^>]*href=\"?([^\s\">]+)", text)
        assert [one for pair in loaded for one in pair if re.match("https?:|//", one)] == [], place


def test_the_reference_has_every_function_column_and_key(site):
    python, tables, keys = ((site / f"{name}.html").read_text() for name in ("python", "tables", "configuration"))
    for name in fldrep.__all__:
        assert f'id="{name.lower()}"' in python or name in fldrep.registry.ROOMS, name
    assert all(f"<code>{one.name}</code>" in tables for one in ATTACKS.columns)
    assert all(f"<code>{name}</code>" in keys for name in Config.model_fields)
    assert 'id="reconstruct"' in python
    assert "<strong>Shapes</strong>" in python


def test_the_tutorial_is_shown_with_its_pictures(site):
    text = (site / "tutorial.html").read_text()
    shown = re.findall(r'src="(tutorial/\d+\.png)"', text)
    assert len(shown) >= 5
    assert all((site / one).read_bytes().startswith(b"\x89PNG") for one in shown)


def texts() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), ROOT / "config/README.md"]


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_repository_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    targets = {one.partition("#")[0] for one in LINK.findall(text) if not re.match(r"[a-z]+:|#", one)}
    lost = [one for one in targets if not (path.parent / one).exists()]
    assert [one for one in lost if (path.parent / one).resolve().relative_to(ROOT).as_posix() not in MADE] == []


def test_the_readme_fits_a_screen_and_names_the_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 80
    text = "\n".join(lines)
    code = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    assert {"make demo", "make test"} <= set(re.findall(r"^make \w+", code, re.MULTILINE))
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text().partition("nav:")[0])["strict"] is True


def test_the_readme_answers_before_it_says_how_to_start():
    """The verdict, the attacks' names, how many images with an interval, and the pictures."""
    top = (ROOT / "README.md").read_text().partition("## Start")[0]
    assert "Does Soteria protect" in top.splitlines()[2]
    assert len(top.splitlines()) <= 25
    assert top.count("![") == 4
    assert len(re.findall(r"`[\w-]+`, [^|]*: \*\*\d+ of \d+ \[\d+ to \d+ %\]\*\* images found", top)) == 3


def test_every_target_of_the_makefile_has_a_rule_and_says_what_it_does():
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    rules = re.findall(r"^([a-z-]+):(?!=)", text, re.MULTILINE)
    assert sorted(phony.split()) == sorted(rules)
    (code,) = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text().partition("## Four")[0], re.DOTALL)
    assert set(re.findall(r"^make (\w+)", code, re.MULTILINE)) <= set(rules)


def test_every_page_has_a_place_on_the_site():
    nav = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f": {path.name}\n" not in nav] == []
