"""Checks of lesson 02: measuring values.

Each check tries the shape, then the likely mistakes in order of likelihood, then values on two
seeds with awkward shapes, against a formula written another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.special import expit, logit
from scipy.stats import norm

from valuelab.course.check import Refused, exercise
from valuelab.measure import circle, consistency, forced, intervals, portrait, ranking, utility

SEEDS = (0, 1)
Likely = Sequence[tuple[object, str]]


def as_array(got, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The learner's answer as an array of the right shape, or a sentence that says what it is."""
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}.")
    try:
        array = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        raise Refused(f"a {type(got).__name__} came back. Wanted {what}.") from None
    if array.shape != shape:
        raise Refused(f"shape {array.shape} came back, {shape} was wanted: {what}.")
    return array


def close(got: np.ndarray, wanted, tolerance: float) -> bool:
    return np.allclose(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


def diagnose(got: np.ndarray, wanted, likely: Likely, otherwise: str, tolerance: float = 1e-6):
    """Pass, or name the mistake whose result looks like this one."""
    wanted = np.asarray(wanted, float)
    if close(got, wanted, tolerance):
        return
    for wrong, message in likely:
        wrong = np.broadcast_to(np.asarray(wrong, float), wanted.shape)
        if close(got, wrong, tolerance) and not close(wrong, wanted, tolerance):
            raise Refused(message)
    if (np.isnan(got) & ~np.isnan(wanted)).any():
        raise Refused(f"{int(np.isnan(got).sum())} results are NaN. {otherwise}")
    worst = float(np.nanmax(np.abs(got - wanted)))
    raise Refused(f"values differ by up to {worst:.2g}. {otherwise}")


@exercise("2.1", reference=forced.pool_orders)
def pool_orders(f: Callable) -> None:
    for seed in SEEDS:
        x, y = np.random.default_rng(seed).uniform(0.05, 0.95, (2, 7))
        x[0], y[1] = 1e-5, 1 - 1e-4  # nearly sure, where a coarse clip shows
        got = f(x, y)
        names = ("pooled", "debiased", "slot_bias", "consistency")
        if not all(hasattr(got, n) for n in names):
            raise Refused(
                "return OrderPooled(pooled, debiased, slot_bias, consistency), four (n,) "
                f"arrays. A {type(got).__name__} came back."
            )
        pooled, debiased, slot, same = (
            as_array(getattr(got, n), (7,), f"{n}, one per item") for n in names
        )
        listed = [n for n in names if not isinstance(getattr(got, n), np.ndarray)]
        if listed:
            raise Refused(
                f"{listed[0]} is a {type(getattr(got, listed[0])).__name__}: the cells below "
                "calculate with the four fields, so make each an array"
            )
        diagnose(
            pooled,
            (x + y) / 2,
            [
                (
                    (x + 1 - y) / 2,
                    "a_second is already P(A), not P(first slot): do not turn it round",
                ),
                (np.maximum(x, y), "pooled is the mean of both orders, not the larger one"),
            ],
            "pooled is (a_first + a_second) / 2.",
        )
        half = (logit(x) + logit(y)) / 2
        if close(debiased[2:], expit(half[2:]), 1e-6) and not close(debiased, expit(half), 1e-6):
            raise Refused(
                "clipped too far from 0 and 1: only these two have no logit, and a probability of "
                "1e-5 says more than one of .05, so clip to 1e-9 and 1 - 1e-9"
            )
        diagnose(
            debiased,
            expit(half),
            [
                (
                    (x + y) / 2,
                    "debiased averages probabilities: average the log-odds, then come back",
                ),
                (half, "debiased is still in log-odds: put it through the sigmoid"),
                (
                    expit(2 * half),
                    "the log-odds are added but not halved, so confidence is doubled",
                ),
            ],
            "debiased is sigmoid of the mean of the two logits.",
        )
        bias = (logit(x) - logit(y)) / 2
        diagnose(
            slot,
            bias,
            [
                (-bias, "slot bias has the wrong sign: positive means whatever stands first gains"),
                (
                    2 * bias,
                    "slot bias is counted twice: it lifts one order and lowers the other, halve",
                ),
                ((x - y) / 2, "slot bias is a difference of probabilities: take it in log-odds"),
            ],
            "slot_bias is (logit a_first - logit a_second) / 2.",
        )
        diagnose(
            same,
            x * y + (1 - x) * (1 - y),
            [
                (
                    x * y,
                    "consistency forgets the other half: choosing B in both orders is consistent",
                ),
                (
                    x * (1 - y) + (1 - x) * y,
                    "this is P(same slot): consistent means the same content",
                ),
            ],
            "consistency is P(A in both orders) + P(B in both orders).",
        )
    edge = f(np.array([1.0, 0.0]), np.array([1.0, 0.5]))
    if not np.isfinite(edge.debiased).all() or not np.isfinite(edge.slot_bias).all():
        raise Refused("a probability of exactly 0 or 1 gives an infinite logit: clip before it")


@exercise("2.2", reference=intervals.clustered_se)
def clustered_se(f: Callable) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        c = np.repeat(np.arange(9), rng.integers(1, 6, 9))
        s = rng.normal(2, 1, 9)[c] + rng.normal(0, 0.5, len(c))
        n, groups, d = len(s), 9, s - s.mean()
        sums = np.array([d[c == g].sum() for g in range(9)])
        means = np.array([s[c == g].mean() for g in range(9)])
        raw = np.array([s[c == g].sum() for g in range(9)])
        small = math.sqrt(groups / (groups - 1))
        wanted = math.sqrt((sums**2).sum()) / n * small
        diagnose(
            as_array(f(s, c), (), "one standard error"),
            wanted,
            [
                (
                    s.std(ddof=1) / math.sqrt(n),
                    "clusters are ignored: this takes every answer as new evidence",
                ),
                (
                    s.std() / math.sqrt(n),
                    "clusters are ignored: this takes every answer as new evidence",
                ),
                (
                    math.sqrt((d**2).sum()) / n * small,
                    "squared before summing: add the deviations "
                    "inside a cluster first, then square",
                ),
                (
                    math.sqrt((d**2).sum()) / n,
                    "squared before summing: add the deviations inside a "
                    "cluster first, then square",
                ),
                (wanted / small, "the small-sample factor sqrt(G / (G - 1)) is missing"),
                (
                    math.sqrt((raw**2).sum()) / n * small,
                    "the mean was not subtracted: sum deviations from the overall mean",
                ),
                (
                    wanted * n / groups,
                    "divided by the number of clusters; the mean is over n answers",
                ),
                (
                    means.std(ddof=1) / math.sqrt(groups),
                    "this averages clusters first, which weighs "
                    "small contexts like large ones; the mean measured is over answers",
                ),
                (wanted**2, "this is the variance: the square root is missing"),
            ],
            "Sum deviations within each cluster, square, add, root, divide by n, correct for few.",
        )
        names = np.array([f"dilemma {k}" for k in c])
        diagnose(
            as_array(f(s, names), (), "one standard error"),
            wanted,
            [],
            "Labels may be any strings; number them with np.unique(..., return_inverse=True).",
        )


def _bits(p, q):
    return np.array([jensenshannon(a, b, base=2) for a, b in zip(p, q, strict=True)])


@exercise("2.3", reference=consistency.js_distance)
def js_distance(f: Callable) -> None:
    for seed in SEEDS:
        p, q = np.random.default_rng(seed).dirichlet(np.ones(4), (2, 5))
        wanted = _bits(p, q)
        m = (p + q) / 2
        kl = [(a * np.log2(a / m)).sum(-1) for a in (p, q)]
        likely = [
            (
                wanted * math.sqrt(math.log(2)),
                "natural logarithm: base 2 makes the largest distance 1, here it would be .833",
            ),
            (wanted**2, "this is the divergence; the distance is its square root"),
            (wanted**2 * math.log(2), "divergence in nats: use base 2 and take the square root"),
            (np.sqrt(kl[0]), "only p is compared with the middle: add the half for q"),
            (np.sqrt(kl[0] + kl[1]), "the two halves are added whole: each counts one half"),
            (
                np.sqrt((p * np.log2(p / q)).sum(-1)),
                "this compares p with q directly (KL): compare both with their middle m",
            ),
            (np.abs(p - q).sum(-1) / 2, "this is total variation, not Jensen-Shannon"),
        ]
        got = as_array(f(p, q), (5,), "one distance per row")
        diagnose(got, wanted, likely, "d = sqrt(KL(p||m)/2 + KL(q||m)/2), m = (p + q)/2, in bits.")
    with np.errstate(all="ignore"):
        edge = as_array(f(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])), (1,), "one distance")
    diagnose(edge, [1.0], [], "0 log 0 counts as 0: disjoint distributions are at distance 1.")
    with np.errstate(all="ignore"):
        alone = as_array(f(p, p), (5,), "one distance per row")
    # a tiny number added against log 0 is no mistake, but the root makes it larger
    diagnose(alone, np.zeros(5), [], "A distribution is at distance 0 from itself.", tolerance=1e-4)
    wide = as_array(f(p[None], p.mean(0)[None, None]), (1, 5), "leading axes broadcast")
    diagnose(wide, _bits(p, np.repeat(p.mean(0)[None], 5, 0))[None], [], "Sum over the last axis.")


@exercise("2.4", reference=portrait.centred_scores)
def centred_scores(f: Callable) -> None:
    values = ("power", "security", "hedonism")
    labels = np.array(["security", "power", "hedonism", "face", "power", "power", "security"])
    for seed in SEEDS:
        a = np.random.default_rng(seed).integers(1, 7, (4, 7)).astype(float)
        raw = np.stack([a[:, labels == v].mean(1) for v in values], 1)
        wanted = raw - a.mean(1, keepdims=True)
        got = as_array(f(a, labels, values), (4, 3), "(respondents, values)")
        diagnose(
            got,
            wanted,
            [
                (raw, "not centred: subtract each respondent's mean over all items"),
                (
                    raw - a[:, labels != "face"].mean(1, keepdims=True),
                    "MRAT leaves out the items that belong to none of the values: it is the mean "
                    "of every item that was asked",
                ),
                (
                    raw - raw.mean(1, keepdims=True),
                    "MRAT is the mean over all items, not over the value "
                    "means: values with more items count more",
                ),
                (raw - raw.mean(0), "centred over respondents: the mean is within each respondent"),
                (
                    raw - a.mean(),
                    "one grand mean for everybody: each respondent has a mean of their own",
                ),
                (-wanted, "sign flipped: score = value mean minus the respondent's mean"),
                (
                    np.stack([a[:, labels == v].sum(1) for v in values], 1)
                    - a.mean(1, keepdims=True),
                    "summed over the items of a value: take their mean",
                ),
                (wanted / a.std(1, keepdims=True), "divided by the spread: centre only"),
            ],
            "score = mean of the value's items - mean of all items, row by row.",
        )
    b = a.copy()
    b[0, 0] = np.nan
    wanted = np.stack([np.nanmean(b[:, labels == v], 1) for v in values], 1)
    wanted = wanted - np.nanmean(b, 1, keepdims=True)
    diagnose(
        as_array(f(b, labels, values), (4, 3), "(respondents, values)"),
        wanted,
        [],
        "An invalid answer (nan) is left out of both means, and spoils neither.",
    )


@exercise("2.6", reference=utility.thurstone_probability)
def thurstone_probability(f: Callable) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        m, n = rng.normal(size=(2, 6))
        v, w = rng.uniform(0.2, 3, (2, 6))
        spread = np.sqrt(v + w + 1e-5)
        wanted = norm.cdf((m - n) / spread)
        diagnose(
            as_array(f(m, n, v, w), (6,), "one probability per pair"),
            wanted,
            [
                (1 - wanted, "order flipped: P(x preferred to y) grows with mu_x"),
                (
                    expit((m - n) / spread),
                    "logistic: utilities are normal draws, so use Phi (ndtr)",
                ),
                (
                    norm.cdf((m - n) / np.sqrt(v**2 + w**2 + 1e-5)),
                    "variances were squared: var is already sigma squared",
                ),
                (
                    norm.cdf((m - n) / (np.sqrt(v) + np.sqrt(w) + 1e-5)),
                    "standard deviations were added: variances add, then take the root",
                ),
                (
                    norm.cdf((m - n) / (v + w + 1e-5)),
                    "the square root of the summed variance is missing",
                ),
                (norm.cdf(m - n), "the spread is missing: divide by the sd of the difference"),
                ((m - n) / spread, "this is z; the probability is Phi(z)"),
            ],
            "Phi((mu_x - mu_y) / sqrt(var_x + var_y + 1e-5)).",
        )
    sure = as_array(
        f(np.array(1.0), np.array(0.0), np.zeros(()), np.zeros(())), (), "a probability"
    )
    diagnose(sure, 1.0, [], "Zero variances must give a sure choice.")
    with np.errstate(all="ignore"):
        equal = as_array(f(*np.zeros((4, 1))), (1,), "one probability")
    if not close(equal, 0.5, 1e-9):
        raise Refused(
            "two certain options of equal worth give 0 / 0: the 1e-5 under the root is missing"
        )
    grid = as_array(f(m[:, None], m[None], v[:, None], v[None]), (6, 6), "shapes broadcast")
    diagnose(grid + grid.T, np.ones((6, 6)), [], "P(x > y) + P(y > x) must be 1.")


@exercise("2.7", reference=utility.soft_cycle)
def soft_cycle(f: Callable) -> None:
    for seed in SEEDS:
        a, b, c = np.random.default_rng(seed).uniform(0, 1, (3, 8))
        wanted = a * b * c + (1 - a) * (1 - b) * (1 - c)
        diagnose(
            as_array(f(a, b, c), (8,), "one chance per triad"),
            wanted,
            [
                (a * b * c, "only one way round: the circle can also go the other way"),
                (
                    a * b * (1 - c) + (1 - a) * (1 - b) * c,
                    "the third chance is p_ca already (c over a): do not turn it",
                ),
                (1 - wanted, "this is the chance of an order; wanted is the chance of a circle"),
                (
                    ((a > 0.5) == (b > 0.5)) & ((b > 0.5) == (c > 0.5)),
                    "this counts majorities (the strict cycle); the soft one multiplies chances",
                ),
                (
                    (a * b * c + (1 - a) * (1 - b) * (1 - c)) / 2,
                    "the two ways exclude each other: add them, do not average",
                ),
                (
                    a * b * c * (1 - a) * (1 - b) * (1 - c),
                    "the two ways are alternatives: add, do not multiply",
                ),
            ],
            "p_ab p_bc p_ca + (1 - p_ab)(1 - p_bc)(1 - p_ca).",
        )


@exercise("2.8", reference=ranking.strengths)
def strengths(f: Callable) -> None:
    for seed in SEEDS:
        wins = np.random.default_rng(seed).integers(1, 20, (3, 5, 5)).astype(float)
        wins[:, np.arange(5), np.arange(5)] = 4  # games against oneself mean nothing
        wanted = ranking.strengths(wins)
        try:
            got = f(wins)
        except NotImplementedError:
            raise
        except (ValueError, IndexError, np.linalg.LinAlgError) as error:
            raise Refused(
                f"many tables at once, (3, 5, 5), raise {type(error).__name__}: index the "
                "last two axes with [..., :, None] and [..., None, :]"
            ) from error
        got = as_array(got, (3, 5), "strengths, one per value and table")
        if not close(got.mean(-1), 0, 1e-6):
            raise Refused(
                "the strengths do not sum to zero: subtract the mean over values at the end"
            )
        off = wins * (1 - np.eye(5))
        rate = off.sum(-1) / (off.sum(-1) + off.sum(-2))
        start = (off - (off + off.swapaxes(1, 2)) / 2).sum(-1)
        one = _newton_step(off)
        diagnose(
            got,
            wanted,
            [
                (
                    -wanted,
                    "sign flipped: wins[a, b] counts a beating b, so winners must come out high",
                ),
                (
                    logit(rate) - logit(rate).mean(-1, keepdims=True),
                    "these are log-odds of win rates: they forget how strong the opponents were",
                ),
                (
                    rate - rate.mean(-1, keepdims=True),
                    "these are win rates: strengths are in logits",
                ),
                (
                    one - one.mean(-1, keepdims=True),
                    "one step only: repeat Newton's step until it stops moving",
                ),
                (
                    start - start.mean(-1, keepdims=True),
                    "this is the gradient at zero, not its root",
                ),
                (wanted * ranking.ELO_PER_LOGIT, "these are Elo points: strengths are in logits"),
            ],
            "Maximise the log-likelihood of sigmoid(theta_a - theta_b).",
            tolerance=1e-4,
        )
    sure = np.array([[0.0, 9, 9], [0, 0, 9], [0, 0, 0]])
    with np.errstate(all="ignore"):
        try:
            never_lost = np.asarray(f(sure), float)
        except np.linalg.LinAlgError:
            never_lost = np.array([math.nan])
    if not np.isfinite(never_lost).all() or not close(never_lost, ranking.strengths(sure), 1e-2):
        raise Refused("a value that never lost runs away: the ridge must pull it back")
    strong = as_array(f(wins, ridge=5.0), (3, 5), "strengths, one per value and table")
    diagnose(
        strong,
        ranking.strengths(wins, ridge=5.0),
        [(wanted, "ridge is ignored: with ridge=5 the strengths must shrink towards zero")],
        "The ridge is taken from the gradient (ridge * theta) and added to the information.",
        tolerance=1e-4,
    )


def _newton_step(w: np.ndarray) -> np.ndarray:
    games = w + w.swapaxes(-1, -2)
    weight = games / 4
    info = np.eye(5) * (weight.sum(-1) + 1e-3)[..., None] - weight
    return np.linalg.solve(info, (w - games / 2).sum(-1)[..., None])[..., 0]


@exercise("2.5", reference=circle.correspondence)
def correspondence(f: Callable) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        k = 6 + seed
        r = np.corrcoef(rng.normal(size=(30, k)), rowvar=False).round(1)  # rounding makes ties
        d = ring = circle.circular_distance(k)
        if seed:  # the values in another order round the ring
            turned = rng.permutation(k)
            d = ring[np.ix_(turned, turned)]
        i, j = np.triu_indices(k, 1)
        pairs = [
            (r[i[x], j[x]], r[i[y], j[y]])
            for x in range(len(i))
            for y in range(len(i))
            if d[i[x], j[x]] < d[i[y], j[y]]
        ]
        first, second = np.array(pairs).T
        agree, differ, tie = (first > second).sum(), (first < second).sum(), (first == second).sum()
        wanted = (agree - differ) / (agree + differ + tie)
        flat, dist = r.ravel(), d.ravel()
        near, far = np.nonzero(dist[:, None] < dist[None])
        closer, wider = np.nonzero(ring[i, j][:, None] < ring[i, j][None])
        diagnose(
            as_array(f(r, d), (), "one index"),
            wanted,
            [
                (-wanted, "sign flipped: nearer pairs should correlate more, which counts as +1"),
                (
                    agree / (agree + differ + tie),
                    "only agreements are counted: subtract the failures",
                ),
                (
                    (agree - differ) / (agree + differ),
                    "ties are left out below the line: divide by all predictions",
                ),
                (agree - differ, "this is a count: divide by the number of predictions"),
                (
                    np.sign(flat[near] - flat[far]).mean(),
                    "the diagonal and both triangles are in: take "
                    "each pair of values once (np.triu_indices(k, 1))",
                ),
                (
                    (agree + 0.5 * tie) / (agree + differ + tie),
                    "this runs from 0 to 1: the index is (A - D) / (A + D + T)",
                ),
                (
                    -np.corrcoef(r[i, j], d[i, j])[0, 1],
                    "this is a correlation with the distance; the index counts ordered comparisons",
                ),
                (
                    np.sign(r[i, j][closer] - r[i, j][wider]).mean(),
                    "distance is ignored: yours takes the values to stand on the ring in the order "
                    "of the rows, and here they do not",
                ),
            ],
            "Compare every two pairs of values whose predicted distances differ.",
        )
