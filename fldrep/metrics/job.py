"""The metrics job: the files of a whole grid in, its tables and gallery out."""

from pathlib import Path

from fldrep.config.jobs import MetricsJob
from fldrep.metrics.collect import collect


def metrics_job(job: MetricsJob, results: Path, gallery: Path, code: str = "", **tables: Path) -> None:
    """Write the final tables, each to the path under its name, from the files under `results`."""
    collect(job, results, tables, gallery, code)
