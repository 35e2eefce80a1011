"""Python files as syntax trees: what their code is, whatever its layout, and which files it imports."""

import ast
import hashlib
from pathlib import Path


def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree without docstrings. Errors: `OSError`, `SyntaxError`, `ValueError` (null bytes)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def names_imported(tree: ast.AST) -> list[str]:
    """Dotted names of modules, and of what is taken from them, that a tree imports by absolute statements."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def local_files(path: Path) -> list[Path]:
    """The files beside a file that it imports, directly or not, by name, in alphabetical order; without itself."""
    path = path.resolve()
    found, waiting = set(), [path]
    while waiting:
        for name in names_imported(tree_of(waiting.pop())):
            beside = path.parent / f"{name.partition('.')[0]}.py"
            if beside.is_file() and beside != path and beside not in found:
                found.add(beside)
                waiting.append(beside)
    return sorted(found)


def tree_digest(path: Path) -> str:
    """Digest of a file's syntax tree and of those of the files beside it that it imports; 16 hex digits.

    Comments, docstrings, layout and the file's own name do not count.
    """
    digest = hashlib.sha256(ast.dump(tree_of(path)).encode())
    for beside in local_files(path):
        digest.update(f"{beside.stem}\n{ast.dump(tree_of(beside))}\n".encode())
    return digest.hexdigest()[:16]
