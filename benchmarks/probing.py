"""Probes against what was planted: ten values, contexts and wordings both unseen, beside their baselines.

    python benchmarks/probing.py [--model FOLDER] [--pairs 150] [--values security ...]

Task: comparisons such as "I put safety before fun" against "I put fun before safety", spoken as the model's own
reply and read at the full stop. Both members hold the same words, and half of the wordings put the preferred thing
first and half last, so neither a word nor a place nor the polarity of the wording tells. Tested items share neither
the thing they are about nor their wording (with its negative twin) with anything trained on; the layer is chosen
inside the folds. Writes `benchmarks/results/probing.json`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
import transformers
from machine import cpu

from valuelab import models, probes
from valuelab import world as W
from valuelab.activations import EMBEDDING, capture
from valuelab.measure.intervals import paired_difference
from valuelab.probes.controls import constant_is_chance
from valuelab.values import VALUES
from valuelab.world import grammar

RESULTS = Path(__file__).parent / "results" / "probing.json"
FAMILY = {p.text: k // 2 for k, p in enumerate(grammar.FIRST)}  # a wording and its negative twin
BARS = {"mean": 0.85, "each": 0.75, "over the best baseline": 0.15}


def table(value: str, n: int, seed: int):
    """Texts, labels, contexts (the thing) and wording families of `n` comparison pairs."""
    pairs = W.contrast_pairs(value, n, seed, kind="comparison")
    texts = [p.positive for p in pairs] + [p.negative for p in pairs]
    about = np.array([p.context_id.split("|")[1] for p in pairs] * 2)
    return texts, np.arange(2 * n) < n, about, np.array([FAMILY[p.wording] for p in pairs] * 2)


def measure(lm, value: str, n: int, seed: int, method: str) -> dict:
    """One value: the probe, its baselines, its controls, each with an interval over contexts."""
    texts, y, about, families = table(value, n, seed)
    prompts = [models.chat(lm, "Tell me about yourself.") + " "] * len(texts)
    apart = {"wordings": families, "folds": 4, "seed": seed}
    states = capture(lm, texts, batch_size=64, prompts=prompts)
    bare = capture(models.untrained(lm, seed), texts, batch_size=64, prompts=prompts)
    words = capture(lm, texts, EMBEDDING, "mean", 64, prompts=prompts)[EMBEDDING]
    found = {
        "probe": probes.nested_accuracy(states, y, about, method, inner=3, **apart),
        "words and word pairs": probes.bag_of_words(texts, y, about, **apart),
        "length": probes.length(texts, y, about, **apart),
        "mean embedding": constant_is_chance(words, y, about, method, **apart),
        "untrained model": probes.nested_accuracy(bare, y, about, method, inner=3, **apart),
    }
    probe = found["probe"]
    layer = max(set(probe.chosen), key=probe.chosen.count)
    shuffled = probes.shuffled_labels(states[layer], y, about, method, draws=10, folds=4, seed=seed)
    best = max((k for k in found if k != "probe"), key=lambda k: found[k].correct.mean())
    return {
        "accuracy": {k: v.accuracy.as_dict() for k, v in found.items()},
        "shuffled_labels": shuffled.as_dict(),
        "layers_chosen": {str(k): probe.chosen.count(k) for k in sorted(set(probe.chosen))},
        "best_baseline": best,
        "over_best_baseline": paired_difference(probe.correct, found[best].correct, about).as_dict(),
        "same_wordings": probes.nested_accuracy(
            states, y, about, method, folds=4, inner=3, seed=seed
        ).accuracy.estimate,
        "first_layer": probes.grouped_accuracy(states[0], y, about, method, draws=0, **apart).correct.mean(),
        "contexts": len(set(about)), "auroc": probe.auroc, "ece": probe.ece,
    }  # fmt: skip


def summary(values: dict) -> dict:
    """The bars of the issue, and whether each is met."""
    names = list(next(iter(values.values()))["accuracy"])
    mean = {k: float(np.mean([v["accuracy"][k]["estimate"] for v in values.values()])) for k in names}
    lowest = min(values, key=lambda v: values[v]["accuracy"]["probe"]["estimate"])
    margin = mean["probe"] - max(x for k, x in mean.items() if k != "probe")
    each = values[lowest]["accuracy"]["probe"]["estimate"]
    smallest = min(v["over_best_baseline"]["estimate"] for v in values.values())
    inside = sum(v["shuffled_labels"]["low"] <= 0.5 <= v["shuffled_labels"]["high"] for v in values.values())
    blank = [v["accuracy"]["untrained model"] for v in values.values()]
    return {
        "mean": mean,
        "lowest": {lowest: each},
        "mean_over_best_baseline": margin,
        "smallest_margin": smallest,
        "shuffled_within_chance": inside,
        "untrained_within_chance": sum(b["low"] <= 0.5 <= b["high"] for b in blank),
        "bars": BARS,
        "met": {
            "mean": mean["probe"] >= BARS["mean"],
            "each": each >= BARS["each"],
            "over the best baseline": smallest >= BARS["over the best baseline"],
        },
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model")
    p.add_argument("--pairs", type=int, default=150)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--method", default="lda", choices=list(probes.ESTIMATORS))
    p.add_argument("--values", nargs="*", default=list(VALUES))
    args = p.parse_args()
    began, lm, values = time.time(), models.load(args.model), {}
    for value in args.values:
        values[value] = row = measure(lm, value, args.pairs, args.seed, args.method)
        shown = "  ".join(f"{k} {v['estimate']:.2f}" for k, v in row["accuracy"].items())
        print(f"{value:15s} {shown}  layers {row['layers_chosen']}", flush=True)
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "scikit-learn": sklearn.__version__},
        "date": datetime.date.today().isoformat(), "seconds": round(time.time() - began),
        "model": {"name": lm.name if lm.embedded else "another", "fingerprint": lm.fingerprint},
        "settings": {"pairs": args.pairs, "seed": args.seed, "method": args.method, "wordings": "comparisons",
                     "held_out": "contexts and wordings"},
        "summary": summary(values), "values": values,
    }  # fmt: skip
    print(json.dumps(record["summary"], indent=1))
    if lm.embedded and args.values == list(VALUES):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(record, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
