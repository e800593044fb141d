"""CValues: Chinese prompts that ask for responsible answers, in eight domains."""

from ...taxonomies import taxonomy
from ..formats import jsonl_rows
from ..kinds import integer, one_of, text
from ..table import Reader, Table

ROW = {
    "id_": integer,
    "prompt": text,
    "domain_en": one_of(*taxonomy("cvalues8").values),
    "domain_zh": text,
}


def prompt(r, at):
    return at.record(
        str(r["id_"]),
        context_id=str(r["id_"]),
        value=r["domain_en"],
        taxonomy="cvalues8",
        prompt=r["prompt"],
        language="zh",
        meta={"domain_zh": r["domain_zh"]},
    )


READER = Reader(
    "cvalues",
    (
        Table(
            "dataset/cvalues_responsibility_prompts.jsonl",
            jsonl_rows(ROW, ends=False),
            prompt,
            id="id_",
        ),
    ),
    licence="Apache-2.0",
)
