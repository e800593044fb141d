"""Train reward models on the planted world's noisy comparisons: accuracy against the Bayes rate.

    python benchmarks/rewards_model.py [--value security] [--pairs 2000] [--epochs 2] [--seeds 2] [--shuffles 5]

Trains the whole backbone (VALUELAB_MODEL, or the embedded model) on two seeds, five times more on
preferences shuffled anew, and reads held-out pairs (new combinations, new wordings of the question).
Bars: accuracy at least 95 % of the Bayes rate, at most 90 s of training on 2 cores, shuffled within
chance. A model of noise has a taste of its own, the same for all held-out pairs, so chance is judged over
shufflings and not over pairs. Writes results/rewards_model.json.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from valuelab import models
from valuelab.measure.intervals import mean_interval
from valuelab.rewards.calibration import (
    accuracy,
    calibration,
    disagreement,
    fit_temperature,
    length_correlation,
)
from valuelab.rewards.preferences import bayes_rate, shuffled, world_comparisons
from valuelab.rewards.reward_model import RewardConfig, train_reward_model


def report(name: str, model, test, best: float) -> dict:
    gaps = model.gaps(test)
    share, low, high = accuracy(gaps)
    row = {
        "name": name, "seconds": model.seconds, "accuracy": share, "low": low, "high": high,
        "of_bayes": share / best, "length_correlation": length_correlation(gaps, test),
        "ece": calibration(gaps).ece,
    }
    if low > 0.5:
        row["temperature"] = fit_temperature(gaps)
    print(f"{name:12s} {row['seconds']:6.1f} s  accuracy {share:.3f} [{low:.3f}, {high:.3f}], "
          f"{row['of_bayes']:.1%} of the Bayes rate {best:.3f}; ECE {row['ece']:.3f}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--value", default="security")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=RewardConfig.epochs)
    parser.add_argument("--lr", type=float, default=RewardConfig.lr)
    args = parser.parse_args()
    lm = models.load()
    train = world_comparisons(args.value, args.pairs, seed=0)
    test = world_comparisons(args.value, args.held_out, seed=1, split="held_out")
    best = bayes_rate(test)
    rows, gaps = [], []
    for seed in range(args.seeds):
        config = RewardConfig(epochs=args.epochs, lr=args.lr, seed=seed)
        model = train_reward_model(lm, train, config, progress=True)
        rows.append(report(f"seed {seed}", model, test, best))
        gaps.append(model.gaps(test))
    for seed in range(args.shuffles):
        control = train_reward_model(lm, shuffled(train, seed), replace(config, seed=seed), progress=True)
        rows.append(report(f"shuffled {seed}", control, test, best))
    chance = mean_interval(np.array([r["accuracy"] for r in rows[args.seeds :]]))
    print(f"shuffled, mean of {args.shuffles}: {chance}")
    record = {
        "value": args.value, "pairs": args.pairs, "held_out": args.held_out, "bayes": best,
        "model": lm.name, "config": asdict(config), "rows": rows,
        "shuffled": {"mean": chance.estimate, "low": chance.low, "high": chance.high, "n": args.shuffles},
        "disagreement": disagreement(gaps) if len(gaps) > 1 else None,
        "machine": f"{platform.machine()}, {platform.system()}",
        "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "date": date.today().isoformat(),
    }
    path = Path(__file__).parent / "results" / "rewards_model.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
