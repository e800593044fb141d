"""ValueConsistency: questions on (un)controversial topics, rephrased, in four languages; PVQ-21.

An option is a wording and the stance it takes ("supports" or "opposes").
"""

from ... import values
from ..formats import jsonl_rows
from ..kinds import anything, flag, list_of, maybe, one_of, pairs_of, text
from ..record import Annotation
from ..table import Reader, Table

LANGUAGES = {"english": "en", "german": "de", "chinese": "zh", "japanese": "ja"}
OPTIONS = pairs_of(text, one_of("supports", "opposes"), at_least=2)
QUESTION = {
    "topic": text,
    "topic_english": maybe(text),
    "question": text,
    "original": text,
    "original_english": text,
    "rephrase": flag,
    "options": OPTIONS,
}
PORTRAIT = {
    "statement": text,
    "schwartz_value": one_of(*values.VALUES),
    "values": list_of(anything),
    "options": OPTIONS,
    "question": text,
}


def _stances(options):
    """Weight +1 for a wording that supports, -1 for one that opposes."""
    return tuple(Annotation("", w, 1.0 if s == "supports" else -1.0) for w, s in options.items())


def question(r, at):
    """Topic is the context, so rephrasings and questions of one topic stay together."""
    kind, language, country = at.stem.split("_")
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"{country}/{r['topic_english'] or r['topic']}",
        label=kind,
        prompt=r["question"],
        choices=tuple(r["options"]),
        annotators=_stances(r["options"]),
        language=LANGUAGES[language],
        meta={"original": r["original"], "rephrase": r["rephrase"], "country": country},
    )


def portrait(r, at):
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=f"pvq/{at.n}",
        value=r["schwartz_value"],
        taxonomy="schwartz10",
        pole=1,
        label="pvq",
        prompt=r["question"],
        choices=tuple(r["options"]),
        response=r["statement"],
        language=LANGUAGES[at.stem.removeprefix("pvq_")],
    )


READER = Reader(
    "valueconsistency",
    (
        Table("data/controversial_*.jsonl", jsonl_rows(QUESTION), question),
        Table("data/uncontroversial_*.jsonl", jsonl_rows(QUESTION), question),
        Table("data/pvq_*.jsonl", jsonl_rows(PORTRAIT), portrait),
    ),
    licence="MIT",
    unread={
        "data/*.csv": "answers of crowd workers who validated the questions",
        "data/*/*.csv": "answers of crowd workers who validated the questions",
        "data/validate/*/*.csv": "answers of crowd workers who validated the questions",
    },
)
