"""Microbenchmarks of the kernels against torch as people write it, at its best, and compiled.

    PYTHONPATH=lib python benchmarks/kernel_speed.py        (needs a CUDA GPU; about 4 minutes)

Writes results/kernels_GPU.json. Every row: shape, bytes as counted, median time with spread, GB/s,
share of the copy bandwidth measured in the same run.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import timing
import torch

from valuelab import kernels
from valuelab.kernels import traffic

D = 4096
BIG = 65_536


def hook_as_written(h, w, packed, gate):
    """A float32-accurate steering hook as one would write it."""
    bias, target, _ = packed
    x = h.float()
    gap = (target - (x @ w + bias)).clamp(min=0) * gate
    return (x + (gap / (w @ w))[:, None] * w).to(h.dtype)


def best_eager(h, w, packed, gate):
    """Two passes of library kernels; the score is rounded to the states' dtype."""
    bias, target, _ = packed
    v = w.to(h.dtype)
    gap = (target - (torch.mv(h, v).float() + bias)).clamp(min=0) * gate
    return torch.addr(h, (gap / (w @ w)).to(h.dtype), v)


def norm_as_written(x, residual, gain, w, packed, eps=1e-6):
    """Residual add, hook and Llama's RMSNorm, one after another."""
    h = hook_as_written(x + residual, w, packed, 1.0)
    y = h.float()
    unit = (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).to(h.dtype)
    return gain * unit, h


def log_prob_as_written(logits, targets):
    """log_softmax in float32, gathered."""
    return torch.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]


class Table:
    """Rows of measurements; prints each as it comes."""

    def __init__(self):
        self.copy = timing.copy_bandwidth()
        self.rows = []
        print(f"copy bandwidth {self.copy / 1e12:.2f} TB/s")

    def measure(self, kernel, variant, run, size, before=None, extra=None, **shape):
        """Time `run`, which moves `size` bytes as counted. Failures are rows, too."""
        row = {"kernel": kernel, "variant": variant, **shape, "bytes": size}
        try:
            row |= timing.time_us(run, before)
            rate = size / (row["median_us"] * 1e-6)
            row |= {"gb_per_s": rate / 1e9, "share_of_copy": rate / self.copy, **(extra or {})}
        except (RuntimeError, torch.cuda.OutOfMemoryError) as error:
            row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
            torch.cuda.empty_cache()
        self.rows.append(row)
        told = row.get("error") or (
            f"{row['median_us']:10.1f} us  [{row['p20_us']:.1f}, {row['p80_us']:.1f}]"
            f"  {row['gb_per_s']:7.0f} GB/s {row['share_of_copy']:5.2f} of copy"
        )
        print(f"{kernel:10}{variant:24}{str(shape):48}{told}", flush=True)


def steer_rows(table, n, d, shares, compiled):
    """Kernel 1 at one shape: in place by share of open gates, out of place, and the baselines."""
    h = torch.randn(n, d, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(d, device="cuda") / d**0.5
    always = kernels.settings(0.0, 3.0, "exactly", "cuda")
    once = kernels.settings(0.0, 8.0, "at least", "cuda")
    for share in shares:
        gate = torch.rand(n, device="cuda") < share
        # "exactly" with a target that flips: the second call would else find nothing to do
        table.measure(
            "steer", "fused in place", lambda gate=gate: kernels.steer(h, w, always, gate=gate, inplace=True),
            traffic.steer_bytes(n, d, inplace=True, open_share=share),
            before=lambda: always[1].neg_(), n=n, d=d, open=share,
        )  # fmt: skip
    gate = torch.rand(n, device="cuda") < shares[0]
    s = n * d * 2
    table.measure("steer", "fused out of place", lambda: kernels.steer(h, w, once, gate=gate),
                  traffic.steer_bytes(n, d), n=n, d=d)  # fmt: skip
    table.measure("steer", "eager as written", lambda: hook_as_written(h, w, once, gate),
                  traffic.passes(traffic.EAGER_AS_WRITTEN) * s, n=n, d=d)  # fmt: skip
    table.measure("steer", "best eager", lambda: best_eager(h, w, once, gate),
                  traffic.passes(traffic.BEST_EAGER) * s, n=n, d=d)  # fmt: skip
    if compiled:
        fast = torch.compile(hook_as_written, fullgraph=True, dynamic=False)
        table.measure("steer", "torch.compile", lambda: fast(h, w, once, gate), 2 * s, n=n, d=d)

        def inplace(h, w, packed, gate):
            h.copy_(hook_as_written(h, w, packed, gate))

        fast_inplace = torch.compile(inplace, fullgraph=True, dynamic=False)
        table.measure("steer", "torch.compile in place", lambda: fast_inplace(h, w, once, gate),
                      2 * s, n=n, d=d)  # fmt: skip


def joint_rows(table, n, k, d=D):
    """Kernel 2: both paths, GEMM + addmm alone, and one value after another."""
    h = torch.randn(n, d, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(k, d, device="cuda") / d**0.5
    packed = kernels.settings(torch.zeros(k), torch.linspace(0.5, 2, k), ["at least"] * k, "cuda")
    ready = kernels.prepare(w, h.dtype)
    s = n * d * 2
    v, step = w.to(h.dtype), torch.randn(n, k, device="cuda", dtype=h.dtype)
    gate = torch.ones(n, device="cuda")
    table.measure("joint", "GEMM + addmm alone", lambda: (h @ v.T, torch.addmm(h, step, v)),
                  3 * s, n=n, d=d, k=k)  # fmt: skip
    for path in ("fused", "library"):
        table.measure("joint", path, lambda path=path: kernels.steer_joint(h, ready, packed, path=path),
                      3 * s, n=n, d=d, k=k)  # fmt: skip
    if n >= 8192:
        table.measure("joint", "kernel 1, one by one", lambda: [
            kernels.steer(h, w[i], packed[:, i].contiguous()) for i in range(k)],
            2 * k * s, n=n, d=d, k=k)  # fmt: skip
        table.measure("joint", "eager, one by one", lambda: [
            best_eager(h, w[i], packed[:, i], gate) for i in range(k)],
            3 * k * s, n=n, d=d, k=k)  # fmt: skip


def norm_rows(table, n, d=D, compiled=False):
    """Kernel 3 against the separate steps."""
    x, residual = torch.randn(2, n, d, device="cuda", dtype=torch.bfloat16)
    gain = torch.ones(d, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(d, device="cuda") / d**0.5
    packed = kernels.settings(0.0, 1.0, device="cuda")
    s = n * d * 2
    table.measure("norm", "fused", lambda: kernels.add_steer_norm(x, residual, gain, w, packed),
                  4 * s, n=n, d=d)  # fmt: skip
    table.measure("norm", "eager as written", lambda: norm_as_written(x, residual, gain, w, packed),
                  traffic.passes(traffic.SEPARATE_NORM) * s, n=n, d=d)  # fmt: skip
    if compiled:
        fast = torch.compile(norm_as_written, fullgraph=True, dynamic=False)
        table.measure("norm", "torch.compile", lambda: fast(x, residual, gain, w, packed),
                      4 * s, n=n, d=d)  # fmt: skip


def log_prob_rows(table, n=8192, v=128_256):
    """Kernel 4 forward, and with backward, with the peak memory of each."""
    logits = torch.randn(n, v, device="cuda", dtype=torch.bfloat16).requires_grad_()
    targets = torch.randint(v, (n,), device="cuda")
    fast = torch.compile(log_prob_as_written, fullgraph=True, dynamic=False)
    ways = {
        "fused": lambda x: kernels.token_log_prob(x, targets)[0],
        "eager as written": lambda x: log_prob_as_written(x, targets),
        "torch.compile": lambda x: fast(x, targets),
    }
    once = traffic.log_prob_bytes(n, v)
    for name, way in ways.items():

        def forward(way=way):
            with torch.no_grad():
                return way(logits)

        def train(way=way):
            logits.grad = None
            way(logits).sum().backward()

        both = once + traffic.log_prob_bytes(n, v, backward=True)
        for suffix, run, size in (("", forward, once), (" + backward", train, both)):
            run()  # compile before memory is measured
            logits.grad = None
            peak = timing.peak_bytes(run)
            table.measure("logprob", name + suffix, run, size, extra={"peak_bytes": peak}, n=n, v=v)
            logits.grad = None


def linear_rows(table, n=8192, v=128_256, d=D):
    """The chunked form against logits held whole."""
    targets = torch.randint(v, (n,), device="cuda")
    hidden = torch.randn(n, d, device="cuda", dtype=torch.bfloat16).requires_grad_()
    head = (torch.randn(v, d, device="cuda") / d**0.5).bfloat16().requires_grad_()

    def chunked():
        hidden.grad = head.grad = None
        kernels.linear_log_prob(hidden, head, targets)[0].sum().backward()

    def whole():
        hidden.grad = head.grad = None
        log_prob_as_written(hidden @ head.T, targets).sum().backward()

    for name, run in (("chunked head", chunked), ("whole head, eager", whole)):
        run()
        hidden.grad = head.grad = None
        peak = timing.peak_bytes(run)
        table.measure("logprob", name, run, 3 * n * v * 2, extra={"peak_bytes": peak}, n=n, v=v, d=d)


def main() -> int:
    """Measure all, save, and print where."""
    if not torch.cuda.is_available():
        print("kernel_speed.py: no CUDA GPU here, nothing measured. Run it on a machine with one.")
        return 1
    started = time.time()
    torch.manual_seed(0)
    table = Table()
    for n in (64, 1024, 8192, 262_144):
        steer_rows(table, n, D, (0.1,), compiled=n == 64)
    steer_rows(table, BIG, D, (0.1, 0.5, 1.0), compiled=True)
    for d in (2048, 8192):
        steer_rows(table, BIG, d, (0.1,), compiled=False)
    for n in (16, 256, 1024, 4096, BIG):
        for k in (2, 4, 8, 16):
            joint_rows(table, n, k)
    norm_rows(table, 8192)
    norm_rows(table, BIG, compiled=True)
    log_prob_rows(table)
    linear_rows(table)
    content = {
        "machine": timing.machine(),
        "copy_gb_per_s": table.copy / 1e9,
        "seconds": round(time.time() - started),
        "rows": table.rows,
    }
    print("written", timing.save("kernels", content))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
