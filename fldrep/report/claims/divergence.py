"""A diverged attack is no sign of protection."""

from fldrep import registry
from fldrep.analysis.intervals import share_interval
from fldrep.analysis.rows import chosen
from fldrep.analysis.words import number
from fldrep.report.evidence import NOT_REPRODUCED, REPRODUCED, Finding, Tables, attacks_in, found_in

# One run in twenty is enough for diverged runs (errors of 1e9 and more) to make any mean.
DIVERGED = 0.05


@registry.claim(
    "divergence",
    title="Diverged is not protected",
    said="Single runs of a published attack diverge so often that a mean error over them credits whichever defense "
    "was met.",
    source="this audit; the notebook of the reference code (S)",
    order=110,
)
def judge(tables: Tables) -> list[Finding]:
    """Share of single runs (the first restart) of a published attack that diverged, by defense."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            rows = setting[setting["attack"] == attack]
            single = rows[rows["restart"] == 0]
            shares = {name: share_interval(one["diverged"]) for name, one in single.groupby("defense", sort=False)}
            most = max(shares, key=lambda name: shares[name].median)
            each = ", ".join(f"{name} {number(share.median, 'share')}" for name, share in shares.items())
            left = chosen(rows).groupby("defense", sort=False)["diverged"].sum().sum()
            restarts = rows["restart"].nunique()
            words = f"diverged with one initial point: {each} (n = {shares[most].n} each)"
            words += (
                f"; with the best of {restarts} by gradient distance, {left} targets of all" if restarts > 1 else ""
            )
            found.append(
                found_in(
                    rows,
                    where,
                    verdict=REPRODUCED if shares[most].median >= DIVERGED else NOT_REPRODUCED,
                    measured=words,
                    quantity=f"share of single runs that diverged under {most}; n: targets x seeds",
                    estimate=shares[most],
                )
            )
    return found
