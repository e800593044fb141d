"""Utilities from pairwise choices: Thurstonian and Bradley-Terry, and whether they cohere.

A comparison is an edge (i, j): option i was taken `wins` times out of `n`, both orders pooled.
Fitting always succeeds, on noise too. So hold out edges before anything else, print the floors
(train accuracy on arbitrary choices is about .6 to .7), and look at transitivity and at lotteries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize
from scipy.special import expit, log_ndtr, ndtr

from valuelab.measure.intervals import Interval, mean_interval
from valuelab.measure.ranking import rank_bounds

__all__ = [
    "Edges",
    "Utilities",
    "choose_edges",
    "edge_budget",
    "expected_utility",
    "fit_bradley_terry",
    "fit_thurstone",
    "intransitivity",
    "learn_utilities",
    "mean_confidence",
    "preference_matrix",
    "soft_cycle",
    "split_edges",
    "strict_cycle",
    "surface_r2",
    "thurstone_probability",
    "utility_accuracy",
]

EPSILON = 1e-5  # the published model's floor on the variance of a difference


@dataclass(frozen=True)
class Edges:
    """Comparisons of `options` options. first, second, wins, n: (E,); wins counts `first` taken."""

    first: np.ndarray
    second: np.ndarray
    wins: np.ndarray
    n: np.ndarray
    options: int

    def __post_init__(self):
        for name in ("first", "second"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), int).reshape(-1))
        for name in ("wins", "n"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), float).reshape(-1))
        sizes = {x.size for x in (self.first, self.second, self.wins, self.n)}
        if len(sizes) != 1:
            raise ValueError(f"Edges: first, second, wins and n differ in length: {sorted(sizes)}.")
        if (self.first == self.second).any():
            raise ValueError("Edges: an option is compared with itself. Drop those edges.")
        if self.first.size and max(self.first.max(), self.second.max()) >= self.options:
            raise ValueError(f"Edges: an index reaches beyond options={self.options}.")
        if (self.wins < 0).any() or (self.wins > self.n).any():
            raise ValueError("Edges: wins must lie between 0 and n. Are they shares, not counts?")

    def __len__(self) -> int:
        return self.first.size

    def take(self, which) -> Edges:
        """The edges at `which` (indices or a mask)."""
        return Edges(
            self.first[which], self.second[which], self.wins[which], self.n[which], self.options
        )

    def join(self, other: Edges) -> Edges:
        """These edges and those of `other`."""
        pairs = zip(
            (self.first, self.second, self.wins, self.n),
            (other.first, other.second, other.wins, other.n),
            strict=True,
        )
        return Edges(*(np.concatenate(p) for p in pairs), self.options)


@dataclass(frozen=True)
class Utilities:
    """Fitted utilities.

    mu: (N,) mean utility; z-scored for Thurstone, in logits with mean 0 for Bradley-Terry.
    sigma2: (N,) variance of each option's utility on the scale of mu; zeros for Bradley-Terry.
    se: (N,) clustered standard errors of mu (inf where the data do not bind an option).
    covariance: (N, N). outcome: "ok", or why the utilities say nothing.
    """

    mu: np.ndarray
    sigma2: np.ndarray
    se: np.ndarray
    kind: str
    steps: int = 0
    outcome: str = "ok"
    covariance: np.ndarray | None = field(default=None, repr=False)

    def probability(self, first, second) -> np.ndarray:
        """P(first preferred to second), elementwise over index arrays."""
        i, j = np.asarray(first, int), np.asarray(second, int)
        if self.kind == "bradley-terry":
            return expit(self.mu[i] - self.mu[j])
        return thurstone_probability(self.mu[i], self.mu[j], self.sigma2[i], self.sigma2[j])

    def intervals(self, level: float = 0.95) -> list[Interval]:
        """Normal interval of each option's utility, conditional on the options measured."""
        from scipy.stats import norm

        z = norm.ppf(0.5 + level / 2)
        return [
            Interval(
                m,
                m - z * s,
                m + z * s,
                s,
                0,
                0,
                None,
                "ok" if math.isfinite(s) else "not bound by the data",
            )
            for m, s in zip(self.mu.tolist(), self.se.tolist(), strict=True)
        ]

    def rank_intervals(
        self, *, draws: int = 2000, level: float = 0.95, seed: int = 0
    ) -> np.ndarray:
        """(N, 2) bounds of each option's rank, 1 = most wanted, from the joint uncertainty."""
        if self.covariance is None:
            return np.tile([1, len(self.mu)], (len(self.mu), 1))
        rng = np.random.default_rng(seed)
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        sample = self.mu + rng.standard_normal((draws, len(self.mu))) @ root.T
        return np.stack(rank_bounds(self.mu, sample, level=level), 1)


def thurstone_probability(
    mu_x: np.ndarray, mu_y: np.ndarray, var_x: np.ndarray, var_y: np.ndarray
) -> np.ndarray:
    """Chance that x is preferred to y when each option's utility is a normal draw.

        U(o) ~ N(mu_o, var_o);   P(x > y) = Phi( (mu_x - mu_y) / sqrt(var_x + var_y + 1e-5) )

    Args:
        mu_x, mu_y: mean utilities; any shapes that broadcast.
        var_x, var_y: variances (not standard deviations), not negative.

    Returns:
        Probabilities, broadcast shape.

    Source: Thurstone 1927; Utility Engineering, arXiv 2502.08640, section 3.
    """
    spread = np.sqrt(np.asarray(var_x) + np.asarray(var_y) + 1e-5)
    return ndtr((np.asarray(mu_x) - np.asarray(mu_y)) / spread)


def _thurstone_loss(theta: np.ndarray, edges: Edges, ridge: float) -> tuple[float, np.ndarray]:
    """Count-weighted negative log-likelihood + ridge on s = log variance, and its gradient."""
    n_options = edges.options
    mu, s = theta[:n_options], theta[n_options:]
    v, i, j = np.exp(s), edges.first, edges.second
    spread = np.sqrt(v[i] + v[j] + EPSILON)
    z = (mu[i] - mu[j]) / spread
    up, down = log_ndtr(z), log_ndtr(-z)
    losses = edges.n - edges.wins
    total = edges.n.sum()
    value = -(edges.wins * up + losses * down).sum() / total + 0.5 * ridge * (s**2).mean()
    log_phi = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    dz = -(edges.wins * np.exp(log_phi - up) - losses * np.exp(log_phi - down)) / total  # (E,)
    grad = np.zeros_like(theta)
    np.add.at(grad, i, dz / spread)
    np.add.at(grad, j, -dz / spread)
    for k in (i, j):
        np.add.at(grad, n_options + k, -0.5 * dz * z * v[k] / spread**2)
    grad[n_options:] += ridge * s / n_options
    return float(value), grad


def _nothing(edges: Edges, kind: str, why: str) -> Utilities:
    zero = np.zeros(edges.options)
    return Utilities(zero, zero.copy(), np.full(edges.options, np.inf), kind, 0, why)


def _degenerate(edges: Edges) -> str | None:
    if edges.options < 2:
        return "one option: nothing to compare it with"
    if not len(edges) or edges.n.sum() == 0:
        return "no valid comparison: no utility was measured"
    if (edges.wins * 2 == edges.n).all():
        return "ties everywhere: every option is worth the same, or slot bias hides the content"
    return None


def fit_thurstone(
    edges: Edges,
    *,
    ridge: float = 0.05,
    free_variance: bool = True,
    clusters=None,
    max_iter: int = 500,
) -> Utilities:
    """Thurstonian utilities by maximum likelihood (L-BFGS), mu z-scored over options.

    The likelihood is unchanged when all mu shift, or when mu and sigma stretch together; the ridge
    on log sigma^2 (which leans to equal variances) and the final z-scoring remove that freedom.

    Args:
        edges: comparisons; wins may be fractional (soft labels), n weights each edge.
        ridge: weight of mean(log sigma^2)^2 / 2 beside the mean log-loss per comparison.
        free_variance: False fixes all variances equal (a probit Bradley-Terry).
        clusters: (E,) labels of edges that are not independent (one context); default, each edge.

    Returns:
        Utilities with standard errors (see _covariance) carried through the z-scoring.

    Source: arXiv 2502.08640 (likelihood); there by Adam, here count-weighted by L-BFGS.
    """
    why = _degenerate(edges)
    if why:
        return _nothing(edges, "thurstone", why)
    n = edges.options
    start = np.zeros(2 * n)
    strength = ridge if free_variance else 1e6
    fit = optimize.minimize(
        _thurstone_loss,
        start,
        args=(edges, strength),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-50, 50)] * n + [(-6, 6)] * n,
        options={"maxiter": max_iter, "maxfun": 10**6},
    )
    mu, s = fit.x[:n] - fit.x[:n].mean(), fit.x[n:]
    scale = mu.std()
    if scale < 1e-9:
        return _nothing(edges, "thurstone", "zero variance: all options are worth the same")
    cov = _thurstone_covariance(fit.x, edges, strength, clusters, free_variance)
    z = mu / scale
    # z-scoring: d z / d mu = (I - 11'/n - z z'/n) / scale
    jac = (np.eye(n) - 1 / n - np.outer(z, z) / n) / scale
    cov = jac @ cov @ jac.T
    return Utilities(
        z,
        np.exp(s) / scale**2,
        np.sqrt(np.clip(np.diag(cov), 0, None)),
        "thurstone",
        int(fit.nit),
        "ok",
        cov,
    )


def _thurstone_covariance(
    theta, edges: Edges, ridge: float, clusters, free_variance: bool
) -> np.ndarray:
    """Sandwich covariance of mu (N, N): Fisher information around, clustered scores between."""
    n, i, j = edges.options, edges.first, edges.second
    mu, v = theta[:n], np.exp(theta[n:])
    spread = np.sqrt(v[i] + v[j] + EPSILON)
    z = np.clip((mu[i] - mu[j]) / spread, -6, 6)
    p, phi = ndtr(z), np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    slope = np.zeros((len(edges), 2 * n))  # d z / d theta
    rows = np.arange(len(edges))
    slope[rows, i] += 1 / spread
    slope[rows, j] -= 1 / spread
    slope[rows, n + i] -= 0.5 * z * v[i] / spread**2
    slope[rows, n + j] -= 0.5 * z * v[j] / spread**2
    if not free_variance:
        slope = slope[:, :n]
    info = (slope * (edges.n * phi**2 / (p * (1 - p)))[:, None]).T @ slope
    penalty = np.zeros(len(info))
    if free_variance:
        penalty[n:] = ridge / n * edges.n.sum()
    score = slope * ((edges.wins - edges.n * p) * phi / (p * (1 - p)))[:, None]
    return _covariance(info, penalty, score, edges, p, clusters)[:n, :n]


def _covariance(info, penalty, score, edges: Edges, p, clusters) -> np.ndarray:
    """Covariance of the parameters.

    The bread is B = pinv(info + penalty). With clusters B (sum over clusters of s s') B with its
    small-sample factor. Without, B info B, stretched where the edges scatter more than binomial
    draws would (Pearson's statistic per degree of freedom above 1): a sandwich of
    single edges is too small when there are few edges per option.
    """
    bread = np.linalg.pinv(info + np.diag(penalty), hermitian=True, rcond=1e-9)
    free = max(len(edges) - score.shape[1], 1)
    if clusters is None:
        q = np.clip(p, 1e-6, 1 - 1e-6)
        pearson = ((edges.wins - edges.n * q) ** 2 / np.maximum(edges.n * q * (1 - q), 1e-12)).sum()
        return bread @ info @ bread * max(1.0, float(pearson) / free)
    _, index = np.unique(np.asarray(clusters).reshape(-1), return_inverse=True)
    groups = int(index.max()) + 1
    summed = np.zeros((groups, score.shape[1]))
    np.add.at(summed, index, score)
    factor = groups / max(groups - 1, 1) * (len(edges) - 1) / free
    return bread @ (summed.T @ summed * factor) @ bread


def fit_bradley_terry(
    edges: Edges, *, ridge: float = 1e-3, clusters=None, max_iter: int = 100
) -> Utilities:
    """Bradley-Terry utilities by Newton's method: P(i > j) = sigmoid(theta_i - theta_j), mean 0.

    ridge: weight of |theta|^2 / 2 in the summed log-loss; it keeps options that never lose finite.
    clusters: (E,) labels of edges that share a context. Raises nothing on ties or empty data: the
    outcome says so.
    """
    why = _degenerate(edges)
    if why:
        return _nothing(edges, "bradley-terry", why)
    n, i, j = edges.options, edges.first, edges.second
    theta, step = np.zeros(n), 0
    while step < max_iter:
        step += 1
        grad, info = _bt_terms(theta, edges, ridge)
        move = np.linalg.solve(info, grad)
        theta = theta + move * min(1.0, 4.0 / max(np.abs(move).max(), 1e-12))
        if np.abs(move).max() < 1e-10:
            break
    theta = theta - theta.mean()
    _, info = _bt_terms(theta, edges, ridge)
    p = expit(theta[i] - theta[j])
    resid = edges.wins - edges.n * p
    score = np.zeros((len(edges), n))
    score[np.arange(len(edges)), i] += resid
    score[np.arange(len(edges)), j] -= resid
    cov = _covariance(info - ridge * np.eye(n), np.full(n, ridge), score, edges, p, clusters)
    centre = np.eye(n) - 1 / n
    cov = centre @ cov @ centre
    return Utilities(
        theta,
        np.zeros(n),
        np.sqrt(np.clip(np.diag(cov), 0, None)),
        "bradley-terry",
        step,
        "ok",
        cov,
    )


def _bt_terms(theta, edges: Edges, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    n, i, j = edges.options, edges.first, edges.second
    p = expit(theta[i] - theta[j])
    resid = edges.wins - edges.n * p
    grad = np.bincount(i, resid, n) - np.bincount(j, resid, n) - ridge * theta
    w, info = edges.n * p * (1 - p), np.zeros((n, n))
    np.add.at(info, (i, j), -w)
    np.add.at(info, (j, i), -w)
    info[np.diag_indices(n)] = np.bincount(i, w, n) + np.bincount(j, w, n) + ridge
    return grad, info


# --- held-out edges -------------------------------------------------------------------------


def split_edges(
    first, second, *, share: float = 0.05, most: int = 1000, seed: int = 0
) -> np.ndarray:
    """Mask (E,) of held-out edges, drawn by unordered pair: (a, b) and (b, a) stay together.

    Draw it before choosing edges actively; an edge chosen because it is close is no fair test.
    """
    i, j = np.asarray(first), np.asarray(second)
    pair = np.stack([np.minimum(i, j), np.maximum(i, j)], 1)
    unique, index = np.unique(pair, axis=0, return_inverse=True)
    size = min(most, max(1, round(share * len(unique))))
    chosen = np.random.default_rng(seed).choice(len(unique), size, replace=False)
    return np.isin(index.reshape(-1), chosen)


def utility_accuracy(utilities: Utilities, edges: Edges, *, level: float = 0.95) -> Interval:
    """Share of edges whose majority the utilities predict; tied edges are left out.

    Published code counts a tie as "first option"; that favours a slot-biased model. Each unordered
    pair is one cluster. Floor: about .5 on held-out edges, about .6 to .7 on the fitted
    ones at the usual number of edges.
    """
    share = np.divide(edges.wins, edges.n, out=np.full(len(edges), 0.5), where=edges.n > 0)
    clear = share != 0.5
    if not clear.any() or utilities.outcome != "ok":
        why = "every edge is tied" if not clear.any() else utilities.outcome
        return Interval(math.nan, 0.0, 1.0, math.inf, 0, 0, None, why)
    e = edges.take(clear)
    right = (utilities.probability(e.first, e.second) > 0.5) == (share[clear] > 0.5)
    low, high = np.minimum(e.first, e.second), np.maximum(e.first, e.second)
    return mean_interval(right, low * edges.options + high, level=level, null=0.5)


# --- coherence ------------------------------------------------------------------------------


def mean_confidence(edges: Edges) -> Interval:
    """Mean of max(share, 1 - share) over edges. Hold it against floors.confidence_floor(n)."""
    ok = edges.n > 0
    if not ok.any():
        return Interval(math.nan, 0.5, 1.0, math.inf, 0, 0, None, "no valid comparison")
    share = edges.wins[ok] / edges.n[ok]
    return mean_interval(np.maximum(share, 1 - share), null=0.5)


def preference_matrix(edges: Edges) -> np.ndarray:
    """(N, N) share of i taken over j, nan where the pair was not measured."""
    wins, n = np.zeros((edges.options,) * 2), np.zeros((edges.options,) * 2)
    for i, j, w in (
        (edges.first, edges.second, edges.wins),
        (edges.second, edges.first, edges.n - edges.wins),
    ):
        np.add.at(wins, (i, j), w)
        np.add.at(n, (i, j), edges.n)
    return np.divide(wins, n, out=np.full(wins.shape, np.nan), where=n > 0)


def soft_cycle(p_ab: np.ndarray, p_bc: np.ndarray, p_ca: np.ndarray) -> np.ndarray:
    """Chance that three independent choices go round in a circle, either way.

        p_ab p_bc p_ca + (1 - p_ab)(1 - p_bc)(1 - p_ca)

    .25 for fair coins, 0 for a strict order, 1 for a certain cycle. Unbiased when the shares come
    from different samples. This is our "soft intransitivity"; published figures of it do not all
    follow one definition, so compare only what was computed alike.

    Args:
        p_ab, p_bc, p_ca: (...) chances of a over b, b over c, c over a.

    Returns:
        (...) chances.

    Source: arXiv 2502.08640, definition of cycle probability.
    """
    p_ab, p_bc, p_ca = np.asarray(p_ab), np.asarray(p_bc), np.asarray(p_ca)
    return p_ab * p_bc * p_ca + (1 - p_ab) * (1 - p_bc) * (1 - p_ca)


def strict_cycle(p_ab: np.ndarray, p_bc: np.ndarray, p_ca: np.ndarray) -> np.ndarray:
    """1 where three strict majorities go round (all > .5 or all < .5), else 0. Ties never cycle."""
    s = np.sign(np.stack(np.broadcast_arrays(p_ab, p_bc, p_ca)) - 0.5).sum(0)
    return (np.abs(s) == 3).astype(float)


def intransitivity(
    matrix, *, kind: str = "soft", triads: int | None = None, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean cycle measure over triads of options whose three pairs were all measured.

    matrix (N, N) of shares (preference_matrix). `triads` caps how many are drawn (published:
    1,000); None takes all. Triads share options, so the interval comes from the spread of the
    options' own means (first-order U-statistic variance) plus the triads' own noise.
    `p` is against .25, the value for coins (kind "soft").
    """
    p = np.asarray(matrix, float)
    rule = {"soft": soft_cycle, "strict": strict_cycle}.get(kind)
    if rule is None:
        raise ValueError(f"intransitivity: kind={kind!r}. Choose 'soft' or 'strict'.")
    size, total = len(p), math.comb(len(p), 3)
    if triads is None or triads >= total:
        a, b, c = _all_triads(size)
    else:
        picks = np.random.default_rng(seed).random((triads, size)).argpartition(3, axis=1)[:, :3]
        a, b, c = picks.T
    score = rule(p[a, b], p[b, c], p[c, a])
    known = np.isfinite(p[a, b]) & np.isfinite(p[b, c]) & np.isfinite(p[c, a])
    if not known.any():
        return Interval(math.nan, 0.0, 1.0, math.inf, 0, 0, None, "no triad has all three pairs")
    score, members = score[known], np.stack([a, b, c])[:, known]
    mean, m = float(score.mean()), score.size
    count = np.bincount(members.reshape(-1), minlength=size)
    sums = np.bincount(members.reshape(-1), np.tile(score - mean, 3), minlength=size)
    seen = int((count > 0).sum())
    # Leave option i out: the mean moves by the summed deviation of its triads over what is left.
    left = np.maximum(m - count, 1)
    between = ((sums / left) ** 2).sum() * (seen - 1) / max(seen, 1)
    within = ((score - mean) ** 2).sum() / m**2
    se = math.sqrt(max(between - 2 * within, within))
    from scipy.stats import t

    free = max(seen - 1, 1)
    half = float(t.ppf(0.5 + level / 2, free)) * se
    pv = (
        None
        if kind == "strict"
        else (float(2 * t.sf(abs(mean - 0.25) / se, free)) if se > 0 else float(mean == 0.25))
    )
    return Interval(mean, mean - half, mean + half, se, m, seen, pv)


def _all_triads(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    i, j = np.triu_indices(size, 1)
    reps = size - 1 - j
    third = np.concatenate([np.arange(x + 1, size) for x in j]) if len(j) else np.zeros(0, int)
    return np.repeat(i, reps), np.repeat(j, reps), third.astype(int)


def expected_utility(
    mu,
    lottery_mu,
    outcomes,
    probabilities,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> dict:
    """Does the utility of a lottery equal the mean utility of its outcomes?

    Args:
        mu: (N,) utilities of the plain outcomes.
        lottery_mu: (L,) utilities of the lotteries, fitted in the same graph.
        outcomes: (L, k) indices into mu, -1 pads; probabilities (L, k), rows sum to 1.

    Returns:
        dict with `mae` (mean |z(lottery) - z(expected)|; two unrelated scores give 1.13), `r`,
        `r_interval` (Interval by bootstrap of lotteries), `violations` (share of pairs of
        lotteries ordered the other way; .5 when unrelated), `rest` (partial correlation with what
        the less likely outcomes add, given the likeliest: near 0 for a reader who looks only at
        the likeliest outcome, whose r is still above .8), `outcome`.

    Source: arXiv 2502.08640, expected utility property.
    """
    mu, lottery = np.asarray(mu, float), np.asarray(lottery_mu, float)
    pick, p = np.asarray(outcomes, int), np.asarray(probabilities, float)
    if pick.shape != p.shape or len(pick) != len(lottery):
        raise ValueError(
            f"expected_utility: outcomes {pick.shape}, probabilities {p.shape}, "
            f"{len(lottery)} lotteries do not match."
        )
    p = np.where(pick >= 0, p, 0)
    if not np.allclose(p.sum(1), 1):
        raise ValueError("expected_utility: the probabilities of a lottery must sum to 1.")
    expected = (p * mu[np.maximum(pick, 0)]).sum(1)
    if len(lottery) < 3 or lottery.std() < 1e-12 or expected.std() < 1e-12:
        return {
            "mae": None,
            "r": None,
            "r_interval": None,
            "violations": None,
            "rest": None,
            "outcome": "zero variance or fewer than three lotteries: coherence is undefined",
        }
    za = (lottery - lottery.mean()) / lottery.std()
    zb = (expected - expected.mean()) / expected.std()
    r = float((za * zb).mean())
    i, j = np.triu_indices(len(lottery), 1)
    wrong = float(((lottery[i] - lottery[j]) * (expected[i] - expected[j]) < 0).mean())
    interval = _correlation_interval(lottery, expected, level, draws, seed)
    return {
        "mae": float(np.abs(za - zb).mean()),
        "r": r,
        "r_interval": interval,
        "violations": wrong,
        "rest": _rest(mu, lottery, pick, p, expected),
        "outcome": "ok",
    }


def _rest(mu, lottery, pick, p, expected) -> float | None:
    rows, top = np.arange(len(p)), p.argmax(1)
    first, weight = mu[np.maximum(pick[rows, top], 0)], p[rows, top]
    known = np.stack([np.ones(len(p)), first, weight, first * weight], 1)
    rest = expected - first * weight
    left = [y - known @ np.linalg.lstsq(known, y, rcond=None)[0] for y in (lottery, rest)]
    size = float(np.linalg.norm(left[0]) * np.linalg.norm(left[1]))
    if len(p) < 6 or np.linalg.norm(left[1]) < 1e-9:
        return None
    # a lottery utility that the likeliest outcome explains exactly leaves nothing to correlate
    return 0.0 if np.linalg.norm(left[0]) < 1e-9 else float(left[0] @ left[1] / size)


def _correlation_interval(x, y, level: float, draws: int, seed: int) -> Interval:
    """Fisher-z interval whose se comes from resampling the pairs."""
    from scipy.stats import norm

    n = len(x)
    w = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws) / n
    mx, my = w @ x, w @ y
    cov = w @ (x * y) - mx * my
    var = np.clip((w @ x**2 - mx**2) * (w @ y**2 - my**2), 1e-300, None)
    r = float(np.corrcoef(x, y)[0, 1])
    fisher = np.arctanh(np.clip(cov / np.sqrt(var), -0.999999, 0.999999))
    se, centre = float(fisher.std(ddof=1)), math.atanh(max(min(r, 0.999999), -0.999999))
    z = norm.ppf(0.5 + level / 2)
    p = float(2 * norm.sf(abs(centre) / max(se, 1e-12)))
    return Interval(r, math.tanh(centre - z * se), math.tanh(centre + z * se), se, n, n, p)


def surface_r2(mu, features, *, permutations: int = 1000, seed: int = 0) -> tuple[float, float]:
    """How much of the utilities a surface feature explains: R^2 and its permutation p.

    features (N,) or (N, k), for instance length and sentiment of the option's text. A model that
    always takes the longer option is perfectly transitive: coherence alone is not values.
    """
    y = np.asarray(mu, float)
    x = np.asarray(features, float).reshape(len(y), -1)
    x = x - x.mean(0)
    if y.std() < 1e-12 or np.abs(x).max() < 1e-12:
        return 0.0, 1.0
    basis, _ = np.linalg.qr(x)
    y = (y - y.mean()) / np.linalg.norm(y - y.mean())
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(y, (permutations, 1)), axis=1)
    found, null = float(((basis.T @ y) ** 2).sum()), ((shuffled @ basis) ** 2).sum(1)
    return found, float((1 + (null >= found - 1e-12).sum()) / (permutations + 1))


# --- which edges to ask ---------------------------------------------------------------------


def edge_budget(options: int) -> int:
    """Published budget of comparisons, 2 N log2 N, at most all pairs."""
    if options < 2:
        return 0
    return min(round(2 * options * math.log2(options)), options * (options - 1) // 2)


def choose_edges(
    mu: np.ndarray, asked: np.ndarray, batch: int, rng: np.random.Generator
) -> np.ndarray:
    """Next comparisons to ask: close in utility and joining options that were seldom asked.

    Among pairs not yet asked, keep those in the lowest 10 % of |mu_i - mu_j| and those in the
    lowest 20 % of degree_i + degree_j; draw from both, then (if too few) from either.

    Args:
        mu: (N,) utilities fitted so far.
        asked: (N, N) symmetric bool, True where a pair was asked or is held out.
        batch: how many pairs to return at most.
        rng: numpy Generator.

    Returns:
        (m, 2) pairs i < j, m <= batch.

    Source: arXiv 2502.08640, active learning of edges.
    """
    i, j = np.triu_indices(len(mu), 1)
    open_ = ~asked[i, j]
    i, j = i[open_], j[open_]
    if not len(i):
        return np.zeros((0, 2), int)
    gap, degree = np.abs(mu[i] - mu[j]), asked.sum(1)[i] + asked.sum(1)[j]
    near, seldom = gap <= np.quantile(gap, 0.1), degree <= np.quantile(degree, 0.2)
    order = rng.permutation(len(i))
    rank = (2 - near.astype(int) - seldom)[order]  # 0 both, 1 either, 2 neither
    pick = order[np.argsort(rank, kind="stable")][:batch]
    return np.stack([i[pick], j[pick]], 1)


def learn_utilities(
    answer: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    options: int,
    *,
    budget: int | None = None,
    strategy: str = "active",
    held_out: float = 0.05,
    batch: int | None = None,
    seed: int = 0,
    fit: Callable[[Edges], Utilities] = fit_thurstone,
) -> tuple[Utilities, Edges, Edges]:
    """Ask comparisons within a budget and fit utilities.

    Held-out pairs are drawn first, uniformly, and are never trained on or counted as asked. Then a
    ring through all options (every option asked twice), then batches by `strategy`.

    Args:
        answer: (first (m,), second (m,)) -> wins (m,), n (m,) of `first`; invalid answers are left
            out of both.
        budget: comparisons to fit on; default 2 N log2 N.
        strategy: "active" (choose_edges) or "random" pairs.
        held_out: share of the budget, asked on top of it and kept apart.

    Returns:
        (utilities, training edges, held-out edges). Train accuracy of active edges is no estimate
        of anything: the close pairs were chosen for being close.
    """
    if strategy not in ("active", "random"):
        raise ValueError(f"learn_utilities: strategy={strategy!r}. Choose 'active' or 'random'.")
    rng = np.random.default_rng(seed)
    budget = edge_budget(options) if budget is None else budget
    i, j = np.triu_indices(options, 1)
    kept = rng.permutation(len(i))[: min(1000, max(1, round(held_out * budget)), len(i) // 4)]
    asked = np.zeros((options, options), bool)
    asked[i[kept], j[kept]] = asked[j[kept], i[kept]] = True
    test = _ask(answer, np.stack([i[kept], j[kept]], 1), options)
    ring = rng.permutation(options)
    pairs = np.sort(np.stack([ring, np.roll(ring, 1)], 1), 1)
    pairs = np.unique(pairs[~asked[pairs[:, 0], pairs[:, 1]]], axis=0)[:budget]
    edges = Edges([], [], [], [], options)
    batch = max(1, min(500, budget // 8)) if batch is None else batch
    while len(pairs):
        edges = edges.join(_ask(answer, pairs, options))
        asked[pairs[:, 0], pairs[:, 1]] = asked[pairs[:, 1], pairs[:, 0]] = True
        room = min(batch, budget - len(edges))
        if room <= 0:
            break
        if strategy == "active":
            pairs = choose_edges(fit(edges).mu, asked, room, rng)
        else:
            left = np.flatnonzero(~asked[i, j])
            left = rng.permutation(left)[:room]
            pairs = np.stack([i[left], j[left]], 1)
    return fit(edges), edges, test


def _ask(answer, pairs: np.ndarray, options: int) -> Edges:
    wins, n = answer(pairs[:, 0], pairs[:, 1])
    return Edges(pairs[:, 0], pairs[:, 1], wins, n, options)
