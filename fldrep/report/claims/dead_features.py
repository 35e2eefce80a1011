"""Dead features use up the nominal rate."""

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import chosen
from fldrep.analysis.words import nominal_text, number
from fldrep.report.evidence import NOT_REPRODUCED, REPRODUCED, Finding, Tables, found_in

# A nominal rate misleads where fewer live features are pruned than it says, by ten points or more.
RATE_GAP = 0.1


@registry.claim(
    "dead-features",
    title="Dead features use up the rate",
    said="Under the rules of the reference code far fewer live features are pruned than the nominal rate says.",
    source="this audit; the reference code (S)",
    order=100,
)
def judge(tables: Tables) -> list[Finding]:
    """Nominal rate less the share of live features pruned, under the rules of the reference code."""
    found = []
    for where, setting in tables.settings():
        own = setting[setting["rule"].str.startswith("reference")]
        for _, rows in own.groupby("defense", sort=False):
            picked = chosen(rows[rows["attack"] == rows["attack"].iloc[0]])
            gap = median_interval(picked["rate"] - picked["live_pruned"])
            rate, live = picked["rate"].iloc[0], picked["live_pruned"]
            words = (
                f"at a nominal {nominal_text(rate, None)}, {number(live.median(), 'share')} of the live features are "
                f"pruned (from {number(live.min(), 'share')} to {number(live.max(), 'share')}), "
                f"and {number(picked['norm2_removed'].median(), 'share')} of the squared norm of r"
            )
            found.append(
                found_in(
                    picked,
                    where,
                    verdict=REPRODUCED if gap.median >= RATE_GAP else NOT_REPRODUCED,
                    measured=words,
                    quantity="nominal rate - share of live features pruned; n: targets x seeds",
                    estimate=gap,
                    attack="",
                    iterations="",
                )
            )
    return found
