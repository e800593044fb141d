"""One file per public dataset; each defines `READER`. Loaded by name, when asked for.

The course's own data have their readers in `own.READERS`; `reader` knows both.
"""

from __future__ import annotations

from importlib import import_module

from .. import own
from ..table import Reader

NAMES = (
    "agent_valuebench",
    "anthropic_evals",
    "constitutional_harmlessness",
    "conva",
    "cvalues",
    "daily_dilemmas",
    "ealm",
    "egonormia",
    "emergent_values",
    "ethics",
    "flames",
    "global_opinions",
    "hh_rlhf",
    "llm_values_pct",
    "mmlu",
    "moral_graph",
    "moral_stories",
    "moralchoice",
    "mort",
    "normdial",
    "nurvalues",
    "progressgym",
    "pyvalues",
    "repe",
    "scruples",
    "value_portrait",
    "valuebench",
    "valueconsistency",
    "valueeval23",
)


def reader(name: str) -> Reader:
    """The reader of a dataset. ValueError naming the choices where there is none."""
    if name in own.READERS:
        return own.READERS[name]
    if name not in NAMES:
        raise ValueError(f"no dataset {name!r}. Choose from: {', '.join((*NAMES, *own.READERS))}.")
    return import_module(f"{__name__}.{name}").READER
