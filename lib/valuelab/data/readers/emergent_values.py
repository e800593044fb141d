"""Utility engineering: outcomes to compare, policies, lotteries, Markov processes, maximisation."""

from ..formats import json_list, json_object
from ..kinds import anything, flag, integer, list_of, number, pairs_of, record_of, text
from ..table import Reader, Table

BASE = "utility_analysis/experiments/"
LOTTERY = record_of(
    {
        "option": text,
        "sub_options": list_of(record_of({"option": text, "probability": number}), at_least=2),
    }
)
PROCESS = record_of(
    {
        "name": text,
        "states": list_of(record_of({"id": integer, "observation": text, "is_terminal": flag})),
        "transitions": pairs_of(text, list_of(anything)),
        "start_state_distribution": list_of(anything, at_least=1),
    }
)


def option(r, at):
    """A category and its options: one record an option."""
    for i, text_ in enumerate(r["value"]):
        yield at.record(
            f"{at.stem}/{r['key']}/{i}", context_id=r["key"], label=r["key"], prompt=text_,
            meta={"part": at.stem},
        )  # fmt: skip


def lottery(r, at):
    for i, item in enumerate(r["value"]):
        yield at.record(
            f"lottery/{i}",
            context_id=f"lottery/{i}",
            prompt=item["option"],
            choices=tuple(o["option"] for o in item["sub_options"]),
            meta={
                "part": "lottery",
                "probability": [o["probability"] for o in item["sub_options"]],
            },
        )


def process(r, at):
    for i, item in enumerate(r["value"]):
        yield at.record(
            f"{at.stem}/{i}",
            context_id=f"process/{i}",
            label=item["name"],
            prompt=item["name"],
            choices=tuple(s["observation"] for s in item["states"]),
            meta={
                "part": at.stem,
                "terminal": [s["is_terminal"] for s in item["states"]],
                "transitions": item["transitions"],
                "start": item["start_state_distribution"],
            },
        )


def question(r, at):
    return at.record(
        f"maximise/{at.n}",
        context_id=f"maximise/{at.n}",
        prompt=r["question"],
        choices=tuple(r["possible_answers"]),
        meta={"part": "maximise", "pair_prompt": r["pair_prompt"]},
    )


OPTIONS = json_object(list_of(text, at_least=1))
QUESTION = {"question": text, "pair_prompt": text, "possible_answers": list_of(text, at_least=2)}

READER = Reader(
    "emergent_values",
    (
        Table("utility_analysis/shared_options/options_hierarchical.json", OPTIONS, option),
        Table(BASE + "political_values/options/policy_options.json", OPTIONS, option),
        Table(BASE + "political_values/options/entities.json", OPTIONS, option),
        Table(
            BASE + "expected_utility_implicit/implicit_lotteries/options.json",
            json_object(list_of(LOTTERY)),
            lottery,
        ),
        Table(
            BASE + "instrumental_values/markov_processes*.json",
            json_object(list_of(PROCESS)),
            process,
        ),
        Table(BASE + "maximization/util_max_questions.json", json_list(QUESTION), question),
    ),
    licence="MIT",
    unread={
        "utility_analysis/shared_options/options_testing.json": "two categories of the same file",
        "utility_analysis/capability_scores.csv": "scores of models",
    },
)
