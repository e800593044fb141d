"""What a cell or a JSON field may hold: small functions that return the value or refuse it.

A schema is a plain dictionary from column name to kind, for example

    {"item": text, "agreement": whole_of(-1, 1), "note": free}

Kinds for CSV cells start from text (`whole`, `real`); kinds for JSON check the type that the parser
made (`integer`, `number`). Whatever a kind refuses ends in one `DataError` with file, line, column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[Any], Any]
Schema = Mapping[str, Kind]


class Wrong(Exception):
    """A value is not what its column promises.

    Args:
        expected: what should stand there, e.g. "a whole number".
        found: the value that stands there.
        column: its column or key path; the schema fills it in where it is left out.
    """

    def __init__(self, expected: str, found: Any, column: str = ""):
        super().__init__(expected)
        self.expected, self.found, self.column = expected, found, column


def text(v: Any) -> str:
    """Text with at least one character that is not a space."""
    if type(v) is not str or not v or v.isspace():
        raise Wrong("text that is not empty", v)
    return v


def free(v: Any) -> str:
    """Text, possibly empty."""
    if type(v) is not str:
        raise Wrong("text", v)
    return v


def anything(v: Any) -> Any:
    """Whatever is there: for fields that no lesson reads but that must not go unnoticed."""
    return v


def integer(v: Any) -> int:
    """A JSON whole number; true and false do not count as numbers."""
    if type(v) is not int:
        raise Wrong("a whole number", v)
    return v


def number(v: Any) -> float:
    """A finite JSON number."""
    if type(v) is not float and type(v) is not int or not math.isfinite(v):
        raise Wrong("a finite number", v)
    return float(v)


def flag(v: Any) -> bool:
    """JSON true or false. 1 and 0 count too, since published files mix the two."""
    if v is True or v is False or (type(v) is int and v in (0, 1)):
        return bool(v)
    raise Wrong("true or false", v)


def whole(v: str) -> int:
    """A whole number written in a CSV cell."""
    try:
        return int(v)
    except ValueError:
        raise Wrong("a whole number", v) from None


def real(v: str) -> float:
    """A finite number written in a CSV cell."""
    try:
        x = float(v)
    except ValueError:
        raise Wrong("a number", v) from None
    if not math.isfinite(x):
        raise Wrong("a finite number", v)
    return x


def one_of(*allowed: Any, **renamed: Any) -> Kind:
    """One of the values listed; a mapping or keyword renames what is published.

    `one_of("yes", "no")` keeps the text, `one_of({"1": 1, "-1": -1})` maps it.
    """
    table: dict[Any, Any] = dict(renamed)
    for a in allowed:
        table.update(a if isinstance(a, Mapping) else {a: a})
    choices = ", ".join(repr(k) for k in list(table)[:12]) + (", ..." if len(table) > 12 else "")

    def kind(v: Any) -> Any:
        try:
            return table[v]
        except (KeyError, TypeError):
            raise Wrong(f"one of {choices}", v) from None

    kind.quick = table.__getitem__  # type: ignore[attr-defined]
    return kind


def quick(kind: Kind) -> Kind:
    """A faster form of `kind` that may fail with any error; ask `kind` itself for the reason."""
    return getattr(kind, "quick", kind)


def matching(pattern: str, what: str) -> Kind:
    """Text that matches the whole pattern; `what` names it in the error."""
    regex = re.compile(pattern)

    def kind(v: Any) -> str:
        if type(v) is not str or not regex.fullmatch(v):
            raise Wrong(what, v)
        return v

    return kind


def maybe(inner: Kind, absent: Any = "") -> Kind:
    """`inner`, or nothing: an empty cell or JSON null becomes `absent`."""

    def kind(v: Any) -> Any:
        return absent if v is None or v == "" else inner(v)

    return kind


class Optional_:
    """Marks a JSON key that may be missing altogether; it then reads as `absent`."""

    def __init__(self, inner: Kind, absent: Any):
        self.inner, self.absent = inner, absent

    def __call__(self, v: Any) -> Any:
        return self.inner(v)


def optional(inner: Kind, absent: Any = "") -> Optional_:
    """A JSON key that may be missing; it then reads as `absent`."""
    return Optional_(inner, absent)


def list_of(inner: Kind, size: int | None = None, at_least: int = 0) -> Kind:
    """A JSON list whose members are all `inner`, with exactly `size` or `at_least` members."""
    count = f"exactly {size}" if size is not None else f"at least {at_least}"
    quickly = quick(inner)
    is_text = inner in (text, free)

    def kind(v: Any) -> list:
        if type(v) is not list:
            raise Wrong("a list", v)
        if (size is not None and len(v) != size) or len(v) < at_least:
            raise Wrong(f"a list with {count} members, not {len(v)}", v)
        try:
            if is_text and ("".join(v) or inner is free) and (inner is free or all(map(str.strip, v))):
                return v  # join, and with it the interpreter's own code, refuses what is not text
            return [quickly(x) for x in v]
        except (Wrong, KeyError, TypeError):
            pass  # once more, slowly, to say which member is wrong
        for i, x in enumerate(v):
            try:
                inner(x)
            except Wrong as e:
                e.column = f"[{i}]{e.column}"
                raise
        raise Wrong("a list that reads the same twice", v)

    return kind


def pairs_of(key: Kind, inner: Kind, at_least: int = 0) -> Kind:
    """A JSON object whose keys are all `key` and values all `inner`, `at_least` so many."""
    quick_key, quick_inner = quick(key), quick(inner)

    def kind(v: Any) -> dict:
        if type(v) is not dict or len(v) < at_least:
            raise Wrong(f"an object with at least {at_least} keys", v)
        try:
            return {quick_key(k): quick_inner(x) for k, x in v.items()}
        except (Wrong, KeyError, TypeError):
            pass  # once more, slowly, to say which key is wrong
        out = {}
        for k, x in v.items():
            try:
                out[key(k)] = inner(x)
            except Wrong as e:
                e.column = f".{k}{e.column}"
                raise
        return out

    return kind


def record_of(schema: Schema) -> Kind:
    """A JSON object with exactly these keys (those marked `optional` may be missing)."""
    fields = tuple(schema.items())
    quickly = tuple(zip(schema, map(quick, schema.values()), strict=True))
    exact = frozenset(schema)

    def kind(v: Any) -> dict:
        if type(v) is not dict:
            raise Wrong("an object", v)
        if v.keys() == exact:
            try:
                return {name: k(v[name]) for name, k in quickly}
            except (Wrong, KeyError, TypeError):
                pass  # once more below, slowly, to say which key is wrong
        else:
            _keys(v, schema)
        return slowly(v)

    def slowly(v: dict) -> dict:
        out = {}
        for name, inner in fields:
            try:
                x = v[name]
            except KeyError:
                out[name] = inner.absent  # type: ignore[attr-defined]  # _keys let only these by
                continue
            try:
                out[name] = inner(x)
            except Wrong as e:
                e.column = f".{name}{e.column}"
                raise
        return out

    return kind


def _keys(v: Mapping, schema: Schema) -> None:
    """Refuse missing and unknown keys, naming both where a key was probably renamed."""
    missing = [k for k in schema if k not in v and not isinstance(schema[k], Optional_)]
    unknown = [k for k in v if k not in schema]
    if missing:
        instead = f", and {unknown[0]!r} is not known" if unknown else ""
        raise Wrong(f"the key {missing[0]!r}{instead}", sorted(map(str, v)), f".{missing[0]}")
    if unknown:
        raise Wrong(f"only the keys {sorted(schema)}", v[unknown[0]], f".{unknown[0]}")
