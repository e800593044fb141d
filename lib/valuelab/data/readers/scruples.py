"""Scruples: how many people gave which label. Texts are absent but for the project's own fixtures.

An annotation is a label with the number of people who gave it.
"""

from ..formats import json_list, jsonl_rows
from ..kinds import Wrong, integer, list_of, one_of, pairs_of, record_of, text
from ..record import Annotation
from ..table import Reader, Table

LABELS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")


def _top(names, counts):
    """The label most people gave; "" on a tie at the top, since a tie is no label."""
    best = max(counts)
    return names[counts.index(best)] if counts.count(best) == 1 else ""


def _counts(names):
    def build(r, at):
        if min(r) < 0:
            raise Wrong("counts that are not negative", r, f"[{at.n}]")
        return at.record(
            f"{at.stem}/{at.n}",
            context_id=f"{at.stem}/{at.n}",
            label=_top(names, r),
            choices=names,
            annotators=tuple(Annotation("", n, float(c)) for n, c in zip(names, r, strict=True)),
            meta={"part": "counts"},
        )

    return build


def anecdote(r, at):
    scores = r["label_scores"]
    if scores.keys() != set(LABELS):
        raise Wrong(f"counts for {LABELS}", sorted(scores), "label_scores")
    return at.record(
        f"anecdote/{r['id']}",
        context_id=r["id"],
        label=r["label"],
        prompt=f"{r['title']}\n\n{r['text']}",
        choices=LABELS,
        annotators=tuple(Annotation("", n, float(scores[n])) for n in LABELS),
        meta={"part": "anecdote", "post_type": r["post_type"]},
    )


def dilemma(r, at):
    actions = [a["description"] for a in r["actions"]]
    return at.record(
        f"dilemma/{r['id']}",
        context_id=r["id"],
        label=str(r["gold_label"]),
        choices=tuple(actions),
        response=actions[r["gold_label"]],
        annotators=tuple(
            Annotation("", a, float(n)) for a, n in zip(actions, r["gold_annotations"], strict=True)
        ),
        meta={"part": "dilemma"},
    )


ANECDOTE = {
    "id": text,
    "post_type": one_of("HISTORICAL", "HYPOTHETICAL"),
    "title": text,
    "text": text,
    "label_scores": pairs_of(one_of(*LABELS), integer),
    "label": one_of(*LABELS),
}
DILEMMA = {
    "id": text,
    "actions": list_of(record_of({"id": text, "description": text}), size=2),
    "gold_label": one_of(0, 1),
    "gold_annotations": list_of(integer, size=2),
}
COUNTS = "src/scruples/demos/scoracle/templates/dev.scruples-{}_label-counts.json"

READER = Reader(
    "scruples",
    (
        Table(COUNTS.format("anecdotes"), json_list(list_of(integer, size=5)), _counts(LABELS)),
        Table(COUNTS.format("dilemmas"), json_list(list_of(integer, size=2)),
              _counts(("action 1", "action 2"))),
        Table("tests/fixtures/corpus-easy/*.jsonl", jsonl_rows(ANECDOTE), anecdote, id="id"),
        Table("tests/fixtures/resource-easy/*.jsonl", jsonl_rows(DILEMMA), dilemma, id="id"),
    ),
    licence="Apache-2.0",
    unread={
        "src/scruples/demos/scoracle/templates/dev.snli_label-counts.json": "another task's counts",
        "tests/fixtures/raw-data/*": "made-up posts for the project's own tests",
        "tests/fixtures/gold-extractions/*": "titles for a rule-based extractor",
        "hit-definitions/*/data.jsonl": "examples shown to annotators, without labels of theirs",
    },
)  # fmt: skip
