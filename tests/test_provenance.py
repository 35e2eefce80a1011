"""The digest of the code a job depends on, tried on a copy of the package in which lines are edited."""

import shutil
from pathlib import Path

import pytest

from fldrep import provenance
from fldrep.provenance import code_digest, imported_modules, text_digest
from fldrep.settings import ATTACK_MODULES

PACKAGE = Path(provenance.__file__).parent


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that the digest looks at; call it to edit a file."""
    copy = tmp_path / "fldrep"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)

    def edit(path: str, old: str, new: str) -> None:
        text = (copy / path).read_text()
        assert old in text, f"{path} holds no {old!r}"
        (copy / path).write_text(text.replace(old, new, 1))
        forget()

    forget()
    yield edit
    forget()


def forget() -> None:
    for cached in (code_digest, provenance._tree, provenance._imports, provenance._syntax):
        cached.cache_clear()


def attack(preset: str) -> str:
    return code_digest("fldrep.attack.job", ATTACK_MODULES[preset])


def test_a_digest_is_16_hex_digits_and_the_same_twice():
    assert code_digest("fldrep.seeds") == code_digest("fldrep.seeds")
    assert len(code_digest("fldrep.seeds")) == 16
    int(code_digest("fldrep.seeds"), 16)
    assert code_digest("fldrep.seeds", "fldrep.files") == code_digest("fldrep.files", "fldrep.seeds")
    assert code_digest("fldrep.seeds") != code_digest("fldrep.files")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Randomness by name', '"""Randomness from names'),
        ("def job_seed", "# a comment\n\n\ndef job_seed"),
        ('    """A seed in [0, 2**63)', '    """Another seed in [0, 2**63)'),
        ('    text = "\\x1f".join(', '    text = (  "\\x1f"  ).join('),
        ('"big")', "'big')"),
    ],
    ids=["module docstring", "comment and blank lines", "docstring", "layout", "quotes"],
)
def test_what_does_not_run_does_not_count(package, old, new):
    before = code_digest("fldrep.seeds")
    package("seeds.py", old, new)
    assert code_digest("fldrep.seeds") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [(">> 1", ">> 2"), (">> 1", "<< 1"), ("[:8]", "[:7]"), ('"big"', '"little"'), ("*identity: object)", "*identity)")],
)
def test_what_runs_counts(package, old, new):
    before = code_digest("fldrep.seeds")
    package("seeds.py", old, new)
    assert code_digest("fldrep.seeds") != before


def test_a_string_that_is_no_docstring_counts(package):
    before = code_digest("fldrep.errors")
    package("errors.py", "unknown {kind}", "no such {kind}")
    assert code_digest("fldrep.errors") != before


def test_the_digest_follows_imports_into_shared_modules(package):
    before = code_digest("fldrep.train.job"), code_digest("fldrep.data.partition"), attack("dlg")
    package("models.py", "uniform_(-0.5, 0.5", "uniform_(-0.4, 0.4")
    after = code_digest("fldrep.train.job"), code_digest("fldrep.data.partition"), attack("dlg")
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, False]


DLG = {"dlg", "idlg", "dlg-scaled", "dlg-masked", "dlg-pruned"}


def test_one_preset_does_not_depend_on_another(package):
    before = {preset: attack(preset) for preset in ATTACK_MODULES}
    package("attack/gs.py", "1e-8", "1e-7")
    changed = {preset for preset in ATTACK_MODULES if attack(preset) != before[preset]}
    assert changed == set(ATTACK_MODULES) - DLG

    before = {preset: attack(preset) for preset in ATTACK_MODULES}
    package("attack/dlg.py", "import torch\n", "import torch\n\nANOTHER = 1\n")
    assert {preset for preset in ATTACK_MODULES if attack(preset) != before[preset]} == DLG | {"strongest"}

    before = {preset: attack(preset) for preset in ATTACK_MODULES}
    package("attack/engine.py", "import torch\n", "import torch\n\nANOTHER = 1\n")
    assert {preset for preset in ATTACK_MODULES if attack(preset) != before[preset]} == set(ATTACK_MODULES)


def test_settings_do_not_count_as_a_job_is_told_what_it_takes_from_them(package):
    before = {preset: attack(preset) for preset in ATTACK_MODULES}
    package(
        "settings.py",
        "class MetricSettings(Section):",
        "class OtherSettings(Section):\n    pass\n\nclass MetricSettings(Section):",
    )
    assert {preset: attack(preset) for preset in ATTACK_MODULES} == before


def test_values_of_presets_count_as_code_only_where_one_attack_runs_the_presets_of_others(package):
    before = {preset: attack(preset) for preset in ATTACK_MODULES}
    package("presets.py", '"total_variation": 1e-4', '"total_variation": 2e-4')
    assert {preset for preset in ATTACK_MODULES if attack(preset) != before[preset]} == {"strongest"}


def test_attacks_do_not_depend_on_figures_nor_figures_on_attacks(package):
    train = code_digest("fldrep.train.job")
    before = attack("gs"), code_digest("fldrep.figures.theme"), code_digest("fldrep.report.page")
    package("figures/theme.py", "import ", "import os\nimport ")
    assert attack("gs") == before[0]
    assert code_digest("fldrep.figures.theme") != before[1]
    package("attack/engine.py", "import torch\n", "import torch\n\nANOTHER = 1\n")
    assert code_digest("fldrep.report.page") == before[2]
    assert code_digest("fldrep.train.job") == train


def test_the_lazy_top_of_the_package_is_not_followed_but_sub_packages_are():
    found = imported_modules("fldrep.attack.gs")
    assert "fldrep" not in found
    assert {"fldrep.attack", "fldrep.attack.engine", "fldrep.models", "fldrep.settings"} <= found
    assert "fldrep.attack.dlg" not in found


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"no module fldrep\.attack\.absent"):
        code_digest("fldrep.attack.absent")


def test_the_digest_of_a_folder_is_of_names_and_text_and_not_of_the_place(tmp_path):
    def folder(name: str, files: dict[str, str]) -> Path:
        (tmp_path / name / "deeper").mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        return tmp_path / name

    first = text_digest(folder("a", {"x.rst": "one", "y.rst": "two"}))
    assert text_digest(folder("b", {"y.rst": "two", "x.rst": "one"})) == first
    others = [{"x.rst": "one"}, {"x.rst": "one", "y.rst": "three"}, {"x.rst": "two", "y.rst": "one"}]
    others.append({"x.rst": "one", "z.rst": "two"})
    digests = {text_digest(folder(f"c{number}", files)) for number, files in enumerate(others)}
    assert len(digests | {first}) == 5


def test_the_page_is_told_what_made_it(tmp_path, monkeypatch):
    told = provenance.provenance()
    assert {"commit", "machine", "memory", "GPUs", "versions", "made"} <= set(told)
    assert told["memory"].endswith(" GiB")
    assert told["versions"]["torch"].startswith("2.")
    assert "not installed" not in told["versions"].values()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    assert provenance.commit() == "unknown"
