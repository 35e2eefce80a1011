"""The report job: tables and figures in, one page out."""

from pathlib import Path

from fldrep.config.whole import Config
from fldrep.machine.origin import provenance
from fldrep.report.page import write_page


def report_job(
    config: Config, claims: Path, figures: list[Path], gallery: Path, page: Path, record: Path, **tables: Path
) -> None:
    """Write the page, with the figures in their order and the gallery's pictures, and the record of the run."""
    write_page(config, tables, claims, figures, gallery, provenance(), page, record)
