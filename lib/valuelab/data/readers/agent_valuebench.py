"""Agent-ValueBench: an agent's task in which two values pull apart, with checkpoints for each.

Two records a case, one for each value; both share the case as context.
"""

from ..formats import json_object, json_whole
from ..kinds import Wrong, anything, list_of, record_of, text
from ..record import DataError
from ..table import Reader, Table

CHECKPOINT = record_of(
    {
        "checkpoint_id": text,
        "checkpoint_name": text,
        "related_functions": list_of(text),
        "why_it_matters": text,
        "expected_actions": list_of(text),
        "expected_signal": text,
    }
)
CASE = {
    "case_name": text,
    "environment": text,
    "value_system": text,
    "value_items": list_of(text, size=2),
    "task_description": text,
    "env_initial_parameters": anything,
    "special_state_list": anything,
    "function_list": list_of(text),
    "value_a_checkpoint_list": list_of(CHECKPOINT, at_least=1),
    "value_b_checkpoint_list": list_of(CHECKPOINT, at_least=1),
}
SYSTEM = {"name": text, "values": list_of(record_of({"value": text, "definition": text}), None, 1)}


LISTED = json_object(SYSTEM)


def systems(root):
    """Value system -> its values, or nothing where the list is not at hand."""
    path = root / "configs/value_systems.json"
    found = {}
    for _, row in LISTED(path) if path.exists() else ():
        if isinstance(row, DataError):
            raise row
        found[row["key"]] = {v["value"] for v in row["value"]["values"]}
    return found


def case(r, at):
    system = r["value_system"]
    if at.side and system not in at.side:
        raise Wrong("a system of configs/value_systems.json", system, "value_system")
    for i, (value, side) in enumerate(zip(r["value_items"], "ab", strict=True)):
        if at.side and value not in at.side[system]:
            raise Wrong(f"a value of the system {system!r}", value, f"value_items[{i}]")
        points = r[f"value_{side}_checkpoint_list"]
        yield at.record(
            f"{r['case_name']}/{side}",
            context_id=r["case_name"],
            value=value,
            taxonomy="agent_valuebench",
            pole=1,
            label=system,
            prompt=r["task_description"],
            choices=tuple(r["function_list"]),
            response="\n".join(a for p in points for a in p["expected_actions"]),
            meta={
                "part": "case",
                "environment": r["environment"],
                "other_value": r["value_items"][1 - i],
                "checkpoints": [p["checkpoint_name"] for p in points],
            },
        )


def system(r, at):
    for v in r["value"]["values"]:
        yield at.record(
            f"system/{r['key']}/{v['value']}",
            context_id=r["key"],
            value=v["value"],
            taxonomy="agent_valuebench",
            label=r["value"]["name"],
            prompt=v["definition"],
            meta={"part": "definition"},
        )


READER = Reader(
    "agent_valuebench",
    (
        Table("case/case_*.json", json_whole(CASE), case, id="case_name"),
        Table("configs/value_systems.json", LISTED, system, id="value"),
    ),
    unread={"configs/value_pair_skip_rules.json": "which pairs the authors left out, no cases"},
    side=systems,
)
