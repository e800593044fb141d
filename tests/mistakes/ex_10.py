"""Wrong answers to lesson 10, as a tired student would write them, and the words that refuse each."""

import math

import numpy as np
from scipy import stats

from mistakes.planted import Mistake
from valuelab.evaluate.judges import JudgeRates
from valuelab.evaluate.metrics import ControlSuccess
from valuelab.measure.intervals import Interval, paired_difference
from valuelab.measure.ranking import strengths


def three(unsteered, steered, random, contexts):
    return {
        "gain": paired_difference(steered, unsteered, contexts),
        "random_gain": paired_difference(random, unsteered, contexts),
        "advantage": paired_difference(steered, random, contexts),
    }


def with_advantage(make):
    """Right but for `advantage`, which `make` builds."""

    def answer(unsteered, steered, random, contexts):
        parts = three(unsteered, steered, random, contexts)
        parts["advantage"] = make(unsteered, steered, random, contexts)
        return ControlSuccess(**parts)

    return answer


def scaled(found, factor):
    return Interval(found.estimate * factor, found.low * factor, found.high * factor,
                    found.se * factor, found.n, found.clusters, found.p)  # fmt: skip


def unpaired(a, b):
    d, n = float(np.mean(a) - np.mean(b)), len(a)
    se = math.sqrt(np.var(a, ddof=1) / n + np.var(b, ddof=1) / n)
    return Interval(d, d - 2 * se, d + 2 * se, se, n, n)


def only(mask):
    def make(u, s, r, c):
        keep = mask(u, s, r)
        return paired_difference(s[keep], r[keep], c[keep])

    return make


def swapped_gain(u, s, r, c):
    parts = three(u, s, r, c)
    parts["gain"] = paired_difference(u, s, c)
    return ControlSuccess(**parts)


def rates(sensitivity, specificity, informedness=None):
    if informedness is None:
        informedness = sensitivity + specificity - 1
    return JudgeRates(float(sensitivity), float(specificity), float(informedness), 60)


def sens(said, truth):
    return (said[truth] == 1).mean()


def spec(said, truth):
    return (said[~truth] == 0).mean()


def readable(said, truth):
    keep = ~np.isnan(said)
    return said[keep], truth[keep]


def corrected(q, sensitivity, specificity):
    if sensitivity + specificity <= 1:
        raise ValueError("no information")
    return min(1.0, max(0.0, (q + specificity - 1) / (sensitivity + specificity - 1)))


def parts(E, targets=None):
    E = np.asarray(E, float)
    mask = np.zeros(E.shape, bool)
    mask[np.arange(len(E)), range(len(E)) if targets is None else targets] = True
    return E, mask


def ratio(function):
    """off_target_ratio built from a function of (effects, mask)."""
    return lambda E, targets=None: float(function(*parts(E, targets)))


def widened(se_of=lambda own, a, b, true, j: math.sqrt(own + true**2 * a + (1 - true) ** 2 * b) / j, *, at=None, z=None,
            careful=True):  # fmt: skip
    """corrected_interval with a standard error, an estimate or a width of its own."""

    def answer(q, n, sensitivity, n1, specificity, n0, level=0.95):
        j = sensitivity + specificity - 1
        if careful and j <= 0:
            raise ValueError("no information")
        true = (q + specificity - 1) / (j or 1)
        a, b = sensitivity * (1 - sensitivity) / n1, specificity * (1 - specificity) / n0
        se = abs(se_of(q * (1 - q) / n, a, b, true, abs(j) or 1))
        middle = true if at is None else q
        half = (stats.norm.ppf(0.5 + level / 2) if z is None else z) * se
        return Interval(middle, middle - half, middle + half, se, n, n)

    return answer


def adjusted(function):
    """holm built from a function of the sorted p-values, put back in place."""

    def answer(p):
        order, out = np.argsort(p), np.empty(len(p))
        out[order] = function(np.sort(p), len(p))
        return out

    return answer


def down(p, m):
    return np.maximum.accumulate(p * (m - np.arange(m)))


def moved(bounds_of, change_of=None):
    """strength_change with bounds, and perhaps a change, of its own."""

    def answer(before, after, weights):
        one, two = strengths(before.sum(0)), strengths(after.sum(0))
        drawn = [strengths(np.tensordot(weights, x, 1)) for x in (before, after)]
        change = two - one if change_of is None else change_of(one, two)
        return (change, *bounds_of(drawn[0], drawn[1], one, two))

    return answer


def quantiles(x, low=0.025, high=0.975):
    return tuple(np.quantile(x, [low, high], axis=0))


def around(x, one, two, z=1.96):
    """The change with bounds at z standard deviations, read from the middle of the draws."""
    low, high = quantiles(x, 0.15865, 0.84135)
    return two - one - z * (high - low) / 2, two - one + z * (high - low) / 2


def centred_on_the_draws(b, a, one, two):
    low, high = quantiles(a - b, 0.15865, 0.84135)
    return (low + high) / 2 - 0.98 * (high - low), (low + high) / 2 + 0.98 * (high - low)


def paired(b, a, one, two):
    return around(a - b, one, two)


def ranks(x):
    return (-x).argsort().argsort()


def summary(function):
    """harmonic_summary built from a function of the parts, careful about everything else."""

    def answer(scores):
        x = np.asarray(scores, float)
        if x.size == 0 or not ((x >= 0) & (x <= 1)).all():
            raise ValueError("scores from 0 to 1")
        return float(function(x)) if x.all() else 0.0

    return answer


def harmonic(x):
    return len(x) / (1 / x).sum()


MISTAKES = {
    "10.5": [
        Mistake("not corrected", widened(at="q"), "still the judge's share"),
        Mistake("the share's own", widened(lambda own, a, b, t, j: math.sqrt(own)), "of the judge's share itself"),
        Mistake("rates taken as known", widened(lambda own, a, b, t, j: math.sqrt(own) / j), "only the replies' error"),
        Mistake(
            "not divided",
            widened(lambda own, a, b, t, j: math.sqrt(own + t**2 * a + (1 - t) ** 2 * b)),
            "not yet divided by J²",
        ),
        Mistake(
            "divided by J",
            widened(lambda own, a, b, t, j: math.sqrt((own + t**2 * a + (1 - t) ** 2 * b) / j)),
            "where J² was wanted",
        ),
        Mistake("no weights", widened(lambda own, a, b, t, j: math.sqrt(own + a + b) / j), "are not weighted"),
        Mistake(
            "weights exchanged",
            widened(lambda own, a, b, t, j: math.sqrt(own + (1 - t) ** 2 * a + t**2 * b) / j),
            "the weights are exchanged",
        ),
        Mistake(
            "variance",
            widened(lambda own, a, b, t, j: (own + t**2 * a + (1 - t) ** 2 * b) / j**2),
            "this is the variance",
        ),
        Mistake("one standard error", widened(z=1.0), "are not estimate ± 1.96 se"),
        Mistake("level", widened(z=1.96), "`level` is ignored"),
        Mistake("blind judge accepted", widened(careful=False), "raise a ValueError"),
        Mistake("a number", lambda q, n, a, n1, b, n0: corrected(q, a, b), "came back; return an Interval"),
    ],
    "10.6": [
        Mistake("as they were", lambda p: p, "nothing was adjusted"),
        Mistake("Bonferroni", lambda p: np.minimum(p * len(p), 1), "this is Bonferroni"),
        Mistake(
            "no running maximum",
            adjusted(lambda p, m: np.minimum(p * (m - np.arange(m)), 1)),
            "take the running maximum, or",
        ),
        Mistake("left sorted", lambda p: np.minimum(down(np.sort(p), len(p)), 1), "still sorted"),
        Mistake("not cut", adjusted(down), "above 1 came back"),
        Mistake(
            "false discovery rate",
            adjusted(lambda p, m: np.minimum(np.minimum.accumulate((p * m / np.arange(1, m + 1))[::-1])[::-1], 1)),
            "false discovery rate",
        ),
        Mistake(
            "factors backwards",
            adjusted(lambda p, m: np.minimum(np.maximum.accumulate(p * np.arange(1, m + 1)), 1)),
            "run the wrong way",
        ),
        Mistake("only the significant ones", lambda p: p[p < 0.05], "one adjusted p for each"),
    ],
    "10.7": [
        Mistake("before minus after", moved(paired, lambda one, two: one - two), "sign flipped"),
        Mistake("afterwards", moved(paired, lambda one, two: two), "strength afterwards"),
        Mistake("ranks", moved(paired, lambda one, two: ranks(one) - ranks(two)), "these are ranks"),
        Mistake("not paired", moved(lambda b, a, one, two: around(a - np.roll(b, 1, 0), one, two)), "not paired"),
        Mistake("before held fixed", moved(lambda b, a, one, two: around(a - one, one, two)), "only `after` was drawn"),
        Mistake("percentiles", moved(lambda b, a, one, two: quantiles(a - b)), "percentiles of 2.5 and 97.5"),
        Mistake(
            "normal bounds",
            moved(lambda b, a, one, two: (two - one) + np.outer([-1.96, 1.96], (a - b).std(0, ddof=1))),
            "a standard deviation counts draws",
        ),
        Mistake("one deviation", moved(lambda b, a, one, two: quantiles(a - b, 0.15865, 0.84135)), "95 % take 1.96"),
        Mistake("not halved", moved(lambda b, a, one, two: around(a - b, one, two, 3.92)), "twice too wide"),
        Mistake("90 %", moved(lambda b, a, one, two: around(a - b, one, two, 1.645)), "these are 90 %"),
        Mistake("draws' own middle", moved(centred_on_the_draws), "centred on the draws"),
        Mistake("range", moved(lambda b, a, one, two: quantiles(a - b, 0, 1)), "smallest and the largest draw"),
        Mistake("change alone", lambda b, a, w: strengths(a.sum(0)) - strengths(b.sum(0)), "three things were wanted"),
    ],
    "10.8": [
        Mistake("mean", summary(lambda x: x.mean()), "this is the plain mean"),
        Mistake("geometric", summary(lambda x: x.prod() ** (1 / len(x))), "this is the geometric mean"),
        Mistake("worst", summary(lambda x: x.min()), "this is the worst part"),
        Mistake("no count", summary(lambda x: 1 / (1 / x).sum()), "the number of parts is missing"),
        Mistake("upside down", summary(lambda x: (1 / x).mean()), "upside down"),
        Mistake("product", summary(lambda x: x.prod()), "this is the product"),
        Mistake("zero not caught", lambda s: len(s) / sum(1 / x for x in s), "divides by zero"),
        Mistake("zero left out", lambda s: harmonic(np.array([x for x in s if x])), "although one part is 0"),
        Mistake(
            "anything goes",
            lambda s: float(harmonic(np.array(s, float))) if s and all(s) else 0.0,
            "raise a ValueError unless",
        ),
    ],
    "10.1": [
        Mistake(
            "random direction not used",
            with_advantage(lambda u, s, r, c: paired_difference(s, u, c)),
            "any push that shakes",
        ),
        Mistake(
            "advantage upside down",
            with_advantage(lambda u, s, r, c: paired_difference(r, s, c)),
            "sign flipped in `advantage`",
        ),
        Mistake(
            "contexts ignored",
            lambda u, s, r, c: ControlSuccess(**three(u, s, r, None)),
            "contexts are ignored",
        ),
        Mistake(
            "not paired",
            lambda u, s, r, c: ControlSuccess(unpaired(s, u), unpaired(r, u), unpaired(s, r)),
            "not paired",
        ),
        Mistake(
            "relative gain",
            with_advantage(lambda u, s, r, c: scaled(paired_difference(s, u, c), 1 / u.mean())),
            "relative gain",
        ),
        Mistake(
            "divided by the random share",
            with_advantage(lambda u, s, r, c: scaled(paired_difference(s, r, c), 1 / r.mean())),
            "divided by the random direction's share",
        ),
        Mistake(
            "ties dropped", with_advantage(only(lambda u, s, r: s != r)), "both agree were dropped"
        ),
        Mistake(
            "failures only", with_advantage(only(lambda u, s, r: u == 0)), "failed before are counted"
        ),
        Mistake("gain upside down", swapped_gain, "sign flipped in `gain`"),
        Mistake("numbers, no intervals", lambda u, s, r, c: (s - u).mean(), "is no Interval"),
        Mistake("no return", lambda u, s, r, c: None, "nothing came back"),
    ],
    "10.3": [
        Mistake(
            "precision",
            lambda v, t: rates((v[t] == 1).sum() / (v == 1).sum(), spec(v, t)),
            "this is precision",
        ),
        Mistake("exchanged", lambda v, t: rates(spec(v, t), sens(v, t)), "are exchanged"),
        Mistake(
            "accuracy", lambda v, t: rates(((v == 1) == t).mean(), spec(v, t)), "this is accuracy"
        ),
        Mistake(
            "unreadable dropped",
            lambda v, t: rates(sens(*readable(v, t)), spec(*readable(v, t))),
            "were dropped",
        ),
        Mistake(
            "all replies below",
            lambda v, t: rates((v[t] == 1).sum() / len(v), spec(v, t)),
            "divided by all replies",
        ),
        Mistake(
            "false alarms", lambda v, t: rates(sens(v, t), (v[~t] == 1).mean()), "false-alarm rate"
        ),
        Mistake(
            "unreadable is no",
            lambda v, t: rates(sens(v, t), (v[~t] != 1).mean()),
            "counted as a correct no",
        ),
        Mistake(
            "no minus one",
            lambda v, t: rates(sens(v, t), spec(v, t), sens(v, t) + spec(v, t)),
            "lacks its −1: a coin",
        ),
        Mistake(
            "balanced accuracy",
            lambda v, t: rates(sens(v, t), spec(v, t), (sens(v, t) + spec(v, t)) / 2),
            "balanced accuracy",
        ),
    ],
    "10.4": [
        Mistake("as it was", lambda q, a, b: q, "nothing was corrected"),
        Mistake("misses only", lambda q, a, b: q / a, "only missed cases"),
        Mistake("not divided", lambda q, a, b: q + b - 1, "still has to be divided"),
        Mistake("forwards", lambda q, a, b: q * a + (1 - q) * (1 - b), "goes the wrong way"),
        Mistake("exchanged", lambda q, a, b: (q + a - 1) / (a + b - 1), "exchanged in the numerator"),
        Mistake("no minus one", lambda q, a, b: (q + b - 1) / (a + b), "denominator lacks"),
        Mistake(
            "not kept inside",
            lambda q, a, b: (q + b - 1) / (a + b - 1),
            "keep the result inside",
        ),
        Mistake(
            "blind judge accepted",
            lambda q, a, b: corrected(q, a, b) if a + b > 1 else 0.5,
            "raise a ValueError",
        ),
        Mistake(
            "division by zero",
            lambda q, a, b: min(1.0, max(0.0, (q + b - 1) / (a + b - 1))),
            "divides by zero",
        ),
    ],
    "10.2": [
        Mistake("signed", ratio(lambda E, m: E[~m].mean() / E[m].mean()), "signs cancel"),
        Mistake(
            "upside down",
            ratio(lambda E, m: abs(E[m]).mean() / abs(E[~m]).mean()),
            "upside down",
        ),
        Mistake("diagonal kept", ratio(lambda E, m: abs(E).mean() / abs(E[m]).mean()), "diagonal"),
        Mistake(
            "sums", ratio(lambda E, m: abs(E[~m]).sum() / abs(E[m]).sum()), "sums instead of means"
        ),
        Mistake("worst", ratio(lambda E, m: abs(E[~m]).max() / abs(E[m]).mean()), "worst side effect"),
        Mistake(
            "mean of ratios",
            ratio(
                lambda E, m: np.mean(
                    [abs(r[~k]).mean() / abs(r[k]).mean() for r, k in zip(E, m, strict=True)]
                )
            ),
            "mean of ratios",
        ),
        Mistake(
            "targets ignored",
            lambda E, targets=None: ratio(lambda F, m: abs(F[~m]).mean() / abs(F[m]).mean())(E),
            "`targets` is not used",
        ),
    ],
}
