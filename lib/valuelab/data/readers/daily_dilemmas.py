"""DailyDilemmas: situations, 301 values mapped to five theories, principles of two companies.

The file with actions and consequences is not at hand except for a sample of eight rows; its lists
are Python literals, which are read by a small parser and never evaluated.
"""

import re

from ..formats import csv_rows
from ..kinds import Wrong, free, maybe, one_of, text, whole
from ..table import Reader, Table

FOUNDATIONS = ("Care", "Fairness", "Loyalty", "Authority", "Purity")
THEORIES = {
    "WVS": one_of("Self-expression", "Survival", "Traditional", "Secular-rational"),
    "MFT": one_of(*FOUNDATIONS),
    "Virtue": text,
    "Emotion": text,
    "Maslow": one_of(
        "physiological", "safety", "love and belonging", "self-esteem", "self-actualization"
    ),
}
_LITERAL = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(nan))\s*(,|$)""")


def listed(v):
    """A list of texts written as Python would print it; `nan` becomes empty text."""
    if not (v.startswith("[") and v.endswith("]")):
        raise Wrong("a list such as ['a', 'b']", v)
    out, at, inner = [], 0, v[1:-1]
    while at < len(inner):
        m = _LITERAL.match(inner, at)
        if not m:
            raise Wrong("a list such as ['a', 'b']", inner[at : at + 40])
        out.append(re.sub(r"\\(.)", r"\1", m[1] or m[2] or ""))
        at = m.end()
    return out


ACTION = {
    "idx": whole,
    "basic_situation": text,
    "dilemma_situation": text,
    "action_type": one_of("to_do", "not_to_do"),
    "action": text,
    "negative_consequence": text,
    **dict.fromkeys(("parties_direct", "parties_indirect"), listed),
    **dict.fromkeys(("values_direct", "values_indirect"), listed),
    **dict.fromkeys(("reason_direct", "reason_indirect"), listed),
    **dict.fromkeys(("model_resp_gpt35_clean", "model_resp_gpt4_clean"), free),
    **dict.fromkeys(("values_names", "values_types"), listed),
    **dict.fromkeys(("wvs", "mft", "virtue", "emotion", "maslow"), listed),
    **dict.fromkeys(("background", "topic", "topic_group"), text),
}


def dilemma(r, at):
    return at.record(
        f"dilemma/{r['idx']}",
        context_id=str(r["idx"]),
        label=r["basic_situation"],
        prompt=r["dilemma_situation"],
        meta={"part": "dilemma"},
    )


def value(r, at):
    return at.record(
        f"value/{r['value']}",
        context_id=r["value"],
        value=r["value"],
        taxonomy="daily_dilemmas",
        label="|".join(f"{t}:{r[t]}" for t in THEORIES if r[t]),
        meta={"part": "value"},
    )


def action(r, at):
    return at.record(
        f"action/{r['idx']}/{r['action_type']}",
        context_id=str(r["idx"]),
        pole=1 if r["action_type"] == "to_do" else -1,
        label="|".join(r["values_names"]),
        prompt=r["dilemma_situation"],
        choices=("to_do", "not_to_do"),
        response=r["action"],
        meta={
            "part": "action",
            "negative_consequence": r["negative_consequence"],
            "topic_group": r["topic_group"],
            "mft": r["mft"],
        },
    )


def principle(r, at):
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"{at.stem}/{at.n}",
        label=r["source"],
        prompt=r["principle"],
        meta={"part": "principle"},
    )


def _csv(schema, ends=False):
    return csv_rows(schema, ends=ends)


DILEMMA = {"": whole, "idx": whole, "basic_situation": text, "dilemma_situation": text}
VALUE = {"": whole, "value": text, **{k: maybe(v) for k, v in THEORIES.items()}}

READER = Reader(
    "daily_dilemmas",
    (
        Table("data/dilemma.csv", _csv(DILEMMA, ends=True), dilemma, id="idx"),
        Table("data/values.csv", _csv(VALUE), value, id="value"),
        Table("data/dilemmas_with_detail_by_action_test.csv", _csv(ACTION), action, id="idx"),
        Table("data/principle_claude.csv", _csv({"principle": text, "source": text}), principle),
        Table("data/principle_openai.csv", _csv({"principle": text, "source": text}), principle),
    ),
    licence="CC BY 4.0",
    unread={"data/principle_openai_gpt*.csv": "model answers about principles, as Python objects"},
)
