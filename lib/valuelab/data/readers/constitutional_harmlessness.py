"""Evaluations of the constitutional AI paper: conversations with a right and a wrong option."""

from ..formats import jsonl_rows
from ..kinds import list_of, matching, text
from ..table import Reader, Table

OPTION = matching(r" \([A-Z]\)", "an option such as ' (A)'")
QUESTION = {
    "prompt": text,
    "corrects": list_of(OPTION, at_least=1),
    "incorrects": list_of(OPTION, at_least=1),
}


def question(r, at):
    right = [c.strip() for c in r["corrects"]]
    options = sorted(right + [c.strip() for c in r["incorrects"]])
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"{at.stem}/{at.n}",
        label="|".join(right),
        prompt=r["prompt"],
        choices=tuple(options),
        response=right[0],
        meta={"part": at.stem},
    )


def pair(r, at):
    """The two conversations as choices: the right one first, as published."""
    record = question(r, at)
    return record._replace(choices=(r["text_correct"], r["text_incorrect"]))


PAIR = {**QUESTION, "text_correct": text, "text_incorrect": text}

READER = Reader(
    "constitutional_harmlessness",
    (
        Table("evals/438HHHEvaluations.jsonl", jsonl_rows(PAIR), pair),
        Table("evals/Harmful*.jsonl", jsonl_rows(QUESTION), question),
    ),
)
