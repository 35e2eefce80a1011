"""Attacks still reconstruct at a nominal rate of 40 %."""

from fldrep import registry
from fldrep.analysis.rows import ERROR
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    LEAD,
    NOT_REPRODUCED,
    REPRODUCED,
    TOO_WEAK,
    Finding,
    Tables,
    attacks_in,
    found_in,
    lead_over_grey,
    rows_of,
    strongest_adaptive,
    times_text,
    too_weak,
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
    """Whether the published attack still beats grey by `LEAD` at a nominal rate of 40 %, for each defense."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["rate"] == TOLERATED_RATE)]
            for defense in own["defense"].unique():
                found.append(_tolerated_rate(where, setting, rows_of(own, attack, defense), attack, defense))
    return found


def _tolerated_rate(where, setting, rows, attack, defense) -> Finding:
    lead, weak, live = lead_over_grey(rows), too_weak(setting, attack), rows["live_pruned"].median()
    words = f"{attack} is {times_text(lead)} as precise as grey (n = {lead.n}); from {LEAD:g} on it is tolerated"
    words += f"; {number(live, 'share')} of the live features are pruned" if live == live else ""
    adaptive = strongest_adaptive(setting, defense)
    if adaptive:
        words += f"; {adaptive}: {times_text(lead_over_grey(rows_of(setting, adaptive, defense)))}"
    return found_in(
        rows,
        where,
        verdict=TOO_WEAK if weak else (REPRODUCED if lead.median >= LEAD else NOT_REPRODUCED),
        measured=f"{words}; {weak}" if weak else words,
        quantity=f"grey's {ERROR} / the attack's, 0 where it diverged; n: targets x seeds",
        estimate=lead,
    )
