"""The rooms of the package on one page, drawn from the code: docs/map.md."""

import ast
from pathlib import Path

from fldrep import registry
from fldrep.syntax import names_imported

PACKAGE = registry.PACKAGE
STAGES = ("data", "train", "attack", "theory", "metrics", "figures", "report")
# From what stands on nothing to what stands on all.
ROOMS = (
    "",
    *("config", "analysis", "tables", "storage", "machine", "models", "derivatives", "defenses", "plan"),
    *STAGES,
    *("applications", "cli"),
)
HEAD = """# The rooms

Drawn from the code by `python -m fldrep map`; a test fails where the two differ. The ground is the files at the root of
`fldrep/`; a room is a folder. A stage reads the files of earlier stages and imports none of them.
"""


def rooms_page() -> str:
    """The page as Markdown: each room with its files and the rooms it imports, then what one file can add."""
    rooms = [room for room in ROOMS if (PACKAGE / room).is_dir()]
    return "\n".join([HEAD, *map(_room, rooms), _entries()])


def rooms_missing() -> set[str]:
    """Folders of the package that the page does not show."""
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return found - set(ROOMS)


def _room(room: str) -> str:
    folder = PACKAGE / room
    title = f"## {room}" if room else "## The ground"
    kind = " (stage)" if room in STAGES else ""
    files = sorted(folder.rglob("*.py")) if room else sorted(PACKAGE.glob("*.py"))
    files = [path for path in files if path.name not in ("__init__.py", "__main__.py")]
    lines = [f"| `{path.relative_to(folder)}` | {_first_line(path)} |" for path in files]
    lines = [f"| `{path.relative_to(folder).parent}/` | {_first_line(path)} |" for path in _packages(room)] + lines
    said = _first_line(folder / "__init__.py") if room else "What every room stands on."
    uses = ", ".join(_uses(room, files)) or "nothing but the ground"
    return "\n".join(
        [f"{title}{kind}", "", said, "", f"Imports: {uses}.", "", "| file | what |", "|---|---|", *lines, ""]
    )


def _packages(room: str) -> list[Path]:
    """The packages inside a room."""
    return [path for path in sorted((PACKAGE / room).glob("*/__init__.py")) if room]


def _uses(room: str, files: list[Path]) -> list[str]:
    names = {name for path in files for name in names_imported(ast.parse(path.read_text(encoding="utf-8")))}
    used = {name.split(".")[1] for name in names if name.startswith("fldrep.")}
    return [one for one in ROOMS if one and one != room and one in used]


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _entries() -> str:
    lines = ["## What one file adds", "", "| kind | entries |", "|---|---|"]
    for kind in registry.ROOMS:
        names = ", ".join(f"`{name}`" for name in registry.built_in(kind))
        lines.append(f"| {kind} | {names} |")
    return "\n".join([*lines, ""])
