"""Which attack got most of each cell: the published one and the strongest."""

import pandas as pd

from fldrep.analysis.families import is_adaptive
from fldrep.analysis.rows import ERROR, OF_DEFENSE, converged, places_of_defenses
from fldrep.analysis.verdicts import DEFENDED, judged

OF_ATTACK = [*DEFENDED, "attack"]


def attack_outcomes(attacks: pd.DataFrame, error: str = ERROR) -> pd.DataFrame:
    """One row an attack on a defense (`OF_ATTACK`), by defense in the order they are shown, the strongest attack first.

    The strongest is the one that found most images; of equals the one that found the larger share, certified more, and
    has the smaller median error. Targets that an attack refused are not counted.

    Columns: `OF_DEFENSE`, `preset`, `variant_of`; `attacked`, `found`, `certified`, each a count of images; `error`,
    the median over targets that did not diverge; `published`, whether the attack strengthens no other; `strongest` and
    `strongest_published`, whether it is that of its cell.
    """
    rows = judged(attacks).assign(published=lambda each: ~is_adaptive(each))
    cells = rows.groupby(OF_ATTACK)
    outcomes = cells[[*OF_DEFENSE, "preset", "variant_of", "published"]].first()
    outcomes = outcomes.join(cells[["found", "certified"]].sum()).assign(
        attacked=cells.size(), error=converged(rows).groupby(OF_ATTACK)[error].median()
    )
    outcomes = outcomes.reset_index().assign(
        _share=lambda each: each["found"] / each["attacked"], _place=lambda each: each["defense"].map(_places(attacks))
    )
    outcomes = outcomes.sort_values(
        [*DEFENDED[:-1], "_place", "found", "_share", "certified", "error", "attack"],
        ascending=[True] * len(DEFENDED) + [False, False, False, True, True],
        ignore_index=True,
    ).drop(columns=["_share", "_place"])
    first = ~outcomes.duplicated(DEFENDED)
    first_published = outcomes["published"] & ~outcomes[outcomes["published"]].duplicated(DEFENDED).reindex(
        outcomes.index, fill_value=True
    )
    return outcomes.assign(strongest=first, strongest_published=first_published)


def _places(attacks: pd.DataFrame) -> dict[str, int]:
    return places_of_defenses(attacks) if len(attacks) else {}
