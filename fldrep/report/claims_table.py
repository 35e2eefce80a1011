"""The paper's claims and this audit's own, each judged on the tables of one config: the table `claims` and its page."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from fldrep import registry
from fldrep.analysis.words import interval_text
from fldrep.atomic import atomic_write
from fldrep.config.models import ModelSettings
from fldrep.config.whole import Config
from fldrep.registry import Entry
from fldrep.report.evidence import NOT_TESTABLE, Finding, Tables
from fldrep.report.html import rendered
from fldrep.tables.claims import CLAIMS, VERDICTS
from fldrep.tables.final import FINAL

# How the page marks each verdict.
KINDS = dict(zip(VERDICTS, ("yes", "partly", "no", "unclear"), strict=True))


def claims_table(tables: Tables, command: str) -> pd.DataFrame:
    """Every claim, a row a cell, by `tables.claims`; a claim without a cell has one row that says so.

    Args: command: what makes the rows again.
    """
    rows = []
    for name, claim in registry.in_order("claim").items():
        findings = claim.value(tables) or [Finding(NOT_TESTABLE, "this config has no cell for it")]
        rows += [_row(name, claim, finding, tables.config, command) for finding in findings]
    return pd.DataFrame(rows)[CLAIMS.names]


def _row(name: str, claim: Entry, finding: Finding, config: Config, command: str) -> dict:
    estimate = finding.estimate
    return {
        "claim": name,
        "said": claim.words["said"],
        "source": claim.words["source"],
        **{key: finding.where.get(key, "") for key in ("dataset", "model", "partition")},
        "round": finding.where.get("round"),
        "update_kind": finding.where.get("update_kind", ""),
        "attack": finding.attack,
        "defense": finding.defense,
        "measured": finding.measured,
        "quantity": finding.quantity,
        "n": estimate.n,
        "median": estimate.median if estimate.n else None,
        "low": estimate.low,
        "high": estimate.high,
        "seeds": finding.seeds,
        "scale": scale(config, finding),
        "device": finding.device,
        "command": command,
        "verdict": finding.verdict,
    }


def scale(config: Config, finding: Finding) -> str:
    """How large the experiment was, in words: config, model, rounds trained, iterations."""
    model = finding.where.get("model", "")
    said = [f"config {config.name}"]
    if model in config.models:
        said += [model_words(config.models[model]), f"{config.train[model].rounds} rounds"]
    return ", ".join([*said, finding.iterations] if finding.iterations else said)


def model_words(settings: ModelSettings) -> str:
    """A network in words.

    >>> from fldrep.config.models import model_settings
    >>> model_words(model_settings("convnet", width=16))
    'convnet of width 16'
    """
    width = getattr(settings, "width", None)
    return f"{settings.architecture} of width {width}" if width else settings.architecture


def write_claims(config: Config, paths: Mapping[str, Path], command: str, out_table: Path, out_page: Path) -> None:
    """Judge every claim and write the table and its page.

    Args: paths: a Parquet file for each final table; command: what makes both again.
    """
    tables = Tables(config, {name: table.read(paths[name]) for name, table in FINAL.items()})
    table = claims_table(tables, command)
    CLAIMS.write(table, out_table)
    with atomic_write(out_page) as beside:
        beside.write_text(claims_page(config.name, table), encoding="utf-8")


def claims_page(name: str, table: pd.DataFrame) -> str:
    """The claims as one HTML page; everything that comes from outside is escaped."""
    return rendered("claims.html.j2", name=name, claims=claims_for_reading(table))


def place(row) -> str:
    """The cell of a row, in words."""
    named = [row.dataset, row.model, row.partition, "" if pd.isna(row.round) else f"round {row.round:.0f}"]
    return " · ".join(filter(None, named)) or "all cells"


def claims_for_reading(table: pd.DataFrame) -> list[dict]:
    """The table by claim: what is said, how often each verdict was reached, and its cells as words."""
    found, titles = [], registry.in_order("claim")
    for name, rows in table.groupby("claim", sort=False):
        cells = [
            {
                "place": place(row),
                "verdict": row.verdict,
                "kind": KINDS[row.verdict],
                "compared": " · ".join(filter(None, (row.attack, row.defense))),
                "value": interval_text(row.median, row.low, row.high),
                "quantity": row.quantity,
                "n": row.n,
                "seeds": row.seeds,
                "measured": row.measured,
                "scale": row.scale,
                "device": row.device,
                "command": row.command,
            }
            for row in rows.itertuples()
        ]
        counts = rows["verdict"].value_counts().reindex([one for one in KINDS if one in set(rows["verdict"])])
        verdicts = [{"verdict": verdict, "kind": KINDS[verdict], "count": int(n)} for verdict, n in counts.items()]
        said = {
            "id": name,
            "title": titles[name].words["title"],
            "said": rows["said"].iloc[0],
            "source": rows["source"].iloc[0],
        }
        found.append({**said, "verdicts": verdicts, "cells": cells})
    return found
