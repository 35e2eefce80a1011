"""Blocks of texts in Markdown, each made from one table: claims, attacks, the photo, performance."""

from collections.abc import Iterator, Mapping

import pandas as pd

from fldrep.analysis.cells import summarise
from fldrep.analysis.published import PHOTO_MSE
from fldrep.analysis.rows import PAIR, SETTING, chosen, converged, defenses_in_order, rows_where
from fldrep.analysis.words import interval_text, number, setting_text
from fldrep.report.claims_table import claims_for_reading, place

ERROR = "mse"  # texts show the reference's scale; the page shows both


def claims_block(claims: pd.DataFrame) -> str:
    """Each claim; for each verdict on it, in how many cells it was reached, and the least and the largest median."""
    lines = [
        [
            f"**{row['title']}.** {row['said']} ({row['source']})" if row["said"] else "",
            f"{row['verdict']} × {row['count']}",
            row["measured"],
        ]
        for row in claim_rows(claims)
    ]
    return markdown(["claim", "verdict × cells", "measured: median [95 % interval]"], lines)


def claim_rows(claims: pd.DataFrame) -> list[dict]:
    """A row for each verdict on a claim: `count`, what was `measured`, and in a claim's first row the claim's words."""
    rows = []
    for claim in claims_for_reading(claims):
        own = claims[claims["claim"] == claim["id"]]
        for number_of, one in enumerate(claim["verdicts"]):
            said = {key: "" if number_of else claim[key] for key in ("title", "said", "source")}
            rows.append({**said, **one, "measured": measured(own[own["verdict"] == one["verdict"]])})
    return rows


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
