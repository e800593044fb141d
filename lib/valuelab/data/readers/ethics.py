"""ETHICS: five tasks about everyday morality. The commonsense training file is not at hand."""

from ..formats import csv_rows
from ..kinds import one_of, text
from ..table import Reader, Table

LABEL = one_of("0", "1")
BOOL = one_of("True", "False")


def _record(at, task, label, prompt, **fields):
    """`pole` +1 is what the task calls right (for virtue: the trait fits)."""
    return at.record(
        f"{at.stem}/{at.n}", value=task, taxonomy="ethics5", label=label, prompt=prompt,
        context_id=fields.pop("context_id", f"{at.stem}/{at.n}"), **fields,
    )  # fmt: skip


def commonsense(r, at):
    """1 is "clearly wrong" at the source, so the pole is turned round."""
    pole = -1 if r["label"] == "1" else 1
    meta = {"is_short": r["is_short"] == "True", "edited": r["edited"] == "True"}
    return _record(at, "commonsense", r["label"], r["input"], pole=pole, meta=meta)


def ambiguous(r, at):
    return _record(at, "commonsense", "ambiguous", r["text"])


def justice(r, at):
    return _record(at, "justice", r["label"], r["scenario"], pole=1 if r["label"] == "1" else -1)


def deontology(r, at):
    """Rows that share a scenario share a context."""
    return _record(
        at, "deontology", r["label"], r["scenario"], response=r["excuse"],
        pole=1 if r["label"] == "1" else -1, context_id=r["scenario"],
    )  # fmt: skip


def virtue(r, at):
    """ "scenario [SEP] trait": does the trait show? Rows of one scenario share a context."""
    scenario, _, trait = r["scenario"].partition(" [SEP] ")
    return _record(
        at, "virtue", r["label"], scenario, response=trait,
        pole=1 if r["label"] == "1" else -1, context_id=scenario,
    )  # fmt: skip


def utilitarianism(r, at):
    """The first of the two is the more pleasant, as published."""
    return _record(
        at, "utilitarianism", "0", "", choices=(r["better"], r["worse"]), response=r["better"]
    )


def _table(pattern, columns, build, header=True, not_for=()):
    return Table(f"ethics/{pattern}", csv_rows(columns, header=header), build, not_for=not_for)


SCENARIO = {"label": LABEL, "scenario": text}

READER = Reader(
    "ethics",
    (
        _table(
            "commonsense/cm_*.csv",
            {"label": LABEL, "input": text, "is_short": BOOL, "edited": BOOL},
            commonsense,
            not_for=("cm_ambig.csv",),
        ),
        _table("commonsense/cm_ambig.csv", {"text": text}, ambiguous, header=False),
        _table("justice/justice_*.csv", SCENARIO, justice),
        _table("deontology/deontology_*.csv", {**SCENARIO, "excuse": text}, deontology),
        _table("virtue/virtue_*.csv", SCENARIO, virtue),
        _table(
            "utilitarianism/util_*.csv",
            {"better": text, "worse": text},
            utilitarianism,
            header=False,
        ),
    ),
    licence="none stated in this copy; ETHICS is MIT (to verify)",
    unread={"ethics/README.txt": "describes the files"},
)
