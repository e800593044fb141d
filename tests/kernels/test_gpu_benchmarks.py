"""What `make gpu` times, checked without a GPU: that all ways of steering are the same steering, and that the
table reads the rows it claims to read."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import decode  # noqa: E402
import gpu_table  # noqa: E402
import llama_shape  # noqa: E402

from valuelab import kernels  # noqa: E402


@pytest.fixture
def model():
    torch.manual_seed(0)
    return llama_shape.build(llama_shape.SHAPES["tiny"], batch=3, length=8, device="cpu", dtype=torch.float32)


def run(model, how: str, w: torch.Tensor, **keywords) -> torch.Tensor:
    """Logits of five tokens at once and of one more after them, steered one way."""
    forward, handles = decode.steered(model, how, w, device="cpu")
    tokens = torch.arange(18).view(3, 6) * 5 % model.shape.vocabulary
    with torch.no_grad(), kernels.using("torch"):
        found = [forward(tokens[:, at], at, **keywords) for at in (torch.arange(5), torch.tensor([5]))]
    for handle in handles:
        handle.remove()
    return torch.cat(found)


def test_every_way_of_steering_one_value_that_is_timed_gives_the_same_logits(model):
    w = torch.randn(model.shape.width) / model.shape.width**0.5
    plain, hooked = run(model, "unsteered", w), run(model, "fused", w)
    assert (hooked - plain).abs().max() > 0.1
    for how in ("fused into the norm", "eager as written"):
        assert torch.allclose(run(model, how, w), hooked, atol=1e-5)
    assert (run(model, "fused 8 values", w) - hooked).abs().max() > 0.1
    assert torch.equal(run(model, "unsteered", w), plain)  # every hook is gone


def test_joining_add_and_norm_without_a_step_changes_nothing(model):
    w = torch.zeros(model.shape.width)

    def join(x, residual, gain):
        total = x + residual
        return torch.nn.functional.rms_norm(total, gain.shape, gain, llama_shape.EPS), total

    assert torch.allclose(run(model, "unsteered", w, join=join), run(model, "unsteered", w), atol=1e-6)


def test_a_step_at_one_position_reads_the_cache_of_those_before(model):
    tokens = torch.tensor([[1, 2, 3, 4]]).repeat(3, 1)
    with torch.no_grad():
        whole = model(tokens, torch.arange(4))
        for at in range(4):
            stepwise = model(tokens[:, [at]], torch.tensor([at]))
    assert torch.allclose(whole, stepwise, atol=1e-5)


def micro(variant: str, us: float, **more) -> dict:
    return {"kernel": "steer", "variant": variant, "n": 65_536, "d": 4096, "median_us": us, **more}


def test_the_table_divides_the_right_rows_and_says_what_was_not_measured():
    rows = [
        micro("fused in place", 200.0, open=0.1, share_of_copy=0.9),
        micro("fused in place", 400.0, open=1.0, share_of_copy=0.8),
        micro("eager as written", 1000.0),
        micro("torch.compile", 350.0),
        micro("torch.compile in place", 320.0),
        {**micro("fused in place", 1.0, open=0.1, share_of_copy=9.0), "n": 64},
        {"kernel": "joint", "variant": "library", "n": 65_536, "k": 8, "error": "OutOfMemoryError"},
        {"kernel": "joint", "variant": "GEMM + addmm alone", "n": 65_536, "k": 8, "median_us": 9.0},
    ]
    step = {"phase": "decode", "graph": True, "model": "8B", "batch": 1, "steering": "fused", "of_unsteered": 1.015}
    shown = [got for _, _, got in gpu_table.bars(rows, [step, {**step, "graph": False, "of_unsteered": 9.0}])]
    gap = "not measured"
    assert shown == ["90%", "80%", "5.00 x", gap, "1.60 x", gap, gap, gap, "8B batch 1: 1.015 x", gap]
