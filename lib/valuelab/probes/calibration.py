"""Do a probe's probabilities mean what they say? Temperature, expected calibration error, Brier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from valuelab.probes.data import Unreadable, as_labels
from valuelab.probes.probe import Probe


def temperature(logits: Any, y: Any) -> float:
    """The number by which logits must be divided to have the smallest log loss.

        T = argmin  mean softplus(z / T) − t · z / T,   z = logit,  t = 1 where y, 0 elsewhere

    Fit it on held-out logits. T is sought between a thousandth and a thousandfold of their mean size.
    Two cases have no finite optimum:

    - every z is on its own side of zero. The best T would be 0 and every probability 0 or 1. So t is
      smoothed: (n₊ + 1) / (n₊ + 2) where y, 1 / (n₋ + 2) elsewhere.
    - the logits tell nothing: on average they do not lean to their own side. The best T would be
      infinite: it ends at the upper bound, and every probability at one half.

    Args:
        logits: (n,) held-out.
        y: (n,) booleans.

    Raises:
        Unreadable: all logits are zero.

    Source: Guo et al., arXiv 1706.04599; smoothed targets, Platt 1999.
    """
    z, y = as_arrays(logits, y)
    scale = np.abs(z).mean()
    if scale == 0:
        raise Unreadable(
            "temperature: all logits are zero, so the probe tells nothing apart and there is nothing to scale; read "
            "another layer or token."
        )
    margin, doubt = np.where(y, z, -z), 0.0  # doubt: how far the target stays from 0 or 1
    if (margin >= 0).all():
        doubt = np.where(y, 1 / (y.sum() + 2), 1 / ((~y).sum() + 2))

    def loss(log_t: float) -> float:
        m = margin / np.exp(log_t)
        return (np.logaddexp(0, -m) + doubt * m).mean()

    bounds = (np.log(scale * 1e-3), np.log(scale * 1e3))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def calibrate(probe: Probe, logits: Any, y: Any) -> Probe:
    """The probe with a temperature from held-out logits folded into weight and bias."""
    return probe.tempered(temperature(logits, y))


def expected_calibration_error(probabilities: Any, y: Any, bins: int = 15) -> float:
    """Mean distance between stated probability and observed share, over bins of equal mass.

    Args:
        probabilities: (n,) of y being True.
        y: (n,) booleans.
        bins: 15 by custom; lowered to n.
    """
    p, y = as_arrays(probabilities, y)
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(bins, len(p)))
    return float(sum(abs(p[i].mean() - y[i].mean()) * len(i) for i in parts) / len(p))


def brier(probabilities: Any, y: Any) -> float:
    """Mean squared distance between probability and outcome: 0 is perfect, 0.25 says 'half'."""
    p, y = as_arrays(probabilities, y)
    return float(((p - y) ** 2).mean())


def as_arrays(scores: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n,) as float64 and outcomes (n,) as bool; ValueError where shapes differ or a score is not finite."""
    z = np.asarray(torch.as_tensor(scores).detach().cpu().double())
    y = as_labels(y)
    if z.shape != y.shape or z.ndim != 1 or not len(z):
        raise ValueError(f"calibration: {z.shape} scores for {y.shape} outcomes; give (n,) each.")
    if not np.isfinite(z).all():
        raise ValueError("calibration: some scores are NaN or infinite; drop them and say so.")
    return z, y
