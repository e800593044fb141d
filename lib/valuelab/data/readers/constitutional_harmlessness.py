"""Evaluations of the constitutional AI paper: conversations with a right and a wrong option."""

from ..formats import jsonl_rows
from ..kinds import list_of, matching, text
from ..table import Reader, Table
from .hh_rlhf import common, conversation

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
    """The two conversations: what they share is the prompt, the right reply is the first choice.

    The same as a question with lettered options stands in meta.
    """
    right, wrong = r["text_correct"], r["text_incorrect"]
    cut = common(right, wrong)
    asked = question(r, at)
    return at.record(
        f"{at.stem}/{at.n}",
        {"part": at.stem, "question": r["prompt"]},
        context_id=asked.context_id,
        label=asked.label,
        prompt=right[:cut],
        choices=(right[cut:], wrong[cut:]),
        response=right[cut:],
    )


PAIR = {**QUESTION, "text_correct": conversation, "text_incorrect": conversation}

READER = Reader(
    "constitutional_harmlessness",
    (
        Table("evals/438HHHEvaluations.jsonl", jsonl_rows(PAIR), pair),
        Table("evals/Harmful*.jsonl", jsonl_rows(QUESTION), question),
    ),
)
