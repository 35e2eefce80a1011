"""The README's numbers: Markdown made from published tables, between markers `<!-- results:NAME:begin -->` and `:end`.

A person writes what is around the markers, nobody what is between them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fldrep.analysis.cells import summarise
from fldrep.analysis.published import PHOTO_MSE
from fldrep.analysis.rows import PAIR, SETTING, chosen, converged, defenses_in_order, rows_where
from fldrep.analysis.words import interval_text, number, setting_text
from fldrep.atomic import atomic_write
from fldrep.errors import DataError, named
from fldrep.report.claims_table import claims_for_reading, place
from fldrep.report.record import read_json
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS

MARK = re.compile(r"<!-- results:(?P<name>[^ ]+?):(?P<end>begin|end) -->")
ERROR = "mse"  # the README shows the reference's scale; the page shows both


@dataclass(frozen=True)
class Block:
    """What a block is made from (a folder or file of docs/results), and the function from its path to Markdown."""

    source: str
    text: Callable[[Path], str]


def filled(readme: str, blocks: Mapping[str, str]) -> str:
    """A text with what stands between the markers of each block replaced. Errors: `DataError` for unpaired markers."""
    spans = _spans(readme)
    for name in sorted(set(blocks) & set(spans), key=lambda one: spans[one], reverse=True):
        start, end = spans[name]
        readme = f"{readme[:start]}\n{blocks[name]}\n{readme[end:]}"
    return readme


def names_in(readme: str) -> list[str]:
    """The blocks that a text has markers for, in order. Errors: `DataError` for unpaired markers."""
    return list(_spans(readme))


def text_of(readme: Path) -> str:
    """A text with markers. Errors: `DataError` where it cannot be read, or its markers do not pair."""
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{readme}: cannot be read: {error}") from None
    _spans(text)
    return text


def fill(readme: Path, results: Path) -> list[str]:
    """Write the blocks of a text anew from published results; returns what was done, a line each.

    Errors: those of `text_of` and `readme_blocks`.
    """
    text = text_of(readme)
    names = names_in(text)
    blocks, lacking = readme_blocks(results, names)
    with atomic_write(readme) as beside:
        beside.write_text(filled(text, blocks), encoding="utf-8")
    left = [f"{readme}: block {name} left as it is: there is no {results / one}" for name, one in lacking.items()]
    return [f"{readme}: {len(blocks)} of {len(names)} blocks written", *left]


def _spans(readme: str) -> dict[str, tuple[int, int]]:
    """Where each block begins and ends, its markers not included."""
    marks = list(MARK.finditer(readme))
    spans: dict[str, tuple[int, int]] = {}
    for begin, end in zip(marks[::2], [*marks[1::2], None], strict=False):
        pair = (begin["name"], "begin", begin["name"], "end")
        if end is None or (begin["name"], begin["end"], end["name"], end["end"]) != pair or begin["name"] in spans:
            raise DataError(
                f"README: marker {begin[0]}: expected one begin and one end of each block, one after another"
            )
        spans[begin["name"]] = begin.end(), end.start()
    return spans


def readme_blocks(results: Path, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The text of each block whose source is there, and for each other one the source it lacks.

    Args: results: docs/results, as seen from the README. Errors: `UnknownName` for a block; `DataError` for a table.
    """
    found, lacking = {}, {}
    for name in names:
        block = named("block of the README", name, BLOCKS)
        path = results / block.source
        if path.exists():
            found[name] = block.text(path)
        else:
            lacking[name] = block.source
    return found, lacking


# ---- blocks


def claims_block(claims: pd.DataFrame) -> str:
    """Each claim; for each verdict on it, in how many cells it was reached, and the least and the largest median."""
    lines = []
    for claim in claims_for_reading(claims):
        rows = claims[claims["claim"] == claim["id"]]
        said = f"**{claim['title']}.** {claim['said']} ({claim['source']})"
        for one in claim["verdicts"]:
            lines.append(
                [said, f"{one['verdict']} × {one['count']}", measured(rows[rows["verdict"] == one["verdict"]])]
            )
            said = ""
    return markdown(["claim", "verdict × cells", "measured: median [95 % interval]"], lines)


def measured(rows: pd.DataFrame) -> str:
    """What was measured in some cells of a claim, in words: the one number, or the least and the largest."""
    known = rows.dropna(subset=["median"]).sort_values("median", kind="stable")
    if known.empty:
        words = rows["measured"].drop_duplicates()
        return words.iloc[0] + (f" (and {len(words) - 1} more such)" if len(words) > 1 else "")
    ends = known.iloc[[0]] if len(known) == 1 else known.iloc[[0, -1]]
    numbers = [
        f"{interval_text(row.median, row.low, row.high)} (n = {row.n}; {_cell_text(row)})" for row in ends.itertuples()
    ]
    quantities = " / ".join(ends["quantity"].drop_duplicates())
    return f"{' to '.join(numbers)}: {quantities}"


def _cell_text(row) -> str:
    return " · ".join(filter(None, [place(row), row.attack, row.defense]))


def attacks_block(attacks: pd.DataFrame) -> str:
    """A table a setting: a row a defense, a column an attack; errors with their intervals, and how many recovered."""
    parts = ["Medians of the MSE (normalised) [95 % interval] over the targets that did not diverge; how many were "
             "recovered. A star: no better than a grey image or the mean image of the class."]  # fmt: skip
    for setting, cells in summarise(attacks, ERROR).groupby(SETTING):
        own = rows_where(attacks, SETTING, setting)
        parts.append(f"**{setting_text(setting)}**, {uninformed_text(own)}:")
        parts.append(_attacks_table(own, cells))
    return "\n\n".join(parts)


def _attacks_table(own: pd.DataFrame, cells: pd.DataFrame) -> str:
    steps = own.groupby("attack", sort=True)["iterations"].max()
    texts = {(row.defense, row.attack): _attack_text(row) for row in cells.itertuples()}
    rows = [
        [name, *(texts.get((name, attack), "") for attack in steps.index)] for name in defenses_in_order(own)["defense"]
    ]
    return markdown(["defense", *(f"{name}, {count} iterations" for name, count in steps.items())], rows)


def _attack_text(row) -> str:
    known = " *" if row.error >= min(row.grey, row.class_mean) else ""
    lost = f", {row.diverged} diverged" if row.diverged else ""
    recovered = f"{round(row.recovered * row.targets)} of {row.targets}"
    return f"{interval_text(row.error, row.low, row.high)}{known}; {recovered}{lost}"


def uninformed_text(rows: pd.DataFrame) -> str:
    """The errors of two attackers who know nothing, medians over the attacked targets."""
    targets = chosen(rows).drop_duplicates(PAIR)
    grey, mean = (number(targets[f"{guess}_{ERROR}"].median()) for guess in ("grey", "class_mean"))
    return f"no information: grey image {grey}, mean image of the class {mean}"


def photo_block(attacks: pd.DataFrame) -> str:
    """A table a setting and attack: a row a nominal rate; the reference's ten numbers and ours, with the live rates."""
    parts = ["MSE (normalised); in parentheses the share of live features that was really pruned."]
    for (*setting, attack), rows in attacks.groupby([*SETTING, "attack"]):
        plain = converged(rows[rows["method"] == "none"])[ERROR]
        parts.append(
            f"**{setting_text(setting)} · {attack}**, {rows['iterations'].max()} iterations, "
            f"n = {len(chosen(rows).drop_duplicates(PAIR))} a number; undefended {number(plain.median())}; "
            f"{uninformed_text(rows)}:"
        )
        parts.append(_photo_table(rows[rows["rate"].notna()]))
    return "\n\n".join(parts)


def _photo_table(rows: pd.DataFrame) -> str:
    series = dict(list(rows.groupby(["method", "rule"], sort=False)))
    rates = sorted({*rows["rate"], *(rate for errors in PHOTO_MSE.values() for rate in errors)})
    heads = ["nominal rate", *(f"{method}, the reference's" for method in PHOTO_MSE)]
    lines = [
        [
            number(rate, "share"),
            *(number(errors.get(rate)) for errors in PHOTO_MSE.values()),
            *(_photo_text(own[own["rate"] == rate]) for own in series.values()),
        ]
        for rate in rates
    ]
    return markdown([*heads, *(" ".join(filter(None, key)) for key in series)], lines)


def _photo_text(rows: pd.DataFrame) -> str:
    usable = converged(rows)
    if usable.empty:
        return "diverged" if len(rows) else ""
    live = usable["live_pruned"].median()
    return number(usable[ERROR].median()) + (f" ({number(live, 'share')})" if live == live else "")


def performance_block(lines: list[Mapping], where: Mapping[str, str]) -> str:
    """The table of `make bench`: what was compared, the mark it must reach, and whether it did."""
    rows = [
        [
            line["work"],
            line["against"],
            "" if line["mark"] is None else f"{'at most' if line['at_most'] else 'at least'} {line['mark']:g}x",
            "" if line["ratio"] is None else f"{line['ratio']:.3g}x",
            str(len(line["slow_s"]) or ""),
            line["result"],
        ]
        for line in lines
    ]
    table = markdown(["work", "against", "mark", "ratio (median)", "pairs", "result"], rows)
    return f"{', '.join(f'{key}: {value}' for key, value in where.items())}.\n\n{table}"


# ---- from a published folder


def _from_folder(table, block: Callable[[pd.DataFrame], str]) -> Callable[[Path], str]:
    """A block of one table of a published folder, below a line that says where it comes from."""

    def text(folder: Path) -> str:
        return f"{origin_text(folder)}\n\n{block(table.read(table.file_in(folder), older=True))}"

    return text


def origin_text(folder: Path) -> str:
    """Where numbers come from, in a line: the folder, the config, the commit, the device and the machine."""
    told = read_json(folder / "provenance.json")
    commit = told["commit"].removesuffix("-dirty") + " with local changes" * told["commit"].endswith("-dirty")
    devices = ", ".join(told["devices"]) or "no attack"
    where, seeds = f"docs/results/{folder.name}", f"{told['seeds']} seed{'s' * (told['seeds'] > 1)}"
    return f"From [{where}]({where}): `{told['config']}`, {seeds}, commit {commit}, {devices}; {told['machine']}."


def _performance(path: Path) -> str:
    told = read_json(path)
    link = f"docs/results/{path.with_suffix('.md').name}"
    return f"From [{link}]({link}). {performance_block(told['lines'], told['measured'])}"


BLOCKS = {
    "claims": Block("cpu", _from_folder(CLAIMS, claims_block)),
    "demo": Block("demo", _from_folder(ATTACKS, attacks_block)),
    "photo": Block("photo", _from_folder(ATTACKS, photo_block)),
    "photo-gpu": Block("photo-gpu", _from_folder(ATTACKS, photo_block)),
    "performance": Block("performance.json", _performance),
}


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table.

    >>> print(markdown(["a", "b"], [["1", "|x|"]]))
    | a | b |
    |---|---|
    | 1 | \\|x\\| |
    """
    return "\n".join(_lines(heads, rows))


def _lines(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    for line in (heads, None, *rows):
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in line] if line else ["---"] * len(heads)
        yield f"| {' | '.join(cells)} |" if line else f"|{'|'.join(cells)}|"
