"""The honest table on 20 seeds: when the log-sigmoid-centred transform helps, and when not.

    python benchmarks/rewards_honest_table.py [--seeds 20]

Writes results/rewards_honest_table.json. Takes about half a minute on one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch

from valuelab.rewards.laboratory import Estimate, both_good_table, proxy_error_table


def plain(row: dict) -> dict:
    return {k: asdict(v) if isinstance(v, Estimate) else v for k, v in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    start = time.perf_counter()
    errors = proxy_error_table(seeds)
    for row in errors:
        print(f"{row['error']:>9} KL {row['kl']:.0f}  mean raw {row['mean_raw']}  LSC "
              f"{row['mean_lsc']}  gain {row['mean_gain']}")
        print(f"{'':>15} tail raw {row['tail_raw']}  LSC {row['tail_lsc']}  gain {row['tail_gain']}")
    conjunctions = []
    for rho, kl in ((-0.5, 1.0), (0.0, 1.0), (0.8, 1.0), (-0.5, 3.0)):
        table = both_good_table(seeds, rho=rho, kl=kl)
        conjunctions.append({"rho": rho, "kl": kl, **plain(table)})
        print(f"both good, rho {rho}, KL {kl}: " + ", ".join(f"{k} {v}" for k, v in table.items()))
    record = {
        "seeds": len(seeds), "prompts": 400, "replies": 256, "seconds": time.perf_counter() - start,
        "proxy_error": [plain(row) for row in errors], "both_good": conjunctions,
        "machine": f"{platform.machine()}, {platform.system()}",
        "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "date": date.today().isoformat(),
    }
    path = Path(__file__).parent / "results" / "rewards_honest_table.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
