"""Tokens per second steered over unsteered: valuelab, and beside it steering-vectors and repeng.

    python benchmarks/steering_speed.py                 valuelab alone, here
    python benchmarks/steering_speed.py --rivals PYTHON   all three in the environment of PYTHON, one process

The rivals want transformers below 5, so PYTHON is the interpreter of an environment with torch, transformers
4.57, steering-vectors and repeng; valuelab is read from this checkout. Every library adds a vector to the output of
every block of the same model, in Hugging Face's own `generate`, greedy, a fixed number of new tokens, in turns
(unsteered, each library, unsteered, ...; the first of a round changes), so that a slow moment of the machine falls on
all alike. The ratio is unsteered seconds over steered seconds, by the process's own clock. A rival's seconds over ours
in the same round say who is ahead. Of each: the median over rounds, and the interval of rounds that holds the true
median in 95 of 100 runs; where that of a rival holds 1, no order is shown.
Writes `benchmarks/results/steering_speed.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VALUELAB_KERNELS", "torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
warnings.simplefilter("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from machine import cpu  # noqa: E402
from scipy.stats import binom  # noqa: E402

from valuelab import models  # noqa: E402
from valuelab.models import LM  # noqa: E402
from valuelab.probes import Probe  # noqa: E402
from valuelab.steering import Gate, add, minimal, steer  # noqa: E402

RIVALS = ("steering-vectors add", "repeng add")
RESULTS = Path(__file__).parent / "results" / "steering_speed.json"


def embedded() -> LM:
    return models.load(models.EMBEDDED, device="cpu")


def small_llama() -> LM:
    """8 blocks of width 256, random weights."""
    tokenizer = models.load_tokenizer(str(models.EMBEDDED))
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=704, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=512, pad_token_id=0,
    )  # fmt: skip
    return LM(transformers.LlamaForCausalLM(config).eval(), tokenizer, "random Llama, 8 blocks of width 256")


def vectors(lm: LM) -> dict[int, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {k: 0.1 * torch.randn(lm.d_model, generator=draw) for k in range(lm.n_layers)}


def ours(lm: LM) -> dict:
    v = vectors(lm)
    probes = [Probe(x, -1.0, k) for k, x in v.items()]
    return {
        "unsteered": contextlib.nullcontext,
        "valuelab add": lambda: steer(lm, add(v)),
        "valuelab minimal": lambda: steer(lm, minimal(probes, 0.9)),
        "valuelab minimal, gated": lambda: steer(lm, minimal(probes, 0.9), gate=Gate(Probe(v[0], 0.0, 0), 0.0)),
        # at batch 32 the rows differ, so that every block has to choose row by row
        "valuelab minimal, gated by rows": lambda: steer(lm, minimal(probes, 0.9), gate=Gate(Probe(v[0], 0.0, 0), 0.5)),
    }


def steering_vectors_library(lm: LM) -> dict:
    from steering_vectors import SteeringVector

    vector = SteeringVector(layer_activations=vectors(lm), layer_type="decoder_block")
    return {"steering-vectors add": lambda: vector.apply(lm.model)}


def repeng_library(lm: LM) -> dict:
    """repeng wraps the blocks for good, so it gets a model of its own with the same weights."""
    from repeng import ControlModel, ControlVector

    v = {k: x.numpy() for k, x in vectors(lm).items()}
    layers = list(range(lm.n_layers))

    @contextlib.contextmanager
    def controlled():
        wrapped = ControlModel(lm.model, layers)
        wrapped.set_control(ControlVector(model_type="llama", directions=v), 1.0)
        try:
            yield
        finally:
            wrapped.reset()
            wrapped.unwrap()

    return {"repeng add": controlled}


def seconds(lm: LM, batch: int, tokens: int, control) -> float:
    draw = torch.Generator().manual_seed(batch)
    ids = torch.randint(10, 400, (batch, 32), generator=draw)
    with control(), torch.no_grad():
        start = time.process_time()
        lm.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens,
            min_new_tokens=tokens, pad_token_id=0,
        )  # fmt: skip
        return time.process_time() - start


def table(lm: LM, batch: int, tokens: int, rounds: int, controls: dict) -> dict:
    spent = {name: [] for name in controls}
    for control in controls.values():
        seconds(lm, batch, 4, control)  # warm up
    names = list(controls)
    for r in range(rounds):
        turn = r % len(names)  # whoever goes first after a pause has the colder caches: each in its turn
        for name in names[turn:] + names[:turn]:
            spent[name].append(seconds(lm, batch, tokens, controls[name]))
    rows = {}
    for name, s in spent.items():
        ratio = [a / b for a, b in zip(spent["unsteered"], s, strict=True)]
        rows[name] = {
            "tokens_per_second": round(batch * tokens / statistics.median(s), 1),
            "over_unsteered": median_interval(ratio),
        }
        if name in RIVALS:
            rows[name]["seconds_over_valuelab"] = median_interval(
                [a / b for a, b in zip(s, spent["valuelab add"], strict=True)]
            )
    return rows


def median_interval(values: list[float]) -> dict[str, float]:
    """Median and its 95 % bounds by order statistics."""
    values, n = sorted(values), len(values)
    k = int(binom.ppf(0.025, n, 0.5))
    bounds = {"low": values[max(k - 1, 0)], "median": statistics.median(values), "high": values[min(n - k, n - 1)]}
    return {name: round(x, 3) for name, x in bounds.items()}


def measure(rounds: int, rivals: bool) -> dict:
    torch.set_num_threads(1)
    found, notes = {}, {}
    # the embedded model is quick and scatters more, so it gets twice the rounds
    for lm, times in ((small_llama(), rounds), (embedded(), 2 * rounds)):
        controls = ours(lm)
        if rivals:  # who is ahead is a matter of a few percent: adding only, and three times the rounds
            controls, times = {k: controls[k] for k in ("unsteered", "valuelab add")}, 3 * times
        for make in (steering_vectors_library, repeng_library) if rivals else ():
            try:
                made = make(lm)
                for control in made.values():
                    seconds(lm, 1, 2, control)
                controls |= made
            except Exception as error:  # a rival that does not run is reported, not hidden
                notes[f"{make.__name__}, {lm.name}"] = f"{type(error).__name__}: {str(error)[:200]}"
        # at batch 32 a hook is a smaller share of a pass: beside the rivals, twice the rounds once more
        for batch, tokens, more in ((1, 48, 1), (32, 24, 2 if rivals else 1)):
            found[f"{lm.name}, batch {batch}"] = table(lm, batch, tokens, more * times, controls)
    import importlib.metadata as meta

    names = ("torch", "transformers", "steering-vectors", "repeng")
    versions = {}
    for name in names:
        with contextlib.suppress(meta.PackageNotFoundError):
            versions[name] = meta.version(name)
    return {"versions": versions, "tables": found, "did_not_run": notes}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rivals", metavar="PYTHON", help="interpreter of the environment with the rivals")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--rounds", type=int, default=20)
    args = p.parse_args()
    if args.inside:
        print(json.dumps(measure(args.rounds, rivals=True)))
        return
    began = time.time()
    record = {"here": measure(args.rounds, rivals=False)}
    if args.rivals:
        command = [args.rivals, __file__, "--inside", "--rounds", str(args.rounds)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the environment of the rivals failed: {done.stderr[-800:]}")
        record["beside the rivals"] = json.loads(done.stdout.strip().splitlines()[-1])
    record = {
        "machine": f"{cpu()}, 1 thread", "date": datetime.date.today().isoformat(),
        "load": [round(x, 1) for x in os.getloadavg()], "seconds": round(time.time() - began),
        "quiet": os.getloadavg()[1] < 1.5,  # beside other work the ratios scatter by a fifth: run it again alone
        "clock": "processor time of the process, median of rounds in turns", **record,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
