"""Is a reward a probability in disguise? Accuracy, likelihood, calibration, and the length test.

Everything here works on gaps: reward of the chosen minus reward of the rejected reply, (n,). A
calibrated model is right in sigmoid(gap) of the cases with that gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from valuelab.rewards.preferences import Comparison

__all__ = [
    "Calibration",
    "accuracy",
    "benchmark",
    "calibration",
    "disagreement",
    "fit_temperature",
    "length_correlation",
    "pair_nll",
    "reliability",
]


def accuracy(gaps: Tensor) -> tuple[float, float, float]:
    """Share of comparisons ordered rightly (ties count half), with a 95 % Wilson interval.

    Returns:
        (accuracy, low, high).

    Raises:
        ValueError: no gaps, or a gap that is not finite.
    """
    gaps = _checked(gaps, "accuracy")
    n = len(gaps)
    right = float((gaps > 0).double().sum() + 0.5 * (gaps == 0).double().sum())
    z = stats.norm.ppf(0.975)
    middle = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return right / n, middle - half, middle + half


def pair_nll(gaps: Tensor, temperature: float = 1.0) -> float:
    """Mean -log sigmoid(gap / temperature), in nats; log 2 = 0.693 is a coin."""
    return float(-F.logsigmoid(_checked(gaps, "pair_nll") / temperature).mean())


def fit_temperature(gaps: Tensor) -> float:
    """The one divisor of all rewards that makes held-out gaps most likely.

    Above 1: the model is too sure of itself. Bisection on the inverse temperature, in which
    the loss is convex.

    Raises:
        ValueError: all gaps have one sign, so that the best temperature is 0 or infinite.
    """
    gaps = _checked(gaps, "fit_temperature").double()
    if (gaps >= 0).all() or gaps.mean() <= 0:
        raise ValueError(
            "fit_temperature: needs held-out comparisons of which the model gets most, but not "
            "all, right; with these the best temperature is 0 or infinite."
        )
    low, high = 0.0, 1.0
    while _slope(gaps, high) < 0 and high < 1e9:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(gaps, middle) < 0 else (low, middle)
    return 2 / (low + high)


def _slope(gaps: Tensor, inverse: float) -> float:
    """Derivative of the mean loss with respect to the inverse temperature."""
    return float(-(gaps * torch.sigmoid(-gaps * inverse)).mean())


@dataclass(frozen=True)
class Calibration:
    """Reliability of sigmoid(gap), both orders of every pair counted once.

    Attributes:
        confidence: mean predicted probability of the favoured reply per bin, (bins,).
        observed: share of these in which it was preferred, (bins,).
        count: pairs per bin, (bins,).
        ece: expected calibration error, Σ count · |observed - confidence| / n.
        nll: mean negative log-likelihood.
    """

    confidence: Tensor
    observed: Tensor
    count: Tensor
    ece: float
    nll: float


def reliability(confidence: Tensor, won: Tensor, bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted against observed frequency in bins of (almost) equally many comparisons.

    Args:
        confidence: predicted probability of the favoured reply, (n,).
        won: 1 where it was preferred, 0 where not, 0.5 for ties, (n,).
        bins: number of bins, at most n.

    Returns:
        Mean confidence, mean of `won` and number of comparisons per bin, each (bins,), from the
        least to the most confident bin. The expected calibration error is
        Σ count · |observed - predicted| / n.

    Source: Naeini et al. 2015 (with equal counts instead of equal widths).
    """
    order = confidence.argsort(stable=True)
    groups = torch.tensor_split(order, min(bins, len(order)))
    predicted = torch.stack([confidence[g].mean() for g in groups])
    observed = torch.stack([won[g].mean() for g in groups])
    return predicted, observed, torch.tensor([len(g) for g in groups])


def calibration(gaps: Tensor, temperature: float = 1.0, bins: int = 10) -> Calibration:
    """Reliability table: how often the favoured reply wins, against how surely it was favoured.

    The favoured reply has probability sigmoid(|gap| / temperature), between 0.5 and 1.
    """
    gaps = _checked(gaps, "calibration").double() / temperature
    won = (gaps > 0).double() + 0.5 * (gaps == 0).double()
    predicted, observed, count = reliability(torch.sigmoid(gaps.abs()), won, bins)
    ece = float((count * (observed - predicted).abs()).sum() / count.sum())
    return Calibration(predicted, observed, count, ece, pair_nll(gaps))


def length_correlation(gaps: Tensor, comparisons: Sequence[Comparison]) -> float:
    """Spearman correlation of the gap with the difference in words: what length alone buys."""
    longer = [len(c.chosen.split()) - len(c.rejected.split()) for c in comparisons]
    if len(set(longer)) < 2 or len(set(gaps.tolist())) < 2:
        raise ValueError("length_correlation: lengths or gaps do not vary, nothing to correlate.")
    return float(stats.spearmanr(gaps.numpy(), longer).statistic)


def disagreement(gaps_of_seeds: Sequence[Tensor]) -> float:
    """Share of comparisons on which models of different seeds name different winners.

    Raises:
        ValueError: fewer than two seeds.
    """
    if len(gaps_of_seeds) < 2:
        raise ValueError("disagreement: train at least two seeds.")
    signs = torch.stack([g > 0 for g in gaps_of_seeds])
    return float((signs.any(0) & ~signs.all(0)).double().mean())


def benchmark(gaps: Tensor, comparisons: Sequence[Comparison]) -> dict[str, tuple]:
    """A small reward-model benchmark on the pairs at hand: accuracy where it hurts.

    Returns:
        row -> (accuracy, low, high, n) for "all", each head, "longer won", "shorter won" and,
        where margins are known, the "clear" and the "close" half. Empty rows are left out.
    """
    longer = torch.tensor([len(c.chosen.split()) - len(c.rejected.split()) for c in comparisons])
    margins = torch.tensor([float(c.margin) for c in comparisons])
    rows = {"all": torch.ones(len(comparisons), dtype=torch.bool)}
    for head in sorted({c.head for c in comparisons}):
        rows[head or "unnamed"] = torch.tensor([c.head == head for c in comparisons])
    rows["longer won"], rows["shorter won"] = longer > 0, longer < 0
    if margins.any():
        rows["clear"], rows["close"] = margins > margins.median(), margins <= margins.median()
    return {n: (*accuracy(gaps[w]), int(w.sum())) for n, w in rows.items() if w.any()}


def _checked(gaps: Tensor, name: str) -> Tensor:
    gaps = torch.as_tensor(gaps)
    if gaps.numel() == 0 or not torch.isfinite(gaps).all():
        raise ValueError(f"{name}: needs at least one gap and none that is NaN or infinite.")
    return gaps
