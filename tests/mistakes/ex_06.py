"""Wrong answers to lesson 06, as a tired student would write them, and the words that refuse each."""

import torch
import torch.nn.functional as F

from mistakes.planted import Mistake


def _loss(lead, centring):
    """A pair loss from how the lead and the centring term are computed."""

    def f(r_chosen, r_rejected, margin=0.0, centre=0.0):
        a, b = r_chosen, r_rejected
        return -F.logsigmoid(lead(a, b, margin)).mean() + centre * centring(a, b)

    return f


def _sum2(a, b):
    return (a + b).square().mean()


def _of_gap(function):
    def f(a, b, margin=0.0, centre=0.0):
        return function(a - b - margin) + centre * _sum2(a, b)

    return f


def _wrong(a, b):
    return torch.sigmoid(b - a)


def _of_groups(c, w, groups):
    return (
        torch.stack([c[g].mean() for g in groups]),
        torch.stack([w[g].mean() for g in groups]),
        torch.tensor([len(g) for g in groups]),
    )


def _bins(c, w, bins, order=None):
    return _of_groups(c, w, torch.tensor_split(c.argsort() if order is None else order, bins))


def _flipped(c, w, bins=10):
    return tuple(x.flip(0) for x in _bins(c, w, bins))


def _equal_width(c, w, bins=10):
    place = torch.bucketize(c, torch.linspace(0.5, 1, bins + 1).double()[1:-1])
    return _of_groups(c, w, [(place == k).nonzero()[:, 0] for k in range(bins)])


def _won_unsorted(c, w, bins=10):
    p, _, n = _bins(c, w, bins)
    return p, torch.stack([g.mean() for g in torch.tensor_split(w, bins)]), n


def _equal_or_nothing(c, w, bins=10):
    order = c.argsort()
    p, o = (x[order].view(bins, -1) for x in (c, w))
    return p.mean(1), o.mean(1), torch.full((bins,), p.shape[1])


def _rest_dropped(c, w, bins=10):
    order, size = c.argsort(), len(c) // bins
    return _of_groups(c, w, [order[k * size : (k + 1) * size] for k in range(bins)])


def _last_bin_takes_the_rest(c, w, bins=10):
    order, size = c.argsort(), max(1, len(c) // bins)
    groups = [order[k * size : (k + 1) * size] for k in range(min(bins, len(c)))]
    groups[-1] = order[(len(groups) - 1) * size :]
    return _of_groups(c, w, groups)


def _scaled(scale):
    def f(a, b, margin, weight=0.5, rate=0.5):
        return -F.logsigmoid(scale(margin, weight, rate) * (a - b)).mean()

    return f


def _svd(z, k, centred=False, sign=True, transform=lambda v, s: v, least=False):
    used = z - z.mean(0) if centred else z
    _, s, v = torch.linalg.svd(used.double(), full_matrices=False)
    v = v.flip(0)[:k] if least else v[:k]
    if sign:
        v = v * torch.where((z.double() @ v.T).mean(0) < 0, -1.0, 1.0)[:, None]
    return transform(v, s[:k])


def _unsigned(z, k, centred=False):
    return -_svd(z, k, centred)


def _signed_by_what_is_decomposed(z, k, centred=False):
    return _svd(z - z.mean(0) if centred else z, k)


def _mix(prepare, combine=lambda e, t: torch.softmax(e.sum(0) / t, 0)):
    def f(scores, temperature=1.0):
        return combine(F.logsigmoid(prepare(scores)), temperature)

    return f


def _rms(x):
    return x / x.square().mean(0).sqrt()


def _grams(text):
    words = text.lower().split()
    return words, list(zip(words, words[1:], words[2:], strict=False))


def _guarded(function):
    def f(text):
        words, grams = _grams(text)
        return function(words, grams) if grams else 1.0

    return f


def _case_counts(text):
    words = text.split()
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


MISTAKES = {
    "6.1": [
        Mistake("swapped", _loss(lambda a, b, m: b - a - m, _sum2), "are swapped"),
        Mistake("no minus", _of_gap(lambda x: F.logsigmoid(x).mean()), "minus is missing"),
        Mistake("sum", _of_gap(lambda x: -F.logsigmoid(x).sum()), "sum over comparisons"),
        Mistake("no sigmoid", _of_gap(lambda x: -x.mean()), "log-sigmoid is missing"),
        Mistake("no log", _of_gap(lambda x: -torch.sigmoid(x).mean()), "logarithm is missing"),
        Mistake("log of mean", _of_gap(lambda x: -torch.sigmoid(x).mean().log()), "wrong order"),
        Mistake(
            "centres the difference",
            _loss(lambda a, b, m: a - b - m, lambda a, b: (a - b).square().mean()),
            "takes the difference",
        ),
        Mistake("margin added", _loss(lambda a, b, m: a - b + m, _sum2), "added to the lead"),
        Mistake("no margin", _loss(lambda a, b, m: a - b, _sum2), "margin is ignored"),
        Mistake(
            "no centring", _loss(lambda a, b, m: a - b - m, lambda a, b: 0.0), "term is missing"
        ),
        Mistake("underflow", _of_gap(lambda x: -torch.sigmoid(x).log().mean()), "underflows"),
    ],
    "6.2": [
        Mistake("sign", lambda a, b: (_wrong(a, b) / len(a), -_wrong(a, b) / len(a)), "*lowers*"),
        Mistake("no n", lambda a, b: (-_wrong(a, b), _wrong(a, b)), "not divided by n"),
        Mistake(
            "right instead of wrong",
            lambda a, b: (-_wrong(b, a) / len(a), _wrong(b, a) / len(a)),
            "probability of being right",
        ),
        Mistake(
            "slope of the sigmoid",
            lambda a, b: (-_wrong(a, b) * _wrong(b, a) / len(a),) * 2,
            "not of its",
        ),
        Mistake(
            "one sign", lambda a, b: (-_wrong(a, b) / len(a), -_wrong(a, b) / len(a)), "one sign"
        ),
        Mistake(
            "rejected forgotten",
            lambda a, b: (-_wrong(a, b) / len(a), torch.zeros_like(a)),
            "as well",
        ),
        Mistake("only one", lambda a, b: -_wrong(a, b) / len(a), "two tensors"),
    ],
    "6.3": [
        Mistake(
            "not sorted",
            lambda c, w, bins=10: _bins(c, w, bins, torch.arange(len(c))),
            "were not sorted",
        ),
        Mistake("reversed", _flipped, "turn them round"),
        Mistake("equal width", _equal_width, "equal *width*"),
        Mistake(
            "first two swapped",
            lambda c, w, bins=10: (lambda p, o, n: (o, p, n))(*_bins(c, w, bins)),
            "first comes the mean confidence",
        ),
        Mistake("won not sorted", _won_unsorted, "same order as the"),
        Mistake(
            "wins counted",
            lambda c, w, bins=10: (lambda p, o, n: (p, o * n, n))(*_bins(c, w, bins)),
            "counts the wins",
        ),
        Mistake(
            "lost",
            lambda c, w, bins=10: (lambda p, o, n: (p, 1 - o, n))(*_bins(c, w, bins)),
            "share *lost*",
        ),
        Mistake("no count", lambda c, w, bins=10: _bins(c, w, bins)[:2], "three tensors"),
        Mistake("equal bins only", _equal_or_nothing, "your function stops with RuntimeError"),
        Mistake("rest dropped", _rest_dropped, "the rest is dropped"),
        Mistake("chunk", lambda c, w, bins=10: _of_groups(c, w, c.argsort().chunk(bins)), "bins came back"),
        Mistake("rest in the last bin", _last_bin_takes_the_rest, "differ by one at most"),
        Mistake("empty bins", lambda c, w, bins=10: _bins(c, w, bins), "stays empty"),
    ],
    "6.4": [
        Mistake("no margin", _scaled(lambda m, w, r: 1.0), "margin is ignored"),
        Mistake("no one", _scaled(lambda m, w, r: w * (1 - torch.exp(-r * m))), "1 is missing"),
        Mistake("upside down", _scaled(lambda m, w, r: 1 + w * torch.exp(-r * m)), "upside down"),
        Mistake(
            "loss scaled",
            lambda a, b, m, w=0.5, r=0.5: (
                -(1 + w * (1 - torch.exp(-r * m))) * F.logsigmoid(a - b)
            ).mean(),
            "*loss* is scaled",
        ),
        Mistake(
            "subtracted",
            lambda a, b, m, w=0.5, r=0.5: -F.logsigmoid(a - b - m).mean(),
            "as in 6.1",
        ),
        Mistake("unbounded", _scaled(lambda m, w, r: 1 + w * m), "without end"),
    ],
    "6.5": [
        Mistake("centred", lambda z, k, centred=False: _svd(z, k, True), "centring deletes it"),
        Mistake("unsigned", _unsigned, "point to the rejected"),
        Mistake(
            "singular values",
            lambda z, k, centred=False: _svd(z, k, centred, transform=lambda v, s: v * s[:, None]),
            "carry the singular values",
        ),
        Mistake(
            "columns",
            lambda z, k, centred=False: _svd(z, k, centred).T,
            "was wanted",
        ),
        Mistake("comparisons", lambda z, k, centred=False: z[:k], "are comparisons"),
        Mistake("flag ignored", lambda z, k, centred=False: _svd(z, k), "`centred` is ignored"),
        Mistake("signed by the centred scores", _signed_by_what_is_decomposed, "signs are wrong"),
    ],
    "6.6": [
        Mistake("not scaled", _mix(lambda x: x), "shouts is believed"),
        Mistake(
            "no temperature", _mix(_rms, lambda e, t: torch.softmax(e.sum(0), 0)),
            "temperature is ignored",
        ),
        Mistake(
            "times temperature", _mix(_rms, lambda e, t: torch.softmax(e.sum(0) * t, 0)),
            "multiplied by the temperature",
        ),
        Mistake("sign", _mix(lambda x: -_rms(x)), "contradict the judge"),
        Mistake(
            "averaged", _mix(_rms, lambda e, t: torch.softmax(e.mean(0) / t, 0)), "averaged"
        ),
        Mistake("z-scored", _mix(lambda x: (x - x.mean(0)) / x.std(0)), "were centred"),
        Mistake(
            "even", lambda s, temperature=1.0: torch.full((s.shape[1],), 1 / s.shape[1]),
            "whatever the comparisons say",
        ),
    ],
    "6.7": [
        Mistake("words", _guarded(lambda w, g: len(set(w)) / len(w)), "distinct *words*"),
        Mistake(
            "pairs", _guarded(lambda w, g: len(set(zip(w, w[1:], strict=False))) / (len(w) - 1)),
            "pairs of",
        ),
        Mistake("a count", _guarded(lambda w, g: len(set(g))), "number of trigrams"),
        Mistake("over words", _guarded(lambda w, g: len(set(g)) / len(w)), "n - 2 trigrams"),
        Mistake("repeated", _guarded(lambda w, g: 1 - len(set(g)) / len(g)), "*repeated*"),
        Mistake("case", _case_counts, "capital letters"),
        Mistake(
            "divides by zero", lambda t: len(set(_grams(t)[1])) / len(_grams(t)[1]),
            "divides by zero",
        ),
    ],
}
