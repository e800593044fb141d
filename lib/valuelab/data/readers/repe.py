"""Representation engineering: true and false facts, situations for six emotions, known quotes."""

from ..formats import csv_rows, json_list
from ..kinds import free, one_of, text
from ..table import Reader, Table


def fact(r, at):
    """A few statements come twice, so the row number makes the id and the text the context."""
    return at.record(
        f"facts/{at.n}",
        context_id=r["statement"],
        pole=1 if r["label"] == "1" else -1,
        label=r["label"],
        prompt=r["statement"],
        choices=("0", "1"),
        meta={"part": "facts"},
    )


def emotion(r, at):
    return at.record(
        f"emotions/{at.stem}/{at.n}",
        context_id=f"emotions/{at.stem}/{at.n}",
        value=at.stem,
        taxonomy="emotions6",
        pole=1,
        prompt=r,
        meta={"part": "emotions"},
    )


def mixed(r, at):
    """Situations that stir two emotions: the file is named after both."""
    record = emotion(r, at)
    return record._replace(value="", taxonomy="", pole=0, label=at.stem.replace("_", "|"))


def line(r, at):
    """Opening lines and quotes: known ones and made-up ones."""
    return at.record(
        f"memorization/{at.stem}/{at.n}",
        context_id=f"memorization/{at.stem}/{at.n}",
        pole=1 if at.stem in ("popular_quotes", "real") else -1,
        label=at.stem,
        prompt=r,
        meta={"part": "memorization"},
    )


def completion(r, at):
    record = line(r["input"], at)
    return record._replace(pole=0, response=r["target"])


TRUNCATED = "all_truncated_outputs.json"
MIXED = ("happiness_fear.json", "happiness_sadness.json")

READER = Reader(
    "repe",
    (
        Table(
            "data/facts/facts_true_false.csv",
            csv_rows({"statement": text, "label": one_of("0", "1")}, ends=False),
            fact,
        ),
        Table("data/emotions/*.json", json_list(text), emotion, not_for=(TRUNCATED, *MIXED)),
        Table("data/emotions/happiness_*.json", json_list(text), mixed),
        Table("data/memorization/quotes/*_quotes.json", json_list(text), line),
        Table("data/memorization/literary_openings/*.json", json_list(text), line),
        Table(
            "data/memorization/quotes/quote_completions.json",
            json_list({"input": text, "target": free}),
            completion,
        ),
    ),
    licence="MIT",
    unread={f"data/emotions/{TRUNCATED}": "cut-off model outputs"},
)
