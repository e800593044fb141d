"""Time two-choice scoring with and without the shared cache.

    python benchmarks/measure.py [--model FOLDER] [--items 2000]

Writes benchmarks/results/measure.json. Bars: 60 s for 2,000 items, and an item three times as fast as
choice by choice. Every item in both orders, four ways, the slow ones on a sample of the items:

  choice by choice   every continuation is one forward pass of prompt and continuation, no cache
  shared, one by one the prompt is read once for both choices: what the cache alone gains
  batched, no cache  the passes of the first, 64 at a time: what batches alone gain
  shared             valuelab.measure.scoring: both

Two choices share one prompt, so the cache can gain a factor of two at most; with twelve wordings of
the choices it can gain more. --proofs writes the table of
the three proofs of every estimator at 200 draws instead, which the lesson shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers
from machine import cpu

from valuelab import models, world
from valuelab.measure.readout import forced_choice, planted_choice
from valuelab.measure.scoring import score_choices

FRAMES = (
    " I would {b}.",
    " I will {b}.",
    " I choose to {b}.",
    " I want to {b}.",
    " My choice is to {b}.",
    " It is better to {b}.",
)


def timed(run) -> tuple[float, float, object]:
    """Wall seconds, processor seconds of this process, and the result."""
    wall, used = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - wall, time.process_time() - used, result


def write_proofs() -> None:
    from dataclasses import asdict

    from valuelab.measure import proofs

    seconds, _, rows = timed(lambda: proofs.proof_table(draws=200))
    proofs.STORED.write_text(
        json.dumps(
            {
                "what": "coverage of 95 % intervals, false alarms in the null twin, the confounded world",
                "cpu": cpu(),
                "numpy": np.__version__,
                "date": date.today().isoformat(),
                "seconds": round(seconds, 1),
                "rows": [asdict(r) for r in rows],
            },
            indent=1,
        )
        + "\n"
    )
    print(proofs.format_table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--proofs", action="store_true")
    parser.add_argument("--out", default="benchmarks/results/measure.json")
    args = parser.parse_args()
    if args.proofs:
        write_proofs()
        return
    lm = models.load(args.model)
    situations = world.situations("held_out", args.items, seed=1)
    items = [planted_choice(lm, s) for s in situations]
    forced_choice(lm, items[:64])  # warm up
    wall, shared, a = timed(lambda: forced_choice(lm, items))
    some, few = items[: 5 * args.sample], items[: args.sample]
    _, batched, b = timed(lambda: forced_choice(lm, some, shared=False))
    single_wall, single, _ = timed(
        lambda: [forced_choice(lm, [i], shared=False, batch_size=1) for i in few]
    )
    _, one_by_one, _ = timed(lambda: [forced_choice(lm, [i], batch_size=1) for i in few])
    wide = [planted_choice(lm, s, opening="", frames=FRAMES) for s in situations[: args.sample]]
    _, wide_shared, _ = timed(lambda: forced_choice(lm, wide))
    _, wide_batched, _ = timed(lambda: forced_choice(lm, wide, shared=False))
    each = {
        "shared": shared / len(items),
        "batched": batched / len(some),
        "single": single / len(few),
        "one by one": one_by_one / len(few),
    }
    speedup_wall = single_wall / len(few) / (wall / len(items))
    prompt = [len(row) for row in models.encode(lm, [p for i in some for p in i.prompts])]
    choice = score_choices(lm, some[0].prompts[:1], [[*some[0].a[0], *some[0].b[0]]]).tokens[0]
    result = {
        "what": "two-choice items in both orders, log-probability of each choice; ms and speed-ups "
        "in processor time of this process, which other programs on the machine do not change",
        "model": models.describe(lm),
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": date.today().isoformat(),
        "items": len(items),
        "tokens": {"prompt": round(float(np.mean(prompt)), 1), "choices of the first": choice.tolist()},
        "bars": {
            f"{len(items)} items in 60 s": wall <= 60,
            "three times as fast as choice by choice": speedup_wall >= 3,
        },
        "seconds_shared_wall": round(wall, 1),
        "seconds_shared_processor": round(shared, 1),
        "ms_per_item_shared": round(1e3 * each["shared"], 2),
        "ms_per_item_batched_no_cache": round(1e3 * each["batched"], 2),
        "ms_per_item_choice_by_choice": round(1e3 * each["single"], 2),
        "ms_per_item_shared_one_by_one": round(1e3 * each["one by one"], 2),
        "speedup_over_choice_by_choice": round(each["single"] / each["shared"], 2),
        "speedup_over_choice_by_choice_wall": round(speedup_wall, 2),
        "speedup_of_the_cache_alone": round(each["single"] / each["one by one"], 2),
        "speedup_over_batched_no_cache": round(each["batched"] / each["shared"], 2),
        "twelve_wordings_speedup_over_batched_no_cache": round(wide_batched / wide_shared, 2),
        "largest_difference_in_log_probability": float(
            np.abs(np.log(a.mass[: len(some)]) - np.log(b.mass)).max()
        ),
    }
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
