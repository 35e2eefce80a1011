"""What changed between two results, as one self-contained page and as lines of text."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fldrep.atomic import atomic_write
from fldrep.report.differences import Part, results_differ
from fldrep.report.html import rendered
from fldrep.report.results import Results

NOTHING = "Nothing changed: verdicts, errors, images found, accuracy, claims, tables and settings are the same."


def lead(parts: Sequence[Part]) -> str:
    """What changed, in a sentence."""
    if not results_differ(parts):
        return NOTHING
    changed, unchanged = ([part.title.lower() for part in parts if bool(part.changes) is it] for it in (True, False))
    return f"Not the same: {', '.join(changed)}. " + (f"The same: {', '.join(unchanged)}." if unchanged else "")


def diff_lines(before: Results, after: Results, parts: Sequence[Part]) -> Iterator[str]:
    """The difference for a terminal: a line a part."""
    yield f"A: {before.said} ({before.config.name}); B: {after.said} ({after.config.name})"
    if not results_differ(parts):
        yield NOTHING
    width = max(len(part.title) for part in parts)
    yield from (f"  {part.title:{width}}  {part.words()}" for part in parts)


def write_diff(before: Results, after: Results, parts: Sequence[Part], out: Path) -> None:
    """Write the page, whole or not at all."""
    text = rendered(
        "diff.html.j2",
        head=f"What changed: {before.config.name} and {after.config.name}",
        lead=lead(parts),
        before=_said(before),
        after=_said(after),
        parts=parts,
    )
    with atomic_write(out) as beside:
        beside.write_text(text, encoding="utf-8")


def _said(results: Results) -> str:
    made = [f"{key} {results.origin[key]}" for key in ("commit", "made") if key in results.origin]
    return ", ".join([f"{results.said}: config {results.config.name}", *made])
