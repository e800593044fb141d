"""A small reward-model benchmark on the preference pairs at hand: real ones, and the course's own.

    python benchmarks/rewards_pairs.py [--model FOLDER] [--pairs 600] [--data FOLDER]

For each dataset a linear reward on the unchanged model's features, trained on two thirds of the contexts and read on
the rest; beside it what length alone reaches, and the same fit on shuffled preferences, which has to be a coin. A small
model need not beat length on real text: both are printed. Writes results/rewards_pairs.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from datetime import date
from pathlib import Path

import torch
from machine import cpu

from valuelab import data, models
from valuelab.rewards.calibration import accuracy, benchmark
from valuelab.rewards.preferences import Comparison, course_comparisons, from_records, shuffled
from valuelab.rewards.reward_model import fit_context, fit_linear_reward, pair_features

PUBLIC = ("hh_rlhf", "constitutional_harmlessness", "progressgym", "ethics")
RIDGE = 0.1


def pairs_of(name: str, folder: Path, most: int) -> list[Comparison]:
    """Up to `most` comparisons, spread over the dataset; options that are mere letters are left out."""
    if name == "course_preferences":
        return course_comparisons()
    found = [c for c in from_records(data.read(name, folder), head=name) if len(c.chosen.strip()) > 4]
    return random.Random(0).sample(found, min(most, len(found)))


def measure(lm, comparisons: list[Comparison]) -> dict:
    """Held-out rows of `benchmark` for the reward, and accuracies of length and of the shuffled control."""
    contexts = sorted({c.context_id for c in comparisons})
    random.Random(1).shuffle(contexts)
    held = set(contexts[: len(contexts) // 3])
    train = [c for c in comparisons if c.context_id not in held]
    test = [c for c in comparisons if c.context_id in held]
    kept: dict[str, list] = {"reward": [], "shuffled": []}
    order: list[Comparison] = []
    for head in sorted({c.head for c in comparisons}):
        mine, theirs = ([c for c in part if c.head == head] for part in (train, test))
        order += theirs
        z, z_test = _differences(lm, mine), _differences(lm, theirs)
        coin = [1.0 if a == b else -1.0 for a, b in zip(mine, shuffled(mine), strict=True)]
        kept["reward"].append(fit_linear_reward(z, ridge=RIDGE)(z_test))
        kept["shuffled"].append(fit_linear_reward(z * torch.tensor(coin)[:, None], ridge=RIDGE)(z_test))
    longer = torch.tensor([float(len(c.chosen.split()) - len(c.rejected.split())) for c in order])
    return {
        "train": len(train),
        "test": len(test),
        "reward": benchmark(torch.cat(kept["reward"]), order),
        "length alone": accuracy(longer),
        "shuffled": accuracy(torch.cat(kept["shuffled"])),
    }


def _differences(lm, comparisons: list[Comparison]) -> torch.Tensor:
    won, lost = pair_features(lm, comparisons)
    return (won - lost).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="hub id or folder (default: the embedded model)")
    parser.add_argument("--pairs", type=int, default=600, help="at most so many of each dataset")
    parser.add_argument("--data", type=Path, default=os.environ.get("VALUELAB_DATA"), help="folder of the datasets")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "rewards_pairs.json"), help="or -")
    args = parser.parse_args()
    lm = models.load(args.model)
    record = {"what": __doc__.splitlines()[0], "model": models.describe(lm), "cpu": cpu(),
              "torch": torch.__version__, "date": date.today().isoformat(), "datasets": {}}  # fmt: skip
    for name in ("course_preferences", *PUBLIC):
        folder = Path(args.data or "") / name
        if name != "course_preferences" and not (args.data and folder.is_dir()):
            print(f"{name:28s} not at hand: name the folder of the datasets with --data")
            continue
        row = measure(lm, fit_context(lm, pairs_of(name, folder, args.pairs)))
        record["datasets"][name] = row
        shown = {"reward": row["reward"]["all"], "length": row["length alone"], "shuffled": row["shuffled"]}
        share = ", ".join(f"{key} {x[0]:.2f} [{x[1]:.2f}, {x[2]:.2f}]" for key, x in shown.items())
        print(f"{name:28s} {row['train']} + {row['test']} pairs: {share}", flush=True)
    text = json.dumps(record, indent=1) + "\n"
    if args.out == "-":
        print(text)
    else:
        Path(args.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
