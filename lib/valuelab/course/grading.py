"""What the nbgrader version of a lesson has besides: points, quiz answers dealt by a seed, and hidden tests.

Hidden tests are the lecturer's own and stay outside the repository: a folder with a file NN.py a lesson,

    # %% exercise="4.2" points=2
    assert abs(minimal_shift(...) - ...) < 1e-6, "fails on a weight of length 3"

each cell of which is appended to its exercise as a locked cell with marks. nbgrader cuts it out of what students get
and puts it back before it marks. `SEED` (from --seed) is set in it.
"""

from __future__ import annotations

import ast
import random
from pathlib import Path

import jupytext
from nbformat.v4 import new_code_cell

from .lesson import Cell, Lesson, LessonError

CONFIG = """c = get_config()
c.CourseDirectory.course_id = "valuelab"
c.ExecutePreprocessor.timeout = 300
c.ExecutePreprocessor.startup_timeout = 180
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
"""


def points(lesson: Lesson) -> str:
    """A point a star, as in "4.1 (1), 4.2 (3)"."""
    return ", ".join(f"{c.exercise} ({c.stars})" for c in lesson.exercises)


def metadata(cell: Cell, lesson: Lesson) -> dict:
    """nbgrader's own entry for an exercise cell (the student writes) or a check cell (locked, with points)."""
    name = cell.exercise.replace(".", "-")
    if cell.kind == "exercise":
        return _entry(f"exercise-{name}", solution=True)
    return _entry(f"check-{name}", next(c.stars for c in lesson.exercises if c.exercise == cell.exercise))


def _entry(grade_id: str, marks: int = 0, solution: bool = False) -> dict:
    entry = {"grade": not solution, "grade_id": grade_id, "locked": not solution, "schema_version": 3,
             "solution": solution, "task": False}  # fmt: skip
    return entry if solution else {**entry, "points": marks}


def prepared(nb, lesson: Lesson, seed: int | None = None, hidden: Path | None = None):
    """The nbgrader notebook with its points on top, its quiz dealt by `seed`, and hidden tests after their checks.

    Raises:
        LessonError: a hidden test names no exercise of this lesson, or gives no points.
    """
    extra = hidden_tests(hidden, lesson, seed or 0) if hidden else {}
    more = f", and hidden tests: {sum(c.metadata.nbgrader.points for c in extra.values())}" if extra else ""
    nb.cells[0].source += f"\n\nPoints: {points(lesson)}{more}."
    cells = []
    for cell in nb.cells:
        if seed is not None and cell.source.startswith("quiz("):
            cell.source = dealt(cell.source, f"{lesson.slug} {seed}")
        cells.append(cell)
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if grade_id.startswith("check-") and (test := extra.pop(grade_id.removeprefix("check-"), None)):
            cells.append(test)
    nb.cells = cells
    return nb


def dealt(source: str, seed: str) -> str:
    """The quiz cell with the answers of each question in an order drawn from the seed; nothing else changes."""
    rng, lines = random.Random(seed), source.encode().splitlines(keepends=True)
    start = [sum(map(len, lines[:k])) for k in range(len(lines))]  # in bytes, as ast counts columns
    text = source.encode()
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "quiz"]
    for call in sorted(calls, key=lambda n: -n.lineno):  # from the end, so that earlier places stay true
        spans = [(start[e.lineno - 1] + e.col_offset, start[e.end_lineno - 1] + e.end_col_offset)
                 for e in call.args[1].elts]  # fmt: skip
        answers = [text[a:b] for a, b in spans]
        rng.shuffle(answers)
        for (a, b), answer in reversed(list(zip(spans, answers, strict=True))):
            text = text[:a] + answer + text[b:]
    return text.decode()


def hidden_tests(folder: Path, lesson: Lesson, seed: int) -> dict:
    """The lecturer's cells for this lesson, by exercise ("4-2"); none if the folder has no file for it."""
    path = Path(folder) / f"{lesson.slug[:2]}.py"
    if not path.is_file():
        return {}
    found, known = {}, [c.exercise for c in lesson.exercises]
    for raw in jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells:
        exercise, marks = str(raw.metadata.get("exercise", "")), raw.metadata.get("points")
        name = exercise.replace(".", "-")
        if exercise not in known or name in found or not isinstance(marks, int):
            raise LessonError(
                f'{path}: a hidden test begins with `# %% exercise="N.M" points=2`, one an exercise; '
                f"this cell says exercise={exercise!r}, points={marks!r}, and the lesson has {', '.join(known)}."
            )
        body = f"### BEGIN HIDDEN TESTS\nSEED = {seed}\n{raw.source}\n### END HIDDEN TESTS"
        found[name] = new_code_cell(
            f"# Hidden tests of exercise {exercise}\n{body}", id=f"hidden-{name}",
            metadata={"nbgrader": _entry(f"hidden-{name}", marks)},
        )  # fmt: skip
    return found


def refuse_public(hidden: Path, base: Path) -> None:
    """Raises LessonError where the hidden tests are missing or would be published with the course."""
    if not Path(hidden).is_dir():
        raise LessonError(f"--hidden {hidden}: there is no such folder.")
    if Path(hidden).resolve().is_relative_to(base.resolve()):
        raise LessonError(f"--hidden {hidden} lies in the course, which students can read: move it outside {base}.")
