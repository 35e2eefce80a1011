"""The claims job: the final tables in, verdicts out."""

from pathlib import Path

from fldrep.config.whole import Config
from fldrep.report.claims_table import write_claims


def claims_job(config: Config, command: str, table: Path, page: Path, **tables: Path) -> None:
    """Judge the claims on the final tables, each from the path under its name. Args: command: what makes them again."""
    write_claims(config, tables, command, table, page)
