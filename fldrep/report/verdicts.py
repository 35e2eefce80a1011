"""What became of the images of each cell, in the words of the page."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fldrep.analysis import verdicts
from fldrep.analysis.floors import RECOGNISED
from fldrep.analysis.rows import SETTING
from fldrep.analysis.verdicts import CREDITED, cell_verdicts, counts_text, image_verdicts
from fldrep.analysis.words import estimate_text, number, setting_text

# How the page marks each verdict, as it marks those of claims: what is bad for the client is red.
KINDS = {
    verdicts.FOUND: "no",
    verdicts.FOUND_BY_ATTACKS: "no",
    verdicts.NOT_FOUND: "partly",
    verdicts.NOT_ATTACKED: "partly",
    verdicts.NOT_IDENTIFIABLE: "yes",
}

# What each verdict means, the worst for the client first.
MEANINGS = {
    verdicts.FOUND: "an attack certified the image, or its reconstruction has the config's SSIM and is nearer to the "
    "image than that of an attacker who knows nothing; what the floor says is then beside the point",
    verdicts.NOT_FOUND: f"the update determines the image: its floor is at most {RECOGNISED:g}, the normalised MSE of "
    "a recognised image. No attack found it here, but a better one can: this is no protection",
    verdicts.NOT_ATTACKED: "the same, and no attack was run on it",
    verdicts.NOT_IDENTIFIABLE: f"the floor is above {RECOGNISED:g}, and at least {CREDITED:g} times that of the same "
    "image sent without a defense: the defense hides the image from whoever knows no more of images than a prior",
    verdicts.NOT_EVEN_UNDEFENDED: f"the floor is above {RECOGNISED:g}, but less than {CREDITED:g} times that of the "
    "undefended update: the defense is not what hides the image",
    verdicts.FOUND_BY_ATTACKS: "found, where it is not known what the update determines",
    verdicts.NOT_FOUND_BY_ATTACKS: "not found, where it is not known what the update determines; the reason stands "
    "beside. It tells of the attacks as much as of the defense",
    verdicts.NOT_LOOKED_AT: "no attack was run, and it is not known what the update determines",
}


@dataclass(frozen=True)
class SettingVerdicts:
    """The verdicts of one setting: its title, and a row of words a defense."""

    title: str
    rows: list[dict[str, str]]


def verdicts_for_reading(tables: Mapping[str, pd.DataFrame]) -> list[SettingVerdicts]:
    """The verdict of every cell, by setting. Args: the final tables by name."""
    cells = cell_verdicts(image_verdicts(tables["attacks"], tables["identifiability"]))
    return [
        SettingVerdicts(setting_text(key), [_row(cell) for _, cell in own.iterrows()])
        for key, own in (cells.groupby(SETTING) if len(cells) else ())
    ]


def _row(cell: pd.Series) -> dict[str, str]:
    return {
        "defense": cell["defense"],
        "verdict": cell["verdict"],
        "kind": KINDS.get(cell["verdict"], "unclear"),
        "counts": counts_text(cell),
        "found_by": cell["found_by"] or "–",
        "share": estimate_text(cell["share"], kind="share"),
        "certified": str(cell["certified"]),
        "floor": number(cell["floor"]),
        "reason": cell["reason"] or "–",
    }
