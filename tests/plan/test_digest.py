"""The digest of the code a job depends on, tried on a copy of the package in which lines are edited."""

from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from fldrep import registry
from fldrep.config.attacks import attack_settings
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.machine import origin
from fldrep.plan import digest as digests
from fldrep.plan import uses
from fldrep.plan.digest import code_digest, imported_modules, text_digest
from fldrep.registry import Entry

DEFENSES = list(registry.entries("defense"))


def forget() -> None:
    """Digest the files anew."""
    for cached in vars(digests).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


def digest_using(job: str, *used: tuple[str, str]) -> str:
    return code_digest(job, *chain.from_iterable(uses.code_of(*one) for one in used))


def attack(preset: str, method: str = "none") -> str:
    return digest_using("fldrep.attack.job", *uses.by_attack(attack_settings(preset)), ("defense", method))


def train(method: str) -> str:
    return digest_using("fldrep.train.job", ("defense", method))


def every_job() -> dict[str, str]:
    """The digest of a job of each kind."""
    modules = {
        "data": "data.datasets",
        "metrics": "metrics.collect",
        "certificate": "theory.jobs.certificate",
        "figure": "figures.privacy_utility",
        "claims": "report.claims_table",
    }
    found = {name: code_digest(f"fldrep.{module}") for name, module in modules.items()}
    for method in DEFENSES:
        found |= {f"train {method}": train(method), f"attack {method}": attack("gs", method)}
    return found


@cache
def before_edits() -> dict[str, str]:
    """The digests of the copy as each test finds it."""
    return every_job()


def changed_by(package, path: str, old: str, new: str) -> set[str]:
    """The jobs whose digest an edit changes."""
    before = before_edits()
    package(path, old, new)
    return {name for name, digest in every_job().items() if digest != before[name]}


def test_a_digest_is_16_hex_digits_and_the_same_twice():
    assert code_digest("fldrep.seeds") == code_digest("fldrep.seeds")
    assert len(code_digest("fldrep.seeds")) == 16
    int(code_digest("fldrep.seeds"), 16)
    assert code_digest("fldrep.seeds", "fldrep.atomic") == code_digest("fldrep.atomic", "fldrep.seeds")
    assert code_digest("fldrep.seeds") != code_digest("fldrep.atomic")


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
    before = code_digest("fldrep.models.building")
    package("models/initialisation.py", '"uniform"', '"even"')
    assert code_digest("fldrep.models.building") != before


WORDS = {
    "text of an error": ("storage/tensors.py", "not a readable", "no legible"),
    "text of an error from parts": ("errors.py", "unknown {kind}", "no such {kind}"),
    "refusal of a config": ("config/partitions.py", "belongs to method {method}", "is of method {method}"),
    "how a fault is told": ("config/checking.py", 'return f"{where}: unknown key"', 'return f"{where}: no such key"'),
    "meaning of a column": ("tables/training.py", '"test images that accuracy', '"the test images that accuracy'),
    "unit of a column": (
        "tables/training.py",
        '"share of these images classified correctly", "share',
        '"share of these", "part',
    ),
    "a unit where none was": ("tables/shards.py", '"class of the image")', '"class of the image", "class")'),
    "meaning of a setting": ("config/models.py", '"network, the last layer', '"the network, the last layer'),
    "unit of a setting": ("config/train.py", 'unit="rounds"', 'unit="turns"'),
    "source of a setting": ("config/partitions.py", 'source="Hsu et al. 2019"', 'source="Hsu, Qi and Brown 2019"'),
    "a line of the log": ("attack/chunks.py", "going on with %d", "trying %d"),
    "a warning": ("machine/compilation.py", "no C++ compiler found", "found no C++ compiler"),
}


@pytest.mark.parametrize("case", WORDS)
def test_words_do_not_count(package, case):
    assert changed_by(package, *WORDS[case]) == set()


CHANGES = {
    "type of an error": ("storage/tensors.py", "raise DataError(", "raise ValueError("),
    "type of a column": ("tables/shards.py", 'Column("client", "int"', 'Column("client", "float"'),
    "name of a column": ("tables/shards.py", 'Column("client", "int"', 'Column("holder", "int"'),
    "a column that may be empty": ("tables/shards.py", '"class of the image")', '"class of the image", null=True)'),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_a_caller_or_a_table_sees_counts(package, case):
    assert {"train none", "attack none"} <= changed_by(package, *CHANGES[case])


def test_the_data_of_an_error_that_is_no_text_counts(package):
    found, before = set(), "def job_seed"
    for raised in ("Stop(3, 'three')", "Stop(3, f'{3}')", "Stop(3, 'a' + str(3))", "Stop(4)"):
        after = f"raise {raised}\ndef job_seed"
        package("seeds.py", before, after)
        found.add(code_digest("fldrep.seeds"))
        before = after
    assert len(found) == 2


def test_the_digest_follows_imports_into_shared_modules(package):
    before = code_digest("fldrep.train.job"), code_digest("fldrep.data.partition"), attack("dlg")
    package("models/initialisation.py", "uniform_(-0.5, 0.5", "uniform_(-0.4, 0.4")
    after = code_digest("fldrep.train.job"), code_digest("fldrep.data.partition"), attack("dlg")
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, False]


DLG = {"dlg", "idlg", "dlg-scaled", "dlg-masked", "dlg-pruned"}
EXACT = {"gauss-newton", "closed-form", "closed-form-pruned", "closed-form-below"}
ANSWERED = {"learned", "imprint"}  # nothing is moved
SPECTRAL = {preset for preset, one in ATTACK_PRESETS.items() if one["optimiser"] == "adam-spectral"}
PARTS = {
    "attack/quasi_newton.py": DLG | {"ensemble"},
    "attack/objectives/relative_l2.py": {"gs-l2", "ensemble"},
    "attack/objectives/scaled_l2.py": {"dlg-scaled", "ensemble"},
    "attack/regularisers/total_variation.py": set(ATTACK_PRESETS) - DLG - SPECTRAL - EXACT - ANSWERED,
    "models/spectrum.py": SPECTRAL | EXACT | {"ensemble"},
    "attack/ensemble.py": {"ensemble"},
    "attack/pruned.py": {"gs-pruned", "gs-spectral-pruned", "dlg-pruned", "closed-form-pruned", "ensemble"},
}


def test_one_preset_does_not_depend_on_another(package):
    before = {preset: attack(preset) for preset in ATTACK_PRESETS}
    package("attack/adam.py", "1e-8", "1e-7")
    changed = {preset for preset in ATTACK_PRESETS if attack(preset) != before[preset]}
    assert changed == set(ATTACK_PRESETS) - DLG - ANSWERED, "those that solve descend behind a pool"

    for path, found in PARTS.items():
        before = {preset: attack(preset) for preset in ATTACK_PRESETS}
        line = next(
            line for line in (package.folder / path).read_text().splitlines() if line.startswith(("from ", "import "))
        )
        package(path, f"{line}\n", f"{line}\nANOTHER = 1\n")
        assert {preset for preset in ATTACK_PRESETS if attack(preset) != before[preset]} == found, path

    before = {preset: attack(preset) for preset in ATTACK_PRESETS}
    package("attack/engine.py", "import torch\n", "import torch\n\nANOTHER = 1\n")
    assert {preset for preset in ATTACK_PRESETS if attack(preset) != before[preset]} == set(ATTACK_PRESETS)


EVERY_RUN = {f"{job} {method}" for job in ("train", "attack") for method in DEFENSES}


def test_what_a_property_of_the_settings_says_counts_where_the_section_is_used(package):
    found = changed_by(package, "config/updates.py", "return 1 if self.local_epochs is None", "return 2 if True")
    assert {f"attack {method}" for method in DEFENSES} <= found
    assert "data" not in found


def test_what_is_public_of_a_defense_counts_where_it_is_used(package):
    found = changed_by(package, "defenses/compression.py", 'zeros = "all"', 'zeros = "head"')
    used = {"compression", "outpost"}  # outpost prunes by it
    assert found == {f"{job} {method}" for job in ("train", "attack") for method in used}


def test_a_check_of_a_section_counts_where_it_is_used(package):
    found = changed_by(package, "config/train.py", "kept > self.rounds", "kept >= self.rounds")
    assert found >= {f"train {method}" for method in DEFENSES}
    assert "data" not in found


def test_a_function_of_the_settings_counts_where_it_is_called(package):
    found = changed_by(package, "config/checking.py", "sort_keys=True)", "sort_keys=False)")
    assert found >= EVERY_RUN
    assert "data" not in found


TOLD_VALUES = {
    "default of a field": ("config/train.py", '0.1, "step size of local SGD"', '0.2, "step size of local SGD"'),
    "limit of a field": ("config/train.py", '"step size of local SGD", gt=0', '"step size of local SGD", ge=0'),
    "type of a field": ("config/train.py", "rounds: Natural", "rounds: int"),
    "another field": (
        "config/engine.py",
        "    tf32: bool",
        "    colour: str | None = option(None, 'a key')\n    tf32: bool",
    ),
    "default of a defense": ("defenses/soteria/__init__.py", '"variance", "how the', '"exact", "how the'),
    "default of an attack": ("config/presets.py", '"total_variation": 1e-4', '"total_variation": 2e-4'),
    "another preset": ("config/presets.py", '    "dlg": DLG,', '    "dlg": DLG,\n    "other": DLG,'),
    "key of an optimiser": ("attack/optimisers/signed_adam.py", 'option(0.1, "step size', 'option(0.2, "step size'),
    "words of a need": ("config/needs.py", "noise to average away", "noise that averages away"),
    "what is there instead of a need": ("config/needs.py", "does not clip", "clips nothing"),
}


@pytest.mark.parametrize("case", TOLD_VALUES)
def test_what_a_job_is_told_does_not_count_as_code(package, case):
    assert changed_by(package, *TOLD_VALUES[case]) == set()


def test_what_a_whole_config_must_fulfil_counts_where_a_config_is_read(package):
    assert changed_by(package, "config/contradictions.py", "entry.targets > images", "entry.targets >= images") == {
        "figure",
        "claims",
    }


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("defenses/noise.py", {"gaussian", "laplace", "gaussian-dp", "laplace-dp"}),
        ("defenses/gaussian.py", {"gaussian"}),
        ("defenses/soteria/masks.py", {"soteria"}),
        ("defenses/soteria/__init__.py", {"soteria"}),
        ("defenses/compression.py", {"compression", "outpost"}),
        ("defenses/quantile.py", {"soteria", "compression", "outpost", "percentile"}),
        ("defenses/none.py", {"none"}),
        ("defenses/client.py", set(DEFENSES)),
    ],
)
def test_a_run_depends_on_its_own_defense_only(package, path, methods):
    found = changed_by(package, path, "from ", "ANOTHER = 1\nfrom ")
    assert found - {"certificate"} == {f"{job} {method}" for job in ("train", "attack") for method in methods}


def test_another_defense_reruns_nothing(package):
    before = every_job()
    package("defenses/none.py", "order, colour", "order, colour")
    (digests.PACKAGE / "defenses/other.py").write_text((digests.PACKAGE / "defenses/none.py").read_text())
    forget()
    assert every_job() == before


def test_a_new_column_of_the_claims_reruns_the_claims_only(package):
    column = 'Column("verdict", "str"'
    assert changed_by(package, "tables/claims.py", column, f'Column("more", "str", "more"), {column}') == {"claims"}


def test_a_section_that_nothing_uses_does_not_count(package):
    before = {preset: attack(preset) for preset in ATTACK_PRESETS}
    package(
        "config/metrics.py",
        "class MetricSettings(Section):",
        "class OtherSettings(Section):\n    pass\n\nclass MetricSettings(Section):",
    )
    assert {preset: attack(preset) for preset in ATTACK_PRESETS} == before


def test_values_of_presets_are_told_and_no_code(package):
    """Of an ensemble also those of its members."""
    before = {preset: attack(preset) for preset in ATTACK_PRESETS}
    package("config/presets.py", '"total_variation": 1e-4', '"total_variation": 2e-4')
    assert {preset: attack(preset) for preset in ATTACK_PRESETS} == before


DATASETS = ("mnist", "fashion-mnist", "cifar10", "cifar100", "photo", "folder")


def data(name: str) -> str:
    module = "fldrep.data.folder" if name == "folder" else registry.entry("dataset", name).module
    return code_digest("fldrep.data.datasets", module)


@pytest.mark.parametrize(
    ("path", "old", "new", "changed"),
    [
        ("data/mnist.py", "mean=(0.13066,)", "mean=(0.13,)", {"mnist"}),
        ("data/cifar10.py", "md5-c58f", "md5-c58e", {"cifar10", "photo"}),
        ("data/photo.py", "label])", "label + 0])", {"photo"}),
        ("data/folder.py", "np.uint8", "np.int8", {"folder"}),
        ("storage/folders.py", "TESTED = 0.2", "TESTED = 0.3", {"folder"}),
        ("data/pictures.py", "Resampling.BICUBIC", "Resampling.BILINEAR", {"folder", "photo"}),
        ("data/published.py", "array.min() < 0", "array.min() < 1", {*DATASETS} - {"folder"}),
        ("storage/imageset.py", "/ 255).float()", "/ 256).float()", {*DATASETS}),
    ],
)
def test_a_data_set_depends_on_its_own_record_and_what_reads_it(package, path, old, new, changed):
    before = {name: data(name) for name in DATASETS}
    package(path, old, new)
    assert {name for name in DATASETS if data(name) != before[name]} == changed


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
    found = imported_modules("fldrep.attack.engine")
    assert "fldrep" not in found
    assert {"fldrep.attack", "fldrep.attack.engine", "fldrep.models.model", "fldrep.config.attacks"} <= found
    assert "fldrep.attack.ensemble" not in found


# ---- what a stranger adds


@pytest.fixture
def plugin(tmp_path) -> Path:
    """A file outside of the package, with one beside it."""
    (tmp_path / "maths.py").write_text("SCALE = 2.0\n")
    path = tmp_path / "sign.py"
    path.write_text(
        "import fldrep\nfrom maths import SCALE\n"
        "@fldrep.defense('sign')\nclass Sign(fldrep.Defense):\n"
        "    def on_update(self, update, client):\n        return fldrep.compare(update, SCALE)\n"
    )
    return path


def sign_at(path: Path) -> Entry:
    return Entry("defense", "sign", "fldrep_plugin_0", path)


def digest_of(*parts: str | Entry) -> str:
    forget()
    return code_digest(*parts)


def test_an_entry_of_this_package_counts_as_its_module():
    built_in = Entry("defense", "noise", "fldrep.defenses.noise", digests.PACKAGE / "defenses/noise.py")
    assert code_digest("fldrep.seeds", built_in) == code_digest("fldrep.seeds", "fldrep.defenses.noise")


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("sign.py", "SCALE)", "SCALE + 1)", True),
        ("maths.py", "2.0", "3.0", True),
        ("sign.py", "import fldrep", "# A remark.\nimport fldrep", False),
        ("sign.py", "client):", "client):\n        'In words.'", False),
    ],
)
def test_a_file_outside_counts_and_what_it_imports_beside_it(plugin, file, old, new, counts):
    before = digest_of("fldrep.seeds", sign_at(plugin))
    path = plugin.with_name(file)
    path.write_text(path.read_text().replace(old, new))
    assert (digest_of("fldrep.seeds", sign_at(plugin)) != before) == counts


def test_where_a_file_outside_lies_does_not_count(plugin, tmp_path):
    before = digest_of(sign_at(plugin))
    moved = tmp_path / "elsewhere" / "other.py"
    moved.parent.mkdir()
    moved.write_text(plugin.read_text())
    (moved.parent / "maths.py").write_text(plugin.with_name("maths.py").read_text())
    assert digest_of(sign_at(moved)) == before


def test_what_a_file_outside_takes_of_this_package_counts(package, plugin):
    before = code_digest(sign_at(plugin))
    package("attack/adam.py", "EPS = ", "ANOTHER = 1\nEPS = ")
    assert code_digest(sign_at(plugin)) == before, "it takes nothing of it"
    package("metrics/images.py", "Pair = ", "ANOTHER = 1\nPair = ")
    assert code_digest(sign_at(plugin)) != before, "as fldrep.compare"


def test_an_installed_plug_in_counts_with_the_rest_of_its_own_package(tmp_path):
    package = tmp_path / "site" / "signs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "maths.py").write_text("SCALE = 2.0\n")
    (package / "other.py").write_text("")
    (tmp_path / "site" / "numpy.py").write_text("")  # another installed package
    path = package / "entry.py"
    path.write_text("import numpy\nfrom . import maths\nfrom signs.maths import SCALE\n")
    found = []
    for name in ("maths.py", "other.py", "../numpy.py"):
        found.append(digest_of(sign_at(path)))
        (package / name).write_text("ANOTHER = 1\n")
    found.append(digest_of(sign_at(path)))
    assert found[0] != found[1] == found[2] == found[3]


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
    told = origin.provenance()
    assert {"commit", "machine", "memory", "GPUs", "versions", "made"} <= set(told)
    assert told["memory"].endswith(" GiB")
    assert told["versions"]["torch"].startswith("2.")
    assert "not installed" not in told["versions"].values()
    monkeypatch.setattr(origin, "PACKAGE", tmp_path)
    assert origin.commit() == "unknown"
