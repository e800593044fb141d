"""Reads a lesson's one source, `solutions/NN_slug.py` in percent format, into cells.

What a cell is for stands in its first line:

    # %% [markdown]                                     text
    # %% [markdown] tags=["instructor"]                 only in INSTRUCTOR.md
    # %%                                                code
    # %% tags=["widget"]                                code whose output is not compared
    # %% exercise="4.2" function="valuelab.steering.shift.minimal_shift" minutes=10 stars=2
                                                        (no body) the function's own source is put in
    # %% exercise="4.3" minutes=5 stars=1               a body with ### BEGIN SOLUTION … ### END SOLUTION
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import jupytext


class LessonError(Exception):
    """A lesson's source cannot be built; the message names file, cell and cure."""


@dataclass(frozen=True)
class Cell:
    """One cell of the source. `text` is what the author wrote; `answer` is the solution's version."""

    kind: str  # markdown | code | exercise | check
    text: str
    place: str  # "04_steering.py, cell 12"
    tags: tuple[str, ...] = ()
    exercise: str = ""
    function: str = ""
    minutes: int = 0
    stars: int = 1


@dataclass(frozen=True)
class Lesson:
    path: Path
    cells: tuple[Cell, ...]

    @property
    def slug(self) -> str:
        return self.path.stem

    @property
    def number(self) -> int:
        return int(self.slug[:2])

    @property
    def title(self) -> str:
        return self.cells[0].text.splitlines()[0].lstrip("# ").strip()

    @property
    def minutes(self) -> int:
        return sum(c.minutes for c in self.cells)

    @property
    def exercises(self) -> list[Cell]:
        return [c for c in self.cells if c.kind == "exercise"]


CHECK = re.compile(r"=\s*check\(\s*[\"'](\d+\.\d+)[\"']")


def read(path: Path) -> Lesson:
    """Read a lesson's source.

    Raises:
        LessonError: no cells, a missing title, an unknown function, or an exercise without its check.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    _refuse_unreadable_headers(text, path.name)
    notebook = jupytext.reads(text, fmt="py:percent")
    cells = []
    for i, raw in enumerate(notebook.cells):
        meta, place = raw.metadata, f"{path.name}, cell {i + 1}"
        common = {"tags": tuple(meta.get("tags", ())), "place": place, "minutes": _whole(meta.get("minutes", 0), place)}
        if raw.cell_type == "markdown":
            cells.append(Cell("markdown", raw.source.strip(), **common))
        elif "exercise" in meta:
            cells.append(_exercise(meta, raw.source.strip(), common))
        elif found := CHECK.search(raw.source):
            cells.append(Cell("check", raw.source.strip(), exercise=found[1], **common))
        elif raw.source.strip():
            cells.append(Cell("code", raw.source.strip(), **common))
    if not cells or cells[0].kind != "markdown" or not cells[0].text.startswith("# "):
        raise LessonError(f"{path.name}: the first cell must be markdown and begin with '# NN · Title'.")
    lesson = Lesson(path, tuple(cells))
    asked, checked = [c.exercise for c in lesson.exercises], [c.exercise for c in cells if c.kind == "check"]
    if asked != checked:
        raise LessonError(
            f"{path.name}: exercises {asked} but checks {checked}; after each exercise cell write "
            'a cell with `name = check("N.M", name)`, in the same order.'
        )
    return lesson


OPTION = re.compile(r'(exercise|function|minutes|stars|tags)=("[^"]*"|\[[^\]]*\]|\d+)(?=\s|$)')


def _refuse_unreadable_headers(text: str, name: str) -> None:
    """jupytext silently drops all options of a header it cannot read, so look at each one first."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# %%"):
            left = OPTION.sub("", line.removeprefix("# %%").strip().removeprefix("[markdown]"))
            if left.strip():
                raise LessonError(
                    f"{name}, line {number}: {left.strip()!r} in a cell header cannot be read; write "
                    '# %% [markdown] minutes=5 tags=["instructor"], or '
                    '# %% exercise="4.2" function="valuelab.…" minutes=10 stars=2.'
                )


def _whole(value, place: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise LessonError(f"{place}: minutes={value!r} is no whole number.") from None


def _exercise(meta, body: str, common: dict) -> Cell:
    place = common["place"]
    if not common["minutes"]:
        raise LessonError(f"{place}: exercise {meta['exercise']} says no minutes; write minutes=10.")
    function = meta.get("function", "")
    if function:
        lookup(function, place)
    elif "### BEGIN SOLUTION" not in body or "### END SOLUTION" not in body:
        raise LessonError(
            f'{place}: exercise {meta["exercise"]} has neither function="…" nor a body with '
            "### BEGIN SOLUTION and ### END SOLUTION."
        )
    return Cell("exercise", body, exercise=str(meta["exercise"]), function=function,
                stars=int(meta.get("stars", 1)), **common)  # fmt: skip


def lookup(name: str, place: str):
    """The library function that an exercise names.

    Raises:
        LessonError: no such module or function.
    """
    module_name, _, function = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise LessonError(
            f"{place}: there is no function {name!r} ({error}). Correct function=\"…\" in the cell's first line."
        ) from error


def names_used(source: str) -> set[str]:
    """Names that a function's source takes from outside itself."""
    nodes = list(ast.walk(ast.parse(source)))
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    made = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    made |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    made |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return read - made


def imports_for(source: str, module: ModuleType, defined: Collection[str] = ()) -> str:
    """The import lines with which a function's source runs in a notebook where `defined` names stand already.

    What the module imports is imported from where the module has it; what it defines, from the module.
    """
    package = module.__package__ or ""
    plain, members = set(), {}
    known = _imported(module)
    for name in sorted(names_used(source) - set(defined)):
        if name in known:
            origin, original = known[name]
            if not origin:
                plain.add(f"import {original}" + ("" if original.split(".")[0] == name else f" as {name}"))
                continue
            origin = importlib.util.resolve_name(origin, package) if origin.startswith(".") else origin
            members.setdefault(origin, []).append(name if name == original else f"{original} as {name}")
        elif name in vars(module):
            members.setdefault(module.__name__, []).append(name)
    return "\n".join([*sorted(plain), *(_from(origin, names) for origin, names in sorted(members.items()))])


def _from(origin: str, names: list[str]) -> str:
    line = f"from {origin} import {', '.join(names)}"
    return line if len(line) <= 100 else f"from {origin} import (\n    " + ",\n    ".join(names) + ",\n)"


def _imported(module: ModuleType) -> dict[str, tuple[str, str]]:
    """Names that a module's top level imports (also under if and try) -> (from where, original name)."""
    found = {}
    todo = list(ast.parse(inspect.getsource(module)).body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.If | ast.Try):
            todo += node.body
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = ("", alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = ("." * node.level + (node.module or ""), alias.name)
    found.pop("annotations", None)  # from __future__: no name of the module
    return found


def solution_of(cell: Cell, earlier: Collection[str] = ()) -> str:
    """The exercise cell as the solution shows it, below the `earlier` exercises, whose functions it calls."""
    if not cell.function:
        return cell.text
    function = lookup(cell.function, cell.place)
    function = inspect.unwrap(getattr(function, "fn", function))  # a Triton kernel keeps its function in .fn
    try:
        source = textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError) as error:
        raise LessonError(f"{cell.place}: {cell.function} has no Python source to show ({error}).") from error
    head = imports_for(source, inspect.getmodule(function), earlier)
    return f"{head}\n\n\n{source}" if head else source


def parts_of(source: str) -> tuple[str, str]:
    """Split source that ends in a function into (all up to the end of its docstring, its body)."""
    tree = ast.parse(source)
    function = next(n for n in reversed(tree.body) if isinstance(n, ast.FunctionDef))
    body = function.body
    has_doc = isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], "value", None), ast.Constant)
    lines = source.splitlines()
    cut = body[0].end_lineno if has_doc else body[0].lineno - 1
    return "\n".join(lines[:cut]), "\n".join(lines[cut:])


def stub_of(cell: Cell, earlier: Collection[str] = ()) -> str:
    """The exercise cell as the student gets it."""
    if cell.function:
        head, _ = parts_of(solution_of(cell, earlier))
        return head + "\n    raise NotImplementedError"
    return re.sub(
        r"([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION", r"\1raise NotImplementedError", cell.text, flags=re.S
    )


def marked_solution_of(cell: Cell) -> str:
    """The exercise cell with nbgrader's marks around what the student is to write.

    It imports what earlier exercises wrote, so that a mistake there costs no mark here.
    """
    if not cell.function:
        return cell.text
    head, body = parts_of(solution_of(cell))
    return f"{head}\n    ### BEGIN SOLUTION\n{body.strip(chr(10))}\n    ### END SOLUTION"
