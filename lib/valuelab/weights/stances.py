"""Where in training values settle: how far a stance moves, when it gets there, and how sure that is.

A stance is a number for each prompt and checkpoint, e.g. the probability of the course of action that
serves a value, both orders averaged. With probabilities read from the model no judge is needed.

Source: Value Drifts, arXiv 2510.26707 (magnitude and time; the share of the way that counts as "there"
is a choice, and an argument here).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from valuelab.measure.intervals import bootstrap_weights

__all__ = ["Drift", "drift", "drift_time", "magnitude_interval"]


def drift_time(curve: np.ndarray, at: np.ndarray, share: float = 0.95) -> float:
    """When a stance first has `share` of its whole way behind it, as a fraction of training.

    Args:
        curve: mean stance at each checkpoint, (checkpoints,), the first before training.
        at: where the checkpoints lie, in any rising unit (steps, documents), (checkpoints,).
        share: of the way from the first to the last stance, between 0 and 1.

    Returns:
        0 (at once) to 1 (only at the end); NaN where the stance ends where it began, for then there is
        no way to cover.

    Raises:
        ValueError: shapes differ, fewer than two checkpoints, or `at` does not rise.
    """
    curve, at = np.asarray(curve, dtype=float), np.asarray(at, dtype=float)
    if curve.shape != at.shape or curve.ndim != 1 or len(at) < 2 or (np.diff(at) <= 0).any():
        raise ValueError(
            f"drift_time: curve {curve.shape} at {at}. Give one stance for each of two or more rising checkpoints."
        )
    way = curve[-1] - curve[0]
    if way == 0:
        return math.nan
    covered = (curve - curve[0]) / way
    first = int(np.argmax(covered >= share))
    return float((at[first] - at[0]) / (at[-1] - at[0]))


def magnitude_interval(
    start: np.ndarray, end: np.ndarray, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """How far the mean stance moved, with a bootstrap interval over prompts.

        M = mean of end - mean of start

    The unit is the prompt: whole prompts are drawn with replacement, and each keeps its two stances
    together, for what makes a prompt high before makes it high after. With few prompts percentiles lie too close
    together (ten hold the truth in about 90 cases of 100): prefer several dozen.

    Args:
        start, end: stance of each prompt before and after, (prompts,).
        draws: bootstrap samples.
        seed: of the drawing.
        level: of the interval.

    Returns:
        (estimate, low, high), in units of the stance; the bounds are percentiles.

    Raises:
        ValueError: shapes differ, or fewer than two prompts.

    Source: magnitude, arXiv 2510.26707; percentile bootstrap, Efron 1979.
    """
    if np.shape(start) != np.shape(end) or np.ndim(start) != 1 or len(start) < 2:
        raise ValueError(
            f"magnitude_interval: {np.shape(start)} stances before, {np.shape(end)} after. Give one of each for "
            "two or more prompts."
        )
    moved = np.asarray(end, dtype=float) - np.asarray(start, dtype=float)
    drawn = np.random.default_rng(seed).integers(len(moved), size=(draws, len(moved)))
    means = moved[drawn].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(moved.mean()), float(low), float(high)


@dataclass(frozen=True)
class Drift:
    """One value over one stage of training.

    Attributes:
        magnitude: (estimate, low, high) of the move of the mean stance.
        time: (estimate, low, high), fraction of the stage; the bounds rest on those draws in which the
            move has the sign of the estimate. NaN, 0, 1 where the interval of the magnitude holds zero: a stance
            that may not have moved arrived at no time.
        curve: mean stance at each checkpoint, (checkpoints,).
    """

    magnitude: tuple[float, float, float]
    time: tuple[float, float, float]
    curve: tuple[float, ...]

    def as_dict(self) -> dict:
        """For JSON; NaN becomes None."""
        found = asdict(self)
        found["time"] = [None if math.isnan(x) else x for x in self.time]
        return found


def drift(
    stances: np.ndarray, at: np.ndarray, *, clusters=None, share: float = 0.95, draws: int = 2000, seed: int = 0,
    level: float = 0.95,
) -> Drift:  # fmt: skip
    """Magnitude and time of a stance, both with intervals over prompts.

    Args:
        stances: (checkpoints, prompts), the first checkpoint before the stage.
        at: where the checkpoints lie, (checkpoints,).
        clusters: (prompts,) what prompts share, drawn together; None: each prompt for itself.
        share: of the way that counts as arrived.

    Raises:
        ValueError: shapes do not fit.
    """
    stances = np.asarray(stances, dtype=float)
    if stances.ndim != 2 or len(stances) != len(at) or stances.shape[1] < 2:
        raise ValueError(
            f"drift: stances {stances.shape} at {len(at)} checkpoints. Give (checkpoints, prompts), two prompts up."
        )
    labels = np.arange(stances.shape[1]) if clusters is None else clusters
    weights = bootstrap_weights(labels, draws=draws, seed=seed)
    curves = (weights @ stances.T) / weights.sum(1, keepdims=True)  # (draws, checkpoints)
    curve, tail = stances.mean(axis=1), (1 - level) / 2
    moves = curves[:, -1] - curves[:, 0]
    low, high = np.quantile(moves, [tail, 1 - tail])
    move = curve[-1] - curve[0]
    time = (math.nan, 0.0, 1.0)
    if low > 0 or high < 0:
        times = [drift_time(c, at, share) for c, m in zip(curves, moves, strict=True) if m * move > 0]
        time = (drift_time(curve, at, share), *(float(t) for t in np.quantile(times, [tail, 1 - tail])))
    return Drift((float(move), float(low), float(high)), time, tuple(float(x) for x in curve))
