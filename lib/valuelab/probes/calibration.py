"""Do a probe's probabilities mean what they say? Temperature, expected calibration error, Brier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from valuelab.probes.data import Unreadable
from valuelab.probes.probe import Probe


def temperature(logits: Any, y: Any) -> float:
    """The number by which logits must be divided to have the smallest log loss.

        T = argmin  mean softplus(−s · logit / T),   s = +1 where y, −1 elsewhere

    Fit it on held-out logits. Perfectly separated logits have no finite optimum: T then ends at
    the bound, a thousandth of the logits' own scale.

    Args:
        logits: (n,) held-out.
        y: (n,) booleans.

    Raises:
        Unreadable: all logits are zero.

    Source: Guo et al., arXiv 1706.04599.
    """
    z, y = as_arrays(logits, y)
    scale = np.abs(z).mean()
    if scale == 0:
        raise Unreadable(
            "temperature: all logits are zero, so the probe tells nothing apart and there is nothing to scale; read "
            "another layer or token."
        )
    margin = np.where(y, z, -z)

    def loss(log_t: float) -> float:
        return np.logaddexp(0, -margin / np.exp(log_t)).mean()

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
    y = np.asarray(torch.as_tensor(y).cpu()).astype(bool)
    if z.shape != y.shape or z.ndim != 1 or not len(z):
        raise ValueError(f"calibration: {z.shape} scores for {y.shape} outcomes; give (n,) each.")
    if not np.isfinite(z).all():
        raise ValueError("calibration: some scores are NaN or infinite; drop them and say so.")
    return z, y
