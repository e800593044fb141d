"""From two clouds of hidden states to a direction. Pure functions; each returns a Probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab.probes.data import as_labels, check_data, group_folds
from valuelab.probes.probe import Probe

C_GRID = (0.001, 0.01, 0.1, 1.0, 10.0)  # inverse strength of the L2 penalty


def mean_difference(positive: Tensor, negative: Tensor) -> Probe:
    """Direction from the mean of one cloud to the mean of the other.

        w = mean(positive) − mean(negative),   b = −w · (mean(positive) + mean(negative)) / 2

    The boundary lies half way between the means. The logits are not calibrated: their scale is
    |w|², whatever the spread inside the clouds.

    Args:
        positive: hidden states that show the value, (n, d_model).
        negative: hidden states that do not, (m, d_model); m may differ from n.

    Returns:
        Probe with weight (d_model,).

    Source: "difference in means", Marks & Tegmark, arXiv 2310.06824.
    """
    high, low = positive.mean(0), negative.mean(0)
    w = high - low
    return Probe(w, float(-w @ (high + low) / 2), method="mean difference")


def pca_difference(positive: Tensor, negative: Tensor) -> Probe:
    """First principal direction of the pair differences, *not* centred.

    Row i of `positive` and row i of `negative` share their context, so their difference is free of
    it. Centring the differences would remove the very mean that is sought. The sign is set so that
    most pairs rise along w; |w| is the mean rise. The boundary is as for `mean_difference`.

    Args:
        positive, negative: hidden states, (n, d_model) each, row by row in the same context. `fit`
            and `grouped_accuracy` pair rows by their groups; `fit` without groups, by their order.

    Source: RepE, arXiv 2310.01405; not centred, as the fix in IBM/activation-steering PR 8.
    """
    if positive.shape != negative.shape:
        raise ValueError(
            f"pca_difference: {len(positive)} positive and {len(negative)} negative states are no "
            "pairs; give row i of both the same context, or use mean_difference."
        )
    delta = positive - negative
    axis = torch.linalg.svd(delta, full_matrices=False).Vh[0]
    rises = delta @ axis
    sign = 1.0 if (rises > 0).sum() * 2 >= len(rises) else -1.0
    w = sign * axis * rises.mean().abs().clamp(min=1e-12)
    middle = (positive.mean(0) + negative.mean(0)) / 2
    return Probe(w, float(-w @ middle), method="pca of differences")


def lda(positive: Tensor, negative: Tensor, shrinkage: float | str = "auto") -> Probe:
    """Linear discriminant: the mean difference, seen through the spread inside the clouds.

        w = S⁻¹ (mean(positive) − mean(negative)),   S = (1 − a) · cov + a · tr(cov)/d · I

    With equal spread its logit is the log-odds, so it needs no calibration where clouds are
    Gaussian. The prior is one half.

    Args:
        positive, negative: hidden states, (n, d_model) and (m, d_model).
        shrinkage: a in [0, 1], or "auto" for the Ledoit-Wolf estimate (which keeps S invertible
            where there are fewer states than dimensions).
    """
    high, low = positive.mean(0), negative.mean(0)
    centred = torch.cat([positive - high, negative - low]).double()  # (n + m, d)
    d = centred.shape[1]
    cov = centred.T @ centred / len(centred)
    if shrinkage == "auto":
        shrinkage = ledoit_wolf(centred, cov)
    cov = (1 - shrinkage) * cov + shrinkage * cov.trace() / d * torch.eye(d).to(cov)
    w = torch.linalg.solve(cov, (high - low).double())
    b = float(-w @ (high + low).double() / 2)
    return Probe(w.to(positive.dtype), b, method="lda", meta={"shrinkage": float(shrinkage)})


def ledoit_wolf(centred: Tensor, cov: Tensor) -> float:
    """Share of the identity that brings a sample covariance nearest to the true one, in [0, 1].

        a = min(β, δ) / δ,   δ = ‖cov − μI‖²,   β = Σ_ij (mean of x_i² x_j² − cov_ij²) / n

    Args:
        centred: (n, d), mean removed.
        cov: its covariance, (d, d); μ is the mean of its diagonal.

    Source: Ledoit & Wolf 2004.
    """
    n, d = centred.shape
    squares = centred.square()
    noise = float(((squares.T @ squares / n) - cov.square()).sum()) / n
    spread = float((cov - cov.trace() / d * torch.eye(d).to(cov)).square().sum())
    return min(max(noise, 0.0), spread) / spread if spread > 0 else 1.0


def logistic(
    X: Tensor,
    y: Tensor,
    groups: Any = None,
    *,
    C: float | None = None,
    folds: int = 4,
    seed: int = 0,
) -> Probe:
    """Logistic regression with an L2 penalty on standardised features.

    Feature scaling is folded into weight and bias, so the probe reads raw hidden states.

    Args:
        X: hidden states, (n, d_model).
        y: (n,) booleans, True where the value is shown.
        groups: (n,) context of each state. Where given and C is None, C is chosen from `C_GRID` by
            grouped cross-validation inside X: never on the states that the probe is judged by.
        C: inverse penalty; None without groups means 0.1.
        folds: inner folds, lowered to the number of groups.
    """
    X, y, groups = check_data(X, y, groups)
    if C is None:
        C = best_penalty(X, y, groups, folds, seed) if groups is not None else 0.1
    w, b = fit_logistic(X, y, C)
    weight = torch.as_tensor(w, dtype=torch.float32)
    return Probe(weight, b, method="logistic", meta={"C": C})


def fit_logistic(X: np.ndarray, y: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    """Weight (d,) and bias of a penalised logistic regression, on the raw scale of X."""
    return next(fit_penalties(X, y, [C]))


def fit_penalties(
    X: np.ndarray, y: np.ndarray, grid: Sequence[float]
) -> Iterator[tuple[np.ndarray, float]]:
    """(weight, bias) on the raw scale of X for each C; features are standardised once.

    The optimum lies in the span of the rows, so with fewer states than dimensions it is sought
    there: Newton steps then cost no more than the smaller of the two.
    """
    mean, scale = X.mean(0), X.std(0)
    scale = np.where(scale > 1e-8 * np.abs(X).max(), scale, 1.0)  # constant features weigh nothing
    Z, basis = (X - mean) / scale, None
    if Z.shape[1] > Z.shape[0]:
        basis = np.linalg.qr(Z.T)[0].T  # (n, d), orthonormal rows
        Z = Z @ basis.T
    for C in grid:
        w, b = newton_logistic(Z, y, C)
        w = (w if basis is None else w @ basis) / scale
        yield w, float(b - w @ mean)


def newton_logistic(
    Z: np.ndarray, y: np.ndarray, C: float, steps: int = 100
) -> tuple[np.ndarray, float]:
    """Minimum over (w, b) of C Σ softplus(∓(Z w + b)) + |w|²/2, as scikit-learn defines it.

    Newton's method with halved steps: the function is convex and the penalty bounds it below, so
    it converges from zero whatever the data.

    Args:
        Z: (n, d) standardised features.
        y: (n,) booleans.

    Raises:
        ValueError: no convergence within `steps`.
    """
    A = np.concatenate([Z, np.ones((len(Z), 1))], 1)  # the intercept is not penalised
    ridge = np.append(np.ones(Z.shape[1]), 0.0)
    sign, theta = np.where(y, 1.0, -1.0), np.zeros(A.shape[1])

    def loss(t):
        return C * np.logaddexp(0, -sign * (A @ t)).sum() + (ridge * t * t).sum() / 2

    now = loss(theta)
    for _ in range(steps):
        p = np.exp(-np.logaddexp(0, -(A @ theta)))
        gradient = C * A.T @ (p - y) + ridge * theta
        curve = (A.T * (C * p * (1 - p))) @ A + np.diag(ridge)
        curve[-1, -1] += 1e-10  # where every p is 0 or 1, the intercept has no curvature left
        step = np.linalg.solve(curve, gradient)
        gain = gradient @ step
        if gain <= 1e-12 * (1 + now):
            return theta[:-1], float(theta[-1])
        size = 1.0
        while (then := loss(theta - size * step)) > now - 1e-4 * size * gain and size > 1e-8:
            size /= 2
        theta, now = theta - size * step, then
    raise ValueError(
        f"logistic: no optimum after {steps} Newton steps with C={C}; look for huge or equal "
        "features, or use a smaller C."
    )


def best_penalty(X: np.ndarray, y: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> float:
    """The C with the lowest held-out log loss over grouped folds."""
    fold = group_folds(groups, min(folds, len(np.unique(groups))), seed)
    losses = np.zeros(len(C_GRID))
    for k in np.unique(fold):
        held = fold == k
        if len(np.unique(y[~held])) < 2:
            continue
        for j, (w, b) in enumerate(fit_penalties(X[~held], y[~held], C_GRID)):
            logit = X[held] @ w + b
            losses[j] += np.logaddexp(0, np.where(y[held], -logit, logit)).sum()
    return C_GRID[int(losses.argmin())]


def random_direction(like: Probe | Tensor, seed: int = 0) -> Probe | Tensor:
    """A direction drawn at random, of the same length: the control for every steering vector.

    Args:
        like: a probe (layer and value are kept) or a vector (d_model,).
    """
    weight = like.weight if isinstance(like, Probe) else like
    draw = torch.randn(len(weight), generator=torch.Generator().manual_seed(seed))
    draw = (draw * weight.norm().cpu() / draw.norm()).to(weight)
    if not isinstance(like, Probe):
        return draw
    return like.with_(weight=draw, method="random direction", meta={"seed": seed})


def pairs(X: Tensor, y: Tensor, groups: Any = None) -> tuple[Tensor, Tensor]:
    """States for and states against, (n, d_model) each, row by row of the same context.

    The k-th state for of a context goes with its k-th state against; without groups, of all.

    Raises:
        ValueError: a context has more states on one side than on the other.
    """
    if groups is None:
        return X[y], X[~y]
    y, groups = as_labels(y), np.asarray(groups)
    high, low = np.flatnonzero(y), np.flatnonzero(~y)
    high_sorted = high[np.argsort(groups[high], kind="stable")]
    low_sorted = low[np.argsort(groups[low], kind="stable")]
    if len(high) != len(low) or (groups[high_sorted] != groups[low_sorted]).any():
        raise ValueError(
            f"pca of differences: {len(high)} states for and {len(low)} against are no pairs; each context needs as "
            "many for as against. Or use mean difference."
        )
    partner = np.empty(len(y), int)
    partner[high_sorted] = low_sorted
    return X[high], X[partner[high]]  # states for keep their order


Fit = Callable[[Tensor, Tensor, Any], Probe]  # (X, y, groups) -> Probe
ESTIMATORS: dict[str, Fit] = {
    "mean difference": lambda X, y, groups: mean_difference(X[y], X[~y]),
    "pca of differences": lambda X, y, groups: pca_difference(*pairs(X, y, groups)),
    "lda": lambda X, y, groups: lda(X[y], X[~y]),
    "logistic": logistic,
}


def estimator(method: str | Fit) -> Fit:
    """The function of a name, or the function itself."""
    if callable(method):
        return method
    if method not in ESTIMATORS:
        raise ValueError(f"no estimator {method!r}; choose from {', '.join(ESTIMATORS)}.")
    return ESTIMATORS[method]


def fit(
    X: Tensor,
    y: Tensor,
    groups: Any = None,
    *,
    method: str | Fit = "logistic",
    layer: int | None = None,
    value: str = "",
) -> Probe:
    """Check the data, estimate, and note what the probe is of.

    Args:
        X: hidden states (n, d_model).
        y: (n,) booleans.
        groups: (n,) contexts, used by estimators that choose a penalty or pair the states.
        method: a name in `ESTIMATORS`, or a function (X, y, groups) -> Probe.

    Raises:
        ValueError: one class, constant or non-finite features, lengths that differ.
    """
    y = torch.as_tensor(check_data(X, y, groups)[1])
    probe = estimator(method)(X, y, groups)
    return probe.with_(layer=layer, value=value)
