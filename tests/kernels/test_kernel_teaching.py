"""Lesson 05's kernels, the twin that runs and traces them, and the bytes they are said to move."""

import sys
from pathlib import Path

import pytest
import torch
from kernel_buffers import close, draw
from mistakes import ex_05
from torch.utils._python_dispatch import TorchDispatchMode

from valuelab.course.check import verdict
from valuelab.kernels import aot, lab, teaching, traffic
from valuelab.kernels.lab import trace

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[2]


def launches():
    """(kernel, grid, arguments, number of the output, meta) of each teaching kernel."""
    h, w, gate = draw(6, 50).bfloat16(), draw(50, seed=1), torch.arange(6) % 3 > 0
    half = draw(5, 4, 4)
    table = half @ half.mT + torch.eye(4)
    vectors = (draw(70), draw(70, seed=1), torch.zeros(70), 70)
    yield teaching.add_kernel, (3,), vectors, 2, {"BLOCK": 32}
    yield teaching.row_sum_kernel, (6,), (h.float(), torch.zeros(6), 50, 50), 1, {"BLOCK": 64}
    yield teaching.row_dot_kernel, (6,), (h, w, torch.zeros(6), 50, 50), 2, {"BLOCK": 16}
    yield teaching.steer_kernel, (6,), (h.half(), w, gate, 0.1, 2.0, 50, 50), 0, {"BLOCK": 64}
    sizes = {"ROWS": 4, "BLOCK": 64}
    yield teaching.steer_rows_kernel, (2,), (h.half(), w, gate, 0.1, 2.0, 6, 50, 50), 0, sizes
    pivots = (table, draw(5, 4, seed=2), torch.tensor([0, 3, 1, 2, 1]))
    yield teaching.pivot_kernel, (5,), pivots, 0, {"K": 4}
    yield teaching.log_prob_kernel, (6,), (h, torch.arange(6), torch.zeros(6), 50, 50), 2, {"BLOCK": 16}


@pytest.mark.parametrize("number", range(7))
def test_the_twin_computes_what_triton_computes(device, number):
    kernel, grid, args, out, meta = list(launches())[number]
    twin = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
    real = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
    seen = trace(kernel, grid, *twin, **meta)
    kernel[grid](*real, **meta)
    assert not torch.equal(twin[out], args[out])
    close(twin[out], real[out], twin[out].dtype, slack=2e-6)
    assert not seen.outside() and not seen.strangers() and not seen.shared_writes()


def test_a_trace_sees_each_of_the_four_faults_and_none_in_the_innocent_kernel():
    names = {"A": "wrong cast", "B": "missing mask", "C": "race", "D": "out of bounds", "E": "none"}
    rows = torch.full((6 * 60,), float("nan"), dtype=torch.bfloat16).as_strided((6, 50), (60, 1))
    rows.copy_(draw(6, 50))
    w = draw(50, seed=1)
    for letter, (kernel, grid) in teaching.SUSPECTS.items():
        out, block = torch.zeros(6), 32 if letter == "C" else 64
        seen = trace(kernel, grid(6), rows, w, out, 6, 50, 60, BLOCK=block)
        assert lab.find_fault(seen, out, rows.double() @ w.double()) == names[letter]


def test_under_nbgrader_a_kernel_that_writes_out_of_bounds_harms_nothing(monkeypatch):
    """In Triton's interpreter such a kernel may kill the process, and with it the marks of the whole notebook."""

    @lab.triton.jit
    def no_mask(out_ptr, BLOCK: lab.tl.constexpr):
        i = lab.tl.arange(0, BLOCK)
        lab.tl.store(out_ptr + 1000000 * i, i + 1)

    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.setattr(lab.Kernel, "real", lambda self: pytest.fail("it was launched in Triton"))
    out = torch.zeros(4)
    no_mask[(1,)](out, BLOCK=4)
    assert out.tolist() == [1, 0, 0, 0]


def test_the_twin_refuses_what_triton_would_refuse():
    @lab.triton.jit
    def odd_block(x_ptr, BLOCK: lab.tl.constexpr):
        lab.tl.store(x_ptr + lab.tl.arange(0, BLOCK), 0.0)

    with pytest.raises(ValueError, match="power of two"):
        trace(odd_block, (1,), torch.zeros(9), BLOCK=9)
    with pytest.raises(TypeError, match="takes a pointer first"):
        trace(lambda x: lab.tl.load(3), (1,), torch.zeros(1))


RIGHT = {
    "one element after another": ("5.1", ex_05.add(
        ("i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
         "for k in range(BLOCK):\n      i = tl.program_id(0) * BLOCK + k"),
        ("\n    inside", "\n      inside"), ("\n    x =", "\n      x ="), ("\n    y =", "\n      y ="),
        ("\n    tl.store", "\n      tl.store"),
    )),
    "blocks counted by cdiv": ("5.4", ex_05.dot(
        ("for start in range(0, width, BLOCK):", "for k in range(tl.cdiv(width, BLOCK)):"),
        ("= start +", "= k * BLOCK +"),
    )),
    "shut rows never read": ("5.6", ex_05.steer(
        ("    h = tl.load(at,", "    if tl.load(gate_ptr + row) == 0:\n        return\n    h = tl.load(at,"),
    )),
    "the chosen logit picked inside the loop": ("5.9", ex_05.log_prob(
        ("    total = 0.0\n", "    total = 0.0\n    chosen = 0.0\n    target = tl.load(target_ptr + row)\n"),
        ("        m = higher\n    target = tl.load(target_ptr + row)\n",
         "        chosen += tl.sum(tl.where(column == target, x, 0.0), axis=0)\n        m = higher\n"),
        ("    chosen = tl.load(logits_ptr + row * stride + target).to(tl.float32)\n", ""),
    )),
}  # fmt: skip


@pytest.mark.parametrize("way", RIGHT)
def test_the_checks_accept_right_kernels_that_are_not_the_reference(way):
    exercise, kernel = RIGHT[way]
    assert verdict(exercise, kernel) is None


def test_the_twin_knows_cdiv():
    assert [lab.tl.cdiv(n, 32) for n in (64, 65, 1)] == [2, 3, 1]


def test_a_kernel_typed_into_a_notebook_cell_runs_in_triton(device):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    cell = (
        "import torch\nfrom valuelab.kernels.lab import tl, triton\n"
        "@triton.jit\ndef twice(x_ptr, n, BLOCK: tl.constexpr):\n"
        "    i = tl.arange(0, BLOCK)\n"
        "    x = tl.load(x_ptr + i, mask=i < n, other=0.0)\n"
        "    tl.store(x_ptr + i, x + tl.sum(x, axis=0), mask=i < n)\n"
        "x = torch.ones(5)\ntwice[(1,)](x, 5, BLOCK=8)\n"
    )
    assert shell.run_cell(cell).success
    assert torch.equal(shell.user_ns["x"], torch.full((5,), 6.0))


def test_without_triton_the_references_pass_their_checks_and_the_recorded_report_is_shown():
    from test_kernel_import import BLOCKED, run

    done = run(
        BLOCKED + "from valuelab.course.check import find, verdict\n"
        "from valuelab.kernels import aot, lab, teaching\nprint(lab.start())\n"
        "for i in range(1, 11):\n    assert verdict(f'5.{i}', find(f'5.{i}').reference) is None, i\n"
        "x = torch.ones(8)\nteaching.add_kernel[(1,)](x, x.clone(), x, 8, BLOCK=8)\n"
        "assert (x == 2).all()\n"
        "print([r['build'] for r in aot.lesson_report()])\n"
    )
    assert done.returncode == 0, done.stderr
    assert "twin" in done.stdout and "one row, width unknown" in done.stdout


def test_the_recorded_report_is_of_the_builds_that_the_lesson_compiles():
    import json

    rows = json.loads(Path(aot.__file__).with_name("recorded_sm90.json").read_text())["rows"]
    assert [r["build"] for r in rows] == list(aot.LESSON)
    assert all(r["loads"] == {str(k): v for k, v in aot.count_loads(r["ptx"]).items()} for r in rows)


class Traffic(TorchDispatchMode):
    """Counts the bytes of matrices with `n` elements that kernels read and write."""

    def __init__(self, n):
        super().__init__()
        self.n, self.bytes = n, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            for t in [*args, out]:
                if isinstance(t, torch.Tensor) and t.untyped_storage().nbytes() >= self.n * t.itemsize:
                    self.bytes += t.numel() * t.itemsize
        return out


@pytest.mark.parametrize(
    "name,steps",
    [("hook_as_written", traffic.EAGER_AS_WRITTEN), ("best_eager", traffic.BEST_EAGER)],
)
def test_the_passes_of_eager_hooks_are_those_that_torch_dispatches(name, steps):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import kernel_speed

    h, w = draw(64, 512).bfloat16(), draw(512, seed=1)
    gate, packed = torch.ones(64), torch.tensor([0.0, 1.0, 1.0])
    with Traffic(h.numel()) as seen:
        getattr(kernel_speed, name)(h, w, packed, gate)
    assert seen.bytes / (h.numel() * 2) == traffic.passes(steps)


def test_the_fused_kernel_moves_the_bytes_that_were_counted():
    h, w = draw(40, 64), draw(64, seed=1)
    gate = torch.arange(40) < 10
    seen = trace(teaching.steer_kernel, (40,), h, w, gate, 0.0, 99.0, 64, 64, BLOCK=64)
    matrix = seen.bytes("load", "h_ptr") + seen.bytes("store", "h_ptr")
    counted = traffic.steer_bytes(40, 64, 4, inplace=True, open_share=0.25)
    assert matrix == counted - 40 * 9 - 64 * 4 == 1.25 * 40 * 64 * 4
