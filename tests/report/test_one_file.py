"""A figure, a claim and an analysis are a file each in the package: nothing else names them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fldrep

FIGURE = '''"""A figure."""

import pandas as pd
from matplotlib.figure import Figure

from fldrep import registry
from fldrep.figures import theme


@registry.figure("pie", title="A pie", caption="Who ate it.", reads=("slices",), needs=("trained",), order=15)
@theme.themed
def draw(slices: pd.DataFrame) -> Figure:
    """One slice a row."""
    return theme.message_figure(f"{len(slices)} slices")
'''
CLAIM = '''"""A claim."""

from fldrep import registry
from fldrep.report.evidence import REPRODUCED, Finding, Tables


@registry.claim("sweet", title="Pies are sweet", said="All of them.", source="this audit", order=15)
def judge(tables: Tables) -> list[Finding]:
    """What the slices say."""
    return [Finding(REPRODUCED, f"{len(tables['slices'])} of them")]
'''
ANALYSIS = '''"""An analysis."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.words import TextTable
from fldrep.tables.table import Column, Table

SLICES = Table("slices", 1, (Column("who", "str", "who ate it"),))


@registry.analysis("slices", title="Slices", note="Who ate what.", order=15)
def text_tables(slices: pd.DataFrame) -> list[TextTable]:
    """All slices."""
    return [TextTable("all", [("who", "who ate it")], [[row.who] for row in slices.itertuples()], 1)]
'''
SCRIPT = """
import json, sys
from pathlib import Path
from fldrep.config.reading import read_config
from fldrep.figures import figures_of, render
from fldrep.report.evidence import Tables
from fldrep.report.page import page_text
from fldrep.report.claims_table import claims_table
from fldrep.tables.final import FINAL

config = read_config(sys.argv[1])
rows = {}
for name, table in FINAL.items():
    table.write([{"who": "Ann"}, {"who": "Bob"}] if name == "slices" else [], f"{name}.parquet")
    rows[name] = table.read(f"{name}.parquet")
render("pie", {"slices": Path("slices.parquet")}, "pie.png")
claims = claims_table(Tables(config, rows), "")
page = page_text({"name": "x"}, rows, claims, [], {}, {})
print(json.dumps({
    "figures": figures_of(config),
    "tables": list(FINAL),
    "claim": claims.set_index("claim").loc["sweet", "measured"],
    "on the page": [word for word in ("Who ate what.", "Ann", "Pies are sweet") if word in page],
    "torch": "torch" in sys.modules,
}))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package with three more files."""
    copy = tmp_path / "source" / "fldrep"
    shutil.copytree(Path(fldrep.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in {"figures/pie": FIGURE, "report/claims/sweet": CLAIM, "tables/slices": ANALYSIS}.items():
        (copy / f"{path}.py").write_text(text)
    return copy


def test_what_one_file_adds_is_drawn_judged_and_on_the_page(package, tmp_path):
    demo = Path(__file__).parents[2] / "config" / "demo.yaml"
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(demo)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert found["figures"][:4] == ["verdicts", "privacy_utility", "pie", "reconstructions"]
    assert found["tables"][3:6] == ["leakage", "slices", "certificate"]
    assert found["claim"] == "2 of them"
    assert found["on the page"] == ["Who ate what.", "Ann", "Pies are sweet"]
    assert not found["torch"]
    assert (tmp_path / "pie.png").exists()
