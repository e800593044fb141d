"""Row sources: CSV, JSON lines, JSON, Excel and plain text, read strictly and a row at a time.

Each function here takes a schema (see `kinds`) and returns a source: a function that, given a path,
yields `(line, row)`. A row that is wrong is yielded as a `DataError` in the row's place, so that
the caller decides whether to stop or to skip; a fault of the whole file (empty, wrong header,
broken JSON) is raised. No file is held in memory, except where a docstring says so.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from json.decoder import scanstring
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .kinds import Kind, Schema, Wrong, quick, record_of
from .record import DataError, SeenIds, shorten

Rows = Iterator[tuple[int, Any]]
Source = Callable[[Path], Rows]

_CHUNK = 1 << 18  # bytes read from a JSON file at a time
_LONGEST = 1 << 26  # one JSON value above 64 MB is taken for a missing bracket


def _open(path: Path):
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _sniff(path: Path, head: bytes) -> None:
    """Refuse what is often saved under a data file's name: see the messages."""
    if not head:
        raise DataError(path, 1, "", "", "the file is empty")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(path, 1, "", head[:40].decode(), "this is a Git LFS pointer, not the file")
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise DataError(
            path, 1, "", head[:40].decode("latin-1"), "this is a web page, not the file"
        )
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(path, 1, "", head[:8].hex(" "), "the file is UTF-16, expected UTF-8")


class Lines:
    """The lines of a file, decoded strictly; a bad line is yielded escaped and leaves a `fault`."""

    def __init__(self, path: Path, ends: bool = True):
        self.path, self.ends = path, ends
        self.line, self.last, self.fault = 0, "", None

    def __iter__(self) -> Iterator[str]:
        try:
            with _open(self.path) as f:
                while block := f.readlines(_CHUNK):
                    if not self.line:
                        _sniff(self.path, block[0])
                        block[0] = block[0].removeprefix(codecs.BOM_UTF8)
                    for text in self._clean(block) or map(self._decode, block):
                        self.line, self.last = self.line + 1, text
                        yield text
        except (EOFError, gzip.BadGzipFile, zlib.error) as e:
            raise DataError(self.path, self.line + 1, "", "", f"broken gzip file ({e})") from None
        if not self.line:
            _sniff(self.path, b"")

    def _clean(self, block: list[bytes]) -> Iterator[str] | None:
        """All lines of a block without a fault, decoded at once: four times as fast as singly."""
        whole = b"".join(block)
        if (self.ends and not whole.endswith(b"\n")) or 0 in whole:
            return None
        try:
            return io.StringIO(whole.decode(), newline="\n")
        except UnicodeDecodeError:
            return None

    def _decode(self, raw: bytes) -> str:
        line = self.line + 1
        try:
            text = raw.decode()
        except UnicodeDecodeError as e:
            found = f"byte 0x{raw[e.start]:02x} at byte {e.start + 1} of the line"
            self.fault = DataError(self.path, line, "", found, "bad UTF-8")
            text = raw.decode("utf-8", "backslashreplace")
        if 0 in raw:
            self.fault = DataError(self.path, line, "", text, "NUL byte in the line")
        elif self.ends and not text.endswith("\n") and self.fault is None:
            problem = "the file ends in the middle of a line (no newline): it looks cut off"
            self.fault = DataError(self.path, line, "", text[-40:], problem)
        return text

    def take_fault(self) -> DataError | None:
        fault, self.fault = self.fault, None
        return fault


# --------------------------------------------------------------------------------------------- CSV


def csv_rows(
    schema: Schema,
    *,
    delimiter: str = ",",
    header: bool = True,
    quoted: bool = True,
    ends: bool = True,
) -> Source:
    """CSV or TSV with exactly the columns of `schema`.

    Args:
        schema: column name -> kind, in any order if there is a header, in file order if not.
        header: whether the first line names the columns.
        quoted: whether a double quote has a meaning; False for TSV that was written without.
        ends: whether the published files end with a newline, so that its absence means "cut off".
    """

    def rows(path: Path) -> Rows:
        lines = Lines(path, ends)
        quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.reader(lines, delimiter=delimiter, strict=True, quoting=quoting)
        columns = _header(path, reader, lines, schema) if header else list(schema)
        kinds = [schema[c] for c in columns]
        quickly = list(map(quick, kinds))
        count = 0
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as e:
                count += 1
                fault = lines.take_fault()
                yield (
                    start,
                    fault or DataError(path, start, "", lines.last, f"broken quoting ({e})"),
                )
                continue
            count += 1
            if lines.fault is not None:
                yield start, lines.take_fault()
                continue
            if len(cells) == len(columns) > 1:
                try:
                    checked = [k(c) for k, c in zip(quickly, cells, strict=True)]
                    yield start, dict(zip(columns, checked, strict=True))
                    continue
                except (Wrong, KeyError):
                    pass  # once more, slowly, to say which cell is wrong
            yield start, _cells(path, start, columns, kinds, cells, lines.last)
        if not count:
            raise DataError(path, max(1, lines.line), "", lines.last, "no rows below the header")

    return rows


def _header(path: Path, reader: Any, lines: Lines, schema: Schema) -> list[str]:
    try:
        found = next(reader)
    except StopIteration:
        raise DataError(path, 1, "", "", "the file is empty") from None
    except csv.Error as e:
        raise lines.take_fault() or DataError(
            path, 1, "", lines.last, f"broken quoting ({e})"
        ) from None
    if lines.fault is not None:
        raise lines.take_fault()
    missing = [c for c in schema if c not in found]
    unknown = [c for c in found if c not in schema]
    if missing:
        instead = f"; {unknown[0]!r} is not known" if unknown else ""
        raise DataError(path, 1, missing[0], lines.last, f"this column is missing{instead}")
    if unknown:
        raise DataError(path, 1, unknown[0], lines.last, "this column is not known")
    if len(set(found)) < len(found):
        twice = next(c for c in found if found.count(c) > 1)
        raise DataError(path, 1, twice, lines.last, "this column is there twice")
    return found


def _cells(path: Path, line: int, columns: list, kinds: list, cells: list, raw: str) -> Any:
    """The row as a dictionary, or the error it deserves."""
    if len(cells) != len(columns):
        problem = f"{len(cells)} cells instead of {len(columns)}"
        if len(cells) == 1 and raw.startswith('"'):
            problem += " (the line looks quoted twice)"
        return DataError(path, line, "", raw, problem)
    if len(cells) == 1 and _QUOTED_TWICE.fullmatch(cells[0]):
        return DataError(path, line, columns[0], cells[0], "the line is quoted twice")
    row = {}
    for name, kind, cell in zip(columns, kinds, cells, strict=True):
        try:
            row[name] = kind(cell)
        except Wrong as e:
            return DataError(path, line, name + e.column, e.found, f"expected {e.expected}")
    return row


_QUOTED_TWICE = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


# -------------------------------------------------------------------------------------------- JSON


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    """Objects with a key twice are refused: `json` would keep the last and drop the rest."""
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [k for k, _ in pairs]
        twice = next(k for k in keys if keys.count(k) > 1)
        raise Wrong("each key once", twice, twice)
    return out


def _constant(name: str) -> Any:
    raise Wrong("a finite number", name)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)


def _as_error(path: Path, line: int, e: Wrong) -> DataError:
    return DataError(path, line, e.column.lstrip("."), e.found, f"expected {e.expected}")


def jsonl_rows(schema: Schema | Kind, *, ends: bool = True) -> Source:
    """One JSON value a line: `schema` is a dictionary of keys, or a kind for anything else.

    Files whose name ends in .gz are unpacked on the way.
    """
    kind = schema if callable(schema) else record_of(schema)

    def rows(path: Path) -> Rows:
        lines = Lines(path, ends)
        for raw in lines:
            n = lines.line
            if lines.fault is not None:
                yield n, lines.take_fault()
                continue
            try:
                yield n, kind(_DECODER.decode(raw))
            except json.JSONDecodeError as e:
                near = raw[max(0, e.pos - 20) : e.pos + 20]
                yield (
                    n,
                    DataError(path, n, "", near, f"broken JSON ({e.msg}, character {e.pos + 1})"),
                )
            except Wrong as e:
                yield n, _as_error(path, n, e)

    return rows


class _Stream:
    """A JSON file read piece by piece: a window of text, its position and its line number."""

    def __init__(self, path: Path):
        self.path, self.buffer, self.at, self.line, self.done = path, "", 0, 1, False
        self._file = _open(path)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes_line, self._first = 1, True

    def close(self) -> None:
        self._file.close()

    def fill(self) -> bool:
        """Read more text; False at the end of the file. The window doubles while a value grows."""
        if self.done:
            return False
        if len(self.buffer) - self.at > _LONGEST:
            self.fail("this value never ends: a bracket or quote is missing")
        raw = self._file.read(max(_CHUNK, len(self.buffer) - self.at))
        if self._first:
            _sniff(self.path, raw)
            raw, self._first = raw.removeprefix(codecs.BOM_UTF8), False
        self.done = not raw
        try:
            text = self._decoder.decode(raw, final=self.done)
        except UnicodeDecodeError as e:
            line = self._bytes_line + e.object[: e.start].count(b"\n")
            found = f"byte 0x{e.object[e.start]:02x}" if e.start < len(e.object) else "end of file"
            raise DataError(self.path, line, "", found, "bad UTF-8") from None
        if "\0" in text:
            line = self._bytes_line + text[: text.index("\0")].count("\n")
            raise DataError(self.path, line, "", "\\x00", "NUL byte in the file")
        self._bytes_line += raw.count(b"\n")
        if text:  # at the end nothing moves, so that positions found before stay right
            self.buffer, self.at = self.buffer[self.at :] + text, 0
        return not self.done

    def fail(self, problem: str, at: int | None = None, found: str | None = None) -> None:
        at = self.at if at is None else at
        line = self.line + self.buffer.count("\n", self.at, at)
        near = self.buffer[max(0, at - 15) : at + 25] if found is None else found
        raise DataError(self.path, line, "", near or "the end of the file", problem)

    def peek(self) -> str:
        """The next character that is not a space, or "" at the end of the file."""
        if self.at < len(self.buffer) and self.buffer[self.at] > " ":
            return self.buffer[self.at]
        while True:
            end = _SPACE.match(self.buffer, self.at).end()
            self.line += self.buffer.count("\n", self.at, end)
            self.at = end
            if end < len(self.buffer):
                return self.buffer[end]
            if not self.fill():
                return ""

    def take(self, expected: str) -> None:
        if not self.skip(expected):
            found = self.peek() or "the end of the file"
            self.fail(f"broken JSON (expected {expected!r})", found=found)

    def skip(self, character: str) -> bool:
        """Step over `character` if it comes next; False where something else does."""
        if self.buffer[self.at : self.at + 1] != character and self.peek() != character:
            return False
        self.at += 1
        return True

    def key(self) -> str:
        """The next key of an object, and the colon after it."""
        if (found := self.peek()) != '"':
            self.fail("broken JSON (expected a key in quotes)", found=found or "end of file")
        while True:
            try:
                key, end = scanstring(self.buffer, self.at + 1)
                break
            except json.JSONDecodeError as e:
                if not self.fill():
                    self.fail(f"broken JSON ({e.msg})", e.pos)
        self.at = end
        self.take(":")
        return key

    def value(self) -> tuple[int, Any]:
        """The next JSON value and the line it starts in."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer, self.at)
                if end < len(self.buffer) or not self.fill():
                    break
            except json.JSONDecodeError as e:
                if not self.fill():
                    self.fail(f"broken JSON ({e.msg})", e.pos)
            except Wrong as e:
                raise _as_error(self.path, self.line, e) from None
        start, self.line = self.line, self.line + self.buffer.count("\n", self.at, end)
        self.at = end
        return start, value


_SPACE = re.compile(r"[ \t\r\n]*")


def _items(path: Path, opening: str) -> Iterator[tuple[int, str, Any]]:
    """(line, key, value) of a top-level object, or (line, "", value) of a top-level list."""
    stream = _Stream(path)
    closing = {"[": "]", "{": "}"}[opening]
    keys = SeenIds()  # not a set: a file may have a million keys
    try:
        stream.take(opening)
        more = stream.peek() != closing
        while more:
            key = ""
            if opening == "{":
                key = stream.key()
                if not keys.add(key):
                    raise DataError(path, stream.line, key, key, "expected a new key")
            line, value = stream.value()
            yield line, key, value
            more = stream.skip(",")
        stream.take(closing)
        if found := stream.peek():
            stream.fail("text after the end of the JSON value", found=found)
    finally:
        stream.close()


def json_list(schema: Schema | Kind) -> Source:
    """A JSON file that is one list; each member is a row. Streams."""
    kind = schema if callable(schema) else record_of(schema)

    def rows(path: Path) -> Rows:
        count = 0
        for line, _, value in _items(path, "["):
            count += 1
            try:
                yield line, kind(value)
            except Wrong as e:
                yield line, _as_error(path, line, e)
        if not count:
            raise DataError(path, 1, "", "[]", "no rows in the list")

    return rows


def json_object(schema: Schema | Kind, key: Kind | None = None) -> Source:
    """A JSON file that is one object; each key is a row `{"key": ..., "value": ...}`. Streams."""
    kind = schema if callable(schema) else record_of(schema)

    def rows(path: Path) -> Rows:
        count = 0
        for line, name, value in _items(path, "{"):
            count += 1
            try:
                checked = key(name) if key else name
            except Wrong as e:
                yield line, DataError(path, line, name, name, f"expected {e.expected}")
                continue
            try:
                yield line, {"key": checked, "value": kind(value)}
            except Wrong as e:
                e.column = f"{name}{e.column}"
                yield line, _as_error(path, line, e)
        if not count:
            raise DataError(path, 1, "", "{}", "no rows in the object")

    return rows


def _one_value(path: Path) -> tuple[int, Any]:
    stream = _Stream(path)
    try:
        line, value = stream.value()
        if found := stream.peek():
            stream.fail("text after the end of the JSON value", found=found)
    finally:
        stream.close()
    return line, value


def json_whole(schema: Schema | Kind) -> Source:
    """A small JSON file that is one row. Held in memory while it is read."""
    kind = schema if callable(schema) else record_of(schema)

    def rows(path: Path) -> Rows:
        try:
            line, value = 1, _DECODER.decode(path.read_bytes().decode())
        except (ValueError, Wrong):
            line, value = _one_value(path)  # once more, slowly, to say where it is wrong
        try:
            yield line, kind(value)
        except Wrong as e:
            yield line, _as_error(path, line, e)

    return rows


# ------------------------------------------------------------------------------------------- Excel

_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_T, _V = _NS + "t", _NS + "v"


def xlsx_rows(sheet: str, schema: Schema) -> Source:
    """One sheet of an Excel file; the first row names the columns, numbers arrive as text.

    A column name that occurs again gets ".2" appended. Empty rows are passed over, since Excel
    files carry them as formatting. The sheet's strings are held in memory, its rows are not.
    """

    def rows(path: Path) -> Rows:
        try:
            with zipfile.ZipFile(path) as z:
                yield from _sheet(path, z, sheet, schema)
        except (zipfile.BadZipFile, ElementTree.ParseError, zlib.error, KeyError, EOFError) as e:
            head = path.read_bytes()[:40]
            _sniff(path, head)
            raise DataError(path, 1, "", head[:8].hex(" "), f"broken Excel file ({e})") from None

    return rows


def _sheet(path: Path, z: zipfile.ZipFile, sheet: str, schema: Schema) -> Rows:
    book = ElementTree.fromstring(z.read("xl/workbook.xml"))
    order = [s.get("name") for s in book.iter(_NS + "sheet")]
    if sheet not in order:
        raise DataError(path, 1, sheet, ", ".join(map(str, order)), "this sheet is missing")
    shared: list[str] = []
    if "xl/sharedStrings.xml" in z.namelist():
        root = ElementTree.fromstring(z.read("xl/sharedStrings.xml"))
        shared = ["".join(t.text or "" for t in si.iter(_NS + "t")) for si in root]
    columns: list[tuple[str, str, Kind]] = []
    with z.open(f"xl/worksheets/sheet{order.index(sheet) + 1}.xml") as f:
        for line, cells in _xml_rows(f, shared):
            if not columns:
                columns = _letters(path, line, cells, schema)
            elif cells:
                yield line, _excel_row(path, line, columns, cells)
    if not columns:
        raise DataError(path, 1, sheet, "", "the sheet is empty")


def _xml_rows(f: Any, shared: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, {column letter: text}). Rows are cut out and parsed one by one.

    Parsing a row at once in C is ten times as fast as following every element from Python.
    """
    opening, buffer, done = b"", b"", False
    while not done:
        block = f.read(_CHUNK)
        done = not block
        *rows, buffer = (buffer + block).split(b"</row>")
        for raw in rows:
            start = raw.find(b"<row")
            if not opening:
                opening = raw[raw.find(b"<worksheet") : raw.find(b">", raw.find(b"<worksheet")) + 1]
            node = ElementTree.fromstring(opening + raw[start:] + b"</row></worksheet>")
            for row in node:  # empty rows "<row .../>" come in front of a full one
                yield int(row.get("r", 0)), _xml_cells(row, shared)
    if b"</worksheet>" not in buffer:
        raise EOFError("the sheet has no end")


def _xml_cells(row: Any, shared: list[str]) -> dict[str, str]:
    cells = {}
    for c in row:
        kind = c.get("t")
        if kind == "inlineStr":
            shown = "".join([t.text or "" for t in c.iter(_T)])
        else:
            value = c.find(_V)
            if value is None or value.text is None:
                continue
            shown = shared[int(value.text)] if kind == "s" else value.text
        cells[c.get("r").rstrip("0123456789")] = shown
    return cells


def _letters(path: Path, line: int, cells: dict, schema: Schema) -> list[tuple[str, str, Kind]]:
    named: dict[str, str] = {}
    for letter, name in cells.items():
        named[f"{name}.2" if name in named else name] = letter
    for name in schema:
        if name not in named:
            raise DataError(path, line, name, ", ".join(named), "this column is missing")
    for name in named:
        if name not in schema:
            raise DataError(path, line, name, ", ".join(named), "this column is not known")
    return [(name, named[name], kind) for name, kind in schema.items()]


def _excel_row(path: Path, line: int, columns: list, cells: dict) -> Any:
    row = {}
    for name, letter, kind in columns:
        try:
            row[name] = kind(cells.get(letter, ""))
        except Wrong as e:
            return DataError(path, line, name, shorten(e.found), f"expected {e.expected}")
    return row
