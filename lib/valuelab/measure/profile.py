"""A value profile: one interval for each value, Holm across them, invalid answers counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from valuelab.measure.intervals import Interval, holm, mean_interval

__all__ = ["Profile", "value_profile"]


@dataclass(frozen=True)
class Profile:
    """Scores by value with their intervals.

    values: names, in order. intervals: one Interval each. p_holm: (k,) adjusted p-values against
    `null`, None where there is no interval. invalid: answers that could not be scored.
    outcome: "ok", or a sentence where the profile as a whole says nothing.
    """

    values: tuple[str, ...]
    intervals: tuple[Interval, ...]
    p_holm: tuple[float | None, ...]
    null: float = 0.0
    invalid: int = 0
    outcome: str = "ok"
    flags: tuple[str, ...] = ()

    @property
    def scores(self) -> np.ndarray:
        """(k,) estimates; values without a single valid answer are nan here and named in flags."""
        return np.array([i.estimate for i in self.intervals])

    def __getitem__(self, value: str) -> Interval:
        if value not in self.values:
            raise KeyError(f"{value!r} is not in this profile. It has {', '.join(self.values)}.")
        return self.intervals[self.values.index(value)]

    def __str__(self) -> str:
        lines = [] if self.outcome == "ok" else [self.outcome]
        for value, interval, p in zip(self.values, self.intervals, self.p_holm, strict=True):
            verdict = "" if p is None else f"  p={p:.3f}"
            lines.append(f"{value:15s} {interval}{verdict}  n={interval.n}")
        lines.append(f"null {self.null:g}; invalid {self.invalid}")
        return "\n".join([*lines, *self.flags])


def value_profile(
    scores,
    values,
    clusters=None,
    *,
    names=None,
    null: float = 0.0,
    level: float = 0.95,
    fewest: int = 2,
) -> Profile:
    """Mean score of each value with clustered intervals and Holm across values.

    Args:
        scores: (n,) one score per answer; nan marks an invalid answer and is counted, not scored.
        values: (n,) value of each answer's item.
        clusters: (n,) context of each answer; default, every answer its own.
        names: order of the values; default, the order of first appearance.
        null: the score that means "nothing", 0 for centred scores.
        fewest: values with fewer clusters than this are flagged.

    Returns:
        Profile. Where no spread exists at all its outcome says so.
    """
    s, v = np.asarray(scores, float).reshape(-1), np.asarray(values).reshape(-1)
    if s.shape != v.shape:
        raise ValueError(f"value_profile: {s.size} scores but {v.size} values. Give one per score.")
    c = np.arange(s.size) if clusters is None else np.asarray(clusters).reshape(-1)
    names = tuple(dict.fromkeys(v.tolist())) if names is None else tuple(names)
    valid, intervals, flags = np.isfinite(s), [], []
    for name in names:
        here = valid & (v == name)
        if not here.any():
            intervals.append(
                Interval(math.nan, -math.inf, math.inf, math.inf, 0, 0, None, "no valid answer")
            )
            flags.append(f"{name}: no valid answer")
            continue
        intervals.append(mean_interval(s[here], c[here], level=level, null=null))
        if intervals[-1].clusters < fewest:
            flags.append(f"{name}: only {intervals[-1].clusters} contexts")
    tested = [k for k, i in enumerate(intervals) if i.p is not None]
    adjusted: list[float | None] = [None] * len(names)
    for k, p in zip(tested, holm([intervals[k].p for k in tested]) if tested else [], strict=True):
        adjusted[k] = float(p)
    if not valid.any():
        outcome = "no valid answer at all: nothing was measured"
    elif np.ptp(s[valid]) == 0 and valid.sum() > 1:
        outcome = f"zero variance: every answer scored {s[valid][0]:g}"
    else:
        outcome = "ok"
    return Profile(
        names, tuple(intervals), tuple(adjusted), null, int((~valid).sum()), outcome, tuple(flags)
    )
