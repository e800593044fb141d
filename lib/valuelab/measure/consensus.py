"""One ranking out of several, and how many bad ones it takes to overturn it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuelab.measure.intervals import bootstrap_weights, cluster_index, interval_of_draws

__all__ = ["Consensus", "breakdown_point", "consensus", "kemeny_order", "kendall_distance"]


def _ranks(rankings) -> np.ndarray:
    r = np.atleast_2d(np.asarray(rankings, float))
    if not np.isfinite(r).all():
        raise ValueError(
            "consensus: a rank is missing. Rank every value in every ranking, or leave "
            "the ranking out and say so."
        )
    return r


def kendall_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pairs that two rankings order differently: 0 the same, 1 reversed.

    Ties on one side count one half.

    Args:
        a, b: (V,) ranks, lower is better; any numbers that order.

    Returns:
        Distance between 0 and 1; 0 for fewer than two values.
    """
    i, j = np.triu_indices(len(a), 1)
    if not len(i):
        return 0.0
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float((1 - np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])).mean() / 2)


def _against(rankings: np.ndarray, weights=None) -> np.ndarray:
    """(V, V) weight of rankings that put b ahead of a: the cost of ranking a before b."""
    w = np.ones(len(rankings)) if weights is None else np.asarray(weights, float)
    ahead = np.sign(rankings[:, :, None] - rankings[:, None, :])  # +1: b ahead of a
    return np.einsum("r,rab->ab", w, (1 + ahead) / 2)


def kemeny_order(rankings, weights=None) -> np.ndarray:
    """The order with the smallest summed Kendall distance to all rankings. Exact, up to 14 values.

    Dynamic programme over the set of values already placed (2^V states). rankings (R, V) of ranks.
    Returns ranks (V,), 1 = first. Ties go to the lower index.
    """
    r = _ranks(rankings)
    size, cost = r.shape[1], _against(r, weights)
    if size > 14:
        raise ValueError(f"kemeny_order: {size} values need 2^{size} states. Use method='borda'.")
    best, last = np.full(1 << size, np.inf), np.zeros(1 << size, int)
    best[0] = 0.0
    inside = (np.arange(1 << size)[:, None] >> np.arange(size)) & 1  # (2^V, V)
    place = (1 - inside) @ cost.T  # cost of placing v next: v before all that are still outside
    for state in range(1 << size):
        for v in range(size):
            if not inside[state, v]:
                nxt, total = state | 1 << v, best[state] + place[state, v] - cost[v, v]
                if total < best[nxt] - 1e-12:
                    best[nxt], last[nxt] = total, v
    ranks, state = np.zeros(size, int), (1 << size) - 1
    for position in range(size, 0, -1):
        ranks[last[state]] = position
        state ^= 1 << last[state]
    return ranks


def _merge(rankings: np.ndarray, method: str) -> np.ndarray:
    if method == "kemeny":
        return kemeny_order(rankings).astype(float)
    score = rankings.mean(0) if method == "borda" else np.median(rankings, axis=0)
    return score.argsort(kind="stable").argsort(kind="stable") + 1.0


def breakdown_point(rankings, *, method: str = "borda") -> float:
    """Smallest share of rankings an adversary must replace to overturn the consensus.

    Overturned: more than half of all pairs of the consensus are reversed. The adversary replaces
    the rankings that agree most with the consensus by its reverse. Half is the best any fair method
    can do; close rankings break earlier.

    Args:
        rankings: (R, V) ranks, lower is better.
        method: "borda" (mean rank), "median" (median rank) or "kemeny".

    Returns:
        Share of R between 1/R and 1.

    Source: the breakdown function of Goibert et al. 2023, with this adversary.
    """
    r = _ranks(rankings)
    if method not in ("borda", "median", "kemeny"):
        raise ValueError(f"breakdown_point: method={method!r}. Choose borda, median or kemeny.")
    first = _merge(r, method)
    friends = np.argsort([kendall_distance(x, first) for x in r], kind="stable")
    reverse = len(first) + 1 - first
    for bad in range(1, len(r) + 1):
        spoiled = r.copy()
        spoiled[friends[:bad]] = reverse
        if kendall_distance(_merge(spoiled, method), first) > 0.5:
            return bad / len(r)
    return 1.0


@dataclass(frozen=True)
class Consensus:
    """rank (V,) 1 = first; low, high (V,) bounds over resampled rankings; agreement: Kendall's W,
    1 all alike, 1/R on average for R random rankings, with p_agreement by permutation; breakdown:
    see breakdown_point."""

    rank: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean_rank: np.ndarray
    agreement: float
    p_agreement: float
    breakdown: float
    outcome: str = "ok"


def consensus(
    rankings,
    *,
    method: str = "borda",
    clusters=None,
    draws: int = 500,
    permutations: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> Consensus:
    """Merge rankings (R, V) with bounds, agreement and a breakdown point.

    `clusters` (R,) names what each ranking came from (model, wording). Rankings of one source are
    averaged first: copies are one voice in every field, and sources are what is resampled.
    Agreement is Kendall's W; its p is the share of independent shufflings of every voice with W at
    least as large. Bounds of ranks use mean ranks, whatever the method.
    """
    r = _ranks(rankings)
    count, size = r.shape
    index, sources = cluster_index(clusters, count)
    voices = np.zeros((sources, size))
    np.add.at(voices, index, r)
    voices /= np.bincount(index)[:, None]
    rank, mean_rank = _merge(voices, method), voices.mean(0)
    full = float(voices.var(1).mean())
    silent = (
        "one ranking: no agreement to measure" if count < 2
        else "one source: no agreement to measure" if sources < 2
        else "ties everywhere: no ranking prefers anything" if full < 1e-12
        else ""
    )  # fmt: skip
    if silent:
        anywhere = np.ones(size), np.full(size, float(size))
        return Consensus(rank, *anywhere, mean_rank, 0.0, 1.0, 1.0, silent)

    w = bootstrap_weights(np.arange(sources), draws=draws, seed=seed)
    means = w @ voices / np.maximum(w.sum(1, keepdims=True), 1)
    low, high = interval_of_draws(means.argsort(1).argsort(1) + 1, level=level)
    spread = float(mean_rank.var())
    rng = np.random.default_rng(seed)
    fake = rng.permuted(np.tile(voices, (permutations, 1, 1)), axis=2).mean(1).var(1)
    p = float((1 + (fake >= spread - 1e-12).sum()) / (permutations + 1))
    return Consensus(
        rank, low, high, mean_rank, spread / full, p, breakdown_point(voices, method=method)
    )
