"""Attacks still reconstruct at a nominal rate of 40 %."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.verdicts import NOT_IDENTIFIABLE, share_of_found
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REACHED,
    REPRODUCED,
    Finding,
    Tables,
    found_in,
    found_text,
    images_under,
    not_reached,
)

# The rate that attacks are said to tolerate.
TOLERATED_RATE = 0.4


@registry.claim(
    "rate-40",
    title="Attacks tolerate 40 % pruning",
    said="At a nominal rate of 40 % attacks still reconstruct, under Soteria as under compression.",
    source="the figure of the reference code (S): MSE 0.10 and 0.09; in the paper's words recalled (R)",
    order=40,
)
def judge(tables: Tables) -> list[Finding]:
    """Whether attacks find half of the images at a nominal rate of 40 %, for each defense: all that were run on it."""
    found = []
    for where, setting in tables.settings():
        for _, rows in setting[setting["rate"] == TOLERATED_RATE].groupby("defense", sort=False):
            found.append(_tolerated_rate(tables, where, setting, rows))
    return found


def _tolerated_rate(tables: Tables, where: dict, setting: pd.DataFrame, rows: pd.DataFrame) -> Finding:
    images, live = images_under(tables, rows), rows["live_pruned"].median()
    share = share_of_found(images)
    attacks = dict(list(rows.groupby("attack", sort=False)))
    words = "; ".join(f"{name}: {found_text(tables, own)}" for name, own in attacks.items())
    words += f"; {number(live, 'share')} of the live features are pruned" if live == live else ""
    short = [not_reached(tables, setting, attack) for attack in attacks]
    if share.n and share.median >= REACHED:
        verdict = REPRODUCED
    elif (images["verdict"] == NOT_IDENTIFIABLE).mean() > 1 - REACHED or None in short:
        verdict = NOT_REPRODUCED
    else:
        verdict, words = NOT_TESTABLE, f"{words}; {short[0]}"
    return found_in(
        rows,
        where,
        verdict=verdict,
        measured=words,
        quantity=f"share of images that an attack finds, from {number(REACHED, 'share')} on it is tolerated; "
        "n: targets x seeds",
        estimate=share,
    )
