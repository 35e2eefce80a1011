"""The page shows the numbers of the tables, escapes what it is given, and asks the network for nothing."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from fldrep import registry
from fldrep.config.reading import parse_config
from fldrep.errors import DataError
from fldrep.report import tables
from fldrep.report.evidence import NOT_TESTABLE
from fldrep.report.page import duration, page_text, summary, times, write_page
from fldrep.report.record import read_record
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attacks import ATTACKS, attacks_here
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL

CONFIG = {
    "name": "small",
    "partitions": {"iid": {}},
    "models": {"lenet": {}},
    "train": {"lenet": {"rounds": 2}},
    "defenses": {"none": {}},
    "grid": [{"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"]}],
}
PROVENANCE = {
    "commit": "0123456789ab",
    "device": ["cpu float32"],
    "versions": {"torch": "2.14.1"},
    "rerun": ["snakemake --cores 2"],
}
ANALYSES = registry.in_order("analysis")
FIGURES = registry.in_order("figure")
HOSTILE = "<script>alert(1)</script>\"'&<img src=http://evil.example/x>"

CLAIMED = pd.DataFrame([{
    "claim": "accuracy", "said": "No accuracy is lost.", "source": "the abstract (S)", "dataset": "mnist",
    "model": "lenet", "partition": "iid", "round": None, "update_kind": "single", "attack": "",
    "defense": "none, soteria-80",
    "measured": "0.9 undefended", "quantity": "test accuracy", "n": 2, "median": -0.004, "low": None, "high": None,
    "seeds": 2, "scale": "config small", "device": "cpu", "command": "snakemake claims", "verdict": "reproduced",
}])  # fmt: skip


class Seen(HTMLParser):
    """What a page holds: its tags with their attributes, and its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def small(synthetic):
    """Tables of one trained setting with 9 targets under three defenses."""
    settings = (("mnist", "lenet", "iid", 2),)
    defenses = ("none", "soteria-80", "gaussian-2")
    attacks = synthetic.attack_table(9, ("dlg",), defenses, settings, restarts=2)
    return attacks, synthetic.training_table(settings, defenses, seeds=(0, 1))


@pytest.fixture
def analyses(synthetic):
    """The tables of the theory stage."""
    return synthetic.analysis_tables()


def without_rows():
    return {name: pd.DataFrame(columns=FINAL[name].names) for name in ANALYSES}


def written(tmp_path, attacks, training, analyses=None, table=ATTACKS, gallery=None):
    """The page of these tables, and its figures. Args: table: attacks with the metrics that they have."""
    tables = {"attacks": attacks, "training": training, **(analyses or without_rows())}
    for name, rows in tables.items():
        (table if name == "attacks" else FINAL[name]).write(rows, tmp_path / f"{name}.parquet")
    CLAIMS.write(CLAIMED, tmp_path / "claims.parquet")
    figures = []
    for name in FIGURES:
        figures.append(tmp_path / f"{name}.png")
        Image.new("RGB", (30, 20), (len(name), 0, 0)).save(figures[-1])
    write_tensors(tmp_path / "gallery.safetensors", gallery or {})
    made = (figures, tmp_path / "gallery.safetensors", PROVENANCE)
    write_page(parse_config(CONFIG), *inputs_in(tmp_path), *made, *outputs_in(tmp_path))
    return (tmp_path / "report.html").read_text(encoding="utf-8"), figures


def inputs_in(folder):
    """The paths that a page is made of, but for figures."""
    return {name: folder / f"{name}.parquet" for name in FINAL}, folder / "claims.parquet"


def outputs_in(folder):
    return folder / "report.html", folder / "record.json"


def test_the_page_is_whole_and_asks_the_network_for_nothing(small, tmp_path):
    text, figures = written(tmp_path, *small)
    page = Seen(text)
    images = [attributes for tag, attributes in page.tags if tag == "img" and "src" in attributes]
    content = [base64.b64decode(one["src"].removeprefix("data:image/png;base64,")) for one in images]
    assert content == [path.read_bytes() for path in figures]
    assert {(one["width"], one["height"]) for one in images} == {("30", "20")}
    assert all(one["alt"] for one in images)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    style = text[text.index("<style>") : text.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    assert "default-src 'none'" in text


def test_claims_stand_on_the_page_with_their_verdicts(small, tmp_path):
    words = " ".join(Seen(written(tmp_path, *small)[0]).words)
    for expected in ("No accuracy is lost.", "reproduced", "−0.00400", "snakemake claims", "mnist · lenet · iid"):
        assert expected in words


def test_claims_that_this_config_can_judge_stand_open_and_the_rest_are_folded(small):
    claims = pd.concat([CLAIMED, CLAIMED.assign(claim="mse-ratio", said="Much more error.", verdict=NOT_TESTABLE)])
    rows = {"attacks": small[0], "training": small[1], **without_rows()}
    text = page_text({"name": "x"}, rows, claims, [], PROVENANCE, {})
    open_part, folded = text.partition('id="claims"')[2].split("1 claims that this config cannot judge")
    assert "No accuracy is lost." in open_part
    assert "Much more error." not in open_part
    assert open_part.rstrip().endswith("<details><summary>")
    assert "Much more error." in folded.partition("</details>")[0]


def test_the_page_goes_from_the_answer_to_how_it_was_made(small, tmp_path):
    text = written(tmp_path, *small)[0]
    order = ("answer", "explorer", "cells", "claims", "privacy", "utility", "made")
    places = [text.index(f'<section id="{name}"') for name in order]
    assert places == sorted(places)


def test_whom_an_attack_assumes_is_on_the_page(small):
    config = parse_config({**CONFIG, "attacks": {"dlg": {"preset": "dlg"}, "gs-l2": {"preset": "gs-l2"}}})
    found = tables.threat_table(config, small[0])
    assert found.rows == [["dlg", "honest-but-curious", "the update alone"]]
    text = page_text(config.model_dump(mode="json"), {"attacks": small[0], "training": small[1], **without_rows()},
                     CLAIMED, [], PROVENANCE, {}, (), found)  # fmt: skip
    assert "the update alone" in " ".join(Seen(text).words)


def test_the_verdict_of_every_cell_is_on_the_page(small, tmp_path, synthetic):
    floors = synthetic.identifiability_table({"none": 0.01, "soteria-80": 0.011, "gaussian-2": 5.0}, 9, rounds=(2,))
    attacks, training = small
    found = attacks["defense"].eq("none") & attacks["target"].lt(4)
    attacks = attacks.assign(recovered=found, ssim=found * 0.9)
    analyses = {**without_rows(), "identifiability": floors}
    text = written(tmp_path, attacks, training, analyses)[0]
    words = [word.strip() for word in Seen(text).words]
    for expected in (
        "identifiable and found",
        "found 4 of 9; 5 identifiable, not found",
        "44 % [19 %, 73 %]",  # Wilson
        "identifiable, not found by our attacks",
        "found 0 of 9; 9 identifiable, not found",
        "not identifiable",
        "found 0 of 9; 9 not identifiable",
    ):
        assert expected in words
    assert "too weak" not in text
    alone = [word.strip() for word in Seen(written(tmp_path, attacks, training)[0]).words]
    assert alone.count("identifiability not asked for") == 3
    assert "found by our attacks" in alone


@pytest.mark.parametrize("theory", [True, False])
def test_links_lead_to_sections(small, tmp_path, analyses, theory):
    page = Seen(written(tmp_path, *small, analyses=analyses if theory else None)[0])
    names = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= names
    assert links >= set(FIGURES)
    assert ("theory" in names) == theory


def test_every_figure_has_a_title_and_a_caption_in_sentences(small, tmp_path):
    words = " ".join(Seen(written(tmp_path, *small)[0]).words)
    for figure in FIGURES.values():
        assert re.fullmatch(r"[A-Z].{80,}\.", figure.words["caption"])
        assert figure.words["caption"] in words
        assert figure.words["title"] in words


def test_the_record_beside_the_page_holds_the_run_and_the_figures_shown(small, tmp_path):
    _, figures = written(tmp_path, *small)
    record = read_record(tmp_path / "record.json")
    assert record.config == parse_config(CONFIG)
    assert record.facts == {"commit": "0123456789ab", "device": "cpu float32"}
    assert record.versions == {"torch": "2.14.1"}
    assert list(record.figures) == list(FIGURES)
    assert record.shows("photo", (tmp_path / "photo.png").read_bytes())
    assert not record.shows("photo", figures[0].read_bytes())


def test_a_metric_of_a_plug_in_is_on_the_page_with_unit_and_direction(small, tmp_path, plug_in):
    plug_in("import fldrep\n@fldrep.metric('near-ness', unit='steps', larger_is_better=True)\ndef near(a, b): ...\n")
    attacks, training = small
    attacks = attacks.assign(near_ness=0.75, grey_near_ness=0.25, class_mean_near_ness=0.5)
    page = Seen(written(tmp_path, attacks, training, table=attacks_here())[0])
    words = [word.strip() for word in page.words]
    assert {"near_ness", "grey / class mean (near_ness)", "0.750", "0.250 / 0.500"} <= set(words)
    (meaning,) = {one["title"] for tag, one in page.tags if "near-ness, of" in one.get("title", "")}
    assert meaning.startswith("median, steps; near-ness, of the reconstruction")
    assert meaning.endswith("; larger is better")


def test_settings_are_shown_whole_with_their_defaults(small, tmp_path):
    words = Seen(written(tmp_path, *small)[0]).words
    (settings,) = [word for word in words if word.startswith("name: small")]
    assert yaml.safe_load(settings) == parse_config(CONFIG).model_dump(mode="json")


def test_origin_versions_times_and_commands_are_shown(small, tmp_path):
    words = " ".join(Seen(written(tmp_path, *small)[0]).words)
    for expected in ("0123456789ab", "cpu float32", "2.14.1", "snakemake --cores 2", "attack dlg"):
        assert expected in words


def test_hostile_words_are_escaped_wherever_they_come_from(small, analyses):
    attacks, training = small
    attacks = attacks.assign(attack=HOSTILE, model=HOSTILE, defense=attacks["defense"] + HOSTILE)
    training = training.assign(model=HOSTILE, dataset=HOSTILE, defense=training["defense"] + HOSTILE)
    figure = {"name": HOSTILE, "title": HOSTILE, "caption": HOSTILE, "width": 1, "height": 1, "data": HOSTILE}
    provenance = {HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}, "rerun": [HOSTILE]}
    config = {"name": HOSTILE, HOSTILE: HOSTILE}
    words = ("dataset", "model", "partition", "defense", "attack", "mask", "server", "sampling", "guarantee")
    hostile = {
        name: rows.assign(**{word: HOSTILE for word in words if word in rows}) for name, rows in analyses.items()
    }
    training = pd.concat([training, training[training["round"] == 0].assign(model="x")])
    text = page_text(
        config,
        {"attacks": attacks, "training": training, **hostile},
        CLAIMED.assign(measured=HOSTILE, said=HOSTILE, source=HOSTILE, scale=HOSTILE),
        [figure],
        provenance,
        {},
    )
    page = Seen(text)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "explorer-data"},
        {},
        {},
    ]
    assert [attributes["src"] for tag, attributes in page.tags if tag == "img" and "src" in attributes] == [
        "data:image/png;base64," + HOSTILE
    ]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert "<script>alert(1)" not in text
    assert "".join(page.words).count("<script>alert(1)</script>") >= 30


def test_a_privacy_row_by_hand(small):
    attacks, _ = small
    attacks["mse_pixel"] = np.arange(len(attacks), dtype=float)
    attacks["mse"] = 2 * attacks["mse_pixel"]
    lost = (attacks["defense"] == "soteria-80") & (attacks["target"] == 8)
    attacks.loc[lost, ["diverged", "recovered"]] = [True, False]
    (table,) = tables.privacy_tables(attacks)
    assert table.title == "mnist · lenet · iid · round 2"
    heads = [head for head, _ in table.heads]
    none, soteria, gaussian = (dict(zip(heads, row, strict=True)) for row in table.rows)
    assert soteria["defense"] == "soteria-80"
    assert (soteria["nominal"], soteria["live"], soteria["energy"]) == ("80 %", "80 %", "72 %")
    assert (soteria["MSE (normalised)"], soteria["grey / class mean (normalised)"]) == ("50.0", "1.08 / 0.880")
    assert (soteria["targets"], soteria["diverged"]) == ("9", "1")
    assert soteria["MSE (pixels)"].startswith("25.0 [")  # 18, 20 .. 32
    assert soteria["MSE (pixels)"].endswith("] *")
    assert soteria["paired difference"] == "+18.0 [18.0, 18.0]"
    assert soteria["grey / class mean"] == "0.0675 / 0.0550"
    kept = attacks[(attacks["defense"] == "soteria-80") & attacks["is_best_restart"]]
    assert soteria["recovered"] == f"{100 * kept['recovered'].mean():.0f} %"
    assert (none["paired difference"], none["nominal"], none["live"]) == ("–", "–", "–")
    assert gaussian["nominal"] == "std 0.01"


def test_fewer_than_eight_targets_have_no_interval_in_the_tables(synthetic):
    few = synthetic.attack_table(7, ("gs",), ("none", "soteria-80"))
    (table,) = tables.privacy_tables(few)
    assert not [cell for row in table.rows for cell in row if "[" in cell]
    enough = synthetic.attack_table(8, ("gs",), ("none", "soteria-80"))
    (table,) = tables.privacy_tables(enough)
    assert [sum("[" in cell for cell in row) for row in table.rows] == [1, 2]


def test_a_training_row_by_hand(small):
    _, training = small
    training.loc[training["round"] == 0, ["train_s", "defense_s", "sent_bytes"]] = [100.0, 100.0, 9e9]
    (table,) = tables.training_tables(training.sample(frac=1, random_state=0))
    heads = [head for head, _ in table.heads]
    rows = [dict(zip(heads, row, strict=True)) for row in table.rows]
    names = [(row["defense"], row["seed"]) for row in rows]
    assert names == [(name, seed) for name in ("none", "soteria-80", "gaussian-2") for seed in "01"]
    last = training[(training["defense"] == "soteria-80") & (training["seed"] == 1) & (training["round"] == 2)].iloc[0]
    row = rows[3]
    assert row["accuracy"] == f"{last['test_accuracy']:.3f}"
    assert (row["rounds"], row["training, s"], row["defense, s"]) == ("2", "2.00", "0.500")
    assert (row["dense, kB"], row["sent, kB"], row["nonzero"], row["test images"]) == ("60.0", "45.0", "80 %", "10000")


def test_models_that_no_run_trained_are_named_apart(synthetic):
    training = synthetic.training_table()
    assert tables.untrained_models(training) == ["cifar10 · convnet-16 · iid"]
    assert [table.title for table in tables.training_tables(training)] == ["mnist"]


def test_counts_and_times(small):
    attacks, training = small
    attacks.loc[0, "diverged"] = True
    attacks.loc[1, "diverged"] = True  # the second restart, which was not chosen
    counts = summary(attacks, training)
    assert counts == {"models trained": 6, "attacks on a target": 27, "diverged": 1, "seeds": 2}
    assert dict(times(attacks, training)) == {
        "local training (defense included)": "18.0 s",
        "defense inside training": "4.50 s",
        "evaluation": "9.00 s",
        "attack dlg": duration(27 * 2 * 1.5),
    }


def test_a_grid_without_attacks_or_training_still_has_a_page(synthetic):
    training = synthetic.training_table((("cifar10", "convnet-16", "iid", 0),))
    rows = {"attacks": synthetic.attack_table(1)[:0], "training": training, **without_rows()}
    text = page_text({"name": "x"}, rows, CLAIMED[:0], [], {}, {})
    assert "No attack was run." in text
    assert "No model was trained." in text
    assert ">Theory<" not in text


def test_only_analyses_with_rows_are_on_the_page(small, analyses, tmp_path):
    chosen = {**without_rows(), "accounting": analyses["accounting"]}
    words = Seen(written(tmp_path, *small, analyses=chosen)[0]).words
    titles = [analysis.words["title"] for analysis in ANALYSES.values()]
    of_figures = [figure.words["title"] for figure in FIGURES.values()]
    assert [title for title in titles if title in words and title not in of_figures] == ["Privacy spent"]


@pytest.mark.parametrize("content", [None, b"GIF89a"])
def test_what_is_no_picture_is_named_and_leaves_nothing(small, tmp_path, content):
    written(tmp_path, *small)
    bad = tmp_path / "bad.png"
    if content:
        bad.write_bytes(content)
    other = tmp_path / "other"
    with pytest.raises(DataError, match=r"bad\.png"):
        write_page(parse_config(CONFIG), *inputs_in(tmp_path), [bad], tmp_path / "g", {}, *outputs_in(other))
    assert not other.exists()
