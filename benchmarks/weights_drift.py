"""Stances and geometry of the embedded model while it was pretrained: the table that lesson 09 shows.

    python benchmarks/weights_drift.py 60000=FOLDER 80000=FOLDER … [--prompts 24]

Each argument is a checkpoint of one training run: documents seen, and the folder of the model then
(`valuelab.world.train` saves stages; a few lines around its `write` save more). Checkpoint 0 is the same
architecture with fresh weights, and the shipped model comes last, with the documents on its card. For each
value and each held-out situation about it: the probability of the action that serves the value, both
orders averaged; and the geometry of the states in which the model is about to answer. Writes
lib/valuelab/weights/pretraining.json.
"""

from __future__ import annotations

import argparse
import json
from datetime import date

import torch

from valuelab import models
from valuelab import world as W
from valuelab.evaluate import planted
from valuelab.values import VALUES
from valuelab.weights.voices import STORED, answering_shape


def stances(lm, prompts: int, seed: int) -> dict[str, list[float]]:
    """Choice for each value on its held-out situations."""
    out = {}
    for value in VALUES:
        asked = W.situations("held_out", prompts, seed, value=value)
        p = planted.toward(planted.both_orders(lm, asked), asked, value)
        out[value] = [round(float(x), 4) for x in p]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", help="DOCUMENTS=FOLDER")
    parser.add_argument("--prompts", type=int, default=24, help="situations a value")
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--keep", action="store_true", help="keep the stored rows of other checkpoints of the same run")
    args = parser.parse_args()
    shipped = models.load(models.EMBEDDED)
    total = json.loads((models.EMBEDDED / "training.json").read_text(encoding="utf-8"))["documents"]
    stages = {0: models.untrained(shipped), total: shipped}
    for entry in args.checkpoints:
        documents, _, folder = entry.partition("=")
        stages[int(documents)] = models.load(folder)
    situations = {"split": "held_out", "n": args.prompts, "seed": args.seed}
    found = {k: stances(lm, args.prompts, args.seed) for k, lm in stages.items()}
    shapes = {k: answering_shape(lm, args.seed) for k, lm in stages.items()}
    if args.keep:
        before = json.loads(STORED.read_text(encoding="utf-8"))
        if before["situations"] != situations:
            raise SystemExit(f"{STORED.name} holds {before['situations']}, not {situations}: its rows cannot be kept.")
        for i, k in enumerate(before["documents"]):
            if k not in stages:
                found[k] = {v: rows[i] for v, rows in before["stances"].items()}
                shapes[k] = {name: rows[i] for name, rows in before["geometry"].items()}
    order = sorted(found)
    record = {
        "what": "probability of the action that serves the value, per checkpoint and held-out situation, both orders "
        "averaged; checkpoint 0 has fresh weights, the last is the shipped model",
        "fingerprint": shipped.fingerprint,
        "situations": situations,
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "documents": order,
        "stances": {v: [found[k][v] for k in order] for v in VALUES},
        "geometry": {name: [[round(x, 4) for x in shapes[k][name]] for k in order] for name in shapes[total]},
    }
    STORED.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{STORED.name}: {len(order)} checkpoints, {STORED.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
