"""What a lesson's outputs were made from: the library modules it imports, directly or not, and their data.

Read from the import statements alone, so nothing is executed and nothing heavy is loaded.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

import nbformat

PACKAGE = Path(__file__).resolve().parents[1]


def digest(nb: nbformat.NotebookNode, number: int, datasets: Path) -> str:
    """Sixteen hex digits that change when the library code or data behind a lesson changes.

    Args:
        nb: the lesson as a notebook; `number` finds its checks.
        datasets: the course's own data, counted if the lesson reaches the room `data`.
    """
    seen: set[str] = set()
    todo = [name for cell in nb.cells if cell.cell_type == "code" for name in _imports(cell.source, "")]
    todo.append(f"valuelab.course.checks.lesson_{number:02d}")
    while todo:
        name = todo.pop()
        if name in seen or not (path := module_file(name)):
            continue
        seen.add(name)
        todo += _imports_of(path, name)
    files = {module_file(name) for name in seen}
    rooms = {name.split(".")[1] for name in seen if name.count(".")}
    for folder in [PACKAGE / room for room in rooms] + [datasets] * ("data" in rooms):
        files |= {p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(_file_digest(path, path.stat().st_mtime_ns))
    return total.hexdigest()[:16]


def module_file(name: str) -> Path | None:
    """The file of a valuelab module, or None if there is no such module."""
    if name.split(".")[0] != "valuelab":
        return None
    path = PACKAGE.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _file_digest(path: Path, mtime: int) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _imports_of(path: Path, name: str) -> list[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _imports(path.read_text(encoding="utf-8"), package)


def _imports(source: str, package: str) -> list[str]:
    """Dotted names that a source may import from valuelab, parents included."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a magic: its imports are found in the other cells
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    parents = [".".join(n.split(".")[:k]) for n in found for k in range(1, n.count(".") + 2)]
    return [n for n in dict.fromkeys(parents) if n.split(".")[0] == "valuelab"]


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that `from … import` names, with leading dots resolved against the importing package."""
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *filter(None, [node.module])])
