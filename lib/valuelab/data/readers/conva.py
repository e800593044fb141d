"""The contrast pairs of the ConVA paper, read from a copy that the user has.

No licence is stated at the source, so nothing is downloaded and nothing of it is shipped. Files lie
in data/value/: `<value>_<kind>.csv` holds pairs, `test_<value>_new.csv` questions.
"""

from ... import values
from ..formats import csv_rows
from ..kinds import Wrong, text
from ..table import Reader, Table

KINDS = {
    "hard": "context_controlled",
    "context_controlled": "context_controlled",
    "easy": "non_context_controlled",
    "non_context_controlled": "non_context_controlled",
}


def _value(name):
    if name not in values.VALUES:
        raise Wrong("a file named after one of the ten values", name)
    return name


def pair(r, at):
    """Two records: the positive and the negative member, one context."""
    name, _, kind = at.stem.partition("_")
    if kind not in KINDS:
        raise Wrong(f"a file name that ends in one of {sorted(KINDS)}", at.stem)
    for column, pole in (("question_1", 1), ("question_2", -1)):
        yield at.record(
            f"{at.stem}/{at.n}/{'+' if pole > 0 else '-'}",
            context_id=f"{at.stem}/{at.n}",
            value=_value(name),
            taxonomy="schwartz10",
            pole=pole,
            label=KINDS[kind],
            prompt=r[column].strip('"'),
            meta={"part": "pair"},
        )


def question(r, at):
    name = at.stem.removeprefix("test_").removesuffix("_new")
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"{at.stem}/{at.n}",
        value=_value(name),
        taxonomy="schwartz10",
        label="test",
        prompt=r["text"].strip('"'),
        meta={"part": "question"},
    )


PAIR = csv_rows({"question_1": text, "question_2": text}, ends=False)

READER = Reader(
    "conva",
    (
        Table("data/value/test_*.csv", csv_rows({"text": text}, ends=False), question),
        Table("data/value/*_controlled.csv", PAIR, pair),
        Table("data/value/*_hard.csv", PAIR, pair),
        Table("data/value/*_easy.csv", PAIR, pair),
    ),
)
