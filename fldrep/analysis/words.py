"""Numbers, names and tables as text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fldrep.analysis.intervals import Estimate
from fldrep.config.updates import SINGLE


@dataclass(frozen=True)
class TextTable:
    """A table for reading: a title, column heads with what they mean, and cells of text; `words` columns hold words."""

    title: str
    heads: list[tuple[str, str]]
    rows: list[list[str]]
    words: int


def setting_text(setting: Sequence[object]) -> str:
    """A setting (the values of `SETTING`) in words; the update is named where it is not one image and one step.

    >>> setting_text(("mnist", "lenet", "iid", 0, "single")), setting_text(("mnist", "lenet", "iid", 2, "of-8"))
    ('mnist · lenet · iid · round 0', 'mnist · lenet · iid · round 2 · update of-8')
    """
    dataset, model, partition, round, update = setting
    words = f"{dataset} · {model} · {partition} · round {round}"
    return words if update == SINGLE else f"{words} · update {update}"


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


def interval_text(median: float, low: float, high: float, sign: str = "", kind: str = "") -> str:
    """A median with its interval, where there is one; kind: as of `number`.

    >>> interval_text(1.0, 0.5, 2.0), interval_text(1.0, float("nan"), float("nan"))
    ('1.00 [0.500, 2.00]', '1.00')
    """
    middle = number(median, kind, sign)
    return middle if pd.isna(low) else f"{middle} [{number(low, kind)}, {number(high, kind)}]"


def estimate_text(estimate: Estimate, sign: str = "", kind: str = "") -> str:
    """A median, mean or share with its interval, where there is one.

    >>> estimate_text(Estimate(8, 1.0, 0.5, 2.0)), estimate_text(Estimate(3, 1.0), "+")
    ('1.00 [0.500, 2.00]', '+1.00')
    >>> estimate_text(Estimate(8, 0.5, 0.2, 0.8), kind="share")
    '50 % [20 %, 80 %]'
    """
    low, high = (float("nan") if end is None else end for end in (estimate.low, estimate.high))
    return interval_text(estimate.median, low, high, sign, kind)
