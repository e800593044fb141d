"""Comparisons to learn rewards from: of the planted world (noise known), or of any dataset.

In the planted world two replies to one question are judged by their gold reward for a value, read
by the oracle, and the judge errs as Bradley and Terry assume:

    P(a preferred to b) = sigmoid(sharpness · (gold(a) - gold(b)))

so the best accuracy anyone can reach on such labels (the Bayes rate) is known exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from valuelab.values import VALUES, resolve
from valuelab.world import Situation, draw_profiles, parse, situations
from valuelab.world.corpus import Speaker, Switches

if TYPE_CHECKING:  # importing the tables of `datasets` takes seconds, and only a name is needed
    from valuelab.data.record import Record

__all__ = [
    "Comparison",
    "bayes_rate",
    "course_comparisons",
    "dialogue",
    "from_records",
    "gold_reward",
    "rejudge",
    "shuffled",
    "world_comparisons",
]


@dataclass(frozen=True)
class Comparison:
    """Two replies to one prompt, the first preferred.

    Attributes:
        prompt: the user's text without chat template, or a transcript as `dialogue` reads it.
        chosen: the reply preferred.
        rejected: the other.
        head: which reward it speaks about, e.g. a value.
        margin: by how much it was preferred, 0 where unknown; the pair loss can use it.
        p: probability with which this judge would prefer `chosen` again, where planted; else NaN.
        context_id: what comparisons share; split by it.
    """

    prompt: str
    chosen: str
    rejected: str
    head: str = ""
    margin: float = 0.0
    p: float = math.nan
    context_id: str = ""

    def flipped(self) -> Comparison:
        return replace(self, chosen=self.rejected, rejected=self.chosen, p=1 - self.p)


def gold_reward(reply: str, situation: Situation, value: str) -> float:
    """Planted reward of a reply for one value: what it chooses and what it says.

    (weight of the chosen activity on the value - weight of the other) + 1, 0 or -1 for the stance
    expressed. Incoherent replies get -2, replies without a choice only their stance.
    """
    said = parse(reply, situation.offered)
    if not said.coherent:
        return -2.0
    v = VALUES.index(resolve(value))
    gold = float(said.expressed.get(VALUES[v], 0))
    if said.choice is not None:
        first, second = situation.offered
        other = second if said.choice == first else first
        gold += said.choice.weights[v] - other.weights[v]
    return gold


def world_comparisons(
    value: str,
    n: int,
    seed: int = 0,
    split: str = "train",
    sharpness: float = 2.0,
    length_bias: float = 0.0,
) -> list[Comparison]:
    """Noisy comparisons about one value, drawn from the planted world.

    Each question offers exactly one course of action for the value; both replies are written by
    speakers drawn from the population, so that they differ in choice, stance and length.

    Args:
        value: one of the ten values; becomes `head`.
        n: number of comparisons.
        seed: of questions, speakers and the judge's noise.
        split: "train", "held_out" or "new_activities", as in `world.situations`.
        sharpness: of the judge, per unit of gold.
        length_bias: log-odds the judge gives to each word a reply is longer: a fooled judge.

    Raises:
        ValueError: unknown value or split.
    """
    value = resolve(value)
    rng = np.random.default_rng([seed, VALUES.index(value), 41])
    asked = situations(split, n, seed, value=value)
    profiles = draw_profiles(2 * n, rng)
    out = []
    for i, s in enumerate(asked):
        a, b = (
            Speaker(profile, Switches()).reply(s.first, s.second, s.stakes, rng)
            for profile in profiles[2 * i : 2 * i + 2]
        )
        gap = sharpness * (gold_reward(a, s, value) - gold_reward(b, s, value))
        gap += length_bias * (len(a.split()) - len(b.split()))
        p = 1 / (1 + math.exp(-gap))
        comparison = Comparison(s.text, a, b, value, abs(gap), p, s.context_id)
        out.append(comparison if rng.random() < p else comparison.flipped())
    return out


def bayes_rate(comparisons: Sequence[Comparison]) -> float:
    """Best expected accuracy on these noisy labels: mean of max(p, 1 - p).

    Raises:
        ValueError: a comparison does not come with its planted probability.
    """
    p = np.array([c.p for c in comparisons])
    if np.isnan(p).any() or len(p) == 0:
        raise ValueError("bayes_rate: only comparisons with a planted probability p have one.")
    return float(np.maximum(p, 1 - p).mean())


def shuffled(comparisons: Sequence[Comparison], seed: int = 0) -> list[Comparison]:
    """The control: every preference decided by a coin instead of by the judge."""
    coin = np.random.default_rng(seed).random(len(comparisons)) < 0.5
    return [c.flipped() if heads else c for c, heads in zip(comparisons, coin, strict=True)]


def rejudge(
    comparisons: Sequence[Comparison], length_bias: float, seed: int = 0
) -> tuple[list[Comparison], np.ndarray]:
    """The same pairs before a judge who also likes length: (comparisons, signs).

    `length_bias` is the log-odds each further word earns. signs is (n,), -1 where the winner
    changed, so that features need not be read again: z_new = signs * z. With bias 0 the same
    judge decides once more, with fresh noise.

    Raises:
        ValueError: a comparison does not come with its planted probability.
    """
    p = np.array([c.p for c in comparisons])
    if np.isnan(p).any():
        raise ValueError("rejudge: only comparisons with a planted probability can be rejudged.")
    longer = np.array([len(c.chosen.split()) - len(c.rejected.split()) for c in comparisons])
    p = 1 / (1 + np.exp(-(np.log(p) - np.log1p(-p) + length_bias * longer)))
    signs = np.where(np.random.default_rng(seed).random(len(p)) < p, 1, -1)
    new = [replace(c, p=float(q)) for c, q in zip(comparisons, p, strict=True)]
    return [c if s > 0 else c.flipped() for c, s in zip(new, signs, strict=True)], signs


_OPENING = re.compile(r"\n\n(Human|Assistant):")


def dialogue(prompt: str) -> tuple[str, list[dict[str, str]]]:
    """Last user message of a published transcript, and the turns before it as messages.

    Reads the form of HH-RLHF, "\\n\\nHuman: ... \\n\\nAssistant:", which ends where the reply starts;
    turns of one side in a row are joined. Any other text is one user message.
    """
    opening, *parts = _OPENING.split(prompt)
    if opening or len(parts) < 4 or parts[-2:] != ["Assistant", ""]:
        return prompt, []
    messages: list[dict[str, str]] = []
    for side, said in zip(parts[:-2:2], parts[1:-2:2], strict=True):
        role = {"Human": "user", "Assistant": "assistant"}[side]
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n\n" + said.strip()
        else:
            messages.append({"role": role, "content": said.strip()})
    if messages[0]["role"] != "user" or messages[-1]["role"] != "user":
        return prompt, []
    return messages.pop()["content"], messages


def course_comparisons(split: str | None = None) -> list[Comparison]:
    """The course's own preference pairs with a head for each attribute; ties are left out.

    Args:
        split: "train", "dev", "test", or None for all.
    """
    from valuelab.data import own

    out = []
    for p in own.preferences(split):
        for attribute in ("considerateness", "helpfulness"):
            c = Comparison(p.prompt, p.response_a, p.response_b, attribute, context_id=p.context_id)
            if (better := p.better(attribute)) != "tie":
                out.append(c if better == "a" else c.flipped())
    return out


def from_records(records: Iterable[Record], head: str = "") -> list[Comparison]:
    """Comparisons from the course's records: `response` is what was chosen among `choices`.

    Takes the preference data among the public datasets as they are: hh_rlhf, progressgym,
    constitutional_harmlessness (where options are letters, pass `head` to tell them apart), ethics
    (utilitarianism). Records whose response is not one of exactly two choices are left out; ask
    `len(...)` before and after.
    """
    out = []
    for r in records:
        if len(r.choices) == 2 and r.response in r.choices and len(set(r.choices)) == 2:
            rejected = r.choices[1] if r.response == r.choices[0] else r.choices[0]
            name = head or r.value
            out.append(Comparison(r.prompt, r.response, rejected, name, context_id=r.context_id))
    return out
