"""Time the palette solver against scipy's optimisers on the same dual, and check they agree.

    python benchmarks/rewards_palette.py [--values 10] [--replies 100000] [--repeats 7]

All solve: max over λ >= 0 of λ · c - log mean exp(λ · r). scipy is given the dual as one would
write it (numpy, log-sum-exp), alone or with its exact gradient; L-BFGS-B is what
`scipy.optimize.minimize` picks by itself for bounds. Writes results/rewards_palette.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np
import scipy
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from valuelab.rewards.combination import solve_palette

SOLVERS = {
    "scipy default (no gradient)": {"jac": False},
    "scipy L-BFGS-B, exact gradient": {"jac": True, "method": "L-BFGS-B"},
    "scipy SLSQP, exact gradient": {"jac": True, "method": "SLSQP", "options": {"ftol": 1e-12}},
    "scipy trust-constr, exact gradient": {
        "jac": True, "method": "trust-constr", "options": {"gtol": 1e-7},
    },
}


def problem(values: int, replies: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated normal rewards (replies, values) and targets 0.3 standard deviations up."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(values) + 0.15 * rng.normal(size=(values, values))
    r = torch.from_numpy(rng.normal(size=(replies, values)) @ mixing)
    return r, r.mean(0) + 0.3 * r.std(0)


def scipy_solve(r: np.ndarray, c: np.ndarray, jac: bool, **options) -> np.ndarray:
    def dual(weights):
        z = r @ weights
        norm = logsumexp(z)
        value = weights @ c - norm + np.log(len(r))
        return (-value, np.exp(z - norm) @ r - c) if jac else -value

    start, bounds = np.zeros(len(c)), [(0, None)] * len(c)
    return minimize(dual, start, jac=jac or None, bounds=bounds, **options).x


def seconds(function, repeats: int) -> tuple[float, object]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=10)
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    r, c = problem(args.values, args.replies, args.seed)
    ours, palette = seconds(lambda: solve_palette(r, c), args.repeats)
    rows = [{"solver": "valuelab.solve_palette", "seconds": ours, "times slower": 1.0,
             "largest difference in λ": 0.0}]
    for name, options in SOLVERS.items():
        taken, x = seconds(lambda o=options: scipy_solve(r.numpy(), c.numpy(), **o),
                           max(1, args.repeats // 2))
        difference = float(np.abs(x - palette.weights.numpy()).max())
        rows.append({"solver": name, "seconds": taken, "times slower": taken / ours,
                     "largest difference in λ": difference})
    for row in rows:
        print(f"{row['solver']:36s} {row['seconds'] * 1e3:9.1f} ms  x{row['times slower']:6.1f}  "
              f"difference {row['largest difference in λ']:.1e}")
    print(f"status {palette.status}, shortfall {palette.shortfall:.1e}, KL {palette.kl:.4f}")
    record = {
        "values": args.values, "replies": args.replies, "seed": args.seed, "rows": rows,
        "status": palette.status, "shortfall": palette.shortfall,
        "machine": f"{platform.machine()}, {platform.system()}",
        "threads": torch.get_num_threads(), "python": platform.python_version(),
        "torch": torch.__version__, "scipy": scipy.__version__, "date": date.today().isoformat(),
    }
    path = Path(__file__).parent / "results" / "rewards_palette.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
