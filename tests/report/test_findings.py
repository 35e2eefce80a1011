"""Findings and paper say what published tables say, and are refused where the tables say something else."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment, nodes

from fldrep.errors import DataError
from fldrep.report.facts import Published
from fldrep.report.few_pictures import FOLDER, contrast_pictures, pictures_shown, write_pictures
from fldrep.report.findings import findings_text
from fldrep.report.paper import paper_text, write_paper
from fldrep.storage.gallery import read_gallery
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.identifiability import IDENTIFIABILITY

RESULTS = Path(__file__).parents[2] / "docs/results"
TEMPLATES = Path(__file__).parents[2] / "fldrep/report/templates"
# What may have digits in a text: tags and what orders them, the address of an article, the name of an encoding.
NAMES = re.compile(r"</?h[1-6]\b|tabindex=\"0\"|arXiv:\d{4}\.\d{5}|utf-8")


@pytest.fixture
def results(tmp_path) -> Path:
    """A copy of the published folders that texts are made from."""
    for name in ("cpu", "demo"):
        shutil.copytree(RESULTS / name, tmp_path / name)
    return tmp_path


def edit(folder: Path, table, change) -> None:
    rows = table.read(folder / f"{table.name}.parquet", older=True)
    change(rows)
    table.write(rows, folder / f"{table.name}.parquet")


def found(rows: pd.DataFrame) -> pd.Series:
    uninformed = rows[["grey_ssim", "class_mean_ssim"]].max(axis=1)
    return (rows["recovered"] & (rows["ssim"] > uninformed)) | rows["certified"].eq(True)


def typed_numbers(template: str) -> list[str]:
    """What a template has of numbers of its own: in its words, and in what it prints."""
    tree = Environment().parse((TEMPLATES / template).read_text(encoding="utf-8"))
    words = [NAMES.sub("", one.data) for one in tree.find_all(nodes.TemplateData)]
    said = [str(one.value) for one in tree.find_all(nodes.Const) if not isinstance(one.value, bool)]
    return [one for one in (*words, *said) if re.search(r"\d", one)]


@pytest.mark.parametrize("template", ["findings.md.j2", "paper.html.j2"])
def test_no_number_is_typed(template):
    assert typed_numbers(template) == []


@pytest.mark.parametrize("typed", ["found 16 of them", "{{ 16 }}", "{{ '16' }}", "{% set n = 1.5 %}{{ n }}"])
def test_a_typed_number_would_be_found(typed, tmp_path, monkeypatch):
    (tmp_path / "typed.j2").write_text(f"<h2>{typed}</h2> arXiv:2012.06043")
    monkeypatch.setattr(f"{__name__}.TEMPLATES", tmp_path)
    assert len(typed_numbers("typed.j2")) == 1


def test_a_contrast_counts_what_the_table_counts():
    published = Published(RESULTS / "demo")
    contrast = published.contrasts[0]
    assert contrast.where == "mnist · lenet · iid · round 0"
    rows = published.attacks.query("model == 'lenet' and round == 0 and is_best_restart")
    for outcome, defense in (
        (contrast.undefended, "none"),
        (contrast.published, "soteria-60"),
        (contrast.adaptive, "soteria-60"),
    ):
        own = rows[(rows["attack"] == outcome.attack) & (rows["defense"] == defense)]
        assert (outcome.found, outcome.attacked) == (found(own).sum(), len(own))
    assert contrast.published.attack == contrast.undefended.attack == "dlg"
    assert contrast.adaptive.attack == "dlg-masked"


def test_pictures_are_of_an_image_found_lost_and_found_again(tmp_path):
    published = Published(RESULTS / "demo")
    shown = contrast_pictures(published, published.contrasts[0])
    assert shown[0].outcome is None
    assert [one.defense for one in shown[1:]] == ["none", "soteria-60", "soteria-60"]
    rows = published.attacks[published.attacks["is_best_restart"]]
    *_, target = shown[1].key.split("/")
    for one, expected in zip(shown[1:], (True, False, True), strict=True):
        assert one.key.endswith(f"/{target}")
        own = rows.query(
            "model == 'lenet' and round == 0 and target == @target_number", local_dict={"target_number": int(target)}
        )
        own = own[(own["defense"] == one.defense) & (own["attack"] == one.outcome.attack)]
        assert found(own).tolist() == [expected]
    assert {one.file for one in pictures_shown(published)} == {
        f"{FOLDER}/{path.name}" for path in (RESULTS / "demo" / FOLDER).iterdir()
    }


def test_a_picture_that_was_not_kept_is_named(results):
    with pytest.raises(DataError, match="demo: the gallery holds no picture 'original/mnist/"):
        write_pictures(results / "demo", {})


def test_publishing_writes_the_pictures(published):
    shown = {one.file for one in pictures_shown(Published(published.published))}
    assert {f"{FOLDER}/{path.name}" for path in published.published.glob(f"{FOLDER}/*")} == shown
    gallery = read_gallery(published.metrics / "gallery.safetensors")
    assert all(one.key in gallery for one in pictures_shown(Published(published.published)))


def test_a_finding_that_the_tables_no_longer_say_is_refused(results):
    assert "0 of 16 [0 to 19 %] under Soteria" in findings_text(results)

    def one_is_found(rows):
        own = rows.index[(rows["defense"] == "soteria-80") & (rows["attack"] == "dlg") & rows["is_best_restart"]]
        rows.loc[own[0], ["recovered", "ssim"]] = [True, 0.99]

    edit(results / "cpu", ATTACKS, one_is_found)
    with pytest.raises(DataError, match=r"cpu: no longer says 'Soteria stops attacks that do not know of it"):
        findings_text(results)


def test_the_finding_on_what_is_left_is_refused_where_noise_covers_it(results):
    def covered(rows):
        rows.loc[rows["method"] == "soteria", ["floor", "floor_spectral"]] = 0.5

    edit(results / "demo", IDENTIFIABILITY, covered)
    with pytest.raises(DataError, match="demo: no longer says 'What is left of the update"):
        findings_text(results)


def test_the_paper_stands_alone_and_follows_its_tables(results):
    text = paper_text(results)
    assert not re.search(r"<(script|link)|(src|href)=\"(?!data:)", text)
    for heading in ("Method", "The claims", "Through Soteria's mask", "What updates determine"):
        assert heading.replace("'", "&#39;") in text or heading in text
    assert "Leaderboard" not in text
    exact = Published(results / "demo").exact
    assert len(exact) == 2
    assert all(f"<dd>{one.outcome}</dd>" in text for one in exact)

    def one_is_lost(rows):
        own = rows["attack"].eq("closed-form") & rows["model"].eq("convnet-64")
        rows.loc[rows.index[own][-1], ["recovered", "ssim"]] = [False, 0.0]  # the picture is of another

    edit(results / "demo", ATTACKS, one_is_lost)
    assert "<dd>1 of 2</dd>" in paper_text(results)


def test_the_paper_names_a_picture_that_is_missing(results, tmp_path):
    shutil.rmtree(results / "demo" / FOLDER)
    with pytest.raises(DataError, match=r"original_mnist_\d+\.png: no readable picture"):
        write_paper(results, tmp_path / "paper.html")
    assert not (tmp_path / "paper.html").exists()


def test_make_paper_runs_the_command_that_writes_it(call, tmp_path):
    code, out, _ = call("paper", "--results", str(RESULTS), "--out", str(tmp_path / "paper.html"))
    assert code == 0
    assert re.search(r"paper\.html: 0\.\d+ MB", out)
    assert (tmp_path / "paper.html").read_text() == paper_text(RESULTS)
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert re.search(r"^paper: env.*\n\t\$\(BIN\)/python -m fldrep paper$", makefile, re.MULTILINE)
