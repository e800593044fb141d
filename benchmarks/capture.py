"""Speed and memory of reading hidden states, beside the obvious ways of doing it.

    python benchmarks/capture.py [--texts 256] [--repeats 5]

Speed: `capture` of one and of all layers at the last token, against `output_hidden_states=True` text by text and
against the recording of the `steering-vectors` package (pip install steering-vectors; without it, these rows say so),
at its default batch size of one and at ours. Same model, same texts, same process, one after another; medians.
Memory: the largest number of bytes alive at once that operations made, for one layer of a 24-block random model. What
one pass needs that keeps nothing stands beside it: that is the floor at a given batch (in a Llama, while its MLP runs:
three tensors of the inner width, and four of the model's that the calling code holds), and only a smaller batch
lowers it.
Writes `benchmarks/results/capture.json`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers
from machine import cpu
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from live_bytes import Live  # noqa: E402

from valuelab import models  # noqa: E402
from valuelab import world as W  # noqa: E402
from valuelab.activations import capture  # noqa: E402
from valuelab.models import LM  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "capture.json"
BATCH = 32


def rivals(lm: LM, texts: list[str]) -> dict:
    """name -> function that reads the last token of every text; None where a package is missing."""
    pairs = list(zip(texts[::2], texts[1::2], strict=True))

    def text_by_text():
        for text in texts:
            ids = lm.tokenizer(text, return_tensors="pt").input_ids
            [h[0, -1] for h in lm.model(ids, output_hidden_states=True).hidden_states]

    try:
        from steering_vectors.train_steering_vector import extract_activations
    except ImportError:
        extract_activations = None

    def theirs(layers, batch_size):
        if extract_activations is None:
            return None
        return lambda: extract_activations(lm.model, lm.tokenizer, pairs, layers, batch_size=batch_size)

    middle = [lm.n_layers // 2]
    return {
        "capture, one layer": lambda: capture(lm, texts, middle, batch_size=BATCH),
        "capture, all layers": lambda: capture(lm, texts, batch_size=BATCH),
        "output_hidden_states, text by text": text_by_text,
        "steering-vectors, one layer, its default": theirs(middle, 1),
        "steering-vectors, one layer, equal batch": theirs(middle, BATCH // 2),  # pairs, so half
        "steering-vectors, all layers, its default": theirs(None, 1),
        "steering-vectors, all layers, equal batch": theirs(None, BATCH // 2),
    }


@torch.no_grad()
def speed(lm: LM, texts: list[str], repeats: int) -> dict:
    """Texts a second: median, and all runs. Every repeat runs all rivals, so that drift hits all alike."""
    ways, seconds = rivals(lm, texts), {}
    for name, way in ways.items():
        if way is not None:
            way()  # warm
            seconds[name] = []
    for _ in range(repeats):
        for name, way in ways.items():
            if way is not None:
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    rate = {name: len(texts) / statistics.median(s) for name, s in seconds.items()}
    out = {name: {"texts_per_second": r, "seconds": seconds[name]} for name, r in rate.items()}
    for name in ways.keys() - rate.keys():
        out[name] = {"missing": "the package steering-vectors is not installed"}
    ratios = {}
    for what in ("one layer", "all layers"):
        for how in ("its default", "equal batch"):
            name = f"steering-vectors, {what}, {how}"
            if name in rate:
                ratios[f"{what}, {how}"] = rate[f"capture, {what}"] / rate[name]
    return {"rates": out, "capture_over_steering_vectors": ratios}


# 24-block models 1/16 as wide as the real ones, and one with a small vocabulary, where logits weigh least
DEEP = {
    "pythia-410m": ("gpt_neox", 64, 256, 3144),
    "qwen2.5-0.5b": ("qwen2", 56, 304, 9496),
    "llama, vocabulary 32 times the width": ("llama", 64, 176, 2048),
}


@torch.no_grad()
def memory(name: str, rows: int = 8, length: int = 64) -> dict:
    """Peak bytes of one layer of 24 against all hidden states, same batch; with and without logits."""
    architecture, d, wide, vocabulary = DEEP[name]
    config = AutoConfig.for_model(
        architecture, hidden_size=d, intermediate_size=wide, num_hidden_layers=24, num_attention_heads=4,
        num_key_value_heads=4, vocab_size=vocabulary,
    )  # fmt: skip
    torch.manual_seed(0)
    lm = LM(AutoModelForCausalLM.from_config(config).eval(), models.load().tokenizer, name)
    texts = [" ".join(["safety"] * (length - 1))] * rows
    tokens = torch.tensor(models.encode(lm, texts))
    peak = {}
    with Live() as live:
        capture(lm, texts, 12, batch_size=rows)
    peak["capture, one layer"] = live.peak
    for what, model, states in (
        ("output_hidden_states", lm.model, True),
        ("the same without logits", lm.model.base_model, True),
        ("a pass that keeps nothing", lm.model.base_model, False),
    ):
        with Live() as live:
            model(tokens, output_hidden_states=states, use_cache=False)
        peak[what] = live.peak
    own = peak["capture, one layer"]
    return {
        "bytes": peak, "batch": list(tokens.shape), "d_model": d, "vocabulary": vocabulary,
        "share": own / peak["output_hidden_states"], "share_without_logits": own / peak["the same without logits"],
        "over_a_pass_that_keeps_nothing": own / peak["a pass that keeps nothing"],
    }  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--texts", type=int, default=256)
    p.add_argument("--repeats", type=int, default=5)
    args = p.parse_args()
    lm = models.load()
    texts = [t for x in W.contrast_pairs("security", args.texts // 2, 0) for t in (x.positive, x.negative)]
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "texts": len(texts), "batch_size": BATCH,
        "speed": speed(lm, texts, args.repeats), "memory": {name: memory(name) for name in DEEP},
    }  # fmt: skip
    shown = {"ratios": record["speed"]["capture_over_steering_vectors"], "memory": record["memory"]}
    print(json.dumps(shown, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
