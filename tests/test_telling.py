"""Entries that are only told of: what a process knows of plug-ins that it does not load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = '''
import fldrep

@fldrep.defense("sign")
class Sign(fldrep.Defense):
    """One bit an entry."""
    zeros = "all"
    order: int = 7
    _own = 1

    class Settings(fldrep.Section):
        scale: float = fldrep.option(1.0, "factor", gt=0)

@fldrep.metric("near", larger_is_better=True)
def near(images, originals):
    raise AssertionError("not called")
'''

# What a class that says nothing else has from fldrep.Defense.
LOOKS = {"zeros": "none", "noise": "none", "distorts": False, "order": 100}
LOOKS |= {"colour": "#949494", "marker": "*", "line": "-"}


def run(code: str) -> str:
    """What a fresh interpreter prints, as what is registered stays so in this one."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def told(tmp_path) -> str:
    """What a process that loads the plug-in tells one that does not, as JSON."""
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    named = [("defense", "sign"), ("metric", "near"), ("figure", "leakage")]
    return run(
        "import json\nfrom fldrep import registry\n"
        f"print(registry.load_plugins({str(path)!r}))\n"
        f"print(json.dumps(registry.told_of([one for one in {named} if one[1] in registry.entries(one[0])])))"
    ).splitlines()[1]


def test_only_plain_words_of_what_is_not_built_in_are_told(told):
    assert json.loads(told) == [
        {"kind": "defense", "name": "sign", "words": {**LOOKS, "zeros": "all", "order": 7}},
        {"kind": "metric", "name": "near", "words": {"larger_is_better": True}},
    ]


def test_who_is_told_knows_the_words_and_takes_the_settings_as_they_were(told):
    said = run(
        "import json\nfrom fldrep import registry\nfrom fldrep.config.entries import settings_of\n"
        "from fldrep.config.section import Section\n"
        f"registry.tell(json.loads({told!r}))\n"
        "sign = registry.entry('defense', 'sign')\n"
        "settings = settings_of('defense', 'sign', 'method', Section).model_validate({'scale': -1.0, 'other': [1]})\n"
        "print(sign.is_told, sign.value.zeros, registry.value('metric', 'near').larger_is_better)\n"
        "made = sign.value(settings)\n"
        "print(made.zeros, made.scale, made.clip)\n"
        "print(settings.method, settings.scale, settings.other, json.dumps(settings.model_dump(), sort_keys=True))\n"
    )
    assert said.splitlines() == [
        "True all True",
        "all -1.0 None",
        'sign -1.0 [1] {"method": "sign", "other": [1], "scale": -1.0}',
    ]


def test_who_is_told_of_nothing_loads_no_installed_plug_in():
    code = (
        "from fldrep import registry\n"
        "registry.entry_points = lambda **named: 1 / 0\n"
        "registry.tell([])\n"
        "print(type(registry.entries('defense')).__name__)\n"
    )
    assert run(code) == "dict\n"
