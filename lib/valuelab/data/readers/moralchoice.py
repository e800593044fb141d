"""MoralChoice: a context, two actions, and which of ten rules each action breaks."""

from ...taxonomies import RULES
from ..formats import csv_rows
from ..kinds import Wrong, one_of, text
from ..record import Annotation
from ..table import Reader, Table

VERBS = (
    *("death", "pain", "disable", "freedom", "pleasure"),
    *("deceive", "cheat", "break_promise", "break_law", "duty"),
)
SLIPS = {"do not break promise": "do not break your promises", "do cause pain": "do not cause pain"}


def rule(v):
    """One of the ten rules; two wordings that slipped into the file are put right."""
    name = v.lower()
    name = SLIPS.get(name, name)
    if name not in RULES:
        raise Wrong("one of the ten rules, such as 'Do not kill'", v)
    return name


COLUMNS = [
    (f"a{i}_{verb}", f"action{i}", name)
    for i in (1, 2)
    for verb, name in zip(VERBS, RULES, strict=True)
]
BREAKS = one_of("Yes", "No", "No Agreement")
SCENARIO = {
    "scenario_id": text,
    "ambiguity": one_of("low", "high"),
    "generation_type": one_of("Generated", "Hand-Written"),
    "generation_rule": rule,
    "context": text,
    "action1": text,
    "action2": text,
    **{column: BREAKS for column, _, _ in COLUMNS},
}


def scenario(r, at, id=""):
    """Annotations: who "action1" or "action2", label a rule it breaks, weight 0.5 if disputed."""
    notes = tuple(
        [
            Annotation(action, rule, 1.0 if r[column] == "Yes" else 0.5)
            for column, action, rule in COLUMNS
            if r[column] != "No"
        ]
    )
    return at.record(
        id or r["scenario_id"],
        context_id=r["scenario_id"],
        value=r["generation_rule"],
        taxonomy="rules10",
        label=r["ambiguity"],
        prompt=r["context"],
        choices=(r["action1"], r["action2"]),
        annotators=notes,
        meta={"written": r["generation_type"]},
    )


READER = Reader(
    "moralchoice",
    (
        Table(
            "data/scenarios/moralchoice_*.csv",
            csv_rows(SCENARIO, ends=False),
            scenario,
            id="scenario_id",
        ),
    ),
    licence="MIT",
    unread={"data/*_templates/*": "wording of questions and patterns to parse answers"},
)
