"""Some reported errors are larger than that of a grey image."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.cells import summarise
from fldrep.analysis.intervals import share_interval
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Finding,
    Tables,
    attacks_in,
    found_in,
    not_reached,
)


@registry.claim(
    "worse-than-grey",
    title="Worse than no attack",
    said="Some errors reported for defended clients are larger than that of an attacker who answers with a grey image.",
    source="this audit; the figure of the reference code (S): 0.97 to 1.49, grey 0.76",
    order=120,
)
def judge(tables: Tables) -> list[Finding]:
    """Share of defended cells where a published attack has more error than a grey image, by each of the two MSEs."""
    cells, rows = [], []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["method"] != "none")]
            if own.empty or not_reached(tables, setting, attack):
                continue
            cells.append(summarise(own).assign(**where))
            rows.append(own)
    if not cells:
        words = "no published attack finds the images of an undefended client, so that its errors are no measure"
        return [Finding(NOT_TESTABLE, words)] if len(tables["attacks"]) else []
    table, own = pd.concat(cells), pd.concat(rows)
    by_pixels = share_interval(table["error"] >= table["grey"])
    normalised = share_interval(table["mse"] >= table["grey_mse"])
    each = ", ".join(
        f"{method} {(one['mse'] >= one['grey_mse']).sum()} of {len(one)}" for method, one in table.groupby("method")
    )
    words = (
        f"by the MSE in normalised space {number(normalised.median, 'share')} of {normalised.n} cells ({each}); "
        f"with pixels clamped {number(by_pixels.median, 'share')}"
    )
    return [
        found_in(
            own,
            {},
            verdict=REPRODUCED if normalised.median > 0 else NOT_REPRODUCED,
            measured=words,
            quantity="share of cells (setting, attack, defense) whose median MSE (normalised) is at least grey's",
            estimate=normalised,
        )
    ]
