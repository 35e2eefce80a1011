"""A digest of the code that a job runs, so that a change reruns what it touches and nothing else.

Importing this module imports neither torch nor the code it digests: it reads syntax trees."""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from fldrep import _FACE as FACE
from fldrep.machine.origin import PACKAGE
from fldrep.plan.remembered import Remembered
from fldrep.registry import Entry, built_in
from fldrep.syntax import local_files, tree_digest, tree_of

# Packages and modules of many declarations, each for other jobs: of these only the definitions that are reached count.
BY_NAME = ("fldrep.config", "fldrep.plan", "fldrep.storage.places", "fldrep.tables")


# Values that settings fill in: a job is told them as its params, and they count only where its own code reads them.
TOLD = frozenset({"fldrep.config.presets"})


# Calls that hold words for a reader: the positions and the keywords of the arguments that are words.
WORDS: dict[str, tuple[frozenset[int], frozenset[str]]] = {
    "Column": (frozenset({2, 3}), frozenset({"meaning", "unit"})),
    "option": (frozenset({1}), frozenset({"meaning", "unit", "source"})),
    "registry.figure": (frozenset(), frozenset({"title", "caption", "needs", "order"})),
    "registry.analysis": (frozenset(), frozenset({"title", "note", "order"})),
    "Need": (frozenset({1}), frozenset({"what"})),
    "_unless": (frozenset({1}), frozenset({"instead"})),
    "warnings.warn": (frozenset({0}), frozenset({"message"})),
    **{f"logger.{level}": (frozenset({0}), frozenset()) for level in ("debug", "info", "warning", "error")},
}


def code_digest(*parts: str | Entry) -> str:
    """Digest of modules and registry entries, and of every module of this package they import, directly or not.

    Any change of the syntax tree counts, but for words: comments, docstrings, layout, what `WORDS` lists, the text of
    errors. (So an older file keeps the older meaning of a column in its schema.) Nor do fields of settings count, as a
    job is told their values as JSON; the methods of these sections, and the functions that a job calls, do.
    Of an entry outside of this package the whole tree of its file counts, and of the files beside it that it imports;
    where these lie does not. Returns 16 hex digits.

    >>> code_digest("fldrep.seeds") == code_digest("fldrep.seeds")
    True
    """
    modules = [part for part in parts if isinstance(part, str)]
    entries = [part for part in parts if isinstance(part, Entry)]
    outside = sorted({one.file for one in entries if not one.is_built_in})
    modules += [one.module for one in entries if one.is_built_in]
    return _digest(frozenset(modules), tuple(outside))


@cache
def _digest(modules: frozenset[str], outside: tuple[Path, ...]) -> str:
    places = sorted(modules.union(*map(_imports_of_file, outside)))
    trees = sorted(map(tree_digest, outside))
    return _remembered().digest(json.dumps([places, trees]), lambda: _digest_of(places, trees))


@cache
def _remembered() -> Remembered:
    return Remembered(PACKAGE)


def _digest_of(places: list[str], trees: list[str]) -> str:
    digest = hashlib.sha256()
    for place in sorted(reached(*places)):
        digest.update(f"{place}\n{_syntax(place)}\n".encode())
    for tree in trees:
        digest.update(f"{tree}\n".encode())
    return digest.hexdigest()[:16]


def _imports_of_file(path: Path) -> list[str]:
    """Places of this package that a file outside of it, or a local file that it imports, takes something from."""
    trees = [tree_of(one) for one in (path, *local_files(path))]
    named = (place for tree in trees for places in _names_imported(tree).values() for place in places)
    imported = [*filter(_is_place, named)]
    return imported + [place for tree in trees for place in _taken_from_face(tree)]


def _taken_from_face(tree: ast.Module) -> list[str]:
    """Places behind `fldrep.NAME` and `from fldrep import NAME`."""
    nodes = [*ast.walk(tree)]
    aliases = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    tops = {alias.asname or alias.name for alias in aliases if alias.name == "fldrep"}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "fldrep"]
    names = {alias.name for node in froms for alias in node.names}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and _dotted(node.value) in tops}
    return [place for name in sorted(names & FACE.keys()) for place in _places(FACE[name], name) if _is_place(place)]


def _is_place(place: str) -> bool:
    return place.startswith("fldrep.") and _path(place.partition(":")[0]) is not None


def reached(*modules: str) -> set[str]:
    """The places that modules depend on: `MODULE`, or `MODULE:NAME` for a definition in a module of `BY_NAME`."""
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        place = waiting.pop()
        module, _, name = place.partition(":")
        if place in found or module == "fldrep":
            continue
        found.add(place)
        waiting += [module.rpartition(".")[0], *(_used_by(module, name) if name else _imports(module))]
    return found


def imported_modules(*modules: str) -> set[str]:
    """The given modules, their packages (but for the lazy top one), and all they import within this package."""
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        module = waiting.pop()
        if module not in found and module != "fldrep":
            found.add(module)
            waiting += [module.rpartition(".")[0], *(place.partition(":")[0] for place in _imports(module))]
    return found


@cache
def _path(name: str) -> Path | None:
    base = PACKAGE.joinpath(*name.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def _module(name: str) -> "_Module":
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {PACKAGE}")
    text = path.read_text(encoding="utf-8")
    if text not in _READ:
        _READ[text] = _Module(tree_of(path))
    return _READ[text]


class _Definition(NamedTuple):
    """A statement at the top of a module: its syntax, the names in it, and those in the annotations of its fields."""

    syntax: str
    names: frozenset[str]
    types: frozenset[str]
    is_class: bool


class _Module:
    """What digesting asks of a module: without its words, and with the fields of its sections apart."""

    def __init__(self, tree: ast.Module):
        self._tree = _Bare().visit(tree)

    @cached_property
    def syntax(self) -> str:
        return ast.dump(self._tree)

    @cached_property
    def imported(self) -> dict[str, tuple[str, ...]]:
        """What `_names_imported` says of it."""
        return _names_imported(self._tree)

    @cached_property
    def definitions(self) -> dict[str, tuple[_Definition, ...]]:
        """The statements at its top that define each name."""
        found: dict[str, tuple[_Definition, ...]] = {}
        for node in self._tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                continue
            definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            told = getattr(node, "told", [])
            one = _Definition(ast.dump(node), _names(node), _names(*told), isinstance(node, ast.ClassDef))
            for name in [node.name] if definition else _names(node, context=ast.Store):
                found[name] = (*found.get(name, ()), one)
        return found


_READ: dict[str, _Module] = {}  # by text: of a package that was edited, only what was edited is read anew


def _names(*nodes: ast.AST, context: type[ast.expr_context] = ast.expr_context) -> frozenset[str]:
    walked = (one for node in nodes for one in ast.walk(node))
    return frozenset(one.id for one in walked if isinstance(one, ast.Name) and isinstance(one.ctx, context))


class _Bare(ast.NodeTransformer):
    """Takes words out of a tree, and the fields out of each section, whose annotations go to its `told`."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.told = []
        if any(_dotted(base).rpartition(".")[2] == "Section" for base in node.bases):
            node.told = [one.annotation for one in node.body if isinstance(one, ast.AnnAssign)]
            node.body = [one for one in node.body if not isinstance(one, ast.AnnAssign)] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args = [one for one in node.exc.args if not _is_text(one)]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        positions, keywords = WORDS.get(_dotted(node.func), (frozenset(), frozenset()))
        if positions or keywords:
            kept = [ast.Constant(None) if place in positions else one for place, one in enumerate(node.args)]
            while kept and len(kept) - 1 in positions:  # a word more at the end is a word
                kept.pop()
            node.args = kept
            node.keywords = [one for one in node.keywords if one.arg not in keywords]
        return self.generic_visit(node)


def _dotted(node: ast.expr) -> str:
    """`name` or `name.attribute` as text, empty for any other expression."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            return f"{name}.{attribute}"
    return ""


def _is_text(node: ast.expr) -> bool:
    """Whether an expression is text, or made of text that stands there: "...", f"...", "; ".join(...), "a" + b."""
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(left=left, right=right):
            return _is_text(left) or _is_text(right)
        case ast.IfExp(body=one, orelse=other):
            return _is_text(one) or _is_text(other)
        case ast.Call(func=ast.Attribute(value=value)):
            return _is_text(value)
    return False


def _is_by_name(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in BY_NAME)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Places that a module imports by statement, anywhere in its text."""
    return tuple(place for places in _module(module).imported.values() for place in places if _is_place(place))


def _names_imported(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """What each name that a tree imports may be, anywhere in its text: places where this package has them."""
    found: dict[str, tuple[str, ...]] = {}
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            given = {alias.asname or alias.name: (alias.name,) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            given = {alias.asname or alias.name: _places(node.module, alias.name) for alias in node.names}
        else:
            continue
        for name, places in given.items():
            found[name] = (*found.get(name, ()), *places)
    return found


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement of a tree, at any depth, with every `except` and `case`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())
        yield node


def _places(module: str, name: str) -> tuple[str, ...]:
    """What `from module import name` depends on."""
    return (f"{module}:{name}",) if _is_by_name(module) else (module, f"{module}.{name}")


def _used_by(module: str, name: str) -> list[str]:
    """Places that a definition names: in its own module, or imported there. Of the types of fields only sections."""
    known, imported = _module(module).definitions, _module(module).imported
    parts = known.get(name, ())
    names = frozenset({name}).union(*(one.names for one in parts))
    types = {one for part in parts for one in part.types if any(other.is_class for other in known.get(one, ()))}
    found = [f"{module}:{one}" for one in (names | types) & known.keys()]
    others = [place for one in names & imported.keys() for place in imported[one] if _is_place(place)]
    return found + [place for place in others if place.partition(":")[0] not in TOLD]


@cache
def _syntax(place: str) -> str:
    module, _, name = place.partition(":")
    if not name:
        return _module(module).syntax
    return "\n".join(one.syntax for one in _module(module).definitions.get(name, ()))


def words_digest(*kinds: str) -> str:
    """Digest of what the decorators of all built-in entries of some kinds say of them. Returns 16 hex digits."""
    known = (entry for kind in kinds for entry in built_in(kind).values())
    words = [(one.kind, one.name, sorted(one.words.items())) for one in known]
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]


def text_digest(*folders: Path) -> str:
    """Digest of the files of folders, their names and their text, wherever the folders lie. Returns 16 hex digits."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            digest.update(f"{path.name}\n{path.read_text(encoding='utf-8')}\n".encode())
    return digest.hexdigest()[:16]
