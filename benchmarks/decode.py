"""End to end: prefill and decode of a Llama-shaped model, unsteered and steered at every layer.

    PYTHONPATH=lib python benchmarks/decode.py         (needs a CUDA GPU; about 2 minutes)

Eagerly and in CUDA graphs. Writes results/decode_GPU.json.
"""

import functools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import timing
import torch
from kernel_speed import hook_as_written
from llama_shape import EPS, SHAPES, build

from valuelab import kernels

WAYS = ("unsteered", "fused", "fused into the norm", "eager as written", "fused 8 values", "unsteered")


def steered(model, how: str, w, device="cuda"):
    """The model's forward, steered at every block's output along `w`, and the handles of its hooks.

    how: one of `WAYS`.
    """
    d = model.shape.width
    dtype = next(model.parameters()).dtype
    packed = kernels.settings(0.0, 1.0, device=device)
    many = kernels.settings(torch.zeros(8), torch.linspace(0, 1, 8), ["at least"] * 8, device)
    ready = kernels.prepare(torch.randn(8, d, device=device) / d**0.5, dtype)

    def fused(module, inputs, out):
        kernels.steer(out, w, packed, inplace=True)

    def joint(module, inputs, out):
        kernels.steer_joint(out, ready, many, inplace=True)

    def written(module, inputs, out):
        return hook_as_written(out.view(-1, d), w, packed, 1.0).view(out.shape)

    def into_the_norm(x, residual, gain):
        return kernels.add_steer_norm(x, residual, gain, w, packed, eps=EPS)

    if how == "fused into the norm":
        return functools.partial(model, join=into_the_norm), []
    hook = {"fused": fused, "fused 8 values": joint, "eager as written": written}.get(how)
    return model, [b.register_forward_hook(hook) for b in model.blocks] if hook else []


def measure(model, tokens, where, how: str, graph: bool) -> dict:
    """Median time of one forward pass with this steering."""
    d = model.shape.width
    forward, handles = steered(model, how, torch.randn(d, device="cuda") / d**0.5)
    try:
        with torch.no_grad():
            run = lambda: forward(tokens, where)  # noqa: E731
            if graph:
                run = timing.graphed(run)
            return timing.time_us(run, budget_ms=1500, queued=False)
    finally:
        for handle in handles:
            handle.remove()


def rows_of(name: str, batch: int, prefill: int, length: int) -> list[dict]:
    """All ways of steering one model at one batch size."""
    model = build(SHAPES[name], batch, length)
    rows = []
    where = {"prefill": torch.arange(prefill, device="cuda")}
    where["decode"] = torch.tensor([length - 1], device="cuda")
    for phase, at in where.items():
        tokens = torch.randint(model.shape.vocabulary, (batch, len(at)), device="cuda")
        for graph in (False, True):
            if phase == "prefill" and graph:
                continue
            base = None
            for how in WAYS:
                row = {"model": name, "batch": batch, "phase": phase, "tokens": len(at),
                       "graph": graph, "steering": how}  # fmt: skip
                row |= measure(model, tokens, at, how, graph)
                base = base or row["median_us"]
                row["of_unsteered"] = row["median_us"] / base
                rows.append(row)
                print(f"{name} batch {batch:3} {phase:8} {'graph' if graph else 'eager':6}{how:20}"
                      f"{row['median_us'] / 1000:9.3f} ms  {row['of_unsteered']:.3f}", flush=True)  # fmt: skip
    del model
    torch.cuda.empty_cache()
    return rows


def main() -> int:
    """Measure all, save, and print where. Unsteered is timed first and last: the noise shows."""
    if not torch.cuda.is_available():
        print("decode.py: no CUDA GPU here, nothing measured. Run it on a machine with one.")
        return 1
    started = time.time()
    rows = []
    for name, batch, prefill in (("1B", 1, 2048), ("1B", 64, 64), ("8B", 1, 2048), ("8B", 16, 256)):
        rows += rows_of(name, batch, prefill, 2304)
    content = {"machine": timing.machine(), "seconds": round(time.time() - started), "rows": rows}
    print("written", timing.save("decode", content))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
