"""How a published dataset becomes records: tables of files, one reader, one strict pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import taxonomies
from .formats import Source
from .kinds import Wrong
from .record import DataError, Record, SeenIds, check, pack

_SHOWN = 50  # skipped rows listed one by one in lenient mode


@dataclass(slots=True)
class Place:
    """Where the pipeline stands; the row functions read it and make records with it.

    Attributes:
        name, licence: of the dataset (or of the table, where its licence differs).
        file: path below the dataset's folder, with "/" on every system.
        stem: file name without its endings; `parts` are the folders above it.
        line, n: line of the row in the file, and its number from 0.
        side: what `Reader.side` loaded.
    """

    name: str
    licence: str
    file: str = ""
    stem: str = ""
    parts: list[str] = field(default_factory=list)
    line: int = 0
    n: int = 0
    side: Any = None

    def record(self, id: str, meta: Mapping[str, Any] | None = None, **fields: Any) -> Record:
        """A record of this dataset; `id` needs to be unique within it."""
        return Record(
            f"{self.name}/{id}",
            self.name,
            licence=self.licence,
            meta=pack(meta) if meta else "{}",
            **fields,
        )


Build = Callable[[Any, Place], Record | Iterable[Record]]


@dataclass(frozen=True)
class Table:
    """Files of one format.

    Args:
        pattern: glob below the dataset's folder, e.g. "data/*.csv".
        rows: row source from `formats`.
        build: row -> record or records. It may raise `Wrong` with a column.
        id: column that holds the published id, named when an id comes twice.
        licence: where it differs from the dataset's.
        not_for: file names that the pattern catches but that belong to another table.
    """

    pattern: str
    rows: Source
    build: Build
    id: str = ""
    licence: str = ""
    not_for: tuple[str, ...] = ()

    def files(self, root: Path) -> list[Path]:
        return [f for f in sorted(root.glob(self.pattern), key=str) if f.name not in self.not_for]

    def owns(self, path: Path) -> bool:
        return path.match(self.pattern) and path.name not in self.not_for


@dataclass(frozen=True)
class Reader:
    """A dataset.

    Args:
        name: its folder and its name in the registry.
        tables: what is read, in this order.
        licence: as stated at the source.
        unread: published files that are left alone (glob -> why).
        also: globs of files that no table lists but that a row source or `side` opens.
        side: loads lookup tables beside the data, once for a run; given the dataset's folder.
    """

    name: str
    tables: tuple[Table, ...]
    licence: str = "none stated"
    unread: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    side: Callable[[Path], Any] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Globs of every file that reading takes."""
        return tuple(dict.fromkeys([t.pattern for t in self.tables] + list(self.also)))

    def find(self, path: str | Path) -> tuple[Path, list[tuple[Table, Path]]]:
        """The dataset's folder and its (table, file) pairs, for a folder or for one file.

        Raises:
            FileNotFoundError: nothing there, or nothing that this reader knows.
        """
        path = Path(path)
        if path.is_dir():
            found = [(t, f) for t in self.tables for f in t.files(path)]
            if found:
                return path, found
        elif path.is_file():
            for t in self.tables:
                if t.owns(path):
                    return path.parents[t.pattern.count("/")], [(t, path)]
        wanted = ", ".join(t.pattern for t in self.tables)
        state = "holds no file of" if path.exists() else "does not exist, so it holds nothing of"
        raise FileNotFoundError(
            f"{path} {state} {self.name}. Pass the dataset's folder, or one file below it that "
            f"matches {wanted}."
        )

    def read(
        self, path: str | Path, *, lenient: bool = False, skipped: list[DataError] | None = None
    ) -> Iterator[Record]:
        """Records, one at a time.

        Args:
            path: the dataset's folder, or one of its files.
            lenient: pass over rows that are wrong and print how many and which to stderr.
                Faults of a whole file (empty, wrong header, broken JSON) are raised all the same.
            skipped: a list that receives the errors of the rows passed over.

        Raises:
            DataError: names file, line, column and the text found.
            FileNotFoundError: see `find`.
        """
        root, found = self.find(path)
        errors = [] if skipped is None else skipped
        before = len(errors)
        count = 0
        for item in self._all(root, found):
            if type(item) is not DataError:
                count += 1
                yield item
            elif lenient:
                errors.append(item)
            else:
                raise item
        if lenient:
            _tell(self.name, count, errors[before:])

    def _all(self, root: Path, found: list) -> Iterator[Record | DataError]:
        """Every record, or the error in its place."""
        seen = SeenIds()
        side = self.side(root) if self.side else None
        for table, path in found:
            at = Place(self.name, table.licence or self.licence, side=side)
            *at.parts, name = path.parts[len(root.parts) :]
            at.file = "/".join([*at.parts, name])
            at.stem = name.removesuffix(".gz").rpartition(".")[0]
            for line, row in table.rows(path):
                at.line = line
                if type(row) is DataError:
                    yield row
                    continue
                try:
                    made = table.build(row, at)
                    made = (made,) if type(made) is Record else tuple(made)
                except Wrong as e:
                    yield DataError(path, line, e.column, e.found, f"expected {e.expected}")
                    continue
                at.n += 1
                for record in made:
                    yield _fault(record, path, line, table.id, seen) or record


def _fault(record: Record, path: Path, line: int, id: str, seen: SeenIds) -> DataError | None:
    """What is wrong with a record that its row's schema could not know."""
    if wrong := check(record):
        return DataError(path, line, wrong, getattr(record, wrong), "wrong type")
    if record.value and not taxonomies.has(record.taxonomy, record.value):
        problem = f"no value of the taxonomy {record.taxonomy!r}"
        return DataError(path, line, "value", record.value, problem)
    if not seen.add(record.id):
        return DataError(path, line, id, record.id, "this id was read before")
    return None


def _tell(name: str, kept: int, errors: list[DataError]) -> None:
    """Lenient mode's report, on stderr so that it never mixes with data on stdout."""
    print(f"{name}: read {kept:,} records, skipped {len(errors):,} rows", file=sys.stderr)
    for e in errors[:_SHOWN]:
        print(f"  {e.file}, line {e.line}: {e.problem}; found {e.found}", file=sys.stderr)
    if len(errors) > _SHOWN:
        lines = ", ".join(f"{Path(e.file).name}:{e.line}" for e in errors[_SHOWN:])
        print(f"  and {len(errors) - _SHOWN:,} more: {lines}", file=sys.stderr)
