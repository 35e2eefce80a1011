"""A defense in a file that the config names is trained, attacked, judged and drawn, and made again when it changes."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from fldrep import registry
from fldrep.tables.attacks import ATTACKS

TINY = Path(__file__).with_name("tiny.yaml")
SIGN = '''
"""A stranger's defense."""

import fldrep
from signs_of_a_stranger import sign


@fldrep.defense("sign")
class Sign(fldrep.Defense):
    """One bit an entry, times a scale."""

    colour = "#aa0000"

    class Settings(fldrep.Section):
        scale: float = fldrep.option(1.0, "factor on the signs", gt=0)

    def on_update(self, update, client):
        return {name: sign(value) * self.settings.scale for name, value in update.items()}
'''
BESIDE = "def sign(value):\n    return value.sign()\n"

pytestmark = pytest.mark.skipif(
    "none" not in registry.entries("defense"), reason="defenses are not yet entries of the registry"
)


@pytest.fixture(scope="module")
def plugged(made_once, snakemake, finished) -> Path:
    """The finished run of tiny.yaml with another defense, beside whose config lies the file that it is in."""

    def make(place: Path) -> None:
        shutil.copytree(finished.folder, place / "run")
        (place / "sign.py").write_text(SIGN)
        (place / "signs_of_a_stranger.py").write_text(BESIDE)
        raw = yaml.safe_load(TINY.read_text())
        raw["plugins"] = ["sign.py"]
        raw["defenses"]["sign-2"] = {"method": "sign", "scale": 2.0}
        raw["grid"] = raw["grid"][:1]  # fewer figures to draw again
        raw["grid"][0]["defenses"].append("sign-2")
        del raw["theory"]
        (place / "mine.yaml").write_text(yaml.safe_dump(raw))
        given = ("--cores", 2, "--configfile", place / "mine.yaml")
        done = snakemake(*given, folder=place / "run", source=finished.source)
        assert done.code == 0, done.text[-6000:]
        (place / "said.txt").write_text(done.text)

    return made_once("a run with a plug-in", make)


@pytest.fixture
def mine(plugged, tmp_path) -> Path:
    """A copy of the config and the plug-in, to change."""
    for name in ("sign.py", "signs_of_a_stranger.py", "mine.yaml"):
        shutil.copy(plugged / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def plan(snakemake, finished, plugged, mine):
    """What the same command makes again, once files beside the config are changed: `plan(file=(old, new))`."""

    def planned(config: str = "mine.yaml", **edits: tuple[str, str]):
        for stem, (old, new) in edits.items():
            text = (plugged / f"{stem}.py").read_text()
            assert old in text
            (mine / f"{stem}.py").write_text(text.replace(old, new))
        try:
            given = ("--summary", "--configfile", mine / config)
            return snakemake(*given, folder=plugged / "run", source=finished.source)
        finally:
            for stem in edits:
                shutil.copy(plugged / f"{stem}.py", mine / f"{stem}.py")

    return planned


def test_only_what_is_new_is_run_and_its_rows_stand_beside_the_others(plugged):
    ran = re.findall(r"^(?:local)?rule (\w+):", (plugged / "said.txt").read_text(), re.MULTILINE)
    assert (ran.count("train"), ran.count("attack"), ran.count("data")) == (1, 1, 0)
    attacks = ATTACKS.read(plugged / "run/results/tiny/metrics/attacks.parquet")
    assert set(attacks.loc[attacks["defense"] == "sign-2", "method"]) == {"sign"}
    page = (plugged / "run/reports/tiny/report.html").read_text()
    assert "sign-2" in page
    assert str(plugged) not in page, "a plug-in's name is told, and not where it lay"


def test_a_change_of_the_file_or_of_one_beside_it_remakes_what_used_it_and_nothing_else(plan):
    later = {"metrics", "figures", "claims", "report"}
    assert plan().jobs == {}
    for edit in ({"sign": ("scale for", "scale * 1.5 for")}, {"signs_of_a_stranger": ("sign()", "sign() + 0")}):
        found = plan(**edit)
        assert (found.trainings, found.attacks) == ({"lenet/sign-2"}, {"sign-2/dlg/0"})
        assert set(found.jobs) == {"train", "attack", *later}


def test_a_remark_or_another_place_remakes_nothing_but_what_names_the_config(plan, mine):
    assert plan(sign=("import fldrep", "import fldrep  # a remark")).jobs == {}
    (mine / "elsewhere").mkdir()
    for name in ("sign.py", "signs_of_a_stranger.py"):
        shutil.copy(mine / name, mine / "elsewhere")
    text = (mine / "mine.yaml").read_text().replace("sign.py", str(mine / "elsewhere/sign.py"))
    (mine / "moved.yaml").write_text(text)
    assert set(plan("moved.yaml").jobs) <= {"claims", "report"}, "the claims name the config"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"scale": -1}, "defenses.sign-2.scale: -1: "),
        ({"scael": 1}, "defenses.sign-2.scael: 1: unknown key"),
    ],
)
def test_a_wrong_key_of_a_plug_in_is_refused_by_name(snakemake, finished, plugged, mine, keys, told):
    raw = yaml.safe_load((mine / "mine.yaml").read_text())
    raw["defenses"]["sign-2"] = {"method": "sign", **keys}
    (mine / "wrong.yaml").write_text(yaml.safe_dump(raw))
    found = snakemake("-n", "--configfile", mine / "wrong.yaml", folder=plugged / "run", source=finished.source)
    assert found.code != 0
    assert told in found.text
    assert "Traceback" not in found.text
