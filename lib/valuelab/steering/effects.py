"""What steering did to choices: pure functions on probabilities, no model.

Every condition answers the same situations, and a number says how probable the course of action
is that serves a value. So conditions are compared situation by situation. (`evaluate.metrics` has
the same questions with intervals.)
"""

from __future__ import annotations

import numpy as np

from valuelab.values import ANGLES


def leakage_matrix(unsteered: np.ndarray, steered: np.ndarray) -> np.ndarray:
    """How far steering towards value i moves the choices for value j.

        E[i, j] = mean over situations s of (steered[i, j, s] − unsteered[j, s])

    The diagonal is what was meant; the rest is leakage.

    Args:
        unsteered: probability of the course that serves value j in situation s of that value,
            (values, situations).
        steered: the same while value i is steered, (steered values, values, situations).

    Returns:
        (steered values, values), in units of probability.

    Raises:
        ValueError: the situations are not the same.
    """
    before, after = np.asarray(unsteered, float), np.asarray(steered, float)
    if after.ndim != 3 or after.shape[1:] != before.shape:
        raise ValueError(
            f"leakage_matrix: unsteered has shape {before.shape}, steered {after.shape}; give "
            "(values, situations) and (steered values, values, situations) of the same situations."
        )
    return (after - before).mean(-1)


def circle_correlation(matrix: np.ndarray, angles: np.ndarray = ANGLES) -> float:
    """Do side effects follow the circle of values: up for neighbours, down for opposites?

    Correlation, over all i ≠ j, of E[i, j] with cos(angle_i − angle_j). The diagonal is left out:
    there the cosine is 1 and the effect large by design, which alone would make a correlation.

    Args:
        matrix: E[i, j], effect of steering value i on value j, (values, values).
        angles: place of each value on the circle, (values,) radians.

    Returns:
        Correlation from −1 to 1; 0 where all side effects are equal.

    Raises:
        ValueError: the matrix is not square, or does not fit the angles.
    """
    effect = np.asarray(matrix, float)
    if effect.shape != (len(angles), len(angles)):
        raise ValueError(
            f"circle_correlation: matrix of shape {effect.shape} for {len(angles)} angles; give "
            "one row and one column for each value."
        )
    off = ~np.eye(len(angles), dtype=bool)
    x, y = np.cos(np.subtract.outer(angles, angles))[off], effect[off]
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 1e-12 else 0.0


def anti_steerable_share(
    unsteered: np.ndarray, steered: np.ndarray, tolerance: float = 0.0
) -> float:
    """Share of situations that steering moves the wrong way, by more than `tolerance`.

    A mean gain hides them: +30 points on average may be +50 for most and −20 for some.

    Args:
        unsteered, steered: probability of the wanted choice in the same situations, (n,).
        tolerance: falls up to this size do not count.

    Returns:
        Share from 0 to 1. Read it beside that of a random direction: noise alone moves about half
        of the situations the wrong way.

    Raises:
        ValueError: the situations are not the same, or there are none.

    Source: Tan et al., arXiv 2407.12404.
    """
    before, after = np.asarray(unsteered, float), np.asarray(steered, float)
    if before.shape != after.shape or before.size == 0:
        raise ValueError(
            f"anti_steerable_share: {before.size} situations against {after.size}; both must "
            "answer the same ones, at least one."
        )
    return float((before - after > tolerance).mean())


def gain_kept(
    neutral: tuple[np.ndarray, np.ndarray], opposed: tuple[np.ndarray, np.ndarray]
) -> float:
    """Share of the gain that is left when the prompt demands the opposite.

        kept = mean(opposed steered − opposed unsteered) / mean(neutral steered − neutral unsteered)

    Each gain is measured against its own unsteered state: the opposing prompt lowers both.
    Above 1 is possible: where the prompt has pushed choices down there is more room to rise.

    Args:
        neutral: (unsteered, steered) scores without a persona, (n,) each.
        opposed: the same under persona lines that put the value low, (m,) each.

    Raises:
        ValueError: there is no neutral gain to keep a share of.
    """
    gain, hard = (float(np.mean(after) - np.mean(before)) for before, after in (neutral, opposed))
    if gain <= 0:
        raise ValueError(
            f"gain_kept: the neutral gain is {gain:.3f}; a share of it means nothing. Steer "
            "harder, or choose another layer, until the neutral gain is above zero."
        )
    return hard / gain
