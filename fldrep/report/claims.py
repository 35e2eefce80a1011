"""The paper's claims and this audit's own, each judged on the tables of one config: the table `claims` and its page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fldrep.analysis.words import interval_text
from fldrep.atomic import atomic_write
from fldrep.config.models import ModelSettings
from fldrep.config.whole import Config
from fldrep.report import attack_claims, theory_claims
from fldrep.report.evidence import NOT_TESTABLE, Finding, Tables
from fldrep.report.html import rendered
from fldrep.tables.claims import CLAIMS, VERDICTS
from fldrep.tables.final import FINAL


@dataclass(frozen=True)
class Claim:
    """What is said, by whom, and the function that judges it: one finding a cell."""

    title: str
    said: str
    source: str
    judge: Callable[[Tables], list[Finding]]


# How the page marks each verdict.
KINDS = dict(zip(VERDICTS, ("yes", "partly", "no", "unclear", "unclear"), strict=True))
PAPER, RECALLED, AUDIT = "the paper's abstract (S)", "the paper, recalled (R)", "this audit"

CLAIMED: dict[str, Claim] = {
    "representation-leakage": Claim(
        "The representation leaks",
        "Class-wise representations inferred from the gradient of the last layer correlate with the true ones at about "
        "0.99 through the rounds of training on non-iid clients.",
        RECALLED,
        theory_claims.leakage,
    ),
    "mse-ratio": Claim(
        "160 times the error",
        "The MSE between reconstructed and raw image is up to 160 times that of the baseline defenses (gradient "
        "compression, DP noise), for DLG and GS, on MNIST and CIFAR-10, at equal accuracy.",
        PAPER,
        attack_claims.mse_ratio,
    ),
    "accuracy": Claim("No accuracy lost", "The defense does not lose accuracy.", PAPER, attack_claims.accuracy),
    "rate-40": Claim(
        "Attacks tolerate 40 % pruning",
        "At a nominal rate of 40 % attacks still reconstruct, under Soteria as under compression.",
        "the figure of the reference code (S): MSE 0.10 and 0.09; in the paper's words recalled (R)",
        attack_claims.tolerated_rate,
    ),
    "inverse-rule": Claim(
        "The inverse rule defends better",
        "Ranking features by the inverse of the Jacobian defends better than by |r_i| / ||dr_i/dX||, at a higher cost.",
        "the README of the reference code (S)",
        attack_claims.inverse_rule,
    ),
    "certificate": Claim(
        "Certificate (theorem 1)",
        "The reconstruction is at least ||r - r'|| / ||df/dX|| away from the image.",
        RECALLED,
        theory_claims.certificate,
    ),
    "convergence": Claim(
        "Convergence (theorem 2)",
        "Training with the defense converges as 1 / steps, with constants enlarged by the perturbation.",
        RECALLED,
        theory_claims.convergence,
    ),
    "noise-is-private": Claim(
        "Noise is differential privacy",
        "The baselines that add Gaussian or Laplace noise are differentially private.",
        RECALLED,
        theory_claims.accounting,
    ),
    "adaptive-attacks": Claim(
        "Attackers that know the defense",
        "An attack that knows of the defense takes back at least half of what the defense gained.",
        f"{AUDIT}; Balunović et al. 2022 and Li et al. 2022, for Soteria (S)",
        attack_claims.adaptive_attacks,
    ),
    "dead-features": Claim(
        "Dead features use up the rate",
        "Under the rules of the reference code far fewer live features are pruned than the nominal rate says.",
        f"{AUDIT}; the reference code (S)",
        attack_claims.dead_features,
    ),
    "divergence": Claim(
        "Diverged is not protected",
        "Single runs of a published attack diverge so often that a mean error over them credits whichever defense "
        "was met.",
        f"{AUDIT}; the notebook of the reference code (S)",
        attack_claims.divergence,
    ),
    "worse-than-grey": Claim(
        "Worse than no attack",
        "Some errors reported for defended clients are larger than that of an attacker who answers with a grey image.",
        f"{AUDIT}; the figure of the reference code (S): 0.97 to 1.49, grey 0.76",
        attack_claims.worse_than_grey,
    ),
}


def claims_table(tables: Tables, command: str) -> pd.DataFrame:
    """Every claim, a row a cell, by `tables.claims`; a claim without a cell has one row that says so.

    Args: command: what makes the rows again.
    """
    rows = []
    for name, claim in CLAIMED.items():
        findings = claim.judge(tables) or [Finding(NOT_TESTABLE, "this config has no cell for it")]
        rows += [_row(name, claim, finding, tables.config, command) for finding in findings]
    return pd.DataFrame(rows)[CLAIMS.names]


def _row(name: str, claim: Claim, finding: Finding, config: Config, command: str) -> dict:
    estimate = finding.estimate
    return {
        "claim": name,
        "said": claim.said,
        "source": claim.source,
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
    own = " and ".join(f"{key} {value}" for key, value in settings.own.items())
    return f"{settings.architecture} of {own}" if own else settings.architecture


def write_claims(config: Config, paths: Mapping[str, Path], command: str, out_table: Path, out_page: Path) -> None:
    """Judge every claim and write the table and its page.

    Args: paths: a Parquet file for each table of `Tables`; command: what makes both again.
    """
    tables = Tables(config, **{name: table.read(paths[name]) for name, table in FINAL.items()})
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
    found = []
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
            "title": CLAIMED[name].title,
            "said": rows["said"].iloc[0],
            "source": rows["source"].iloc[0],
        }
        found.append({**said, "verdicts": verdicts, "cells": cells})
    return found
