"""Write pairs.csv from contexts.csv and constructions.csv; with --check only compare.

    python datasets/pairs/make.py [--seed 0] [--check]
"""
import argparse
import sys
import tempfile
from pathlib import Path

from valuelab.data import pairs

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--check", action="store_true", help="fail if pairs.csv is out of date")
options = parser.parse_args()
target = pairs.FOLDER / "pairs.csv"
with tempfile.TemporaryDirectory() as folder:
    fresh = Path(folder) / "pairs.csv"
    made = pairs.build(options.seed)
    pairs.write(made, fresh)
    if not options.check:
        target.write_bytes(fresh.read_bytes())
        print(f"wrote {len(made)} pairs to {target.name}")
    elif not target.exists() or target.read_bytes() != fresh.read_bytes():
        sys.exit(f"{target.name} differs from what seed {options.seed} gives: run without --check")
    else:
        print(f"{target.name} is up to date: {len(made)} pairs")
