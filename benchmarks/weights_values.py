"""Preference vectors on the embedded model: what they do, what they leak, and what they cost.

    python benchmarks/weights_values.py [--values stimulation power tradition] [--steps 16] [--prompts 20]

For each value: DPO on planted comparisons, DPO on the same comparisons flipped, their difference φ and the
drift δ that both share. Measured on held-out situations (choice in both orders), on free replies (grammar)
and on facts: φ at several strengths, flipped, δ alone, plain DPO, a random vector of equal norm tensor by
tensor, DPO through a low-rank adapter, a mixing grid of two values, the triangle of three, and stances over
the steps of a voice, of preferences with a value gap and without. Intervals over situations. Writes
benchmarks/results/weights_values.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers
from machine import cpu

from valuelab import models, weights
from valuelab import world as W
from valuelab.evaluate import planted
from valuelab.measure.intervals import paired_difference
from valuelab.rewards.preferences import world_comparisons
from valuelab.values import VALUES

SCALES = (-0.5, 0.25, 0.5, 0.75, 1.0)
GRID = (0.0, 0.25, 0.5)


class Bench:
    """One model, its held-out situations, and what it chose before any edit."""

    def __init__(self, lm, prompts: int, replies: int, seed: int):
        self.lm, self.replies, self.seed = lm, replies, seed
        self.asked = {v: W.situations("held_out", prompts, 100 + seed, value=v) for v in VALUES}
        self.free = W.situations("held_out", replies, 200 + seed)
        self.before = self.choices()

    def choices(self, values=VALUES) -> dict[str, np.ndarray]:
        return {v: planted.toward(planted.both_orders(self.lm, self.asked[v]), self.asked[v], v) for v in values}

    def moved(self, now: dict[str, np.ndarray], v: str) -> list[float]:
        """Gain in points: estimate, low, high, over situations."""
        found = paired_difference(now[v], self.before[v])
        return [round(100 * float(x), 1) for x in (found.estimate, found.low, found.high)]

    def speech(self) -> dict[str, float]:
        read = planted.replies(self.lm, self.free, seed=self.seed)
        return {
            "grammatical": round(float(np.mean([r.grammatical for r in read])), 3),
            "facts": planted.facts_right(self.lm, self.replies, seed=self.seed),
        }

    def measure(self, vectors, scales, value: str | None = None, speech: bool = True) -> dict:
        """One edit: gain of the value, mean absolute change of the other nine, all ten, grammar, facts."""
        with weights.mixed(self.lm, vectors, scales):
            now = self.choices()
            said = self.speech() if speech else {}
        ten = {v: self.moved(now, v) for v in VALUES}
        out = {"ten": {v: x[0] for v, x in ten.items()}, **said}
        if value:
            leak = float(np.mean([abs(x[0]) for v, x in ten.items() if v != value]))
            out = {"target": ten[value], "leakage": round(leak, 1), **out}
        return out


def train_vectors(bench: Bench, values, config) -> tuple[dict, dict, dict]:
    """φ, δ and the training figures of each value."""
    base, phi, delta, runs = weights.weights_of(bench.lm), {}, {}, {}
    for v in values:
        start = time.perf_counter()
        comparisons = world_comparisons(v, config.steps * config.batch_size, seed=bench.seed)
        pairs = weights.prepare_pairs(bench.lm, comparisons)
        both = [weights.train_dpo(bench.lm, p, config) for p in (pairs, pairs.flipped())]
        phi[v], delta[v] = weights.preference_and_drift(*map(weights.weights_of, both), base)
        runs[v] = {
            "loss_true": [round(float(np.mean(x)), 3) for x in (both[0].history[:3], both[0].history[-3:])],
            "loss_flipped": [round(float(np.mean(x)), 3) for x in (both[1].history[:3], both[1].history[-3:])],
            "norm_of_phi": round(weights.norm(phi[v]), 3),
            "norm_of_drift": round(weights.norm(delta[v]), 3),
            "cosine_of_phi_and_drift": round(weights.cosine(phi[v], delta[v]), 3),
            "seconds": round(time.perf_counter() - start, 1),
        }
    return phi, delta, runs


def single_vectors(bench: Bench, phi: dict, delta: dict) -> dict:
    out = {}
    for v in phi:
        drawn = [bench.measure([weights.random_like(phi[v], k)], [0.5], v, speech=k == 0) for k in range(3)]
        out[v] = {
            "phi": {str(s): bench.measure([phi[v]], [s], v) for s in SCALES},
            "drift_alone": bench.measure([delta[v]], [1.0], v),
            "plain_dpo": bench.measure([phi[v], delta[v]], [0.5, 1.0], v),
            "random_at_half": {"targets": [d["target"] for d in drawn], **drawn[0]},
        }
    return out


def low_rank(bench: Bench, values, config) -> dict:
    """DPO through an adapter of rank 4, measured like the other edits."""
    thin, base = replace(config, lora_rank=4, lr=10 * config.lr), weights.weights_of(bench.lm)
    out = {"rank": thin.lora_rank, "lr": thin.lr}
    for v in values:
        comparisons = world_comparisons(v, config.steps * config.batch_size, seed=bench.seed)
        tuned = weights.train_dpo(bench.lm, comparisons, thin)
        out[v] = bench.measure([weights.task_vector(weights.weights_of(tuned), base)], [1.0], v)
    return out


def mixing_grid(bench: Bench, phi: dict, pair: tuple[str, str]) -> list[dict]:
    """Both values of a pair over a grid of strengths."""
    rows = []
    for a in GRID:
        for b in GRID:
            with weights.mixed(bench.lm, [phi[v] for v in pair], [a, b]):
                now = bench.choices(pair)
            rows.append({"scales": [a, b], "points": [bench.moved(now, v) for v in pair]})
    return rows


def triangle(bench: Bench, phi: dict) -> list[dict]:
    names, rows = list(phi), []
    for i in range(4):
        for j in range(4 - i):
            shares = [i / 3, j / 3, (3 - i - j) / 3]
            with weights.mixed(bench.lm, list(phi.values()), [0.5 * s for s in shares]):
                now = bench.choices(names)
            points = [bench.moved(now, v)[0] for v in names]
            rows.append({"shares": [round(s, 3) for s in shares], "points": points})
    return rows


def solved_mixture(bench: Bench, phi: dict, single: dict, wanted_values) -> dict:
    """Weights for 10 points on some values and none on the others; predicted and reached."""
    effects = torch.tensor([[single[v]["phi"]["0.5"]["ten"][u] / 0.5 for u in VALUES] for v in phi])
    wanted = torch.tensor([10.0 if v in wanted_values else 0.0 for v in VALUES])
    scales = weights.mixing_weights(effects, wanted, ridge=1.0)
    reached = bench.measure(list(phi.values()), scales.tolist())
    predicted = (scales @ effects).tolist()
    r = float(np.corrcoef(predicted, list(reached["ten"].values()))[0, 1])
    return {
        "wanted": {v: 10 for v in wanted_values},
        "scales": {v: round(x, 3) for v, x in zip(phi, scales.tolist(), strict=True)},
        "predicted": {v: round(x, 1) for v, x in zip(VALUES, predicted, strict=True)},
        "reached": reached,
        "correlation": round(r, 3),
    }


def drifts(bench: Bench, value: str, config) -> dict:
    """Magnitude and time of one value's stance over three kinds of training."""
    n, base = config.steps * config.batch_size, weights.weights_of(bench.lm)
    every = sorted({0, *np.linspace(1, config.steps, 6).round().astype(int).tolist()})

    def watch(train, *data) -> dict:
        seen = [bench.before[value]]

        def look(step, model):
            if step in every:
                with weights.mixed(bench.lm, [weights.task_vector(weights.weights_of(model), base)], [1.0]):
                    seen.append(bench.choices([value])[value])

        train(bench.lm, *data, config, on_step=look)
        return weights.drift(np.array(seen), np.array(every)).as_dict()

    return {
        "value": value,
        "steps": every,
        "one voice": watch(weights.train_replies, *weights.voice_replies(value, n, bench.seed)),
        "preferences with a value gap": watch(weights.train_dpo, world_comparisons(value, n, bench.seed)),
        "preferences without a gap": watch(weights.train_dpo, weights.without_gap(value, n, bench.seed)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--values", nargs="+", default=["stimulation", "power", "tradition"])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--lr", type=float, default=weights.TuneConfig.lr)
    parser.add_argument("--prompts", type=int, default=16, help="held-out situations a value")
    parser.add_argument("--replies", type=int, default=32, help="free replies and facts an edit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "weights_values.json"))
    args = parser.parse_args()
    wall, used = time.perf_counter(), time.process_time()
    lm = models.load(args.model)
    kept = {n: w.clone() for n, w in weights.weights_of(lm).items()}
    config = weights.TuneConfig(steps=args.steps, lr=args.lr, seed=args.seed)
    bench = Bench(lm, args.prompts, args.replies, args.seed)
    phi, delta, runs = train_vectors(bench, args.values, config)
    single = single_vectors(bench, phi, delta)
    record = {
        "what": "preference vectors (DPO on true minus DPO on flipped pairs). Changes of the choice in points, "
        "[estimate, low, high] with 95 % intervals over held-out situations; leakage is the mean size of the change "
        "of the other nine values",
        "model": models.describe(lm),
        "fingerprint": lm.fingerprint,
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": date.today().isoformat(),
        "seed": args.seed,
        "settings": {**vars(config), "prompts": args.prompts, "replies": args.replies},
        "unedited": {"choice": {v: round(float(p.mean()), 3) for v, p in bench.before.items()}, **bench.speech()},
        "training": runs,
        "overlap_of_phi": weights.overlap(list(phi.values())).round(decimals=3).tolist(),
        "single": single,
        "low_rank": low_rank(bench, args.values, config),
        "mixing_grid": {" + ".join(args.values[-2:]): mixing_grid(bench, phi, tuple(args.values[-2:]))},
        "triangle": triangle(bench, phi),
        "solved_mixture": solved_mixture(bench, phi, single, args.values[-2:]),
        "drift": drifts(bench, args.values[-1], config),
        "base_restored_bit_for_bit": all(torch.equal(w, kept[n]) for n, w in weights.weights_of(lm).items()),
    }
    record["seconds_wall"] = round(time.perf_counter() - wall, 1)
    record["seconds_processor"] = round(time.process_time() - used, 1)
    Path(args.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for v in args.values:
        half, noise = single[v]["phi"]["0.5"], single[v]["random_at_half"]
        print(f"{v}: {half['target']} leak {half['leakage']} gram {half['grammatical']} facts {half['facts']}; "
              f"random {noise['target']} drift {single[v]['drift_alone']['target']}")  # fmt: skip
    print(f"{record['seconds_wall']} s wall, {record['seconds_processor']} s processor")


if __name__ == "__main__":
    main()
