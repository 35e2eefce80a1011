"""What became of each attacked image: found, shown by its update though no attack found it, or not shown.

`image_verdicts` says it of every image and `cell_verdicts` of every cell; claims, the page and figures show what these
two say and decide nothing themselves. docs/verdicts.md explains the rule.
"""

import numpy as np
import pandas as pd

from fldrep.analysis.floors import RECOGNISED, least_floor, times_undefended
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, Estimate, share_interval
from fldrep.analysis.rows import OF_DEFENSE, PAIR, SETTING, chosen, places_of_defenses, updates_of
from fldrep.analysis.styles import carried_by
from fldrep.analysis.uninformed import UNINFORMED

# A defense is credited with a floor only where it is at least so many times the undefended one on the same image.
CREDITED = 2.0

FOUND = "identifiable and found"
FOUND_BY_ATTACKS = "found by our attacks"  # identifiability is not known
NOT_FOUND = "identifiable, not found by our attacks"
NOT_ATTACKED = "identifiable, not attacked"
NOT_FOUND_BY_ATTACKS = "not found by our attacks"  # identifiability is not known
NOT_LOOKED_AT = "neither attacked nor looked at"
NOT_EVEN_UNDEFENDED = "not identifiable even undefended"
NOT_IDENTIFIABLE = "not identifiable"

# Mean squared error in pixels up to which a certified image is the client's own. A client whose defense changes its
# images before their gradient is taken, as `ats` does, sends the update of another one, which an attack may certify.
SAME_IMAGE = 1e-4

# From the worst for the client to the best: the verdict of a cell is the worst of its images'.
VERDICTS = (
    FOUND,
    FOUND_BY_ATTACKS,
    NOT_FOUND,
    NOT_ATTACKED,
    NOT_FOUND_BY_ATTACKS,
    NOT_LOOKED_AT,
    NOT_EVEN_UNDEFENDED,
    NOT_IDENTIFIABLE,
)
IS_FOUND = (FOUND, FOUND_BY_ATTACKS)

FALLS, LEAKS, NOT_KNOWN, NO_DIFFERENCE, HOLDS = "falls", "leaks", "not known", "makes no difference", "holds"
# What the verdict of a cell answers to "does the defense hold?".
ANSWERS = {
    FOUND: FALLS,
    FOUND_BY_ATTACKS: FALLS,
    NOT_FOUND: LEAKS,
    NOT_ATTACKED: LEAKS,
    NOT_FOUND_BY_ATTACKS: NOT_KNOWN,
    NOT_LOOKED_AT: NOT_KNOWN,
    NOT_EVEN_UNDEFENDED: NO_DIFFERENCE,
    NOT_IDENTIFIABLE: HOLDS,
}

# Why it is not known whether an image is identifiable, where the table `identifiability` gives no reason of its own.
NOT_ASKED = "identifiability not asked for"
NO_FLOOR = "no floor: nothing is sent that has noise or rounding"
NO_UNDEFENDED_FLOOR = "no floor of the same image undefended to compare with"

DEFENDED = [*SETTING, "defense"]  # a cell: all attacks on a defense in a setting
IMAGE = [*DEFENDED, *PAIR]


def is_found(attacks: pd.DataFrame) -> pd.Series:
    """Whether each row's reconstruction is its image: certified and the same, or at the config's SSIM.

    By SSIM it must also be nearer than the images of an attacker who knows nothing, which reach it on simple data.
    """
    uninformed = attacks[[f"{guess}_ssim" for guess in UNINFORMED]].astype(float).max(axis=1)
    by_ssim = attacks["recovered"].astype(bool) & (attacks["ssim"].astype(float) > uninformed)
    certified = attacks["certified"].eq(True) & (attacks["mse_pixel"].astype(float) <= SAME_IMAGE)
    return certified | by_ssim


def judged(attacks: pd.DataFrame) -> pd.DataFrame:
    """The rows that count of the attacks that were run, with `found` (`is_found`) and `certified` as booleans."""
    rows = chosen(attacks)
    rows = rows[rows["refused"].fillna("") == ""]
    return rows.assign(found=is_found(rows), certified=rows["certified"].eq(True))


def image_verdicts(attacks: pd.DataFrame, identifiability: pd.DataFrame) -> pd.DataFrame:
    """One row an image under a defense (`IMAGE`), of all that either table has; defenses in the order they are shown.

    Args: tables `tables.attacks` and `tables.identifiability`; of attacks those that count. Columns: `OF_DEFENSE`,
    `images_per_update`; `attacks`, how many were run on it (refused ones are none), `found`, `certified`, `found_by`
    (their names); `floor`, the least of both priors (normalised MSE), and `times`, that over the undefended one;
    `reason` why it is not known whether it is identifiable, empty where it is; `verdict`, one of `VERDICTS`.
    """
    known = ["images_per_update", *OF_DEFENSE]
    both = [frame[[*IMAGE, *known]] for frame in (attacks, identifiability) if len(frame)]
    if not both:
        return pd.DataFrame(columns=[*IMAGE, *known, *_OUTCOME, *_FLOOR, "verdict"])
    images = pd.concat(both).drop_duplicates(IMAGE).set_index(IMAGE)
    images = images.join(_outcomes(attacks)).join(_floors(identifiability))
    images = images.fillna({"attacks": 0, "found": False, "certified": False, "found_by": "", "reason": NOT_ASKED})
    images = images.astype({"attacks": int, "found": bool, "certified": bool})
    images["verdict"] = _verdict(images)
    images = images.reset_index()
    images.attrs["styles"] = carried_by(identifiability, attacks)
    images["_place"] = images["defense"].map(places_of_defenses(images))
    return images.sort_values([*SETTING, "_place", *PAIR], ignore_index=True).drop(columns="_place")


_OUTCOME, _FLOOR = ["attacks", "found", "certified", "found_by"], ["floor", "times", "reason"]


def _outcomes(attacks: pd.DataFrame) -> pd.DataFrame:
    """By image: what came of the attacks on it, by the restart that each attacker would hand in."""
    rows = judged(attacks)
    outcomes = rows.groupby(IMAGE)[["found", "certified"]].any().assign(attacks=rows.groupby(IMAGE)["attack"].nunique())
    by = rows[rows["found"]].groupby(IMAGE)["attack"].agg(lambda names: ", ".join(sorted(set(names))))
    return outcomes.assign(found_by=by.reindex(outcomes.index).fillna(""))[_OUTCOME]


def _floors(identifiability: pd.DataFrame) -> pd.DataFrame:
    """By image: its floor, how often the undefended one, and why these do not tell whether it is identifiable."""
    rows = identifiability.assign(floor=least_floor(identifiability), times=times_undefended(identifiability))
    alone = (rows["floor"] > RECOGNISED) & rows["times"].isna()
    reason = rows["reason"].where(rows["reason"] != "", np.where(alone, NO_UNDEFENDED_FLOOR, ""))
    reason = reason.where(rows["floor"].notna() | (reason != ""), NO_FLOOR)
    return rows.assign(reason=reason).drop_duplicates(IMAGE).set_index(IMAGE)[_FLOOR]


def _verdict(images: pd.DataFrame) -> np.ndarray:
    """The verdict of each image: what is found is found, whatever its floor says, which knows no more than a prior."""
    known, attacked = images["reason"] == "", images["attacks"] > 0
    shown = images["floor"] <= RECOGNISED
    rules = {
        FOUND: images["found"] & known,
        FOUND_BY_ATTACKS: images["found"],
        NOT_FOUND_BY_ATTACKS: ~known & attacked,
        NOT_LOOKED_AT: ~known,
        NOT_FOUND: shown & attacked,
        NOT_ATTACKED: shown,
        NOT_IDENTIFIABLE: images["times"] >= CREDITED,
    }
    return np.select(list(rules.values()), list(rules), NOT_EVEN_UNDEFENDED)


def cell_verdicts(images: pd.DataFrame) -> pd.DataFrame:
    """One row a cell (`DEFENDED`), in the order of the images.

    Args: images: from `image_verdicts`. Columns: `OF_DEFENSE`; counts: `images`, `attacked`, `found`,
    `certified`, `known` (it is known whether the update determines the image), `determined` (it does), and one for
    every verdict, under its name; `share`, of images found, an `Estimate`; `found_by` and
    `reason`, each that occurs; `floor`, the median; `verdict`: the worst of its images for the client, so that a
    cell is `NOT_IDENTIFIABLE` only where every image is.
    """
    cells = images.groupby(DEFENDED, sort=False)
    rows = pd.DataFrame([_cell(cell) for _, cell in cells], columns=None if len(images) else [*DEFENDED, "verdict"])
    rows.attrs = images.attrs
    return rows


def _cell(images: pd.DataFrame) -> dict:
    counts = {verdict: int((images["verdict"] == verdict).sum()) for verdict in VERDICTS}
    return {
        **images.iloc[0][[*DEFENDED, *OF_DEFENSE]].to_dict(),
        "images": len(images),
        "attacked": int((images["attacks"] > 0).sum()),
        **{name: int(images[name].sum()) for name in ("found", "certified")},
        "known": int((images["reason"] == "").sum()),
        "determined": int((images["floor"] <= RECOGNISED).sum()),
        **counts,
        "share": share_of_found(images),
        "found_by": ", ".join(sorted({name for names in images["found_by"] for name in names.split(", ") if name})),
        "reason": "; ".join(filter(None, images["reason"].unique())),
        "floor": images["floor"].median(),
        "verdict": next(verdict for verdict, count in counts.items() if count),
    }


def share_of_found(images: pd.DataFrame) -> Estimate:
    """The share of attacked images that were found, with its interval. Args: rows of `image_verdicts` of one cell."""
    attacked = images[images["attacks"] > 0]
    return share_interval(attacked["found"], groups=updates_of(attacked))


def answer(cell: pd.Series) -> str:
    """Whether the defense of a cell holds there, in a word; that it does takes as many images as an interval.

    Args: a row of `cell_verdicts`.

    >>> [answer(pd.Series({"verdict": verdict, "images": 4})) for verdict in (NOT_FOUND, NOT_IDENTIFIABLE)]
    ['leaks', 'not known']
    """
    said = ANSWERS[cell["verdict"]]
    return NOT_KNOWN if said == HOLDS and cell["images"] < LEAST_FOR_INTERVAL else said


def counts_text(cell: pd.Series) -> str:
    """What became of the images of a cell, in words; those that attacks alone tell of are found or not, no more.

    Args: a row of `cell_verdicts`.

    >>> cell = dict.fromkeys(VERDICTS, 0) | {"images": 8, "attacked": 8, "found": 5, FOUND: 5, NOT_FOUND: 3}
    >>> counts_text(pd.Series(cell))
    'found 5 of 8; 3 identifiable, not found'
    """
    found = [f"found {cell['found']} of {cell['attacked']}"] if cell["attacked"] else []
    others = [verdict for verdict in VERDICTS if verdict not in IS_FOUND and cell[verdict]]
    others = others if others != [NOT_FOUND_BY_ATTACKS] else []
    return "; ".join([*found, *(f"{cell[verdict]} {verdict.removesuffix(' by our attacks')}" for verdict in others)])
