"""The command line: `python -m valuelab …`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import typer

app = typer.Typer(help="Value alignment of language models: the course's tools.", no_args_is_help=True,
                  pretty_exceptions_enable=False, add_completion=False)  # fmt: skip
FLOORS = {"torch": "2.11", "transformers": "4.57", "numpy": "2.0", "jupyterlab": "4.4", "ipywidgets": "8.1"}


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(p) for p in name.split("+")[0].split(".")[:2] if p.isdigit())


def diagnosis() -> list[tuple[bool, str]]:
    """One (ok, line) a point: Python, packages, the embedded model, memory, disk, GPU, Triton."""
    from importlib.metadata import PackageNotFoundError, version

    out = []
    v = sys.version_info[:2]
    out.append(((3, 11) <= v <= (3, 13), f"Python {v[0]}.{v[1]}" + ("" if (3, 11) <= v <= (3, 13) else ": 3.11 to 3.13 is needed; make PYTHON=python3.12 lab")))
    for name, floor in FLOORS.items():
        try:
            got = version(name)
            good = _version(got) >= _version(floor)
            out.append((good, f"{name} {got}" + ("" if good else f": {floor} or newer is needed; run `make setup`")))
        except PackageNotFoundError:
            out.append((False, f"{name} is missing; run `make setup`"))
    from valuelab.models import EMBEDDED

    there = (EMBEDDED / "model.safetensors").is_file()
    out.append((there, "embedded model" if there else "the embedded model is missing; run `make model`"))
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    out.append((free > 1, f"disk: {free:.0f} GB free" + ("" if free > 1 else "; 1 GB is needed to work in")))
    try:
        import torch

        gpu = torch.cuda.is_available()
        out.append((True, f"GPU: {torch.cuda.get_device_name()}" if gpu else "GPU: none, and none is needed"))
    except ImportError:
        pass
    has_triton = importlib.util.find_spec("triton") is not None
    need = sys.platform == "linux"
    out.append((has_triton or not need, "Triton" if has_triton else "Triton: not on this system; lesson 05 runs on its torch twins" if not need else "Triton is missing; run `make setup`"))
    return out


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
    from valuelab.course.build import root

    base = root()
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
def course(report: bool = True, out: Path = Path("out")) -> None:
    """Run every solved lesson without a browser, compare its printed results, and write the report card."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from valuelab.course import build as b

    base = b.root()
    lessons = [b.read(p) for p in b.sources(base)]
    rows, failed = [], False
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("lessons", total=len(lessons))
        for lesson in lessons:
            bar.update(task, description=lesson.slug)
            nb, began = b.notebook(lesson, "solution"), time.time()
            try:
                b.execute(nb, base / "solutions", lesson.slug)
                stored = b._stored(base / "solutions" / f"{lesson.slug}.ipynb")
                same = stored is not None and b.printed(nb) == b.printed(stored)
                note = "ok" if same else "printed results differ from the stored ones"
                failed |= not same
            except b.LessonError as error:
                failed, note = True, str(error).splitlines()[-1]
            rows.append((lesson.title, f"{time.time() - began:.0f} s", note))
            bar.advance(task)
    table = Table("lesson", "time", "")
    for row in rows:
        table.add_row(*row)
    from rich import print as show

    show(table)
    if report:
        arguments = ["report", "--values", "tradition,security", "--out", str(out / "report.html")]
        failed |= subprocess.call([sys.executable, "-m", "valuelab", *arguments]) != 0
    if failed:
        raise typer.Exit(1)


def _mount() -> None:
    """Commands of other rooms, loaded when they are called for: start-up stays fast."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in ("report", "compare", "", "--help"):
        from valuelab.evaluate import report as r

        app.command("report")(r.report_command)
    if asked in ("data", "", "--help"):
        from valuelab.data import cli as d

        app.add_typer(d.app, name="data", help="Public value datasets: list, get, show, stats, check.")


def main() -> None:
    _mount()
    app()
