"""Laws that are fitted to runs: over-optimisation over KL, and reward over entropy.

A law fitted to a few runs of one small model describes these runs. Whether it says more is asked by
holding points out: `extrapolation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

__all__ = [
    "EntropyLaw",
    "extrapolation",
    "fit_entropy_law",
    "fit_overoptimisation",
    "turning_point",
]


def fit_overoptimisation(kl: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """Coefficients (α, β) of gain = d (α - β log d), d = √KL: the law of Gao and others for RL.

    Its top is at d = exp(α / β - 1). Least squares; points at KL 0 say nothing and are left out.

    Raises:
        ValueError: fewer than three points away from the base.

    Source: Gao and others, arXiv 2210.10760.
    """
    far = kl > 1e-3
    if far.sum() < 3:
        raise ValueError(f"fit_overoptimisation: {int(far.sum())} points with KL above 0; three are needed.")
    d = np.sqrt(kl[far])
    (alpha, minus), *_ = np.linalg.lstsq(np.column_stack([d, d * np.log(d)]), gain[far], rcond=None)
    return float(alpha), float(-minus)


def turning_point(alpha: float, beta: float) -> float:
    """KL at which the fitted gold gain is largest; infinite where it never turns."""
    return float(np.exp(2 * (alpha / beta - 1))) if beta > 0 else float("inf")


@dataclass(frozen=True)
class EntropyLaw:
    """R = -a · e^H + b, fitted: what a policy earns by spending entropy.

    Attributes:
        a, b: (estimate, low, high); a > 0 where reward is bought with entropy.
        noise: standard deviation of the residuals, n - 2 in the denominator.
    """

    a: tuple[float, float, float]
    b: tuple[float, float, float]
    noise: float

    @property
    def ceiling(self) -> float:
        """Reward at an entropy of 0, where nothing is left to spend: b - a."""
        return self.b[0] - self.a[0]

    def __call__(self, entropy: np.ndarray) -> np.ndarray:
        """Reward the law gives at an entropy, elementwise."""
        return self.b[0] - self.a[0] * np.exp(entropy)


def fit_entropy_law(entropy: np.ndarray, reward: np.ndarray, level: float = 0.95) -> EntropyLaw:
    """The law R = -a · e^H + b by least squares, with t-intervals.

    The intervals take the points as independent given H. Steps of one run nearly are (fresh replies
    each), as far as the law holds; where it bends, they are too short.

    Args:
        entropy: H of a token at each step, in nats, (n,).
        reward: R of the same replies, (n,).
        level: of the intervals.

    Raises:
        ValueError: shapes differ, fewer than four points, or an entropy that never moves.

    Source: Cui and others, The entropy mechanism, arXiv 2505.22617.
    """
    entropy, reward = np.asarray(entropy, dtype=float), np.asarray(reward, dtype=float)
    if entropy.shape != reward.shape or entropy.ndim != 1 or len(entropy) < 4:
        raise ValueError(
            f"fit_entropy_law: entropies {entropy.shape}, rewards {reward.shape}; give one of each for four or more "
            "steps."
        )
    if np.ptp(entropy) < 1e-9:
        raise ValueError(f"fit_entropy_law: the entropy is {entropy[0]:.3g} at every step; no law can be read off it.")
    columns = np.column_stack([-np.exp(entropy), np.ones_like(entropy)])
    best, *_ = np.linalg.lstsq(columns, reward, rcond=None)
    free = len(reward) - 2
    noise = np.sqrt(((reward - columns @ best) ** 2).sum() / free)
    half = student.ppf((1 + level) / 2, free) * noise * np.sqrt(np.diag(np.linalg.inv(columns.T @ columns)))
    a, b = ((float(x), float(x - h), float(x + h)) for x, h in zip(best, half, strict=True))
    return EntropyLaw(a, b, float(noise))


def extrapolation(entropy: np.ndarray, reward: np.ndarray, share: float = 0.5) -> tuple[EntropyLaw, float, float]:
    """The law fitted to the first part of a run, and how far off it is on the rest.

    Args:
        entropy, reward: of a run, in the order of its steps, (n,).
        share: of the steps that the fit may see.

    Returns:
        The law, its root mean square error on the held-out steps, and that of a guess that needs no
        law: the reward stays where it was in the last quarter of the steps seen.

    Raises:
        ValueError: see `fit_entropy_law`; or nothing is held out.
    """
    entropy, reward = np.asarray(entropy, dtype=float), np.asarray(reward, dtype=float)
    seen = round(share * len(reward))
    if not 0 < seen < len(reward):
        raise ValueError(f"extrapolation: share={share} of {len(reward)} steps leaves nothing to fit or to hold out.")
    law = fit_entropy_law(entropy[:seen], reward[:seen])
    guess = reward[seen - max(1, seen // 4) : seen].mean()
    rest = reward[seen:]
    errors = (law(entropy[seen:]) - rest, guess - rest)
    return law, *(float(np.sqrt((e**2).mean())) for e in errors)
