"""The sweep of `experiment` as a command: several runs at a time, resumable, and stopped without traces.

    python -m valuelab sweep --out FOLDER

Workers take one run after another, a thread each. They never die in the middle of a file: Ctrl-C and
SIGTERM go to the parent, which asks them to stop, and they do so between two training steps. They
also stop when the parent is gone. The same command goes on where each run was last saved.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from valuelab import __version__, models
from valuelab.models import LM
from valuelab.rlhf import experiment as X
from valuelab.rlhf.experiment import Cell
from valuelab.steering.vectors import write_whole

PATIENCE = 120  # seconds a worker gets to end its step and its file before it is killed


class Stopped(Exception):
    """Raised in a worker between two steps, when it has been asked to stop."""


class SweepError(RuntimeError):
    """What keeps a sweep from starting or ending, and how to mend it."""


def commit() -> str | None:
    """The commit this code stands on, with + where it was changed since; None outside a repository."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "..") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


# ------------------------------------------------------------------------------ one run


def card(lm: LM, cell: Cell) -> dict:
    """What a finished run must agree in with the run that is asked for."""
    return json.loads(json.dumps({"model": lm.fingerprint, "method": cell.method, "config": asdict(cell.config)}))


def finished(lm: LM, cell: Cell, out: Path, steps: int) -> dict | None:
    """The record of a run that has been made, at least so far; None if it has not.

    Raises:
        SweepError: the folder holds this run with another model or other settings.
    """
    path = out / cell.name / "done.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    differ = [k for k, v in card(lm, cell).items() if record["card"][k] != v]
    if differ:
        raise SweepError(
            f"{path} was made with another {' and '.join(differ)}. Choose another --out, or delete {out} "
            "to begin again."
        )
    return record if record["steps"] >= steps else None


def make(lm: LM, cell: Cell, out: Path, steps: int, on_step=lambda: None) -> None:
    """One run from where it was saved to its end, and its record."""
    folder, start = out / cell.name, time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    rows, training = X.run_cell(lm, cell, folder=folder, steps=steps, on_step=on_step)
    record = {"card": card(lm, cell), "steps": steps, "rows": rows, "training": training,
              "commit": commit(), "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip
    write_whole(folder / "done.json", json.dumps(record).encode())
    if steps == cell.config.steps:
        for left in folder.glob("checkpoint-*"):
            shutil.rmtree(left)


def _worker(model: str | None, tasks: list[tuple[Cell, int]], out: Path, nxt, done, stop) -> None:
    """Takes the next run nobody has taken until there is none, or it is to stop."""
    for sent in (signal.SIGINT, signal.SIGTERM):  # a terminal sends Ctrl-C to all: the parent decides
        signal.signal(sent, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def on_step() -> None:
        with done.get_lock():
            done.value += 1
        if stop.is_set() or not parent.is_alive():
            raise Stopped

    lm = models.load(model)
    try:
        while not stop.is_set():
            with nxt.get_lock():
                k, nxt.value = nxt.value, nxt.value + 1
            if k >= len(tasks):
                return
            make(lm, tasks[k][0], out, tasks[k][1], on_step)
    except Stopped:
        pass


# ------------------------------------------------------------------------------ all of them


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_all(model: str | None, tasks: list[tuple[Cell, int]], out: Path, workers: int, bar: Progress) -> None:
    """Make the runs, `workers` at a time; ends with no worker left, whatever happens.

    Raises:
        SweepError: a worker failed; what it said stands above.
        KeyboardInterrupt: Ctrl-C, or SIGTERM under the command.
    """
    context = multiprocessing.get_context("spawn")
    nxt, done, stop = context.Value("i", 0), context.Value("i", 0), context.Event()
    started = [
        context.Process(target=_worker, args=(model, tasks, out, nxt, done, stop))
        for _ in range(min(workers, len(tasks)))
    ]
    line = bar.add_task("training steps", total=sum(steps for _, steps in tasks))
    try:
        for w in started:
            w.start()
        left = started
        while left:
            wait([w.sentinel for w in left], timeout=0.5)
            bar.update(line, completed=done.value)
            if any(w.exitcode for w in left):
                raise SweepError("a worker ended with an error, see above. What was made is kept; run it again.")
            left = [w for w in left if w.exitcode is None]
    finally:
        stop.set()
        alive = [w for w in started if w.is_alive()]
        if alive:
            bar.console.print("stopping after the step in hand")
        end = time.monotonic() + PATIENCE
        try:
            for w in alive:
                w.join(max(0.0, end - time.monotonic()))
        finally:
            for w in alive:
                w.kill()


def tables(lm: LM, cells: Sequence[Cell], out: Path, steps: int | None) -> tuple[list[dict], list[dict], dict]:
    """Rows of the evaluations and of the training steps, and what made them."""
    lengths = [min(steps or c.config.steps, c.config.steps) for c in cells]
    found = [finished(lm, c, out, n) for c, n in zip(cells, lengths, strict=True)]
    rows, training = ([r for f, n in zip(found, lengths, strict=True) for r in f[key] if r["step"] <= n - late]
                      for key, late in (("rows", 0), ("training", 1)))  # fmt: skip
    rows += X.best_of_n_rows(lm)
    solved = X.palette(X.base_proxies(lm, X.situations("train", 64, 7)))
    record = {
        "model": lm.name if lm.embedded else "not the embedded model", "fingerprint": lm.fingerprint,
        "commits": sorted({f["commit"] or "no repository" for f in found}), "valuelab": __version__,
        "torch": torch.__version__, "python": platform.python_version(), "date": time.strftime("%Y-%m-%d"),
        "seeds": sorted({c.config.seed for c in cells}), "values": X.VALUES,
        "map": {"weights": solved.weights.tolist(), "status": solved.status, "kl": solved.kl},
        "seconds_of_runs": round(sum(f["seconds"] for f in found)),
        "arms": {c.name: {"method": c.method, "config": asdict(c.config)} for c in cells if c.config.seed == 0},
    }  # fmt: skip
    return rows, training, record


def sweep(
    out: Path, *, workers: int = 2, steps: int | None = None, arms: Sequence[str] = (), seeds: int = X.SEEDS,
    model: str | None = None, store: bool = False, progress: bool = True,
) -> list[Path]:  # fmt: skip
    """Make or finish the sweep, and write its tables into the folder.

    Args:
        out: folder of the runs and tables.
        workers: runs at a time, one thread each.
        steps: only so many steps of each run: a slice.
        arms: only these.
        seeds: runs of each kind.
        model: folder or hub id; the embedded model without it.
        store: also replace the tables that lessons read.
        progress: show a bar.

    Returns:
        The files written: evaluations, training steps (CSV), and what made them (JSON).

    Raises:
        SweepError: unknown arm, a folder of another sweep, a partial sweep to be stored, a failed worker.
        KeyboardInterrupt: it was stopped; nothing is half written, and the same call goes on.
    """
    cells = X.sweep(seeds)
    known = sorted({c.arm for c in cells})
    if unknown := sorted(set(arms) - set(known)):
        raise SweepError(f"no arm {', '.join(unknown)}; there are {', '.join(known)}.")
    if store and (steps or arms or model or seeds < 3):
        raise SweepError("--store keeps whole sweeps of the embedded model, three seeds or more; leave --slice, --arms "
                         "and --model out.")  # fmt: skip
    if workers < 1 or seeds < 1 or (steps is not None and steps < 1):
        raise SweepError(f"workers={workers}, seeds={seeds} and steps={steps} must be 1 or more.")
    cells = [c for c in cells if not arms or c.arm in arms]
    out.mkdir(parents=True, exist_ok=True)
    lm = models.load(model)
    wanted = [(c, min(steps or c.config.steps, c.config.steps)) for c in cells]
    todo = [(c, n) for c, n in wanted if finished(lm, c, out, n) is None]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    if todo:
        with Progress(*columns, disable=not progress) as bar:
            bar.console.print(f"{len(todo)} of {len(cells)} runs to make, in {out}")
            run_all(model, todo, out, workers, bar)
    rows, training, record = tables(lm, cells, out, steps)
    written = []
    for folder in [out, *([X.STORED.parent] if store else [])]:
        evaluations, by_step = folder / X.STORED.name, folder / X.STEPS.name
        X.write_table(evaluations, rows)
        X.write_table(by_step, training)
        write_whole(evaluations.with_suffix(".json"), f"{json.dumps(record, indent=1)}\n".encode())
        written += [evaluations, by_step, evaluations.with_suffix(".json")]
    return written
