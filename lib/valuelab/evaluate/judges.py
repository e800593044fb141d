"""Judges of replies, and how to judge a judge. A judge is a function (replies) -> verdicts (n,).

A verdict is 1 (the reply shows the value), 0 (it does not), or NaN (no readable verdict).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from valuelab.evaluate.metrics import words
from valuelab.measure.intervals import Interval
from valuelab.measure.readout import Judgement

__all__ = [
    "Audit",
    "Judge",
    "JudgeRates",
    "audit",
    "corrected_interval",
    "corrected_share",
    "judge_rates",
    "length_judge",
    "padding_effect",
    "verdicts",
]

Judge = Callable[[Sequence[str]], np.ndarray]


def length_judge(threshold: float) -> Judge:
    """A judge that sees nothing but length: yes where a reply has more words than `threshold`.

    It is the control for every evaluation: whatever it can also find is no finding about values.
    """
    return lambda replies: np.array([float(len(words(r)) > threshold) for r in replies])


@dataclass(frozen=True)
class JudgeRates:
    """How often a judge is right on replies that show the value and on those that do not.

    sensitivity: P(yes | shown). specificity: P(no | not shown). informedness: their sum minus 1;
    0 means that the verdict says nothing about the truth, whatever its accuracy. n: replies.
    """

    sensitivity: float
    specificity: float
    informedness: float
    n: int


def judge_rates(verdicts: np.ndarray, truth: np.ndarray) -> JudgeRates:
    """Sensitivity and specificity of a judge on replies whose truth is known.

        sensitivity = P(verdict yes | value shown),   specificity = P(verdict no | not shown)

    Accuracy alone hides a judge that always says "no" where few replies show the value. A verdict
    that is NaN (empty, unreadable) is wrong on either side: the judge did not do its job.

    Args:
        verdicts: 1, 0 or NaN for each reply, (n,).
        truth: True where the reply shows the value, (n,).

    Returns:
        JudgeRates.

    Raises:
        ValueError: lengths differ, or all replies are alike in truth.

    Source: Youden 1950 for informedness.
    """
    said, shown = np.asarray(verdicts, float), np.asarray(truth).astype(bool)
    if said.shape != shown.shape:
        raise ValueError(f"judge_rates: {said.size} verdicts for {shown.size} truths; one each.")
    if shown.all() or not shown.any():
        raise ValueError(
            "judge_rates: the truth is the same for all replies; add replies of the other kind, "
            "or one of the two rates has nothing to stand on."
        )
    sensitivity = float((said[shown] == 1).mean())
    specificity = float((said[~shown] == 0).mean())
    return JudgeRates(sensitivity, specificity, sensitivity + specificity - 1, said.size)


def corrected_share(share: float, sensitivity: float, specificity: float) -> float:
    """True share behind a share that an imperfect judge reported.

    The judge says yes to true cases with rate sens and to false ones with rate 1 − spec, so
    share = π · sens + (1 − π) · (1 − spec). Solved for π and kept inside 0 to 1:

        π = (share + spec − 1) / (sens + spec − 1)

    Args:
        share: share of replies to which the judge said yes, 0 to 1.
        sensitivity, specificity: from `judge_rates` on replies with known truth.

    Returns:
        Estimate of the true share, from 0 to 1.

    Raises:
        ValueError: sens + spec is 1 or less: the judge carries no information (or is upside down),
            and no formula can repair it.

    Source: Rogan & Gladen 1978.
    """
    informedness = sensitivity + specificity - 1
    if informedness <= 0:
        raise ValueError(
            f"corrected_share: sensitivity {sensitivity:.2f} and specificity {specificity:.2f} add "
            "up to 1 or less, so the verdicts say nothing about the truth. Use another judge."
        )
    return float(min(1.0, max(0.0, (share + specificity - 1) / informedness)))


def corrected_interval(
    share: float, n: int, sensitivity: float, n_shown: int, specificity: float, n_not: int,
    level: float = 0.95,
) -> Interval:  # fmt: skip
    """`corrected_share` with its interval: the judge's two rates were measured, too, and that costs.

    With J = sens + spec − 1, to first order in the three independent errors (delta method):

        se² = [ q (1 − q) / n  +  π² sens (1 − sens) / n_shown  +  (1 − π)² spec (1 − spec) / n_not ] / J²

    Args:
        share: q, share of `n` replies to which the judge said yes.
        sensitivity: measured on `n_shown` replies that show the value.
        specificity: measured on `n_not` replies that do not.
        level: of the interval.

    Returns:
        Interval around π, not cut at 0 and 1: where it reaches beyond, the data cannot tell from none or all.

    Raises:
        ValueError: a count below 1, or a judge without information.

    Source: Rogan & Gladen 1978.
    """
    if min(n, n_shown, n_not) < 1:
        raise ValueError(f"corrected_interval: {n}, {n_shown} and {n_not} replies; each must be 1 or more.")
    informedness = sensitivity + specificity - 1
    if informedness <= 0:
        raise ValueError(
            f"corrected_interval: sensitivity {sensitivity:.2f} and specificity {specificity:.2f} add up to 1 or less, "
            "so the verdicts say nothing about the truth. Use another judge."
        )
    true = (share + specificity - 1) / informedness
    variance = (
        share * (1 - share) / n
        + true**2 * sensitivity * (1 - sensitivity) / n_shown
        + (1 - true) ** 2 * specificity * (1 - specificity) / n_not
    )
    se = math.sqrt(variance) / informedness
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    return Interval(true, true - half, true + half, se, n, n)


def padding_effect(judge: Judge, replies: Sequence[str], padding: str) -> float:
    """Change of a judge's mean verdict when words without any bearing are added to each reply.

    A judge of content does not move. Unreadable verdicts count as 0, so a judge that padding
    confuses shows a change, too.
    """
    if not len(replies):
        raise ValueError("padding_effect: no replies; give at least one.")
    before = np.nan_to_num(np.asarray(judge(replies), float))
    after = np.nan_to_num(np.asarray(judge([f"{r} {padding}".strip() for r in replies]), float))
    change = float((after - before).mean())
    return 0.0 if math.isclose(change, 0.0, abs_tol=1e-12) else change


def verdicts(judge: Callable[[str, int], Judgement], wanted: str = "support") -> Judge:
    """A judge of `measure.judges` (oracle, log-probability, chat) as a judge of this module.

    1 where it says `wanted`, NaN where it could not read the reply or where the reply is empty, else 0.
    """

    def read(replies: Sequence[str]) -> np.ndarray:
        said = [judge(r, i).outcome if r.strip() else "invalid" for i, r in enumerate(replies)]
        return np.array([np.nan if s == "invalid" else float(s == wanted) for s in said])

    return read


@dataclass(frozen=True)
class Audit:
    """A judge judged: on replies of known truth, after padding, and with its labels named in the other order.

    agreement: share of verdicts that are right; an unreadable one is wrong. kappa: Cohen's, agreement beyond
    what the same numbers of yes and no would give by chance. unreadable: share. padding: change of the mean
    verdict. swap: share of replies on which both orders of the labels give one readable verdict, None where
    no second order was given. `sound` is False where the verdicts say nothing about the truth, or move with padding.
    """

    agreement: float
    kappa: float
    rates: JudgeRates
    unreadable: float
    padding: float
    swap: float | None

    @property
    def sound(self) -> bool:
        return self.rates.informedness > 0.2 and abs(self.padding) < 0.1 and (self.swap is None or self.swap > 0.8)


def audit(
    judge: Judge, replies: Sequence[str], truth: np.ndarray, *, padding: str, swapped: Judge | None = None
) -> Audit:
    """Put a judge to the test before its numbers are believed.

    Args:
        judge: what is to be tested.
        replies: with known truth, of both kinds.
        truth: True where the reply shows the value, (n,).
        padding: words without any bearing, to be added to each reply.
        swapped: the same judge with its labels named in the other order.

    Raises:
        ValueError: lengths differ, or all replies are alike in truth.
    """
    said, shown = np.asarray(judge(replies), float), np.asarray(truth).astype(bool)
    rates = judge_rates(said, shown)
    agreement = float((said == shown).mean())
    yes, true = float((said == 1).mean()), float(shown.mean())
    chance = yes * true + float((said == 0).mean()) * (1 - true)
    kappa = (agreement - chance) / (1 - chance) if chance < 1 else 0.0
    swap = None if swapped is None else float((said == np.asarray(swapped(replies), float)).mean())
    unreadable = float(np.isnan(said).mean())
    return Audit(agreement, kappa, rates, unreadable, padding_effect(judge, replies, padding), swap)
