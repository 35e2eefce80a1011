"""A finished run is published whole, with what made it; what does not fit together, or is too large, is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fldrep.analysis.rows import converged
from fldrep.config.reading import read_config
from fldrep.errors import ConfigError, DataError
from fldrep.figures import figures_of
from fldrep.report import results_folder
from fldrep.report.claims_table import claims_page
from fldrep.report.publish import publish
from fldrep.report.record import read_record
from fldrep.report.results_folder import REQUIRED
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.training import TRAINING


def publish_again(run, **options):
    return publish(run.config, run.root, run.root / "docs/results", **options)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_leaves_its_record(finished):
    record = read_record(finished.reports / "record.json")
    assert record.config == read_config(finished.config)
    assert record.facts == {
        "commit": "0123456789ab",
        "machine": "linux, a <fast> processor, 2 cores",
        "made": "2026-01-02 03:04 UTC",
    }
    assert record.versions == {"torch": "2.14.1"}
    assert list(record.figures) == figures_of(record.config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no readable record of a run; run snakemake"),
        ("<html>404</html>", "no readable record"),
        ('{"config": {}, "facts": []}', "it has no facts, versions, figures"),
        ('{"config": {"engine": {}}, "facts": {}, "versions": {}, "figures": {}}', "not a config of this version"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, text, told):
    if text:
        (tmp_path / "record.json").write_text(text)
    with pytest.raises(DataError, match=rf"record\.json: .*{told}"):
        read_record(tmp_path / "record.json")


def test_rows_are_published_as_they_are_and_csv_says_the_same(published):
    folder = published.published
    for table in (ATTACKS, TRAINING, CONVERGENCE):
        whole = table.read(published.metrics / f"{table.name}.parquet")
        pd.testing.assert_frame_equal(table.read(folder / f"{table.name}.parquet"), whole)
    assert not list(folder.glob("leakage*"))  # it has no rows
    training = TRAINING.read(folder / "training.parquet")
    read = pd.read_csv(folder / "training.csv", keep_default_na=False, na_values={"rate": "", "std": ""})
    assert list(read["defense"]) == list(training["defense"])
    np.testing.assert_allclose(read["test_accuracy"], training["test_accuracy"], rtol=1e-5)
    claims = CLAIMS.read(published.reports / "claims.parquet")
    assert len(pd.read_csv(folder / "claims.csv")) == len(claims)
    assert (folder / "claims.html").read_text() == claims_page("small", claims)


def test_attacks_are_read_by_cell_in_both_errors_and_convergence_by_last_round(published):
    folder = published.published
    cells = pd.read_csv(folder / "attacks_by_cell.csv").set_index(["measure", "round", "defense"])
    attacks = ATTACKS.read(folder / "attacks.parquet")
    assert len(cells) == 2 * 2 * 3
    own = attacks[(attacks["round"] == 2) & (attacks["defense"] == "soteria-80")]
    for measure in ("mse", "mse_pixel"):
        cell = cells.loc[(measure, 2, "soteria-80")]
        assert cell["error"] == pytest.approx(converged(own)[measure].median(), rel=1e-5)
        assert (cell["targets"], cell["n"]) == (9, len(converged(own)))
    last = pd.read_csv(folder / "convergence_last_round.csv")
    assert (last["round"] == 2).all()
    assert len(last) == 2 * 8


def test_figures_lose_nothing_but_size_and_the_config_is_as_it_was_run(published):
    folder = published.published
    names = figures_of(read_config(published.config))
    assert sorted(path.stem for path in (folder / "figures").iterdir()) == sorted(names)
    for name in names:
        with (
            Image.open(folder / f"figures/{name}.png") as new,
            Image.open(published.reports / f"figures/{name}.png") as old,
        ):
            np.testing.assert_array_equal(np.asarray(new.convert("RGB")), np.asarray(old.convert("RGB")))
    assert (folder / "config.yaml").read_bytes() == published.config.read_bytes()


def test_what_made_them_is_told(published):
    folder = published.published
    told = json.loads((folder / "provenance.json").read_text())
    assert set(REQUIRED) <= set(told)
    assert (told["name"], told["config"], told["commit"]) == ("small", "config/small.yaml", "0123456789ab")
    assert told["machine"] == "linux, a <fast> processor, 2 cores"
    assert told["devices"] == ["cpu float32"]
    assert told["rows"] == {
        **{"attacks": 108, "training": 9, "leakage": 0, "certificate": 0},
        **{"convergence": 32, "accounting": 0, "identifiability": 0},
    }
    assert told["seconds"]["attack dlg"] == 162.0
    assert told["code"]["attacks"] == ["0123456789abcdef"]


def test_publishing_again_replaces_the_folder_and_gives_the_same_bytes(published):
    first = contents(published.published)
    (published.published / "old.csv").write_text("x")
    assert contents(publish_again(published)) == first
    assert [path.name for path in published.published.parent.iterdir()] == ["small"]


# ---- what is refused


def edited_config(run):
    run.config.write_text(run.config.read_text().replace("rate: 0.8", "rate: 0.7"))


def no_table(run):
    (run.metrics / "leakage.parquet").unlink()


def another_figure(run):
    Image.new("RGB", (9, 9)).save(run.reports / "figures/reconstructions.png")


def other_attacks(run):
    path = run.metrics / "attacks.parquet"
    attacks = ATTACKS.read(path)
    ATTACKS.write(attacks.assign(diverged=True), path)


def no_record(run):
    (run.reports / "record.json").unlink()


def a_folder(run):
    run.config.unlink()
    run.config.mkdir()


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (edited_config, ConfigError, r"small\.yaml: defenses: not what the results were made with; run: snakemake"),
        (no_table, DataError, r"leakage\.parquet: not a readable Parquet table"),
        (another_figure, DataError, r"reconstructions\.png: not the figure that the page shows"),
        (other_attacks, DataError, r"claims\.parquet: not what this code says of the tables"),
        (no_record, DataError, r"record\.json: no readable record"),
        (a_folder, DataError, r"small\.yaml: nothing that can be published; a config file"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(finished, fault, kind, told):
    fault(finished)
    with pytest.raises(kind, match=told):
        publish_again(finished)
    assert not list(finished.root.glob("docs/results/*"))


def test_a_commit_that_the_record_does_not_know_is_asked_for(finished):
    record = finished.reports / "record.json"
    record.write_text(record.read_text().replace("0123456789ab", "unknown"))
    with pytest.raises(DataError, match="small: the record of the run knows no commit"):
        publish_again(finished)
    told = json.loads((publish_again(finished, commit="fedcba987654") / "provenance.json").read_text())
    assert told["commit"] == "fedcba987654"


@pytest.mark.parametrize(
    ("limit", "told"), [("TABLES_LIMIT", "attacks.*are more than 9 in all"), ("FILE_LIMIT", "9 b")]
)
def test_what_is_too_large_is_refused_with_its_size_and_the_old_folder_stays(published, monkeypatch, limit, told):
    first = contents(published.published)
    monkeypatch.setattr(results_folder, limit, 9)
    with pytest.raises(DataError, match=told):
        publish_again(published)
    assert contents(published.published) == first
    assert [path.name for path in published.published.parent.iterdir()] == ["small"]


def test_the_limit_is_of_all_published_tables_together(published, monkeypatch):
    size = sum(results_folder.table_sizes(published.published).values())
    published.published.rename(published.published.with_name("other"))
    monkeypatch.setattr(results_folder, "TABLES_LIMIT", size + size // 2)
    with pytest.raises(DataError, match=rf"beside {{'other': {size}}}"):
        publish_again(published)


def test_a_large_figure_is_reduced_in_colours(finished, monkeypatch):
    monkeypatch.setattr(results_folder, "FIGURE_AIM", 1)
    with Image.open(publish_again(finished) / "figures/privacy_utility.png") as picture:
        assert picture.mode == "P"


def test_nothing_of_the_machines_folders_is_published(published_runs):
    run = published_runs("small")
    for name, content in contents(run.published).items():
        assert str(run.root).encode() not in content, name
