"""What changed between two results, cell by cell: settings, verdicts, errors, images found, accuracy and claims."""

import json
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fldrep.analysis.accuracy import OF_RUNS, accuracy_of_runs
from fldrep.analysis.answers import answers
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import (
    CELL,
    ERROR,
    PAIR,
    SETTING,
    chosen,
    converged,
    paired_differences,
    rows_where,
    updates_of,
)
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.verdicts import DEFENDED, cell_verdicts, counts_text, image_verdicts, is_found
from fldrep.analysis.words import estimate_text, number, setting_text
from fldrep.config.checking import stable_json
from fldrep.plan.jobs import without_places
from fldrep.report.claims_table import KINDS as OF_CLAIMS
from fldrep.report.claims_table import place
from fldrep.report.first_screen import KINDS as OF_ANSWERS
from fldrep.report.results import Results
from fldrep.report.verdicts import KINDS as OF_VERDICTS
from fldrep.tables.final import FINAL

ROUNDING = 1e-6  # relative: numbers nearer than that are the same
MEASURED = ("device", "code", "judged_by")  # columns that tell how rows were made, as those in seconds do
CHANGED, ADDED, REMOVED = "changed", "added", "removed"


@dataclass(frozen=True)
class Value:
    """What one of the two results says of a cell: words, values to compare, and its verdict with a mark, if any."""

    words: str
    values: tuple[Hashable, ...]
    verdict: str = ""
    mark: str = ""

    def same_as(self, other: "Value") -> bool:
        """Whether both say the same, numbers up to rounding."""
        return len(self.values) == len(other.values) and all(map(same, self.values, other.values))


@dataclass(frozen=True)
class Change:
    """A cell that is not as it was: `kind` is `changed`, `added` or `removed`, and `by` how far it moved, in words."""

    cell: str
    kind: str
    before: Value | None
    after: Value | None
    by: str = ""


@dataclass(frozen=True)
class Part:
    """One kind of what results say: its changes, and how many cells are the same."""

    name: str
    title: str
    note: str
    changes: Sequence[Change] = field(default_factory=tuple)
    same: int = 0

    def counts(self) -> dict[str, int]:
        """How many cells changed, were added and removed."""
        return {kind: sum(one.kind == kind for one in self.changes) for kind in (CHANGED, ADDED, REMOVED)}

    def words(self) -> str:
        """These counts in words.

        >>> Part("verdicts", "Verdicts", "", same=4).words()
        'nothing changed (4 the same)'
        """
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts().items() if count)
        return f"{counts or 'nothing changed'} ({self.same} the same)"


def same(one: object, other: object) -> bool:
    """Whether two values are the same, numbers up to `ROUNDING`.

    >>> same(1.0, 1.0 + 1e-9), same(float("nan"), None), same("a", "b")
    (True, True, False)
    """
    if _absent(one) or _absent(other):
        return _absent(one) and _absent(other)
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(float(one), float(other), rel_tol=ROUNDING)
    return one == other


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def differences(before: Results, after: Results) -> list[Part]:
    """All parts, what matters most first."""
    return [
        _answers(before, after),
        _verdicts(before, after),
        _errors(before, after),
        _found(before, after),
        _accuracy(before, after),
        _claims(before, after),
        _rows(before, after),
        _settings(before, after),
        _origin(before, after),
    ]


def results_differ(parts: Sequence[Part]) -> bool:
    """Whether anything but the origin differs: another machine or day is no other result."""
    return any(part.changes for part in parts if part.name != "origin")


Cells = Mapping[tuple, Value]


def _part(
    name: str,
    title: str,
    note: str,
    before: Cells,
    after: Cells,
    cell: Callable[[tuple], str],
    by: Callable[[tuple], str] = lambda key: "",
) -> Part:
    """Cells compared by their keys. Args: cell: a key in words; by: how far the cell of a key moved, in words."""
    changes = []
    for key in dict.fromkeys([*after, *before]):
        one, other = before.get(key), after.get(key)
        if one is None or other is None:
            changes.append(Change(cell(key), ADDED if one is None else REMOVED, one, other))
        elif not one.same_as(other):
            changes.append(Change(cell(key), CHANGED, one, other, by(key)))
    changes.sort(key=lambda one: (CHANGED, REMOVED, ADDED).index(one.kind))
    return Part(name, title, note, changes, len({*before, *after}) - len(changes))


# The parts ------------------------------------------------------------------------------------------------------------


def _answers(before: Results, after: Results) -> Part:
    note = "Whether each defense holds over all settings, and the attack that got most in its worst cell."
    return _part("answers", "Answers by defense", note, *map(_answer_values, (before, after)), _joined)


def _answer_values(results: Results) -> Cells:
    attacks, images = results.tables["attacks"], _images(results)
    found = {}
    for one in answers(images, attacks, results.tables["training"]):
        if not one.is_undefended:
            to = f"to {one.attack}" if one.attack else ""
            found[(one.defense,)] = Value(to, (one.said, one.attack), one.said, OF_ANSWERS.get(one.said, "unclear"))
    return found


def _images(results: Results) -> pd.DataFrame:
    return image_verdicts(results.tables["attacks"], results.tables["identifiability"])


def _verdicts(before: Results, after: Results) -> Part:
    note = "What became of the images of each cell under all attacks together, and the share found with its interval."
    return _part("verdicts", "Verdicts", note, *map(_verdict_values, (before, after)), _defended)


def _verdict_values(results: Results) -> Cells:
    cells = cell_verdicts(_images(results))
    return {
        tuple(cell[DEFENDED]): Value(
            f"{counts_text(cell)}; {estimate_text(cell['share'], kind='share')} found, floor {number(cell['floor'])}",
            (cell["verdict"], counts_text(cell), cell["share"].median, float(cell["floor"])),
            cell["verdict"],
            OF_VERDICTS.get(cell["verdict"], "unclear"),
        )
        for _, cell in cells.iterrows()
    }


def _errors(before: Results, after: Results) -> Part:
    note = (
        "Median MSE on pixels in [0, 1] with its 95 % interval; moved by: the median over targets of the paired "
        "difference on the same target, where both runs attacked it."
    )

    def moved(key: tuple) -> str:
        return _paired_text(*(rows_where(one.tables["attacks"], CELL, key) for one in (before, after)))

    return _part("errors", "Errors of attacks", note, *map(_error_values, (before, after)), _attacked, moved)


def _error_values(results: Results) -> Cells:
    return {key: _error_value(rows) for key, rows in results.tables["attacks"].groupby(CELL)}


def _error_value(rows: pd.DataFrame) -> Value:
    """Of the rows of one cell."""
    usable = converged(rows)
    estimate = median_interval(usable[ERROR], groups=updates_of(usable))
    diverged = len(chosen(rows)) - len(usable)
    words = f"{estimate_text(estimate)} (n = {estimate.n}{f', {diverged} diverged' if diverged else ''})"
    return Value(words, (estimate.median, estimate.low, estimate.high, estimate.n, diverged))


def _paired_text(before: pd.DataFrame, after: pd.DataFrame) -> str:
    differences = paired_differences(after, before, ERROR)
    if differences.empty:
        return "no target in both"
    each = converged(after).set_index(PAIR)["images_per_update"].iloc[0]
    groups = updates_of(differences.index.to_frame(index=False).assign(images_per_update=each))
    estimate = median_interval(differences, groups=groups)
    return f"{estimate_text(estimate, sign='+')} over {estimate.n} targets"


def _found(before: Results, after: Results) -> Part:
    note = "Images that each attack rebuilt: certified, or at the config's SSIM and nearer than without any update."

    def moved(key: tuple) -> str:
        one, other = (_found_targets(rows_where(each.tables["attacks"], CELL, key)) for each in (before, after))
        return f"{len(other - one)} newly found, {len(one - other)} no longer"

    return _part("found", "Images found", note, *map(_found_values, (before, after)), _attacked, moved)


def _found_values(results: Results) -> Cells:
    attacks = results.tables["attacks"]
    if attacks.empty:
        return {}
    return {
        tuple(row[CELL]): Value(
            f"{row['found']} of {row['attacked']}" + (f", {row['certified']} certified" if row["certified"] else ""),
            (int(row["found"]), int(row["attacked"]), int(row["certified"])),
        )
        for _, row in attack_outcomes(attacks).iterrows()
    }


def _found_targets(rows: pd.DataFrame) -> set[tuple]:
    best = chosen(rows)
    return set(best.loc[is_found(best), PAIR].itertuples(index=False, name=None))


def _accuracy(before: Results, after: Results) -> Part:
    note = "Test accuracy after the last round: the median over seeds, with the least and the greatest."
    values = [_accuracy_values(one) for one in (before, after)]

    def moved(key: tuple) -> str:
        points = 100 * (values[1][key].values[0] - values[0][key].values[0])
        return f"{points:+.2f} points".replace("-", "−")

    return _part("accuracy", "Accuracy", note, *values, _joined, moved)


def _accuracy_values(results: Results) -> Cells:
    rows = accuracy_of_runs(results.tables["training"])
    return {
        tuple(row[OF_RUNS]): Value(
            f"{100 * row['accuracy']:.2f} % ({100 * row['accuracy_low']:.2f} to {100 * row['accuracy_high']:.2f}) "
            f"after {row['rounds']} rounds",
            (float(row["accuracy"]), float(row["accuracy_low"]), float(row["accuracy_high"]), int(row["rounds"])),
        )
        for _, row in rows.iterrows()
    }


def _claims(before: Results, after: Results) -> Part:
    note = "The verdict on each claim in each cell, and what was measured."
    return _part("claims", "Claims", note, *map(_claim_values, (before, after)), _joined)


def _claim_values(results: Results) -> Cells:
    return {
        (row.claim, place(row), row.attack, row.defense): Value(
            row.measured, (row.verdict, row.n, row.median, row.low, row.high), row.verdict, OF_CLAIMS[row.verdict]
        )
        for row in results.claims.itertuples()
    }


def _rows(before: Results, after: Results) -> Part:
    note = "Every row of every table, but for seconds, devices and digests of code."
    changes = []
    for name in FINAL:
        one, other = (comparable(each.tables[name]) for each in (before, after))
        by = "" if len(one) != len(other) else ", ".join(_columns_apart(one, other))
        if by or len(one) != len(other):
            sizes = (Value(f"{len(rows)} rows", (len(rows),)) for rows in (one, other))
            changes.append(Change(name, CHANGED, *sizes, by))
    return Part("rows", "Tables", note, changes, len(FINAL) - len(changes))


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without what is measured of the machine, in an order of their own."""
    kept = rows.drop(columns=[name for name in rows if name in MEASURED or name.endswith("_s")])
    words = [name for name in kept if not pd.api.types.is_float_dtype(kept[name])]
    return kept.sort_values(words, ignore_index=True) if len(kept) and words else kept


def _columns_apart(one: pd.DataFrame, other: pd.DataFrame) -> Iterator[str]:
    """The columns that differ, each with how many rows do. Args: as many rows on both sides."""
    for name in dict.fromkeys([*one, *other]):
        if name not in one or name not in other:
            yield f"{name}: only in one of them"
        elif count := sum(not same(*pair) for pair in zip(one[name].tolist(), other[name].tolist(), strict=True)):
            yield f"{name} in {count} rows"


def _settings(before: Results, after: Results) -> Part:
    note = "Keys of the config, defaults filled in. Where files of data sets lie is no part of it."
    return _part("settings", "Settings", note, *map(_setting_values, (before, after)), _joined)


def _setting_values(results: Results) -> Cells:
    said = json.loads(stable_json(without_places(results.config)))
    return {(key,): Value(text, (text,)) for key, text in _flat(said, ())}


def _flat(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Keys with dots between them, each with its value as YAML would have it in one line."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*keys, key))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for position, inner in enumerate(value):
            yield from _flat(inner, (*keys, str(position)))
    else:
        yield ".".join(keys), json.dumps(value, ensure_ascii=False)


def _origin(before: Results, after: Results) -> Part:
    note = "What made the results. A difference here alone is no other result."
    return _part("origin", "Made by", note, *map(_origin_values, (before, after)), _joined)


def _origin_values(results: Results) -> Cells:
    facts = {**results.origin, **{f"version of {name}": text for name, text in results.versions.items()}}
    facts |= {f"code of the table {name}": ", ".join(digests) for name, digests in results.code.items()}
    return {(key,): Value(text, (text,)) for key, text in facts.items()}


# Keys in words --------------------------------------------------------------------------------------------------------


def _joined(key: tuple) -> str:
    return " · ".join(str(word) for word in key if word)


def _defended(key: tuple) -> str:
    return f"{setting_text(key[: len(SETTING)])} · {key[-1]}"


def _attacked(key: tuple) -> str:
    *setting, attack, defense = key
    return f"{setting_text(setting)} · {attack} on {defense}"
