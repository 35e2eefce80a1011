"""What one file can add: entries by kind and name, built-in ones and a stranger's found in the same way.

An entry is a class or function under a decorator of this module, such as `@defense("gaussian")`. Built-in entries lie
in the package's folders (`ROOMS`) and are found by reading the files, not by running them: a file is imported when its
entry is asked for. Other entries come from installed packages (entry points of the group `fldrep.plugins`) and from
files that a config names (`load_plugins`); these are run when they are loaded.

Importing this module imports no other package; entry files import torch inside their functions.
"""

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from fldrep.errors import ConfigError, named
from fldrep.syntax import local_modules, tree_digest

PACKAGE = Path(__file__).parent
GROUP = "fldrep.plugins"  # the entry points by which an installed package adds entries

# Where the built-in entries of each kind lie, one file an entry.
ROOMS = {
    "defense": "fldrep.defenses",
    "model": "fldrep.models",
    "dataset": "fldrep.data",
    "metric": "fldrep.metrics",
    "objective": "fldrep.attack.objectives",
    "regulariser": "fldrep.attack.regularisers",
    "optimiser": "fldrep.attack.optimisers",
    "figure": "fldrep.figures",
    "claim": "fldrep.report.claims",
    "analysis": "fldrep.tables",
}

# Kinds whose entries are classes: what they must be, and an attribute that tells; entries of all others are functions.
CLASSES = {
    "defense": ("a class of fldrep.Defense", "changes_gradient"),
    "optimiser": ("a class with a method solve", "solve"),
}
NAME = re.compile("[a-z0-9]+([-_][a-z0-9]+)*")

Registered = TypeVar("Registered", bound=Callable)


@dataclass(frozen=True)
class Entry:
    """One entry: its kind and name, the module and file it is in, and what its decorator says of it besides.

    An entry that is only told of (`tell`) has no module and no file, and its value is a class that has the words.
    """

    kind: str
    name: str
    module: str
    file: Path
    words: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> Any:
        """The class or function, imported now if it was not before."""
        if self.is_told:
            return type(self.name, (_Told,), dict(self.words))
        import_module(self.module)
        return _VALUES[self.kind, self.name]

    @property
    def is_told(self) -> bool:
        """Whether only its words are known here."""
        return not self.module

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of this package's own."""
        return self.module.startswith(f"{__package__}.")


class _Told:
    """Stands in for an entry's class where only its words are known; what else is asked of it, its settings may say."""

    def __init__(self, settings: Any):
        self.settings = settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settings, name, None)


_VALUES: dict[tuple[str, str], Any] = {}
_ADDED: dict[tuple[str, str], Entry] = {}  # by plug-ins
_TOLD: dict[tuple[str, str], Entry] = {}  # in place of plug-ins, where these are not loaded
_loads_plugins = True


def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind by name, built-in ones first. Errors: `ConfigError` for an installed plug-in that fails."""
    if _loads_plugins:
        _load_installed()
    return {**built_in(kind), **{name: entry for (of, name), entry in (_ADDED | _TOLD).items() if of == kind}}


def in_order(kind: str) -> dict[str, Entry]:
    """The package's own entries of a kind by name, in the order of their word `order`: figures, claims, analyses."""
    return dict(sorted(built_in(kind).items(), key=lambda item: item[1].words["order"]))


def entry(kind: str, name: str) -> Entry:
    """The entry of a kind and name. Errors: `UnknownName`, with the names that are known."""
    return named(kind, name, entries(kind))


def value(kind: str, name: str) -> Any:
    """The class or function of a kind and name. Errors: `UnknownName`."""
    return entry(kind, name).value


# Decorators -----------------------------------------------------------------------------------------------------------


def _decorator(kind: str) -> Callable[..., Callable[[Registered], Registered]]:
    def decorator(name: str, **words: Any) -> Callable[[Registered], Registered]:
        if not isinstance(name, str):
            raise ConfigError(f'@{kind} needs a name: @{kind}("some-name")')
        if not NAME.fullmatch(name):
            raise ConfigError(f"{kind} {name!r}: expected lower-case words, joined by hyphens or underscores")

        def register(made: Registered) -> Registered:
            _require(kind, name, made)
            known = {**built_in(kind), **{one: e for (of, one), e in _ADDED.items() if of == kind}}.get(name)
            if known is None:
                known = Entry(kind, name, made.__module__, Path(inspect.getfile(made)), words)
                _ADDED[kind, name] = known
            if known.module != made.__module__:
                raise ConfigError(f"{kind} {name!r} is taken, by {known.file}; choose another name")
            _VALUES[kind, name] = made
            return made

        return register

    decorator.__name__ = decorator.__qualname__ = kind
    decorator.__doc__ = f"Register a class or function as the {kind} of a name; `words` are what else is said of it."
    return decorator


def _require(kind: str, name: str, made: Any) -> None:
    """Errors: `ConfigError` where something is no class or function as entries of the kind are."""
    what, method = CLASSES.get(kind, ("a function", None))
    if inspect.isclass(made) != (kind in CLASSES) or (method and not hasattr(made, method)):
        raise ConfigError(f"{kind} {name!r}: {getattr(made, '__name__', made)}: expected {what}")


defense = _decorator("defense")
model = _decorator("model")
dataset = _decorator("dataset")
metric = _decorator("metric")
objective = _decorator("objective")
regulariser = _decorator("regulariser")
optimiser = _decorator("optimiser")
figure = _decorator("figure")
claim = _decorator("claim")
analysis = _decorator("analysis")


# Where entries are found ----------------------------------------------------------------------------------------------


@cache
def built_in(kind: str) -> dict[str, Entry]:
    """The built-in entries of a kind by name, found in the text of the files of its folder."""
    room = ROOMS[kind]
    folder = PACKAGE.joinpath(*room.split(".")[1:])
    found = {}
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
        if path == folder / "__init__.py":
            continue
        name = path.parent.name if path.name == "__init__.py" else path.stem
        for said, words in registered_in(path, kind):
            found[said] = Entry(kind, said, f"{room}.{name}", path, words)
    return found


def registered_in(path: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The names that a file registers for a kind, and what the decorators say besides: read from its text."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and _called(call) == kind and call.args:
                words = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
                found.append((ast.literal_eval(call.args[0]), words))
    return found


def _called(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


@cache
def _load_installed() -> None:
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            raise ConfigError(f"plug-in {point.name!r} ({point.value}): {_line(error)}") from error


def added() -> list[Entry]:
    """The entries of all kinds that are not built in."""
    return [one for kind in ROOMS for one in entries(kind).values() if not one.is_built_in]


PLAIN = (str, int, float, bool, type(None))


def words_of(entry: Entry) -> dict[str, Any]:
    """What can be said of an entry without its code: its decorator's words, and a class's plain public attributes."""
    shown = {}
    for base in reversed(entry.value.__mro__) if inspect.isclass(entry.value) else ():
        shown |= {name: one for name, one in vars(base).items() if not name.startswith("_") and isinstance(one, PLAIN)}
    return {**shown, **entry.words}


def told_of(named: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """What `tell` takes for the entries of given kinds and names that are not built in."""
    found = [entry(*one) for one in named]
    return [{"kind": e.kind, "name": e.name, "words": words_of(e)} for e in found if not e.is_built_in]


def tell(told: Iterable[Mapping[str, Any]]) -> None:
    """Know plug-ins' entries by their words alone, and load no plug-in from now on.

    This is for a process whose environment lacks what plug-ins import, such as torch. Args: told: as from `told_of`.
    """
    global _loads_plugins
    _loads_plugins = False
    _TOLD.update(
        {(one["kind"], one["name"]): Entry(one["kind"], one["name"], "", Path(), one["words"]) for one in told}
    )


def load_plugins(paths: Path | str | Iterable[Path | str]) -> list[str]:
    """Run plug-in files, each once, and return the names of the entries they add, in order.

    A file is known by its syntax tree and by those of the files beside it that it imports, not by its path.
    Errors: `ConfigError` naming the file: it cannot be read or run, or a name is taken.
    """
    added = []
    for path in [paths] if isinstance(paths, Path | str) else paths:
        added += _load_file(Path(path))
    return added


def _load_file(path: Path) -> list[str]:
    try:
        name = f"fldrep_plugin_{tree_digest(path)}"
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise ConfigError(f"plugins: {path}: cannot be read as Python: {_line(error)}") from None
    if name not in sys.modules:
        _run(path.resolve(), name)
    return [one for (_, one), entry in _ADDED.items() if entry.module == name]


def run_file(path: Path, name: str) -> ModuleType:
    """Run a Python file, whatever its suffix, as a module of this name; it may import files beside it."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that they hide no installed package
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _run(path: Path, name: str) -> None:
    before = dict(_ADDED)
    try:
        run_file(path, name)
        for local, file in local_modules(path).items():
            other = sys.modules.get(local)
            if other is not None and Path(other.__file__).resolve() != file:
                raise ConfigError(f"it imports {local!r}, and {other.__file__} has that name already")
    except BaseException as error:
        sys.modules.pop(name, None)
        for key in set(_ADDED) - set(before):
            del _ADDED[key], _VALUES[key]
        if not isinstance(error, Exception):
            raise
        raise ConfigError(f"plugins: {path}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, ConfigError) else f"{type(error).__name__}: {words}"
