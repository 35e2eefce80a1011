"""The numbers of texts: Markdown made from published tables, between markers `<!-- results:NAME:begin -->` and `:end`.

A person writes what is around the markers, nobody what is between them.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fldrep.atomic import atomic_write
from fldrep.errors import DataError, named
from fldrep.report.beside import HEADS, beside
from fldrep.report.blocks import attacks_block, claims_block, markdown, performance_block, photo_block
from fldrep.report.facts import Published
from fldrep.report.few_pictures import FOLDER as PICTURES
from fldrep.report.few_pictures import Shown, contrast_pictures, exact_pictures
from fldrep.report.findings import CPU, DEMO, findings_text
from fldrep.report.leaderboard import leaderboards
from fldrep.report.record import read_json
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS
from fldrep.tables.table import Table

BOUND = "\N{NO-BREAK SPACE}"  # keeps the column of the first picture as wide as the picture
LEADERBOARD, LEARNED = "leaderboard", "learned"  # the published folders of these names
MARK = re.compile(r"<!-- results:(?P<name>[^ ]+?):(?P<end>begin|end) -->")


@dataclass(frozen=True)
class Block:
    """What a block is made from (folders or files of docs/results), and the function that makes it.

    `text(results, link)`: Markdown; results: docs/results; link: the same as seen from the text, for links.
    """

    sources: tuple[str, ...]
    text: Callable[[Path, str], str]


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """A text with what stands between the markers of each block replaced. Errors: `DataError` for unpaired markers."""
    spans = _spans(text)
    for name in sorted(set(blocks) & set(spans), key=lambda one: spans[one], reverse=True):
        start, end = spans[name]
        text = f"{text[:start]}\n{blocks[name]}\n{text[end:]}"
    return text


def names_in(text: str) -> list[str]:
    """The blocks that a text has markers for, in order. Errors: `DataError` for unpaired markers."""
    return list(_spans(text))


def text_of(path: Path) -> str:
    """A text with markers. Errors: `DataError` where it cannot be read, or its markers do not pair."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    _spans(text)
    return text


def fill(path: Path, results: Path) -> list[str]:
    """Write the blocks of a text anew from published results; returns what was done, a line each.

    Errors: those of `text_of` and `blocks_of`.
    """
    text = text_of(path)
    names = names_in(text)
    blocks, lacking = blocks_of(results, names, path.parent)
    with atomic_write(path) as beside:
        beside.write_text(filled(text, blocks), encoding="utf-8")
    left = [f"{path}: block {name} left as it is: there is no {results / one}" for name, one in lacking.items()]
    return [f"{path}: {len(blocks)} of {len(names)} blocks written", *left]


def _spans(text: str) -> dict[str, tuple[int, int]]:
    """Where each block begins and ends, its markers not included."""
    marks = list(MARK.finditer(text))
    spans: dict[str, tuple[int, int]] = {}
    for begin, end in zip(marks[::2], [*marks[1::2], None], strict=False):
        pair = (begin["name"], "begin", begin["name"], "end")
        if end is None or (begin["name"], begin["end"], end["name"], end["end"]) != pair or begin["name"] in spans:
            raise DataError(f"marker {begin[0]}: expected one begin and one end of each block, one after another")
        spans[begin["name"]] = begin.end(), end.start()
    return spans


def blocks_of(results: Path, names: list[str], beside: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The text of each block whose sources are there, and for each other one the source it lacks.

    Args: results: docs/results; beside: the folder of the text, for links.
    Errors: `UnknownName` for a block; `DataError` for a table.
    """
    found, lacking = {}, {}
    link = Path(os.path.relpath(results, beside)).as_posix()
    for name in names:
        block = named("block of a text", name, BLOCKS)
        missing = [source for source in block.sources if not (results / source).exists()]
        if missing:
            lacking[name] = missing[0]
        else:
            found[name] = block.text(results, link)
    return found, lacking


def _of_table(folder: str, table: Table, block: Callable[[pd.DataFrame], str]) -> Block:
    """A block of one table of a published folder, below a line that says where it comes from."""

    def text(results: Path, link: str) -> str:
        return f"{origin_text(results / folder, link)}\n\n{block(table.read_in(results / folder))}"

    return Block((folder,), text)


def origin_text(folder: Path, link: str) -> str:
    """Where numbers come from, in a line: the folder, the config, the commit, the device and the machine.

    Args: link: docs/results, as seen from the text.
    """
    told = read_json(folder / "provenance.json")
    commit = told["commit"].removesuffix("-dirty") + " with local changes" * told["commit"].endswith("-dirty")
    devices = ", ".join(told["devices"]) or "no attack"
    seeds = f"{told['seeds']} seed{'s' * (told['seeds'] > 1)}"
    where = f"[docs/results/{folder.name}]({link}/{folder.name})"
    return f"From {where}: `{told['config']}`, {seeds}, commit {commit}, {devices}; {told['machine']}."


def _contrast(results: Path, link: str) -> str:
    published = Published(results / DEMO)
    contrast = published.contrasts[0]
    under = f"sent under Soteria, {contrast.strength.replace(' ', BOUND)} pruned"
    heads = [f"a{BOUND}client's{BOUND}image", "sent without a defense", under, under]
    shown = contrast_pictures(published, contrast)
    known = ["as published", "as published", "made for the defense"]
    found = [
        f"`{one.outcome.attack}`, {how}: **{one.outcome}** images found"
        for one, how in zip(shown[1:], known, strict=True)
    ]
    whose = [contrast.where, *found]
    table = markdown(heads, [[_picture(one, f"{link}/{DEMO}") for one in shown], whose])
    return f"{table}\n\n{origin_text(published.folder, link)}"


def _exact(results: Path, link: str) -> str:
    published = Published(results / DEMO)
    rows = [
        [one.where, *(_picture(picture, f"{link}/{DEMO}") for picture in shown), f"{one.outcome} images"]
        for one, shown in exact_pictures(published)
    ]
    attack = ", ".join(sorted({one.outcome.attack for one in published.exact}))
    defense = ", ".join(sorted({one.defense for one in published.exact}))
    table = markdown(["setting", "the client's image", f"{attack} under {defense}", "found"], rows)
    return f"{table}\n\n{origin_text(published.folder, link)}"


def _picture(shown: Shown, folder: str) -> str:
    said = f"what {shown.outcome.attack} made of it under {shown.defense}" if shown.outcome else "the client's image"
    return f"![{said}]({folder}/{shown.file})"


def _leaderboard(results: Path, link: str) -> str:
    published = Published(results / LEADERBOARD)
    boards = leaderboards(published.tables, published.config)
    tables = [f"**{one.title}**:\n\n{markdown([head for head, _ in one.heads], one.rows)}" for one in boards]
    return "\n\n".join([origin_text(published.folder, link), *tables])


def _learned(results: Path, link: str) -> str:
    own, theirs = (ATTACKS.read_in(results / folder) for folder in (LEARNED, LEADERBOARD))
    origins = [origin_text(results / folder, link) for folder in (LEARNED, LEADERBOARD)]
    return "\n".join([*origins, "", markdown(HEADS, beside(own, theirs))])


def _performance(results: Path, link: str) -> str:
    told = read_json(results / "performance.json")
    page = f"[docs/results/performance.md]({link}/performance.md)"
    return f"From {page}. {performance_block(told['lines'], told['measured'])}"


def _of_rows(name: str) -> Block:
    """A block of a table that a script of its own measured: docs/results/NAME.json."""

    def text(results: Path, link: str) -> str:
        told = read_json(results / f"{name}.json")
        where = ", ".join(f"{key} {told['measured'][key]}" for key in ("commit", "versions"))
        table = markdown(told["heads"], told["rows"])
        return f"From [docs/results/{name}.json]({link}/{name}.json): {told['said']} ({where}).\n\n{table}"

    return Block((f"{name}.json",), text)


BLOCKS = {
    "contrast": Block((DEMO, f"{DEMO}/{PICTURES}"), _contrast),
    "findings": Block((CPU, DEMO), lambda results, link: findings_text(results)),
    "exact": Block((DEMO, f"{DEMO}/{PICTURES}"), _exact),
    "claims": _of_table(CPU, CLAIMS, claims_block),
    "demo": _of_table(DEMO, ATTACKS, attacks_block),
    "photo": _of_table("photo", ATTACKS, photo_block),
    "photo-gpu": _of_table("photo-gpu", ATTACKS, photo_block),
    "leaderboard": Block((LEADERBOARD,), _leaderboard),
    LEARNED: Block((LEARNED, LEADERBOARD), _learned),
    "performance": Block(("performance.json",), _performance),
    "labels": _of_rows("labels"),
    "training-mode": _of_rows("training-mode"),
    "imprint": _of_rows("imprint"),
}
