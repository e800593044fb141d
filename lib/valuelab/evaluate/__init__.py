"""Evaluate: what an intervention did, against a random push of the same size, and at what price.

    metrics   control success, fluency, retention, leakage: pure functions on scores and texts
    judges    judges of replies, and how to judge a judge
    planted   the embedded model against the world that was planted
    bench     what is measured on: the planted world, or contrast pairs for any model
    push      the control: random directions, steps of equal size
    chain     pairs, probes, steering and comparisons in one dictionary of numbers
    methods   every way to align, behind one small interface: questions in, replies out
    table     all methods, all values, one protocol; resumable
    dilemmas  rankings of values before and after, with rank intervals
    outside   a steered model as a model of lm-eval and of Inspect
    compare   two reports side by side; a model card from one
    report    the command; page, figures, html and files write it down
"""

from valuelab.evaluate.judges import (
    audit,
    corrected_interval,
    corrected_share,
    judge_rates,
    length_judge,
    padding_effect,
)
from valuelab.evaluate.metrics import (
    control_success,
    distinct_n,
    leakage,
    off_target_ratio,
    perplexity,
    repetition,
    retention,
)

__all__ = [
    "audit",
    "control_success",
    "corrected_interval",
    "corrected_share",
    "distinct_n",
    "judge_rates",
    "leakage",
    "length_judge",
    "off_target_ratio",
    "padding_effect",
    "perplexity",
    "repetition",
    "retention",
]
