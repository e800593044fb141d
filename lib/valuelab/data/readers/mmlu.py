"""MMLU: 57 subjects of multiple choice, used here to check that steering leaves knowledge alone."""

from ..formats import csv_rows
from ..kinds import one_of, text
from ..table import Reader, Table

LETTERS = "ABCD"
ROW = {"question": text, **dict.fromkeys(LETTERS, text), "answer": one_of(*LETTERS)}


def question(r, at):
    """`context_id` is the question itself, so that repeated ones never straddle a split."""
    choices = tuple(r[c] for c in LETTERS)
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=r["question"],
        label=r["answer"],
        prompt=r["question"],
        choices=choices,
        response=choices[LETTERS.index(r["answer"])],
        meta={"subject": at.stem.rpartition("_")[0], "split": at.parts[-1]},
    )


READER = Reader(
    "mmlu",
    tuple(Table(f"data/{s}/*_{s}.csv", csv_rows(ROW, header=False), question)
          for s in ("dev", "val", "test")),
    licence="MIT",
    unread={"data/banned_urls.txt": "web addresses, not questions"},
)  # fmt: skip
