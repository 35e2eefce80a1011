"""What the site has besides the pages of this folder, and how their links hold there: hooks of mkdocs, see mkdocs.yml.

Pages are generated from what they describe: the configuration, the tables, the Python face, the tutorial, the paper.
A link that leaves this folder leads to the page made from that file, and is plain text where there is none.
"""

import ast
import base64
import inspect
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import fldrep
from fldrep.report.paper import paper_text
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL
from fldrep.tables.table import Table

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Pages that are made from other files: the page's place, and the file that its links are seen from.
MADE_FROM = {
    "configuration.md": "config/README.md",
    "tables.md": "fldrep/tables",
    "tutorial.md": "docs/tutorial.ipynb",
    "adr/index.md": "docs/adr",
    "index.md": "README.md",
}
PUBLISHED = "results/README.md"  # tells of every folder of published results
SHIM = "https://unpkg.com/iframe-worker/shim"  # as the theme names it
OWN_SHIM = "assets/iframe-worker.js"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated."""
    made = {
        "configuration.md": (ROOT / "config/README.md").read_text(encoding="utf-8"),
        "tables.md": tables_page(),
        "adr/index.md": decisions_page(),
        "paper.html": paper_text(DOCS / "results"),
        **tutorial_page(DOCS / "tutorial.ipynb"),
    }
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as they hold on the site; the page on Python ends in every function."""
    place = page.file.src_uri
    if place == "python.md":
        markdown = f"{markdown}\n{python_reference()}"
    return relinked(markdown, place, {file.src_uri for file in files})


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The page with the script by which search works from a file taken from this folder, not from the network."""
    return output.replace(SHIM, posixpath.relpath(OWN_SHIM, posixpath.dirname(page.file.dest_uri) or "."))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for pages of the theme."""
    return output_content.replace(SHIM, f"/{OWN_SHIM}")


# ---- links


def relinked(markdown: str, place: str, known: set[str]) -> str:
    """A page's text with every relative link made one that the site has, or plain text; code is left alone.

    Args: place: of the page on the site; known: the places of all files of the site.
    """
    source = f"docs/{place}" if place == "index.md" else MADE_FROM.get(place, f"docs/{place}")
    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _relinked(part, place, source, known) for part in parts)


def _relinked(text: str, place: str, source: str, known: set[str]) -> str:
    def one(match: re.Match) -> str:
        mark, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        found = _on_site(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)), known)
        if found is None:
            return f"`{words}`" if words == path.removeprefix("../") else words
        there = posixpath.relpath(found, posixpath.dirname(place) or ".")
        return f"{mark}[{words}]({there}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(one, text)


def _on_site(path: str, known: set[str]) -> str | None:
    """Where a file or folder of the repository stands on the site; None: nowhere."""
    for place, source in MADE_FROM.items():
        if path == source:
            return place
    inside = path.removeprefix("docs/")
    if inside == path:
        return None
    if inside in known:
        return inside
    return PUBLISHED if inside.startswith("results") else None


# ---- pages


def tables_page() -> str:
    """Every table of results with its columns."""
    head = "The Parquet files of `results/<name>/metrics` and of a published folder. A file's own schema says the same."
    return "\n\n".join(["# Tables", head, *map(_table, (*FINAL.values(), CLAIMS))])


def _table(table: Table) -> str:
    rows = [
        f"| `{one.name}` | {one.type}{', may be absent' * one.null} | {one.unit} | {_cell(one.meaning)} |"
        for one in table.columns
    ]
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|", *rows]
    return f"## {table.name}\n\nVersion {table.version}.\n\n" + "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def decisions_page() -> str:
    """The decisions in order, each by its title."""
    lines = []
    for path in sorted((DOCS / "adr").glob("*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"- [{title}](adr/{path.name})")
    return "# Decisions\n\nEach says what was decided, why, and what else was thought of.\n\n" + "\n".join(lines) + "\n"


def tutorial_page(path: Path) -> dict[str, str | bytes]:
    """The tutorial as it was run: its page, and its pictures by their places."""
    lines, pictures = [], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        lines.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                place = f"tutorial/{len(pictures) + 1}.png"
                pictures[place] = base64.b64decode(data["image/png"])
                lines.append(f"![what the cell above shows]({place})")
            else:
                said = output.get("text") or data.get("text/plain", "")
                lines.append("```text\n" + "".join(said).rstrip() + "\n```")
    return {"tutorial.md": "\n\n".join(lines) + "\n", **pictures}


# ---- Python


def python_reference() -> str:
    """Every name of the Python face with its arguments and what its docstring says, read and not imported."""
    return "\n\n".join(["## Every function", *(_documented(name) for name in fldrep.__all__ if _node(name))]) + "\n"


def _node(name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Where a name of the face is defined; None for decorators, which docs/extending.md shows."""
    path = ROOT / (fldrep._FACE[name].replace(".", "/") + ".py")
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return next((one for one in nodes if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name == name), None)


def _documented(name: str) -> str:
    node = _node(name)
    lines = [f"### {name}", "", *_signature(node, ""), "", *_said(node)]
    for method in _methods(node):
        lines += ["", f"**{name}.{method.name}**", "", *_signature(method, f"{name}."), "", *_said(method)]
    return "\n".join(lines)


def _methods(node: ast.FunctionDef | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    if isinstance(node, ast.ClassDef):
        yield from (one for one in node.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"))


def _signature(node: ast.FunctionDef | ast.ClassDef, owner: str) -> list[str]:
    if isinstance(node, ast.ClassDef):
        return ["```python", f"class {node.name}", "```"]
    given = node.args
    every = [*given.posonlyargs, *given.args]
    texts = [ast.unparse(one) for one in every]
    for place, default in enumerate(reversed(given.defaults), start=1):
        texts[-place] += f" = {ast.unparse(default)}"
    if given.vararg or given.kwonlyargs:
        texts.append(f"*{ast.unparse(given.vararg) if given.vararg else ''}")
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        texts.append(ast.unparse(one) + (f" = {ast.unparse(default)}" if default else ""))
    if given.kwarg:
        texts.append(f"**{ast.unparse(given.kwarg)}")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return ["```python", f"{owner}{node.name}(", *(f"    {one}," for one in texts), f"){returns}", "```"]


def _said(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """The docstring: words as paragraphs, examples as code."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    lines = []
    for part in text.split("\n\n"):
        if part.startswith(">>>"):
            lines += ["", "```pycon", part, "```"]
        else:
            lines += ["", re.sub(r"^(Shapes|Args|Errors|Returns?|Source)\b", r"\n**\1**", part, flags=re.MULTILINE)]
    return [line.replace("<", "&lt;") if not line.startswith(">>>") else line for line in lines]
