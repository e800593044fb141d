"""The whole chain in its simplest honest form, from contrast pairs to figures with intervals.

contrast pairs -> hidden states -> probes by layer -> layer and strength chosen on items of their
own -> steered and unsteered answers to held-out items -> paired differences against random pushes
of equal size. The result is one dictionary of plain numbers, which is the JSON of the report.

Where states cannot be read (all alike, or not finite) the layer is noted under "nothing_to_read", a way of
steering that has no direction under "not_run", each with the reason, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab import probes
from valuelab.activations import capture
from valuelab.evaluate import metrics
from valuelab.evaluate.bench import Answers, PairsBench, PlantedBench, Training, refuse_broken, refuse_silence
from valuelab.evaluate.push import random_push
from valuelab.measure.intervals import Interval, holm, mean_interval, paired_difference
from valuelab.models import LM
from valuelab.probes import Probe, Unreadable
from valuelab.steering.controller import steer
from valuelab.steering.plan import Shift
from valuelab.values import VALUES

STRENGTHS = (0.1, 0.2, 0.4, 0.8)  # step over mean length of the states
TARGETS = (0.9, 0.99, 0.999)  # probability that the closed form moves the probe to
METHODS = ("closed form", "mean difference")
NO_DIRECTION = {
    "closed form": "the logistic probe can read nothing at the layers that were tried",
    "mean difference": "at the layers that were tried the mean states for and against do not differ, or are not finite",
}
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
    """Results of every value: {value: {"probe", "chosen", "not_run", "conditions", "comparisons", ...}}.

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
    refuse_broken(lm, np.concatenate([scores for scores, _ in unsteered.by_value.values()]))
    with clock("reading states", value):
        training, read = states(value)
    with clock("probing", value):
        probe = probe_layers(training, read, seed)
    with clock("choosing", value):
        chosen, not_run = choose_plans(lm, bench, value, states, probe["logistic"])
    answers = ask_all(lm, bench, value, unsteered, chosen, seed, clock)
    return {
        "probe": {k: v for k, v in probe.items() if k != "logistic"},
        "chosen": {m: c["note"] for m, c in chosen.items()},
        "not_run": not_run,
        "conditions": {name: summarise(a) for name, a in answers.items()},
        "comparisons": {m: compare(answers, m) for m in chosen},
        "leakage": {m: leakage_row(answers, m, value) for m in chosen},
        "examples": examples(answers),
    }


# ------------------------------------------------------------------------------------ probes


def fixed_logistic(X, y, groups):
    """Logistic probe with the penalty fixed: one knob less to choose inside every fold.

    Where the states of a fold are all alike its logits are zero, which counts as half right.
    """
    try:
        return probes.logistic(X, y)
    except Unreadable:
        return Probe(torch.zeros(X.shape[1]), method="logistic")


def probe_layers(training: Training, read: dict[int, Tensor], seed: int) -> dict[str, Any]:
    """Held-out accuracy of each layer, of the layer chosen inside, and of what it must beat.

    Layers that cannot be read are listed with the reason; if none can, only the n-grams have an accuracy.
    """
    y, contexts = training.y, training.contexts
    folds = min(5, len(np.unique(contexts)))
    options = {"folds": folds, "seed": seed}
    fitted, by_layer, unread = {}, {}, []
    for layer, X in sorted(read.items()):
        try:
            with warnings.catch_warnings():  # of layers at chance: every accuracy is shown, every step has CAP
                warnings.filterwarnings("ignore", message="validated_probe: accuracy", category=UserWarning)
                fitted[layer], seen = probes.validated_probe(
                    X, y, contexts, method=fixed_logistic, layer=layer, **options
                )
        except Unreadable as why:
            unread.append({"layer": layer, "why": str(why).partition(": ")[2]})  # without the function's name
            continue
        mean = probes.grouped_accuracy(X, y, contexts, "mean difference", **options)
        by_layer[layer] = {"logistic": accuracy_of(seen), "mean difference": accuracy_of(mean)}
    words = probes.bag_of_words(training.texts, y, contexts, **options)
    found = {
        "logistic": fitted,
        "layers": by_layer,
        "nothing_to_read": unread,
        "n_grams": accuracy_of(words),
        "texts": len(y),
        "contexts": len(np.unique(contexts)),
    }
    if not fitted:
        return {**found, "nested": None, "layers_chosen": [], "shuffled": None, "beyond_words": None}
    nested = probes.nested_accuracy(
        {k: read[k] for k in fitted}, y, contexts, fixed_logistic, inner=3, **options
    )
    best = max(by_layer, key=lambda k: by_layer[k]["logistic"]["estimate"])
    shuffled = probes.shuffled_labels(read[best], y, contexts, draws=20, **options)
    return {
        **found,
        "nested": accuracy_of(nested),
        "layers_chosen": list(nested.chosen),
        "shuffled": shuffled.as_dict(),
        "beyond_words": paired_difference(nested.correct, words.correct, contexts).as_dict(),
    }


def accuracy_of(found: probes.Validation) -> dict[str, Any]:
    """Accuracy for the JSON, with the interval of `mean_interval`: a report may rest on few contexts.

    The percentile bootstrap of `found.accuracy` is too narrow there: with six contexts it holds the truth in 88 of
    100 cases, with forty in 95.
    """
    return mean_interval(found.correct, found.groups, null=0.5).as_dict()


# ------------------------------------------------------------------------ layer and strength


def layers_to_try(n_layers: int, most: int = 6) -> list[int]:
    """All layers of a small model, evenly spread ones of a large one; never more than `most`."""
    return sorted({round(k) for k in np.linspace(0, n_layers - 1, min(most, n_layers))})


def choose_plans(lm, bench, value, states, logistic) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """For each method the setting with the highest score on items kept for choosing; and why a method has none.

    A setting whose form suffers is passed over; if all do, the one that keeps form best is taken,
    and the note says so. A setting under which the scores are no numbers is out. A setting is a layer
    with a strength or a target.
    """
    before = bench.quick(value)
    refuse_broken(lm, before.score)
    tried: dict[str, list] = {m: [] for m in METHODS}
    broken = dict.fromkeys(METHODS, 0)
    for layer in layers_to_try(lm.n_layers):
        for method, dial, shift in settings(value, layer, states, logistic):
            with steer(lm, shift, cap=CAP):
                after = bench.quick(value)
            if not np.isfinite([*after.score, after.form]).all():
                broken[method] += 1
                continue
            gain = float((after.score - before.score).mean())
            kept = bench.form_is_kept(before, after)
            tried[method].append((kept, gain if kept else after.form, layer, dial, shift, gain))
    chosen = {m: note(max(rows, key=lambda r: r[:2]), rows, broken[m]) for m, rows in tried.items() if rows}
    return chosen, {m: why_not(m, broken[m]) for m in METHODS if m not in chosen}


def why_not(method: str, broken: int) -> str:
    if broken:
        return f"under all {broken} settings that were tried some log-probabilities are not finite"
    return NO_DIRECTION[method]


def settings(value: str, layer: int, states: Reader, logistic: dict[int, Probe]) -> list[tuple]:
    """(method, dial, Shift) of every setting at a layer; a method without a direction there has none."""
    made = []
    vector = states.difference(value, layer)
    if vector.any() and vector.isfinite().all():
        unit = Probe(vector / vector.norm(), layer=layer, value=value, method="mean difference")
        size = states.length(value, layer)
        made += [("mean difference", s, Shift(unit, "add", strength=s * size)) for s in STRENGTHS]
    if layer in logistic:
        probe = logistic[layer].with_(value=value)
        made += [("closed form", p, Shift(probe, "minimal", target=p)) for p in TARGETS]
    return made


def note(best: tuple, rows: list[tuple], broken: int) -> dict[str, Any]:
    kept, _, layer, dial, shift, gain = best
    return {
        "shift": shift,
        "note": {
            "layer": layer,
            "dial": dial,
            "gain_when_choosing": gain,
            "form_kept": kept,
            "settings_tried": len(rows),
            "settings_not_finite": broken,
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
    for method, one in chosen.items():
        shift = one["shift"]
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


def measured(scores: Any, contexts: Any = None) -> dict[str, Any]:
    """Mean of the scores (n,) that are numbers, with its interval; `invalid` counts those that are not."""
    s = np.asarray(scores, float)
    valid = np.isfinite(s)
    if valid.any():
        found = mean_interval(s[valid], None if contexts is None else np.asarray(contexts)[valid])
    else:
        found = Interval(np.nan, -np.inf, np.inf, np.inf, 0, 0, None, "no valid item")
    return {**found.as_dict(), "invalid": int((~valid).sum())}


def summarise(a: Answers) -> dict[str, Any]:
    """Scores of one condition by themselves, with intervals."""
    return {
        "success": mean_interval(a.success, a.contexts).as_dict(),
        "ability": mean_interval(a.ability).as_dict(),
        "extra": {k: measured(v, a.contexts) for k, v in a.extra.items()},
        "fluency": fluency_of(a),
        "items": len(a.success),
        "contexts": len(np.unique(a.contexts)),
    }


def fluency_of(a: Answers) -> dict[str, Any]:
    """Fluency for the JSON; where there is no perplexity, `no_perplexity` says why."""
    kept: dict[str, Any] = {k: v if np.isfinite(v) else None for k, v in a.fluency.items()}
    if kept["perplexity"] is None:
        kept["no_perplexity"] = "not finite" if any(reply for _, reply in a.tokens) else "no reply has a word"
    return kept


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
                "gain": measured(done.extra[k] - v, plain.contexts),
                "advantage": measured(done.extra[k] - twin.extra[k], plain.contexts),
            }
            for k, v in plain.extra.items()
        },
    }  # fmt: skip


def leakage_row(answers: dict[str, Answers], method: str, value: str) -> dict[str, Any]:
    """Change of every value when one is steered, and whether the others follow the circle."""
    plain, done, twin = (answers[k].by_value for k in ("unsteered", method, random_name(method)))
    rows = {u: measured(done[u][0] - plain[u][0], plain[u][1]) for u in VALUES}
    beside = {u: measured(twin[u][0] - plain[u][0], plain[u][1]) for u in VALUES}
    effects = np.array([rows[u]["estimate"] for u in VALUES], float)  # None becomes NaN
    others = [u for u in VALUES if u != value]
    p = holm(np.array([1.0 if rows[u]["p"] is None else rows[u]["p"] for u in others]))
    ratio = metrics.off_target_ratio(effects[None], [VALUES.index(value)])
    return {
        "effects": rows,
        "random": beside,
        "holm_p": dict(zip(others, p.tolist(), strict=True)),
        "off_target_ratio": ratio if np.isfinite(ratio) else None,
        "circle": circle_of(effects, value),
    }


def circle_of(effects: np.ndarray, value: str) -> dict[str, float] | None:
    """Side effects against the circle; None where one is missing, or all nine are the same."""
    if not np.isfinite(effects).all() or np.ptp(np.delete(effects, VALUES.index(value))) == 0:
        return None
    fit = metrics.circle_fit(effects, value)
    return {"slope": fit.slope, "correlation": fit.correlation, "p": fit.p}


def examples(answers: dict[str, Answers], n: int = 2) -> list[dict[str, str]]:
    """The first replies, not the best ones, under each condition (instructions apart)."""
    plain = answers["unsteered"]
    return [
        {"prompt": plain.prompts[k], **{name: a.replies[k] for name, a in answers.items()}}
        for k in range(min(n, len(plain.replies)))
    ]


def adjust_for_many(found: dict[str, dict[str, Any]]) -> None:
    """Holm's adjustment over all values and methods of the report, written beside each p."""
    tests = [c["advantage"] for one in found.values() for c in one["comparisons"].values()]
    adjusted = holm(np.array([1.0 if t["p"] is None else t["p"] for t in tests]))
    for test, p in zip(tests, adjusted.tolist(), strict=True):
        test["holm_p"] = p
