"""An nbgrader course in a folder, driven by nbgrader's own commands, as a lecturer and the students would."""

import csv
import html
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat

from valuelab.course import build
from valuelab.course.lesson import CHECK, Lesson, solution_of

# nbgrader's own commands, several in one process: starting it takes longer than most of them do.
COMMANDS = """
import json, sys
from nbgrader.apps import NbGraderApp
from traitlets.config import Application
for command in json.loads(sys.argv[1]):
    NbGraderApp.launch_instance(command)
    type(Application.instance()).clear_instance()
"""


def chosen(slugs: list[str], lesson: str) -> list[str]:
    """The lesson with this number ("3" or "03"), or all of them if none is named."""
    return [slug for slug in slugs if not lesson or slug.split("_")[0] == lesson.zfill(2)]


class Course:
    def __init__(self, folder: Path, arguments=()):
        """Build it from the course around the working folder, with `build --nbgrader folder *arguments`."""
        assert build.main(["--nbgrader", str(folder), *arguments]) == 0
        self.folder = folder
        config = folder / "nbgrader_config.py"
        config.write_text(config.read_text() + f"c.Exchange.root = {str(folder / 'exchange')!r}\n"
                          f"c.Exchange.cache = {str(folder / 'cache')!r}\n")  # fmt: skip
        (folder / "exchange").mkdir()
        (folder / "exchange").chmod(0o777)  # nbgrader asks for it
        self.env = {**os.environ, "HOME": str(folder), "JUPYTER_DATA_DIR": str(folder / "jupyter")}
        for name in ("TRITON_INTERPRET", "VALUELAB_KERNELS"):  # a lesson chooses for itself
            self.env.pop(name, None)
        here = str(Path(__file__).parent)  # for `mistakes`, which wrong answers come from
        self.env["PYTHONPATH"] = os.pathsep.join(filter(None, [self.env.get("PYTHONPATH"), here]))
        self.env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), self.env["PATH"]])  # `alembic`

    def run(self, *commands: list[str]) -> None:
        command = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"nbgrader, one of {commands}:\n{done.stderr[-3000:]}"

    def release(self, slug: str) -> str:
        """Make the students' version and hand it out; returns its text."""
        self.run(["generate_assignment", slug, "--create"], ["release_assignment", slug])
        return (self.folder / "exchange" / "valuelab" / "outbound" / slug / f"{slug}.ipynb").read_text()

    def submit(self, slug: str, released: str, students: dict[str, dict[str, str]]) -> None:
        """Hand in, for each student, the released notebook with these exercises' cells replaced."""
        desk = self.folder / "desk"
        for student, answers in students.items():
            nb = nbformat.reads(released, 4)
            for cell in nb.cells:
                cell.source = answers.get(cell.metadata.get("exercise"), cell.source)
            (desk / student / slug).mkdir(parents=True)
            nbformat.write(nb, desk / student / slug / f"{slug}.ipynb")
        self.run(*(["submit", str(desk / student / slug), f"--student={student}"] for student in students))

    def mark(self, slug: str) -> dict[str, tuple[float, float]]:
        """Collect, autograde, give feedback; returns (points, of how many) by student."""
        self.run(["collect", slug], ["autograde", slug, "--create"], ["generate_feedback", slug],
                 ["release_feedback", slug], ["export"])  # fmt: skip
        rows = csv.DictReader((self.folder / "grades.csv").read_text().splitlines())
        return {r["student_id"]: (float(r["raw_score"]), float(r["max_score"])) for r in rows
                if r["assignment"] == slug}  # fmt: skip

    def feedback(self, student: str, slug: str) -> str:
        """The feedback page as a student reads it."""
        return html.unescape((self.folder / "feedback" / student / slug / f"{slug}.html").read_text())


def answers(lesson: Lesson) -> dict[str, str]:
    """The right cell for each exercise of a lesson."""
    return {c.exercise: solution_of(c) for c in lesson.exercises}


def mistakes(lesson: Lesson) -> dict[str, str]:
    """A wrong cell for each exercise: the first mistake that is planted in tests/mistakes."""
    names = {c.exercise: c.text.split("=")[0].strip() for c in lesson.cells if CHECK.search(c.text)}
    return {e: f"from mistakes.ex_{lesson.number:02d} import MISTAKES\n\n{name} = MISTAKES[{e!r}][0].function"
            for e, name in names.items()}  # fmt: skip
