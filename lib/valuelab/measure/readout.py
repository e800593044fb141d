"""Ask a language model: forced choices in both orders, ratings, likely replies, free replies.

Each readout returns recorded numbers (masses, ratings, log-probabilities, judgements) together with
its summary; the estimators work on such arrays and never see a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from valuelab import models
from valuelab.measure.forced import ForcedChoice, summarise_orders
from valuelab.measure.scoring import score_choices
from valuelab.models import LM

__all__ = [
    "Forced",
    "Judgement",
    "Likert",
    "TwoChoice",
    "forced_choice",
    "free_replies",
    "lettered",
    "likert",
    "planted_choice",
    "reply_log_probs",
]


@dataclass(frozen=True)
class TwoChoice:
    """One question about contents A and B, asked in both orders.

    prompts: (order 0, order 1); order 0 names A first. a, b: for each order, the wordings that
    count as taking A, or B (written as they follow the prompt). context_id: the cluster. value:
    what A stands for, where it stands for one.
    """

    prompts: tuple[str, str]
    a: tuple[tuple[str, ...], tuple[str, ...]]
    b: tuple[tuple[str, ...], tuple[str, ...]]
    context_id: str
    value: str | None = None


@dataclass(frozen=True)
class Forced:
    """mass (n, 2, 2): probability of [item, order, content]; refusal (n, 2); summary."""

    mass: np.ndarray
    refusal: np.ndarray
    summary: ForcedChoice

    @property
    def share_a(self) -> np.ndarray:
        """(n, 2) P(A) among the valid mass in each order; nan where there is none."""
        total = self.mass.sum(2)
        return np.divide(
            self.mass[:, :, 0], total, out=np.full(total.shape, math.nan), where=total > 0
        )


def lettered(
    lm: LM,
    question: str,
    a: str,
    b: str,
    *,
    context_id: str,
    value: str | None = None,
    system: str | None = None,
    instruction: str = "Answer with A or B only.",
    letters: tuple[str, str] = ("A", "B"),
    lead: str = "",
) -> TwoChoice:
    """Question with lettered options, for instruction-tuned models.

    The letters stay with the slots, so that content A carries the second letter in order 1. `lead`
    is put before the letter in the continuation (" " for tokenizers that want a space).
    """

    def ask(x: str, y: str) -> str:
        text = f"{question}\n{letters[0]}. {x}\n{letters[1]}. {y}\n{instruction}"
        return models.chat(lm, text, system=system)

    first, second = ((f"{lead}{letter}",) for letter in letters)
    return TwoChoice((ask(a, b), ask(b, a)), (first, second), (second, first), context_id, value)


def planted_choice(
    lm: LM,
    situation,
    *,
    system: str | None = None,
    opening: str = " I would",
    frames: Sequence[str] = (" {b}.",),
) -> TwoChoice:
    """A situation of the planted world as a TwoChoice; A is its first course of action.

    opening: how the reply is made to begin. With the whole reply open use opening="" and the
    frames of the grammar, for instance (" I would {b}.", " I will {b}."): their masses add up.
    """
    from valuelab.world import swap

    turned = swap(situation)
    prompts = tuple(models.chat(lm, s.text, system=system) + opening for s in (situation, turned))
    a, b = (tuple(f.format(b=x.base) for f in frames) for x in situation.offered)
    return TwoChoice(prompts, (a, a), (b, b), situation.context_id, situation.first.value)


def forced_choice(
    lm: LM,
    items: Sequence[TwoChoice],
    *,
    refusals: Sequence[str] = (),
    batch_size: int = 64,
    shared: bool = True,
) -> Forced:
    """Probability mass of each choice of each item in both orders.

    The wordings of one choice add up; so do those in `refusals`. What is left over is invalid. A
    refusal or an invalid answer is an outcome of its own and never becomes a choice.
    """
    if not items:
        empty = np.zeros((0, 2, 2))
        return Forced(empty, np.zeros((0, 2)), summarise_orders(empty))
    prompts = [item.prompts[o] for item in items for o in (0, 1)]
    choices = [[*item.a[o], *item.b[o], *refusals] for item in items for o in (0, 1)]
    scores = score_choices(lm, prompts, choices, batch_size=batch_size, shared=shared).log_prob
    mass, refusal = np.zeros((len(items), 2, 2)), np.zeros((len(items), 2))
    for row, lp in enumerate(scores):
        i, o = divmod(row, 2)
        cut = len(items[i].a[o]), len(items[i].a[o]) + len(items[i].b[o])
        p = np.exp(lp)
        mass[i, o] = p[: cut[0]].sum(), p[cut[0] : cut[1]].sum()
        refusal[i, o] = p[cut[1] :].sum()
    clusters = [item.context_id for item in items]
    return Forced(mass, refusal, summarise_orders(mass, clusters, refusal=refusal))


@dataclass(frozen=True)
class Likert:
    """rating (n,): expected point among the valid mass, nan where there is none; distribution
    (n, k) of valid mass; valid (n,) mass on any point. outcome: "ok" or why nothing shows."""

    rating: np.ndarray
    distribution: np.ndarray
    valid: np.ndarray
    outcome: str = "ok"


def likert(
    lm: LM,
    prompts: Sequence[str],
    points: Sequence[str] = ("1", "2", "3", "4", "5", "6"),
    *,
    numbers: Sequence[float] | None = None,
    fewest_mass: float = 1e-30,
    batch_size: int = 64,
) -> Likert:
    """Expected rating from the mass on each point of a scale.

    points: the answers as they follow the prompt (any wording, not only digits); numbers: what each
    is worth, default 1..k. Ask once with the scale turned round, too, and average: the mean of the
    two is free of a liking for late or high-numbered points.
    """
    worth = np.arange(1, len(points) + 1) if numbers is None else np.asarray(numbers, float)
    if len(worth) != len(points):
        raise ValueError(f"likert: {len(points)} points but {len(worth)} numbers.")
    lp = score_choices(lm, prompts, [list(points)] * len(prompts), batch_size=batch_size).log_prob
    mass = np.exp(np.array(lp)) if len(prompts) else np.zeros((0, len(points)))
    valid = mass.sum(1)
    ok = valid > fewest_mass
    share = np.divide(mass, valid[:, None], out=np.zeros_like(mass), where=ok[:, None])
    rating = np.where(ok, share @ worth, math.nan)
    if not ok.any():
        outcome = "no valid answer: the model put no mass on any point of the scale"
    elif ok.sum() > 1 and np.ptp(rating[ok]) < 1e-9:
        outcome = "flat: every item got the same rating"
    else:
        outcome = "ok"
    return Likert(rating, share, valid, outcome)


def reply_log_probs(
    lm: LM, prompts: Sequence[str], replies: Sequence[Sequence[str]], *, batch_size: int = 64
) -> list[np.ndarray]:
    """Length-normalised log-probability of each reply to each prompt, nats per token."""
    return score_choices(lm, prompts, replies, batch_size=batch_size).per_token()


@dataclass(frozen=True)
class Judgement:
    """What a judge made of one reply: stance (one of stance.OUTCOMES) and expressed value signs."""

    outcome: str
    expressed: dict[str, int]
    score: float | None = None


def free_replies(
    lm: LM,
    prompts: Sequence[str],
    judge: Callable[[str, int], Judgement],
    *,
    samples: int = 1,
    max_new_tokens: int = 60,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> tuple[list[str], list[Judgement]]:
    """Sample replies and have each judged. Prompt i's samples are rows i*samples ... of both lists.

    judge(reply, i) sees the reply and the number of its prompt (see judges.py).
    """
    repeated = [p for p in prompts for _ in range(samples)]
    replies = models.generate(
        lm,
        repeated,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
    )
    return replies, [judge(r, k // samples) for k, r in enumerate(replies)]
