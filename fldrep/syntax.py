"""Python files as syntax trees: what their code is, whatever its layout, and which files it imports."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent


def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree without docstrings. Errors: `OSError`, `SyntaxError`, `ValueError` (null bytes)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def names_imported(tree: ast.AST, package: str = "") -> list[str]:
    """Dotted names of modules, and of what is taken from them, that a tree imports.

    Args: package: where the file is, for relative imports (`from . import x`); these are left out where it is in none.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return found


def local_modules(path: Path) -> dict[str, Path]:
    """The modules that a file imports, directly or not, from its own folder or its own package: files by dotted names.

    In alphabetical order, without the file itself, and without this package.
    """
    path = path.resolve()
    found: dict[str, Path] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        for name in names_imported(tree_of(file), package_of(file)):
            for module, other in _files_of(name, path):
                if other != path and module not in found:
                    found[module] = other
                    waiting.append(other)
    return dict(sorted(found.items()))


def local_files(path: Path) -> list[Path]:
    """The files of `local_modules`."""
    return [*local_modules(path).values()]


def package_of(path: Path) -> str:
    """The dotted name of the package that a file is in, empty for none."""
    parts: list[str] = []
    while (path.parent / "__init__.py").is_file():
        path = path.parent
        parts.insert(0, path.name)
    return ".".join(parts)


def _files_of(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    """The modules that importing a name runs, of those beside a file or in its package."""
    top, package = name.partition(".")[0], package_of(path)
    inside = package and top == package.partition(".")[0]
    folder = path.parents[package.count(".") + 1] if inside else path.parent
    parts = name.split(".") if top != PACKAGE.name else []
    for depth in range(1, len(parts) + 1):
        base = folder.joinpath(*parts[:depth])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                yield ".".join(parts[:depth]), file


def tree_digest(path: Path) -> str:
    """Digest of a file's syntax tree and of those of the local modules that it imports; 16 hex digits.

    Comments, docstrings, layout and the file's own name do not count.
    """
    digest = hashlib.sha256(ast.dump(tree_of(path)).encode())
    for module, file in local_modules(path).items():
        digest.update(f"{module}\n{ast.dump(tree_of(file))}\n".encode())
    return digest.hexdigest()[:16]
