"""What made a result: a digest of the code it depends on, the versions of the packages, the commit and the device.

Importing this module imports neither torch nor the code it digests: it reads syntax trees.
"""

import ast
import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parent
TOLD = frozenset({"fldrep.settings"})  # modules whose values reach a job as its params, and not as code
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "scipy", "scikit-image", "seaborn", "snakemake")


@cache
def code_digest(*modules: str) -> str:
    """Digest of the given modules and of every module of this package they import, directly or not.

    Comments, docstrings and layout do not count, any other change of the syntax tree does. Nor do the settings: what a
    job takes from them, defaults and presets included, it is told as JSON. Returns 16 hex digits.

    >>> code_digest("fldrep.seeds") == code_digest("fldrep.seeds")
    True
    """
    digest = hashlib.sha256()
    for name in sorted(imported_modules(*modules, besides=TOLD)):
        digest.update(f"{name}\n{_syntax(name)}\n".encode())
    return digest.hexdigest()[:16]


def imported_modules(*modules: str, besides: frozenset[str] = frozenset()) -> set[str]:
    """The given modules, their packages (but for the lazy top one), and all they import within this package.

    Args: besides: modules that are left out, with what only they import.
    """
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name in found or name == "fldrep" or name in besides:
            continue
        found.add(name)
        waiting += [*_imports(name), name.rpartition(".")[0]]
    return found


def _path(name: str) -> Path | None:
    base = PACKAGE.joinpath(*name.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def _tree(name: str) -> ast.Module:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {PACKAGE}")
    return ast.parse(path.read_text())


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Modules of this package that a module imports by statement, anywhere in its text."""
    found = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(one for one in found if one.startswith("fldrep.") and _path(one))


@cache
def _syntax(name: str) -> str:
    tree = _tree(name)  # loses its docstrings here, which hold no imports
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def text_digest(*folders: Path) -> str:
    """Digest of the files of folders, their names and their text, wherever the folders lie. Returns 16 hex digits."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            digest.update(f"{path.name}\n{path.read_text(encoding='utf-8')}\n".encode())
    return digest.hexdigest()[:16]


def share_package() -> None:
    """Let child processes import this very package, from any working directory and in any environment of a rule."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), *others])


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in ("fldrep", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str:
    """The commit of the working tree that holds the package, `-dirty` if tracked files differ, or `unknown`."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def machine() -> str:
    """The operating system, the processor and the number of cores, in words."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
    return f"{sys.platform}, {processor}, {os.cpu_count()} cores"


def memory() -> str:
    """The memory of this machine, in words."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def gpus() -> str:
    """The GPUs of this machine by the names their driver tells, `none` where there is no such driver."""
    told = [path.read_text() for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    lines = [line for text in told for line in text.splitlines() if line.startswith("Model:")]
    return ", ".join(line.partition(":")[2].strip() for line in lines) or "none"


def provenance() -> dict[str, object]:
    """What the page says of its making: commit, hardware, versions and the time of day (UTC, to the minute)."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    made_by = commit()
    again = [
        f"git checkout {made_by.removesuffix('-dirty')}",
        "pip install -c requirements.lock -e .",
        "snakemake --cores all --configfile CONFIG.yaml   # CONFIG.yaml: the settings below",
    ]
    hardware = {"machine": machine(), "memory": memory(), "GPUs": gpus()}
    return {"commit": made_by, **hardware, "versions": versions(), "made": now, "rerun": again}
