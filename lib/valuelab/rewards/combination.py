"""Palettes of values as constraints: the nearest policy that keeps every promise, or proof of none.

A palette asks that the expected reward for each value reach a target: E_π[r_i] >= c_i. The
policy closest to the base that obeys is (MAP, arXiv 2410.19198)

    π(y|x) ∝ base(y|x) · exp(λ · r(x, y)),      λ >= 0 maximises the concave dual
    g(λ) = λ · c - mean_x log E_base[exp(λ · r(x, y))],      gradient c - E_π[r]

so the constraints turn out to be a weighted sum of raw rewards whose weights nobody had to guess.
The published code optimises log λ by Adam for a fixed number of steps and takes NaN for
"infeasible". Here: projected Newton from λ = 0 with log-sum-exp throughout, and a proof of
infeasibility. A λ >= 0 with λ · c > mean_x max_y λ · r(x, y) shows that no policy whatever meets
the palette (Farkas). Scaled up, the same λ lifts the dual over log n, which is the largest KL
that n equally likely replies can have, hence the largest value of a feasible dual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from valuelab.rewards.exact import expected, kl_optimal, strength_at_kl

__all__ = [
    "FrontPoint",
    "Palette",
    "map_dual",
    "pareto_front",
    "reachable_region",
    "relax_palette",
    "sequential_palette",
    "solve_palette",
]

WARM_START = 16384  # replies in the first, rough solve: weights and covariance for the full set to start from


@dataclass(frozen=True)
class Palette:
    """A solved palette.

    Attributes:
        weights: λ, (k,), at least 0; of a certificate where infeasible.
        target: c, (k,).
        achieved: E_π[r], (k,), under `weights` (of the last iterate where infeasible).
        base: E_base[r], (k,).
        kl: KL(π ‖ base) in nats.
        dual: g(λ); equals `kl` at the optimum. Above `max_dual` it proves infeasibility.
        max_dual: log n, or the largest surprise -log base(y) of an admitted reply.
        status: "feasible", "infeasible" (proved) or "undecided" (target on the very edge).
        steps: Newton steps on the full set.
    """

    weights: Tensor
    target: Tensor
    achieved: Tensor
    base: Tensor
    kl: float
    dual: float
    max_dual: float
    status: str
    steps: int

    @property
    def feasible(self) -> bool:
        return self.status == "feasible"

    @property
    def shortfall(self) -> float:
        """Largest amount by which a target is missed; 0 where all are met."""
        return float((self.target - self.achieved).clamp(min=0).max())

    def log_policy(self, rewards: Tensor, log_base: Tensor | None = None) -> Tensor:
        """Log-probabilities of the replies, (n,) or (prompts, n), from rewards (..., n, k)."""
        logits = rewards.double() @ self.weights
        return torch.log_softmax(logits if log_base is None else logits + log_base, dim=-1)


def map_dual(
    weights: Tensor, rewards: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Dual of a palette and its gradient, base uniform over n sampled replies.

        g(λ) = λ · c - log (1/n) Σ_y exp(λ · r_y)        gradient c - Σ_y π_y r_y

    The sum goes through log-sum-exp: λ · r of a few hundred overflows exp, even in float64.

    Args:
        weights: λ, (k,).
        rewards: r, (n, k).
        target: c, (k,).

    Returns:
        g as a scalar tensor and its gradient (k,).

    Source: MAP, arXiv 2410.19198.
    """
    logits = rewards @ weights
    dual = weights @ target - (torch.logsumexp(logits, dim=0) - math.log(len(rewards)))
    return dual, target - torch.softmax(logits, dim=0) @ rewards


def solve_palette(
    rewards: Tensor,
    target: Tensor | Sequence[float],
    log_base: Tensor | None = None,
    tolerance: float = 1e-7,
    max_steps: int = 100,
) -> Palette:
    """Weights of the nearest policy with E_π[r_i] >= target_i for every value i, or a certificate.

    Args:
        rewards: (n, k) replies by values, or (prompts, n, k): the constraint is then on the mean
            over prompts and each prompt keeps its own replies.
        target: (k,). Quantiles or means of the base rewards plus a wish are sensible targets.
        log_base: base log-probabilities (n,) or (prompts, n); uniform if None.
        tolerance: on every constraint and on complementary slackness, in units of the rewards.
        max_steps: Newton steps on the full set.

    Returns:
        A `Palette`; ask `.feasible` before using the weights.

    Raises:
        ValueError: shapes that do not fit, or rewards that are not finite.
    """
    problem = _Problem.of(rewards, target, log_base)
    start, covariance = torch.zeros_like(problem.c), None
    if len(problem.r) == 1 and problem.r.shape[1] > 4 * WARM_START:
        few = problem.thinned(WARM_START)
        rough = _newton(few, start, 1e-3, 30)
        if rough.status == "feasible":
            start = rough.weights
            p = few.at(start)[1]
            covariance = few.covariance(p, few.mean(p))
    return _newton(problem, start, tolerance, max_steps, covariance)


@dataclass
class _Problem:
    """A palette with everything in float64 and a leading prompt axis."""

    r: Tensor  # (prompts, n, k)
    c: Tensor  # (k,)
    log_base: Tensor | None  # (prompts, n); None is uniform, which saves a pass over the replies
    max_dual: float
    base: Tensor  # E_base[r], (k,)

    @classmethod
    def of(cls, rewards: Tensor, target: Tensor | Sequence[float], log_base: Tensor | None):
        if rewards.ndim not in (2, 3) or 0 in rewards.shape:
            raise ValueError(
                f"solve_palette: rewards have shape {tuple(rewards.shape)}; expected (n, k) or "
                "(prompts, n, k) with at least one of each."
            )
        c = torch.as_tensor(target, dtype=torch.float64)
        if c.shape != rewards.shape[-1:]:
            raise ValueError(
                f"solve_palette: {rewards.shape[-1]} values in rewards but target of shape "
                f"{tuple(c.shape)}. Give one target per value; -inf leaves a value free."
            )
        if c.isnan().any() or (c == math.inf).any():
            raise ValueError(f"solve_palette: no policy reaches the target {c.tolist()}.")
        r = rewards.double() if rewards.ndim == 3 else rewards.double()[None]
        if log_base is None:
            max_dual, p = math.log(r.shape[1]), r.new_full(r.shape[:2], 1 / r.shape[1])
        else:
            log_base = torch.log_softmax(log_base.double().reshape(r.shape[:2]), dim=-1)
            p = log_base.exp()
            surprise = torch.where(log_base > -math.inf, -log_base, 0.0)
            max_dual = float(surprise.amax(dim=-1).mean())
        problem = cls(r, c, log_base, max_dual, torch.bmm(p[:, None], r)[:, 0].mean(dim=0))
        if not torch.isfinite(problem.base).all():  # no further pass: NaN and infinity survive a mean
            places = (~torch.isfinite(r)).nonzero()
            raise ValueError(
                "solve_palette: rewards are not finite, first at (prompt, reply, value) "
                f"{tuple(places[0].tolist()) if len(places) else 'overflow of their sum'}. "
                "Drop the reply or mend the scorer."
            )
        return problem

    def thinned(self, size: int) -> _Problem:
        """Every (n / size)-th reply of a single prompt, for a first rough solve."""
        keep = slice(None, None, -(-self.r.shape[1] // size))
        r = self.r[:, keep].contiguous()
        if self.log_base is None:
            return replace(self, r=r, max_dual=math.log(r.shape[1]))
        return replace(self, r=r, log_base=torch.log_softmax(self.log_base[:, keep], -1))

    def at(self, weights: Tensor) -> tuple[float, Tensor, Tensor]:
        """Dual g(λ), probabilities (prompts, n) and λ · r (prompts, n)."""
        scores = self.r @ weights
        logits = scores if self.log_base is None else scores + self.log_base
        p = torch.softmax(logits, dim=-1)
        # log-sum-exp from the likeliest reply, log p = λ · r - norm: spares two passes
        log_mean = float((logits.amax(dim=-1) - p.amax(dim=-1).log()).mean())
        if self.log_base is None:
            log_mean -= math.log(self.r.shape[1])
        return self.wished(weights) - log_mean, p, scores

    def wished(self, weights: Tensor) -> float:
        """λ · c, where a free value (c = -inf) has weight 0 and counts 0."""
        return float(weights @ self.c.nan_to_num(neginf=0.0))

    def mean(self, p: Tensor) -> Tensor:
        """E_π[r] of each prompt, (prompts, k)."""
        return torch.bmm(p[:, None], self.r)[:, 0]

    def covariance(self, p: Tensor, mean: Tensor) -> Tensor:
        """Cov_π[r] averaged over prompts, (k, k): minus the Hessian of the dual."""
        half = (self.r * p.sqrt()[:, :, None]).flatten(0, 1)  # half.T @ half is symmetric: cheaper
        return (half.T @ half - mean.T @ mean) / len(p)

    def excess(self, weights: Tensor, scores: Tensor) -> float:
        """λ · c - mean_x max_y λ · r over admitted replies: above 0 it proves infeasibility."""
        if self.log_base is not None:
            scores = scores.masked_fill(self.log_base == -math.inf, -math.inf)
        return self.wished(weights) - float(scores.amax(dim=-1).mean())


def _newton(
    problem: _Problem, start: Tensor, tolerance: float, max_steps: int, covariance: Tensor | None = None
) -> Palette:
    """Projected Newton ascent on the dual (Bertsekas 1982), stopped by optimality or by proof.

    The covariance costs more than the rest of a step. As long as steps cut the gradient fivefold,
    the one at hand is mended by what the last step taught (BFGS) instead of made anew. Any positive
    definite matrix gives a way up: a poor one costs steps, never the solution.
    """
    weights, steps, slope, old = start, 0, math.inf, None
    dual, p, scores = problem.at(weights)
    while True:
        means = problem.mean(p)
        mean = means.mean(dim=0)
        gradient = problem.c - mean
        at_bound = (weights <= 0) & (gradient <= 0)
        before, slope = slope, float(torch.where(at_bound, 0.0, gradient).abs().max())
        if slope <= tolerance:
            status = "feasible"
            break
        excess = problem.excess(weights, scores)
        if excess > 0 and excess > 1e-12 * (1 + float(scores.abs().max())):
            # past the proof the dual grows along λ without end: go just beyond its feasible limit
            weights = weights * (1 + max(0.0, problem.max_dual - dual + 1) / excess)
            dual, p, scores = problem.at(weights)
            mean, status = problem.mean(p).mean(dim=0), "infeasible"
            break
        if covariance is None or slope > before / 5:
            covariance = problem.covariance(p, means)
        elif old is not None:
            covariance = _secant(covariance, weights - old[0], mean - old[1])
        old = weights, mean
        step = _direction(gradient, covariance, at_bound)
        found = _line_search(problem, weights, dual, gradient, step) if steps < max_steps else None
        if found is None:
            status = "feasible" if float(gradient.max()) <= max(tolerance, 1e-6) else "undecided"
            break
        weights, dual, p, scores = found
        steps += 1
    # KL(π ‖ base) = λ · E_π[r] - log E_base exp(λ · r), and the dual holds the second term
    kl = float(weights @ mean) - problem.wished(weights) + dual
    return Palette(
        weights, problem.c, mean, problem.base, kl, dual, problem.max_dual, status, steps
    )


def _direction(gradient: Tensor, covariance: Tensor, at_bound: Tensor) -> Tensor:
    """Newton step on the free weights; the others stay at zero."""
    free = (~at_bound).double()
    # a hair of ridge: constant or repeated rewards leave the covariance singular
    ridge = 1e-10 * covariance.diagonal().clamp(min=0) + 1e-12 + at_bound
    hessian = covariance * torch.outer(free, free) + torch.diag(ridge)
    return torch.linalg.solve(hessian, torch.where(at_bound, 0.0, gradient))


def _secant(covariance: Tensor, moved: Tensor, gained: Tensor) -> Tensor:
    """BFGS: the covariance changed so that it explains what a move of λ did to E[r]."""
    told = covariance @ moved
    explained, true = float(moved @ told), float(moved @ gained)
    if min(explained, true) <= 1e-12 * float(moved @ moved):  # no curvature along the move
        return covariance
    return covariance + torch.outer(gained, gained) / true - torch.outer(told, told) / explained


def _line_search(problem: _Problem, weights: Tensor, dual: float, gradient: Tensor, step: Tensor):
    """Backtrack along the projected step until the dual rises enough (Armijo); None if never."""
    t = 1.0
    for _ in range(60):
        trial = (weights + t * step).clamp(min=0)
        gain = float((gradient * (trial - weights))[trial != weights].sum())
        value, p, scores = problem.at(trial)
        if gain > 0 and value >= dual + 1e-4 * gain - 1e-13 * (1 + abs(dual)):
            return trial, value, p, scores
        t /= 2
    return None


def relax_palette(
    rewards: Tensor,
    target: Tensor | Sequence[float],
    log_base: Tensor | None = None,
    resolution: float = 1e-3,
) -> tuple[float, Palette]:
    """The largest share of a wish that can be granted, and its palette.

    Every target above the base mean is pulled towards it by the same share:
    c_i(ρ) = base_i + ρ · (c_i - base_i). ρ = 0 is the base policy, always feasible; bisection
    finds the largest feasible ρ <= 1. (Shrinking ρ · c itself would make a negative target
    harder, not easier.)

    Args:
        rewards, target, log_base: as in `solve_palette`.
        resolution: width at which the bisection stops.

    Returns:
        ρ in [0, 1] and the palette solved at ρ.
    """
    wanted = solve_palette(rewards, target, log_base)
    if wanted.feasible:
        return 1.0, wanted
    base, goal = wanted.base, wanted.target
    low, high, best = 0.0, 1.0, None
    while high - low > resolution or best is None:
        share = (low + high) / 2
        goal_now = torch.where(goal > base, base + share * (goal - base), goal)
        solved = solve_palette(rewards, goal_now, log_base)
        if solved.feasible:
            low, best = share, solved
        else:
            high = share
        if high < 1e-9:  # the base itself sits on the edge
            return 0.0, solve_palette(rewards, torch.minimum(goal, base), log_base)
    return low, best


def sequential_palette(
    rewards: Tensor, target: Tensor | Sequence[float], rounds: int = 50
) -> list[Tensor]:
    """Align to one value after another, round after round; the weights after every round.

    Each visit takes the current policy as its base and changes one weight until that value's
    constraint holds with least KL. Because exp(δ r_i) multiplies on, the weights add up, and a
    visit is exact coordinate ascent on the joint dual: concave and smooth, so the rounds converge
    to the joint solution. One single round does not reach it.

    Args:
        rewards: (n, k).
        target: (k,), feasible.
        rounds: passes over all values.

    Returns:
        Weights (k,) after each round.
    """
    r = rewards.double()
    c = torch.as_tensor(target, dtype=torch.float64)
    weights, history = torch.zeros(r.shape[1], dtype=torch.float64), []
    for _ in range(rounds):
        for i in range(r.shape[1]):
            others = r @ weights - weights[i] * r[:, i]
            visit = solve_palette(r[:, i : i + 1], c[i : i + 1], log_base=others)
            weights = weights.clone()
            weights[i] = visit.weights[0]
        history.append(weights.clone())
    return history


@dataclass(frozen=True)
class FrontPoint:
    """One point of a Pareto front: mixing weights (k,), expected rewards (k,), strength."""

    mix: Tensor
    achieved: Tensor
    strength: float


def pareto_front(
    rewards: Tensor, kl: float, mixes: Tensor | None = None, log_base: Tensor | None = None
) -> list[FrontPoint]:
    """Expected rewards of all policies that nothing beats at the same KL.

    For every mix w >= 0 the policy base · exp(strength · w · r), with the strength that spends
    exactly `kl`, maximises w · E[r] among policies within that KL. As the set of reachable
    E[r] is convex, every Pareto-optimal palette is such a mix: weighted sums suffice.

    Args:
        rewards: (n, k).
        kl: budget in nats.
        mixes: (m, k), at least 0; 21 points of the edge between two values if None (k = 2).
        log_base: (n,) or None for uniform.

    Raises:
        ValueError: `mixes` missing for k != 2; a KL out of reach.
    """
    r = rewards.double()
    if mixes is None:
        if r.shape[1] != 2:
            raise ValueError(
                f"pareto_front: {r.shape[1]} values need explicit mixes (m, {r.shape[1]}); only "
                "two values have a default."
            )
        first = torch.linspace(0, 1, 21, dtype=torch.float64)
        mixes = torch.stack([first, 1 - first], dim=1)
    front = []
    for mix in mixes.double():
        u = (r @ mix)[None]
        strength = strength_at_kl(u, kl, log_base)
        log_p = kl_optimal(u, strength, log_base)[0]
        front.append(FrontPoint(mix, expected(log_p, r.T), strength))
    return front


def reachable_region(rewards: Tensor, floor: float) -> Tensor:
    """Which pairs (E[r_0], E[r_1]) some policy reaches while E[r_2] stays at `floor` or above.

    The expected rewards of all policies fill the convex hull of the replies' reward vectors. Cut
    at r_2 = floor and seen from above it is a polygon: the hull of the corners above the cut and
    of the points where edges cross it.

    Args:
        rewards: (n, 3).
        floor: what the third value demands.

    Returns:
        Corners in order, (m, 2); (0, 2) where nothing reaches the floor.
    """
    points = rewards.double().numpy(force=True)
    corners = points[ConvexHull(points).vertices]
    above, below = corners[corners[:, 2] >= floor], corners[corners[:, 2] < floor]
    if len(above) == 0:
        return torch.empty(0, 2, dtype=torch.float64)
    share = (floor - below[None, :, 2]) / (above[:, None, 2] - below[None, :, 2])
    crossings = below[None] + share[..., None] * (above[:, None] - below[None])
    flat = np.concatenate([above[:, :2], crossings[..., :2].reshape(-1, 2)])
    if len(np.unique(flat.round(12), axis=0)) < 3:
        return torch.from_numpy(flat[:1])
    return torch.from_numpy(flat[ConvexHull(flat).vertices])
