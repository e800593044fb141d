"""The planted world: a small English in which every speaker's values are known, and a model trained on it.

grammar.py     words, activities and sentence patterns        oracle.py      reads a reply back, exactly
speakers.py    profiles on the circle, and how they choose    situations.py  questions, contrast pairs, facts
corpus.py      writes documents; switches make the twins      train.py       trains the model from a seed
"""

from .corpus import TWINS, Switches, persona_line, write
from .grammar import ACTIVITIES, NEUTRAL_PERSONA, NOUNS, Activity
from .oracle import Parsed, fact_is_right, parse, value_of
from .situations import (
    SPLITS,
    Pair,
    Situation,
    choice_probability,
    contrast_pairs,
    facts,
    situations,
    swap,
)
from .speakers import MEAN, condition, covariance, draw_profiles, utilities

__all__ = [
    "ACTIVITIES", "MEAN", "NEUTRAL_PERSONA", "NOUNS", "SPLITS", "TWINS", "Activity", "Pair", "Parsed",
    "Situation", "Switches", "choice_probability", "condition", "contrast_pairs", "covariance",
    "draw_profiles", "fact_is_right", "facts", "parse", "persona_line", "situations", "swap", "utilities",
    "value_of", "write",
]  # fmt: skip
