"""Seconds and memory of a report on random models of half a billion parameters, in bfloat16, with few items.

    python benchmarks/report_large.py [--values tradition] [--items 8]

Two architectures with random weights, a Qwen2 and a Llama, in the shape of a well-known 0.5 B model and with the
embedded model's tokenizer: what is measured is that the report runs to its end, in which time and in how much memory
(largest resident set of the process, all imports counted). Writes benchmarks/results/report_large.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from machine import cpu

from valuelab import models

RESULTS = Path(__file__).parent / "results" / "report_large.json"
SHAPE = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip
CONFIGS = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig}
CHILD = """
import resource, runpy
try:
    runpy.run_module("valuelab", run_name="__main__", alter_sys=True)
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(name: str, folder: Path) -> int:
    """A random model and the embedded model's tokenizer in `folder`; returns the number of parameters."""
    torch.manual_seed(0)
    tokenizer = models.load(models.EMBEDDED).tokenizer
    config = CONFIGS[name](
        **SHAPE, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def report(folder: Path, values: str, items: int) -> dict:
    out = folder / "report.html"
    began = time.time()
    run = subprocess.run(
        [sys.executable, "-c", CHILD, "report", "--model", str(folder), "--values", values, "--items", str(items),
         "--dtype", "bfloat16", "--device", "cpu", "--quiet", "--out", str(out)],
        capture_output=True, text=True,
    )  # fmt: skip
    if run.returncode or not out.exists():
        raise SystemExit(f"the report on {folder.name} failed:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
    peak = int(run.stdout.rsplit("peak", 1)[1]) * 1024
    return {"seconds": round(time.time() - began), "peak_gib": round(peak / 2**30, 2),
            "page_kb": round(out.stat().st_size / 1000)}  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--values", default="tradition")
    p.add_argument("--items", type=int, default=8)
    args = p.parse_args()
    rows = {}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / f"random-{name}"
            parameters = write(name, folder)
            rows[name] = {"parameters": parameters, **report(folder, args.values, args.items)}
        print(name, rows[name], flush=True)
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "values": args.values, "items": args.items, "bar_gib": 12,
        "models": rows,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
