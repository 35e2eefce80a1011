"""The report job: tables and figures in, one page out."""

from pathlib import Path

from fldrep.config.whole import Config
from fldrep.machine.origin import provenance
from fldrep.report.page import write_page


def report_job(config: Config, claims: Path, figures: list[Path], page: Path, record: Path, **tables: Path) -> None:
    """Write the page, with the figures in their order, and the record of the run beside it."""
    write_page(config, tables, claims, figures, provenance(), page, record)
