"""ProgressGym: moral foundations, world views, MoralChoice again, preferences, and LIMA.

Published slips that are read as they stand: one row of views/final.csv repeats the header, three
have empty choices, and a few cells carry a leading space.
"""

from ..formats import csv_rows, json_list
from ..kinds import Wrong, free, list_of, one_of, text
from ..table import Reader, Table
from .moralchoice import SCENARIO, scenario

RAW = "src/evaluation/raw_dataset/"
LIBS = "libs/llama_factory/data/"
FOUNDATIONS = {
    "Harm_Care": "care",
    "Fairness_Reciprocity": "fairness",
    "InGroup_Loyalty": "loyalty",
    "Authority_Respect": "authority",
    "Purity_Sancity": "sanctity",
}
WRITTEN = one_of({"generated": "generated", " generated": "generated", "original": "original"})
DILEMMA = {
    "scenario_id": text,
    "generation_type": WRITTEN,
    "generation_theme": one_of(FOUNDATIONS),
    "context": text,
    "action1": text,
    "action2": text,
}
THEMES = ("Ontology", "Anthropology", "Axiology", "Epistemology", "Societal vision")
VIEW = {
    "scenario_id": text,
    "generaton_type": one_of("generated", "original", "generation_type"),
    "generation_theme": one_of({**{t: t.lower() for t in THEMES}, "theme": ""}),
    "context": text,
    "action1": text,
    "action2": text,
    "action3": free,
    "action4": free,
}


def foundation(r, at):
    return at.record(
        f"foundation/{at.stem}/{r['scenario_id']}",
        context_id=f"foundation/{r['scenario_id']}",
        value=r["generation_theme"],
        taxonomy="mft5",
        prompt=r["context"],
        choices=(r["action1"].strip(), r["action2"].strip()),
        meta={"part": "foundation", "split": at.stem, "written": r["generation_type"]},
    )


def view(r, at):
    theme, header = r["generation_theme"], r["generaton_type"] == "generation_type"
    if (not theme) != header:
        raise Wrong("a theme of world views", "theme", "generation_theme")
    return at.record(
        f"views/{at.stem}/{r['scenario_id']}",
        context_id=f"views/{r['scenario_id']}",
        value=theme,
        taxonomy="views5" if theme else "",
        prompt=r["context"],
        choices=tuple(c for c in (r[f"action{i}"] for i in (1, 2, 3, 4)) if c),
        meta={"part": "views", "split": at.stem, "repeats_the_header": header},
    )


def choice(r, at):
    """Scenario ids come twice at the source, so the row number makes the record's id."""
    return scenario(r, at, id=f"moralchoice/{at.stem}/{at.n}")


def preference(r, at):
    """The first output is preferred."""
    return at.record(
        f"{at.stem}/{at.n}",
        context_id=r["input"],
        label=r["output"][0],
        prompt=f"{r['instruction']}\n\n{r['input']}",
        choices=tuple(r["output"]),
        response=r["output"][0],
        meta={"part": "preference"},
    )


def lima(r, at):
    return at.record(
        f"lima/{at.n}",
        context_id=f"lima/{at.n}",
        prompt=r["instruction"],
        response=r["output"],
        meta={"part": "lima", "history": r["history"]},
    )


PAIR = {"instruction": text, "input": text, "output": list_of(text, size=2)}
TALK = {
    "instruction": text,
    "input": free,
    "output": text,
    "history": list_of(list_of(text, size=2)),
}

READER = Reader(
    "progressgym",
    (
        Table(RAW + "foundation/final.csv", csv_rows(DILEMMA), foundation, id="scenario_id"),
        Table(
            RAW + "foundation/prototype.csv",
            csv_rows(DILEMMA, ends=False),
            foundation,
            id="scenario_id",
        ),
        Table(RAW + "views/*.csv", csv_rows(VIEW), view, id="scenario_id"),
        Table(RAW + "moralchoice/*.csv", csv_rows(SCENARIO, ends=False), choice),
        Table(LIBS + "value_preferences_*.json", json_list(PAIR), preference),
        Table(LIBS + "preference_*.json", json_list(PAIR), preference),
        Table(LIBS + "lima.json", json_list(TALK), lima),
    ),
    licence="MIT",
    unread={
        "src/evaluation/raw_dataset/*/format_*.json": "the same scenarios without their labels",
        "src/evaluation/assets/*": "wording of questions and patterns to parse answers",
        "src/evaluation/assets/data/*/*": "wording of questions and patterns to parse answers",
        "libs/llama_factory/evaluation/*/mapping.json": "names of subjects",
    },
)
