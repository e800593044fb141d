"""Seconds and memory of a report on random models of half a billion parameters, in bfloat16, with few items.

    python benchmarks/report_large.py [--values tradition] [--items 8] [--only qwen2]

Two architectures with random weights, a Qwen2 and a Llama, in the shape of a well-known 0.5 B model and with a
byte-level tokenizer learnt from the course's contrast pairs: what is measured is that the report runs to its end, in
which time and in how much memory (largest resident set of the process, all imports counted). Beside the seconds on
the clock stand those of the processors, which other work on the machine does not lengthen. Writes
benchmarks/results/report_large.json; with --only, the other model's row there stays as it is.
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
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from valuelab.data import pairs

RESULTS = Path(__file__).parent / "results" / "report_large.json"
BAR_GIB = 12
SHAPE = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip
CONFIGS = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig}
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)
CHILD = """
import resource, runpy
try:
    runpy.run_module("valuelab", run_name="__main__", alter_sys=True)
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("used", used.ru_maxrss, round(used.ru_utime + used.ru_stime))
"""


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level, as those of both architectures are: Qwen2 models are never loaded with another kind."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator([p.positive for p in pairs.load()], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write(name: str, folder: Path) -> int:
    """A random model and its tokenizer in `folder`; returns the number of parameters."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = CONFIGS[name](
        **SHAPE, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def measure(out: Path, *options: str) -> dict:
    """Time, memory and page size of the command in a process of its own."""
    began = time.time()
    run = subprocess.run(
        [sys.executable, "-c", CHILD, "report", "--out", str(out), *options], stdout=subprocess.PIPE, text=True
    )
    if run.returncode or not out.exists():
        raise SystemExit(f"the report {out.name} failed:\n{run.stdout[-2000:]}")
    peak, busy = map(int, run.stdout.rsplit("used", 1)[1].split())
    return {"seconds": round(time.time() - began), "processor_seconds": busy, "peak_gib": round(peak / 2**20, 2),
            "page_kb": round(out.stat().st_size / 1000)}  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--values", default="tradition")
    p.add_argument("--items", type=int, default=8)
    p.add_argument("--only", choices=list(CONFIGS), help="one model; the other's row is kept")
    p.add_argument("--keep", type=Path, help="folder for the pages, to look at")
    args = p.parse_args()
    rows = json.loads(RESULTS.read_text())["models"] if RESULTS.exists() and args.only else {}
    for name in [args.only] if args.only else CONFIGS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / f"random-{name}"
            parameters = write(name, folder)
            out = (args.keep or folder) / f"{folder.name}.html"
            found = measure(out, "--model", str(folder), "--values", args.values, "--items", str(args.items),
                            "--dtype", "bfloat16", "--device", "cpu")  # fmt: skip
            rows[name] = {"parameters": parameters, "values": args.values, "items": args.items, **found}
        print(name, rows[name], flush=True)
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "bar_gib": BAR_GIB,
        "held": len(rows) == len(CONFIGS) and all(r["peak_gib"] <= BAR_GIB for r in rows.values()), "models": rows,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
