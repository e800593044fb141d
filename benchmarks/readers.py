"""Rows a second through every reader, and memory on a file of a million rows.

    python benchmarks/readers.py                 # everything; about five minutes
    python benchmarks/readers.py --rows 2000 --long 20000 --out -     # a quick look

Three measurements, written to benchmarks/results/readers.json:

  made      a file made of the rows in tests/data/data_samples.py, repeated with new ids, for each
            reader. The same number of rows for all, so this shows what a reader costs.
  long      the slowest of them on a file of 100,000 and of 1,000,000 rows: rows a second, and the
            peak memory of a process that does nothing else.
  real      the real files, where they are at hand. Rows differ a lot in size there (a case of
            agent_valuebench is a file of 7 kB), so megabytes a second stand beside.

Seconds are CPU seconds of the process, best of three. Other programs still cost through shared
caches and hyperthreads, so `load_average` and `loop_seconds` (a plain loop of a million steps, the
shortest of ten) are written down: compare machines by rates times loop_seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT / "tests" / "data")]

from data_damage import suffix  # noqa: E402
from data_samples import CASES, Sample  # noqa: E402

from valuelab import data  # noqa: E402
from valuelab.data.readers import NAMES  # noqa: E402

BAR = 20_000


# ------------------------------------------------------------------------------------- making files


def renumber(old, i):
    """A new id of the same form: 7 -> i, "55" -> "i", "H_001" -> "H_i", "A00001" -> "B00000"."""
    if isinstance(old, int):
        return i
    if re.fullmatch(r"[A-Z]\d{5}", old):
        return f"{chr(65 + i // 100_000)}{i % 100_000:05d}"
    return re.sub(r"\d+", str(i), old)


def rows_of(sample: Sample, n: int):
    """`n` rows: those of the sample, again and again, with new ids."""
    for i in range(n):
        row = sample.rows[i % len(sample.rows)]
        yield {**row, sample.id: renumber(row[sample.id], i)} if sample.id else row


def make(name: str, root: Path, n: int) -> None:
    """Files of `n` rows for one dataset, in the format of its main file."""
    samples = [s for s in CASES[name].files if s.rows]
    main = samples[0]
    if main.whole:
        for i in range(n):
            path = root / main.path.replace("00001", f"{i:07d}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**main.rows, "case_name": f"case {i}"}), encoding="utf-8")
        return
    _write(main, root / main.path, n)
    if name == "valueeval23":  # its two files hold the same arguments
        labels = samples[1]
        labels.id = main.id
        _write(labels, root / labels.path, n)


def _write(sample: Sample, path: Path, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = suffix(sample)
    if path.suffix == ".gz":
        out = gzip.open(path, "wt", encoding="utf-8", compresslevel=1)
    else:
        out = open(path, "w", encoding="utf-8", newline="")
    with out:
        if kind in (".csv", ".tsv"):
            _write_cells(sample, out, n)
        elif kind == ".jsonl":
            out.writelines(f"{json.dumps(r, ensure_ascii=False)}\n" for r in rows_of(sample, n))
        elif kind == ".txt":
            out.write(sample.rows)
            out.writelines("[00:00:09] They grow.\n\n" for _ in range(n - 2))
        elif isinstance(sample.rows, dict):
            _write_object(sample, out, n)
        else:
            lines = (json.dumps(r, ensure_ascii=False) for r in rows_of(sample, n))
            out.write("[\n" + next(lines))
            out.writelines(f",\n{line}" for line in lines)
            out.write("\n]\n")


def _write_cells(sample: Sample, out, n: int) -> None:
    rows = rows_of(sample, n)
    if not sample.quoted:
        out.write("\t".join(sample.rows[0]) + "\n")
        out.writelines("\t".join(r.values()) + "\n" for r in rows)
        return
    writer = csv.writer(out, lineterminator="\n")
    if sample.header:
        writer.writerow(sample.rows[0])
    writer.writerows(r.values() if isinstance(r, dict) else r for r in rows)


def _write_object(sample: Sample, out, n: int) -> None:
    """Objects: keys that name values keep them and get longer lists, others get new keys."""
    key, value = next(iter(sample.rows.items()))
    if isinstance(value, list):
        per = max(1, n // 10) if key == "Power" else 50
        keys = VALUES if key == "Power" else (f"{key} {i}" for i in count())
        items = ((k, (value * per)[:per]) for k, _ in zip(keys, range(n // per), strict=False))
    else:
        items = ((renumber(key, i), {**value, "id": renumber(key, i)}) for i in range(n))
    lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in items)
    out.write("{\n" + next(lines))
    out.writelines(f",\n{line}" for line in lines)
    out.write("\n}\n")


VALUES = (
    *("Achievement", "Benevolence", "Conformity", "Hedonism", "Power", "Security"),
    *("Self-Direction", "Stimulation", "Tradition", "Universalism"),
)


# ---------------------------------------------------------------------------------------- measuring


def bytes_of(name: str, root: Path) -> int:
    """Size of what the reader opens, unpacked sizes not counted."""
    patterns = data.readers.reader(name).needs
    return sum(f.stat().st_size for p in patterns for f in root.glob(p))


def run(name: str, root: Path, times: int = 3) -> dict:
    """Records read, CPU seconds (best of `times`), and the two rates."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        n = sum(1 for _ in data.read(name, root))
        best = min(best, time.process_time() - start)
    size = bytes_of(name, root)
    return {
        "records": n,
        "cpu_seconds": round(best, 4),
        "records_per_second": round(n / best),
        "megabytes_per_second": round(size / 1e6 / best, 1),
    }


def alone(name: str, root: Path) -> dict:
    """One pass in a process of its own, with its peak memory."""
    command = [sys.executable, __file__, "--one", name, str(root)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def one(name: str, root: Path) -> None:
    idle = peak_memory()
    result = run(name, root, times=1)
    result |= {"idle_megabytes": idle, "peak_megabytes": peak_memory()}
    print(json.dumps(result))


def peak_memory() -> float:
    """Peak resident memory of this process in MB (Linux counts in kB, macOS in bytes)."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def loop_seconds() -> float:
    """CPU seconds of a plain Python loop: what this machine is worth while we measure."""
    best = float("inf")
    for _ in range(10):
        start, total = time.process_time(), 0
        for i in range(1_000_000):
            total += i & 3
        best = min(best, time.process_time() - start)
    return round(best, 4)


def machine() -> dict:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        cpu = found[1] if found else cpu
    names = ("datasets", "pyarrow", "numpy")
    return {
        "cpu": cpu,
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "loop_seconds": loop_seconds(),
        "python": platform.python_version(),
        **{n: version(n) for n in names},
        "date": date.today().isoformat(),
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rows", type=int, default=10_000, help="rows of the made files")
    p.add_argument("--long", type=int, default=1_000_000, help="rows of the long file")
    p.add_argument("--data", type=Path, help="the real files (default: $VALUELAB_DATA)")
    p.add_argument("--out", default=str(ROOT / "benchmarks/results/readers.json"), help="or -")
    p.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.one:
        return one(args.one[0], Path(args.one[1]))

    result = {"what": __doc__.splitlines()[0], "machine": machine(), "bar": BAR, "made": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            root = Path(folder) / name
            # one file a row there, so fewer of them
            make(name, root, args.rows if not CASES[name].files[0].whole else args.rows // 10)
            result["made"][name] = run(name, root)
            print(f"{name:28s}", result["made"][name], file=sys.stderr)
        rate = {k: v["records_per_second"] for k, v in result["made"].items()}
        result["slowest"] = min(rate, key=rate.get)
        # memory is asked of the slowest reader whose rows share a file
        shared = {k: v for k, v in rate.items() if not CASES[k].files[0].whole}
        slowest = min(shared, key=shared.get)
        result["long"] = {"reader": slowest}
        for n in (args.long // 10, args.long):
            root = Path(folder) / f"long-{n}"
            make(slowest, root, n)
            result["long"][f"{n:,}"] = alone(slowest, root)
            print(n, result["long"][f"{n:,}"], file=sys.stderr)
    slow = result["long"][f"{args.long:,}"]
    result["bars"] = {
        "slowest made": rate[result["slowest"]] >= BAR,
        "long": slow["records_per_second"] >= BAR,
        "megabytes per million rows": round(
            (slow["peak_megabytes"] - slow["idle_megabytes"]) * 1e6 / args.long, 1
        ),
    }
    print(result["bars"], file=sys.stderr)
    base = args.data or os.environ.get("VALUELAB_DATA")
    result["real"] = {}
    for name in NAMES:
        if base and (Path(base) / name).is_dir():
            result["real"][name] = run(name, Path(base) / name, times=2)
            print(f"{name:28s}", result["real"][name], file=sys.stderr)
    text = json.dumps(result, indent=1) + "\n"
    if args.out == "-":
        print(text)
    else:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
