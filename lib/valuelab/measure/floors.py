"""What each score shows when there is nothing to find. Print it beside the score.

A number means little until it is held against the number that noise alone gives at the same
sample size. Each floor is simulated (seeded) at the n actually used, or exact where a sum is short.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

__all__ = [
    "confidence_floor",
    "cycle_floor",
    "js_floor",
    "negative_slope_floor",
    "order_consistency_floor",
]


def confidence_floor(n: int, p: float = 0.5) -> float:
    """Expected mean of max(share, 1 - share) over `n` samples of a coin with chance p. Exact.

    Twenty flips of a fair coin look 58.8 % "confident". Source: the random baseline of
    Utility Engineering, arXiv 2502.08640.
    """
    if n < 1:
        raise ValueError(f"confidence_floor: n={n}. Give the number of samples per pair.")
    k = np.arange(n + 1)
    return float(stats.binom.pmf(k, n, p) @ np.maximum(k, n - k) / n)


def js_floor(
    n: int, m: int | None = None, probabilities=(0.5, 0.5), *, draws: int = 4000, seed: int = 0
) -> float:
    """Mean Jensen-Shannon distance (square root of bits) of two samples of one distribution.

    n and m (default n) are the answers in each sample. The floor of "inconsistency" when both
    wordings have the same answer distribution.
    """
    if min(n, n if m is None else m) < 1:
        raise ValueError(f"js_floor: n={n}, m={m}. Both samples need at least one answer.")
    from valuelab.measure.consistency import js_distance

    rng = np.random.default_rng(seed)
    p = np.asarray(probabilities, float)
    a = rng.multinomial(n, p, size=draws) / n
    b = rng.multinomial(m or n, p, size=draws) / (m or n)
    return float(js_distance(a, b).mean())


def cycle_floor(n: int | None = None, *, kind: str = "soft") -> float:
    """Chance of a cycle on three options when every pair is an independent fair coin.

    kind "soft": p_ab p_bc p_ca + p_ba p_cb p_ac, .25 for any n (independent, unbiased shares).
    kind "strict": every edge has a strict majority and they go round; n samples per pair, or
    None for n -> infinity (.25).
    """
    if kind == "soft":
        return 0.25
    if kind != "strict":
        raise ValueError(f"cycle_floor: kind={kind!r}. Choose 'soft' or 'strict'.")
    tie = 0.0 if n is None or n % 2 else float(stats.binom.pmf(n // 2, n, 0.5))
    return 2 * ((1 - tie) / 2) ** 3


def order_consistency_floor(share_first: float = 0.5) -> float:
    """P(same content chosen in both orders) when the answer depends on the slot alone.

    `share_first` is the chance of taking the first slot: q in order one means content A, in order
    two content B, so the floor is 2 q (1 - q): .5 for a coin, 0 for a model that always says A.
    """
    return 2 * share_first * (1 - share_first)


def negative_slope_floor(true_slope: float, multipliers=None, noise_sd: float = 1.0) -> float:
    """Share of samples whose fitted steering slope is negative though every true slope is the same.

    The fitted slope is normal around the true one with sd = noise / sqrt(sum (x - mean)^2), so the
    share is Phi(-slope / sd). Default multipliers: seven from -1.5 to 1.5.
    """
    x = np.linspace(-1.5, 1.5, 7) if multipliers is None else np.asarray(multipliers, float)
    spread = float(np.sqrt(((x - x.mean()) ** 2).sum()))
    if spread == 0:
        raise ValueError("negative_slope_floor: all multipliers are equal, so no slope exists.")
    return float(stats.norm.cdf(-true_slope * spread / noise_sd))
