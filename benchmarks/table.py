"""The table of `make bench`: what was compared, the mark it must reach, and whether it did."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).parent.parent
PACKAGES = ("torch", "torchvision", "numpy", "pytest-benchmark")
COLUMNS = ("work", "against", "mark", "ratio", "least..most", "pairs", "clock", "result")


@dataclass(frozen=True)
class Line:
    """A row: some work, measured against something; a mark of None is reported only.

    `slow_s` and `fast_s` are seconds for the same amount of work, pair by pair. `at_most` turns the ratio round: how
    many times longer the work takes than what it is compared with. `skipped` says why nothing was measured, `found` is
    what a line without pairs has to tell.
    """

    work: str
    against: str = ""
    mark: float | None = None
    at_most: bool = False
    slow_s: list[float] = field(default_factory=list)
    fast_s: list[float] = field(default_factory=list)
    clock: str = "CPU time"
    skipped: str | None = None
    found: str | None = None

    @property
    def ratios(self) -> list[float]:
        """One ratio a pair."""
        pairs = zip(self.slow_s, self.fast_s, strict=True)
        return [fast / slow if self.at_most else slow / fast for slow, fast in pairs]

    @property
    def ratio(self) -> float | None:
        """The median of the pairs' ratios."""
        return median(self.ratios) if self.slow_s else None

    @property
    def result(self) -> str:
        """`reached` or `short` of the mark, `reported`, or why it was skipped."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.mark is None or self.ratio is None:
            return self.found or "reported"
        enough = self.ratio <= self.mark if self.at_most else self.ratio >= self.mark
        return "reached" if enough else "short"

    def cells(self) -> list[str]:
        """The row as text, in the order of `COLUMNS`."""
        mark = "" if self.mark is None else f"{'at most' if self.at_most else 'at least'} {self.mark:g}x"
        span = f"{min(self.ratios):.3g}..{max(self.ratios):.3g}" if self.slow_s else ""
        ratio = f"{self.ratio:.3g}x" if self.slow_s else ""
        clock = self.clock if self.slow_s else ""
        return [self.work, self.against, mark, ratio, span, str(len(self.slow_s) or ""), clock, self.result]


def write(lines: list[Line], folder: Path) -> None:
    """performance.json and performance.md, with the machine, the versions and the commit they hold for."""
    folder.mkdir(parents=True, exist_ok=True)
    where = circumstances()
    rows = [asdict(one) | {"ratio": one.ratio, "result": one.result} for one in lines]
    (folder / "performance.json").write_text(json.dumps({"measured": where, "lines": rows}, indent=1) + "\n")
    (folder / "performance.md").write_text(as_markdown(lines, where))


def as_markdown(lines: list[Line], where: dict) -> str:
    """The page that `make bench` writes."""
    head = [
        "# Performance",
        "",
        "Written by `make bench`. Each line compares two ways to do the same work, with the same weights, targets and "
        "threads, in one run: pairs are interleaved after a warm-up, and the ratio is the median of the pairs'. "
        "CPU time is that of the process, wall time that of the clock on the wall.",
        "A line that is short of its mark is explained in [performance-notes.md](../performance-notes.md).",
        "",
        *(f"- {key}: {value}" for key, value in where.items()),
        "",
    ]
    return "\n".join([*head, *rows_of(lines), ""])


def rows_of(lines: list[Line]) -> list[str]:
    """The table in Markdown, a line a row."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(line.cells() for line in lines)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def circumstances() -> dict[str, str]:
    """Hardware, threads, load, versions and commit."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": "1 torch thread, but where a line says otherwise",
        "load (mean of the last 1, 5, 15 minutes)": " ".join(f"{one:.1f}" for one in os.getloadavg()),
        "versions": ", ".join([f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in PACKAGES)]),
        "commit": _commit(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if (info.exists())
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "fldrep", "benchmarks")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")
