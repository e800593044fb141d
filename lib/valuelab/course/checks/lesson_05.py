"""Checks of lesson 05: kernels.

A kernel runs in the twin (`valuelab.kernels.lab`), which sees every access, on buffers whose gaps
and outputs are full of NaN. A right one runs in Triton's interpreter as well, where there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from valuelab.course.check import Refused, exercise
from valuelab.kernels import aot, lab, teaching, traffic
from valuelab.kernels.joint import pivot_reference

NAN = float("nan")
SEEDS = (0, 1)


# ------------------------------------------------------------------------------- helpers


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spaced(data: Tensor, gap: int = 3) -> Tensor:
    """The same matrix with NaN between its rows."""
    n, d = data.shape
    return torch.full((n * (d + gap),), NAN, dtype=data.dtype).as_strided(
        (n, d), (d + gap, 1)
    ).copy_(data)  # fmt: skip


def also_in_triton(f: Callable, grid: tuple, args: list, out: int, want: Tensor, **meta) -> None:
    """Run the kernel in Triton's interpreter, if this process has it; the twin is more lenient."""
    language = sys.modules.get("triton.language")
    if type(getattr(language, "sum", None)).__name__ != "InterpretedFunction":
        return
    kernel = f if isinstance(f, lab.Kernel) else lab.Kernel(f)
    try:
        kernel[grid](*args, **meta)
    except Exception as error:  # whatever Triton says about the learner's source
        if "ufunc 'bitwise_and'" in str(error):  # a fault of the interpreter: compiled, such a kernel is right
            raise Refused(
                "a GPU would run it, but Triton's interpreter cannot join a block's mask and one condition of the "
                "whole program by `&`: put the store under `if step != 0:`"
            ) from None
        raise Refused(
            f"it works in the twin, but Triton refuses it: {str(error)[:150]}. Use tl's functions only, none of torch's"
        ) from None
    if not torch.allclose(args[out].double(), want.double(), atol=1e-2, rtol=1e-2):
        raise Refused("in Triton the result differs from the twin's: is something left undefined?")


def wrote(seen: lab.Trace, name: str) -> list[lab.Access]:
    return [a for a in seen.accesses if a.kind == "store" and a.name == name]


def need_output(seen: lab.Trace, name: str, position: str) -> None:
    others = {a.name for a in seen.accesses if a.kind == "store"} - {name}
    if others:
        raise Refused(f"{', '.join(sorted(others))} is written to: only {name} is yours to write")
    if not wrote(seen, name):
        raise Refused(f"nothing was written: end with tl.store({position}, ...)")


def close(got: Tensor, want: Tensor, tolerance: float = 1e-4) -> bool:
    return torch.allclose(got.double(), want.double(), atol=tolerance, rtol=tolerance)


def compare(got: Tensor, want: Tensor, likely, otherwise: str, tolerance: float = 1e-4) -> None:
    """Pass, or name the mistake whose result looks like this one."""
    if close(got, want, tolerance):
        return
    for wrong, message in likely:
        if close(got, wrong, tolerance) and not close(wrong, want, tolerance):
            raise Refused(message)
    if not torch.isfinite(got.double()).all():
        raise Refused(
            "the result holds NaN: masked elements were loaded without other=, so they are "
            "undefined, or some rows were never written"
        )
    worst = float((got.double() - want.double()).abs().max())
    raise Refused(f"values are off by up to {worst:.2g}: {otherwise}")


# ------------------------------------------------------------------------------ exercises


@exercise("5.1", reference=teaching.add_kernel)
def add_kernel(f: Callable) -> None:
    block = 32
    for seed, n in zip(SEEDS, (100, 65), strict=True):
        x, y, out = draw(n, seed=seed), draw(n, seed=seed + 9), torch.full((n,), NAN)
        grid = (-(-n // block),)
        seen = lab.trace(f, grid, x, y, out, n, BLOCK=block)
        need_output(seen, "out_ptr", "out_ptr + i")
        beyond = {int(e) for a in seen.outside() for e in a.elements if not 0 <= int(e) < n}
        if beyond == {n}:
            raise Refused("one element too far: the mask is i < n, yours lets n itself pass")
        if beyond:
            kinds = {a.kind for a in seen.outside()}
            if kinds == {"load"}:
                raise Refused("the loads run past the end: they need mask=i < n like the store")
            if kinds == {"store"}:
                raise Refused("the store runs past the end and destroys what lies there: mask it")
            raise Refused("elements beyond n are touched: mask loads and store with i < n")
        first: dict[int, int] = {}  # where each program begins
        for a in wrote(seen, "out_ptr"):
            if a.elements.numel():
                first[a.program] = min(int(a.elements.min()), first.get(a.program, n))
        starts = list(first.values())
        if len(starts) > 1 and set(starts) == {0}:
            raise Refused("every program works on the first block: begin at program_id(0) * BLOCK")
        if starts == list(range(len(starts))) and len(starts) > 1:
            raise Refused("the blocks overlap: program p begins at p * BLOCK, yours at p")
        compare(
            out,
            x + y,
            [(x - y, "x - y came back, x + y was wanted"), (x, "only x was copied: add y")],
            "that is not x + y",
        )
    also_in_triton(f, grid, [x, y, torch.full((n,), NAN), n], 2, x + y, BLOCK=block)


@exercise("5.2", reference=traffic.steer_bytes)
def steer_bytes(f: Callable) -> None:
    for n, d, size in ((37, 200, 4), (1000, 4096, 2)):
        matrix, rows, w = n * d * size, 9 * n, 4 * d
        got = f(n, d, size)
        if got is None:
            raise Refused("nothing came back: end with `return`, a number of bytes")
        likely = [
            (matrix + rows + w, "the write is missing: out of place every state is also written"),
            (2 * matrix, "the small change is missing: gate 1, score 4 and size 4 bytes a row, "
             "and the probe, 4 bytes an element"),
            (2 * matrix + rows, "the probe is missing: 4 d bytes, read from memory once"),
            (2 * matrix + w, "the rows' own numbers are missing: 1 + 4 + 4 bytes each"),
            (2 * matrix + rows + n * w, "the probe is counted once a row: it is read once from "
             "memory, and then from the cache"),
            (2 * n * d + rows + w, "elements are counted, not bytes: multiply by itemsize"),
            (8 * (2 * matrix + rows + w), "these are bits: 8 times too many"),
        ]  # fmt: skip
        _number(got, 2 * matrix + rows + w, likely, "out of place: one read, one write, and the rest")
        got = f(n, d, size, inplace=True, open_share=0.25)
        likely = [
            (2 * matrix + rows + w, "in place a shut gate stores nothing: only the open share is "
             "written"),
            (0.5 * matrix + rows + w, "the reads shrank too: every state is read, for its score"),
            (1.75 * matrix + rows + w, "the shut rows are counted as written: it is the open ones"),
        ]  # fmt: skip
        _number(got, 1.25 * matrix + rows + w, likely, "in place: (1 + open share) passes")
        if abs(f(n, d, size, open_share=0.25) - (2 * matrix + rows + w)) > 0.5:
            raise Refused("out of place the gate saves nothing: shut rows must be copied, too")


def _number(got, want: float, likely, otherwise: str) -> None:
    if isinstance(got, bool) or not isinstance(got, (int, float)):
        raise Refused(f"a {type(got).__name__} came back, a number of bytes was wanted")
    if abs(got - want) < 0.5:
        return
    for wrong, message in likely:
        if abs(got - wrong) < 0.5:
            raise Refused(message)
    raise Refused(f"{got / want:.3g} times the right number of bytes. Count again {otherwise}")


@exercise("5.3", reference=teaching.row_sum_kernel)
def row_sum_kernel(f: Callable) -> None:
    for seed, (n, width) in zip(SEEDS, ((7, 50), (3, 33)), strict=True):
        x, out = spaced(draw(n, width, seed=seed)), torch.full((n,), NAN)
        seen = lab.trace(f, (n,), x, out, width, x.stride(0), BLOCK=64)
        need_output(seen, "out_ptr", "out_ptr + row")
        if len(seen.elements("store", "out_ptr")) == 1:
            raise Refused("all programs write to the same element: store at out_ptr + row")
        loads = [a for a in seen.accesses if a.kind == "load" and a.elements.numel()]
        starts = [int(a.elements.min()) for a in loads]
        if len(set(starts)) == 1:
            raise Refused("every program reads the first row: add row * stride to the pointer")
        if starts[1] == width:
            raise Refused("row r starts at r * stride, yours at r * width: rows may lie further apart")
        if seen.strangers():
            raise Refused("the gap behind the row is read: mask with column < width")
        want = x.sum(1)
        compare(
            out,
            want,
            [(want / width, "this is the mean: the sum was wanted"),
             (x.amax(1), "this is the largest element: use tl.sum"),
             (x.square().sum(1), "the squares are summed: no square was asked for")],
            "is every element of the row added once?",
        )  # fmt: skip
    also_in_triton(f, (n,), [x, torch.full((n,), NAN), width, x.stride(0)], 1, want, BLOCK=64)


@exercise("5.4", reference=teaching.row_dot_kernel)
def row_dot_kernel(f: Callable) -> None:
    for seed, (n, width) in zip(SEEDS, ((5, 75), (3, 200)), strict=True):
        for dtype in (torch.float32, torch.bfloat16):
            h, w = spaced(draw(n, width, seed=seed).to(dtype)), draw(width, seed=seed + 5)
            out = torch.full((n,), NAN)
            seen = lab.trace(f, (n,), h, w, out, width, h.stride(0), BLOCK=16)
            need_output(seen, "out_ptr", "out_ptr + row")
            if any(a.name == "w_ptr" for a in seen.strangers()):
                raise Refused("the load of w runs past its end: it needs the mask, too")
            if seen.strangers():
                raise Refused("the gap behind the row is read: mask h with column < width")
            if len(seen.elements("load", "h_ptr")) == n * 16:
                raise Refused("only the first block of each row is read: walk on to width")
            x = h.double()
            want = x @ w.double()
            last = width - width % 16 if width % 16 else width - 16
            repeated = torch.cat([w[:16]] * (width // 16 + 1))[:width].double()
            compare(
                out,
                want,
                [(x[:, last:] @ w[last:].double(), "only the last block counts: add to the total, "
                  "do not replace it"),
                 (x @ repeated, "w does not move along: it needs the same columns as h"),
                 (x @ w.double().abs(), "the sign of w is lost"),
                 (x.sum(1), "w is missing: this is the plain sum of h")],
                "the products lose digits in the dtype of h: convert to tl.float32 first"
                if dtype == torch.bfloat16 else "is every product added once?",
                tolerance=1e-4,
            )  # fmt: skip
    args = [h.float(), w, torch.full((n,), NAN), width, width]
    also_in_triton(f, (n,), args, 2, want, BLOCK=16)


@exercise("5.5", reference=teaching.step_size)
def step_size(f: Callable) -> None:
    for seed in SEEDS:
        score, gate = 2 * draw(40, seed=seed), (draw(40, seed=seed + 1) > 0).float()
        target, norm2 = torch.tensor(0.7), torch.tensor(5.3)
        got = f(score, target, gate, norm2)
        if got is None:
            raise Refused("nothing came back: end with `return`")
        if not isinstance(got, Tensor) or got.shape != score.shape:
            raise Refused("one number for each score was wanted, of the same shape")
        gap = target - score
        want = gate * gap.clamp(min=0) / norm2
        compare(
            got,
            want,
            [(gate * (-gap).clamp(min=0) / norm2, "sign flipped: scores below the target must be "
              "lifted, and this pushes those above it"),
             (-want, "sign flipped at the end: the step must raise the score"),
             (gate * gap / norm2, "the maximum with 0 is missing: scores above the target fall"),
             (gap.clamp(min=0) / norm2, "the gate is missing"),
             (gate * gap.clamp(min=0), "not divided by |w|²: the step is too long"),
             (gate * gap.clamp(min=0) / norm2.sqrt(), "divided by |w|: w itself has length |w|, so "
              "it must be |w|²")],
            "gate * max(0, target - score) / norm2 was wanted",
        )  # fmt: skip
        half = f(score, target, torch.tensor(0.5), norm2)
        if not close(half, gap.clamp(min=0) / norm2 / 2):
            raise Refused("a gate of 0.5 must take half the step: multiply, do not compare")
        if not close(f(score, target, gate, torch.tensor(0.0)), torch.zeros(40)):
            raise Refused("a probe of zeros divides by zero: where norm2 is 0 the step is 0")


@exercise("5.6", reference=teaching.steer_kernel)
def steer_kernel(f: Callable) -> None:
    for seed, (n, width) in zip(SEEDS, ((9, 50), (6, 64)), strict=True):
        for dtype in (torch.float32, torch.bfloat16):
            data = draw(n, width, seed=seed).to(dtype)
            h, w = spaced(data), draw(width, seed=seed + 3) / 4
            gate = torch.tensor([0.5, 1.0, 0.0]).repeat(3)[:n]
            bias, target = 0.2, 0.6
            args = [h, w, gate, bias, target, width, h.stride(0)]
            seen = lab.trace(f, (n,), *args, BLOCK=64)
            need_output(seen, "h_ptr", "at")
            if any(a.kind == "store" for a in seen.strangers()):
                raise Refused("the gap behind the row is overwritten: mask the store")
            if seen.strangers():
                raise Refused("the gap behind the row is read: mask the loads with column < width")
            x, v = data.double(), w.double()
            z = x @ v + bias
            steps = _steps(x, v, z, gate.double(), target)
            want = x + steps["right"][:, None] * v
            slack = 2e-2 if dtype == torch.bfloat16 else 1e-4
            compare(
                h,
                want,
                [(torch.where(steps["right"][:, None] == 0, x, steps["right"][:, None] * v),
                  "the state is lost: store h + step * w"),
                 (x + steps["no bias"][:, None] * v, "the bias is missing from the score"),
                 (x + steps["one gate"][:, None] * v, "every row uses the first gate: load "
                  "gate_ptr + row"),
                 (x + steps["no gate"][:, None] * v, "the gate is not used"),
                 (x - steps["right"][:, None] * v, "the step goes the wrong way: add it")],
                "h + step * w was wanted, with the step of exercise 5.5", slack,
            )  # fmt: skip
            shut = set(range(n)) - {a.program for a in wrote(seen, "h_ptr") if a.elements.numel()}
            if shut != set((steps["right"] == 0).nonzero().flatten().tolist()):
                raise Refused("shut rows are stored as well: write only `if step != 0`")
            reads = seen.bytes("load", "h_ptr")
            if reads > n * width * dtype.itemsize:
                raise Refused("h is loaded more than once: keep it in registers, it is the fusion")
            if dtype == torch.bfloat16 and not close(h, want.to(dtype), 1e-5):
                raise Refused("too few digits in bfloat16: compute in float32, cast when storing")
    h = data.float().clone()
    args = [h, w, gate, bias, target, width, width]
    also_in_triton(f, (n,), args, 0, want, BLOCK=64)


def _steps(x: Tensor, v: Tensor, z: Tensor, gate: Tensor, target: float) -> dict[str, Tensor]:
    def step(score, gate):
        return gate * (target - score).clamp(min=0) / (v @ v)

    return {"right": step(z, gate), "no bias": step(x @ v, gate), "no gate": step(z, 1.0),
            "one gate": step(z, gate[0])}  # fmt: skip


@exercise("5.7", reference=aot.count_loads)
def count_loads(f: Callable) -> None:
    def ask(*lines):
        found = f("\n".join(f"\t{line}" for line in lines) + "\n")
        if found is None:
            raise Refused("nothing came back: return a dictionary {bits: how many}")
        if not isinstance(found, dict):
            raise Refused(f"a {type(found).__name__} came back, a dictionary was wanted")
        return {int(k): int(v) for k, v in found.items() if v}

    four = "ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];"
    if ask(four) == {32: 1}:
        raise Refused("v4 is overlooked: four lanes of 32 bits are 128 bits")
    if ask(four) == {4: 1}:
        raise Refused("lanes are counted, not bits: v4 of b32 is 128")
    if ask(four) == {16: 1}:
        raise Refused("these are bytes: count bits, 128 for v4.b32")
    if ask(four, four, four) == {128: 1}:
        raise Refused("three equal lines are three loads, not one")
    if ask("ld.shared.v4.b32 { %r1, %r2, %r3, %r4 }, [ %r9 ];", "ld.param.b64 %rd1, [p];"):
        raise Refused("shared memory and parameters are not global memory: only ld.global counts")
    if ask("st.global.v4.b32 [ %rd1 + 0 ], { %r1, %r2, %r3, %r4 };"):
        raise Refused("stores are counted: only ld, not st")
    if ask("@%p1 ld.global.b16 { %rs1 }, [ %rd3 + 0 ];") != {16: 1}:
        raise Refused("a load behind a predicate (@%p1) is a load, too")
    if ask("ld.global.L1::evict_last.v2.b64 { %rd4, %rd5 }, [ %rd2 + 0 ];") != {128: 1}:
        raise Refused("a modifier may stand before the width: ld.global.L1::evict_last.v2.b64")
    text = (four, "ld.global.f32 %f1, [ %rd1 ];", "ld.global.b16 %rs1, [ %rd2 ];", four)
    if ask(*text) != {16: 1, 32: 1, 128: 2}:
        raise Refused(f"of four loads {ask(*text)} was found, {{16: 1, 32: 1, 128: 2}} is right")


@exercise("5.10", reference=lab.find_fault)
def find_fault(f: Callable) -> None:
    cases = _fault_cases()
    for truth, (seen, got, exact) in cases.items():
        said = f(seen, got, exact)
        if said is None:
            raise Refused('nothing came back: return the fault\'s name, or "none"')
        if said == truth:
            continue
        raise Refused(_FAULT_HINTS.get((truth, said)) or (f"a kernel whose fault is {truth!r} is called {said!r}"))
    seen, got, exact = cases["none"]
    if f(seen, 1e3 * got * (1 + 1e-6), 1e3 * exact) != "none":
        raise Refused("the tolerance must be relative: large values have large rounding errors")
    if f(seen, torch.full_like(got, NAN), exact) == "none":
        raise Refused("a result of NaN passes: NaN > x is false, so ask `not error <= tolerance`")


_FAULT_HINTS = {
    ("none", "race"): "two programs that only load the same element do not race",
    ("out of bounds", "missing mask"): "memory beyond the tensor is the graver fault: ask "
    "seen.outside() before seen.strangers()",
    ("missing mask", "wrong cast"): "wrong values have a cause: look at seen.strangers() first",
    ("race", "none"): "a race that happened to give the right values is still a race: look at seen.shared_writes()",
    ("wrong cast", "none"): "the values are never compared: errors above the tolerance are a fault",
    ("missing mask", "none"): "elements between the rows are overlooked: look at seen.strangers()",
    ("out of bounds", "none"): "memory beyond the tensor is overlooked: look at seen.outside()",
}


def _fault_cases() -> dict:
    """One launch of each suspect, on bfloat16 rows with gaps, and its innocent twin."""
    names = {"E": "none", "D": "out of bounds", "B": "missing mask", "C": "race", "A": "wrong cast"}
    cases = {}
    for letter, truth in names.items():
        kernel, grid = teaching.SUSPECTS[letter]
        h, w = spaced(draw(6, 50).bfloat16(), 10), draw(50, seed=1)
        out, block = torch.zeros(6), 32 if letter == "C" else 64
        seen = lab.trace(kernel, grid(6), h, w, out, 6, 50, h.stride(0), BLOCK=block)
        cases[truth] = (seen, out, h.double() @ w.double())
    return cases


@exercise("5.8", reference=teaching.pivot_kernel)
def pivot_kernel(f: Callable) -> None:
    for seed in SEEDS:
        n, k = 5, 4
        half = draw(n, k, k, seed=seed)
        table, q = half @ half.mT + torch.eye(k), draw(n, k, seed=seed + 1)
        here = torch.tensor([0, 3, 1, 2, 1])
        one = torch.nn.functional.one_hot(here, k).bool()
        want, want_q = pivot_reference(table, q, one)
        args = [table.clone(), q.clone(), here]
        seen = lab.trace(f, (n,), *args, K=k)
        got, got_q = args[:2]
        if not wrote(seen, "table_ptr"):
            raise Refused("the table is not written back: tl.store it where it came from")
        if not wrote(seen, "q_ptr"):
            raise Refused("q is not written back: it changes with the table")
        if seen.shared_writes():
            raise Refused("programs share elements: row r's table begins at r * K * K, its q at r * K")
        corner = one[:, :, None] & one[:, None, :]
        parts = {
            "corner": (corner, "M[p, p] must become 1 / m"),
            "column": (one[:, None, :] & ~corner, "column p must become M[i, p] / m, sign unchanged"),
            "line": (one[:, :, None] & ~corner, "row p must become -M[p, j] / m, sign changed"),
            "rest": (~one[:, :, None] & ~one[:, None, :], "elsewhere subtract M[i, p] M[p, j] / m"),
        }
        wrong = [m for where, m in parts.values() if not close(got[where], want[where])]
        if len(wrong) == len(parts):
            raise Refused("no part of the table is right: is m = M[p, p], with p = here[row]?")
        if wrong:
            raise Refused(wrong[0])
        if not close(got_q[one], want_q[one]):
            raise Refused("q[p] must become -q[p] / m")
        if not close(got_q, want_q):
            raise Refused("the other q must lose M[i, p] q[p] / m, with the old M and q")
    args = [table.clone(), q.clone(), here]
    also_in_triton(f, (n,), args, 0, want, K=k)


@exercise("5.9", reference=teaching.log_prob_kernel)
def log_prob_kernel(f: Callable) -> None:
    for seed, (n, width) in zip(SEEDS, ((5, 75), (4, 130)), strict=True):
        logits = 3 * draw(n, width, seed=seed)
        logits[0] = logits[0].sort().values  # the maximum comes last: every block must shrink
        x, y = spaced(logits), (torch.arange(n) * 17) % width
        out = torch.full((n,), NAN)
        args = [x, y, out, width, x.stride(0)]
        seen = lab.trace(f, (n,), *args, BLOCK=16)
        need_output(seen, "out_ptr", "out_ptr + row")
        if seen.strangers():
            raise Refused("the gap behind the row is read: mask with column < width")
        if seen.bytes("load", "logits_ptr") > 4 * (n * width + n):
            raise Refused("the logits are read more than once: one walk keeps both m and the sum")
        z = x.double()
        lse, chosen = z.logsumexp(1), z[torch.arange(n), y]
        want = chosen - lse
        pad = -width % 16
        padded = torch.cat([z, torch.zeros(n, pad, dtype=z.dtype)], 1).logsumexp(1)
        compare(
            out,
            want,
            [(want.exp(), "this is the probability: its logarithm was wanted"),
             (-want, "sign flipped: this is the loss, -log p"),
             (chosen - z.amax(1), "the logarithm of the sum is missing: only m was subtracted"),
             (chosen, "this is the chosen logit: subtract m and the logarithm of the sum"),
             (chosen - padded, "masked logits count as 0: load them as -inf, so that e^x is 0"),
             (z[0, y] - lse, "the target is read from the first row: add row * stride there, too"),
             (chosen - _unshrunk(z), "the sum so far must shrink by e^(old m - new m) when m grows"),
             (chosen - _last_block(z), "only the last block is summed: add to the sum so far")],
            "log p = x[target] - m - log(sum of e^(x - m)) was wanted",
        )  # fmt: skip
        big, out = spaced(logits + 300), torch.full((n,), NAN)
        lab.trace(f, (n,), big, y, out, width, big.stride(0), BLOCK=16)
        if not close(out, want, 1e-3):
            raise Refused("with logits near 300 it overflows: subtract the largest before tl.exp")
        barred, out = logits.clone(), torch.full((n,), NAN)
        barred[:, :16] = -torch.inf
        barred, y_far = spaced(barred), torch.full((n,), 20)
        lab.trace(f, (n,), barred, y_far, out, width, barred.stride(0), BLOCK=16)
        if not close(out, barred.double().log_softmax(1)[:, 20], 1e-4):
            raise Refused("a first block of nothing but -inf gives NaN: -inf - (-inf) is no number, start m at -1e30")
    args = [x, y, torch.full((n,), NAN), width, x.stride(0)]
    also_in_triton(f, (n,), args, 2, want, BLOCK=16)


def _blocks(z: Tensor):
    m = torch.full((len(z),), -1e30, dtype=z.dtype)
    for block in z.split(16, dim=1):
        m = torch.maximum(m, block.amax(1))
        yield m, (block - m[:, None]).exp().sum(1)


def _unshrunk(z: Tensor) -> Tensor:
    found = list(_blocks(z))
    return found[-1][0] + sum(s for _, s in found).log()


def _last_block(z: Tensor) -> Tensor:
    m, s = list(_blocks(z))[-1]
    return m + s.log()
