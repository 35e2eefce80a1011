"""The page in a real browser: its first screen, and every control of the explorer against the tables."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from fldrep.config.reading import parse_config
from fldrep.report.page import write_page
from fldrep.storage.gallery import gallery_key
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL

_spec = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
chromium = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chromium)
pytestmark = pytest.mark.skipif(chromium.CHROMIUM is None, reason="no Chromium is installed here")

CONFIG = {
    "name": "seen",
    "partitions": {"iid": {}},
    "models": {"lenet": {}},
    "train": {"lenet": {"rounds": 2}},
    "defenses": {"none": {}},
    "grid": [{"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"]}],
}
SETTINGS = (("mnist", "lenet", "iid", 0), ("mnist", "lenet", "iid", 2), ("cifar10", "convnet-16", "iid", 0))
DEFENSES = ("none", "soteria-40", "soteria-80", "gaussian-2")
SHOWN = """new Promise((done, fail) => { setTimeout(() => fail('nothing new is shown'), 10000); const look = () => {
  const id = document.getElementById('explorer').dataset.shown;
  id !== undefined && id !== %s ? done(id) : setTimeout(look, 20); }; look(); })"""


@pytest.fixture(scope="module")
def seen(synthetic, tmp_path_factory):
    """A page in a browser, and the table of attacks that it was made of."""
    folder = tmp_path_factory.mktemp("seen")
    attacks = synthetic.attack_table(8, ("gs", "gs-masked", "dlg"), DEFENSES, SETTINGS)
    found = attacks["method"].eq("soteria") & attacks["attack"].eq("gs-masked") & attacks["target"].lt(6)
    attacks = attacks.assign(recovered=found, ssim=found * 0.9)
    tables = {name: pd.DataFrame(columns=FINAL[name].names) for name in FINAL} | {
        "attacks": attacks,
        "training": synthetic.training_table(SETTINGS[1:2], DEFENSES),
    }
    for name, rows in tables.items():
        FINAL[name].write(rows, folder / f"{name}.parquet")
    CLAIMS.write(pd.DataFrame(columns=CLAIMS.names), folder / "claims.parquet")
    pictures = synthetic.pictures(attacks)
    left_out = [gallery_key(row) for row in attacks[attacks["target"] == 7].itertuples()]
    write_tensors(folder / "gallery.safetensors", {name: one for name, one in pictures.items() if name not in left_out})
    paths = {name: folder / f"{name}.parquet" for name in FINAL}
    made = ([], folder / "gallery.safetensors", {})
    write_page(
        parse_config(CONFIG), paths, folder / "claims.parquet", *made, folder / "report.html", folder / "record.json"
    )
    with chromium.browser(folder) as page:
        yield page, folder / "report.html", ATTACKS.read(folder / "attacks.parquet")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_says_to_whom_soteria_falls_and_shows_it(seen, width, height):
    page, path, _ = seen
    page.open(path, width, height)
    lines = page.run("""[...document.querySelectorAll('.answers tbody tr')].map((row) => ({
        words: row.innerText, bottom: row.getBoundingClientRect().bottom,
        pictures: [...row.querySelectorAll('img')].map((one) => one.complete && one.naturalWidth > 0)}))""")
    line = lines[0]
    for expected in ("soteria-40", "falls", "gs-masked", "6 of 8", "41–93 %"):
        assert expected in line["words"]
    assert line["pictures"] == [True, True]
    assert line["bottom"] <= height
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run(SHOWN % "'none'")
    assert page.complaints == []


def shown_row(page) -> dict:
    """What the explorer shows: its choices and its words."""
    return page.run("""({
        ...Object.fromEntries([...document.querySelectorAll('#explorer-controls select')].map(
            (one) => [one.id.slice('explorer-'.length), one.value])),
        numbers: [...document.querySelectorAll('#explorer-metrics tr')].map(
            (line) => [...line.querySelectorAll('td')].map((one) => one.textContent)),
        said: document.getElementById('explorer-said').textContent,
        original: document.getElementById('explorer-original').src,
        rebuilt: document.getElementById('explorer-rebuilt').hidden ? null
            : document.getElementById('explorer-rebuilt').src,
        marks: document.querySelector('#explorer-scatter svg').outerHTML.length})""")


def choose(page, control: str, value: str) -> dict:
    """What is shown after a choice."""
    before = page.run("document.getElementById('explorer').dataset.shown")
    page.run(f"""(() => {{ const one = document.getElementById('explorer-{control}');
        one.value = {value!r}; one.dispatchEvent(new Event('change')); }})()""")
    page.run(SHOWN % f"'{before}'")
    return shown_row(page)


def of_table(attacks, now) -> pd.Series:
    """The row of the table that the choices name."""
    defense = now["rate"].rpartition("(")[2].rstrip(")")
    chosen = {name: now[name] for name in ("dataset", "model", "partition", "update_kind", "attack")}
    chosen |= {"defense": defense, **{name: int(now[name]) for name in ("round", "seed", "target")}}
    return attacks[(attacks[list(chosen)] == pd.Series(chosen)).all(axis=1)].iloc[0]


def assert_of_table(attacks, now) -> None:
    row = of_table(attacks, now)
    columns = [[name, f"grey_{name}", f"class_mean_{name}"] for name in ("mse_pixel", "ssim", "psnr_db", "mse")]
    for texts, names in zip(now["numbers"], columns, strict=True):
        assert [float(text) for text in texts] == pytest.approx([row[name] for name in names], rel=6e-3)
    assert now["said"].startswith("found; " if row["recovered"] else "not found; ")


def test_every_control_changes_what_is_shown_and_the_numbers_are_those_of_the_table(seen):
    page, path, attacks = seen
    page.open(path, 1280, 800)
    page.run(SHOWN % "'none'")
    before = shown_row(page)
    assert_of_table(attacks, before)
    options = page.run("""Object.fromEntries([...document.querySelectorAll('#explorer-controls select:enabled')].map(
        (one) => [one.id.slice('explorer-'.length), [...one.options].map((option) => option.value)]))""")
    assert set(options) == {"dataset", "method", "rate", "attack", "target"}
    choose(page, "dataset", next(one for one in options["dataset"] if one != before["dataset"]))
    for control in ("round", "attack", "target", "rate", "method", "dataset"):
        others = page.run(f"[...document.getElementById('explorer-{control}').options].map((one) => one.value)")
        before = shown_row(page)
        now = choose(page, control, next(one for one in others if one != before[control]))
        assert now[control] != before[control]
        assert (now["numbers"], now["rebuilt"]) != (before["numbers"], before["rebuilt"])
        assert_of_table(attacks, now)
    kept = choose(page, "target", "6")
    assert kept["rebuilt"].startswith("data:image/png")
    assert choose(page, "target", "7")["rebuilt"] is None
    assert page.complaints == []


def test_a_click_on_a_mark_shows_its_image(seen):
    page, path, _ = seen
    page.open(path, 1280, 800)
    before = page.run(SHOWN % "'none'")
    place = page.run("""(() => { document.getElementById('explorer-scatter').scrollIntoView({behavior: 'instant'});
        const marks = [...document.querySelectorAll('#explorer-scatter .mark-symbol.role-mark path')];
        const box = marks[marks.length - 1].getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]; })()""")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
    assert page.run(SHOWN % f"'{before}'") != before
    assert page.complaints == []
