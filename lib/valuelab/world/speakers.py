"""Who speaks: profiles of ten values, drawn around a population mean with the covariance of the circle."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from valuelab.values import ANGLES, VALUES

from .grammar import WEIGHTS

# The population mean differs from zero, so that a model without a persona has a profile of its own.
MEAN = np.array([0.5, -0.2, 0.1, 0.0, -0.8, 0.3, 0.1, -0.4, 0.8, 0.6])
CHOICE_SHARPNESS = 3.0  # P(a over b) = sigmoid(3 · stakes · (u(a) - u(b)))
STATEMENT_SHARPNESS = {"value": 2.5, "activity": 2.0}  # log-odds of a statement per unit of utility
PERSONA_LEVEL = 2.5  # where a persona line puts the value it names


def covariance(circle: bool = True) -> np.ndarray:
    """Planted covariance of the ten values (10, 10): 0.8·cos(θi - θj) + 0.25·I, or its diagonal only."""
    full = 0.8 * np.cos(ANGLES[:, None] - ANGLES[None, :]) + 0.25 * np.eye(10)
    return full if circle else np.diag(np.diag(full))


def draw_profiles(n: int, rng: np.random.Generator, *, circle: bool = True) -> np.ndarray:
    """`n` speaker profiles (n, 10), in circle order."""
    return rng.multivariate_normal(MEAN, covariance(circle), size=n, method="cholesky")


def condition(profile: np.ndarray, value: str, level: float, *, circle: bool = True) -> np.ndarray:
    """Move `profile` (..., 10) to `level` on one value; the others follow the planted covariance.

    This is how a persona line acts: x + Σ[:, v] / Σ[v, v] · (level - x_v), the Gaussian conditional draw.
    """
    v, cov = VALUES.index(value), covariance(circle)
    return profile + (level - profile[..., v, None]) * (cov[v] / cov[v, v])


def utilities(profile: np.ndarray) -> np.ndarray:
    """Utility of every activity for a profile (..., 10) -> (..., 300)."""
    return profile @ WEIGHTS.T


def choice_probability(gap: np.ndarray | float, stakes: float = 1.0) -> np.ndarray | float:
    """P(first over second) for a gap u(first) - u(second)."""
    return 1 / (1 + np.exp(-CHOICE_SHARPNESS * stakes * np.asarray(gap)))


_NODES = np.linspace(-6, 6, 121)
_MASS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


@lru_cache
def _population(persona: str | None, sign: int, circle: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean (10,) and covariance (10, 10) of the profiles of which only the persona line is known."""
    mean, cov = MEAN, covariance(circle)
    if persona is not None:
        mean = condition(mean, persona, sign * PERSONA_LEVEL, circle=circle)
        v = VALUES.index(persona)
        moved = np.eye(10) - np.outer(cov[v] / cov[v, v], np.eye(10)[v])
        cov = moved @ cov @ moved.T
    return mean, cov


def population_choice(weights, stakes=1.0, *, persona=None, sign=1, slot_bias=0.0, circle=True) -> float:
    """Mean choice of all speakers of whom nothing is known but perhaps a persona line.

    P = E sigmoid(3 · stakes · weights · x + slot_bias) over their normal profiles x, on a grid of 121 points.

    Args:
        weights: of the first activity minus those of the second, (10,).
    """
    mean, cov = _population(persona, sign, circle)
    sharp = CHOICE_SHARPNESS * stakes
    x = sharp * (weights @ mean) + slot_bias + sharp * math.sqrt(weights @ cov @ weights) * _NODES
    return float(_MASS @ (1 / (1 + np.exp(-x))))
