"""What a defense takes away from what an update determines of the image."""

from fldrep import registry
from fldrep.analysis.floors import RECOGNISED, least_floor, one_an_update, times_undefended
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import SETTING
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Finding,
    Tables,
    above,
    few,
    median_text,
    times_text,
)

# A defense hides an image where the error that it leaves is above that of a recognised image, and at least twice the
# undefended one.
HIDDEN = 2.0


@registry.claim(
    "identifiability",
    title="What is removed from the update is gone",
    said="What a defense removes from the update or covers by noise, the rest of the update does not tell.",
    source="the premise of every defense here; judged by the update's Jacobian, without an attack (this audit)",
    order=15,
)
def judge(tables: Tables) -> list[Finding]:
    """The floor under each defense over that of the same image undefended, in each setting that was looked at."""
    rows = tables["identifiability"]
    rows = rows.assign(times=times_undefended(rows))
    found = []
    for values, setting in rows.groupby(SETTING, sort=True):
        where = dict(zip(SETTING, values, strict=True))
        defended = setting[setting["method"] != "none"]
        found += [_finding(where, setting, own) for _, own in defended.groupby("defense", sort=False)]
    return found


def _finding(where: dict, setting, own) -> Finding:
    ranked, plain = one_an_update(own), one_an_update(setting[setting["method"] == "none"])
    times, floor = median_interval(ranked["times"].dropna()), median_interval(least_floor(ranked).dropna())
    if ranked.empty:
        verdict, words = NOT_TESTABLE, f"no rank: {own['reason'].iloc[0]}; attacks alone decide"
    else:
        lacking = few(times, "images with a floor on both sides")
        hidden = above(times, HIDDEN) and above(floor, RECOGNISED)
        verdict = NOT_TESTABLE if lacking else (REPRODUCED if hidden else NOT_REPRODUCED)
        words = f"the floor is {times_text(times)} that of the undefended client" + (f"; {lacking}" if lacking else "")
        words += "".join(f"; {name}: {_levels(one)}" for name, one in (("defended", ranked), ("undefended", plain)))
    return Finding(
        verdict=verdict,
        measured=words,
        quantity=f"floor / floor undefended, white prior; hidden where that is above {HIDDEN:g} and the floor above "
        f"{RECOGNISED:g} under both priors; n: updates x seeds",
        estimate=times,
        where=where,
        defense=own["defense"].iloc[0],
        seeds=own["seed"].nunique(),
    )


def _levels(rows) -> str:
    """Floors and the share that is determined, in words."""
    if rows.empty:
        return "not looked at"
    share = number(1 - rows["undetermined"].median(), "share")
    spectral = number(rows["floor_spectral"].median())
    return f"{median_text(median_interval(rows['floor']))}, {spectral} by a prior of 1/f, {share} of directions shown"
