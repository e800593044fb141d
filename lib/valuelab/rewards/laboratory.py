"""The honest table: when the log-sigmoid-centred transform helps, and when the raw reward wins.

Everything is simulated and everything is exact: gold rewards with another scale for each prompt,
a proxy that errs, the KL-optimal policy for the proxy or for its transform, at the same mean KL.
No model is trained, so nothing but the transform differs.

    proxy_error_table   mean gold and lower tail, proxy right / Gaussian error / t(3) error
    both_good_table     two rewards at odds: AND of transforms against the best raw weight
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from valuelab.rewards.exact import at_kl, expected
from valuelab.rewards.reference import reference_reward
from valuelab.rewards.transforms import all_of, log_sigmoid_centered, weighted_sum

__all__ = [
    "ERRORS",
    "RAW_WEIGHTS",
    "Estimate",
    "TwoRewards",
    "both_good_table",
    "estimate",
    "lower_tail",
    "lsc",
    "proxy_error_table",
    "simulate_gold",
    "simulate_two",
]

ERRORS: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "none": lambda rng, shape: np.zeros(shape),
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "t(3)": lambda rng, shape: rng.standard_t(3, size=shape),
}
RAW_WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds with a 95 % t-interval."""

    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % t-interval over seeds.

    Raises:
        ValueError: fewer than two values.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        raise ValueError("estimate: one seed has no interval; run at least two.")
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def lsc(r: Tensor, q: float = 0.85) -> Tensor:
    """Log-sigmoid-centred rewards with each prompt's own q-quantile as reference, (prompts, n)."""
    return log_sigmoid_centered(r, reference_reward(r, q=q)[:, None])


def simulate_gold(
    seed: int, prompts: int = 400, replies: int = 256, scale_spread: float = 0.5
) -> Tensor:
    """Gold rewards (prompts, replies): normal, each prompt with its own lognormal scale."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, scale_spread, size=(prompts, 1)))
    return torch.from_numpy(scale * rng.normal(size=(prompts, replies)))


def lower_tail(log_p: Tensor, gold: Tensor, quantile: float = 0.1) -> float:
    """The prompt at the 10th percentile: its gain in gold, in its own standard deviations."""
    gain = (expected(log_p, gold) - gold.mean(dim=-1)) / gold.std(dim=-1)
    return float(torch.quantile(gain, quantile))


def proxy_error_table(
    seeds: Sequence[int] = range(10),
    cases: Sequence[tuple[str, float]] = (
        ("none", 1.0),
        ("gaussian", 3.0),
        ("t(3)", 1.0),
        ("t(3)", 3.0),
    ),
    q: float = 0.85,
    **simulation,
) -> list[dict]:
    """Raw against transformed proxy at matched KL, one row per (proxy error, KL).

    Args:
        seeds: worlds to average over.
        cases: pairs of an error of `ERRORS` (standard scale 1) and a mean KL in nats.
        q: quantile of the reference reward.
        **simulation: passed to `simulate_gold`.

    Returns:
        Rows with "error", "kl", and `Estimate`s "mean_raw", "mean_lsc", "mean_gain" (paired),
        "tail_raw", "tail_lsc", "tail_gain".
    """
    rows = []
    for error, kl in cases:
        runs = [_proxy_run(seed, error, kl, q, simulation) for seed in seeds]
        columns = {name: estimate([run[name] for run in runs]) for name in runs[0]}
        rows.append({"error": error, "kl": kl, **columns})
    return rows


def _proxy_run(seed: int, error: str, kl: float, q: float, simulation: dict) -> dict[str, float]:
    gold = simulate_gold(seed, **simulation)
    rng = np.random.default_rng([seed, 1])  # its own stream: gold is the same in every case
    proxy = gold + torch.from_numpy(ERRORS[error](rng, tuple(gold.shape)))
    raw, transformed = at_kl(proxy, kl), at_kl(lsc(proxy, q), kl)
    run = {}
    for name, log_p in (("raw", raw), ("lsc", transformed)):
        run[f"mean_{name}"] = float(expected(log_p, gold).mean())
        run[f"tail_{name}"] = lower_tail(log_p, gold)
    run["mean_gain"] = run["mean_lsc"] - run["mean_raw"]
    run["tail_gain"] = run["tail_lsc"] - run["tail_raw"]
    return run


@dataclass(frozen=True)
class TwoRewards:
    """Two rewards of the same replies, each (prompts, replies), and which replies are good in both.

    `good` asks for both rewards above the median of their prompt.
    """

    first: Tensor
    second: Tensor

    @property
    def good(self) -> Tensor:
        def above(r: Tensor) -> Tensor:
            return r > r.median(dim=-1, keepdim=True).values

        return above(self.first) & above(self.second)


def simulate_two(
    seed: int, rho: float = -0.5, prompts: int = 400, replies: int = 256, scale: float = 2.0
) -> TwoRewards:
    """Two normal rewards with correlation `rho` over the replies to each prompt.

    `scale` is their standard deviation in logits: 2 lets the best of two random replies win four
    times in five or so. Raw rewards at matched KL do not depend on it; the transform does.
    """
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, prompts, replies))
    b = rho * a + np.sqrt(1 - rho**2) * b
    return TwoRewards(torch.from_numpy(scale * a), torch.from_numpy(scale * b))


def both_good_table(
    seeds: Sequence[int] = range(20),
    rho: float = -0.5,
    kl: float = 1.0,
    quantiles: Sequence[float] = (0.85, 0.5),
    weights: Sequence[float] = RAW_WEIGHTS,
    **simulation,
) -> dict[str, Estimate]:
    """Share of replies good in both respects, at the same KL: raw weights against the AND.

    The raw reward gets the best of all its weights in hindsight, seed by seed; the AND gets
    none to tune.

    Returns:
        Estimates "raw" (best weight), "and q0.85", "and q0.5", "gain q0.85", "gain q0.5"
        (paired differences to "raw").
    """
    runs = [_both_good_run(simulate_two(s, rho, **simulation), kl, quantiles, weights)
            for s in seeds]
    return {name: estimate([run[name] for run in runs]) for name in runs[0]}


def _both_good_run(
    world: TwoRewards, kl: float, quantiles: Sequence[float], weights: Sequence[float]
) -> dict[str, float]:
    pair, good = [world.first, world.second], world.good.double()

    def rate(u: Tensor) -> float:
        return float(expected(at_kl(u, kl), good).mean())

    run = {"raw": max(rate(weighted_sum(pair, [w, 1 - w])) for w in weights)}
    for q in quantiles:
        run[f"and q{q}"] = rate(all_of([lsc(r, q) for r in pair]))
        run[f"gain q{q}"] = run[f"and q{q}"] - run["raw"]
    return run
