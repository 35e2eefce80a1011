"""The house rules: who may import whom, what stays light, and that environments hold what the code imports."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from rattler import MatchSpec

from fldrep.plan.digest import imported_modules
from fldrep.plan.jobs import JOBS

ROOT = Path(__file__).parent.parent
STAGES = ("data", "train", "attack", "theory", "metrics", "figures", "report")
HEAVY = (
    *("torch", "torchvision", "pandas", "matplotlib", "seaborn", "scipy", "skimage", "pyarrow", "jinja2"),
    *("flwr", "ray", "opacus"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((ROOT / "fldrep").rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def statements(node: ast.AST) -> set[str]:
    """Names that a piece of code imports by statement, anywhere in it; `from a import b` gives a and a.b."""
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Import):
            found |= {alias.name for alias in one.names}
        elif isinstance(one, ast.ImportFrom):
            assert not one.level, "a relative import hides where it goes"
            found |= {one.module} | {f"{one.module}.{alias.name}" for alias in one.names}
    return found


# ---- who imports whom


def test_each_room_imports_only_what_lies_below_it():
    """In a process of its own: the linter sets up logging and the console of the one that it runs in."""
    command = Path(sys.executable).with_name("lint-imports")
    said = subprocess.run([command, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("module", FILES)
def test_every_module_and_public_function_says_what_it_is(module):
    assert ast.get_docstring(tree(module)), f"{module} has no docstring"


def test_modules_are_named_after_things():
    vague = {"utils", "util", "helpers", "helper", "misc", "core", "base", "common", "tools"}
    assert not {name for name in FILES if vague & set(name.removeprefix("fldrep.").strip("_").split("."))}


def test_every_stage_has_a_package_and_its_rules():
    for stage in STAGES:
        assert (ROOT / "fldrep" / stage / "__init__.py").is_file(), stage
    rules = {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} - {"common"}
    assert rules <= set(STAGES)


def test_nothing_is_unpickled_and_no_shell_is_asked():
    """Readers of pickles are the data stage, which checks digests first, and workers, which read their own parent."""
    for module in FILES:
        names = statements(tree(module))
        if not module.startswith("fldrep.data") and module != "fldrep.train.workers":
            assert not names & {"pickle", "dill", "joblib", "shelve"}, module
        calls = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
        words = [ast.unparse(node.func) for node in calls]
        assert not set(words) & {"torch.load", "os.system", "eval", "exec", "yaml.load", "os.popen"}, module
        assert not [node for node in calls for key in node.keywords if key.arg == "shell"], module


def test_the_whole_of_an_exception_is_never_swallowed():
    for module in FILES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{module}:{node.lineno}"
                whole = ast.unparse(node.type) in ("Exception", "BaseException")
                assert not whole or ast.unparse(node.body[-1]).startswith("raise"), f"{module}:{node.lineno}"


# ---- what stays light


def loaded_by(code: str) -> set[str]:
    """Heavy packages in memory after running code in a fresh interpreter."""
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in said.stdout.split() if name in HEAVY}


def imports_of_the_snakefile() -> list[str]:
    """The lines by which the workflow imports this package."""
    texts = [path.read_text() for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]]
    return [line.strip() for text in texts for line in text.splitlines() if re.match(r"\s*(from|import) fldrep", line)]


def test_importing_the_package_is_light():
    assert loaded_by("import fldrep") == set()


def test_the_workflow_is_read_without_heavy_packages():
    lines = imports_of_the_snakefile()
    assert len(lines) >= 4
    assert not loaded_by("\n".join(lines)), {line: loaded_by(line) for line in lines}


@pytest.mark.parametrize(
    "module",
    ["fldrep.config.reading", "fldrep.tables.final", "fldrep.plan.jobs", "fldrep.machine.origin", "fldrep.cli.main"],
)
def test_what_reads_configs_and_tables_needs_no_torch(module):
    assert not loaded_by(f"import {module}") & {"torch", "torchvision"}


def test_figures_and_the_page_are_made_without_torch():
    assert "torch" not in loaded_by(
        "import fldrep.figures.theme, fldrep.report.page, fldrep.storage.gallery, fldrep.analysis.rows"
    )


def test_the_snakefile_stays_short():
    assert len((ROOT / "workflow/Snakefile").read_text().splitlines()) < 50


# ---- environments

# Import names whose package is called otherwise.
PACKAGES = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "dp_accounting": "dp-accounting",
    "vl_convert": "vl-convert-python",
}
PACKAGES |= {"pydantic_core": "pydantic"}  # its own core, pinned by it
ENVIRONMENTS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "workflow/envs").glob("*.yaml"))}
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line.strip() and not line.startswith(("#", "-"))
]


def locked(python: str) -> dict[str, str]:
    """What the lock pins for a Python release on Linux."""
    there = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    there |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
    return {one.name: str(one.specifier) for one in LOCK if one.marker is None or one.marker.evaluate(there)}


def conda_part(environment: dict) -> list[str]:
    return [one for one in environment["dependencies"] if isinstance(one, str)]


def pip_part(environment: dict) -> dict[str, str]:
    lines = [line for one in environment["dependencies"] if isinstance(one, dict) for line in one["pip"]]
    return {Requirement(line).name: str(Requirement(line).specifier) for line in lines}


def python_of(environment: dict) -> str:
    return next(one for one in conda_part(environment) if one.startswith("python=")).partition("=")[2].strip("=")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments_pin_what_the_lock_pins(name):
    environment = ENVIRONMENTS[name]
    pins = locked(python_of(environment))
    assert pip_part(environment)
    assert pip_part(environment) == {package: pins[package] for package in pip_part(environment)}
    assert all(re.fullmatch(r"==[\w.]+", pin) for pin in pip_part(environment).values())


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_spec_of_an_environment_parses(name):
    environment = ENVIRONMENTS[name]
    assert environment["channels"] == ["conda-forge"], "a newer conda would look for a channel called nodefaults"
    names = [MatchSpec(spec).name.normalized for spec in conda_part(environment)]
    assert {"python", "pip"} <= set(names)
    version = MatchSpec(next(spec for spec in conda_part(environment) if spec.startswith("python="))).version
    assert version, "Python itself is not pinned"


def test_what_to_set_behind_a_mirror_is_said_beside_the_configuration():
    """A conda from 26.7 on takes `nodefaults` for a channel, so that no file of an environment can be the switch."""
    said = (
        (ROOT / "config/README.md").read_text().partition("## The environments of the rules")[2].partition("\n## ")[0]
    )
    for word in (
        "26.7",
        "`nodefaults`",
        "`channel_alias: ",
        "`default_channels: [conda-forge]`",
        "`conda-forge` alone",
    ):
        assert word in said, word


def entered_by(name: str) -> set[str]:
    """Modules of this package that a job imports: those of its entry and its command, and all of its stage."""
    entry = JOBS[name].entry.partition(":")[0]
    whole = {module for module in FILES if module.startswith(entry.rpartition(".jobs")[0] or entry.rpartition(".")[0])}
    return {entry, "fldrep.cli.run", *whole}


def packages(names: set[str]) -> set[str]:
    """Packages to install for imported names."""
    tops = {name.split(".")[0] for name in names} - {"fldrep"} - sys.stdlib_module_names
    return {PACKAGES.get(top, top) for top in tops}


def needed_by(modules: set[str]) -> dict[str, list[str]]:
    """Packages that modules import, and which modules do."""
    found: dict[str, list[str]] = {}
    for module in sorted(modules):
        for package in packages(statements(tree(module))):
            found.setdefault(package, []).append(module)
    return found


def test_the_environments_are_those_of_the_jobs():
    assert {f"{job.environment}.yaml" for job in JOBS.values()} == set(ENVIRONMENTS)


@pytest.mark.parametrize("name", JOBS)
def test_an_environment_holds_all_that_its_jobs_import(name):
    environment = f"{JOBS[name].environment}.yaml"
    needed = needed_by(imported_modules(*entered_by(name)))
    missing = {
        package: where for package, where in needed.items() if package not in pip_part(ENVIRONMENTS[environment])
    }
    assert not missing, f"{environment} lacks what the job {name} imports: {missing}"


def test_the_package_requires_all_that_it_imports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [one for part in project.get("optional-dependencies", {}).values() for one in part]
    needed = set(needed_by(set(FILES)))
    assert needed <= {Requirement(one).name for one in [*project["dependencies"], *optional]}


# ---- tracked files


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git working tree")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_tracked_files_name_no_place_of_one_machine():
    places = [r"/root/", r"/home/\w", r"/Users/\w", r"/work/\w", r"[A-Z]:\\Users", r"/tmp/w\b"]
    places += [
        r"index-url",
        r"--registry",
        r"(?<![\d=.])(?:10|192)\.\d+\.\d+\.\d+\b",
        r"://localhost",
        r"artifactory",
        r"nexus\.",
    ]
    forbidden = re.compile("|".join(places))
    found = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in (".png", ".npz", ".safetensors"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_no_large_file_is_tracked():
    assert {path.name: path.stat().st_size for path in tracked() if path.stat().st_size > 1_000_000} == {}
