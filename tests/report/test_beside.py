"""Attacks of two tables on the images that both attacked."""

import pandas as pd

from fldrep.report.beside import UNINFORMED, WHOSE, beside


def table(attack, targets, ssim):
    whose = dict.fromkeys(WHOSE, "same") | {"defense": "none"}
    row = {"attack": attack, "ssim": ssim, "mse_pixel": 1 - ssim, "recovered": ssim >= 0.5, "is_best_restart": True}
    row |= {"certified": False, "refused": "", "grey_ssim": 0.0}
    mean = {"class_mean_ssim": 0.25, "class_mean_mse_pixel": 0.125}
    rows = [{**whose, **row, **mean, "target": target} for target in targets]
    return pd.DataFrame([*rows, {**rows[0], "is_best_restart": False, "ssim": 0.0}])


def test_only_images_of_both_count_and_only_best_restarts():
    assert beside(table("mine", range(2, 12), 0.75), table("theirs", range(10), 0.25)) == [
        ["none", UNINFORMED, "8", "0: 0 % [0 %, 32 %]", "0.250", "0.125"],
        ["none", "theirs", "8", "0: 0 % [0 %, 32 %]", "0.250", "0.750"],
        ["none", "mine", "8", "8: 100 % [68 %, 100 %]", "0.750", "0.250"],
    ]


def test_what_the_mean_image_is_nearer_in_is_not_found():
    """A reconstruction that is recognised, but less than the mean image of its class."""
    own, theirs = table("mine", range(8), 0.75), table("theirs", range(8), 0.625)
    own["class_mean_ssim"] = theirs["class_mean_ssim"] = 0.6875
    assert {name: found[:1] for _, name, _, found, *_ in beside(own, theirs)} == {
        UNINFORMED: "8",
        "theirs": "0",
        "mine": "8",
    }
