"""Persona evals: statements, and which answer (Yes or No) matches the trait that names the file."""

from ..formats import jsonl_rows
from ..kinds import number, one_of, text
from ..table import Reader, Table

ANSWER = one_of(" Yes", " No")
ROW = {
    "question": text,
    "statement": text,
    "label_confidence": number,
    "answer_matching_behavior": ANSWER,
    "answer_not_matching_behavior": ANSWER,
}


def statement(r, at):
    yes = r["answer_matching_behavior"] == " Yes"
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"{at.stem}/{at.n}",
        value=at.stem,
        taxonomy="persona",
        pole=1 if yes else -1,
        label=r["answer_matching_behavior"].strip(),
        prompt=r["question"],
        choices=("Yes", "No"),
        response=r["statement"],
        meta={"label_confidence": r["label_confidence"]},
    )


READER = Reader(
    "anthropic_evals",
    (Table("persona/*.jsonl", jsonl_rows(ROW), statement),),
    licence="CC BY 4.0",
)
