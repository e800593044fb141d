"""Readers for the data the course owns: pairs, dilemmas, portraits and preferences.

Each lies in a folder of ``datasets`` with a CARD.md. All are CC BY 4.0 and written for this course.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from valuelab.data.formats import csv_rows
from valuelab.data.kinds import one_of, text, whole
from valuelab.data.record import DataError, Record
from valuelab.data.table import Place, Reader, Table
from valuelab.values import VALUES

_HERE = Path(__file__).resolve()
PLACES = (_HERE.parents[3] / "datasets", _HERE.parent / "registry")
"""Where the data lie: in a checkout, or beside this file in an installed package (setup.py puts them there)."""
FOLDER = next((place for place in PLACES if (place / "sources.toml").is_file()), PLACES[0])
SPLITS = ("train", "dev", "test")
FORMS = ("first", "third", "question")
LICENCE = "CC BY 4.0"


@dataclass(frozen=True)
class Pair:
    """Two texts of the same words: in `positive` `value` is chosen and `other` forgone."""

    pair_id: str
    context_id: str
    value: str
    other: str
    form: str
    construction: str
    chosen: str  # "first" or "second": which of the two actions mentioned is the chosen one
    positive: str
    negative: str
    split: str


@dataclass(frozen=True)
class Dilemma:
    """A situation with two actions; `values_1` are what `action_1` serves, main value first."""

    dilemma_id: str
    situation: str
    action_1: str
    action_2: str
    values_1: tuple[str, ...]
    values_2: tuple[str, ...]
    split: str

    def swapped(self) -> Dilemma:
        """The same dilemma with its actions in the other order."""
        return replace(
            self, action_1=self.action_2, action_2=self.action_1,
            values_1=self.values_2, values_2=self.values_1,
        )


@dataclass(frozen=True)
class Portrait:
    """A questionnaire item; key +1 where "very much like me" speaks for the value, −1 against."""

    item: int
    value: str
    key: int
    text: str


@dataclass(frozen=True)
class Preference:
    """Two responses to a prompt, each high (1) or low (0) in helpfulness and considerateness.

    `kind` says what differs: "helpfulness", "considerateness", both the same way ("agree"), or
    both in opposite ways ("conflict").
    """

    pair_id: str
    context_id: str
    kind: str
    prompt: str
    response_a: str
    response_b: str
    helpful_a: int
    considerate_a: int
    helpful_b: int
    considerate_b: int
    split: str

    def better(self, attribute: str) -> str:
        """"a" or "b", whichever is higher in `attribute`, or "tie"."""
        names = {"helpfulness": "helpful", "considerateness": "considerate"}
        if attribute not in names:
            raise ValueError(f"better: attribute={attribute!r}. Choose one of {list(names)}.")
        a, b = (getattr(self, f"{names[attribute]}_{side}") for side in "ab")
        return "tie" if a == b else "a" if a > b else "b"


def _values(cell: str) -> tuple[str, ...]:
    """Value names joined by "|"."""
    return tuple(one_of(*VALUES)(name) for name in cell.split("|"))


def _switch(cell: str) -> int:
    return int(one_of("0", "1")(cell))


_split, _value = one_of(*SPLITS), one_of(*VALUES)
SCHEMAS = {
    "pairs": (Pair, {
        "pair_id": text, "context_id": text, "value": _value, "other": _value,
        "form": one_of(*FORMS), "construction": text, "chosen": one_of("first", "second"),
        "positive": text, "negative": text, "split": _split,
    }),
    "dilemmas": (Dilemma, {
        "dilemma_id": text, "situation": text, "action_1": text, "action_2": text,
        "values_1": _values, "values_2": _values, "split": _split,
    }),
    "portraits": (Portrait, {
        "item": whole, "value": _value, "key": lambda cell: int(one_of("1", "-1")(cell)),
        "text": text,
    }),
    "preferences": (Preference, {
        "pair_id": text, "context_id": text,
        "kind": one_of("helpfulness", "considerateness", "agree", "conflict"), "prompt": text,
        "response_a": text, "response_b": text, "helpful_a": _switch, "considerate_a": _switch,
        "helpful_b": _switch, "considerate_b": _switch, "split": _split,
    }),
}


def rows(path: str | Path, kind: type, schema: dict[str, Any]) -> list:
    """All rows of a CSV file as `kind`; the first bad row raises its `DataError`."""
    found = []
    for _, cells in csv_rows(schema)(Path(path)):
        if isinstance(cells, DataError):
            raise cells
        found.append(kind(**cells))
    return found


def table(name: str, split: str | None = None) -> list:
    """One of the course's own tables: "pairs", "dilemmas", "portraits" or "preferences".

    Args:
        name: which.
        split: "train", "dev", "test", or None for all; portraits have no splits.
    """
    if name not in SCHEMAS:
        raise ValueError(f"table: {name!r} is unknown. Choose one of {list(SCHEMAS)}.")
    kind, schema = SCHEMAS[name]
    if split is not None and (split not in SPLITS or "split" not in schema):
        known = list(SPLITS) if "split" in schema else "none: leave it out"
        raise ValueError(f"table: {name} has no split {split!r}. Splits: {known}.")
    found = rows(FOLDER / name / f"{name}.csv", kind, schema)
    return [row for row in found if split in (None, getattr(row, "split", None))]


def dilemmas(split: str | None = None) -> list[Dilemma]:
    """The 120 dilemmas; ask each in both orders, see `Dilemma.swapped`."""
    return table("dilemmas", split)


def portraits() -> list[Portrait]:
    """The 60 portrait items in the order in which to present them."""
    return table("portraits")


def preferences(split: str | None = None) -> list[Preference]:
    """The 200 preference pairs."""
    return table("preferences", split)


def score_portraits(answers: dict[int, float] | list[float]) -> dict[str, float]:
    """Centred value scores from answers on a scale of 1 (not like me) to 6 (very much like me).

        raw_v = mean of its items, those keyed −1 counted as 7 − answer
        score_v = raw_v − mean of all items so counted

    Args:
        answers: one per item, in item order, or a dictionary from item number to answer.

    Raises:
        ValueError: an answer missing or outside 1 to 6.
    """
    items = portraits()
    given = answers if isinstance(answers, dict) else dict(enumerate(answers, start=1))
    missing = [item.item for item in items if not 1 <= given.get(item.item, 0) <= 6]
    if missing or len(given) != len(items):
        raise ValueError(
            f"score_portraits: {len(given)} answers for {len(items)} items; missing or outside "
            f"1 to 6: {missing[:5]}. Code refusals yourself before scoring."
        )
    keyed = {p.item: given[p.item] if p.key > 0 else 7 - given[p.item] for p in items}
    centre = sum(keyed.values()) / len(keyed)
    by_value = {v: [keyed[p.item] for p in items if p.value == v] for v in VALUES}
    return {value: sum(scores) / len(scores) - centre for value, scores in by_value.items()}


# --------------------------------------------------------------- the same data as records


def _pair_records(row: dict, at: Place) -> Iterator[Record]:
    pair = Pair(**row)
    meta = {"other": pair.other, "form": pair.form, "construction": pair.construction,
            "chosen": pair.chosen, "split": pair.split}
    for pole, response in ((1, pair.positive), (-1, pair.negative)):
        yield at.record(
            f"{pair.pair_id}.{'pos' if pole > 0 else 'neg'}", meta, context_id=pair.context_id,
            value=pair.value, taxonomy="schwartz10", pole=pole, response=response,
        )


def _dilemma_record(row: dict, at: Place) -> Record:
    d = Dilemma(**row)
    return at.record(
        d.dilemma_id, {"values_1": d.values_1, "values_2": d.values_2, "split": d.split},
        context_id=d.dilemma_id, prompt=d.situation, choices=(d.action_1, d.action_2),
        label="|".join((d.values_1[0], d.values_2[0])),
    )


def _portrait_record(row: dict, at: Place) -> Record:
    p = Portrait(**row)
    return at.record(
        str(p.item), context_id=f"item-{p.item}", value=p.value, taxonomy="schwartz10",
        pole=p.key, prompt=p.text, choices=tuple("123456"),
    )


def _preference_record(row: dict, at: Place) -> Record:
    p = Preference(**row)
    return at.record(
        p.pair_id,
        {name: getattr(p, name) for name in ("kind", "split")}
        | {a: p.better(a) for a in ("helpfulness", "considerateness")},
        context_id=p.context_id, prompt=p.prompt, choices=(p.response_a, p.response_b),
    )


_BUILDERS = {
    "pairs": _pair_records, "dilemmas": _dilemma_record, "portraits": _portrait_record,
    "preferences": _preference_record,
}
READERS = {
    f"course_{name}": Reader(
        f"course_{name}",
        (Table(f"{name}.csv", csv_rows(schema), _BUILDERS[name], id=next(iter(schema))),),
        LICENCE,
        unread={"CARD.md": "prose"},
    )
    for name, (_, schema) in SCHEMAS.items()
}
"""Strict readers under the names "course_pairs", "course_dilemmas", ...; see `table.Reader`."""


def home(name: str) -> Path:
    """The folder behind a name of `READERS`."""
    return FOLDER / name.removeprefix("course_")


def records(name: str) -> Iterator[Record]:
    """The course's own data as the record type that later stages read."""
    if name not in SCHEMAS:
        raise ValueError(f"records: {name!r} is unknown. Choose one of {list(SCHEMAS)}.")
    return READERS[f"course_{name}"].read(home(name))

