"""Attacks still reconstruct at a nominal rate of 40 %."""

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
    attacks_in,
    found_in,
    found_text,
    images_under,
    not_reached,
    rows_of,
    strongest_adaptive,
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
    """Whether the published attack still finds half of the images at a nominal rate of 40 %, for each defense."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["rate"] == TOLERATED_RATE)]
            for defense in own["defense"].unique():
                found.append(_tolerated_rate(tables, where, setting, attack, defense))
    return found


def _tolerated_rate(tables, where, setting, attack, defense) -> Finding:
    rows = rows_of(setting, attack, defense)
    images, live = images_under(tables, rows), rows["live_pruned"].median()
    share = share_of_found(images)
    words = f"{attack}: {found_text(images)}" if share.n else f"{attack} was refused: {rows['refused'].iloc[0]}"
    words += f"; {number(live, 'share')} of the live features are pruned" if live == live else ""
    adaptive = strongest_adaptive(tables, setting, defense)
    if adaptive:
        words += f"; {adaptive}: {found_text(images_under(tables, rows_of(setting, adaptive, defense)))}"
    short = not_reached(tables, setting, attack)
    if share.n and share.median >= REACHED:
        verdict = REPRODUCED
    elif (images["verdict"] == NOT_IDENTIFIABLE).mean() > 1 - REACHED or not short:
        verdict = NOT_REPRODUCED
    else:
        verdict, words = NOT_TESTABLE, f"{words}; {short}"
    return found_in(
        rows,
        where,
        verdict=verdict,
        measured=words,
        quantity=f"share of images found, from {number(REACHED, 'share')} on it is tolerated; n: targets x seeds",
        estimate=share,
    )
