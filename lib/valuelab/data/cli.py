"""`valuelab data`: list, get, show, stats and check the public datasets."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from . import own, read
from .readers import NAMES
from .record import DataError, Record
from .sources import SourceError, cache_folder, fetch, folder, local_folder, source, verify, wanted

app = typer.Typer(
    help="Public value datasets: list, download, read and check.", no_args_is_help=True
)

_Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with one folder per dataset, instead of downloading (VALUELAB_DATA)."
    ),
]
_Lenient = Annotated[bool, typer.Option(help="Pass over wrong rows; print how many and which.")]
_Name = Annotated[str, typer.Argument(help="A dataset; see `valuelab data list`.")]


def _stop(message: object) -> typer.Exit:
    print(message, file=sys.stderr)
    return typer.Exit(1)


def _records(name: str, data: Path | None, lenient: bool) -> Iterator[Record]:
    """Records of a dataset; any fault ends the program with its message and exit code 1."""
    try:
        yield from read(name, folder(name, data=data), lenient=lenient)
    except (DataError, SourceError, ValueError, FileNotFoundError) as e:
        raise _stop(e) from None


def _state(name: str, data: Path | None) -> str:
    local = local_folder(name, data)
    if local is not None:
        return "local copy" if local.is_dir() else "not in the data folder"
    if not source(name).files:
        return "own copy only"
    return "downloaded" if (cache_folder() / name).is_dir() else "to get"


@app.command("list")
def list_(data: _Data = None) -> None:
    """Every dataset that has a reader, the course's own among them, and those that are wanted."""
    try:
        _list(data)
    except (SourceError, OSError) as e:
        raise _stop(e) from None


def _list(data: Path | None) -> None:
    console = Console(soft_wrap=True)
    table = Table(Column("name", no_wrap=True), "title", "use", "records", "MB", "licence", "here")
    for name in NAMES:
        entry = source(name)
        count = f"{entry.records:,}" if entry.records else "?"
        size = f"{entry.size / 1e6:.1f}"
        table.add_row(name, entry.title, entry.use, count, size, entry.licence, _state(name, data))
    console.print(table)
    table = Table(Column("the course's own", no_wrap=True), "title", "licence")
    for name, reader in own.READERS.items():
        card = (own.home(name) / "CARD.md").read_text(encoding="utf-8")
        table.add_row(name, card.splitlines()[0].lstrip("# "), reader.licence)
    console.print(table)
    table = Table(Column("wanted", no_wrap=True), "title", "why it is not here")
    for name, entry in wanted().items():
        table.add_row(name, entry["title"], entry["reason"])
    console.print(table)


@app.command()
def get(names_: Annotated[list[str], typer.Argument(metavar="NAME...", help="Datasets.")]) -> None:
    """Download datasets, with progress; an interrupted download goes on where it stopped."""
    for name in names_:
        if name in own.READERS and own.home(name).is_dir():
            raise _stop(f"{name} comes with the course: {own.home(name)}. Nothing to download.")
        if name in own.READERS:
            raise _stop(f"{name} comes with the course, but {own.home(name)} is missing. Install the package again.")
        try:
            entry = source(name)
            print(f"{entry.title}. {entry.citation}. Licence: {entry.licence}. {entry.note}")
            print(fetch(name))
        except (SourceError, ValueError) as e:
            raise _stop(e) from None


@app.command()
def show(
    name: _Name,
    n: Annotated[int, typer.Option("-n", min=1, help="How many records.")] = 3,
    skip: Annotated[int, typer.Option(min=0, help="How many records to pass over first.")] = 0,
    data: _Data = None,
    lenient: _Lenient = False,
) -> None:
    """The first records of a dataset as JSON. Some datasets hold offensive text."""
    for record in islice(_records(name, data, lenient), skip, skip + n):
        shown = record._asdict() | {"meta": json.loads(record.meta)}
        shown["annotators"] = [a._asdict() for a in record.annotators]
        print(json.dumps(shown, ensure_ascii=False, indent=1))


@app.command()
def stats(name: _Name, data: _Data = None, lenient: _Lenient = False) -> None:
    """Counts: records, contexts, languages, poles, parts, annotations, and the commonest values."""
    counts: dict[str, Counter] = {k: Counter() for k in ("language", "pole", "part", "value")}
    contexts: set[int] = set()
    total = notes = letters = 0
    for r in _records(name, data, lenient):
        total += 1
        notes += len(r.annotators)
        letters += len(r.prompt)
        contexts.add(hash(r.context_id))  # hashes, so that long contexts do not fill memory
        counts["language"][r.language] += 1
        counts["pole"][f"{r.pole:+d}"] += 1
        counts["part"][json.loads(r.meta).get("part", "all")] += 1
        counts["value"][r.value or "(none)"] += 1
    if not total:
        raise _stop(f"{name}: no record could be read.")
    table = Table("", name)
    table.add_row("records", f"{total:,}")
    table.add_row("contexts", f"{len(contexts):,}")
    table.add_row("annotations", f"{notes:,}")
    table.add_row("characters a prompt", f"{letters / total:.0f}")
    for key, counter in counts.items():
        shown = ", ".join(f"{k} {v:,}" for k, v in counter.most_common(12))
        rest = f", ... {len(counter) - 12} more" if len(counter) > 12 else ""
        table.add_row(key, shown + rest)
    Console(soft_wrap=True).print(table)


@app.command()
def check(
    names_: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Datasets; all that are here.")
    ] = None,
    data: _Data = None,
    lenient: _Lenient = False,
) -> None:
    """Verify checksums, read every row strictly, and compare the number of records."""
    chosen = names_ or [n for n in NAMES if _state(n, data) in ("local copy", "downloaded")]
    if not chosen:
        raise _stop("No dataset is here. Get one with valuelab data get NAME, or name --data.")
    failed = [name for name in chosen if not _checked(name, data, lenient)]
    if failed:
        raise _stop(f"{len(failed)} of {len(chosen)} failed: {', '.join(failed)}")


def _checked(name: str, data: Path | None, lenient: bool) -> bool:
    """Check one dataset and print one line, or one line a fault."""
    mine = name in own.READERS  # they come with the course, so no checksum is registered
    try:
        files, records = (0, 0) if mine else (len(source(name).files), source(name).records)
        faults = [] if mine else verify(name, data=data)
        if not faults:
            here = own.home(name) if mine else local_folder(name, data)
            found = sum(1 for _ in read(name, here or cache_folder() / name, lenient=lenient))
            if records and found != records:
                faults = [f"{found:,} records instead of {records:,}"]
    except (DataError, SourceError, ValueError, FileNotFoundError) as e:
        faults = [str(e)]
    if faults:
        print(f"✗ {name}", *faults[:10], sep="\n    ")
        if len(faults) > 10:
            print(f"    and {len(faults) - 10} more")
        return False
    print(f"✓ {name}: {files} files verified, {found:,} records read")
    return True
