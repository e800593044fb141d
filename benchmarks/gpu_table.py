"""One command for the whole GPU table: measure, then write results/README.md.

    PYTHONPATH=lib python benchmarks/gpu_table.py            measure on this machine's GPU
    PYTHONPATH=lib python benchmarks/gpu_table.py --table    only rewrite the table from the files

A bar without a measurement says "not measured".
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from timing import RESULTS


def pick(rows, **wanted):
    """The first row that has all these entries and no error."""
    for row in rows:
        if all(row.get(k) == v for k, v in wanted.items()) and "error" not in row:
            return row
    return None


def ratio(rows, slow: dict, fast: dict):
    """How many times longer `slow` takes than `fast`, or None."""
    a, b = pick(rows, **slow), pick(rows, **fast)
    return a["median_us"] / b["median_us"] if a and b else None


def bars(micro: list[dict], decode: list[dict]) -> list[tuple[str, str, str]]:
    """(what, bar, measured) for each claim about speed."""
    big = {"kernel": "steer", "n": 65_536, "d": 4096}
    fused = {**big, "variant": "fused in place", "open": 0.1}
    compiled = [ratio(micro, {**big, "variant": v}, fused)
                for v in ("torch.compile", "torch.compile in place")]  # fmt: skip
    compiled = [c for c in compiled if c]
    joint = {"kernel": "joint", "n": 65_536, "k": 8}
    share = pick(micro, **fused)
    whole = pick(micro, **{**fused, "open": 1.0})
    peaks = [pick(micro, kernel="logprob", variant=v) for v in ("fused", "eager as written")]
    in_graphs = [row for row in decode if row["phase"] == "decode" and row["graph"]]

    def times(x):
        return "not measured" if x is None else f"{x:.2f} x"

    def part(row):
        return "not measured" if row is None else f"{row['share_of_copy']:.0%}"

    def against(slow: str):
        return times(ratio(micro, {**big, "variant": slow}, fused))

    def decoded(how: str):
        rows = [row for row in in_graphs if row["steering"] == how]
        found = [f"{row['model']} batch {row['batch']}: {row['of_unsteered']:.3f} x" for row in rows]
        return ", ".join(found) or "not measured"

    logs = {"kernel": "logprob"}
    memory = peaks[0]["peak_bytes"] / peaks[1]["peak_bytes"] if all(peaks) else None
    gemm = ratio(micro, {**joint, "variant": "library"}, {**joint, "variant": "GEMM + addmm alone"})
    softmax = ratio(micro, {**logs, "variant": "eager as written"}, {**logs, "variant": "fused"})
    at = "N = 65 536, D = 4096, bf16, one gate in ten open"
    return [
        (f"kernel 1 in place, {at}: share of copy bandwidth", ">= 85 %", part(share)),
        ("the same, every gate open", "(shown)", part(whole)),
        ("kernel 1 against eager as written", ">= 4 x", against("eager as written")),
        ("kernel 1 against the best eager", "(shown)", against("best eager")),
        ("kernel 1 against torch.compile, the better of two", ">= 1.5 x", times(min(compiled, default=None))),
        ("kernel 2, K = 8, library path, time against GEMM + addmm alone", "<= 1.5 x", times(gemm)),
        ("kernel 4, 8 192 x 128 256, against log-softmax and gather", ">= 4 x", times(softmax)),
        ("kernel 4, peak memory against the same", "<= 1/3", times(memory)),
        ("steered decode in CUDA graphs, a hook on every block, against unsteered", "<= 1.02 x", decoded("fused")),
        ("the same, kernel 3 in place of add and norm", "<= 1.02 x", decoded("fused into the norm")),
    ]


def load(name: str) -> list[dict]:
    """All result files of one benchmark, newest first."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}_*.json"))]
    return sorted(found, key=lambda c: c["machine"]["date"], reverse=True)


def write_table() -> str:
    """results/README.md from the newest result files."""
    micro, decode = load("kernels"), load("decode")
    text = "# What was measured on a GPU\n\n"
    if micro or decode:
        m = (micro or decode)[0]["machine"]
        text += (
            f"{m['gpu']}, torch {m['torch']}, triton {m['triton']}, CUDA {m['cuda']}, {m['date']}. "
            "Medians; spreads and every other shape are in the JSON files beside this page.\n\n"
        )
    else:
        text += (
            "No machine with a GPU was to be had yet: nothing below is measured, and no speed is "
            "claimed. `make gpu` fills the table.\n\n"
        )
    text += "| what | bar | measured |\n|---|---|---|\n"
    rows = bars(micro[0]["rows"] if micro else [], decode[0]["rows"] if decode else [])
    text += "".join(f"| {what} | {bar} | {got} |\n" for what, bar, got in rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "README.md").write_text(text)
    return text


def main() -> int:
    """Measure unless `--table`, then write and print the table."""
    status = 0
    if "--table" not in sys.argv:
        import decode
        import kernel_speed

        status = kernel_speed.main() or decode.main()
    print(write_table())
    return status


if __name__ == "__main__":
    raise SystemExit(main())
