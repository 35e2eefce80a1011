"""What the page opens on: whether each defense holds, to whom it falls, what it costs, and a picture of that."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fldrep.analysis import verdicts
from fldrep.analysis.answers import Answer, answers
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL
from fldrep.analysis.rows import SETTING, chosen, rows_where
from fldrep.analysis.verdicts import image_verdicts, is_found
from fldrep.analysis.words import nominal_text, number, setting_text
from fldrep.report.pictures import address_of
from fldrep.storage.gallery import gallery_key, original_key

# How the page marks each answer: what is bad for the client is red.
KINDS = {verdicts.FALLS: "no", verdicts.LEAKS: "partly", verdicts.HOLDS: "yes"}

# What each answer means, and how a sentence counts the defenses that have it: of one, of several.
MEANINGS = {
    verdicts.FALLS: "an attack rebuilt at least one client's image",
    verdicts.LEAKS: "no attack rebuilt an image, but the update determines it: a better attack can",
    verdicts.NOT_KNOWN: "no attack rebuilt an image, and it was not computed what the update determines, or there are "
    f"fewer than {LEAST_FOR_INTERVAL} images",
    verdicts.NO_DIFFERENCE: "the images are hidden, but as well without the defense",
    verdicts.HOLDS: "the update does not determine any of the images, and it would without the defense",
}
COUNTED = {
    verdicts.FALLS: ("falls", "fall"),
    verdicts.LEAKS: ("leaks", "leak"),
    verdicts.NOT_KNOWN: ("is not known to hold", "are not known to hold"),
    verdicts.NO_DIFFERENCE: ("makes no difference", "make no difference"),
    verdicts.HOLDS: ("holds", "hold"),
}


def first_screen(tables: Mapping[str, pd.DataFrame], pictures: Mapping[str, np.ndarray]) -> dict[str, object]:
    """What the first screen says: `lead`, a sentence; `rows`, the words and pictures of each defense.

    Args: the final tables by name; pictures: the gallery.
    """
    attacks = tables["attacks"]
    images = image_verdicts(attacks, tables["identifiability"])
    given = answers(images, attacks, tables["training"])
    shown = _with_pictures(attacks, pictures) if given else attacks
    return {"lead": lead(given), "rows": [_row(one, shown, pictures) for one in given], "meanings": MEANINGS}


def lead(given: Sequence[Answer]) -> str:
    """How many defenses hold, in a sentence; empty where none was looked at."""
    said = [one.said for one in given if not one.is_undefended]
    if not said:
        return "No defense was looked at." if given else ""
    counts = {answer: said.count(answer) for answer in COUNTED if answer in said}
    parts = [f"{count} {COUNTED[answer][count > 1]}" for answer, count in counts.items()]
    parts += ["none holds"] if verdicts.HOLDS not in said else []
    return f"Of {len(said)} {'defense' if len(said) == 1 else 'defenses'} {', '.join(parts)}."


def _with_pictures(attacks: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The chosen rows whose image and reconstruction the gallery holds, with `found`."""
    rows = chosen(attacks)
    kept = [original_key(row) in pictures and gallery_key(row) in pictures for row in rows.itertuples()]
    rows = rows[kept]
    return rows.assign(found=is_found(rows))


def _row(one: Answer, shown: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> dict:
    cell = one.cell
    others = len(one.found_by) - 1
    return {
        "defense": one.defense,
        "strength": "no defense" if one.is_undefended else _strength(cell),
        "answer": "for comparison" if one.is_undefended else one.said,
        "kind": "unclear" if one.is_undefended else KINDS.get(one.said, "unclear"),
        "verdict": cell["verdict"],
        "attack": one.attack or "not attacked",
        "kinship": _kinship(one),
        "others": f"and {others} other{'s' * (others > 1)}" if others > 0 else "",
        "found": f"{cell['found']} of {cell['attacked']}" if cell["attacked"] else "–",
        "interval": interval(cell),
        "determined": f"{cell['determined']} of {cell['known']}" if cell["known"] else "not computed",
        **_cost(one),
        "where": setting_text(cell[SETTING]),
        "settings": f"images found in {one.falls} of {one.settings} settings",
        "picture": _picture(one, shown, pictures),
    }


def _kinship(one: Answer) -> str:
    """What the strongest attack is to published ones: the same, or made stronger; empty where none was run."""
    if not one.attack:
        return ""
    return f"stronger variant of {', '.join(one.variant_of)}" if one.variant_of else "as published"


def _strength(cell: pd.Series) -> str:
    nominal = "" if cell[["rate", "std"]].isna().all() else nominal_text(cell["rate"], cell["std"])
    return " · ".join(filter(None, (cell["method"], cell["rule"], nominal)))


def interval(cell: pd.Series) -> str:
    """The interval of the share found, where there is one."""
    share = cell["share"]
    return "" if share.low is None else f"95 %: {100 * share.low:.0f}–{100 * share.high:.0f} %"


def _cost(one: Answer) -> dict[str, str]:
    """How much accuracy the defense costs, in points, and the two accuracies and their place behind that."""
    cost = one.cost
    if cost is None:
        return {"cost": "not trained", "cost_of": ""}
    place = " · ".join((cost["dataset"], cost["model"]))
    accuracy = f"{100 * cost['accuracy']:.1f} %"
    if one.is_undefended or pd.isna(cost["cost"]):
        return {"cost": accuracy, "cost_of": f"accuracy, {place}"}
    points = f"{-100 * round(cost['cost'], 3) + 0.0:+.1f}".replace("-", "−")
    return {"cost": f"{points} points", "cost_of": f"{100 * cost['undefended']:.1f} → {accuracy}, {place}"}


def _picture(one: Answer, shown: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> dict[str, str] | None:
    """An image of the cell, the same for all of a setting, and what the attack made of it that got most of it."""
    setting = rows_where(shown, SETTING, one.cell[SETTING])
    own = setting[setting["defense"] == one.defense]
    if own.empty:
        return None
    times = setting[setting["found"]].groupby("target")["defense"].nunique()
    often = own["target"].map(times).fillna(0)
    target = own.loc[often == often.max(), "target"].min()
    row = next(own[own["target"] == target].sort_values(["found", "ssim"], ascending=False).itertuples())
    return {
        "original": address_of(pictures, original_key(row)),
        "rebuilt": address_of(pictures, gallery_key(row)),
        "target": str(row.target),
        "attack": row.attack,
        "said": f"{'' if row.found else 'not '}found by {row.attack}, SSIM {number(row.ssim)}",
    }
