"""Steering vectors carried to another real model, and to an updated version of the same one.

    python benchmarks/steering_transfer.py [--models FOLDER] [--texts 600] [--controls 20]

Two small models that learnt to tell children's stories, with different widths, depths and tokenizers. A vector is the
mean difference of states after sentences that differ in one word ("kind" or "mean", "happy" or "sad"), after the
middle block of its model. Carried over by `align` (ridge) and by `unlock`, both fitted on stories that the source
model told, it is scaled to the length of the vector made on the target itself, so that directions are compared.
Effect: how far adding it instead of subtracting it moves log p(good ending) - log p(bad ending) on prompts with other
names and things, in nats, half the difference; `share_of_native` divides by the effect of the target's own vector.
Controls: random maps, maps fitted on shuffled pairs of states, random vectors. The update is the same model trained on
for a while on the course's pairs; there the vector is also used as it is.
Writes `benchmarks/results/steering_transfer.json`.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from machine import cpu
from pretrained import HOME, load_small

from valuelab import models
from valuelab.activations import capture
from valuelab.data import own
from valuelab.measure.intervals import mean_interval
from valuelab.models import LM
from valuelab.probes import mean_difference, random_direction
from valuelab.steering import add, steer
from valuelab.steering.transfer import align, random_alignment, shuffled_alignment, unlock

RESULTS = Path(__file__).parent / "results" / "steering_transfer.json"
NAMES = (("Lily", "Tom"), ("Ben", "Mia"), ("Sam", "Anna"), ("Max", "Sue"), ("Lucy", "Jack"), ("Tim", "Amy"))
THINGS = ("ball", "doll", "car", "book", "hat", "cake", "kite", "drum")
CONCEPTS = {
    # sentences that make the vector, with the word for it and the word against; prompts and endings that judge it
    "kindness": (
        ("{a} was very {w} to {b}.", "{a} had a {t}. {a} was a {w} child.", "{b} said that {a} was {w} with the {t}."),
        ("kind", "mean"),
        ("{b} wanted to play with the {t}, too. {a} said,", "\"Can I have the {t}?\" asked {b}. {a} said,"),
        (' "Yes, you can!"', ' "No, you cannot!"'),
    ),
    "mood": (
        ("{a} was very {w} about the {t}.", "{a} felt {w}.", "{b} saw that {a} was {w}."),
        ("happy", "sad"),
        ("{a} looked at the {t} and started to", "Then {b} saw {a} with the {t}. {a} began to"),
        (" smile.", " cry."),
    ),
}  # fmt: skip


def sentences(templates, half: int, **words) -> list[str]:
    """Templates filled with one half of the names and things: 0 makes the vector, 1 judges it."""
    return [
        x.format(a=a, b=b, t=t, **words) for x in templates for a, b in NAMES[half::2] for t in THINGS[half::2]
    ]


def vector(lm: LM, concept: str, layer: int):
    """Mean difference after the last token of the sentences that make it."""
    templates, (good, bad), *_ = CONCEPTS[concept]
    high, low = (capture(lm, sorted(set(sentences(templates, 0, w=w))), layer)[layer] for w in (good, bad))
    return mean_difference(high, low).with_(layer=layer, value=concept)


def effect(lm: LM, concept: str, layer: int, v: torch.Tensor) -> np.ndarray:
    """Half the change of the log odds of the good ending between +v and -v, for each prompt, (n,) nats."""
    *_, templates, (good, bad) = CONCEPTS[concept]
    prompts = sentences(templates, 1)
    odds = []
    for sign in (1.0, -1.0):
        with steer(lm, add({layer: sign * v.float()}), scope="all"):
            scores = [models.log_probs(lm, prompts, [end] * len(prompts)) for end in (good, bad)]
        odds.append(scores[0] - scores[1])
    return ((odds[0] - odds[1]) / 2).double().numpy()


def stories(lm: LM, n: int, seed: int) -> list[str]:
    """Sentences from stories that a model told, without those that hold a word of a concept."""
    told = models.generate(lm, ["Once upon a time"] * max(8, n // 4), max_new_tokens=120, seed=seed)
    found = sorted({s.strip() + "." for t in told for s in t.split(".") if 3 <= len(s.split()) <= 25})
    words = {w for _, pair, *_ in CONCEPTS.values() for w in pair}
    found = [s for s in found if not words & set(s.lower().replace(".", " ").replace(",", " ").split())]
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[i] for i in order[:n]]


def ways(source: LM, target: LM, layers: tuple[int, int], texts: list[str], controls: int, updated: bool) -> dict:
    """{name: functions that carry a vector over}; controls hold several."""
    here, there = (capture(lm, texts, layer)[layer] for lm, layer in zip((source, target), layers, strict=True))
    ridge = align(here, there)
    out = {
        "align": [ridge.direction],
        "unlock, rank 32": [unlock(here, there, 32).direction],
        "random map": [random_alignment(ridge, k).direction for k in range(controls)],
        "shuffled pairs": [shuffled_alignment(here, there, seed=k).direction for k in range(controls)],
        "random vector": [lambda v, k=k: random_direction(torch.ones(target.d_model), k) for k in range(controls)],
    }
    if updated:
        out["as it is"] = [lambda v: v]
    return {"r2": ridge.r2, "ways": out}


def claim(rows: dict) -> str:
    """What the effects allow to be said of `align`; first the target's own vector has to do something."""
    if rows["native"]["low"] <= rows["random vector"]["high"]:
        return "nothing to carry: the target's own vector does no more than random ones of its length"
    best = max(rows[name]["high"] for name in ("random map", "shuffled pairs", "random vector"))
    return "carried over: above every control" if rows["align"]["low"] > best else "not shown: within the controls"


def carry(source: LM, target: LM, layers: tuple[int, int], texts: list[str], controls: int, updated=False) -> dict:
    """Effects on the target of vectors carried from the source, beside the target's own."""
    maps = ways(source, target, layers, texts, controls, updated)
    out = {"layers": list(layers), "texts": len(texts), "alignment_r2_held_out": maps["r2"], "concepts": {}}
    for concept in CONCEPTS:
        made, native = vector(source, concept, layers[0]).weight, vector(target, concept, layers[1]).weight
        clusters = np.tile(np.arange(len(NAMES[1::2])).repeat(len(THINGS[1::2])), len(CONCEPTS[concept][2]))
        things = np.tile(np.arange(len(THINGS[1::2])), len(clusters) // len(THINGS[1::2]))
        clusters = clusters * 100 + things  # a name and a thing together are one context, whatever the wording
        own_effect = effect(target, concept, layers[1], native)
        rows = {"native": mean_interval(own_effect, clusters).as_dict()}
        for name, functions in maps["ways"].items():
            effects, cosines = [], []
            for carried in functions:
                v = carried(made).float()
                v = v * native.norm() / v.norm()
                effects.append(effect(target, concept, layers[1], v))
                cosines.append(float(v @ native / native.norm() ** 2))
            means = [float(e.mean()) for e in effects]
            if len(functions) == 1:
                rows[name] = mean_interval(effects[0], clusters).as_dict() | {"cosine_with_native": cosines[0]}
            else:
                low, high = np.quantile(means, [0.025, 0.975])
                rows[name] = {"estimate": float(np.mean(means)), "low": float(low), "high": float(high),
                              "maps": len(means), "cosine_with_native": float(np.mean(cosines))}  # fmt: skip
            rows[name]["share_of_native"] = rows[name]["estimate"] / float(own_effect.mean())
        out["concepts"][concept] = {"claim": claim(rows), "effects": rows}
    return out


def update(lm: LM, steps: int, seed: int) -> LM:
    """A newer version: the same model after some steps of training on the course's pairs."""
    model = copy.deepcopy(lm.model).train()
    newer = LM(model, lm.tokenizer, f"{lm.name}, updated")
    texts = [p.positive for p in own.table("pairs", "train")]
    rng, optimiser = np.random.default_rng(seed), torch.optim.AdamW(model.parameters(), lr=3e-4)
    for _ in range(steps):
        ids = models.encode(newer, [texts[i] for i in rng.integers(len(texts), size=16)])
        tokens, mask = models.pad(newer, ids, "right")
        labels = tokens.masked_fill(mask == 0, -100)
        optimiser.zero_grad()
        model(input_ids=tokens, attention_mask=mask, labels=labels).loss.backward()
        optimiser.step()
    model.eval()
    return newer


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=HOME)
    p.add_argument("--texts", type=int, default=600)
    p.add_argument("--controls", type=int, default=20)
    p.add_argument("--steps", type=int, default=100, help="of the update")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    began = time.time()
    a, b = (load_small(f) for f in sorted(args.models.iterdir())[:2])
    middle = {lm.name: (lm.n_layers - 1) // 2 for lm in (a, b)}
    found, told = {}, {lm.name: stories(lm, args.texts, args.seed) for lm in (a, b)}
    for source, target in ((a, b), (b, a)):
        layers = (middle[source.name], middle[target.name])
        name = f"{Path(source.name).name} to {Path(target.name).name}"
        found[name] = carry(source, target, layers, told[source.name], args.controls)
    for lm in (a, b):
        newer = update(lm, args.steps, args.seed)
        layers = (middle[lm.name],) * 2
        name = f"{Path(lm.name).name} to its update"
        found[name] = carry(lm, newer, layers, told[lm.name], args.controls, updated=True)
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "seconds": round(time.time() - began),
        "settings": {"steps_of_update": args.steps, "seed": args.seed, "length": "the native vector's"}, "pairs": found,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    for name, pair in found.items():
        print(f"{name}: R2 {pair['alignment_r2_held_out']:.2f}")
        for concept, row in pair["concepts"].items():
            shown = "  ".join(f"{k} {v['estimate']:+.2f} [{v['low']:+.2f} {v['high']:+.2f}]" for k, v in row["effects"].items())  # noqa: E501
            print(f"  {concept:9s} {row['claim']}; {shown}")


if __name__ == "__main__":
    main()
