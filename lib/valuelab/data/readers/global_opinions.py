"""GlobalOpinionQA: how people of a country answered a survey question.

The distribution over answers is kept as annotations: country, answer, share. Nine rows of the
published file give every answer the share zero; they are read as they stand.
"""

from ..formats import json_list
from ..kinds import Wrong, list_of, number, text
from ..record import Annotation
from ..table import Reader, Table


def answer(v):
    """Answers are text, or points on a scale written as numbers (1.0 becomes "1")."""
    return format(v, "g") if type(v) is float else text(v)


ROW = {
    "country": text,
    "question": text,
    "options": list_of(answer, at_least=2),
    "distribution": list_of(number, at_least=2),
}


def row(r, at):
    shares = r["distribution"]
    if len(shares) != len(r["options"]):
        raise Wrong(f"{len(r['options'])} shares, one an option", shares, "distribution")
    if min(shares) < 0 or not (abs(sum(shares) - 1) < 0.02 or sum(shares) == 0):
        raise Wrong("shares that sum to one", shares, "distribution")
    pairs = zip(r["options"], shares, strict=True)
    return at.record(
        str(at.n),
        context_id=r["question"],
        label=r["options"][shares.index(max(shares))],
        prompt=r["question"],
        choices=tuple(r["options"]),
        annotators=tuple([Annotation(r["country"], o, p) for o, p in pairs]),
        meta={"country": r["country"]},
    )


READER = Reader(
    "global_opinions",
    (Table("data/eval.json", json_list(ROW), row),),
    licence="none stated; its source GlobalOpinionQA is CC BY-NC-SA 4.0 (to verify)",
)
