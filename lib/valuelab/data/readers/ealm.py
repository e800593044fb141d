"""EALM: actions told in the first person, judged by five ethical theories at once.

Each theory counts as an annotator with the label "1" (acceptable) or "0".
"""

from ...taxonomies import taxonomy
from ..formats import csv_rows
from ..kinds import one_of, text
from ..record import Annotation
from ..table import Reader, Table

TASKS = tuple(t.capitalize() for t in taxonomy("ethics5").values)


def action(r, at):
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"{at.stem}/{at.n}",
        label="|".join(t.lower() for t in TASKS if r[t] == "1"),
        prompt=r["input"],
        annotators=tuple(Annotation(t.lower(), r[t]) for t in TASKS),
    )


READER = Reader(
    "ealm",
    (
        Table(
            "mp-ethics_*.csv",
            csv_rows({"input": text, **dict.fromkeys(TASKS, one_of("0", "1"))}),
            action,
        ),
    ),
)
