"""Word lists for the ten values in seven languages."""

from ..formats import json_object
from ..kinds import free, list_of, one_of
from ..table import Reader, Table

VALUE = one_of(
    *("Achievement", "Benevolence", "Conformity", "Hedonism", "Power", "Security"),
    *("Self-Direction", "Stimulation", "Tradition", "Universalism"),
)


def words(r, at):
    """One record a word; a word listed twice stays twice. One French word is empty as published."""
    value = r["key"].lower()
    for i, word in enumerate(r["value"]):
        yield at.record(
            f"{at.stem}/{value}/{i}",
            context_id=word.lower(),
            value=value,
            taxonomy="schwartz10",
            pole=1,
            prompt=word,
            language=at.stem,
        )


READER = Reader(
    "pyvalues",
    (
        Table(
            "src/pyvalues/assets/dictionaries/*/??.json",
            json_object(list_of(free, at_least=1), key=VALUE),
            words,
        ),
    ),
    licence="MIT",
)
