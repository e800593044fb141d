"""Interviews behind a moral graph: what people say in turn, with times and the subjects marked.

The extracted graph itself is not in the copy at hand. Layout of a file: a name, a "Link:" line, a
line "===", then paragraphs "[hh:mm:ss] text"; a paragraph of names in snake_case followed by "---"
marks the subjects of what comes next. A few paragraphs hold a time and no words.
"""

import re

from ..formats import Lines
from ..record import DataError
from ..table import Reader, Table

_TURN = re.compile(r"\[(\d\d:\d\d:\d\d)\] ?(.*)")
_SUBJECTS = re.compile(r"[a-z_]+(?:; ?[a-z_]+)*;?")


def turns(path):
    """Row source: one row a paragraph. The line before "---" names subjects and is no turn."""
    lines = Lines(path)
    pending = subjects = name = link = None
    opened = False
    for raw in lines:
        n, line = lines.line, raw.strip()
        if lines.fault is not None:
            yield n, lines.take_fault()
        elif not opened:
            opened = line == "==="
            if n == 1:
                name = line
            elif line.startswith("Link: "):
                link = line.removeprefix("Link: ")
            elif line and not opened:
                raise DataError(path, n, "", line, "expected 'Link: ...' and '===' on top")
        elif line == "---":
            subjects, pending = (pending[1]["text"] if pending else ""), None
        elif line:
            if pending:
                yield pending
            m = _TURN.fullmatch(line)
            if not m:
                pending = None
                yield n, DataError(path, n, "", line, "expected '[hh:mm:ss] text'")
                continue
            row = {"name": name, "link": link, "time": m[1], "text": m[2], "subjects": subjects}
            pending = (n, row)
    if pending:
        yield pending
    if not opened or not name or not link:
        raise DataError(path, max(1, lines.line), "", lines.last, "no name, 'Link:' line or '==='")


def turn(r, at):
    about = r["subjects"] or ""
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=at.stem,
        label="|".join(s.strip() for s in about.split(";"))
        if _SUBJECTS.fullmatch(about)
        else about,
        response=r["text"],
        meta={"time": r["time"], "link": r["link"]},
    )


READER = Reader("moral_graph", (Table("data/*.txt", turns, turn),))
