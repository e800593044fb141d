"""Seconds and memory of `python -m valuelab report` on the embedded model, two values, as a learner starts it.

    python benchmarks/report.py [--values tradition,security]

Bar: two minutes on two cores. Writes benchmarks/results/report.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path

import torch
import transformers
from machine import cpu
from report_large import measure

from valuelab import models

RESULTS = Path(__file__).parent / "results" / "report.json"
BAR_SECONDS = 120


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--values", default="tradition,security")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary) / "report.html", "--values", args.values)
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "model": models.load(models.EMBEDDED).fingerprint,
        "values": args.values, **found, "bar_seconds": BAR_SECONDS, "held": found["seconds"] <= BAR_SECONDS,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
