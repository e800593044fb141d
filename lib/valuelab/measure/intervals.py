"""Uncertainty whose unit is the context, not the answer.

Orders, paraphrases, samples and seeds of one dilemma are nested inside that dilemma. Treating
them as independent answers is the commonest way of printing an interval that is too short.
Everything here is a pure function on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

__all__ = [
    "Interval",
    "bootstrap_weights",
    "cluster_bootstrap",
    "clustered_se",
    "cluster_index",
    "holm",
    "interval_of_draws",
    "mean_interval",
    "paired_difference",
    "pairs_needed",
    "wilson",
]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and what it rests on.

    estimate, low, high, se are in the units of the score. `n` counts answers, `clusters` the
    independent contexts. `p` is two-sided against zero where the maker tests one, else None.
    `outcome` is "ok" or says in words why there is no interval; then low and high are infinite
    (the honest interval when nothing is known about the spread) and se is infinite.
    """

    estimate: float
    low: float
    high: float
    se: float
    n: int
    clusters: int
    p: float | None = None
    outcome: str = "ok"

    def covers(self, truth: float) -> bool:
        """True where the interval contains `truth`."""
        return self.low <= truth <= self.high

    def as_dict(self) -> dict:
        """For JSON: infinite bounds become None."""
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in asdict(self).items()
        }

    def __str__(self) -> str:
        if self.outcome != "ok":
            shown = f"{self.estimate:.3f} " if math.isfinite(self.estimate) else ""
            return f"{shown}({self.outcome})"
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def _scores(scores, where: str) -> np.ndarray:
    s = np.asarray(scores, dtype=float).reshape(-1)
    if s.size == 0:
        raise ValueError(f"{where}: no scores. Every item may have been invalid; count them first.")
    if not np.isfinite(s).all():
        bad = int((~np.isfinite(s)).sum())
        raise ValueError(
            f"{where}: {bad} of {s.size} scores are not finite. Invalid answers are an outcome of "
            "their own: drop them here and report their share beside the score."
        )
    return s


def cluster_index(clusters, n: int) -> tuple[np.ndarray, int]:
    """Number the clusters 0..G-1. `clusters` (n,) of any labels, or None for one cluster each.

    Returns (index (n,), G). ValueError where the lengths differ.
    """
    if clusters is None:
        return np.arange(n), n
    labels = np.asarray(clusters).reshape(-1)
    if labels.size != n:
        raise ValueError(
            f"clusters has {labels.size} labels for {n} scores. Give one context id per score."
        )
    names, index = np.unique(labels, return_inverse=True)
    return index.reshape(-1), len(names)


def clustered_se(scores: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of a mean whose answers come in clusters.

        SE = sqrt( sum_g ( sum_{i in g} (s_i - mean) )^2 ) / n * sqrt(G / (G - 1))

    The sum inside a cluster is taken before squaring, so answers that rise and fall together
    are not counted as separate evidence. The last factor is the usual small-sample correction:
    with one answer per cluster the result is exactly sd(ddof=1) / sqrt(n).

    Args:
        scores: (n,) scores in any unit.
        clusters: (n,) context of each score, any labels.

    Returns:
        The standard error, in the unit of the scores.

    Raises:
        ValueError: fewer than two clusters (one context says nothing about other contexts),
            lengths differ, or a score is not finite.

    Source: Liang & Zeger 1986; Miller 2024, arXiv 2411.00640, eq. 4.
    """
    s, labels = np.asarray(scores, float), np.asarray(clusters)
    if s.shape != labels.shape or not np.isfinite(s).all():
        raise ValueError(f"clustered_se: scores {s.shape} must be finite, one cluster label each.")
    names, index = np.unique(labels, return_inverse=True)
    groups = len(names)
    if groups < 2:
        raise ValueError("clustered_se: one cluster has no spread. Measure at least two contexts.")
    within = np.bincount(index, weights=s - s.mean())  # (G,) summed deviation of each cluster
    return float(np.sqrt((within**2).sum() * groups / (groups - 1)) / s.size)


def mean_interval(scores, clusters=None, *, level: float = 0.95, null: float = 0.0) -> Interval:
    """Mean of `scores` (n,) with an interval for clustered answers; G clusters, t of G - 1 degrees.

        mean +- t SE                                     scores of any kind, SE of `clustered_se`
        Wilson's, with t for z and share (1 - share) / SE^2 for n      shares: every score 0 or 1

    Where nearly all answers are alike, t is too narrow (at three wrong answers in 120 it holds the
    truth in 80 of 100 cases), and where all are alike it has no width. Wilson's has: twenty right
    answers do not show that every answer would be right. The effective number of answers is at
    most n, and G where all are alike.

    `p` is two-sided against `null`. One cluster gives an Interval whose outcome says so.
    Raises ValueError for no scores or scores that are not finite.

    Source: Wilson 1927; effective sample size of a share: Korn & Graubard 1998.
    """
    s = _scores(scores, "mean_interval")
    index, groups = cluster_index(clusters, s.size)
    mean = float(s.mean())
    if groups < 2:
        return _one_cluster(mean, s.size)
    se = clustered_se(s, index)
    if not _whole(s):
        return _t_interval(mean, se, s.size, groups, level, null)
    spread = mean * (1 - mean)
    n = _effective(spread, se, s.size, groups)
    low, high = _score_bounds(mean, n, float(stats.t.ppf(0.5 + level / 2, groups - 1)))
    expected = math.sqrt(null * (1 - null) / n) if 0 < null < 1 else 0.0
    p = _t_tail(mean - null, expected, groups)
    return Interval(mean, low, high, se, s.size, groups, p)


def paired_difference(a, b, clusters=None, *, level: float = 0.95) -> Interval:
    """Mean of a - b over the same items (n,), clustered by context; p against no difference.

    Both systems answer the same items, so what makes an item hard for both cancels. The interval
    is shorter than that of two separate means by the factor sqrt(1 - correlation). Where every
    score is 0 or 1 it is put together from Wilson's for the share of items that rise, u, and of
    those that fall, d, as in `mean_interval`:

        low = u - d - sqrt(x^2 + y^2 - 2 r x y),   x = u - low of u,  y = high of d - d
        r = -sqrt( u d / ((1 - u) (1 - d)) ),      and `high` with the sides exchanged

    so that few changes, or none, do not look like certainty.

    Source: Newcombe 1998, Stat. Med. 17, 2635; Zou & Donner 2008, Stat. Med. 27, 1693.
    """
    first, second = np.asarray(a, float).reshape(-1), np.asarray(b, float).reshape(-1)
    if first.shape != second.shape:
        raise ValueError(
            f"paired_difference: {first.size} scores against {second.size}. Pair them item by item."
        )
    s = _scores(first - second, "paired_difference")
    index, groups = cluster_index(clusters, s.size)
    mean = float(s.mean())
    if groups < 2:
        return _one_cluster(mean, s.size)
    se = clustered_se(s, index)
    if not (_whole(first) and _whole(second)):
        return _t_interval(mean, se, s.size, groups, level, 0.0)
    up, down = float((s > 0).mean()), float((s < 0).mean())
    n = _effective(up + down - mean**2, se, s.size, groups)
    t = float(stats.t.ppf(0.5 + level / 2, groups - 1))
    (up_low, up_high), (down_low, down_high) = (_score_bounds(x, n, t) for x in (up, down))
    inside = (1 - up) * (1 - down)
    r = -math.sqrt(up * down / inside) if inside else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(x * x + y * y - 2 * r * x * y)

    low = max(-1.0, mean - reach(up - up_low, down_high - down))
    high = min(1.0, mean + reach(up_high - up, down - down_low))
    p = _t_tail(mean, math.sqrt((up + down) / n), groups)
    return Interval(mean, low, high, se, s.size, groups, p)


def _whole(scores: np.ndarray) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def _one_cluster(mean: float, n: int) -> Interval:
    why = "no interval: one cluster"
    return Interval(mean, -math.inf, math.inf, math.inf, n, 1, None, why)


def _t_interval(mean: float, se: float, n: int, groups: int, level: float, null: float) -> Interval:
    half = float(stats.t.ppf(0.5 + level / 2, groups - 1)) * se
    if se == 0:  # no p below that of flipping the sign of every cluster
        p = 1.0 if mean == null else 2.0 ** (1 - groups)
    else:
        p = _t_tail(mean - null, se, groups)
    return Interval(mean, mean - half, mean + half, se, n, groups, p)


def _t_tail(difference: float, se: float, groups: int) -> float:
    if difference == 0 or se == 0:
        return float(difference == 0)
    return float(2 * stats.t.sf(abs(difference) / se, groups - 1))


def _effective(spread: float, se: float, n: int, groups: int) -> float:
    """Independent answers that would have the same standard error; `spread` is their variance."""
    if spread <= 0:
        return groups
    return min(n, spread / se**2) if se > 0 else n


def _score_bounds(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's bounds of a share of n independent trials."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and at 1 one bound is exact; rounding must not push it past the estimate.
    return (0.0 if share == 0 else middle - half), (1.0 if share == 1 else middle + half)


def bootstrap_weights(clusters, *, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each item counts when whole clusters are drawn with replacement.

    clusters (n,) labels -> weights (draws, n) of whole numbers. All items of a cluster share
    their weight. A weighted statistic needs no loop over resampled copies of the data.
    """
    labels = np.asarray(clusters).reshape(-1)
    index, groups = cluster_index(labels, labels.size)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)
    return counts[:, index].astype(float)


def cluster_bootstrap(
    statistic: Callable[[np.ndarray], float | np.ndarray],
    clusters,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Draws of statistic(weights) with whole clusters resampled. Returns (draws, ...).

    `statistic` takes item weights (n,) (see bootstrap_weights) and returns a number or an array.
    """
    weights = bootstrap_weights(clusters, draws=draws, seed=seed)
    return np.stack([np.asarray(statistic(w), dtype=float) for w in weights])


def interval_of_draws(draws: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bounds over the first axis of bootstrap draws (B, ...) -> (low, high)."""
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(draws, float), [tail, 1 - tail], axis=0)
    return low, high


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: a bound on any false alarm among all tests.

    Sort p_(1) <= ... <= p_(m); adjusted p_(i) = max over j <= i of (m - j + 1) p_(j), at most 1.

    Args:
        p_values: (m,) p-values, for instance one for each of the ten values.

    Returns:
        (m,) adjusted p-values in the order given. Compare each with 0.05.

    Raises:
        ValueError: a p-value lies outside [0, 1].

    Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=float).reshape(-1)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"holm: p-values must lie in [0, 1], got {p}.")
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson interval of a share: sensible at 0 and 1, where p +- 2 se has no width.

    For independent trials; clustered trials need mean_interval. n = 0 gives the outcome
    "no answers" with bounds 0 and 1. Source: Wilson 1927.
    """
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, math.inf, 0, 0, None, "no answers")
    if not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of {n}. Count successes among the trials.")
    share = successes / n
    low, high = _score_bounds(share, n, float(stats.norm.ppf(0.5 + level / 2)))
    return Interval(share, low, high, math.sqrt(share * (1 - share) / n), n, n)


def pairs_needed(difference: float, sd: float, *, power: float = 0.8, level: float = 0.95) -> int:
    """Items needed to see a mean difference: ((z_level + z_power) sd / difference)^2.

    `sd` is that of one paired difference (or of one arm's score times sqrt(2) when the arms
    answer different items; the result is then items per arm).
    """
    if difference == 0:
        raise ValueError("pairs_needed: a difference of zero needs infinitely many items.")
    z = stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power)
    return math.ceil(float(z * sd / difference) ** 2)
