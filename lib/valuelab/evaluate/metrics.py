"""What an intervention did: pure functions on scores and texts, no model and no files.

A score belongs to one item (a situation, a contrast pair, a fact) and every condition answers the
same items, so that conditions are compared item by item. The unit of inference is the context of
an item. A reply that is empty or cannot be read is a failure (score 0), never a missing value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from valuelab.measure.intervals import Interval, holm, mean_interval, paired_difference
from valuelab.values import ANGLES, VALUES, index

__all__ = [
    "CONFIDENCE",
    "CircleFit",
    "ControlSuccess",
    "Retention",
    "adverse_share",
    "circle_fit",
    "control_success",
    "distinct_n",
    "empty_share",
    "harmonic_summary",
    "leakage",
    "ngram_entropy",
    "off_target_ratio",
    "perplexity",
    "repetition",
    "retention",
    "words",
]

CONFIDENCE = 0.95
WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")


# ------------------------------------------------------------------------------ control success


@dataclass(frozen=True)
class ControlSuccess:
    """Three paired differences; only `advantage` is evidence for the direction.

    gain: steered minus unsteered. random_gain: random direction of equal size minus unsteered.
    advantage: steered minus random.
    """

    gain: Interval
    random_gain: Interval
    advantage: Interval


def control_success(
    unsteered: np.ndarray, steered: np.ndarray, random: np.ndarray, contexts: np.ndarray
) -> ControlSuccess:
    """Control success of a direction as a paired gain, beside a random direction of equal size.

    Each item is answered three times: as the model is, steered, and pushed just as hard in a random
    direction. A push of any kind can change answers, so only the part beyond the random push is
    due to the direction:

        gain = mean(steered − unsteered),   advantage = mean(steered − random)

    both over the same items, with standard errors clustered by context.

    Args:
        unsteered: score of each item, (n,); 1 or 0 from a judge, or a log-probability margin.
        steered: scores of the same items, in the same order, (n,).
        random: scores of the same items under the random direction, (n,).
        contexts: context of each item, (n,) labels.

    Returns:
        ControlSuccess of three Intervals (95 %).

    Raises:
        ValueError: lengths differ, or a score is not finite.

    Source: CSR of ConVA, arXiv 2507.11316; clustered errors as in arXiv 2411.00640.
    """
    return ControlSuccess(
        gain=paired_difference(steered, unsteered, contexts),
        random_gain=paired_difference(random, unsteered, contexts),
        advantage=paired_difference(steered, random, contexts),
    )


def adverse_share(unsteered: Any, steered: Any, contexts: Any = None) -> Interval:
    """Share of items that the intervention moves the wrong way (score falls).

    Read it beside the same share under a random direction: noise alone moves up to a quarter of 0/1 items the
    wrong way, and about half of them where scores are continuous (arXiv 2407.12404 calls them anti-steerable).
    """
    before, after = same_items("adverse_share", unsteered, steered)
    return mean_interval(after < before, contexts)


# ------------------------------------------------------------------------------------ fluency


def words(text: str) -> list[str]:
    """Words and punctuation marks, lower case."""
    return WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Different n-grams over all n-grams of a set of texts: 1 is all new, near 0 is all the same.

    It falls with the number of words, so compare sets of like size. 0 where no text has n words.

    Source: Li et al., arXiv 1510.03055.
    """
    found = [gram for text in texts for gram in ngrams(words(text), check_n(n))]
    return len(set(found)) / len(found) if found else 0.0


def repetition(text: str, n: int = 2) -> float:
    """Share of a text's n-grams that it has already said: 0 for none, near 1 for a stuck model."""
    found = ngrams(words(text), check_n(n))
    return 1 - len(set(found)) / len(found) if found else 0.0


def ngram_entropy(texts: Sequence[str], n: int = 2) -> float:
    """Entropy in bits of the n-grams of a set of texts; 0 where there are none."""
    counts = Counter(gram for text in texts for gram in ngrams(words(text), check_n(n)))
    share = np.array(list(counts.values()), float) / max(1, sum(counts.values()))
    return float(-(share * np.log2(share)).sum()) if counts else 0.0


def perplexity(log_probs: Any, tokens: Any) -> float:
    """exp of the mean negative log-probability per token, over all texts together.

    A low perplexity can be mere repetition: read it with `repetition` and `distinct_n`. It is infinite
    where it is too large for a float.

    Args:
        log_probs: (n,) summed log-probability of each reply under the *unsteered* model, nats.
        tokens: (n,) number of tokens of each reply.

    Raises:
        ValueError: lengths differ, or no tokens at all.
    """
    total, count = np.asarray(log_probs, float), np.asarray(tokens, float)
    if total.shape != count.shape or count.sum() <= 0:
        raise ValueError(
            f"perplexity: {total.size} log-probabilities for {count.size} lengths with "
            f"{count.sum():.0f} tokens in all; give one each, and at least one reply with words."
        )
    nats = float(-total.sum() / count.sum())
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def empty_share(texts: Sequence[str]) -> float:
    """Share of replies without a word. They count as failures in every other score."""
    return sum(not text.strip() for text in texts) / len(texts) if texts else 0.0


def check_n(n: int) -> int:
    if n < 1:
        raise ValueError(f"n-grams: n={n}; use 1 or more words.")
    return n


# ---------------------------------------------------------------------- retention and side effects


@dataclass(frozen=True)
class Retention:
    """Change of an ability, and whether a loss beyond the margin is ruled out.

    before, after: mean scores. change: paired, after minus before. kept: the lower bound of the
    change lies above −margin. Not "kept" means not shown to be kept: too few items, or a loss.
    """

    before: float
    after: float
    change: Interval
    margin: float
    kept: bool


def retention(before: Any, after: Any, contexts: Any = None, *, margin: float = 0.05) -> Retention:
    """Non-inferiority of an ability: is a loss larger than `margin` excluded?

    Args:
        before, after: score of each item (fact right or wrong, ...), (n,) each, same items.
        contexts: (n,) labels, or None for independent items.
        margin: largest loss that would not matter, fixed before looking.

    Raises:
        ValueError: lengths differ, or a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"retention: margin={margin}; fix a positive one before you look.")
    old, new = same_items("retention", before, after)
    change = paired_difference(new, old, contexts)
    return Retention(float(old.mean()), float(new.mean()), change, margin, change.low > -margin)


def leakage(
    unsteered: np.ndarray, steered: np.ndarray, contexts: np.ndarray
) -> tuple[list[Interval], np.ndarray]:
    """Change of every value's score when one value is steered: one row of the leakage matrix.

    Args:
        unsteered, steered: (n, values) scores of the same items.
        contexts: (n,) labels.

    Returns:
        one Interval a value, and Holm-adjusted p-values (values,) of "no change". A value whose
        interval could not be made gets p = 1.
    """
    before, after = np.asarray(unsteered, float), np.asarray(steered, float)
    if before.shape != after.shape or before.ndim != 2:
        raise ValueError(
            f"leakage: scores of shape {before.shape} against {after.shape}; give (items, values) "
            "of the same items."
        )
    rows = [paired_difference(a, b, contexts) for a, b in zip(after.T, before.T, strict=True)]
    return rows, holm(np.array([1.0 if r.p is None else r.p for r in rows]))


def off_target_ratio(matrix: np.ndarray, targets: Sequence[int] | None = None) -> float:
    """Mean absolute side effect over mean absolute intended effect.

        ratio = mean |E[v, u ≠ v]| / mean |E[v, v]|

    0 is a scalpel; 1 moves the other values as far as the one meant; inf moves only others.

    Args:
        matrix: E[v, u], change of value u when v is steered, (steered, values).
        targets: column that each row meant to move; None for row i, column i.
    """
    effect = np.abs(np.asarray(matrix, float))
    rows = range(len(effect)) if targets is None else targets
    meant = np.zeros(effect.shape, bool)
    meant[np.arange(len(effect)), list(rows)] = True
    wanted, other = effect[meant].mean(), effect[~meant].mean()
    return float(other / wanted) if wanted > 0 else math.inf


@dataclass(frozen=True)
class CircleFit:
    """Side effects against the circle: slope of E on cos(θ_v − θ_u) over the other nine values."""

    slope: float
    correlation: float
    p: float


def circle_fit(effects: Any, value: str, *, draws: int = 2000, seed: int = 0) -> CircleFit:
    """Do neighbours on the circle follow and opposites fall? Permutation test over the nine others.

    Args:
        effects: (10,) change of each value in circle order; the steered value itself is left out.
        value: the steered value.
    """
    row, here = np.asarray(effects, float), index(value)
    if row.shape != (len(VALUES),):
        raise ValueError(f"circle_fit: effects have shape {row.shape}; give {len(VALUES)} numbers.")
    others = np.arange(len(VALUES)) != here
    x, y = np.cos(ANGLES[others] - ANGLES[here]), row[others]
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    if scale == 0:
        return CircleFit(0.0, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    chance = np.array([x @ rng.permutation(y) for _ in range(draws)])
    p = (1 + int((chance >= x @ y - 1e-12).sum())) / (1 + draws)
    return CircleFit(float(x @ y / (x @ x)), float(x @ y) / scale, p)


def harmonic_summary(scores: Sequence[float]) -> float:
    """Harmonic mean of scores from 0 to 1; 0 if any is 0 (AxBench, arXiv 2501.17148).

    One number for a league table, never without the scores behind it.
    """
    parts = np.asarray(scores, float)
    if parts.size == 0 or not ((parts >= 0) & (parts <= 1)).all():
        raise ValueError(f"harmonic_summary: {scores}; give at least one score, each from 0 to 1.")
    return float(parts.size / (1 / parts).sum()) if parts.all() else 0.0


def same_items(where: str, a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(a, float).reshape(-1), np.asarray(b, float).reshape(-1)
    if first.shape != second.shape:
        raise ValueError(
            f"{where}: {first.size} scores against {second.size}; both must answer the same items."
        )
    return first, second
