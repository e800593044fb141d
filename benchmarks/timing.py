"""Timing on a CUDA GPU: medians with spread, the cache flushed, the machine written down."""

import datetime
import json
import platform
import statistics
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


WAIT_CYCLES = 2_000_000  # about a millisecond: longer than the host needs to queue any call here


def time_us(run, before=None, budget_ms=120.0, queued=True) -> dict:
    """Median, 20th and 80th percentile of one call, in microseconds.

    `before()` runs untimed ahead of each call. `queued` measures the GPU alone: it waits until the
    host has queued the whole call, because a kernel of 20 us takes longer than that to launch from
    Python, and the L2 cache is overwritten first, so that small inputs are not served from it.
    Without it the launches count, as they do for whoever runs a model.
    """
    junk = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda") if queued else None
    for _ in range(3):
        if before:
            before()
        run()
    torch.cuda.synchronize()
    first = _one(run, before, junk)
    repeats = int(min(max(budget_ms * 1000 / max(first, 1.0), 7), 200))
    times = sorted(_one(run, before, junk) for _ in range(repeats))
    return {
        "median_us": statistics.median(times),
        "p20_us": times[len(times) // 5],
        "p80_us": times[len(times) * 4 // 5],
        "repeats": repeats,
    }


def _one(run, before, junk) -> float:
    if before:
        before()
    if junk is not None:
        junk.zero_()
        torch.cuda._sleep(WAIT_CYCLES)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) * 1000


def copy_bandwidth() -> float:
    """Bytes a second of a plain 2 GiB device-to-device copy, reads and writes counted."""
    source = torch.empty(2**31, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    found = time_us(lambda: target.copy_(source), queued=False)
    return 2 * source.numel() / (found["median_us"] * 1e-6)


def graphed(run):
    """A CUDA graph of `run`, captured after a warm-up on a side stream. Returns its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def peak_bytes(run) -> int:
    """Most memory that one call holds beyond what was held before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del kept
    return peak


def machine() -> dict:
    """GPU, driver-visible facts, versions and the date."""
    import triton

    gpu = torch.cuda.get_device_properties(0)
    return {
        "gpu": gpu.name,
        "memory_gib": round(gpu.total_memory / 2**30),
        "processors": gpu.multi_processor_count,
        "capability": f"{gpu.major}.{gpu.minor}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "date": datetime.date.today().isoformat(),
    }


def save(name: str, content: dict, folder: Path = RESULTS) -> Path:
    """Write results/NAME_GPU.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    gpu = content["machine"]["gpu"].replace(" ", "-").lower()
    path = folder / f"{name}_{gpu}.json"
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)
    return path
