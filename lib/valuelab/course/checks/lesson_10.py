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
from valuelab.evaluate import judges, metrics
from valuelab.measure.intervals import Interval

SEEDS = (0, 1)


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
