"""A datasheet: what a dataset holds, counted, beside what only its author can say."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from valuelab.data.splits import leaks

SECTIONS = ("motivation", "collection", "use", "not for", "licence")


def datasheet(rows: Sequence, prose: Mapping[str, str]) -> dict:
    """Put the counts of a dataset beside the sections that its author wrote.

    Args:
        rows: objects with `context_id` and `split`.
        prose: text for each of `SECTIONS`; further sections are kept.

    Returns:
        {"rows": number of rows, "contexts": number of contexts,
        "contexts per split": {split: number of contexts}, "leaking contexts": how many stand in
        more than one split} followed by the sections of `prose`.

    Raises:
        ValueError: a section that is missing or blank; the message names all of them.

    Source: the questions are a selection from Gebru et al., arXiv 1803.09010.
    """
    blank = [name for name in SECTIONS if not prose.get(name, "").strip()]
    if blank:
        raise ValueError(
            f"datasheet: nothing is said under {', '.join(blank)}. Write a sentence for each; "
            "\"unknown\" is an answer, silence is not."
        )
    # a dictionary and not a set, so that the splits come in the same order on every run
    contexts = dict.fromkeys((row.context_id, row.split) for row in rows)
    return {
        "rows": len(rows),
        "contexts": len({row.context_id for row in rows}),
        "contexts per split": dict(Counter(split for _, split in contexts)),
        "leaking contexts": len(leaks([r.context_id for r in rows], [r.split for r in rows])),
        **prose,
    }
