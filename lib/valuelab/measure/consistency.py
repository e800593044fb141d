"""Does the answer stay the same when only the wording, the form or the order changes?

Inconsistency is a distance between answer distributions. Two samples of one distribution already
differ, so the distance is printed above the floor that the same number of answers gives by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from valuelab.measure.intervals import Interval, mean_interval

__all__ = ["Consistency", "consistency", "count_answers", "js_distance"]


def js_distance(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance in base 2: 0 for equal, 1 for disjoint distributions.

        m = (p + q) / 2;   d = sqrt( KL(p || m) / 2 + KL(q || m) / 2 ),   KL in bits, 0 log 0 = 0

    It is the distance (square root), not the divergence. Published code that calls scipy's
    jensenshannon without base works in nats, where the largest distance is sqrt(ln 2) = .833.

    Args:
        p, q: (..., k) distributions; each sums to 1 over the last axis. Leading axes broadcast.

    Returns:
        (...) distances between 0 and 1.

    Raises:
        ValueError: a negative entry, or rows that do not sum to 1.

    Source: Lin 1991; used on values by arXiv 2407.02996.
    """
    p, q = np.broadcast_arrays(np.asarray(p, float), np.asarray(q, float))
    for name, x in (("p", p), ("q", q)):
        if (x < 0).any() or not np.allclose(x.sum(-1), 1):
            raise ValueError(
                f"js_distance: {name} is no distribution over its last axis. "
                "Divide counts by their sum, and leave out empty rows."
            )
    m = (p + q) / 2

    def kl(a):
        ratio = np.divide(a, m, out=np.ones_like(a), where=a > 0)
        return (a * np.log2(ratio)).sum(-1)

    return np.sqrt(np.clip((kl(p) + kl(q)) / 2, 0, 1))


def count_answers(answers, topics, wordings, options) -> tuple[np.ndarray, np.ndarray]:
    """Tally answers. answers, topics, wordings (n,) -> counts (T, W, K), invalid (T, W).

    `options` lists the K valid answers; anything else is invalid and tallied apart.
    """
    a = np.asarray(answers, dtype=object).reshape(-1)
    _, t = np.unique(np.asarray(topics).reshape(-1), return_inverse=True)
    _, w = np.unique(np.asarray(wordings).reshape(-1), return_inverse=True)
    if not len(a) == len(t) == len(w):
        raise ValueError(f"count_answers: {len(a)} answers, {len(t)} topics, {len(w)} wordings.")
    place = {option: k for k, option in enumerate(options)}
    k = np.array([place.get(x, len(place)) for x in a], dtype=int)
    counts = np.zeros((t.max() + 1, w.max() + 1, len(place) + 1), int)
    np.add.at(counts, (t, w, k), 1)
    return counts[..., :-1], counts[..., -1]


@dataclass(frozen=True)
class Consistency:
    """Inconsistency over wordings.

    raw: mean distance to the centroid as published (base 2). floor: what the same n gives when
    all wordings are alike. excess: raw - floor by topic, with interval; its p tests "no
    inconsistency". divergence: the squared distance in bits with its sampling bias removed by
    resampling each wording from itself; from about 20 answers per wording on it no longer depends
    on n, so that studies can be compared (below, only the floored excess is to be trusted).
    """

    raw: float
    floor: float
    excess: Interval
    divergence: Interval
    topics_used: int
    topics_dropped: int
    outcome: str = "ok"

    def __str__(self) -> str:
        if self.outcome != "ok":
            return self.outcome
        return (
            f"distance {self.raw:.3f}, floor {self.floor:.3f}, excess {self.excess}, "
            f"{self.topics_used} topics ({self.topics_dropped} dropped)"
        )


def _distance_to_centroid(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """counts (..., W, K) -> per topic mean distance and mean squared distance over wordings."""
    n = counts.sum(-1, keepdims=True)
    used = n[..., 0] > 0
    q = np.divide(counts, n, out=np.full(counts.shape, 1 / counts.shape[-1]), where=n > 0)
    centroid = (q * used[..., None]).sum(-2) / np.maximum(used.sum(-1), 1)[..., None]
    centroid = np.where(used.any(-1)[..., None], centroid, 1 / counts.shape[-1])
    d = js_distance(q, centroid[..., None, :]) * used
    wordings = np.maximum(used.sum(-1), 1)
    return d.sum(-1) / wordings, (d**2).sum(-1) / wordings


def consistency(
    counts, *, floor_draws: int = 20, seed: int = 0, level: float = 0.95
) -> Consistency:
    """Inconsistency of answers over wordings (or forms, orders), clustered by topic.

    Args:
        counts: (topics, wordings, options) valid answers. The same call measures paraphrases,
            forms or option orders: put what should not matter on the second axis. To ask whether
            topics of one theme agree, put topics on the second axis and themes on the first.
        floor_draws: resamples of each topic from its own centroid at its own n.

    Returns:
        Consistency. Topics with fewer than two answered wordings are dropped and counted; when
        none is left the outcome says so.
    """
    c = np.asarray(counts, float)
    if c.ndim != 3 or (c < 0).any():
        raise ValueError(
            f"consistency: counts has shape {c.shape}; wanted (topics, wordings, "
            "options) of non-negative counts. count_answers makes one."
        )
    usable = ((c.sum(-1) > 0).sum(-1) >= 2) if c.size else np.zeros(len(c), bool)
    if not usable.any():
        none = Interval(math.nan, -math.inf, math.inf, math.inf, 0, 0, None, "no topic left")
        return Consistency(
            math.nan,
            math.nan,
            none,
            none,
            0,
            len(c),
            "no topic has two answered wordings: nothing was measured",
        )
    c = c[usable]
    raw, squared = _distance_to_centroid(c)
    rng = np.random.default_rng(seed)
    centroid = c.sum((1,)) / c.sum((1, 2))[:, None]  # pooled, (T, K)
    n = c.sum(-1).astype(int)  # (T, W)
    fake = rng.multinomial(n, centroid[:, None, :], size=(floor_draws, *n.shape))
    floor_raw = _distance_to_centroid(fake.astype(float))[0].mean(0)
    own = np.divide(c, n[..., None], out=np.full(c.shape, 1 / c.shape[-1]), where=n[..., None] > 0)
    again = rng.multinomial(n, own, size=(floor_draws, *n.shape))
    bias = _distance_to_centroid(again.astype(float))[1].mean(0) - squared
    topics = np.arange(len(c))
    return Consistency(
        float(raw.mean()),
        float(floor_raw.mean()),
        mean_interval(raw - floor_raw, topics, level=level),
        mean_interval(squared - bias, topics, level=level),
        len(c),
        int((~usable).sum()),
    )
