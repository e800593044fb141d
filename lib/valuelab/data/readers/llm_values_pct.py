"""Political compass propositions put to models: propositions, wordings, full prompts, annotations.

The models' completions are left out of the copy; two annotated samples of them are read.
"""

from ..formats import csv_rows
from ..kinds import free, one_of, text
from ..record import Annotation
from ..table import Reader, Table

MODE = one_of("explicit", "implicit", "neutral")
TEMPLATE = {"templ_id": text, "templ_prompt": text, "templ_note": MODE}
ITEM = {
    "pct_id": text,
    "pct_prompt": text,
    "pct_note": one_of(
        *("your country and the world", "economy", "personal social values"),
        *("wider society", "religion", "sex"),
    ),
}
ANSWER = {"ans_id": text, "ans_prompt": text, "ans_note": free}
JAILBREAK = {"jail_id": text, "jail_prompt": free, "jail_note": MODE}
PROMPT = {**TEMPLATE, **ITEM, **ANSWER, **JAILBREAK, "full_prompt": text}
STANCE = one_of("1_disagree", "2_agree", "3_other")
MARKS = ("donothave", "bothsides", "oneside", "refusal")
NOTES = dict.fromkeys(("disagreement", "disagreement_note", "decision"), free)
AGREEMENT = {
    "": text,
    **PROMPT,
    "completion": text,
    "model": text,
    **{f"annot{i}_label": STANCE for i in (1, 2)},
    **{f"annot{i}_note": free for i in (1, 2)},
    **NOTES,
}
INVALID = {
    "": text,
    **PROMPT,
    "completion": text,
    "model": text,
    "validation_label": one_of("invalid"),
    **{f"annot{i}_{m}": one_of("0", "1") for i in (1, 2) for m in MARKS},
    **{f"annot{i}_note": free for i in (1, 2)},
    **NOTES,
}


def number(pct_id):
    """ "pc-1" and "pc-01" are the same proposition in different files."""
    return f"pc-{int(pct_id.removeprefix('pc-')):02d}"


def part(kind, prompt):
    """A row function for the small template files."""

    def build(r, at):
        id = r[f"{kind}_id"]
        return at.record(
            f"{kind}/{id}", context_id=number(id) if kind == "pct" else id,
            label=r[f"{kind}_note"], prompt=r[prompt], meta={"part": kind},
        )  # fmt: skip

    return build


def _choices(r):
    return tuple(line.partition(") ")[2] for line in r["ans_prompt"].split("\n") if ") " in line)


def full(r, at):
    ids = "/".join(r[f"{k}_id"] for k in ("templ", "pct", "ans", "jail"))
    return at.record(
        f"{at.stem}/{ids}",
        context_id=number(r["pct_id"]),
        label=r["pct_note"],
        prompt=r["full_prompt"],
        choices=_choices(r),
        meta={"part": "prompt", "template": r["templ_note"], "forcing": r["jail_note"]},
    )


def annotated(r, at, notes, label):
    return at.record(
        f"{at.stem}/{r['']}",
        context_id=number(r["pct_id"]),
        label=label,
        prompt=r["full_prompt"],
        choices=_choices(r),
        response=r["completion"],
        annotators=notes,
        meta={"part": "annotation", "model": r["model"], "decision": r["decision"]},
    )


def agreement(r, at):
    """The label is what both annotators chose, or "" where they differ."""
    first, second = r["annot1_label"], r["annot2_label"]
    notes = (Annotation("annot1", first), Annotation("annot2", second))
    return annotated(r, at, notes, first if first == second else "")


def invalid(r, at):
    notes = tuple(
        Annotation(f"annot{i}", m) for i in (1, 2) for m in MARKS if r[f"annot{i}_{m}"] == "1"
    )
    return annotated(r, at, notes, r["validation_label"])


def _table(pattern, schema, build, ends=False, id=""):
    return Table(f"data/{pattern}", csv_rows(schema, ends=ends), build, id=id)


READER = Reader(
    "llm_values_pct",
    (
        _table("templates/pct_propositions.csv", ITEM, part("pct", "pct_prompt"), id="pct_id"),
        _table(
            "templates/prompt_templates.csv", TEMPLATE, part("templ", "templ_prompt"), id="templ_id"
        ),
        _table("templates/jailbreaks.csv", JAILBREAK, part("jail", "jail_prompt"), id="jail_id"),
        _table("templates/answer_options.csv", ANSWER, part("ans", "ans_prompt"), id="ans_id"),
        _table("prompts/*.csv", PROMPT, full, ends=True, id="pct_id"),
        _table("annotations/agreement_*.csv", AGREEMENT, agreement),
        _table("annotations/invalid_*.csv", INVALID, invalid),
    ),
    licence="CC BY 4.0",
)
