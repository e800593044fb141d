"""The command line: `python -m valuelab …`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Value alignment of language models: the course's tools.", no_args_is_help=True,
                  pretty_exceptions_enable=False, add_completion=False)  # fmt: skip
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"  # in a checkout
NAMED = ("torch", "transformers", "numpy", "jupyterlab", "ipywidgets")  # the doctor tells their versions in any case


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(p) for p in name.split("+")[0].split(".")[:3] if p.isdigit())


def _requirements() -> list[str]:
    """What must be installed, as "name>=floor" or "name>=floor,<ceiling". Triton has a line of its own."""
    if PROJECT.is_file():  # what an editable install has noted of it may be older
        lines = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        try:
            lines = [line for line in requires("valuelab") or () if "extra ==" not in line]
        except PackageNotFoundError:  # a bare copy of the package
            lines = []
    return [line.split(";")[0].strip() for line in lines if not line.startswith("triton")]


def _python() -> tuple[bool, str]:
    major, minor = sys.version_info[:2]
    good = (3, 11) <= (major, minor) <= (3, 13)
    cure = "" if good else ": 3.11 to 3.13 is needed; make clean, then make PYTHON=python3.12 lab"
    return good, f"Python {major}.{minor}{cure}"


def _package(requirement: str) -> tuple[bool, str]:
    name, bounds = re.match(r"([\w.-]+)\s*(.*)", requirement).groups()
    cure = "run `make setup`" if PROJECT.is_file() else f"run `pip install '{requirement}'`"
    try:
        got = version(name)
    except PackageNotFoundError:
        return False, f"{name} is missing; {cure}"
    for bound in bounds.split(","):
        sign, limit = re.match(r"\s*([<>=]*)\s*(.*)", bound).groups()
        if sign == ">=" and _version(got) < _version(limit):
            return False, f"{name} {got}: {limit} or newer is needed; {cure}"
        if sign == "<" and _version(got) >= _version(limit):
            return False, f"{name} {got}: a version below {limit} is needed; {cure}"
    return True, f"{name} {got}"


def _packages() -> list[tuple[bool, str]]:
    """A line for each package that is named or wrong, and one for all others."""
    found = [_package(r) for r in _requirements()]
    told = [(ok, line) for ok, line in found if not ok or line.split()[0] in NAMED]
    return [*told, (True, f"{len(found) - len(told)} other packages")]


def _embedded_model() -> tuple[bool, str]:
    there = (Path(__file__).parent / "world" / "model" / "model.safetensors").is_file()
    return there, "embedded model" if there else "the embedded model is missing; run `make model`"


def _course_data() -> tuple[bool, str]:
    try:
        from valuelab.data import own
    except ImportError as error:
        return False, f"the course's own data cannot be read: {error}"
    wanted = [own.FOLDER / "sources.toml", *(own.home(name) / f"{name}.csv" for name in own.SCHEMAS)]
    missing = [str(path) for path in wanted if not path.is_file()]
    return not missing, f"{missing[0]} is missing; install the course again" if missing else "course data"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return free > 1, f"disk: {free:.0f} GB free" + ("" if free > 1 else "; 1 GB is needed to work in")


def _gpu() -> tuple[bool, str]:
    try:
        import torch
    except ImportError:
        return True, "GPU: not asked, torch is missing"
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
    return True, f"GPU: {name}"


def _triton() -> tuple[bool, str]:
    if importlib.util.find_spec("triton"):
        return True, "Triton"
    if sys.platform == "linux":
        return False, "Triton is missing; run `make setup`"
    return True, "Triton: not on this system; lesson 05 runs on its torch twins"


def diagnosis() -> list[tuple[bool, str]]:
    """One (ok, line) a point: Python, packages, the embedded model, the course's data, disk, GPU, Triton."""
    return [_python(), *_packages(), _embedded_model(), _course_data(), _disk(), _gpu(), _triton()]


@app.command()
def doctor() -> None:
    """Say what is wrong with this set-up, and its cure."""
    lines = diagnosis()
    for ok, line in lines:
        print(f"{'ok  ' if ok else 'FIX '} {line}")
    if not all(ok for ok, _ in lines):
        raise typer.Exit(1)


@app.command()
def lab(port: int = 8888, browser: str = "") -> None:
    """Open the course in JupyterLab at the first lesson."""
    from valuelab.course import build as b

    try:
        base = b.root()
    except b.LessonError as error:
        print(f"lab: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    command = [sys.executable, "-m", "jupyter", "lab", f"--port={port}", "--ServerApp.root_dir", str(base),
               "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]  # fmt: skip
    if browser == "none" or not (screen or browser):
        command.append("--no-browser")
        print("No browser is opened: follow the link with the token that JupyterLab prints below.", flush=True)
    elif browser:
        command.append(f"--browser={browser}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    raise typer.Exit(subprocess.call(command, cwd=base))


@app.command()
def course(
    lessons: Annotated[list[str] | None, typer.Argument(help="Numbers; all if none is given.")] = None,
    report: Annotated[bool, typer.Option(help="Write the report card too.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for the report card.")] = Path("out"),
) -> None:
    """Run every solved lesson without a browser, compare its printed results, and write the report card.

    Nothing of the course is written. With VALUELAB_MODEL set, the lessons run on that model: then results are
    not compared, and what does not hold for it is listed.
    """
    from rich import print as show
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from valuelab.course import build as b

    try:
        base = b.root()
        wanted = [b.read(p) for p in b.sources(base, lessons or ())]
    except b.LessonError as error:
        print(f"course: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    table, failed = Table("lesson", "seconds", ""), False
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                  TimeElapsedColumn()) as bar:  # fmt: skip
        task = bar.add_task("lessons", total=len(wanted))
        for lesson in wanted:
            bar.update(task, description=lesson.slug)
            began = time.time()
            good, note = _run_lesson(lesson, base)
            failed |= not good
            table.add_row(lesson.title, f"{time.time() - began:.0f}", note)
            bar.advance(task)
    show(table)
    if report:
        arguments = ["report", "--values", "tradition,security", "--out", str(out / "report.html")]
        failed |= subprocess.call([sys.executable, "-m", "valuelab", *arguments]) != 0
    if failed:
        raise typer.Exit(1)


def _run_lesson(lesson, base: Path) -> tuple[bool, str]:
    """Whether a solved lesson runs and says what is stored, and a note."""
    from valuelab.course import build as b
    from valuelab.course.run import not_met, printed

    nb = b.notebook(lesson, "solution")
    try:
        b.execute(nb, base / "solutions", lesson.slug, True)
    except b.LessonError as error:
        return False, str(error)
    lines = not_met(nb)
    if os.environ.get("VALUELAB_MODEL"):
        return True, "ran" + (", but for this model: " + " | ".join(lines) if lines else "; every claim holds")
    if lines:
        return False, " | ".join(lines)
    stored = b.on_disk(base / "solutions" / f"{lesson.slug}.ipynb")
    if stored is None:
        return False, "no stored results to compare with; run `make build`"
    same = printed(nb, base) == printed(stored, base)
    return same, "ok" if same else "printed results differ from the stored ones"


@app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="Folder of the runs and tables; a stopped sweep goes on from it.")] = Path(
        "out/sweep"
    ),
    workers: Annotated[int, typer.Option(help="Runs at a time, one thread each.")] = 2,
    slice_: Annotated[int, typer.Option("--slice", help="Only so many steps of each run; 0 for all.")] = 0,
    arms: Annotated[str, typer.Option(help="Only these arms, separated by commas.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each kind; the stored sweep has 3.")] = 3,
    model: Annotated[str, typer.Option(help="Folder or hub id; without it the embedded model.")] = "",
    store: Annotated[bool, typer.Option(help="Also replace the tables that lesson 08 reads.")] = False,
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
) -> None:
    """Train with rewards that can be gamed, in many runs, and write the tables that lesson 08 reads."""
    from valuelab.rlhf import sweep as s

    wanted = [a.strip() for a in arms.split(",") if a.strip()]
    try:
        with s.sigterm_as_interrupt():
            written = s.sweep(out, workers=workers, steps=slice_ or None, arms=wanted, seeds=seeds,
                              model=model or None, store=store, progress=not quiet)  # fmt: skip
    except (s.SweepError, ValueError, OSError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("sweep: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None  # the shell's code for Ctrl-C
    for path in written:
        print(f"written: {path}")


def _mount() -> None:
    """Commands of other rooms, loaded when they are called for: start-up stays fast."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in ("report", "", "--help"):
        from valuelab.evaluate import report as r

        app.command("report")(r.report_command)
    if asked in ("compare", "card", "", "--help"):
        from valuelab.evaluate import compare as c

        app.command("compare")(c.compare_command)
        app.command("card")(c.card_command)
    if asked in ("dilemmas", "", "--help"):
        from valuelab.evaluate import dilemmas as dl

        app.command("dilemmas")(dl.dilemmas_command)
    if asked in ("table", "", "--help"):
        from valuelab.evaluate import table as t

        app.command("table")(t.table_command)
    if asked in ("data", "", "--help"):
        from valuelab.data import cli as d

        app.add_typer(d.app, name="data", help="Public value datasets: list, get, show, stats, check.")


def main() -> None:
    _mount()
    app()
