"""What Snakemake itself costs for a large grid: the real workflow, with stub jobs that only make their outputs.

python benchmarks/many_jobs.py --targets 20000 --block 8

A stand-in for `python`, first on the jobs' path, creates the files that a command names and that are not there yet; the
Snakefile, the rules, the grid and the scheduler are the real ones. Prints seconds, memory and files as JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from fldrep.plan.jobs import JOBS, flag

ROOT = Path(__file__).parent.parent
OUTPUTS = " ".join(sorted({flag(name) for job in JOBS.values() for name in job.outputs}))
STUB = f"""#!/bin/bash
# python -m fldrep run JOB --NAME VALUE ...: makes the files of the options that name outputs.
while [ $# -gt 0 ]; do
    for name in {OUTPUTS}; do
        if [ "$1" = "$name" ] && [ ! -e "$2" ]; then : > "$2"; fi
    done
    shift
done
"""


def grid_config(targets: int, block: int) -> dict:
    """A config with so many attacked updates: one model, ten training runs (defenses) and one attack."""
    raw = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    rates = [number / 10 for number in range(10)]
    raw["defenses"] = {f"soteria-{number}": {"method": "soteria", "rate": rate} for number, rate in enumerate(rates)}
    entry = {"defenses": list(raw["defenses"]), "attacks": ["gs"], "targets": targets // len(rates), "rounds": [0]}
    raw["grid"] = [{"datasets": ["mnist"], "models": ["convnet-4"], "partitions": ["iid"], **entry}]
    raw["engine"] = {"targets_per_job": block, "device": "cpu"}
    return raw


def call(folder: Path, config: Path, *arguments: str) -> dict[str, float]:
    """Seconds of wall and of processor that one call of Snakemake takes, jobs included. Errors: what it said."""
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow/Snakefile"), "-d", str(folder / "run")]
    command += ["--quiet", "all", "--configfile", str(config), *arguments]
    began, before = time.perf_counter(), _processor_seconds()
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    wall, used = time.perf_counter() - began, _processor_seconds() - before
    return {"wall_s": round(wall, 1), "processor_s": round(used, 1)}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def files_in(folder: Path) -> int:
    """Files below a folder."""
    return sum(len(files) for _, _, files in os.walk(folder))


def main() -> None:
    """Plan, run, and plan again when all is made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--jobs", default="2", help="jobs at once")
    parser.add_argument("--plan-only", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "bin/python").write_text(STUB)
        (folder / "bin/python").chmod(0o755)
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(grid_config(asked.targets, asked.block)))
        found: dict[str, object] = {"targets": asked.targets, "block": asked.block}
        found["attack_jobs"] = 10 * -(-(asked.targets // 10) // asked.block)
        found["load_before"] = [round(one, 1) for one in os.getloadavg()]
        found["parse"] = call(folder, config, "--list-rules")
        found["plan"] = call(folder, config, "-n")
        if not asked.plan_only:
            found["run"] = call(folder, config, "--cores", asked.jobs)
            found["plan_when_done"] = call(folder, config, "-n")
            found["files"] = {part: files_in(folder / "run" / part) for part in ("results", "logs", ".snakemake")}
        found["most_memory_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        found["load_after"] = [round(one, 1) for one in os.getloadavg()]
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
