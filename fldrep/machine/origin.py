"""Where a result comes from: commit, versions and hardware."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "scipy", "scikit-image", "seaborn", "snakemake")


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
