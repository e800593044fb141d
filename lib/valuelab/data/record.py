"""The one record type that every later stage reads, and its table in Arrow."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa


class Annotation(NamedTuple):
    """What one annotator, or one group that answered alike, said about a record.

    Attributes:
        who: annotator id or group ("P321", "Croatia", "global"); "" where unknown.
        label: what was chosen.
        weight: how often (a count) or how much (a share, a score); its unit is the dataset's own.
    """

    who: str
    label: str
    weight: float = 1.0


class Record(NamedTuple):
    """One item of value data. Absent text is "", never None, so that each column has one type.

    Attributes:
        id: unique within its dataset, and starts with the dataset's name.
        source: name of the dataset, as in `valuelab.data.names()`.
        context_id: the situation, topic or story the record shares with others. Split by this.
        value: value, norm or trait concerned, spelled as in `taxonomy`; "" where there is none.
        taxonomy: name of a taxonomy in `valuelab.taxonomies`; "" where there is no value.
        pole: +1 the record stands for the value (or is the right act), -1 against it, 0 neither.
        label: the dataset's own label, as text. Several labels are joined by "|".
        prompt: what the reader or model is shown.
        choices: answers to choose from, in the published order.
        response: what was answered, done or written.
        annotators: who said what; see `Annotation`.
        language: ISO 639-1 code; "" for mixed.
        licence: as stated at the source; "none stated" where there is none.
        meta: everything else, as a JSON object in text. `json.loads(record.meta)`.
    """

    id: str
    source: str
    context_id: str = ""
    value: str = ""
    taxonomy: str = ""
    pole: int = 0
    label: str = ""
    prompt: str = ""
    choices: tuple[str, ...] = ()
    response: str = ""
    annotators: tuple[Annotation, ...] = ()
    language: str = "en"
    licence: str = ""
    meta: str = "{}"


_S = datasets.Value("string")
FEATURES = datasets.Features(
    {
        "id": _S,
        "source": _S,
        "context_id": _S,
        "value": _S,
        "taxonomy": _S,
        "pole": datasets.Value("int8"),
        "label": _S,
        "prompt": _S,
        "choices": datasets.Sequence(_S),
        "response": _S,
        "annotators": [{"who": _S, "label": _S, "weight": datasets.Value("float64")}],
        "language": _S,
        "licence": _S,
        "meta": _S,
    }
)

_TYPES = tuple(
    {"pole": int, "choices": tuple, "annotators": tuple}.get(f, str) for f in Record._fields
)


class DataError(ValueError):
    """A file does not hold what it should: says where, what was found, and how to mend it.

    Attributes:
        file, line, column: place; line counts from 1, column is "" where the whole line is wrong.
        found: the text found, shortened.
        problem: one sentence.
    """

    def __init__(
        self,
        file: str | Path,
        line: int,
        column: str = "",
        found: Any = "",
        problem: str = "",
        mend: str = "Fetch the file again (valuelab data get), or skip such rows (lenient=True).",
    ):
        self.file, self.line, self.column = str(file), line, column
        self.found, self.problem = shorten(found), problem
        where = f"{self.file}, line {line}" + (f", column {column!r}" if column else "")
        super().__init__(f"{where}: {problem}; found {self.found}. {mend}")

    def __reduce__(self):  # exceptions with several arguments do not pickle by themselves
        return (DataError, (self.file, self.line, self.column, self.found, self.problem))


def shorten(found: Any, width: int = 60) -> str:
    """`found` as one short printable line."""
    if found is None:
        return "nothing"
    shown = found if isinstance(found, str) and found.startswith(("'", '"')) else repr(found)
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def pack(meta: dict[str, Any]) -> str:
    """`meta` as JSON text, keys sorted so that equal records are equal text."""
    try:
        return "{" + ", ".join([f"{_quote(k)}: {_json(meta[k])}" for k in sorted(meta)]) + "}"
    except TypeError:  # a key that is no text: the general way
        return _ENCODER.encode(meta)


def _json(v: Any) -> str:
    """`v` as the encoder writes it; for text, whole numbers and lists of either without its cost."""
    if type(v) is str:
        return _quote(v)
    if type(v) is int:
        return repr(v)
    if type(v) is list:
        kinds = set(map(type, v))
        if kinds == {str}:
            return "[" + ", ".join(map(_quote, v)) + "]"
        if kinds == {int}:
            return repr(v)
    return _ENCODER.encode(v)


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True)
_quote = json.encoder.encode_basestring  # written in C


def check(record: Record) -> str:
    """Name of the first field of the wrong type, or "" where all are right."""
    types = tuple(map(type, record))
    if types != _TYPES:
        at = next(i for i, (a, b) in enumerate(zip(types, _TYPES, strict=True)) if a is not b)
        return Record._fields[at]
    if record.pole not in (-1, 0, 1):
        return "pole"
    if record.choices and set(map(type, record.choices)) != {str}:
        return "choices"
    if record.annotators and set(map(type, record.annotators)) != {Annotation}:
        return "annotators"
    return ""


def to_dataset(records: Iterable[Record], batch: int = 5_000) -> datasets.Dataset:
    """Records as a `datasets.Dataset` with `FEATURES`, kept in memory.

    Args:
        records: any iterable; it is consumed `batch` rows at a time.
        batch: rows per Arrow batch.
    """
    schema = FEATURES.arrow_schema
    it, batches = iter(records), []
    while rows := list(islice(it, batch)):
        columns = dict(zip(Record._fields, map(list, zip(*rows, strict=True)), strict=True))
        columns["annotators"] = [[a._asdict() for a in row] for row in columns["annotators"]]
        batches.append(pa.RecordBatch.from_pydict(columns, schema=schema))
    table = pa.Table.from_batches(batches, schema=schema)
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=FEATURES))


def from_row(row: dict[str, Any]) -> Record:
    """The record behind one row of a `datasets.Dataset`: the inverse of `to_dataset`."""
    notes = tuple(Annotation(a["who"], a["label"], a["weight"]) for a in row["annotators"])
    return Record(**{**row, "choices": tuple(row["choices"]), "annotators": notes})


class SeenIds:
    """A set of ids that costs 16 to 32 bytes an id: the file may be long, memory is not.

    Keeps 64-bit hashes in an open-addressing table. Two different ids of a million collide with
    probability 3e-8; then a good row would be called a duplicate, and never the other way round.
    """

    def __init__(self) -> None:
        self._slots, self._used = array("q", [0]) * 1024, 0

    def add(self, id: str) -> bool:
        """Remember `id`; False where it was there before."""
        key = hash(id) or 1  # 0 marks a free slot
        slots = self._slots
        i = _free(slots, key)
        if slots[i]:
            return False
        slots[i] = key
        self._used += 1
        if 2 * self._used > len(slots):
            self._grow()
        return True

    def _grow(self) -> None:
        bigger = array("q", [0]) * (2 * len(self._slots))
        for key in self._slots:
            if key:
                bigger[_free(bigger, key)] = key
        self._slots = bigger


def _free(slots: array, key: int) -> int:
    """The place of `key`, or the free one where it would stand."""
    mask = len(slots) - 1
    i = (key ^ (key >> 32)) & mask
    while (there := slots[i]) and there != key:
        i = (i + 1) & mask
    return i


def batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Lists of up to `size` records, for callers that stream."""
    it = iter(records)
    while rows := list(islice(it, size)):
        yield rows
