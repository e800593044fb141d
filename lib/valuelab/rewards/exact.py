"""Exact laboratories: policies over finite sets of replies, where nothing needs sampling.

A base policy puts probabilities on the replies to each prompt (uniform unless `log_base` is
given). Two ways to follow a utility away from it are computed exactly: the KL-optimal policy
and best-of-n. Both are then compared where it is fair, at the same KL from the base, never at
the same strength or temperature, which mean something else for each utility.

Shapes: utilities, scores and log-probabilities are (prompts, replies); leading axes may be
anything. KL is in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "at_kl",
    "best_of_n",
    "best_of_n_kl",
    "best_of_n_win_rate",
    "expected",
    "kl_from_base",
    "kl_optimal",
    "strength_at_kl",
    "win_rate",
]


def kl_optimal(u: Tensor, strength: float | Tensor, log_base: Tensor | None = None) -> Tensor:
    """Log-probabilities of the policy that maximises E[u] - KL(π ‖ base) / strength.

        π(y|x) ∝ base(y|x) · exp(strength · u(x, y))

    Args:
        u: utilities, (..., replies).
        strength: 1 / beta, at least 0; broadcast against `u`.
        log_base: base log-probabilities, shape of `u`; uniform if None.

    Returns:
        (..., replies), normalised over the last axis.

    Source: standard; e.g. Korbak et al. 2022, RL with KL penalties as Bayesian inference.
    """
    logits = strength * u
    return torch.log_softmax(logits if log_base is None else logits + log_base, dim=-1)


def kl_from_base(log_p: Tensor, log_base: Tensor | None = None) -> Tensor:
    """KL(π ‖ base) of each prompt, (...,), from log-probabilities (..., replies)."""
    if log_base is None:
        log_base = log_p.new_full((), -math.log(log_p.shape[-1]))
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_base), torch.zeros_like(p)).sum(dim=-1)


def expected(log_p: Tensor, value: Tensor) -> Tensor:
    """E_π[value] of each prompt: (..., replies) to (...)."""
    return (log_p.exp() * value).sum(dim=-1)


def strength_at_kl(
    u: Tensor, kl: float, log_base: Tensor | None = None, tolerance: float = 1e-9
) -> float:
    """The one strength at which the KL-optimal policy is `kl` nats from the base, on average.

    One strength serves all prompts, as one beta does in training; the mean of KL over prompts
    rises with it. Bisection, with Newton's proposal wherever it stays inside the bracket
    (dKL/dstrength = strength · Var_π[u]).

    Args:
        u: utilities, (..., replies).
        kl: mean KL wanted, in nats, above 0.
        log_base: as in `kl_optimal`.
        tolerance: on the KL.

    Raises:
        ValueError: `kl` is out of reach: even all mass on the best replies is not that far.
    """
    u = u.double()
    log_base = None if log_base is None else log_base.double()
    best = torch.where(u == u.amax(dim=-1, keepdim=True), 0.0, -math.inf)
    most = float(kl_from_base(kl_optimal(best.to(u), 1.0, log_base), log_base).mean())
    if not 0 < kl < most:
        raise ValueError(
            f"strength_at_kl: kl={kl} is outside (0, {most:.4g}), what these replies allow (at "
            "most log(replies), less where the best replies tie). Ask for less."
        )
    low, high, s = 0.0, math.inf, float((2 * kl / u.var(dim=-1).mean()).sqrt())
    for _ in range(200):
        log_p = kl_optimal(u, s, log_base)
        gap = float(kl_from_base(log_p, log_base).mean()) - kl
        if abs(gap) <= tolerance:
            break
        low, high = (s, high) if gap < 0 else (low, s)
        variance = expected(log_p, u.square()) - expected(log_p, u).square()
        slope = s * float(variance.mean())
        proposal = s - gap / slope if slope > 0 else -1.0
        middle = (low + high) / 2 if math.isfinite(high) else 2 * s
        s = proposal if low < proposal < min(high, 4 * s) else middle
    return s


def at_kl(u: Tensor, kl: float, log_base: Tensor | None = None) -> Tensor:
    """Log-probabilities of the KL-optimal policy for `u` at a mean KL of `kl` nats."""
    log_base = None if log_base is None else log_base.double()
    return kl_optimal(u.double(), strength_at_kl(u, kl, log_base), log_base)


def best_of_n(scores: Tensor, n: float, log_base: Tensor | None = None) -> Tensor:
    """Exact log-probabilities of: draw n replies from the base, keep the best (ties at random).

    With F(s) the base probability of a score of at most s, and F(s-) of less than s,

        P(y) = base(y) · (F(s_y)^n - F(s_y-)^n) / (F(s_y) - F(s_y-))

    Args:
        scores: (..., replies); only their order matters.
        n: number of draws, at least 1 (any real number: the formula does not mind).
        log_base: as in `kl_optimal`.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"best_of_n: n={n} must be at least 1; n = 1 is the base policy.")
    size = scores.shape[-1]
    if log_base is None:
        log_base = torch.full_like(scores, -math.log(size), dtype=torch.float64)
    base = log_base.double().exp()
    order = scores.argsort(dim=-1)
    ranked, mass = scores.gather(-1, order), base.gather(-1, order)
    up_to = torch.cat([torch.zeros_like(mass[..., :1]), mass.cumsum(dim=-1)], dim=-1)
    # searchsorted finds where the block of ties ends and begins
    below = up_to.gather(-1, torch.searchsorted(ranked, ranked, right=False))
    until = up_to.gather(-1, torch.searchsorted(ranked, ranked, right=True)).clamp(max=1)
    share = (until**n - below**n) / (until - below).clamp(min=torch.finfo(torch.float64).tiny)
    chosen = mass * share
    p = torch.empty_like(chosen).scatter(-1, order, chosen)
    return (p / p.sum(dim=-1, keepdim=True)).log()


def best_of_n_kl(n: float) -> float:
    """log n - (n - 1) / n: KL of best-of-n for continuous scores, an upper bound otherwise.

    Source: Stiennon et al. 2020 (formula); Beirami et al. 2024 (bound).
    """
    return math.log(n) - (n - 1) / n


def best_of_n_win_rate(n: float) -> float:
    """n / (n + 1): how often best-of-n beats one base reply, for continuous scores."""
    return n / (n + 1)


def win_rate(log_p: Tensor, scores: Tensor, log_base: Tensor | None = None) -> Tensor:
    """P(score of a reply from π > score of a reply from the base), ties half: (...,)."""
    base = torch.full_like(log_p, 1 / log_p.shape[-1]) if log_base is None else log_base.exp()
    beats = (scores[..., :, None] > scores[..., None, :]).to(log_p.dtype)
    ties = (scores[..., :, None] == scores[..., None, :]).to(log_p.dtype)
    return torch.einsum("...i,...ij,...j->...", log_p.exp(), beats + ties / 2, base)
