"""Every way to align a model behind one small interface: questions in, replies out.

A method is a function (kit, sign) -> Aligned. The kit is one model and one value, with what several methods
share (directions, a reward, a task vector), made once and timed. `sign` is the pole: +1 asks for the value, -1
against it. The protocol in `table` sees nothing of an Aligned but `answer`.

    METHODS["instruction"](Kit(lm, "security"), +1).answer(["Would you rather lock the gate or …?"])

The training texts, situations and judges are those of the planted world, so a kit needs the embedded model.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab import models, probes, weights
from valuelab import world as W
from valuelab.activations import capture
from valuelab.evaluate import planted
from valuelab.evaluate.bench import PlantedBench
from valuelab.evaluate.chain import CAP, STRENGTHS, TARGETS, Reader, layers_to_try
from valuelab.evaluate.push import random_push
from valuelab.models import LM
from valuelab.probes import Probe
from valuelab.rewards.preferences import world_comparisons
from valuelab.rewards.reward_model import LinearReward, fit_linear_reward, pair_features
from valuelab.rlhf.loop import Config, train
from valuelab.steering import Gate, Shift, add, distil, level_probe, steer
from valuelab.values import VALUES, index
from valuelab.weights import TuneConfig
from valuelab.world import grammar

__all__ = ["Aligned", "Budget", "Kit", "METHODS", "rank_rules"]

LEVEL = 2.5  # where a persona line puts a value; voices that hold it low stand at minus that
CEILING = 0.8  # level that joint steering lets the neighbours reach; a persona line for them stands at 0.95
SCALES = (0.125, 0.25, 0.5, 1.0)  # of the preference vector; one half is as strong as plain DPO
GRAMMAR = 0.05  # loss of grammatical replies that a setting may cost
Turns = tuple[str | None, list]  # system line, earlier turns
Pick = Callable[[Sequence[str], list[list[str]]], list[int]]


@dataclass(frozen=True)
class Budget:
    """What a method may spend on one value. The defaults keep the whole table within half an hour on two cores.

    Attributes:
        situations: on which layer and strength are chosen; layers: how many of them are tried.
        texts: training replies, and comparisons, each.
        steps: of fine-tuning; dpo_steps: of each of the two DPO runs; rl_steps: of reinforcement learning;
            distil_steps: of learning vectors.
        rank: of the low-rank adapter.
        draws: replies to choose among, best-of-n.
        rehearsals: replies to choose among in self-rehearsal.
        shots: answered questions shown; rules: retrieved for each question; policy: sentences of the policy.
    """

    situations: int = 24
    layers: int = 6
    texts: int = 256
    steps: int = 24
    dpo_steps: int = 16
    rl_steps: int = 12
    distil_steps: int = 60
    rank: int = 4
    draws: int = 8
    rehearsals: int = 4
    shots: int = 2
    rules: int = 2
    policy: int = 6


@dataclass
class Aligned:
    """A model made to serve a value, or not to. What the protocol sees of it is `answer`.

    Attributes:
        lm: the model that speaks.
        turns: system line and earlier turns for a question.
        hooks: context under which it speaks.
        draws: replies drawn for each question, of which `pick` says one.
        held: bytes kept beside the unaligned model.
        seconds: spent on making it, shared parts included.
    """

    lm: LM
    turns: Callable[[str], Turns] = lambda question: (None, [])
    hooks: Callable[[], AbstractContextManager] = nullcontext
    draws: int = 1
    pick: Pick | None = None
    held: int = 0
    seconds: float = 0.0

    def prompt(self, question: str, demand: str = "") -> str:
        """The chat, with `demand` as the last word of the system line."""
        line, history = self.turns(question)
        return models.chat(self.lm, question, " ".join(filter(None, (line, demand))) or None, history)

    def answer(
        self, questions: Sequence[str], demands: Sequence[str] | None = None, *, tokens: int = 40,
        temperature: float = 1.0, seed: int = 0,
    ) -> list[str]:  # fmt: skip
        """One reply to each question.

        Args:
            questions: what the user says.
            demands: a system line against the method's own aim for each question; "" for none.
            tokens: longest reply.
            temperature: 0 takes the likeliest token; then there is nothing to choose among, and one reply is drawn.
            seed: of the sampling. Reply i depends on the seed, on i and on its own prompt alone.
        """
        asked = [self.prompt(q, d) for q, d in zip(questions, demands or [""] * len(questions), strict=True)]
        options = {"max_new_tokens": tokens, "temperature": temperature, "batch_size": 256}
        draws = self.draws if temperature > 0 else 1
        with self.hooks():
            drawn = [models.generate(self.lm, asked, seed=seed + 1000 * k, **options) for k in range(draws)]
        if draws == 1:
            return drawn[0]
        rows = [list(r) for r in zip(*drawn, strict=True)]
        return [row[k] for row, k in zip(rows, self.pick(questions, rows), strict=True)]


@dataclass
class Kit:
    """One model, one value, and what its methods share: each part is made when first asked for, and timed."""

    lm: LM
    value: str
    seed: int = 0
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self):
        if not self.lm.embedded:
            raise ValueError(
                f"Kit: {self.lm.name} is not the embedded model, whose world the methods learn from. For another "
                "model use `python -m valuelab report`."
            )
        index(self.value)
        self.made: dict[str, object] = {}
        self.seconds: dict[str, float] = {}
        self.needs: dict[str, set[str]] = {}
        self.used: set[str] = set()

    def part(self, name: str, make: Callable):
        """What `make()` returns, made once; its seconds without those of the parts it needs itself."""
        if name not in self.made:
            outer, self.used = self.used, set()
            before, start = sum(self.seconds.values()), time.perf_counter()
            self.made[name] = make()
            inside = sum(self.seconds.values()) - before
            self.seconds[name] = time.perf_counter() - start - inside
            self.needs[name], self.used = self.used | {name}, outer
        self.used |= self.needs[name]
        return self.made[name]

    def build(self, method: str, sign: int) -> Aligned:
        """The method made for a pole, with the seconds that it took, whoever asked for its parts first."""
        if sign not in (1, -1):
            raise ValueError(f"Kit: sign={sign}; +1 asks for {self.value}, -1 against it.")
        self.used = set()
        made = self.part(f"{method} {sign:+d}", lambda: METHODS[method](self, sign))
        return replace(made, seconds=sum(self.seconds[p] for p in self.used))

    def rng(self, salt: int, question: str = "") -> np.random.Generator:
        """Chance that depends on the kit, the method (`salt`) and the question, and on no other question."""
        return np.random.default_rng([self.seed, index(self.value), salt, zlib.crc32(question.encode())])

    # ------------------------------------------------------------------------ shared parts

    @property
    def bench(self) -> PlantedBench:
        """Quick forced choices on situations of the training kind, to choose layer and strength by."""
        return self.part("bench", lambda: PlantedBench(self.lm, items=5 * self.budget.situations, seed=self.seed))

    def layers(self) -> list[int]:
        return layers_to_try(self.lm.n_layers, self.budget.layers)

    def best(self, settings: dict[Any, AbstractContextManager]) -> Any:
        """The setting that raises the value most on the situations for choosing, among those that keep grammar.

        A setting under which more than `GRAMMAR` of the replies fall out of the grammar is passed over; if all do, the
        most grammatical one is taken.
        """
        grammatical, tried = self.grammatical(), {}
        for setting, hooks in settings.items():
            with hooks:
                score, form = float(self.bench.quick(self.value).score.mean()), self.grammatical()
            kept = form >= grammatical - GRAMMAR
            tried[setting] = kept, score if kept else form
        return max(tried, key=tried.get)

    def grammatical(self) -> float:
        read = planted.replies(self.lm, self.bench.situations(self.value, "choose"), seed=self.seed)
        return float(np.mean([r.grammatical for r in read]))

    def vector(self) -> Shift:
        """Mean difference at the layer and strength that were chosen."""

        def make() -> Shift:
            reader, settings = Reader(self.lm, self.bench, None), {}
            for layer in self.layers():
                v, size = reader.difference(self.value, layer), reader.length(self.value, layer)
                unit = Probe(v / v.norm(), layer=layer, value=self.value, method="mean difference")
                for s in STRENGTHS:
                    shift = Shift(unit, "add", strength=s * size)
                    settings[shift] = steer(self.lm, shift)
            return self.best(settings)

        return self.part("vector", make)

    def levels(self) -> dict[int, dict[str, Probe]]:
        """The level probes of the value and its two neighbours, along their mean differences, by layer.

        Layers where a level cannot be read are left out.

        Raises:
            ValueError: it can be read at none.
        """

        def make() -> dict[int, dict[str, Probe]]:
            asked, found = W.situations("train", 40, 1000 + self.seed), {layer: {} for layer in self.layers()}
            for value in (self.value, *neighbours(self.value)):
                lines = planted.persona_pairs(value, len(asked), self.seed)
                high, low = (
                    capture(self.lm, [models.chat(self.lm, s.text, system=x[k]) + " I would"
                                      for s, x in zip(asked, lines, strict=True)])
                    for k in (0, 1)
                )  # fmt: skip
                for layer in list(found):
                    direction = self.bench.directions()[index(value), layer]
                    try:
                        found[layer][value] = level_probe(
                            low[layer], high[layer], layer=layer, value=value, direction=direction
                        )
                    except ValueError:  # the persona line has not reached this place by this layer
                        del found[layer]
            if not found:
                raise ValueError(
                    f"levels: at no layer do persona lines for {self.value} and its neighbours put the states above "
                    "those against them, so a minimal shift has no level to go to. Use another method for this model."
                )
            return found

        return self.part("levels", make)

    def target(self, with_neighbours: bool) -> tuple[int, float]:
        """Layer and probability of the minimal shift that were chosen, for the value alone or with its neighbours."""

        def make() -> tuple[int, float]:
            levels = self.levels()
            return self.best({
                (k, p): steer(self.lm, minimal_shifts(levels[k], self.value, 1, p, with_neighbours), cap=CAP)
                for k in levels for p in TARGETS
            })  # fmt: skip

        return self.part("joint target" if with_neighbours else "target", make)

    def gate(self) -> Gate:
        """Opens for questions that ask for a choice and stays shut for facts, read after the first block."""

        def make() -> Gate:
            n = 60
            texts = [models.chat(self.lm, s.text) for s in W.situations("train", n, 7)]
            texts += [models.chat(self.lm, q) for q, _ in W.facts(n, 7)]
            probe = probes.logistic(capture(self.lm, texts, 0)[0], torch.arange(2 * n) < n)
            return Gate(probe.with_(layer=0), 0.5)

        return self.part("gate", make)

    def comparisons(self) -> list:
        return self.part(
            "comparisons", lambda: world_comparisons(self.value, self.budget.texts, seed=self.seed)
        )

    def reward(self, sign: int) -> Callable[[Sequence[str], Sequence[str]], Tensor]:
        """A linear reward on the model's own states, learnt from noisy comparisons: (questions, replies) -> (n,).

        For the pole −1 it is turned round. An empty reply is the worst for either pole.
        """

        def make() -> LinearReward:
            won, lost = pair_features(self.lm, self.comparisons())
            return fit_linear_reward(won - lost)

        head = self.part("reward", make)

        def score(questions: Sequence[str], replies: Sequence[str]) -> Tensor:
            prompts = [models.chat(self.lm, q) for q in questions]
            texts = models.as_replies(self.lm, prompts, [r or "." for r in replies])
            states = capture(self.lm, texts, position="mean", batch_size=128, prompts=prompts)
            found = sign * head(torch.cat([states[layer] for layer in sorted(states)], 1)).float()
            empty = torch.tensor([not r for r in replies])
            return torch.where(empty, found.min() - 1, found)

        return score

    def voice(self, sign: int) -> tuple[list[str], list[str]]:
        """Questions, answered by speakers who hold the value high, or low."""
        return self.part(
            f"voice {sign:+d}",
            lambda: weights.voice_replies(self.value, self.budget.texts, self.seed, level=sign * LEVEL),
        )

    def tuning(self) -> TuneConfig:
        return TuneConfig(steps=self.budget.steps, seed=self.seed)

    def rules(self, sign: int) -> list[str]:
        """Everything that the persona wordings can say for the value, or against it."""
        out = []
        for pattern in (p for p in grammar.PERSONA if p.sign == sign):
            things = grammar.NOUNS[self.value] if pattern.kind == "value" else [
                a for a in grammar.ACTIVITIES if a.value == self.value]  # fmt: skip
            out += [grammar.capital(grammar.fill(pattern.text, t)) + "." for t in things]
        return out


def neighbours(value: str) -> tuple[str, str]:
    """The values before and after it on the circle."""
    k = index(value)
    return VALUES[k - 1], VALUES[(k + 1) % len(VALUES)]


def minimal_shifts(
    levels: dict[str, Probe], value: str, sign: int, p: float, with_neighbours: bool
) -> list[Shift]:
    """The value's level to p (for the pole +1) or 1 − p; its neighbours not past `CEILING` on the same side."""
    side, target = ("at least", p) if sign > 0 else ("at most", 1 - p)
    shifts = [Shift(levels[value], "minimal", target, side)]
    if with_neighbours:
        other, edge = ("at most", CEILING) if sign > 0 else ("at least", 1 - CEILING)
        shifts += [Shift(levels[u], "minimal", edge, other) for u in neighbours(value)]
    return shifts


# -------------------------------------------------------------------------- without anything


def unsteered(kit: Kit, sign: int) -> Aligned:
    """The model as it is."""
    return Aligned(kit.lm)


# ------------------------------------------------------------------------------ in the prompt


def instruction(kit: Kit, sign: int) -> Aligned:
    """One persona line that asks for the value (or says that it means little)."""
    return Aligned(kit.lm, lambda question: (W.persona_line(kit.value, sign, kit.rng(11, question)), []))


def few_shot(kit: Kit, sign: int) -> Aligned:
    """Questions answered by someone who holds the value high (low), as earlier turns; other ones for each question."""
    shown = list(zip(*kit.voice(sign), strict=True))

    def turns(question: str) -> Turns:
        chosen = kit.rng(12, question).choice(len(shown), kit.budget.shots, replace=False)
        return None, [shown[int(k)] for k in chosen]

    return Aligned(kit.lm, turns, held=sum(len(t) for pair in shown for t in pair))


def rank_rules(question: str, rules: Sequence[str]) -> np.ndarray:
    """Rules by how many of the question's words they share, rare words counting more; best first, (rules,).

    A word that stands in n of the N rules weighs log(N / n).
    """
    bags = [set(r.lower().strip(".").split()) for r in rules]
    asked = set(question.lower().replace("?", " ").replace(".", " ").replace(",", " ").split())
    weight = {w: np.log(len(bags) / sum(w in b for b in bags)) for w in asked if any(w in b for b in bags)}
    return np.argsort([-sum(weight[w] for w in sorted(b & weight.keys())) for b in bags], kind="stable")


def rule_memory(kit: Kit, sign: int) -> Aligned:
    """The rules nearest to the question, looked up in a memory and put before it.

    Source: OPO, arXiv 2312.15907 (rules of law and morals; here, sentences about the value).
    """
    rules = kit.rules(sign)

    def turns(question: str) -> Turns:
        return " ".join(rules[k] for k in rank_rules(question, rules)[: kit.budget.rules]), []

    return Aligned(kit.lm, turns, held=sum(map(len, rules)))


def policy(kit: Kit, sign: int) -> Aligned:
    """A written policy, the same for every question: several sentences about the value."""
    rules = kit.rules(sign)
    chosen = kit.rng(13).choice(len(rules), min(kit.budget.policy, len(rules)), replace=False)
    text = " ".join(rules[int(k)] for k in chosen)
    return Aligned(kit.lm, lambda question: (text, []), held=len(text))


def self_rehearsal(kit: Kit, sign: int) -> Aligned:
    """Several replies are drawn; the model, in the role of one who holds the value, says which is most its own.

        pick = argmax over replies y of  log p(y | question, role) − log p(y | question)

    A small form of MATRIX, arXiv 2402.05699: there the model plays every role of a scene and revises its reply after
    the consequences; here it plays one role and chooses.
    """

    def pick(questions: Sequence[str], replies: list[list[str]]) -> list[int]:
        n = len(replies[0])
        plain = [models.chat(kit.lm, q) for q in questions for _ in range(n)]
        texts = models.as_replies(kit.lm, plain, [r or "." for row in replies for r in row])
        lines = [W.persona_line(kit.value, sign, kit.rng(14, q)) for q in questions]
        role = [models.chat(kit.lm, q, system=x) for q, x in zip(questions, lines, strict=True) for _ in range(n)]
        gap = models.log_probs(kit.lm, role, texts, batch_size=256) - models.log_probs(
            kit.lm, plain, texts, batch_size=256
        )
        return gap.view(-1, n).argmax(1).tolist()

    return Aligned(kit.lm, draws=kit.budget.rehearsals, pick=pick)


# ------------------------------------------------------------------------- in the hidden states


def additive(kit: Kit, sign: int) -> Aligned:
    """A fixed step along the mean difference, at every token."""
    shift = kit.vector() * sign
    return Aligned(kit.lm, hooks=lambda: steer(kit.lm, shift), held=shift.probe.weight.nbytes)


def distilled(kit: Kit, sign: int) -> Aligned:
    """A vector for every block, learnt until the model answers without a persona line as it answers with one."""
    asked = W.situations("train", kit.budget.texts, 15 + kit.seed, value=kit.value)
    lines = [pair[sign < 0] for pair in planted.persona_pairs(kit.value, len(asked), kit.seed)]
    plain = [models.chat(kit.lm, s.text) for s in asked]
    told = [models.chat(kit.lm, s.text, system=line) for s, line in zip(asked, lines, strict=True)]
    said = models.generate(kit.lm, told, max_new_tokens=40, seed=kit.seed, batch_size=256)
    replies = models.as_replies(kit.lm, told, said)
    vectors = distil(
        kit.lm, plain, told, replies, range(kit.lm.n_layers), steps=kit.budget.distil_steps, seed=kit.seed
    )
    plan = add(vectors)
    return Aligned(kit.lm, hooks=lambda: steer(kit.lm, plan), held=sum(v.nbytes for v in vectors.values()))


def gated_minimal(kit: Kit, sign: int) -> Aligned:
    """The shortest step to the level of a persona line, and only where the question asks for a choice."""
    layer, p = kit.target(False)
    shifts, gate = minimal_shifts(kit.levels()[layer], kit.value, sign, p, False), kit.gate()
    held = sum(s.probe.weight.nbytes for s in shifts) + gate.probe.weight.nbytes
    return Aligned(kit.lm, hooks=lambda: steer(kit.lm, shifts, gate=gate, cap=CAP), held=held)


def joint(kit: Kit, sign: int) -> Aligned:
    """As gated minimal, with the two neighbours on the circle held back in the same step."""
    layer, p = kit.target(True)
    shifts, gate = minimal_shifts(kit.levels()[layer], kit.value, sign, p, True), kit.gate()
    held = sum(s.probe.weight.nbytes for s in shifts) + gate.probe.weight.nbytes
    return Aligned(kit.lm, hooks=lambda: steer(kit.lm, shifts, gate=gate, cap=CAP), held=held)


def random_direction(kit: Kit, sign: int) -> Aligned:
    """The control: steps as long as those of `additive`, in directions drawn at random, one for each reply."""
    shift = kit.vector() * sign
    seed = kit.seed + 4 + (sign < 0)
    return Aligned(kit.lm, hooks=lambda: random_push(kit.lm, shift, seed), held=shift.probe.weight.nbytes)


# ------------------------------------------------------------------------- by choosing replies


def best_of_n(kit: Kit, sign: int) -> Aligned:
    """The reply with the highest learnt reward among several (the lowest, for the other pole)."""
    score, n = kit.reward(sign), kit.budget.draws

    def pick(questions: Sequence[str], replies: list[list[str]]) -> list[int]:
        found = score([q for q in questions for _ in range(n)], [r for row in replies for r in row])
        return found.view(-1, n).argmax(1).tolist()

    width = kit.lm.d_model * kit.lm.n_layers
    return Aligned(kit.lm, draws=n, pick=pick, held=8 * width)


# ------------------------------------------------------------------------------ in the weights


def rloo(kit: Kit, sign: int) -> Aligned:
    """Reinforcement learning (RLOO) against the same learnt reward."""
    score = kit.reward(sign)
    config = Config(
        steps=kit.budget.rl_steps, prompts=8, replies=8, max_new_tokens=28, beta=0.05, lr=3e-4, seed=kit.seed
    )
    questions = [s.text for s in W.situations("train", 64, 7 + kit.seed, value=kit.value)]
    made = train(kit.lm, questions, score, config).policy
    return Aligned(made, held=bytes_of(kit.lm))


def task_arithmetic(kit: Kit, sign: int) -> Aligned:
    """What fine-tuning on a voice that holds the value high did to the weights, added or taken away."""

    def make() -> dict[str, Tensor]:
        tuned = weights.train_replies(kit.lm, *kit.voice(1), kit.tuning())
        return weights.task_vector(weights.weights_of(tuned), weights.weights_of(kit.lm))

    vector = kit.part("task vector", make)
    return Aligned(kit.lm, hooks=lambda: weights.mixed(kit.lm, [vector], [float(sign)]), held=bytes_of(kit.lm))


def preference(kit: Kit, sign: int) -> Aligned:
    """The difference of two DPO runs, on the comparisons and on the same ones flipped; its scale is chosen.

    Source: arXiv 2504.20106.
    """

    def make() -> tuple[dict[str, Tensor], float]:
        config = replace(kit.tuning(), steps=kit.budget.dpo_steps)
        vector, _ = weights.preference_vector(kit.lm, kit.comparisons(), config)
        return vector, kit.best({k: weights.mixed(kit.lm, [vector], [k]) for k in SCALES})

    vector, scale = kit.part("preference vector", make)
    return Aligned(kit.lm, hooks=lambda: weights.mixed(kit.lm, [vector], [scale * sign]), held=bytes_of(kit.lm))


def lora(kit: Kit, sign: int) -> Aligned:
    """Fine-tuning on replies of those who hold the value high (low), in a few dimensions of each matrix."""
    config = replace(kit.tuning(), lora_rank=kit.budget.rank, lr=10 * kit.tuning().lr)
    tuned = weights.train_replies(kit.lm, *kit.voice(sign), config)
    return Aligned(tuned, held=sum(p.nbytes for p in weights.Lora(kit.lm, kit.budget.rank).parameters()))


def bytes_of(lm: LM) -> int:
    return sum(p.nbytes for p in lm.model.parameters())


METHODS: dict[str, Callable[[Kit, int], Aligned]] = {
    "unsteered": unsteered,
    "instruction": instruction,
    "few-shot": few_shot,
    "rule memory": rule_memory,
    "policy in context": policy,
    "self-rehearsal": self_rehearsal,
    "additive": additive,
    "distilled": distilled,
    "gated minimal": gated_minimal,
    "joint": joint,
    "best-of-n": best_of_n,
    "RLOO": rloo,
    "task arithmetic": task_arithmetic,
    "preference vector": preference,
    "LoRA": lora,
    "random direction": random_direction,
}
"""Methods of the table, in its order; "unsteered" comes first and is what all others are compared with."""
