"""The page in a real browser: its first screen, and every control of the explorer against the tables."""

import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

from fldrep.analysis.rows import CELL, rows_where
from fldrep.config.reading import parse_config
from fldrep.report.explorer import CONTROLS
from fldrep.report.page import write_page
from fldrep.report.paper import write_paper
from fldrep.storage.gallery import gallery_key
from fldrep.storage.tensors import write_tensors
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
FIRST = ("mnist", "lenet", "iid", 0)
# Beside the first setting one that differs in each of: round, update, split, network, data set.
SETTINGS = (
    FIRST,
    ("mnist", "lenet", "iid", 2),
    (*FIRST, "of-2", 2, 1),
    ("mnist", "lenet", "two-classes", 0),
    ("mnist", "lenet-untrained", "iid", 0),
    ("cifar10", "convnet-16", "iid", 0),
)
DEFENSES = ("none", "soteria-40", "soteria-80", "gaussian-2")
ATTACKERS = ("gs", "gs-masked", "dlg")
FLOORS = {"none": 0.01, "soteria-40": 0.011, "soteria-80": 0.012, "gaussian-2": 5.0}
SHOWN = """new Promise((done, fail) => { setTimeout(() => fail('nothing new is shown'), 10000); const look = () => {
  const id = document.getElementById('explorer').dataset.shown;
  id !== undefined && id !== %s ? done(id) : setTimeout(look, 20); }; look(); })"""


@pytest.fixture(scope="module")
def seen(synthetic, tmp_path_factory):
    """A page in a browser, and the table of attacks that it was made of."""
    folder = tmp_path_factory.mktemp("seen")
    attacks = pd.concat([
        synthetic.attack_table(8, ATTACKERS, DEFENSES, SETTINGS),
        synthetic.attack_table(8, ATTACKERS, DEFENSES, (FIRST,), seeds=(1,)).assign(recovered=False, ssim=0.0),
    ], ignore_index=True)  # fmt: skip
    found = attacks["method"].eq("soteria") & attacks["attack"].eq("gs-masked") & attacks["target"].lt(6)
    found &= attacks["seed"].eq(0) & attacks["update_kind"].eq("single")
    attacks = attacks.assign(recovered=found, ssim=found * 0.9)
    tables = {name: pd.DataFrame(columns=FINAL[name].names) for name in FINAL} | {
        "attacks": attacks,
        "training": synthetic.training_table(SETTINGS[1:2], DEFENSES, seeds=(0, 1)),
        "identifiability": synthetic.identifiability_table(FLOORS, 8),
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
        yield page, folder / "report.html", {name: FINAL[name].read(path) for name, path in paths.items()}


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_says_to_whom_soteria_falls_and_shows_it(seen, width, height):
    page, path, _ = seen
    page.open(path, width, height)
    lines = page.run("""[...document.querySelectorAll('.answers tbody tr')].map((row) => ({
        words: row.innerText, bottom: row.getBoundingClientRect().bottom,
        pictures: [...row.querySelectorAll('img')].map((one) => one.complete && one.naturalWidth > 0)}))""")
    line = lines[0]
    for expected in ("soteria-40", "falls", "gs-masked", "stronger variant of gs", "6 of 16", "18–61 %"):
        assert expected in line["words"]
    assert line["pictures"] == [True, True]
    assert line["bottom"] <= height
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run(SHOWN % "'none'")
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_of_the_paper_has_the_answer_and_what_it_rests_on(seen, tmp_path, width, height, scheme):
    page = seen[0]
    write_paper(Path(__file__).parents[2] / "docs/results", tmp_path / "paper.html")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.open(tmp_path / "paper.html", width, height)
    title, answer, *pictures = page.run("""[...document.querySelectorAll('h1, header > p b, header figure')].map(
        (one) => [one.innerText, one.getBoundingClientRect().bottom])""")
    assert title[0].startswith("Does Soteria protect")
    assert answer[0].startswith("Soteria stops attacks that do not know of it")
    assert len(pictures) == 4
    assert all(bottom <= height for _, bottom in (title, answer, *pictures))
    for words, _ in pictures[2:]:
        assert re.search(r"sent under Soteria.*rebuilt by [\w-]+: \d+ of \d+ \[\d+ to \d+ %\]", words), words
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    page.call("Emulation.setEmulatedMedia", features=[])


def shown_row(page) -> dict:
    """What the explorer shows: its choices and its words."""
    return page.run("""({
        ...Object.fromEntries([...document.querySelectorAll('#explorer-controls select')].map(
            (one) => [one.id.slice('explorer-'.length), one.value])),
        numbers: [...document.querySelectorAll('#explorer-metrics tr')].map(
            (line) => [...line.querySelectorAll('td')].map((one) => one.textContent)),
        ...Object.fromEntries(['said', 'place', 'floor', 'accuracy'].map(
            (name) => [name + '_text', document.getElementById('explorer-' + name).textContent])),
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


def of_table(tables, now) -> pd.Series:
    """The row of the table of attacks that the choices name."""
    defense = now["rate"].rpartition("(")[2].rstrip(")")
    chosen = {name: now[name] for name in ("dataset", "model", "partition", "update_kind", "attack")}
    chosen |= {"defense": defense, **{name: int(now[name]) for name in ("round", "seed", "target")}}
    return rows_where(tables["attacks"], list(chosen), list(chosen.values())).iloc[0]


def like(rows, columns: list[str], one: pd.Series) -> pd.DataFrame:
    """The rows that have in these columns what one row has."""
    return rows_where(rows, columns, one[columns])


def assert_of_table(tables, now) -> None:
    row = of_table(tables, now)
    columns = [[name, f"grey_{name}", f"class_mean_{name}"] for name in ("mse_pixel", "ssim", "psnr_db", "mse")]
    for texts, names in zip(now["numbers"], columns, strict=True):
        assert [float(text) for text in texts] == pytest.approx([row[name] for name in names], rel=6e-3)
    assert now["said_text"].startswith("This attack " + ("found" if row["recovered"] else "did not find"))
    assert_place(tables["attacks"], row, now["place_text"])
    of_run = ["dataset", "model", "partition", "defense"]
    floor = like(tables["identifiability"], [*of_run, "seed", "round", "target"], row)
    if len(floor) and row["update_kind"] == "single":
        assert float(now["floor_text"].split()[0]) == pytest.approx(floor["floor_spectral"].iloc[0], rel=6e-3)
    else:
        assert now["floor_text"] == "identifiability not asked for"
    training = like(tables["training"], of_run, row)
    if len(training):
        last = training[training["round"] == training["round"].max()]["test_accuracy"].median()
        assert float(now["accuracy_text"].split()[0]) == pytest.approx(100 * last, abs=0.051)
    else:
        assert now["accuracy_text"] == "not trained"


def assert_place(attacks, row, said) -> None:
    """Where the image stands among those of the same attack on the same defense."""
    errors = like(attacks, [*CELL, "seed"], row)["mse_pixel"]
    place, of, median = re.match(r"(\d+) of (\d+) by MSE.*; median (\S+)$", said).groups()
    assert (int(place), int(of)) == (1 + (errors < row["mse_pixel"]).sum(), len(errors))
    assert float(median) == pytest.approx(errors.median(), rel=6e-3)


def test_every_control_changes_what_is_shown_and_the_numbers_are_those_of_the_tables(seen):
    page, path, tables = seen
    page.open(path, 1280, 800)
    page.run(SHOWN % "'none'")
    start = dict(zip(("dataset", "model", "partition"), FIRST, strict=False)) | {"update_kind": "single", "round": "0"}
    for control, value in start.items():
        if shown_row(page)[control] != value:
            choose(page, control, value)
    assert_of_table(tables, shown_row(page))
    assert set(CONTROLS) == set(page.run("[...document.querySelectorAll('#explorer-controls select:enabled')].map("
                                         "(one) => one.id.slice('explorer-'.length))"))  # fmt: skip
    for control in reversed(CONTROLS):  # the inner choices first, while all have something to choose from
        options = page.run(f"[...document.getElementById('explorer-{control}').options].map((one) => one.value)")
        before = shown_row(page)
        now = choose(page, control, next(one for one in options if one != before[control]))
        assert now[control] != before[control]
        assert (now["numbers"], now["rebuilt"]) != (before["numbers"], before["rebuilt"])
        assert_of_table(tables, now)
    assert choose(page, "target", "6")["rebuilt"].startswith("data:image/png")
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


def press(page, key: str, code: int) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


def test_the_keyboard_reaches_every_control_and_each_says_what_it_is(seen):
    page, path, _ = seen
    page.open(path, 1280, 800)
    first = page.run(SHOWN % "'none'")
    enabled = page.run("[...document.querySelectorAll('#explorer-controls select:enabled')].map((one) => one.id)")
    page.run(f"document.getElementById('{enabled[0]}').focus()")
    reached = [enabled[0]]
    for _ in enabled[1:]:
        press(page, "Tab", 9)
        reached.append(page.run("document.activeElement.id"))
    assert reached == enabled
    before = shown_row(page)["target"]
    press(page, "ArrowDown", 40)
    page.run(SHOWN % f"'{first}'")
    assert shown_row(page)["target"] != before
    unnamed = page.run("""[...document.querySelectorAll('#explorer-controls select')].filter(
        (one) => !one.labels[0] || !one.labels[0].textContent.trim()).length
        + [...document.querySelectorAll('img:not([hidden])')].filter((one) => !one.alt).length""")
    assert unnamed == 0
    assert page.run("document.getElementById('explorer-said').getAttribute('role')") == "status"


LIGHTNESS = r"""((element, which) => {
    const parts = getComputedStyle(element)[which].match(/[\d.]+/g).slice(0, 3).map((one) => one / 255);
    const linear = parts.map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]; })"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_charts_stand_out_in_light_and_dark(seen, scheme):
    """By WCAG's contrast of text, 4.5; charts have a ground of their own, as the undefended marks are nearly black."""
    page, path, _ = seen
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.open(path, 1280, 800)
    page.run(SHOWN % "'none'")
    ground = page.run(f"{LIGHTNESS}(document.body, 'backgroundColor')")
    assert (ground < 0.2) == (scheme == "dark")
    for place in ("body", ".answers small", "#explorer-controls label", "summary"):
        text = page.run(f"{LIGHTNESS}(document.querySelector('{place}'), 'color')")
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) > 4.5, place
    chart = page.run("getComputedStyle(document.getElementById('explorer-scatter')).backgroundColor")
    assert chart == ("rgb(255, 255, 255)" if scheme == "dark" else "rgba(0, 0, 0, 0)")
    page.call("Emulation.setEmulatedMedia", features=[])
