"""The report job: tables and figures in, one page out."""

from pathlib import Path

from fldrep.config.whole import Config
from fldrep.machine.origin import PACKAGE, provenance
from fldrep.report.page import write_page

CAPTIONS = PACKAGE.parent / "workflow" / "report"  # beside the package, where there is a workflow


def report_job(config: Config, claims: Path, figures: list[Path], page: Path, **tables: Path) -> None:
    """Write the page, with the figures in their order."""
    attacks, training = tables.pop("attacks"), tables.pop("training")
    captions = CAPTIONS if CAPTIONS.is_dir() else None
    write_page(config, attacks, training, claims, tables, figures, provenance(), page, captions)
