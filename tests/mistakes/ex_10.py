"""Wrong answers to lesson 10, as a tired student would write them, and the words that refuse each."""

import math

import numpy as np

from mistakes.planted import Mistake
from valuelab.evaluate.judges import JudgeRates
from valuelab.evaluate.metrics import ControlSuccess
from valuelab.measure.intervals import Interval, paired_difference


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


MISTAKES = {
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
