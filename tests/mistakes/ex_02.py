"""Wrong answers to the exercises of lesson 02, as a tired student would write them."""

import numpy as np
from scipy.special import expit, logit, ndtr

from mistakes.planted import Mistake
from valuelab.measure import circle, consistency, ranking
from valuelab.measure.forced import OrderPooled


def _orders(**changed):
    """The right answer to 2.1 with some fields computed otherwise."""

    def answer(a_first, a_second):
        x, y = (np.clip(np.asarray(p, float), 1e-9, 1 - 1e-9) for p in (a_first, a_second))
        lx, ly = logit(x), logit(y)
        right = {
            "pooled": (x + y) / 2,
            "debiased": expit((lx + ly) / 2),
            "slot_bias": (lx - ly) / 2,
            "consistency": x * y + (1 - x) * (1 - y),
        }
        return OrderPooled(**{**right, **{k: f(x, y, lx, ly) for k, f in changed.items()}})

    return answer


def _unclipped(a_first, a_second):
    with np.errstate(all="ignore"):
        lx, ly = logit(a_first), logit(a_second)
        return OrderPooled(
            (a_first + a_second) / 2,
            expit((lx + ly) / 2),
            (lx - ly) / 2,
            a_first * a_second + (1 - a_first) * (1 - a_second),
        )


def _coarse(a_first, a_second):
    x, y = (logit(np.clip(p, 0.05, 0.95)) for p in (a_first, a_second))
    right = _orders()(a_first, a_second)
    return OrderPooled(right.pooled, expit((x + y) / 2), (x - y) / 2, right.consistency)


def _listed(a_first, a_second):
    return OrderPooled(*(x.tolist() for x in vars(_orders()(a_first, a_second)).values()))


def _sums(s, c, of=None):
    d = s - s.mean() if of is None else of
    return np.array([d[c == g].sum() for g in np.unique(c)])


def _small(c):
    g = len(np.unique(c))
    return np.sqrt(g / (g - 1))


def _js(p, q, *, log=np.log2, whole=False, root=True, one_sided=False):
    m = (p + q) / 2

    def kl(a):
        return (a * log(a / m)).sum(-1)

    d = kl(p) if one_sided else (kl(p) + kl(q)) / (1 if whole else 2)
    return np.sqrt(d) if root else d


def _zero_is_missing(p, q):
    d = consistency.js_distance(p, q)
    return np.where(d > 0, d, np.nan)


def _raw(answers, labels, values):
    return np.stack([answers[:, labels == v].mean(1) for v in values], 1)


def _no_floor(m, n, v, w):
    with np.errstate(all="ignore"):
        return ndtr((m - n) / np.sqrt(v + w))


def _strengths(wins, *, ridge=1e-3, steps=50, centre=True):
    w = np.asarray(wins, float)
    size = w.shape[-1]
    w = w * (1 - np.eye(size))
    games = w + np.swapaxes(w, -1, -2)
    theta = np.zeros(w.shape[:-1])
    for _ in range(steps):
        p = expit(theta[..., :, None] - theta[..., None, :])
        weight = games * p * (1 - p)
        info = np.eye(size) * (weight.sum(-1) + ridge)[..., None] - weight
        grad = (w - games * p).sum(-1) - ridge * theta
        theta = theta + np.linalg.solve(info, grad[..., None])[..., 0]
    return theta - theta.mean(-1, keepdims=True) if centre else theta + 1.0


def _win_log_odds(wins):
    w = wins * (1 - np.eye(wins.shape[-1]))
    rate = w.sum(-1) / (w.sum(-1) + w.sum(-2))
    return logit(rate) - logit(rate).mean(-1, keepdims=True)


def _win_rates(wins):
    w = wins * (1 - np.eye(wins.shape[-1]))
    rate = w.sum(-1) / (w.sum(-1) + w.sum(-2))
    return rate - rate.mean(-1, keepdims=True)


def _one_table(wins):
    if wins.ndim > 2:
        raise ValueError("too many dimensions")
    return ranking.strengths(wins)


def _compare(r, d, *, whole=False):
    r, d = np.asarray(r, float), np.asarray(d, float)
    if whole:
        r, d = r.ravel(), d.ravel()
    else:
        upper = np.triu_indices(len(r), 1)
        r, d = r[upper], d[upper]
    near, far = np.nonzero(d[:, None] < d[None])
    return np.sign(r[near] - r[far])


def _correlation(r, d):
    upper = np.triu_indices(len(r), 1)
    return -np.corrcoef(r[upper], d[upper])[0, 1]


MISTAKES = {
    "2.1": [
        Mistake(
            "averaged probabilities",
            _orders(debiased=lambda x, y, lx, ly: (x + y) / 2),
            "averages probabilities",
        ),
        Mistake(
            "turned second order",
            _orders(pooled=lambda x, y, lx, ly: (x + 1 - y) / 2),
            "do not turn it round",
        ),
        Mistake(
            "sign of slot bias", _orders(slot_bias=lambda x, y, lx, ly: (ly - lx) / 2), "wrong sign"
        ),
        Mistake(
            "slot bias whole", _orders(slot_bias=lambda x, y, lx, ly: lx - ly), "counted twice"
        ),
        Mistake(
            "only A counts",
            _orders(consistency=lambda x, y, lx, ly: x * y),
            "forgets the other half",
        ),
        Mistake(
            "same slot",
            _orders(consistency=lambda x, y, lx, ly: x * (1 - y) + (1 - x) * y),
            "P(same slot)",
        ),
        Mistake(
            "no halving",
            _orders(debiased=lambda x, y, lx, ly: expit(lx + ly)),
            "confidence is doubled",
        ),
        Mistake("coarse clip", _coarse, "clipped too far"),
        Mistake("lists", _listed, "make each an array"),
        Mistake("infinite logit", _unclipped, "clip before it"),
        Mistake("a tuple", lambda a, b: ((a + b) / 2,), "return OrderPooled"),
    ],
    "2.2": [
        Mistake(
            "clusters ignored", lambda s, c: s.std(ddof=1) / np.sqrt(len(s)), "clusters are ignored"
        ),
        Mistake(
            "squared first",
            lambda s, c: np.sqrt(_sums(s, c, (s - s.mean()) ** 2).sum()) / len(s) * _small(c),
            "squared before summing",
        ),
        Mistake(
            "no small-sample factor",
            lambda s, c: np.sqrt((_sums(s, c) ** 2).sum()) / len(s),
            "small-sample factor",
        ),
        Mistake(
            "mean not subtracted",
            lambda s, c: np.sqrt((_sums(s, c, s) ** 2).sum()) / len(s) * _small(c),
            "mean was not subtracted",
        ),
        Mistake(
            "divided by clusters",
            lambda s, c: np.sqrt((_sums(s, c) ** 2).sum()) / len(np.unique(c)) * _small(c),
            "divided by the number of clusters",
        ),
        Mistake(
            "cluster means",
            lambda s, c: (
                np.std([s[c == g].mean() for g in np.unique(c)], ddof=1)
                / np.sqrt(len(np.unique(c)))
            ),
            "averages clusters first",
        ),
        Mistake(
            "variance",
            lambda s, c: (_sums(s, c) ** 2).sum() / len(s) ** 2 * _small(c) ** 2,
            "this is the variance",
        ),
    ],
    "2.3": [
        Mistake("nats", lambda p, q: _js(p, q, log=np.log), "natural logarithm"),
        Mistake("divergence", lambda p, q: _js(p, q, root=False), "this is the divergence"),
        Mistake("one sided", lambda p, q: _js(p, q, one_sided=True), "only p is compared"),
        Mistake("not halved", lambda p, q: _js(p, q, whole=True), "each counts one half"),
        Mistake("KL", lambda p, q: np.sqrt((p * np.log2(p / q)).sum(-1)), "p with q directly"),
        Mistake("total variation", lambda p, q: np.abs(p - q).sum(-1) / 2, "total variation"),
        Mistake("zeros", _js, "0 log 0 counts as 0"),
        Mistake("0 taken for missing", _zero_is_missing, "at distance 0 from itself"),
    ],
    "2.4": [
        Mistake("raw", _raw, "not centred"),
        Mistake(
            "mean of value means",
            lambda a, k, v: _raw(a, k, v) - _raw(a, k, v).mean(1, keepdims=True),
            "not over the value means",
        ),
        Mistake(
            "columns",
            lambda a, k, v: _raw(a, k, v) - _raw(a, k, v).mean(0),
            "centred over respondents",
        ),
        Mistake("grand mean", lambda a, k, v: _raw(a, k, v) - a.mean(), "one grand mean"),
        Mistake(
            "only the values' items",
            lambda a, k, v: _raw(a, k, v) - a[:, np.isin(k, v)].mean(1, keepdims=True),
            "none of the values",
        ),
        Mistake("sign", lambda a, k, v: a.mean(1, keepdims=True) - _raw(a, k, v), "sign flipped"),
        Mistake(
            "sums",
            lambda a, k, v: (
                np.stack([a[:, k == x].sum(1) for x in v], 1) - a.mean(1, keepdims=True)
            ),
            "summed over the items",
        ),
        Mistake(
            "nan spreads",
            lambda a, k, v: _raw(a, k, v) - a.mean(1, keepdims=True),
            "left out of both means",
        ),
        Mistake(
            "transposed", lambda a, k, v: (_raw(a, k, v) - a.mean(1, keepdims=True)).T, "was wanted"
        ),
    ],
    "2.6": [
        Mistake(
            "flipped", lambda m, n, v, w: ndtr((n - m) / np.sqrt(v + w + 1e-5)), "order flipped"
        ),
        Mistake("logistic", lambda m, n, v, w: expit((m - n) / np.sqrt(v + w + 1e-5)), "logistic"),
        Mistake(
            "squared variances",
            lambda m, n, v, w: ndtr((m - n) / np.sqrt(v**2 + w**2 + 1e-5)),
            "variances were squared",
        ),
        Mistake(
            "deviations added",
            lambda m, n, v, w: ndtr((m - n) / (np.sqrt(v) + np.sqrt(w) + 1e-5)),
            "standard deviations were added",
        ),
        Mistake("no root", lambda m, n, v, w: ndtr((m - n) / (v + w + 1e-5)), "square root"),
        Mistake("no spread", lambda m, n, v, w: ndtr(m - n), "spread is missing"),
        Mistake("z", lambda m, n, v, w: (m - n) / np.sqrt(v + w + 1e-5), "this is z"),
        Mistake("no floor", _no_floor, "1e-5 under the root"),
    ],
    "2.7": [
        Mistake("one way", lambda a, b, c: a * b * c, "only one way round"),
        Mistake(
            "third turned",
            lambda a, b, c: a * b * (1 - c) + (1 - a) * (1 - b) * c,
            "do not turn it",
        ),
        Mistake(
            "an order",
            lambda a, b, c: 1 - a * b * c - (1 - a) * (1 - b) * (1 - c),
            "chance of an order",
        ),
        Mistake(
            "majorities",
            lambda a, b, c: (((a > 0.5) == (b > 0.5)) & ((b > 0.5) == (c > 0.5))).astype(float),
            "counts majorities",
        ),
        Mistake(
            "averaged",
            lambda a, b, c: (a * b * c + (1 - a) * (1 - b) * (1 - c)) / 2,
            "do not average",
        ),
        Mistake(
            "multiplied",
            lambda a, b, c: a * b * c * (1 - a) * (1 - b) * (1 - c),
            "are alternatives: add",
        ),
    ],
    "2.8": [
        Mistake("loser's view", lambda w: _strengths(np.swapaxes(w, -1, -2)), "sign flipped"),
        Mistake("log-odds of win rates", _win_log_odds, "how strong the opponents were"),
        Mistake("win rates", _win_rates, "these are win rates"),
        Mistake("not centred", lambda w: _strengths(w, centre=False), "do not sum to zero"),
        Mistake("one step", lambda w: _strengths(w, steps=1), "one step only"),
        Mistake("Elo points", lambda w: _strengths(w) * ranking.ELO_PER_LOGIT, "Elo points"),
        Mistake("one table", _one_table, "many tables at once"),
        Mistake("no ridge", lambda w: _strengths(w, ridge=1e-12, steps=20), "runs away"),
        Mistake("ridge ignored", lambda w, ridge=1e-3: _strengths(w), "ridge is ignored"),
    ],
    "2.5": [
        Mistake("sign", lambda r, d: -_compare(r, d).mean(), "sign flipped"),
        Mistake(
            "agreements only",
            lambda r, d: (_compare(r, d) > 0).mean(),
            "only agreements are counted",
        ),
        Mistake(
            "ties dropped",
            lambda r, d: _compare(r, d).sum() / (_compare(r, d) != 0).sum(),
            "ties are left out",
        ),
        Mistake("a count", lambda r, d: _compare(r, d).sum(), "this is a count"),
        Mistake("both triangles", lambda r, d: _compare(r, d, whole=True).mean(), "diagonal"),
        Mistake("nought to one", lambda r, d: (_compare(r, d).mean() + 1) / 2, "from 0 to 1"),
        Mistake("correlation", _correlation, "correlation with the distance"),
        Mistake(
            "the ring, whatever is predicted",
            lambda r, d: _compare(r, circle.circular_distance(len(r))).mean(),
            "distance is ignored",
        ),
    ],
}
