"""ValueBench: items of 36 questionnaires, the value each measures and in which direction.

Beside the items lie definitions of the values, the public IPIP items, and six models' answers with
a judge's ratings from 0 (leans to no) to 10 (leans to yes).
"""

from ..formats import csv_rows, xlsx_rows
from ..kinds import free, maybe, one_of, real, text
from ..record import Annotation
from ..table import Reader, Table

AGREEMENT = one_of({"1": 1, "-1": -1})
ITEM = {
    "questionnaire": text,
    "item": text,
    "value": text,
    "agreement": AGREEMENT,
    "question": text,
}
MODELS = (
    *("gpt-4-1106-preview", "gpt-3.5-turbo-1106", "llama-7b-chat"),
    *("llama-70b-chat", "mistral-7b-instruct", "mixtral-8x7b-instruct"),
)
ANSWERS = {
    "questionnaire info": text,
    "scenario description": text,
    "corresponding value": text,
    "Agreement": AGREEMENT,
    "REP": free,
    "Notice": free,
    "question": text,
    **{f"{m}_{k}": free for m in MODELS for k in ("answer", "explanation", "answers")},
    **{f"{m}_rating": maybe(real, None) for m in MODELS},
}
DEFINITION = {
    "questionnaire info": free,
    "value dimension": text,
    "corresponding definition/description": free,
    "Upper dimension": free,
    "opposite dimension": free,
    "Level Summarization": free,
    "DicDef": free,
}
IPIP = {
    "instrument": text,
    "alpha": free,
    "key": one_of({"1": 1, "-1": -1, "0": 0}),  # a few IPIP items have no direction
    "text": text,
    "label": text,
    "text.2": text,
}


def item(r, at):
    """Items that share a question share a context: 529 of them do."""
    return at.record(
        f"item/{at.n}",
        context_id=r["question"],
        value=r["value"],
        taxonomy="valuebench",
        pole=r["agreement"],
        label=str(r["agreement"]),
        prompt=r["question"],
        choices=("Yes", "No"),
        response=r["item"],
        meta={"part": "item", "questionnaire": r["questionnaire"]},
    )


def answers(r, at):
    notes = tuple(
        Annotation(m, r[f"{m}_answer"], r[f"{m}_rating"])
        for m in MODELS
        if r[f"{m}_rating"] is not None
    )
    return at.record(
        f"answers/{at.n}",
        context_id=r["question"],
        value=r["corresponding value"],
        taxonomy="valuebench",
        pole=r["Agreement"],
        label=str(r["Agreement"]),
        prompt=r["question"],
        choices=("Yes", "No"),
        response=r["scenario description"],
        annotators=notes,
        meta={"part": "answers", "questionnaire": r["questionnaire info"]},
    )


def definition(r, at):
    return at.record(
        f"definition/{at.n}",
        context_id=r["value dimension"],
        value=r["value dimension"],
        taxonomy="valuebench",
        prompt=r["corresponding definition/description"],
        label=r["Upper dimension"],
        meta={"part": "definition", "questionnaire": r["questionnaire info"]},
    )


def ipip(r, at):
    return at.record(
        f"ipip/{at.n}",
        context_id=r["text"],
        value=r["label"],
        taxonomy="valuebench",
        pole=r["key"],
        label=str(r["key"]),
        prompt=r["text"],
        meta={"part": "ipip", "instrument": r["instrument"], "alpha": r["alpha"]},
    )


READER = Reader(
    "valuebench",
    (
        Table("data/value_orientation.csv", csv_rows(ITEM), item),
        Table("data/value_data.xlsx", xlsx_rows("value2def", DEFINITION), definition),
        Table("data/value_data.xlsx", xlsx_rows("IPIP", IPIP), ipip),
        Table("assets/QA-dataset-answers-rating.xlsx", xlsx_rows("Sheet1", ANSWERS), answers),
    ),
    licence="MIT",
)
