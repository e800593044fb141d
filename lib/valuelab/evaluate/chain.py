"""The whole chain in its simplest honest form, from contrast pairs to figures with intervals.

contrast pairs -> hidden states -> probes by layer -> layer and strength chosen on items of their
own -> steered and unsteered answers to held-out items -> paired differences against random pushes
of equal size. The result is one dictionary of plain numbers, which is the JSON of the report.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab import probes
from valuelab.activations import capture
from valuelab.evaluate import metrics
from valuelab.evaluate.bench import Answers, PairsBench, PlantedBench, Training, refuse_silence
from valuelab.evaluate.push import random_push
from valuelab.measure.intervals import Interval, holm, mean_interval, paired_difference
from valuelab.models import LM
from valuelab.probes import Probe
from valuelab.steering.controller import steer
from valuelab.steering.plan import Shift
from valuelab.values import VALUES

STRENGTHS = (0.1, 0.2, 0.4, 0.8)  # step over mean length of the states
TARGETS = (0.9, 0.99, 0.999)  # probability that the closed form moves the probe to
METHODS = ("closed form", "mean difference")
CAP = 1.0  # longest minimal step, in units of a state's own length
MARGIN = 0.05  # largest loss of ability that would not matter, fixed here, before looking
Progress = Callable[[str], None]


@dataclass
class Clock:
    """Seconds by stage, and a word to the user at each."""

    tell: Progress = lambda stage: None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def __call__(self, stage: str, detail: str = "") -> Iterator[None]:
        self.tell(f"{stage} {detail}".strip())
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = self.seconds.get(stage, 0.0) + time.perf_counter() - start
            self.seconds[stage] = round(spent, 2)


def steps_for(values: list[str]) -> int:
    """How many steps `run` will announce, for a progress bar."""
    return len(values) * (3 + 2 * len(METHODS) + 3)


def run(
    lm: LM, bench: PlantedBench | PairsBench, values: list[str], *, seed: int, clock: Clock,
    done: dict[str, Any] | None = None, keep: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:  # fmt: skip
    """Results of every value: {value: {"probe", "chosen", "conditions", "comparisons", ...}}.

    done: values that were finished before, and are taken as they are. keep: called with all that is finished
    after each further value.
    """
    states, found = Reader(lm, bench, clock), {v: one for v, one in (done or {}).items() if v in values}
    for value in values:
        if value not in found:
            found[value] = one_value(lm, bench, value, states, seed, clock)
            keep(found)
    found = {value: found[value] for value in values}
    adjust_for_many(found)
    return found


class Reader:
    """Training states of each value, read once: the mean difference needs those of all ten."""

    def __init__(self, lm: LM, bench: Any, clock: Clock):
        self.lm, self.bench, self.clock = lm, bench, clock
        self.known: dict[str, tuple[Training, dict[int, Tensor]]] = {}

    def __call__(self, value: str) -> tuple[Training, dict[int, Tensor]]:
        if value not in self.known:
            training = self.bench.training(value)
            states = capture(self.lm, training.texts, prompts=training.prompts)
            self.known[value] = training, states
        return self.known[value]

    def difference(self, value: str, layer: int) -> Tensor:
        """Mean difference of a value minus its average over the values, (d_model,).

        What all values share is the polarity of the wording, which is not a value. A bench that can ask
        the same question of speakers who differ in the value reads it where the choice is made
        (`directions`); otherwise it is read at the end of the training texts.
        """
        if hasattr(self.bench, "directions"):
            return self.bench.directions()[VALUES.index(value), layer]
        every = {u: self(u) for u in VALUES}
        rows = {u: s[layer][t.y].mean(0) - s[layer][~t.y].mean(0) for u, (t, s) in every.items()}
        return rows[value] - torch.stack(list(rows.values())).mean(0)

    def length(self, value: str, layer: int) -> float:
        return float(self(value)[1][layer].norm(dim=1).mean())


def one_value(lm, bench, value, states, seed, clock) -> dict[str, Any]:
    with clock("asking", f"{value}, unsteered"):
        unsteered = bench.ask(value)
    refuse_silence(lm, unsteered.replies)  # before the long work, not after it
    with clock("reading states", value):
        training, read = states(value)
    with clock("probing", value):
        probe = probe_layers(training, read, seed)
    with clock("choosing", value):
        chosen = choose_plans(lm, bench, value, states, probe["logistic"], seed)
    answers = ask_all(lm, bench, value, unsteered, chosen, seed, clock)
    return {
        "probe": {k: v for k, v in probe.items() if k != "logistic"},
        "chosen": {m: c["note"] for m, c in chosen.items()},
        "conditions": {name: summarise(a) for name, a in answers.items()},
        "comparisons": {m: compare(answers, m) for m in METHODS},
        "leakage": {m: leakage_row(answers, m, value) for m in METHODS},
        "examples": examples(answers),
    }


# ------------------------------------------------------------------------------------ probes


def fixed_logistic(X, y, groups):
    """Logistic probe with the penalty fixed: one knob less to choose inside every fold."""
    return probes.logistic(X, y)


def probe_layers(training: Training, read: dict[int, Tensor], seed: int) -> dict[str, Any]:
    """Held-out accuracy of each layer, of the layer chosen inside, and of what it must beat."""
    y, contexts = training.y, training.contexts
    folds = min(5, len(np.unique(contexts)))
    options = {"folds": folds, "seed": seed}
    fitted, by_layer = {}, {}
    for layer, X in sorted(read.items()):
        fitted[layer], seen = probes.validated_probe(
            X, y, contexts, method=fixed_logistic, layer=layer, **options
        )
        mean = probes.grouped_accuracy(X, y, contexts, "mean difference", **options)
        by_layer[layer] = {"logistic": seen.accuracy, "mean difference": mean.accuracy}
    nested = probes.nested_accuracy(read, y, contexts, fixed_logistic, inner=3, **options)
    best = max(by_layer, key=lambda k: by_layer[k]["logistic"].estimate)
    shuffled = probes.shuffled_labels(read[best], y, contexts, draws=20, **options)
    words = probes.bag_of_words(training.texts, y, contexts, **options)
    gap = paired_difference(nested.correct, words.correct, contexts)
    return {
        "logistic": fitted,
        "layers": {k: {m: i.as_dict() for m, i in v.items()} for k, v in by_layer.items()},
        "nested": nested.accuracy.as_dict(),
        "layers_chosen": list(nested.chosen),
        "n_grams": words.accuracy.as_dict(),
        "shuffled": shuffled.as_dict(),
        "beyond_words": gap.as_dict(),
        "texts": len(y),
        "contexts": len(np.unique(contexts)),
    }


# ------------------------------------------------------------------------ layer and strength


def layers_to_try(n_layers: int, most: int = 6) -> list[int]:
    """All layers of a small model, evenly spread ones of a large one; never more than `most`."""
    return sorted({round(k) for k in np.linspace(0, n_layers - 1, min(most, n_layers))})


def choose_plans(lm, bench, value, states, logistic, seed) -> dict[str, dict[str, Any]]:
    """For each method the setting with the highest score on items kept for choosing.

    A setting whose form suffers is passed over; if all do, the one that keeps form best is taken,
    and the note says so. A setting is a layer with a strength or a target.
    """
    before = bench.quick(value)
    tried: dict[str, list] = {m: [] for m in METHODS}
    for layer in layers_to_try(lm.n_layers):
        for method, dial, shift in settings(value, layer, states, logistic):
            with steer(lm, shift, cap=CAP):
                after = bench.quick(value)
            gain = float((after.score - before.score).mean())
            kept = bench.form_is_kept(before, after)
            tried[method].append((kept, gain if kept else after.form, layer, dial, shift, gain))
    return {m: note(max(rows, key=lambda r: r[:2]), rows) for m, rows in tried.items()}


def settings(value: str, layer: int, states: Reader, logistic: dict[int, Probe]) -> list[tuple]:
    """(method, dial, Shift) of every setting at a layer."""
    made = []
    vector = states.difference(value, layer)
    if vector.any():
        unit = Probe(vector / vector.norm(), layer=layer, value=value, method="mean difference")
        size = states.length(value, layer)
        made += [("mean difference", s, Shift(unit, "add", strength=s * size)) for s in STRENGTHS]
    probe = logistic[layer].with_(value=value)
    made += [("closed form", p, Shift(probe, "minimal", target=p)) for p in TARGETS]
    return made


def note(best: tuple, rows: list[tuple]) -> dict[str, Any]:
    kept, _, layer, dial, shift, gain = best
    return {
        "shift": shift,
        "note": {
            "layer": layer,
            "dial": dial,
            "gain_when_choosing": gain,
            "form_kept": kept,
            "settings_tried": len(rows),
            "tried": [{"layer": r[2], "dial": r[3], "gain": r[5], "form_kept": r[0]} for r in rows],
        },
    }


# ------------------------------------------------------------------------------------ answers


def ask_all(lm, bench, value, unsteered, chosen, seed, clock) -> dict[str, Answers]:
    """Answers to the same held-out items under every condition."""
    answers = {"unsteered": unsteered}
    lines = bench.persona(value)
    with clock("asking", f"{value}, by instruction"):
        if lines:
            answers["instruction"] = bench.ask(value, lines)
    for method in METHODS:
        shift = chosen[method]["shift"]
        with clock("steering", f"{value}, {method}"), steer(lm, shift, cap=CAP):
            answers[method] = bench.ask(value)
        twin = random_push(lm, shift, seed + 4, group=bench.rows_per_item, cap=CAP)
        with clock("steering", f"{value}, {method}, random"), twin:
            answers[random_name(method)] = bench.ask(value)
    with clock("asking", f"{value}, fluency"):
        for one in answers.values():
            bench.score(one)
    return answers


def random_name(method: str) -> str:
    return f"random, as {method}"


def summarise(a: Answers) -> dict[str, Any]:
    """Scores of one condition by themselves, with intervals."""
    return {
        "success": mean_interval(a.success, a.contexts).as_dict(),
        "ability": mean_interval(a.ability).as_dict(),
        "extra": {k: mean_interval(v, a.contexts).as_dict() for k, v in a.extra.items()},
        "fluency": {k: None if np.isnan(v) else v for k, v in a.fluency.items()},
        "items": len(a.success),
        "contexts": len(np.unique(a.contexts)),
    }


def compare(answers: dict[str, Answers], method: str) -> dict[str, Any]:
    """Paired differences of a method with the unsteered model and with its random twin."""
    plain, done, twin = (answers[k] for k in ("unsteered", method, random_name(method)))
    same = metrics.control_success(plain.success, done.success, twin.success, plain.contexts)
    kept = metrics.retention(plain.ability, done.ability, margin=MARGIN)
    twin_kept = metrics.retention(plain.ability, twin.ability, margin=MARGIN)
    return {
        "gain": same.gain.as_dict(),
        "random_gain": same.random_gain.as_dict(),
        "advantage": same.advantage.as_dict(),
        "adverse_share": metrics.adverse_share(plain.success, done.success, plain.contexts).as_dict(),
        "ability_change": kept.change.as_dict(),
        "ability_kept": bool(kept.kept),
        "random_ability_change": twin_kept.change.as_dict(),
        "margin": MARGIN,
        "extra": {
            k: {
                "gain": paired_difference(done.extra[k], v, plain.contexts).as_dict(),
                "advantage": paired_difference(done.extra[k], twin.extra[k], plain.contexts).as_dict(),
            }
            for k, v in plain.extra.items()
        },
    }  # fmt: skip


def leakage_row(answers: dict[str, Answers], method: str, value: str) -> dict[str, Any]:
    """Change of every value when one is steered, and whether the others follow the circle."""
    plain, done, twin = (answers[k].by_value for k in ("unsteered", method, random_name(method)))
    rows = {u: paired_difference(done[u][0], plain[u][0], plain[u][1]) for u in VALUES}
    beside = {u: paired_difference(twin[u][0], plain[u][0], plain[u][1]) for u in VALUES}
    effects = np.array([rows[u].estimate for u in VALUES])
    others = [u for u in VALUES if u != value]
    p = holm(np.array([1.0 if rows[u].p is None else rows[u].p for u in others]))
    fit = metrics.circle_fit(effects, value)
    ratio = metrics.off_target_ratio(effects[None], [VALUES.index(value)])
    return {
        "effects": {u: rows[u].as_dict() for u in VALUES},
        "random": {u: beside[u].as_dict() for u in VALUES},
        "holm_p": dict(zip(others, p.tolist(), strict=True)),
        "off_target_ratio": ratio if np.isfinite(ratio) else None,
        "circle": {"slope": fit.slope, "correlation": fit.correlation, "p": fit.p},
    }


def examples(answers: dict[str, Answers], n: int = 2) -> list[dict[str, str]]:
    """The first replies, not the best ones, under each condition (instructions apart)."""
    plain = answers["unsteered"]
    return [
        {"prompt": plain.prompts[k], **{name: a.replies[k] for name, a in answers.items()}}
        for k in range(min(n, len(plain.replies)))
    ]


def adjust_for_many(found: dict[str, dict[str, Any]]) -> None:
    """Holm's adjustment over all values and methods of the report, written beside each p."""
    tests = [one["comparisons"][m]["advantage"] for one in found.values() for m in METHODS]
    adjusted = holm(np.array([1.0 if t["p"] is None else t["p"] for t in tests]))
    for test, p in zip(tests, adjusted.tolist(), strict=True):
        test["holm_p"] = p


def interval(stored: dict[str, Any]) -> Interval:
    """An Interval again from its dictionary."""
    fields = {k: stored[k] for k in ("estimate", "n", "clusters", "p", "outcome")}
    low, high, se = (
        limit if stored[k] is None else stored[k]
        for k, limit in (("low", -np.inf), ("high", np.inf), ("se", np.inf))
    )
    return Interval(low=low, high=high, se=se, **fields)
