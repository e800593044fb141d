"""Turns lesson sources into notebooks: `python -m valuelab.course.build [--check | --nbgrader DIR] [LESSON …]`.

From each `solutions/NN_slug.py`: `notebooks/NN_slug.ipynb` for students (stubs, no outputs) and
`solutions/NN_slug.ipynb` (solved, executed, outputs kept); from all of them `solutions/INSTRUCTOR.md` and the
tables of the README and of two pages in docs/.
A solution is executed again only when its cells, the library modules it imports or their data changed,
or with --execute. Times and other outputs tagged nbval-ignore-output are kept while their cell stays the same.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from . import grading, inputs
from .lesson import Cell, Lesson, LessonError, marked_solution_of, read, solution_of, stub_of
from .run import execute, not_met
from .tracks import TRACKS, timetable

PAGES = ("README.md", "docs/TEACHING.md", "docs/WORKSHOP.md")  # each holds tables that are built


def root() -> Path:
    """The course's folder: the nearest one above the working folder, or above this file, with solutions/."""
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "solutions").is_dir() and (folder / "pyproject.toml").is_file():
                return folder
    raise LessonError("No folder with solutions/ and pyproject.toml was found: run this inside the course.")


def sources(base: Path, wanted=()) -> list[Path]:
    """Lesson sources, all or those whose name begins with one of `wanted`."""
    found = sorted((base / "solutions").glob("[0-9][0-9]_*.py"))
    if wanted:
        chosen = [p for p in found if any(p.stem.startswith(w) for w in wanted)]
        if not chosen:
            there = ", ".join(p.stem for p in found)
            raise LessonError(f"no lesson begins with {', '.join(wanted)}; there are {there}.")
        return chosen
    return found


# ------------------------------------------------------------------ cells to notebooks


_FOLD = re.compile(r"(<details>\s*<summary>.*?</summary>)\s*(.*?)\s*</details>\s*", re.S)


def _text(cell: Cell, lesson: Lesson) -> str:
    """The cell's Markdown. What is folded stands between blank lines, without which it would be taken for HTML."""
    text = _FOLD.sub(r"\1\n\n\2\n\n</details>\n\n", cell.text).strip()
    return text.replace("{{minutes}}", f"{lesson.minutes} minutes")


def _metadata(cell: Cell) -> dict:
    tags = list(cell.tags)
    if "widget" in tags:
        tags.append("nbval-ignore-output")
    meta = {"tags": tags} if tags else {}
    if cell.kind == "code" and cell.text.startswith("quiz("):
        meta["jupyter"] = {"source_hidden": True}  # the key stands in the source: fold it away
    return meta


def notebook(lesson: Lesson, kind: str) -> nbformat.NotebookNode:
    """The lesson as a notebook without outputs; kind is "student", "solution" or "nbgrader"."""
    cells, written = [], set()
    for i, c in enumerate(x for x in lesson.cells if "instructor" not in x.tags):
        meta, cell_id = _metadata(c), f"{lesson.slug[:40].replace('_', '-')}-{i:03d}"
        if c.kind == "markdown":
            cells.append(new_markdown_cell(_text(c, lesson), id=cell_id, metadata=meta))
            continue
        source = c.text
        if c.kind == "exercise":
            if kind == "nbgrader":
                source = marked_solution_of(c)
            else:
                source = (stub_of if kind == "student" else solution_of)(c, written)
                written.add(c.function.rpartition(".")[2])
            meta = {**meta, "exercise": c.exercise}
        if kind == "nbgrader" and c.kind in ("exercise", "check"):
            meta["nbgrader"] = grading.metadata(c, lesson)
        cells.append(new_code_cell(source, id=cell_id, metadata=meta))
    return new_notebook(cells=cells, metadata={
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip


def serialise(nb: nbformat.NotebookNode) -> str:
    """The one way in which a notebook is written here."""
    return nbformat.writes(nb, version=4, ensure_ascii=False).rstrip("\n") + "\n"


def _digest(thing) -> str:
    return hashlib.sha256(json.dumps(thing, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def cells_digest(nb) -> str:
    return _digest([[c.cell_type, c.source, c.metadata] for c in nb.cells])


def outputs_digest(nb, made_from: str) -> str:
    outputs = [[c.get("outputs", []), c.get("execution_count")] for c in nb.cells if c.cell_type == "code"]
    return _digest([made_from, outputs])


# --------------------------------------------------------------------------- files


def write(path: Path, text: str) -> bool:
    """Write whole or not at all; True if something changed.

    Raises:
        LessonError: the folder cannot be written to.
    """
    path = Path(path)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise LessonError(f"cannot write {path} ({error.strerror}); choose a folder you may write to.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def with_outputs(nb, stored) -> nbformat.NotebookNode:
    """The built notebook carrying the outputs of a stored one with the same cells."""
    for cell, old in zip(nb.cells, stored.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return _signed(nb, _signature(stored, "inputs"))


def keep_times(nb, stored) -> None:
    """Where a cell's output differs from run to run, keep the one that is stored for the same source."""
    old = {c.id: c for c in stored.cells if c.cell_type == "code"} if stored else {}
    for cell in nb.cells:
        if "nbval-ignore-output" in cell.metadata.get("tags", []) and cell.id in old:
            if old[cell.id].source == cell.source:
                cell.outputs = old[cell.id].outputs


def _signed(nb, made_from: str):
    nb.metadata["valuelab"] = {
        "cells": cells_digest(nb), "inputs": made_from, "outputs": outputs_digest(nb, made_from)
    }  # fmt: skip
    return nb


def _signature(nb, part: str) -> str:
    signature = nb.metadata.get("valuelab", {})
    return str(signature.get(part, "")) if isinstance(signature, dict) else ""


def on_disk(path: Path):
    """The notebook on disk, or None if it is missing or no notebook."""
    try:
        nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(nb)
        return nb
    except Exception:  # whatever is wrong with a damaged file, the answer is to build it again
        return None


def build(lesson: Lesson, base: Path, force: bool = False) -> list[str]:
    """Write both notebooks of a lesson; returns what changed, with seconds if it was executed.

    Raises:
        LessonError: a cell failed, a claim does not hold, or a place cannot be written to.
    """
    changed = []
    if write(base / "notebooks" / f"{lesson.slug}.ipynb", serialise(notebook(lesson, "student"))):
        changed.append(f"notebooks/{lesson.slug}.ipynb")
    path = base / "solutions" / f"{lesson.slug}.ipynb"
    nb, stored = notebook(lesson, "solution"), on_disk(path)
    made_from = inputs.digest(nb, lesson.number, base / "datasets")
    if force or problem_of(path, nb, stored) or _signature(stored, "inputs") != made_from:
        seconds = execute(nb, path.parent, lesson.slug)
        if lines := not_met(nb):
            raise LessonError(f"{lesson.slug} was run but not written, because it says: " + " | ".join(lines))
        keep_times(nb, stored)
        if write(path, serialise(_signed(nb, made_from))):
            changed.append(f"solutions/{lesson.slug}.ipynb (executed, {seconds:.0f} s)")
    return changed


def problem_of(path: Path, nb, stored) -> str:
    """Why a stored solution is not what building would give; empty if it is."""
    if stored is None:
        return "missing or damaged"
    same_cells = len(nb.cells) == len(stored.cells) and cells_digest(nb) == cells_digest(stored)
    if not same_cells:
        return "out of date"
    if _signature(stored, "outputs") != outputs_digest(stored, _signature(stored, "inputs")):
        return "outputs were edited"
    if serialise(with_outputs(nb, stored)) != path.read_text(encoding="utf-8"):
        return "edited"
    return ""


def instructor(lessons: list[Lesson]) -> str:
    """The instructor's guide: tracks with their minutes, then each lesson's notes."""
    by_number = {x.slug[:2]: x for x in lessons}
    out = ["# Instructor's guide", "", "Built from the lesson sources; do not edit here.", "", "## Tracks", ""]
    for name, plan in TRACKS.items():
        slots = [slot for slot in plan if slot.lesson in by_number]
        out += [f"**{name}** ({sum(slot.minutes for slot in slots)} minutes)", ""]
        out += [f"- {by_number[slot.lesson].title}: {slot.minutes} minutes, exercises {', '.join(slot.exercises)}"
                for slot in slots] + [""]  # fmt: skip
    total = sum(x.minutes for x in lessons)
    out += [f"**semester** ({total} minutes in all, one or two lessons a week)", ""]
    out += [f"- {x.title}: {x.minutes} minutes" for x in lessons] + [""]
    for x in lessons:
        out += [f"## {x.title}", "", f"{x.minutes} minutes, of which exercises {sum(c.minutes for c in x.exercises)}."]
        out += [f"Points: {grading.points(x)}.", ""] if x.exercises else [""]
        for c in x.cells:
            if "instructor" in c.tags:
                out += [c.text, ""]
    return "\n".join(out).rstrip() + "\n"


def filled(text: str, tables: dict[str, list[str]]) -> str:
    """A page with the built tables it has written anew, each between `<!-- name -->` and `<!-- /name -->`."""
    for name, rows in tables.items():
        table = "\n".join([f"<!-- {name} -->", *rows, f"<!-- /{name} -->"])
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, new=table: new, text, flags=re.S)
    return text


def tables(lessons: list[Lesson], base: Path) -> dict[str, list[str]]:
    """The built tables by name: the lessons, the timetable of each track, and what a lesson takes of a machine."""
    by_number = {x.slug[:2]: x for x in lessons}
    return {
        "lessons": _lessons_table(lessons),
        **{name: timetable(slots, by_number) for name, slots in TRACKS.items()},
        "machine": machine_table(base / "benchmarks" / "results" / "lessons.json"),
    }


def _lessons_table(lessons: list[Lesson]) -> list[str]:
    rows = ["| lesson | you learn to | exercises | minutes |", "|---|---|--:|--:|"]
    for x in lessons:
        goals = next((c.text for c in x.cells if "## What you will be able to do" in c.text), "")
        goals = goals.split("## What you will be able to do")[-1].split("\n## ")[0]
        verbs = ", ".join(re.findall(r"^[-*] \*\*(.+?)\*\*", goals, re.M))
        rows.append(f"| [{x.title}](notebooks/{x.slug}.ipynb) | {verbs} | {len(x.exercises)} | {x.minutes} |")
    return [*rows, f"| **all** | | {sum(len(x.exercises) for x in lessons)} | {sum(x.minutes for x in lessons)} |"]


def machine_table(path: Path) -> list[str]:
    """What `benchmarks/lessons.py` measured, as a table; one sentence where it has not been run."""
    if not path.is_file():
        return ["Not measured yet: `python benchmarks/lessons.py` on a quiet machine fills this table."]
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = ["| lesson | peak memory, MB | CPU seconds | seconds |", "|---|--:|--:|--:|"]
    rows += [f"| {slug} | {x['peak_mb']:.0f} | {x['cpu_seconds']:.0f} | {x['seconds']:.0f} |"
             for slug, x in found["lessons"].items()]  # fmt: skip
    most = max(x["peak_mb"] for x in found["lessons"].values())
    return [*rows, "", f"The hungriest lesson takes {most:.0f} MB. Measured {found['date']} on {found['cpu']}, "
            f"Python {found['python']}, torch {found['torch']}, one thread."]  # fmt: skip


def pages(base: Path) -> dict[Path, str]:
    """The pages with built tables that this course has, and their text now."""
    return {base / p: (base / p).read_text(encoding="utf-8") for p in PAGES if (base / p).is_file()}


def check(lessons: list[Lesson], base: Path) -> list[str]:
    """What is out of date, one line each; empty if every built file is current to the character."""
    found = []
    for x in lessons:
        student = base / "notebooks" / f"{x.slug}.ipynb"
        if not student.is_file() or student.read_text(encoding="utf-8") != serialise(notebook(x, "student")):
            found.append(f"notebooks/{x.slug}.ipynb: out of date or edited")
        path = base / "solutions" / f"{x.slug}.ipynb"
        if problem := problem_of(path, notebook(x, "solution"), on_disk(path)):
            found.append(f"solutions/{x.slug}.ipynb: {problem}")
    slugs = {x.slug for x in lessons}
    for folder in ("notebooks", "solutions"):
        for path in sorted((base / folder).glob("[0-9][0-9]_*.ipynb")):
            if path.stem not in slugs:
                found.append(f"{folder}/{path.name}: has no source solutions/{path.stem}.py")
    guide = base / "solutions" / "INSTRUCTOR.md"
    if not guide.is_file() or guide.read_text(encoding="utf-8") != instructor(lessons):
        found.append("solutions/INSTRUCTOR.md: out of date or edited")
    built = tables(lessons, base)
    for path, text in pages(base).items():
        if filled(text, built) != text:
            found.append(f"{path.relative_to(base)}: a built table in it is out of date or edited")
    return found


def nbgrader(lessons: list[Lesson], folder: Path, seed: int | None = None, hidden: Path | None = None) -> None:
    """Write an nbgrader course: source/NN_slug/NN_slug.ipynb and a configuration.

    Args:
        seed: deals the order of the quiz answers, and is `SEED` in hidden tests; None leaves the lesson's order.
        hidden: folder with the lecturer's own tests, see `grading`.
    """
    for x in lessons:
        nb = grading.prepared(notebook(x, "nbgrader"), x, seed, hidden)
        write(folder / "source" / x.slug / f"{x.slug}.ipynb", serialise(nb))
    write(folder / "nbgrader_config.py", grading.CONFIG)


def main(arguments=None) -> int:
    p = argparse.ArgumentParser(prog="python -m valuelab.course.build", description=__doc__.splitlines()[0])
    p.add_argument("lessons", nargs="*", help="numbers or beginnings of names; all if none is given")
    p.add_argument("--check", action="store_true", help="fail if a built file is not what its source gives")
    p.add_argument("--execute", action="store_true", help="run solutions again even if their cells are unchanged")
    p.add_argument("--nbgrader", type=Path, metavar="DIR", help="write an nbgrader source tree")
    p.add_argument("--seed", type=int, metavar="N", help="with --nbgrader: a variant, its quiz answers dealt by N")
    p.add_argument("--hidden", type=Path, metavar="FOLDER", help="with --nbgrader: your own hidden tests, NN.py each")
    args = p.parse_args(arguments)
    try:
        base = root()
        every = [read(path) for path in sources(base)]
        chosen = [x for x in every if not args.lessons or any(x.slug.startswith(w) for w in args.lessons)]
        if args.lessons and not chosen:
            sources(base, args.lessons)
        if args.check:
            found = check(every, base)
            print("\n".join(found) if found else f"{len(every)} lessons: every built file is current.")
            return 1 if found else 0
        if args.nbgrader:
            if args.hidden:
                grading.refuse_public(args.hidden, base)
            nbgrader(chosen, args.nbgrader, args.seed, args.hidden)
            for x in chosen:
                print(f"{x.slug}: {sum(c.stars for c in x.exercises)} points: {grading.points(x)}")
            print(f"nbgrader source for {len(chosen)} lessons in {args.nbgrader}")
            return 0
        for x in chosen:
            for line in build(x, base, args.execute):
                print(line, flush=True)
        write(base / "solutions" / "INSTRUCTOR.md", instructor(every))
        built = tables(every, base)
        for path, text in pages(base).items():
            write(path, filled(text, built))
    except LessonError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build: interrupted; what is on disk is whole.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
