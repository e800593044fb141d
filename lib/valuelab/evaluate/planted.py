"""The embedded model against the world that was planted: the figures on its card, each one recomputable."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from valuelab import models
from valuelab import world as W
from valuelab.activations import capture
from valuelab.steering import add, steer
from valuelab.values import VALUES
from valuelab.world import grammar
from valuelab.world.oracle import Parsed

LAYER, STRENGTH = 3, 0.8  # of what was tried, the furthest that costs neither mass on the choices nor grammar


def choice(lm, situations, *, system: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Forced choice after "I would": probability of the first course of action, and mass on either.

    Returns:
        (p, mass), each (n,): p = P(first) / (P(first) + P(second)); mass = P(first) + P(second).
    """
    prompts = [models.chat(lm, s.text, system=system) + " I would" for s in situations]
    logp = [
        models.log_probs(lm, prompts, [f" {getattr(s, side).base}." for s in situations], batch_size=128)
        for side in ("first", "second")
    ]
    return torch.sigmoid(logp[0] - logp[1]).numpy(), (logp[0].exp() + logp[1].exp()).numpy()


def without_order(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Probability of an action with the effect of its place averaged out.

    Args:
        there: P(a) when a is named first, (n,).
        back: P(b) in the same question when b is named first, (n,).

    Returns:
        P(a), (n,): the mean of what the two orders say about a.
    """
    return (there + (1 - back)) / 2


def both_orders(lm, situations, *, system: str | None = None) -> np.ndarray:
    """P(first), with the two courses of action asked in both orders and averaged."""
    there, _ = choice(lm, situations, system=system)
    back, _ = choice(lm, [W.swap(s) for s in situations], system=system)
    return without_order(there, back)


def read_profile(p: np.ndarray, situations, ridge: float = 1.0) -> np.ndarray:
    """Ten values from answered choices: which profile would have chosen like this?

    A speaker with profile x has logit P(first) = 3 · stakes · (w_first - w_second) · x; solve that for x
    by least squares with a small ridge.

    Args:
        p: probability of the first course of action, (n,).
    Returns:
        profile (10,), in circle order; in the units of the planted profiles for one speaker. A mixture of speakers
        comes out flatter.
    """
    p = np.clip(np.asarray(p, dtype=float), 1e-4, 1 - 1e-4)
    gap = np.array([np.subtract(s.first.weights, s.second.weights) * 3 * s.stakes for s in situations])
    return np.linalg.solve(gap.T @ gap + ridge * np.eye(10), gap.T @ np.log(p / (1 - p)))


def toward(p: np.ndarray, situations, value: str) -> np.ndarray:
    """The same probabilities, turned so that they count for `value`."""
    return np.array([x if s.first.value == value else 1 - x for x, s in zip(p, situations, strict=True)])


def replies(lm, situations, *, system: str | None = None, seed: int = 0) -> list[Parsed]:
    """Sampled replies at temperature 1, read by the oracle."""
    prompts = [models.chat(lm, s.text, system=system) for s in situations]
    texts = models.generate(lm, prompts, max_new_tokens=70, temperature=1.0, seed=seed, batch_size=128)
    return [W.parse(t, s.offered) for t, s in zip(texts, situations, strict=True)]


def grammatical_share(lm, n: int = 400, seed: int = 1) -> dict[str, float]:
    """Share of sampled replies that parse, by split of the situations."""
    return {
        split: float(np.mean([r.grammatical for r in replies(lm, W.situations(split, n, seed), seed=seed)]))
        for split in W.SPLITS
    }


def choice_calibration(lm, n: int = 300, seed: int = 1, split: str = "held_out") -> float:
    """Correlation of the planted with the measured choice probability, no persona."""
    situations = W.situations(split, n, seed)
    planted = [W.choice_probability(s) for s in situations]
    return float(np.corrcoef(planted, both_orders(lm, situations))[0, 1])


def persona_shifts(lm, n: int = 40, lines: int = 3, seed: int = 2, table=grammar.PERSONA) -> dict:
    """How far a persona line moves the choice for its value: measured and planted, (10, 2) for high and low."""
    rng = np.random.default_rng(seed)
    measured, planted = np.zeros((10, 2)), np.zeros((10, 2))
    for v, value in enumerate(VALUES):
        situations = W.situations("held_out", n, seed, value=value)
        base = toward(both_orders(lm, situations), situations, value)
        base_planted = toward([W.choice_probability(s) for s in situations], situations, value)
        for k, sign in enumerate((1, -1)):
            for _ in range(lines):
                line = W.persona_line(value, sign, rng, table)
                moved = toward(choice(lm, situations, system=line)[0], situations, value)
                measured[v, k] += (moved - base).mean() / lines
            p = [W.choice_probability(s, persona=(value, sign)) for s in situations]
            planted[v, k] = (toward(p, situations, value) - base_planted).mean()
    return {
        "measured": measured,
        "planted": planted,
        "right_sign": int((np.sign(measured) == np.sign(planted)).sum()),
        "correlation": float(np.corrcoef(measured.ravel(), planted.ravel())[0, 1]),
    }


def facts_right(lm, n: int = 200, seed: int = 0) -> float:
    """Share of facts, sums and look-ups answered to the letter, greedy decoding."""
    table = W.facts(n, seed)
    prompts = [models.chat(lm, q) for q, _ in table]
    answers = models.generate(lm, prompts, max_new_tokens=20, temperature=0.0, batch_size=128)
    return float(np.mean([W.fact_is_right(a, right) for a, (_, right) in zip(answers, table, strict=True)]))


def persona_pairs(value: str, n: int, seed: int) -> list[tuple[str, str]]:
    """Chat situations that differ in one thing: whether the persona line puts `value` high or low."""
    rng = np.random.default_rng([seed, VALUES.index(value)])
    return [(W.persona_line(value, 1, rng), W.persona_line(value, -1, rng)) for _ in range(n)]


def mean_difference_vectors(lm, *, pairs: int = 40, seed: int = 0, layers=None) -> Tensor:
    """One direction a value and layer (10, layers, d), read where the model is about to choose.

    Contrast pairs: the same training situation after a persona line that puts the value high, and after one
    that puts it low, read at "I would". Mean of the first minus mean of the second, minus the average over
    the ten values: what all values share is the polarity of the wording, and that is not a value.
    """
    situations = W.situations("train", pairs, 1000 + seed)
    rows = []
    for value in VALUES:
        lines = persona_pairs(value, pairs, seed)
        states = []
        for side in (0, 1):
            prompts = [models.chat(lm, s.text, system=x[side]) for s, x in zip(situations, lines, strict=True)]
            states.append(capture(lm, [prompt + " I would" for prompt in prompts], layers))
        high, low = states
        rows.append(torch.stack([(high[layer] - low[layer]).mean(0) for layer in sorted(high)]))
    vectors = torch.stack(rows)
    return vectors - vectors.mean(0, keepdim=True)


def steering_gain(lm, layer: int, strength: float, *, n: int = 60, seed: int = 0) -> dict:
    """The go or no-go of the course: mean difference against a random direction of equal norm.

    Held-out situations, one vector seed. Returns arrays (10, 3) for unsteered, steered, random: `choice`
    (readout), `expressed` (share of sampled replies that express the value), `grammatical`, `mass`.
    """
    vectors = mean_difference_vectors(lm, seed=seed, layers=[layer])[:, 0]
    out = {k: np.zeros((10, 3)) for k in ("choice", "expressed", "grammatical", "mass")}
    for v, value in enumerate(VALUES):
        situations = W.situations("held_out", n, 100 + seed, value=value)
        shift = strength * vectors[v]
        random = torch.randn(shift.shape, generator=torch.Generator().manual_seed(1000 * seed + v))
        for k, d in enumerate((None, shift, random * shift.norm() / random.norm())):
            with nullcontext() if d is None else steer(lm, add({layer: d})):
                p, mass = choice(lm, situations)
                read = replies(lm, situations, seed=seed)
            out["choice"][v, k], out["mass"][v, k] = toward(p, situations, value).mean(), mass.mean()
            out["expressed"][v, k] = np.mean([r.expressed.get(value, 0) > 0 for r in read])
            out["grammatical"][v, k] = np.mean([r.grammatical for r in read])
    return out
