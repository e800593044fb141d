"""`python -m valuelab report`: the whole chain on one model, as a page and a JSON beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from valuelab.evaluate.files import ReportError, check_writable, write_whole
from valuelab.values import VALUES, resolve

INTERRUPTED = 130  # the shell's code for Ctrl-C
SCHEMA = 2  # of the JSON; parts of another one are not reused


def report_command(
    values: Annotated[
        str, typer.Option(help="Values to steer, separated by commas.")
    ] = "tradition,security",
    model: Annotated[
        str, typer.Option(help="Folder or hub id; without it VALUELAB_MODEL or the embedded model.")
    ] = "",
    out: Annotated[
        Path, typer.Option(help="Page to write; the numbers go beside it as JSON.")
    ] = Path("out/report.html"),
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    items: Annotated[
        int, typer.Option(help="Held-out items per value; 0 takes the usual number.")
    ] = 0,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16; empty: sensible.")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto; empty: the best.")] = "",
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
) -> None:
    """Run the whole chain on a model and write a report card: one HTML page and one JSON file."""
    code = guarded(
        lambda: report(
            values=split_values(values), model=model or None, out=out, seed=seed,
            items=items or None, dtype=dtype or None, device=device or None, progress=not quiet,
        ),
        "values that were finished are kept beside --out, and the same command goes on from them.",
    )  # fmt: skip
    if code:
        raise typer.Exit(code)


def guarded(work: Any, interrupted: str = "nothing was written.", name: str = "report") -> int:
    """Exit code of `work`; what the user can mend ends as one line on standard error."""
    from valuelab.models import ModelError

    try:
        work()
    except (ReportError, ModelError, ValueError, MemoryError) as error:
        message = str(error) or "out of memory; take fewer items or --dtype bfloat16."
        print(f"{name}: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {interrupted}", file=sys.stderr)
        return INTERRUPTED
    return 0


def split_values(text: str) -> list[str]:
    """Canonical names from "tradition,security", in order and once each."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ReportError(f"--values is empty; name one or more of {', '.join(VALUES)}.")
    return list(dict.fromkeys(resolve(name) for name in names))


def report(
    values: Sequence[str],
    *,
    model: str | None = None,
    out: str | Path = "out/report.html",
    seed: int = 0,
    items: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure, write page and JSON, and return the numbers.

    Both files appear whole, at the end; an interruption leaves what was there before. Each value that is
    finished is kept in a third file beside them, which the same call reuses and the end removes.

    Raises:
        ReportError: the output cannot be written, too few items, or the model answers nothing.
        ModelError: the model cannot be used.
        ValueError: an unknown value.
    """
    from valuelab.evaluate import page

    if items is not None and items < 8:
        raise ReportError(f"--items is {items}; intervals need 8 or more items per value.")
    names = list(dict.fromkeys(resolve(v) for v in values))
    html_path = check_writable(out)
    json_path = check_writable(html_path.with_suffix(".json"))
    if html_path == json_path:
        raise ReportError(f"{html_path} is the name of the JSON; let --out end in .html.")
    parts = html_path.with_suffix(".part.json")
    results = measure(
        names, model=model, seed=seed, items=items, dtype=dtype, device=device, progress=progress, parts=parts
    )
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    made = page.build(json.loads(text))  # the page rests on what the JSON holds, and on that alone
    write_whole(json_path, text)
    write_whole(html_path, made)
    parts.unlink(missing_ok=True)
    if progress:
        print(f"{html_path} and {json_path.name}: {results['seconds']['total']:.0f} s")
    return results


def measure(
    values: Sequence[str],
    *,
    model: str | None = None,
    seed: int = 0,
    items: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    progress: bool = False,
    parts: Path | None = None,
) -> dict[str, Any]:
    """The numbers of the report. Writes nothing but, where `parts` names a file, the values finished so far."""
    from valuelab import models
    from valuelab.evaluate import bench as benches
    from valuelab.evaluate import chain

    start = time.perf_counter()
    lm = load(model, device=device, dtype=dtype)
    loaded = time.perf_counter() - start
    bench = benches.choose_bench(lm, items=items, seed=seed)
    card = {"schema": SCHEMA, "model": lm.fingerprint, "seed": seed, "items": items, "dtype": str(lm.dtype),
            "versions": versions()}  # fmt: skip

    def keep(found: dict[str, Any]) -> None:
        if parts is not None:
            write_whole(parts, json.dumps({"card": card, "values": finite(found)}, allow_nan=False))

    done = finished_values(parts, card)
    todo = [v for v in values if v not in done]
    with bar(chain.steps_for(todo), progress) as tell:
        clock = chain.Clock(tell)
        found = chain.run(lm, bench, list(values), seed=seed, clock=clock, done=done, keep=keep)
    total = time.perf_counter() - start
    return finite({
        "schema": SCHEMA,
        "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "model": {**models.card(lm), "summary": models.describe(lm)},
        "readout": bench.readout,
        "score": bench.score_name,
        "ability": bench.ability_name,
        "bench": bench.describe(),
        "notes": notes(lm) + bench.notes(),
        "values": found,
        "options": {"values": ", ".join(values), "items": items, "dtype": str(lm.dtype),
                    "device": str(lm.device)},
        "seeds": seeds(seed),
        "versions": versions(),
        "machine": machine(),
        "seconds": {"loading": round(loaded, 2), **clock.seconds, "total": round(total, 2)},
    })  # fmt: skip


def load(model: str | None, **options: Any) -> Any:
    """`models.load` without its word on a missing chat template: a base model is read as one. Other warnings pass."""
    from valuelab import models

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* has no chat template", category=UserWarning)
        return models.load(model, **options)


def finished_values(parts: Path | None, card: dict[str, Any]) -> dict[str, Any]:
    """Values that an interrupted run of the same model, seed, items and versions finished; else none."""
    try:
        found = json.loads(parts.read_text(encoding="utf-8")) if parts is not None else {}
        return found["values"] if found.get("card") == card else {}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def finite(thing: Any) -> Any:
    """The same structure with text keys, and None for numbers that JSON has no word for."""
    if isinstance(thing, dict):
        return {str(k): finite(v) for k, v in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [finite(v) for v in thing]
    if isinstance(thing, float):
        return float(thing) if math.isfinite(thing) else None
    return thing


def notes(lm: Any) -> list[str]:
    """What a reader must know before the figures."""
    told = []
    if not lm.embedded and not lm.has_chat_template:
        told.append(
            f"{lm.name} has no chat template: it is read as a base model, and its free text "
            "continues beginnings of sentences instead of answering."
        )
    return told


def seeds(seed: int) -> dict[str, int]:
    return {
        "pairs, folds and sampling": seed,
        "facts": seed + 1,
        "items for choosing": seed + 2,
        "items for reporting": seed + 3,
        "random directions": seed + 4,
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that the figures depend on."""
    named = {"python": platform.python_version()}
    for package in ("valuelab", "torch", "transformers", "numpy", "scipy", "scikit-learn"):
        try:
            named[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            named[package] = "from the source folder"
    return named


def machine() -> dict[str, Any]:
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


@contextmanager
def bar(steps: int, wanted: bool) -> Iterator[Any]:
    """A progress bar on standard error; yields the function that announces a stage.

    Where standard error is no terminal (a log file), one line a stage stands for the bar.
    """
    if not wanted:
        yield lambda stage: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: print(stage, file=sys.stderr, flush=True)
        return
    columns = (TextColumn("{task.description:<46}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task("starting", total=steps)
        begun = []

        def tell(stage: str) -> None:
            if begun:
                shown.advance(task)
            begun.append(stage)
            shown.update(task, description=stage[:46])

        yield tell
        shown.update(task, completed=steps, description="done")


if __name__ == "__main__":
    typer.run(report_command)
