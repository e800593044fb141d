"""Writes samples, whole or damaged. Every damage is one that real downloads or editors cause.

One damage no reader can see: a file that ends without a newline as published, cut inside the free
text of its last cell. `load` catches it by the registered size (see test_sources.py).
"""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from data_samples import Sample

PAGE = b"<!DOCTYPE html>\n<html><body>404: Not Found</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def suffix(sample: Sample) -> str:
    return Path(sample.path.removesuffix(".gz")).suffix


def whole(sample: Sample) -> bytes:
    """The file as it should be."""
    raw = _WRITERS[suffix(sample)](sample)
    return gzip.compress(raw, mtime=0) if sample.path.endswith(".gz") else raw


def write(root: Path, samples: list[Sample]) -> None:
    """All files of a case; sheets of one Excel file are put together."""
    books: dict[str, list[Sample]] = {}
    for s in samples:
        if suffix(s) == ".xlsx":
            books.setdefault(s.path, []).append(s)
        else:
            _put(root / s.path, whole(s))
    for path, sheets in books.items():
        _put(root / path, _book(sheets))


def _put(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


def damaged(
    sample: Sample, others: list[Sample] | None = None
) -> Iterator[tuple[str, bytes, int | None]]:
    """(kind of damage, file, line that must be named or None where any line will do).

    `others` are the samples beside it, among them the other sheets of an Excel file.
    """
    pack = (lambda b: gzip.compress(b, mtime=0)) if sample.path.endswith(".gz") else (lambda b: b)
    sheets = [s for s in others or [] if s.path == sample.path and s is not sample]
    for name, raw, line in _damaged(sample, sheets):
        yield name, pack(raw), line
    if sample.path.endswith(".gz"):
        yield "broken gzip", whole(sample)[:-12], None


def _damaged(sample: Sample, sheets: list[Sample]) -> Iterator[tuple[str, bytes, int | None]]:
    kind = suffix(sample)
    good = _WRITERS[kind](sample)
    yield "empty", b"", 1
    yield "web page", PAGE, 1
    yield "LFS pointer", POINTER, 1
    if kind != ".xlsx":
        yield "UTF-16", good.decode().encode("utf-16"), 1
        middle = good.rfind(b"\n", 0, len(good.rstrip()) - 1) + 3  # early in the last line
        line = good[:middle].count(b"\n") + 1
        yield "bad UTF-8", good[:middle] + b"\xff" + good[middle:], line
        yield "NUL byte", good[:middle] + b"\0" + good[middle:], line
    if kind == ".xlsx":
        yield from _xlsx(sample, sheets)
    else:
        damages = {".csv": _table, ".tsv": _table, ".jsonl": _jsonl, ".json": _json, ".txt": _text}
        yield from damages[kind](sample, good)


# -------------------------------------------------------------------------------------- CSV and TSV


def _cells(sample: Sample) -> list[list[str]]:
    """The table as lists of cells, header first where there is one."""
    if not sample.header:
        return [list(map(str, r)) for r in sample.rows]
    return [list(sample.rows[0])] + [list(r.values()) for r in sample.rows]


def _write_cells(sample: Sample, cells: list[list[str]]) -> bytes:
    if not sample.quoted:
        return "".join("\t".join(r) + "\n" for r in cells).encode()
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(cells)
    return out.getvalue().encode()


def _write_table(sample: Sample) -> bytes:
    return _write_cells(sample, _cells(sample))


def _table(sample: Sample, good: bytes) -> Iterator[tuple[str, bytes, int | None]]:
    cells = _cells(sample)
    last_raw = _write_cells(sample, cells[-1:])
    before = good.removesuffix(last_raw)
    line = before.count(b"\n") + 1  # where the last row starts

    def last(row: list[str]) -> bytes:
        return _write_cells(sample, [*cells[:-1], row])

    half = len(last_raw) // 2
    yield "cut off", before + last_raw[:half].decode(errors="ignore").encode(), None
    yield "extra cell", last([*cells[-1], "more"]), line
    yield "blank line", before + b"\n" + last_raw, line
    text = last_raw.decode().rstrip("\n")
    yield "quoted twice", before + f'"{text.replace(chr(34), chr(34) * 2)}"\n'.encode(), line
    if len(cells[0]) > 1:
        yield "short row", last(cells[-1][:-1]), line
        yield "column gone", _write_cells(sample, [r[:-1] for r in cells]), 1
        yield "rows run together", before[:-1] + last_raw, None
    if sample.quoted:
        yield "open quote", before + b'"' + last_raw.replace(b'"', b""), line
    if sample.header:
        renamed = [[f"my {cells[0][-1]}", *cells[0][:-1]], *cells[1:]]
        yield "column renamed", _write_cells(sample, renamed), 1
        yield "header only", _write_cells(sample, cells[:1]), 1
        yield "column twice", _write_cells(sample, [[*r, r[0]] for r in cells]), 1
    if sample.wrong:
        (at,), bad = sample.wrong
        row = list(cells[-1])
        row[at if isinstance(at, int) else cells[0].index(at)] = bad
        yield "wrong value", last(row), line
    if sample.id:
        at, row = cells[0].index(sample.id), list(cells[-1])
        row[at] = cells[-2][at]
        yield "id twice", last(row), line


# -------------------------------------------------------------------------------------------- JSON


def _dump(v: Any) -> str:
    return json.dumps(v, ensure_ascii=False)


def _lines(sample: Sample) -> list[str]:
    """One text a row, to be joined by the format."""
    if isinstance(sample.rows, dict) and not sample.whole:
        return [f"{_dump(k)}: {_dump(v)}" for k, v in sample.rows.items()]
    return [_dump(r) for r in ([sample.rows] if sample.whole else sample.rows)]


def _join(sample: Sample, lines: list[str], comma: str = ",") -> bytes:
    if suffix(sample) == ".jsonl":
        return "".join(f"{x}\n" for x in lines).encode()
    if sample.whole:
        return lines[0].encode()
    left, right = "{}" if isinstance(sample.rows, dict) else "[]"
    return f"{left}\n{f'{comma}{chr(10)}'.join(lines)}\n{right}\n".encode()


def _write_json(sample: Sample) -> bytes:
    return _join(sample, _lines(sample))


def _with(v: Any, at: tuple, bad: Any) -> Any:
    """A copy of `v` with `bad` at a path of keys."""
    if not at:
        return bad
    v = copy.copy(v)
    v[at[0]] = _with(v[at[0]], at[1:], bad)
    return v


def _changed(sample: Sample) -> Iterator[tuple[str, Any]]:
    """Wrong versions of the last row, as values."""
    keys = None
    if isinstance(sample.rows, dict) and not sample.whole:
        keys, rows = list(sample.rows), list(sample.rows.values())
    else:
        rows = [sample.rows] if sample.whole else list(sample.rows)
    row = rows[-1]
    yield "another type", "just text" if not isinstance(row, str) else 7
    yield "null", None
    if isinstance(row, dict) and not keys or isinstance(row, dict) and "id" in row:
        first, *_ = row
        yield "key gone", {k: v for k, v in row.items() if k != first}
        yield "key renamed", {("my " + k if k == first else k): v for k, v in row.items()}
        yield "key too many", {**row, "more": 1}
    if sample.wrong:
        yield "wrong value", _with(row, *sample.wrong)
    if sample.id and not keys:
        yield "id twice", {**row, sample.id: rows[-2][sample.id]}


def _last(sample: Sample, lines: list[str], value: Any) -> list[str]:
    if isinstance(sample.rows, dict) and not sample.whole:
        return [*lines[:-1], f"{_dump(list(sample.rows)[-1])}: {_dump(value)}"]
    return [*lines[:-1], _dump(value)]


def _jsonl(sample: Sample, good: bytes) -> Iterator[tuple[str, bytes, int | None]]:
    lines = _lines(sample)
    n = len(lines)
    for name, value in _changed(sample):
        yield name, _join(sample, _last(sample, lines, value)), n
    yield "cut off", good[: -len(lines[-1].encode()) // 2], n
    yield "quoted twice", _join(sample, [*lines[:-1], _dump(lines[-1])]), n
    yield "blank line", _join(sample, [*lines[:-1], "", lines[-1]]), n
    yield "quote gone", _join(sample, [*lines[:-1], lines[-1].replace('"', "", 1)]), n
    doubled = lines[-1][:-1] + ", " + lines[-1][1:]
    yield "key twice", _join(sample, [*lines[:-1], doubled]), n
    yield "rows run together", _join(sample, [*lines[:-2], "".join(lines[-2:])]), n - 1


def _json(sample: Sample, good: bytes) -> Iterator[tuple[str, bytes, int | None]]:
    lines = _lines(sample)
    n = 1 if sample.whole else len(lines) + 1
    for name, value in _changed(sample):
        yield name, _join(sample, _last(sample, lines, value)), n
    yield "cut off", good[: len(good) * 2 // 3].decode(errors="ignore").encode(), None
    yield "text at the end", good.rstrip() + b"\n{}\n", None
    yield "quote gone", good.replace(b'"', b"", 1) if b'"' in good else good + b'"', None
    yield "bracket gone", good.rstrip()[:-1], None
    yield "brackets swapped", b"(" + good.rstrip()[1:-1] + b")", 1
    if not sample.whole:
        empty = b"{}" if isinstance(sample.rows, dict) else b"[]"
        yield "no rows", empty, 1
        yield "comma too many", _join(sample, [*lines, ""]), None
        yield "NaN", _join(sample, _last(sample, lines, float("nan"))), n
        if len(lines) > 1:
            yield "comma gone", _join(sample, lines, comma=""), None
        if isinstance(sample.rows, dict):
            yield "key twice", _join(sample, [*lines, lines[0]]), n + 1


# ------------------------------------------------------------------------------------------- Excel


def _write_book(sample: Sample) -> bytes:
    return _book([sample])


def _letter(i: int) -> str:
    return chr(65 + i) if i < 26 else "A" + chr(65 + i - 26)


def _sheet_xml(sample: Sample) -> str:
    table = [list(sample.rows[0])] + [list(r.values()) for r in sample.rows]
    table[0] = [h.removesuffix(".2") for h in table[0]]
    rows = []
    for n, row in enumerate(table, 1):
        cells = []
        for i, v in enumerate(row):
            at = f"{_letter(i)}{n}"
            if isinstance(v, str):
                cells.append(f'<c r="{at}" t="inlineStr"><is><t>{escape(v)}</t></is></c>')
            else:
                cells.append(f'<c r="{at}" t="n"><v>{v}</v></c>')
        rows.append(f'<row r="{n}">{"".join(cells)}</row>')
    ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<worksheet xmlns="{ns}"><sheetData>{"".join(rows)}</sheetData></worksheet>'


def _book(sheets: list[Sample]) -> bytes:
    ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    listed = "".join(f'<sheet name="{s.sheet}" sheetId="{i}"/>' for i, s in enumerate(sheets, 1))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        z.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{ns}"><sheets>{listed}</sheets></workbook>'
        )
        for i, s in enumerate(sheets, 1):
            z.writestr(f"xl/worksheets/sheet{i}.xml", _sheet_xml(s))
    return out.getvalue()


def _xlsx(sample: Sample, sheets: list[Sample]) -> Iterator[tuple[str, bytes, int | None]]:
    def book(**changed: Any) -> bytes:
        return _book([replace(sample, **changed), *sheets])

    good = book()
    first = next(iter(sample.rows[0]))
    rows = sample.rows
    yield "cut off", good[: len(good) // 2], 1
    yield "byte flipped", good.replace(b"</is>", b"</iz>", 1), None
    yield "sheet renamed", book(sheet="Other"), 1
    yield "column gone", book(rows=[{k: r[k] for k in r if k != first} for r in rows]), 1
    renamed = [{("my " + k if k == first else k): v for k, v in r.items()} for r in rows]
    yield "column renamed", book(rows=renamed), 1
    yield "column too many", book(rows=[{**r, "more": "x"} for r in rows]), 1
    (at,), bad = sample.wrong
    yield "wrong value", book(rows=[*rows[:-1], {**rows[-1], at: bad}]), len(rows) + 1


# -------------------------------------------------------------------------------------------- text


def _write_text(sample: Sample) -> bytes:
    return sample.rows.encode()


def _text(sample: Sample, good: bytes) -> Iterator[tuple[str, bytes, int | None]]:
    lines = good.split(b"\n")
    n = len(lines) - 1
    yield "cut off", good[:-4], n
    yield "time gone", b"\n".join([*lines[:-2], b"They grow.", b""]), n
    yield "time broken", good.replace(b"[00:00:09]", b"[0:0:9]"), n
    yield "line too many", good + b"and then\n", n + 1
    yield "link gone", good.replace(b"Link: ", b"see "), 2
    yield "rule gone", good.replace(b"===\n", b""), None
    yield "head gone", b"\n".join(lines[4:]), None


_WRITERS = {
    ".csv": _write_table,
    ".tsv": _write_table,
    ".jsonl": _write_json,
    ".json": _write_json,
    ".xlsx": _write_book,
    ".txt": _write_text,
}
