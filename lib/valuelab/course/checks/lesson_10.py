"""Checks of lesson 10: evaluation.

Each check tries the form first, then the likely mistakes in order of likelihood, each computed from
the check's own data and compared with what came back, then the right values on two seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from valuelab.course.check import Refused, exercise
from valuelab.evaluate import dilemmas, judges, metrics
from valuelab.measure import intervals
from valuelab.measure.intervals import Interval

SEEDS = (0, 1)
Z95 = 1.959963984540054


def near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


def as_number(got: Any, what: str) -> float:
    """The answer as a float, or a sentence that says what came back instead."""
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}")
    try:
        return float(got)
    except (TypeError, ValueError):
        raise Refused(f"a {type(got).__name__} came back. Wanted {what}") from None


def diagnose(got: float, wanted: float, likely: Sequence[tuple[float, str]], last: str) -> None:
    """Pass, or name the mistake whose result looks like this one."""
    if near(got, wanted):
        return
    for wrong, message in likely:
        if near(got, wrong) and not near(wrong, wanted):
            raise Refused(message)
    raise Refused(f"{got:.4f} came back, {wanted:.4f} was wanted. {last}")


def answers(seed: int) -> tuple[np.ndarray, ...]:
    """Scores of 35 items in 7 contexts of unequal size under three conditions."""
    rng = np.random.default_rng(seed)
    contexts = np.array(["c3", "a", "b", "d", "a2", "e", "f"])[
        np.repeat(np.arange(7), [1, 9, 3, 7, 2, 8, 5])
    ]
    names = np.unique(contexts)
    ease = dict(zip(names, rng.random(len(names)), strict=True))
    level = np.array([ease[c] for c in contexts])
    draw = rng.random(35)
    unsteered = (draw < 0.5 * level).astype(float)
    random = (draw < 0.5 * level + 0.12).astype(float)
    steered = (draw < 0.5 * level + 0.45).astype(float)
    order = rng.permutation(35)  # contexts do not lie side by side
    return unsteered[order], steered[order], random[order], contexts[order]


def by_hand(a: np.ndarray, b: np.ndarray, contexts: np.ndarray) -> tuple[float, float]:
    """Mean of a − b and its clustered standard error, written out."""
    d = a - b
    sums = np.array([(d - d.mean())[contexts == c].sum() for c in np.unique(contexts)])
    groups = len(sums)
    return float(d.mean()), float(np.sqrt((sums**2).sum() * groups / (groups - 1)) / len(d))


PARTS = ("gain", "random_gain", "advantage")


@exercise("10.1", reference=metrics.control_success)
def control_success(f: Callable) -> None:
    for seed in SEEDS:
        unsteered, steered, random, contexts = answers(seed)
        got = f(unsteered, steered, random, contexts)
        check_form(got)
        wanted = {
            "gain": by_hand(steered, unsteered, contexts),
            "random_gain": by_hand(random, unsteered, contexts),
            "advantage": by_hand(steered, random, contexts),
        }
        check_advantage(got, steered, unsteered, random, wanted)
        check_gains(got, steered, unsteered, random, wanted)
        check_errors(got, steered, unsteered, random, wanted)


def check_form(got: Any) -> None:
    if got is None:
        raise Refused("nothing came back: return ControlSuccess(gain=..., random_gain=..., advantage=...)")
    for part in PARTS:
        if not isinstance(getattr(got, part, None), Interval):
            raise Refused(
                f"`{part}` is no Interval: build each of the three with paired_difference(a, b, contexts)"
            )


def check_advantage(got: Any, steered, unsteered, random, wanted) -> None:
    found, plain = got.advantage.estimate, wanted["gain"][0]
    diagnose(
        found,
        wanted["advantage"][0],
        [
            (plain, "the random direction is not used: `advantage` is your gain over the unsteered "
             "model again, so any push that shakes the answers would count as success"),
            (-wanted["advantage"][0], "sign flipped in `advantage`: success that rises must come out "
             "positive, so it is steered minus random"),
            (plain / max(unsteered.mean(), 1e-9), "this is a relative gain; report the difference "
             "itself, which does not explode where the unsteered share is small"),
            ((steered.mean() - random.mean()) / max(random.mean(), 1e-9), "`advantage` is divided "
             "by the random direction's share; it is a plain difference"),
            ((steered - random)[steered != random].mean(), "items on which both agree were dropped: "
             "they are evidence, too, and count as a difference of zero"),
            ((steered - random)[unsteered == 0].mean(), "only items that failed before are counted; "
             "a direction that breaks what worked would never show"),
        ],
        "It is the mean over items of steered − random.",
    )  # fmt: skip


def check_gains(got: Any, steered, unsteered, random, wanted) -> None:
    diagnose(
        got.gain.estimate,
        wanted["gain"][0],
        [
            (-wanted["gain"][0], "sign flipped in `gain`: it is steered minus unsteered"),
            (steered.mean(), "`gain` is the share under steering; the share before must be taken off"),
        ],
        "`gain` is the mean over items of steered − unsteered.",
    )
    diagnose(
        got.random_gain.estimate,
        wanted["random_gain"][0],
        [(-wanted["random_gain"][0], "sign flipped in `random_gain`: it is random minus unsteered")],
        "`random_gain` is the mean over items of random − unsteered.",
    )


def check_errors(got: Any, steered, unsteered, random, wanted) -> None:
    """The right means with the wrong uncertainty."""
    n = len(steered)
    for part, a, b in (("gain", steered, unsteered), ("random_gain", random, unsteered),
                       ("advantage", steered, random)):  # fmt: skip
        se, right = getattr(got, part).se, wanted[part][1]
        if near(se, right):
            continue
        d = a - b
        if near(se, d.std(ddof=1) / math.sqrt(n)):
            raise Refused(
                "contexts are ignored: items of one context rise and fall together, so your interval "
                "is that of 35 independent items. Pass `contexts` on"
            )
        if near(se, math.sqrt(a.var(ddof=1) / n + b.var(ddof=1) / n)):
            raise Refused(
                "not paired: both conditions answered the same items, so take the difference item "
                "by item before you estimate its error"
            )
        raise Refused(
            f"the standard error of `{part}` is {se:.4f}, {right:.4f} was wanted. Use "
            "paired_difference(a, b, contexts)"
        )


def verdicts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts of an uneven judge on 60 replies, 14 of which show the value; some are unreadable."""
    rng = np.random.default_rng(seed)
    truth = np.arange(60) < 14
    said = np.where(truth, rng.random(60) < 0.75, rng.random(60) < 0.2).astype(float)
    said[[2, 20, 21, 40, 41]] = np.nan
    order = rng.permutation(60)
    return said[order], truth[order]


@exercise("10.3", reference=judges.judge_rates)
def judge_rates(f: Callable) -> None:
    for seed in SEEDS:
        said, truth = verdicts(seed)
        got = f(said, truth)
        if got is None:
            raise Refused(
                "nothing came back: return JudgeRates(sensitivity, specificity, informedness, n)"
            )
        if not all(hasattr(got, name) for name in ("sensitivity", "specificity", "informedness")):
            raise Refused(f"a {type(got).__name__} came back; return a JudgeRates with all its rates")
        yes, no = said == 1, said == 0
        read = ~np.isnan(said)
        sensitivity, specificity = yes[truth].mean(), no[~truth].mean()
        precision = yes[truth].sum() / yes.sum()
        diagnose(
            as_number(got.sensitivity, "a share"),
            sensitivity,
            [
                (precision, "this is precision, the share of the judge's yes that is right; "
                 "sensitivity looks at the replies that show the value"),
                (specificity, "the two rates are exchanged: sensitivity belongs to the replies that "
                 "show the value"),
                (((said == 1) == truth).mean(), "this is accuracy over all replies; a judge that "
                 "always says no would look good where few replies show the value"),
                (yes[truth & read].mean(), "unreadable verdicts (NaN) were dropped: a judge that did "
                 "not answer was wrong on that reply"),
                (yes[truth].sum() / len(said), "divided by all replies: divide by the number of "
                 "replies that show the value"),
            ],
            "Take the replies with truth True, and the share of them with verdict 1.",
        )  # fmt: skip
        diagnose(
            as_number(got.specificity, "a share"),
            specificity,
            [
                (yes[~truth].mean(), "this is the false-alarm rate; specificity is the share of "
                 "correct no among replies that do not show the value"),
                ((~yes)[~truth].mean(), "an unreadable verdict counted as a correct no: NaN is not "
                 "1, but it is not 0 either"),
            ],
            "Take the replies with truth False, and the share of them with verdict 0.",
        )  # fmt: skip
        diagnose(
            as_number(got.informedness, "a number"),
            sensitivity + specificity - 1,
            [
                (sensitivity + specificity, "informedness lacks its −1: a coin must get 0, yours "
                 "gives it 1"),
                ((sensitivity + specificity) / 2, "this is balanced accuracy; informedness is "
                 "sensitivity + specificity − 1"),
            ],
            "It is sensitivity + specificity − 1.",
        )  # fmt: skip


@exercise("10.4", reference=judges.corrected_share)
def corrected_share(f: Callable) -> None:
    for share, sens, spec in ((0.45, 0.8, 0.7), (0.62, 0.9, 0.65)):
        got = as_number(f(share, sens, spec), "one number, the corrected share")
        wanted = (share - (1 - spec)) / (sens - (1 - spec))
        diagnose(
            got,
            wanted,
            [
                (share, "nothing was corrected: the judge's share came back as it was"),
                (share / sens, "only missed cases are corrected; false alarms inflate the share, "
                 "too, so take 1 − specificity off first"),
                (share + spec - 1, "the numerator is right, but it still has to be divided by "
                 "sensitivity + specificity − 1"),
                (share * sens + (1 - share) * (1 - spec), "this goes the wrong way: from a true share "
                 "to what the judge would report. Solve that equation for the true share"),
                ((share + sens - 1) / (sens + spec - 1), "sensitivity and specificity are exchanged "
                 "in the numerator: what must go is the false alarms, 1 − specificity"),
                ((share + spec - 1) / (sens + spec), "the denominator lacks its −1"),
            ],
            "Solve share = π·sens + (1 − π)·(1 − spec) for π.",
        )  # fmt: skip
    for share, edge in ((0.05, 0.0), (0.99, 1.0)):
        got = as_number(f(share, 0.8, 0.7), "one number")
        if not 0 <= got <= 1:
            raise Refused(f"{got:.2f} came back for a share of {share}: keep the result inside 0 and 1")
        if not near(got, edge):
            raise Refused(f"{got:.2f} came back for a share of {share}, {edge} was wanted")
    for sens, spec in ((0.5, 0.5), (0.3, 0.4)):
        try:
            got = f(0.5, sens, spec)
        except ValueError:
            continue
        except ZeroDivisionError:
            raise Refused(
                "a judge without information divides by zero: say so with a ValueError instead"
            ) from None
        raise Refused(
            f"a judge whose rates add up to {sens + spec:.1f} tells nothing, yet {got} came back: "
            "raise a ValueError"
        )


@exercise("10.2", reference=metrics.off_target_ratio)
def off_target_ratio(f: Callable) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        E = rng.normal(scale=0.1, size=(4, 4)) + np.diag(rng.random(4) * 0.5 + 0.2)
        E[1, 1] *= -1  # a value that fell although it was to rise
        on, off = np.abs(np.diag(E)), np.abs(E[~np.eye(4, dtype=bool)])
        got = as_number(f(E), "one number, off-target over on-target")
        signed = E[~np.eye(4, dtype=bool)].mean() / np.diag(E).mean()
        diagnose(
            got,
            off.mean() / on.mean(),
            [
                (signed, "signs cancel: a value that rises and one that falls are two side effects, "
                 "so take absolute values before the mean"),
                (on.mean() / off.mean(), "upside down: side effects over intended effects, so that "
                 "0 is a scalpel"),
                (np.abs(E).mean() / on.mean(), "the diagonal is still among the side effects; leave "
                 "the steered value itself out"),
                (off.sum() / on.sum(), "sums instead of means: there are more side effects than "
                 "intended ones, so compare averages"),
                (off.max() / on.mean(), "this is the worst side effect; the mean was wanted"),
                ((np.abs(E[~np.eye(4, dtype=bool)].reshape(4, 3)).mean(1) / on).mean(), "this is a "
                 "mean of ratios, which one weakly steered value can blow up; take the ratio of means"),
            ],
            "It is mean |E[v, u ≠ v]| over mean |E[v, v]|.",
        )  # fmt: skip
    E = np.array([[0.1, 0.4, -0.2], [0.3, 0.0, 0.1]])
    got = as_number(f(E, [1, 0]), "one number")
    if not near(got, np.mean([0.1, 0.2, 0.0, 0.1]) / 0.35):
        raise Refused(
            "`targets` is not used: row i means to move column targets[i], not column i"
        )
    try:
        with np.errstate(all="ignore"):
            still = as_number(f(np.zeros((2, 2))), "one number")
    except ZeroDivisionError:
        still = math.nan
    if still != math.inf:
        raise Refused(f"where nothing moved as meant {still} came back: ask for that case first and return math.inf")


def rates_with_counts() -> list[tuple]:
    return [(0.45, 200, 0.8, 50, 0.7, 80), (0.62, 90, 0.9, 35, 0.65, 60)]


@exercise("10.5", reference=judges.corrected_interval)
def corrected_interval(f: Callable) -> None:
    for q, n, sens, n1, spec, n0 in rates_with_counts():
        got = f(q, n, sens, n1, spec, n0)
        if got is None:
            raise Refused("nothing came back: return an Interval around the corrected share")
        if not isinstance(got, Interval):
            raise Refused(f"a {type(got).__name__} came back; return an Interval with estimate, low, high and se")
        j = sens + spec - 1
        true = (q + spec - 1) / j
        own, sens_part = q * (1 - q) / n, sens * (1 - sens) / n1
        spec_part = spec * (1 - spec) / n0
        parts = own + true**2 * sens_part + (1 - true) ** 2 * spec_part
        diagnose(
            as_number(got.estimate, "a share"),
            true,
            [(q, "the estimate is still the judge's share: correct it first, the interval goes around π")],
            "The estimate is (q + spec − 1) / (sens + spec − 1).",
        )
        diagnose(
            as_number(got.se, "a standard error"),
            math.sqrt(parts) / j,
            [
                (math.sqrt(own), "this is the error of the judge's share itself: dividing by J stretches it, and the "
                 "rates' own errors come on top"),
                (math.sqrt(own) / j, "only the replies' error is in: the two rates were measured on few replies, "
                 "and their error must be added"),
                (math.sqrt(parts), "the three parts are right, but the sum is not yet divided by J²: a poor judge "
                 "must give a wide interval"),
                (math.sqrt(parts / j), "divided by J where J² was wanted: the variance scales with the square"),
                (math.sqrt(own + sens_part + spec_part) / j, "the rates' errors are not weighted: sensitivity "
                 "matters in proportion to π², specificity to (1 − π)²"),
                (math.sqrt(own + (1 - true) ** 2 * sens_part + true**2 * spec_part) / j, "the weights are "
                 "exchanged: sensitivity works on the replies that show the value, so it goes with π"),
                (math.sqrt(true * (1 - true) / n + true**2 * sens_part + (1 - true) ** 2 * spec_part) / j, "the first "
                 "part holds π(1 − π); what was drawn n times is the judge's verdict, with share q"),
                (parts / j**2, "this is the variance; take its square root"),
            ],
            "Add the three variances of the formula, divide by J², and take the root.",
        )  # fmt: skip
        for half in (got.high - got.estimate, got.estimate - got.low):
            if not math.isclose(half, Z95 * got.se, rel_tol=1e-4):
                raise Refused("the bounds are not estimate ± 1.96 se: take the normal quantile of 0.5 + level / 2")
    narrow = f(0.45, 200, 0.8, 50, 0.7, 80, 0.5)
    if not math.isclose(narrow.high - narrow.estimate, 0.6744897501960817 * narrow.se, rel_tol=1e-4):
        raise Refused("`level` is ignored: 1.96 belongs to 95 %; take the normal quantile of 0.5 + level / 2")
    for bad in ((0.5, 50, 0.5, 50, 0.5, 50), (0.5, 50, 0.3, 50, 0.4, 50)):
        try:
            f(*bad)
        except ValueError:
            continue
        except ZeroDivisionError:
            pass
        raise Refused("a judge whose rates add up to 1 or less tells nothing: raise a ValueError")


@exercise("10.6", reference=intervals.holm)
def holm(f: Callable) -> None:
    for seed in SEEDS:
        p = np.random.default_rng(seed).permutation([0.0004, 0.004, 0.0042, 0.013, 0.03, 0.031, 0.55, 0.6])
        got = f(p.copy())
        if got is None:
            raise Refused("nothing came back: return the adjusted p-values, one for each test")
        got, m = np.asarray(got, float), len(p)
        if got.shape != p.shape:
            raise Refused(f"shape {got.shape} came back for {m} tests: return one adjusted p for each")
        order = np.argsort(p)
        stepped = np.sort(p) * (m - np.arange(m))

        def back(x, order=order):
            out = np.empty(len(x))
            out[order] = x
            return out

        wanted = back(np.minimum(np.maximum.accumulate(stepped), 1))
        fdr = np.minimum.accumulate((np.sort(p) * m / np.arange(1, m + 1))[::-1])[::-1]
        for wrong, message in (
            (p, "nothing was adjusted: the p-values came back as they were"),
            (np.minimum(p * m, 1), "this is Bonferroni: Holm multiplies the smallest p by m, the next by m − 1, and "
             "so on, and so finds more"),
            (back(np.minimum(stepped, 1)), "a larger p came out smaller than one before it: take the running maximum, "
             "or a test could pass where a clearer one fails"),
            (np.minimum(np.maximum.accumulate(stepped), 1), "the result is still sorted: put each adjusted p back in "
             "the place of its test"),
            (back(np.maximum.accumulate(stepped)), "an adjusted p above 1 came back: cut at 1"),
            (back(np.minimum(fdr, 1)), "this is Benjamini and Hochberg's false discovery rate; Holm bounds the chance "
             "of any false alarm"),
            (back(np.minimum(np.maximum.accumulate(np.sort(p) * np.arange(1, m + 1)), 1)), "the factors run the wrong "
             "way: the smallest p is multiplied by m, the largest by 1"),
        ):  # fmt: skip
            if np.allclose(got, wrong) and not np.allclose(wrong, wanted):
                raise Refused(message)
        if not np.allclose(got, wanted):
            raise Refused(f"{np.round(got, 4)} came back, {np.round(wanted, 4)} was wanted: sort, multiply by m, "
                          "m − 1, …, 1, take the running maximum, cut at 1, put back")  # fmt: skip


def planted_wins(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Battles of 30 dilemmas among 4 values, before and after, and bootstrap weights."""
    rng = np.random.default_rng(seed)
    before, after = np.zeros((2, 30, 4, 4))
    for d in range(30):
        a, b = rng.choice(4, 2, replace=False)
        for wins, lift in ((before, 0.0), (after, 1.5)):
            first = rng.random() < 1 / (1 + np.exp(-(0.4 * (b - a) + lift * ((a == 2) - float(b == 2)))))
            wins[d, (a if first else b), (b if first else a)] += 1
    return before, after, intervals.bootstrap_weights(np.arange(30), draws=400, seed=seed)


def middle(draws: np.ndarray, share: float = 0.6827) -> np.ndarray:
    """Bounds (2, V) of the middle share of the draws (B, V)."""
    return np.quantile(draws, [(1 - share) / 2, (1 + share) / 2], axis=0)


def around(centre: np.ndarray, draws: np.ndarray, z: float = Z95) -> np.ndarray:
    """Bounds (2, V) at z standard deviations, each half the width of the middle of the draws."""
    return centre + np.outer([-z / 2, z / 2], np.ptp(middle(draws), axis=0))


@exercise("10.7", reference=dilemmas.strength_change)
def strength_change(f: Callable) -> None:
    from valuelab.measure.ranking import strengths

    for seed in SEEDS:
        before, after, w = planted_wins(seed)
        got = f(before, after, w)
        if not isinstance(got, tuple | list | np.ndarray) or len(got) != 3:
            raise Refused("three things were wanted: return change, low, high")
        shapes = [np.shape(x) for x in got]
        if shapes != [(4,)] * 3:
            raise Refused(f"shapes {shapes}: one number for each value was wanted, three times")
        got = np.asarray(got, float)

        def theta(wins, weights=None):
            return strengths(wins.sum(0) if weights is None else np.tensordot(weights, wins, 1))

        change = theta(after) - theta(before)
        ranks = [(-theta(x)).argsort().argsort() for x in (before, after)]
        for wrong, message in (
            (-change, "sign flipped: a value that wins more battles after must come out positive"),
            (theta(after), "this is the strength afterwards; take the one before off"),
            (ranks[0] - ranks[1], "these are ranks; strengths were asked for, which do not jump"),
            (theta(after - before + 1), "one fit of the differences: the fit is not linear, so fit both and subtract"),
        ):
            if np.allclose(got[0], wrong) and not np.allclose(wrong, change):
                raise Refused(message)
        if not np.allclose(got[0], change, atol=1e-6):
            raise Refused("`change` is off: strengths(after.sum(0)) − strengths(before.sum(0))")
        drawn = {"before": theta(before, w), "after": theta(after, w)}
        draws = drawn["after"] - drawn["before"]
        shuffled = drawn["after"] - np.roll(drawn["before"], 1, 0)
        fixed = drawn["after"] - theta(before)
        bounds, sd = around(change, draws), draws.std(0, ddof=1)
        digits = 0.02 * np.ptp(bounds, axis=0)  # 0.68 for 0.6827, or 2 for 1.96, are no mistakes
        for wrong, message in (
            (around(change, shuffled), "not paired: draw b of the dilemmas must be used for before and after alike"),
            (around(change, fixed), "only `after` was drawn again: the strengths before are uncertain, too"),
            (middle(draws, 0.95), "these are percentiles of 2.5 and 97.5: draws that leave a value no loss fly off and "
             "take them along. Take the middle of the draws, level=0.6827, and 1.96 times half its width"),
            (change + np.outer([-1.96, 1.96], sd), "a standard deviation counts draws that fly off, too: read it from "
             "the middle of the draws, half the width of level=0.6827"),
            (middle(draws), "the middle 68 % of the draws reach one standard deviation to either side; 95 % take 1.96"),
            (around(change, draws, 2 * Z95), "twice too wide: the middle of the draws is two standard deviations wide"),
            (around(change, draws, 1.644854), "these are 90 % bounds: 1.96 belongs to 95 %, 1.64 to 90 %"),
            (around(middle(draws).mean(0), draws), "centred on the draws: the interval lies around the change itself"),
            (middle(draws, 1), "these are the smallest and the largest draw; take the middle of them"),
        ):  # fmt: skip
            if (np.abs(got[1:] - wrong) <= digits / 20).all() and (np.abs(wrong - bounds) > digits).any():
                raise Refused(message)
        if (np.abs(got[1:] - bounds) > digits).any():
            raise Refused("the bounds are off: fit each draw before and after, subtract, take interval_of_draws with "
                          "level=0.6827; from the change, 1.96 times half its width to either side")  # fmt: skip


@exercise("10.8", reference=metrics.harmonic_summary)
def harmonic_summary(f: Callable) -> None:
    for parts in ([0.9, 0.5, 0.2], [0.8, 0.8, 0.35, 0.6]):
        x = np.array(parts)
        diagnose(
            as_number(f(parts), "one number from 0 to 1"),
            len(x) / (1 / x).sum(),
            [
                (x.mean(), "this is the plain mean: a model that fails in one part can buy it back in another"),
                (x.prod() ** (1 / len(x)), "this is the geometric mean; the harmonic one is the reciprocal of the "
                 "mean of reciprocals"),
                (x.min(), "this is the worst part; the harmonic mean lies near it, but rewards the others, too"),
                (1 / (1 / x).sum(), "the number of parts is missing: equal parts of 0.5 must give 0.5"),
                ((1 / x).mean(), "upside down: take the reciprocal of the mean of reciprocals"),
                (x.prod(), "this is the product, which falls with every further part, even with good ones"),
            ],
            "It is k / (1/s₁ + … + 1/s_k).",
        )  # fmt: skip
    try:
        zero = as_number(f([0.9, 0.0, 0.8]), "0 where a part is 0")
    except ZeroDivisionError:
        raise Refused("a part of 0 divides by zero: return 0 there, for what fails in one part fails") from None
    if zero != 0 or math.isnan(zero):
        raise Refused(f"{zero} came back although one part is 0: what fails in one part fails, so 0")
    for bad in ([], [0.5, 1.2], [-0.1, 0.5]):
        try:
            got = f(bad)
        except ValueError:
            continue
        except ZeroDivisionError:
            got = "a division by zero"
        raise Refused(f"{bad} gave {got}: raise a ValueError unless there are scores, all from 0 to 1")
