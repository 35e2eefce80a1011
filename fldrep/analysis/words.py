"""Numbers and names as text."""

import math
from collections.abc import Sequence

import pandas as pd

from fldrep.analysis.rows import PLAIN_UPDATE


def setting_text(setting: Sequence[object]) -> str:
    """A setting (the values of `SETTING`) in words; the update is named where it is not one image and one step.

    >>> setting_text(("mnist", "lenet", "iid", 0, "single")), setting_text(("mnist", "lenet", "iid", 2, "of-8"))
    ('mnist · lenet · iid · round 0', 'mnist · lenet · iid · round 2 · update of-8')
    """
    dataset, model, partition, round, sent = setting
    words = f"{dataset} · {model} · {partition} · round {round}"
    return words if sent == PLAIN_UPDATE else f"{words} · update {sent}"


def number(value: float | None, kind: str = "", sign: str = "") -> str:
    """A number to three digits, a `share` as a percentage; a dash for none.

    >>> number(0.12345), number(0.5, "share"), number(None), number(float("inf"))
    ('0.123', '50 %', '–', '∞')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{100 * value:{sign}.0f} %" if kind == "share" else f"{value:{sign}#.3g}".rstrip(".")
    return text.replace("-", "−") if "e" not in text else text


def nominal_text(rate: float | None, std: float | None) -> str:
    """What the config asks of a defense.

    >>> nominal_text(0.6, None), nominal_text(None, 0.01), nominal_text(None, None)
    ('60 %', 'std 0.01', '–')
    """
    if not pd.isna(rate):
        return f"{100 * rate:g} %"
    return "–" if pd.isna(std) else f"std {std:g}"


def interval_text(median: float, low: float, high: float, sign: str = "") -> str:
    """A median with its interval, where there is one.

    >>> interval_text(1.0, 0.5, 2.0), interval_text(1.0, float("nan"), float("nan"))
    ('1.00 [0.500, 2.00]', '1.00')
    """
    middle = number(median, sign=sign)
    return middle if pd.isna(low) else f"{middle} [{number(low)}, {number(high)}]"
