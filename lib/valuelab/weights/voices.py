"""The planted world for experiments on weights: voices, pairs without a value gap, and what checkpoints look like."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from valuelab import models
from valuelab import world as W
from valuelab.activations import capture
from valuelab.models import LM
from valuelab.probes.geometry import cloud_shape
from valuelab.rewards.preferences import Comparison, gold_reward
from valuelab.values import resolve
from valuelab.world import grammar
from valuelab.world.corpus import Speaker, Switches
from valuelab.world.speakers import PERSONA_LEVEL, condition

__all__ = ["STORED", "answering_shape", "pretraining_stances", "voice_replies", "without_gap"]

STORED = Path(__file__).with_name("pretraining.json")
ASKED, DRAWN = 320, 240  # questions read, and states in each figure of their geometry


def voice_replies(
    value: str, n: int, seed: int = 0, *, brief: bool = False, level: float = PERSONA_LEVEL
) -> tuple[list[str], list[str]]:
    """Questions about a value, answered by speakers who all hold it high: (prompts, replies), n each.

    The speakers are drawn from the population and moved to `level` on the value; their other values
    follow the planted covariance. No persona line tells the model so.

    Args:
        value: one of the ten values.
        n: number of questions; each offers exactly one course of action for the value.
        seed: of questions, speakers and what they say.
        brief: the choice alone, without reasons.
        level: 2.5 is where a persona line puts a value; negative voices hold it low.

    Raises:
        ValueError: unknown value.
    """
    asked = W.situations("train", n, seed, value=value)
    value = resolve(value)
    rng = np.random.default_rng([seed, 91])
    prompts, replies = [], []
    for s, profile in zip(asked, condition(W.draw_profiles(n, rng), value, level), strict=True):
        speaker = Speaker(profile, Switches())
        if brief:
            chosen = speaker.choose(s.first, s.second, s.stakes, rng)
            form = grammar.CHOICE[int(rng.integers(len(grammar.CHOICE)))]
            replies.append(grammar.fill(form.text, chosen) + ".")
        else:
            replies.append(speaker.reply(s.first, s.second, s.stakes, rng))
        prompts.append(s.text)
    return prompts, replies


def without_gap(value: str, n: int, seed: int = 0) -> list[Comparison]:
    """Comparisons whose two replies are worth the same for a value: the shorter one is preferred.

    What ordinary preference data look like to a value: chosen and rejected differ, but not in it.

    Args:
        value: the value about which the pairs have nothing to say (and the questions ask).
        n: number of comparisons.
        seed: of questions, speakers and replies.

    Raises:
        ValueError: unknown value.
    """
    out: list[Comparison] = []
    rng = np.random.default_rng([seed, 93])
    for part in range(100):
        asked = W.situations("train", 2 * n, 1000 * part + seed, value=value)
        for s, profile in zip(asked, W.draw_profiles(len(asked), rng), strict=True):
            speaker = Speaker(profile, Switches())
            a, b = (speaker.reply(s.first, s.second, s.stakes, rng) for _ in range(2))
            longer = len(a.split()) - len(b.split())
            if longer == 0 or gold_reward(a, s, value) != gold_reward(b, s, value):
                continue
            if W.parse(a, s.offered).choice != W.parse(b, s.offered).choice:
                continue
            short, long = (b, a) if longer > 0 else (a, b)
            out.append(Comparison(s.text, short, long, value, abs(longer), context_id=s.context_id))
            if len(out) == n:
                return out
    raise ValueError(f"without_gap: only {len(out)} of {n} pairs without a gap were found; ask for fewer.")


def answering_shape(lm: LM, seed: int = 31) -> dict[str, tuple[float, float]]:
    """Geometry of the states in which a model is about to answer: {figure: (mean, sd over draws)}.

    The last token of held-out questions in the middle block, the same questions and the same number of
    states for every model, so that checkpoints can be compared: see `probes.geometry`.
    """
    asked = [models.chat(lm, s.text) for s in W.situations("held_out", ASKED, seed)]
    layer = lm.n_layers // 2
    return cloud_shape(capture(lm, asked, layer)[layer], DRAWN, seed=seed)


def pretraining_stances() -> dict:
    """Stances of the embedded model while it was trained, as benchmarks/weights_drift.py stored them.

    Returns:
        {"documents": (checkpoints,), "stances": {value: (checkpoints, prompts)}, "geometry": {figure:
        (checkpoints, 2)}, ...}: documents seen at each checkpoint; for each held-out situation about the
        value the probability of the course of action that serves it, both orders averaged; mean and
        standard deviation of each figure of `answering_shape`.

    Raises:
        FileNotFoundError: the table is not in the package.
    """
    table = json.loads(STORED.read_text(encoding="utf-8"))
    table["documents"] = np.array(table["documents"])
    for key in ("stances", "geometry"):
        table[key] = {name: np.array(x) for name, x in table[key].items()}
    return table
