"""Are the values arranged in a circle? A randomisation test, a cosine fit and a picture.

Negative correlations alone prove nothing: centring k scores forces a mean correlation of
-1 / (k - 1). Only the order of the correlations speaks, and the test permutes labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from valuelab.measure.intervals import Interval

__all__ = [
    "CircleTest",
    "circle_test",
    "circular_distance",
    "correspondence",
    "cosine_fit",
    "ordinal_map",
    "profile_correlations",
]


def circular_distance(size: int) -> np.ndarray:
    """(k, k) steps between positions on a ring of `size` equally spaced values."""
    gap = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return np.minimum(gap, size - gap)


def profile_correlations(scores) -> np.ndarray:
    """(k, k) correlations of value scores over respondents (R, k).

    ValueError for fewer than three respondents or a value on which all answered alike: one
    deterministic model is one row, and one row has no correlations.
    """
    s = np.asarray(scores, float)
    if s.ndim != 2 or len(s) < 3 or not np.isfinite(s).all():
        raise ValueError(
            f"profile_correlations: scores has shape {s.shape}; wanted at least three "
            "respondents (personas, seeds) with finite scores."
        )
    if (s.std(0) < 1e-12).any():
        raise ValueError(
            "profile_correlations: zero variance on value "
            f"{np.flatnonzero(s.std(0) < 1e-12).tolist()}; its correlations do not "
            "exist. Leave it out or vary the respondents."
        )
    return np.corrcoef(s, rowvar=False)


def correspondence(correlations: np.ndarray, distance: np.ndarray) -> float:
    """Correspondence index: how far correlations fall as the predicted distance grows.

        over all pairs of pairs with predicted distance d1 < d2:
        A = how often r1 > r2,  D = how often r1 < r2,  T = ties;   CI = (A - D) / (A + D + T)

    1: every prediction holds; 0: chance; -1: all reversed. Ten equally spaced values make 800
    predictions.

    Args:
        correlations: (k, k) symmetric.
        distance: (k, k) predicted distances (circular_distance).

    Returns:
        The index.

    Raises:
        ValueError: shapes differ, or no two predicted distances differ.

    Source: Hubert & Arabie 1987; Rounds et al. 1992 (RTHOR).
    """
    r, d = np.asarray(correlations, float), np.asarray(distance, float)
    if r.shape != d.shape or r.ndim != 2:
        raise ValueError(f"correspondence: correlations {r.shape} and distance {d.shape} differ.")
    upper = np.triu_indices(len(r), 1)
    r, d = r[upper], d[upper]
    nearer, farther = np.nonzero(d[:, None] < d[None, :])
    if not len(nearer):
        raise ValueError("correspondence: all predicted distances are equal: nothing is predicted.")
    return float(np.sign(r[nearer] - r[farther]).mean())


@dataclass(frozen=True)
class CircleTest:
    """index: correspondence. p: share of label permutations that do as well. null_95: what the
    best 5 % of permutations reach. predictions: number of comparisons. outcome: ok or why not."""

    index: float
    p: float
    null_95: float
    predictions: int
    outcome: str = "ok"

    def __str__(self) -> str:
        if self.outcome != "ok":
            return self.outcome
        return (
            f"correspondence {self.index:+.2f} over {self.predictions} predictions, "
            f"permutations reach {self.null_95:+.2f} in 5 %, p = {self.p:.4f}"
        )


def circle_test(
    correlations, *, distance=None, permutations: int = 2000, seed: int = 0
) -> CircleTest:
    """Randomisation test of the hypothesised circular order (RTHOR).

    correlations (k, k) in the order of the circle; `distance` (k, k) to predict another structure.
    p counts the observed labelling among the permutations, so it is never zero.
    """
    r = np.asarray(correlations, float)
    d = circular_distance(len(r)) if distance is None else np.asarray(distance, float)
    upper = np.triu_indices(len(r), 1)
    dd = d[upper]
    nearer, farther = np.nonzero(dd[:, None] < dd[None, :])
    if not np.isfinite(r).all() or np.ptp(r[upper]) < 1e-12:
        return CircleTest(
            0.0,
            1.0,
            0.0,
            len(nearer),
            "all correlations are equal or undefined: the circle cannot be tested",
        )
    found = correspondence(r, d)
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(len(r)), (permutations, 1)), axis=1)
    shuffled = r[order[:, upper[0]], order[:, upper[1]]]  # (P, pairs)
    null = np.sign(shuffled[:, nearer] - shuffled[:, farther]).mean(1)
    p = (1 + (null >= found - 1e-12).sum()) / (permutations + 1)
    return CircleTest(found, float(p), float(np.quantile(null, 0.95)), len(nearer))


def cosine_fit(
    scores, angles=None, *, clusters=None, draws: int = 300, seed: int = 0, level: float = 0.95
) -> tuple[Interval, float]:
    """Fit r_ij = b0 + b1 cos(angle_i - angle_j) over i < j; returns (interval of b1, R^2).

    scores (R, k) of respondents; `clusters` (R,) groups those that are not independent. The
    interval is b1 +- t se with se from resampling respondents. b1 is the size of the circle:
    opposite values correlate 2 b1 lower than neighbours at angle zero would.
    """
    from scipy.stats import t

    s = np.asarray(scores, float)
    k = s.shape[1]
    a = 2 * math.pi * np.arange(k) / k if angles is None else np.asarray(angles, float)
    upper = np.triu_indices(k, 1)
    cosine = np.cos(a[upper[0]] - a[upper[1]])
    cosine = cosine - cosine.mean()
    r = profile_correlations(s)[upper]
    slope = float(cosine @ r / (cosine @ cosine))
    total = float(((r - r.mean()) ** 2).sum())
    r2 = slope**2 * float(cosine @ cosine) / total if total > 1e-12 else 0.0
    from valuelab.measure.intervals import bootstrap_weights, cluster_index

    index, groups = cluster_index(clusters, len(s))
    w = bootstrap_weights(index, draws=draws, seed=seed)
    w = w / w.sum(1, keepdims=True)
    mean = w @ s  # (draws, k)
    cov = np.einsum("bn,ni,nj->bij", w, s, s, optimize=True) - mean[:, :, None] * mean[:, None, :]
    sd = np.sqrt(np.clip(np.einsum("bii->bi", cov), 1e-12, None))
    corr = (cov / (sd[:, :, None] * sd[:, None, :]))[:, upper[0], upper[1]]
    se = float((corr @ cosine / (cosine @ cosine)).std(ddof=1))
    half = float(t.ppf(0.5 + level / 2, groups - 1)) * se
    p = float(2 * t.sf(abs(slope) / max(se, 1e-12), groups - 1))
    return Interval(slope, slope - half, slope + half, se, len(s), groups, p), r2


def ordinal_map(
    correlations, *, starts: int = 4, iterations: int = 300, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Two-dimensional ordinal MDS (SMACOF) of sqrt(2 (1 - r)); returns points (k, 2), Stress-1.

    First start: classical scaling; the others random; the lowest stress wins. The picture is
    turned and mirrored to come closest to a circle in the given order (Procrustes without
    stretching apart from one scale). A low stress is no proof of a circle: random correlations
    of ten values fit in two dimensions with a stress near .25; use circle_test.
    """
    from sklearn.isotonic import isotonic_regression

    r = np.asarray(correlations, float)
    if not np.isfinite(r).all():
        raise ValueError("ordinal_map: a correlation is missing. See profile_correlations.")
    k, upper = len(r), np.triu_indices(len(r), 1)
    target = np.sqrt(np.clip(2 * (1 - r), 0, None))
    order = np.argsort(target[upper], kind="stable")
    rng, best = np.random.default_rng(seed), (math.inf, np.zeros((k, 2)))
    for start in range(starts):
        x = _classical(target) if start == 0 else rng.standard_normal((k, 2))
        stress = math.inf
        for _ in range(iterations):
            d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
            flat = d[upper]
            if flat.max() < 1e-12:
                break
            fitted = np.empty_like(flat)
            fitted[order] = isotonic_regression(flat[order])
            now = float(np.sqrt(((flat - fitted) ** 2).sum() / (flat**2).sum()))
            if stress - now < 1e-7 and _ > 5:
                break
            stress = now
            # keep the size of the disparities fixed, or the points collapse into one
            fitted *= np.sqrt((flat**2).sum() / max((fitted**2).sum(), 1e-12))
            ratio = np.zeros((k, k))
            ratio[upper] = fitted / np.maximum(flat, 1e-9)
            ratio = ratio + ratio.T
            x = (np.diag(ratio.sum(1)) - ratio) @ x / k
        if stress < best[0]:
            best = (stress, x)
    return _onto_circle(best[1]), best[0]


def _classical(distance: np.ndarray) -> np.ndarray:
    centre = np.eye(len(distance)) - 1 / len(distance)
    values, vectors = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    return vectors[:, -2:] * np.sqrt(np.clip(values[-2:], 1e-6, None))


def _onto_circle(x: np.ndarray) -> np.ndarray:
    """Rotate, mirror and scale points so that they come closest to an even circle."""
    angle = 2 * math.pi * np.arange(len(x)) / len(x)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = x - x.mean(0)
    u, s, vt = np.linalg.svd(x.T @ circle)
    return x @ (u @ vt) * (s.sum() / max((x**2).sum(), 1e-12))
