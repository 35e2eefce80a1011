"""An attack that knows of the defense takes back what the defense gained."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import ERROR, paired_differences
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NO_ADAPTIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Finding,
    Tables,
    above,
    attacks_in,
    few,
    found_in,
    median_text,
    not_reached,
    rows_of,
    strongest_adaptive,
)

# An adaptive attack has "taken the gain back" where it undoes at least half of what the defense had gained.
TAKEN_BACK = 0.5


@registry.claim(
    "adaptive-attacks",
    title="Attackers that know the defense",
    said="An attack that knows of the defense takes back at least half of what the defense gained.",
    source="this audit; Balunović et al. 2022 and Li et al. 2022, for Soteria (S)",
    order=90,
)
def judge(tables: Tables) -> list[Finding]:
    """How much of what a defense gains against a published attack the strongest adaptive one takes back."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["method"] != "none")]
            for defense in own["defense"].unique():
                if attacks_in(setting[setting["defense"] == defense], adaptive=True):
                    found.append(_adaptive_attacks(tables, where, setting, attack, defense))
    return found


def _adaptive_attacks(tables, where, setting, attack, defense) -> Finding:
    plain = setting[(setting["attack"] == attack) & (setting["method"] == "none")]
    rows, short = rows_of(setting, attack, defense), not_reached(tables, setting, attack)
    adaptive = strongest_adaptive(tables, setting, defense)
    quantity = f"paired difference of {ERROR}, at most grey's, published - adaptive attack; n: targets x seeds"
    if short or adaptive is None:
        words = short or NO_ADAPTIVE
        return found_in(rows, where, verdict=NOT_TESTABLE, measured=words, quantity=quantity)
    against = rows_of(setting, adaptive, defense)
    gain = median_interval(paired_differences(rows, plain, "credited"))
    left = median_interval(paired_differences(against, plain, "credited"))
    back = median_interval(paired_differences(rows, against, "credited"))
    share = 1 - left.median / gain.median if gain.median > 0 else float("nan")
    words = (
        f"over the undefended client {attack} leaves a gain of {median_text(gain, '+')}, {adaptive} one of "
        f"{median_text(left, '+')}: {number(share, 'share')} taken back"
    )
    verdict = REPRODUCED if share >= TAKEN_BACK and above(back) else NOT_REPRODUCED
    if few(back) or not above(gain):
        verdict, words = NOT_TESTABLE, f"{words}; {few(back) or 'there is no clear gain to take back'}"
    return found_in(
        pd.concat([rows, against]), where, verdict=verdict, measured=words, quantity=quantity, estimate=back
    )
