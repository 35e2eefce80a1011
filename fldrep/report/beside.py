"""Attacks of one published folder beside those of another, on the images that both attacked."""

import pandas as pd

from fldrep.analysis.intervals import share_interval
from fldrep.analysis.verdicts import judged
from fldrep.analysis.words import estimate_text, number
from fldrep.config.metrics import MetricSettings

WHOSE = ["dataset", "model", "partition", "defense", "seed", "round", "update_kind", "target", "client", "index"]
HEADS = ["defense", "attack", "images", "found", "SSIM, median", "MSE (pixels), median"]
UNINFORMED = "the mean image of the class"


def beside(attacks: pd.DataFrame, others: pd.DataFrame) -> list[list[str]]:
    """A row a defense and attack of either table, over the images that are in both; rows as `verdicts.judged` has them.

    Args: attacks: the table whose defenses are shown, each after what one gets who sees nothing of the update.
    """
    own, theirs = judged(attacks), judged(others)
    shared = own[WHOSE].drop_duplicates().merge(theirs[WHOSE].drop_duplicates())
    both = pd.concat([some.merge(shared) for some in (theirs, own)])
    rows = []
    for defense, of_defense in both.groupby("defense", sort=False):
        one = of_defense.drop_duplicates(WHOSE)
        mean = pd.DataFrame({"ssim": one["class_mean_ssim"], "mse_pixel": one["class_mean_mse_pixel"]})
        rows.append(_row(defense, UNINFORMED, mean.assign(found=mean["ssim"] >= MetricSettings().recovered_ssim)))
        rows += [_row(defense, attack, of_attack) for attack, of_attack in of_defense.groupby("attack", sort=False)]
    return rows


def _row(defense: str, attack: str, rows: pd.DataFrame) -> list[str]:
    found = f"{int(rows['found'].sum())}: {estimate_text(share_interval(rows['found']), kind='share')}"
    medians = (number(rows[column].median()) for column in ("ssim", "mse_pixel"))
    return [defense, attack, str(len(rows)), found, *medians]
