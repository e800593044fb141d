"""Situations to measure on, contrast pairs to read from, and facts to protect, each held out from training or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuelab.values import VALUES, resolve

from . import grammar as g
from .corpus import FACTS, Switches, in_training
from .speakers import CHOICE_SHARPNESS, condition, draw_profiles, utilities

SPLITS = ("train", "held_out", "new_activities")


@dataclass(frozen=True)
class Situation:
    """One question with two courses of action; `text` is what the user asks."""

    first: g.Activity
    second: g.Activity
    text: str
    stakes: float
    frame: str
    context_id: str

    @property
    def offered(self) -> tuple[g.Activity, g.Activity]:
        return self.first, self.second


def _pair(rng, split: str, value: str | None):
    while True:
        a, b = (g.ACTIVITIES[int(i)] for i in rng.choice(len(g.ACTIVITIES), 2, replace=False))
        if value is not None and (a.value == value) == (b.value == value):
            continue
        if a.base.split()[0] == b.base.split()[0] or a.value == b.value:
            continue
        new = a.held_out or b.held_out
        ok = {"train": in_training(a, b), "held_out": not new and not in_training(a, b), "new_activities": new}
        if ok[split]:
            return a, b


def situations(split: str = "held_out", n: int = 200, seed: int = 0, *, value: str | None = None) -> list[Situation]:
    """`n` situations; with `value`, exactly one course of action of each serves it most.

    Args:
        split: "train" (pairs and frames of training), "held_out" (pairs and frames never seen together or at
            all) or "new_activities" (at least one activity that training never put into a question).
        value: a basic value, or None.
    Raises:
        ValueError: unknown split or value.
    """
    if split not in SPLITS:
        raise ValueError(f"situations: split={split!r} is not one of {', '.join(SPLITS)}.")
    value = None if value is None else resolve(value)
    rng = np.random.default_rng([seed, SPLITS.index(split), 77])
    frames = g.QUESTIONS if split == "train" else g.QUESTIONS_HELD_OUT
    out = []
    for i in range(n):
        a, b = _pair(rng, split, value)
        frame = frames[int(rng.integers(len(frames)))]
        context = g.CONTEXTS[int(rng.integers(len(g.CONTEXTS)))] if rng.random() < 0.3 else None
        stakes_text = tuple(g.STAKES)[int(rng.integers(3))] if rng.random() < 0.4 else ""
        text = g.with_context(g.fill(frame, a, b, g.NAMES[int(rng.integers(12))]), context) + stakes_text
        out.append(Situation(a, b, text, g.STAKES[stakes_text], frame, f"{split}-{seed}-{i}"))
    return out


def swap(s: Situation) -> Situation:
    """The same situation with its two courses of action in the other order."""
    mark = "\0"
    text = s.text
    for x, y in ((s.first.base, s.second.base), (s.first.gerund, s.second.gerund)):
        text = text.replace(x, mark).replace(y, x).replace(mark, y)
    return Situation(s.second, s.first, text, s.stakes, s.frame, s.context_id)


def choice_probability(
    s: Situation, *, persona: tuple[str, int] | None = None, profile=None, speakers: int = 4000, seed: int = 0,
    switches: Switches | None = None,
) -> float:  # fmt: skip
    """Planted probability that the first course of action is chosen.

    For one `profile` (10,) exactly; else the mean over speakers drawn from the population, all of them moved
    to the level of a `persona` (value, +1 or -1) where one is given. That mean is what a model that knows
    only the question and the persona line should answer.
    """
    switches = switches or Switches()
    if profile is None:
        profile = _population(speakers, seed, switches.circle)
        if persona is not None:
            profile = condition(profile, resolve(persona[0]), persona[1] * 2.5, circle=switches.circle)
    if not switches.values:
        profile = np.zeros(10)
    u = utilities(np.asarray(profile))
    x = CHOICE_SHARPNESS * s.stakes * (u[..., s.first.id] - u[..., s.second.id]) + switches.slot_bias
    return float(np.mean(1 / (1 + np.exp(-x))))


_POPULATIONS: dict = {}


def _population(n: int, seed: int, circle: bool) -> np.ndarray:
    key = (n, seed, circle)
    if key not in _POPULATIONS:
        _POPULATIONS[key] = draw_profiles(n, np.random.default_rng(seed), circle=circle)
    return _POPULATIONS[key]


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in the stance towards one value and in nothing else."""

    positive: str
    negative: str
    value: str
    context_id: str
    wording: str


def contrast_pairs(value: str, n: int = 120, seed: int = 0, *, kind: str = "statement") -> list[Pair]:
    """Context-controlled contrast pairs for a value.

    kind "statement": "At home, safety matters to me." against "At home, safety means little to me."; the
        wording carries the sign, so a bag of words tells the two apart.
    kind "comparison": "I put safety before fun." against "I put fun before safety."; the two members
        hold the same words, and only their order tells.
    """
    value = resolve(value)
    rng = np.random.default_rng([seed, VALUES.index(value), 5])
    others = [v for v in VALUES if v != value]
    mine = [a for a in g.ACTIVITIES if a.value == value]
    out = []
    for _ in range(n):
        context = g.CONTEXTS[int(rng.integers(len(g.CONTEXTS)))]
        prefix = context if rng.random() < 0.5 else None
        noun, act = rng.choice(g.NOUNS[value]), mine[int(rng.integers(len(mine)))]
        other = others[int(rng.integers(9))]
        theirs = [a for a in g.ACTIVITIES if a.value == other]
        if kind == "statement":
            k = 2 * int(rng.integers(sum(p.kind in ("value", "activity") for p in g.FIRST) // 2))
            plus, minus = g.FIRST[k], g.FIRST[k + 1]
            thing = noun if plus.kind == "value" else act
            texts = g.fill(plus.text, thing), g.fill(minus.text, thing)
        elif kind == "comparison":
            plus = [p for p in g.FIRST if p.kind.startswith("compare")][int(rng.integers(8))]
            x, y = (noun, rng.choice(g.NOUNS[other])) if plus.kind == "compare_values" else (
                act, theirs[int(rng.integers(len(theirs)))])  # fmt: skip
            texts = g.fill(plus.text, x, y), g.fill(plus.text, y, x)
            if plus.sign < 0:
                texts = texts[::-1]
        else:
            raise ValueError(f"contrast_pairs: kind={kind!r} is neither 'statement' nor 'comparison'.")
        pos, neg = (g.with_context(t, prefix) + "." for t in texts)
        out.append(Pair(pos, neg, value, f"{prefix}|{noun if 'value' in plus.kind else act.base}", plus.text))
    return out


def facts(n: int = 200, seed: int = 0) -> list[tuple[str, str]]:
    """`n` (question, answer): half from the closed table, half look-ups in the question itself."""
    rng = np.random.default_rng([seed, 9])
    table = [FACTS[int(i)] for i in rng.choice(len(FACTS), min(n // 2, len(FACTS)), replace=False)]
    return table + [g.lookup(rng) for _ in range(n - len(table))]
