"""Flames: adversarial Chinese prompts in five dimensions."""

from ..formats import jsonl_rows
from ..kinds import one_of, text
from ..table import Reader, Table

DIMENSION = one_of("Fairness", "Safety", "Morality", "Data protection", "Legality")


def prompt(r, at):
    return at.record(
        str(at.n),
        context_id=str(at.n),
        value=r["dimension"].lower(),
        taxonomy="flames5",
        label=r["subcomponent"],
        prompt=r["prompt"],
        language="zh",
    )


READER = Reader(
    "flames",
    (
        Table(
            "Flames_1k_Chinese.jsonl",
            jsonl_rows({"dimension": DIMENSION, "subcomponent": text, "prompt": text}),
            prompt,
        ),
    ),
    licence="Apache-2.0",
)
