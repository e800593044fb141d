"""An nbgrader course in a folder, driven by nbgrader's own commands, as a lecturer and the students would."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import nbformat

from valuelab.course import build
from valuelab.course.lesson import read, solution_of


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
        self.env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), self.env["PATH"]])  # `alembic`

    def run(self, *arguments) -> None:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"nbgrader {' '.join(arguments)}:\n{done.stderr[-3000:]}"

    def release(self, slug: str) -> str:
        """Make the students' version and hand it out; returns its text."""
        self.run("generate_assignment", slug, "--create")
        self.run("release_assignment", slug)
        return (self.folder / "exchange" / "valuelab" / "outbound" / slug / f"{slug}.ipynb").read_text()

    def submit(self, student: str, slug: str, released: str, answers: dict[str, str]) -> None:
        """Hand in the released notebook with these exercises' cells replaced."""
        nb = nbformat.reads(released, 4)
        for cell in nb.cells:
            cell.source = answers.get(cell.metadata.get("exercise"), cell.source)
        target = self.folder / "desk" / student / slug
        target.mkdir(parents=True)
        nbformat.write(nb, target / f"{slug}.ipynb")
        self.run("submit", str(target), f"--student={student}")

    def mark(self, slug: str) -> dict[str, tuple[float, float]]:
        """Collect, autograde, give feedback; returns (points, of how many) by student."""
        self.run("collect", slug)
        self.run("autograde", slug, "--create")
        self.run("generate_feedback", slug)
        self.run("release_feedback", slug)
        self.run("export")
        rows = csv.DictReader((self.folder / "grades.csv").read_text().splitlines())
        return {r["student_id"]: (float(r["raw_score"]), float(r["max_score"])) for r in rows
                if r["assignment"] == slug}  # fmt: skip

    def feedback(self, student: str, slug: str) -> str:
        return (self.folder / "feedback" / student / slug / f"{slug}.html").read_text()


def answers(source: Path) -> dict[str, str]:
    """The right cell for each exercise of a lesson's source."""
    return {c.exercise: solution_of(c) for c in read(source).exercises}
