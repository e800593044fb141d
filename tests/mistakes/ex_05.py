"""Wrong answers to lesson 05, as a tired student would write them, and the words against each."""

import re

import torch

from mistakes.planted import Mistake
from valuelab.kernels import teaching
from valuelab.kernels.lab import tl, triton


def edited(kernel, *changes):
    """The reference with lines changed: a mistake is then exactly what is written here."""
    import inspect
    import textwrap

    source = textwrap.dedent(inspect.getsource(inspect.unwrap(kernel)))
    for old, new in changes:
        assert source.count(old) >= 1, f"{old!r} is not in {kernel.__name__}"
        source = source.replace(old, new)
    names = {"tl": tl, "triton": triton, "step_size": teaching.step_size, "re": re}
    exec(compile(source, f"<{kernel.__name__}>", "exec"), names)  # our own text
    return names[kernel.__name__]


def add(*changes):
    return edited(teaching.add_kernel, *changes)


def total(*changes):
    return edited(teaching.row_sum_kernel, *changes)


def dot(*changes):
    return edited(teaching.row_dot_kernel, *changes)


def size(*changes):
    return edited(teaching.step_size, *changes)


def steer(*changes):
    return edited(teaching.steer_kernel, *changes)


def pivot(*changes):
    return edited(teaching.pivot_kernel, *changes)


def log_prob(*changes):
    return edited(teaching.log_prob_kernel, *changes)


def count(n, d, itemsize=2, *, inplace=False, open_share=1.0, **wrong):
    """The right count, with one part replaced by `wrong`."""
    matrix = n * d * itemsize
    part = {"read": matrix, "write": matrix * (open_share if inplace else 1.0),
            "rows": 9 * n, "probe": 4 * d}  # fmt: skip
    part |= {k: v(n, d, itemsize, inplace, open_share) for k, v in wrong.items()}
    return sum(part.values())


def counting(**wrong):
    return lambda n, d, itemsize=2, *, inplace=False, open_share=1.0: count(
        n, d, itemsize, inplace=inplace, open_share=open_share, **wrong
    )


def loads(pattern, lanes=r"\.v(\d)", scale=1, distinct=False):
    def wrong(ptx):
        found = {}
        lines = re.findall(pattern, ptx)
        for modifiers, bits in set(lines) if distinct else lines:
            v = re.search(lanes, modifiers) if lanes else None
            width = int(bits) * (int(v.group(1)) if v else 1) // scale
            found[width] = found.get(width, 0) + 1
        return found

    return wrong


LD = r"\bld\.global([.\w:]*?)\.[bfsu](\d+)\s"


def fault(order="osrw", relative=True, nan_is_fault=True, write_clash=None):
    """find_fault with its questions in another order, or some left out."""

    def wrong(seen, got, exact, tolerance=1e-5):
        error = (got.double() - exact).abs().max()
        allowed = tolerance * (exact.abs().max() if relative else 1.0)
        cast = not error <= allowed if nan_is_fault else bool(error > allowed)
        clash = seen.shared_writes() if write_clash is None else write_clash(seen)
        asked = {"o": (seen.outside(), "out of bounds"), "s": (seen.strangers(), "missing mask"),
                 "r": (clash, "race"), "w": (cast, "wrong cast")}  # fmt: skip
        return next((name for hit, name in map(asked.get, order) if hit), "none")

    return wrong


def any_shared(seen):
    """Takes two loads of one element for a race."""
    names = {a.name for a in seen.accesses}
    return any(len(w) > 1 for n in names for w in seen.elements("load", n).values())


def interpreted():
    """Whether the checks run kernels in Triton's interpreter as well, in this process."""
    try:
        import triton.language as language
    except ImportError:
        return False
    return type(language.sum).__name__ == "InterpretedFunction"


MISTAKES = {
    "5.1": [
        Mistake("no mask", add((", mask=inside", "")), "elements beyond n are touched"),
        Mistake(
            "loads unmasked",
            add(("+ i, mask=inside)\n    y", "+ i)\n    y"), ("y_ptr + i, mask=inside", "y_ptr + i")),
            "the loads run past",
        ),
        Mistake("store unmasked", add(("x + y, mask=inside", "x + y")), "the store runs past"),
        Mistake("one too far", add(("i < n\n    x", "i <= n\n    x")), "one element too far"),
        Mistake("no program id", add(("tl.program_id(0) * BLOCK + tl.arange", "tl.arange")), "first block"),
        Mistake("overlapping", add(("tl.program_id(0) * BLOCK", "tl.program_id(0)")), "blocks overlap"),
        Mistake("minus", add(("x + y, mask", "x - y, mask")), "x - y came back"),
        Mistake("only x", add(("x + y, mask", "x, mask")), "only x was copied"),
        Mistake("into x", add(("tl.store(out_ptr", "tl.store(x_ptr")), "only out_ptr is yours"),
    ],
    "5.2": [
        Mistake(
            "no write", counting(write=lambda n, d, i, p, o: 0 if not p else n * d * i * o), "the write is missing"
        ),
        Mistake("no small change", counting(rows=lambda *a: 0, probe=lambda *a: 0), "the small change is missing"),
        Mistake("no probe", counting(probe=lambda *a: 0), "the probe is missing"),
        Mistake("no rows", counting(rows=lambda *a: 0), "the rows' own numbers"),
        Mistake("probe a row", counting(probe=lambda n, d, *a: 4 * n * d), "counted once a row"),
        Mistake("elements", lambda n, d, itemsize=2, **k: count(n, d, 1, **k), "elements are counted"),
        Mistake("bits", lambda n, d, itemsize=2, **k: 8 * count(n, d, itemsize, **k), "these are bits"),
        Mistake("all written", counting(write=lambda n, d, i, p, o: n * d * i), "a shut gate stores nothing"),
        Mistake("reads shrink", counting(read=lambda n, d, i, p, o: n * d * i * (o if p else 1)), "the reads shrank"),
        Mistake(
            "shut ones", counting(write=lambda n, d, i, p, o: n * d * i * (1 - o if p else 1)), "counted as written"
        ),
        Mistake(
            "always gated", counting(write=lambda n, d, i, p, o: n * d * i * o), "out of place the gate saves nothing"
        ),
    ],
    "5.3": [
        Mistake("same element", total(("out_ptr + row", "out_ptr")), "the same element"),
        Mistake(
            "first row", total(("x_ptr + row * stride + column", "x_ptr + column")), "every program reads the first row"
        ),
        Mistake("width for stride", total(("row * stride +", "row * width +")), "yours at r * width"),
        Mistake("no mask", total((", mask=column < width, other=0.0", "")), "the gap behind the row is read"),
        Mistake("no other", total((", other=0.0", "")), "without other="),
        Mistake("mean", total(("tl.sum(x, axis=0))", "tl.sum(x, axis=0) / width)")), "this is the mean"),
        Mistake(
            "max",
            total(("tl.sum(x, axis=0))", "tl.max(tl.where(column < width, x, -1e30), axis=0))")),
            "the largest element",
        ),
        Mistake("squares", total(("tl.sum(x, axis=0))", "tl.sum(x * x, axis=0))")), "the squares are summed"),
    ],
    "5.4": [
        Mistake(
            "w unmasked", dot(("w_ptr + column, mask=inside, other=0.0", "w_ptr + column")), "the load of w runs past"
        ),
        Mistake("h unmasked", dot(("stride + column, mask=inside, other=0.0", "stride + column")), "mask h with"),
        Mistake(
            "one block", dot(("range(0, width, BLOCK)", "range(0, BLOCK, BLOCK)")), "only the first block of each row"
        ),
        Mistake("replaced", dot(("total += h * w", "total = h * w")), "only the last block counts"),
        Mistake(
            "w stays", dot(("tl.load(w_ptr + column,", "tl.load(w_ptr + tl.arange(0, BLOCK),")), "w does not move along"
        ),
        Mistake(
            "no cast",
            dot(
                (".to(tl.float32)\n", "\n"),
                (
                    "mask=inside, other=0.0)\n        total += h * w",
                    "mask=inside, other=0.0).to(h_ptr.dtype.element_ty)\n        total += h * w",
                ),
            ),
            "lose digits",
        ),
        Mistake("no w", dot(("total += h * w", "total += h")), "w is missing"),
        Mistake("absolute", dot(("total += h * w", "total += h * tl.abs(w)")), "the sign of w is lost"),
    ],
    "5.5": [
        Mistake("sign", size(("target - score", "score - target")), "sign flipped: scores"),
        Mistake("negated", size(("gate * gap /", "-gate * gap /")), "flipped at the end"),
        Mistake(
            "no maximum", size(("tl.maximum(target - score, 0.0)", "target - score")), "the maximum with 0 is missing"
        ),
        Mistake("no gate", size(("gate * gap", "gap")), "the gate is missing"),
        Mistake("not divided", size(("gate * gap / tl.where(norm2 > 0, norm2, 1.0)", "gate * gap")), "not divided by"),
        Mistake("norm", size(("1.0), 0.0", "1.0) ** 0.5, 0.0")), "divided by |w|:"),
        Mistake("gate compared", size(("gate * gap", "tl.where(gate > 0, gap, 0.0)")), "half the step"),
        Mistake(
            "zero probe",
            lambda score, target, gate, norm2: gate * (target - score).clamp(min=0) / norm2,
            "divides by zero",
        ),
    ],
    "5.6": [
        Mistake("store unmasked", steer(("element_ty), mask=inside)", "element_ty))")), "is overwritten"),
        Mistake("load unmasked", steer(("tl.load(at, mask=inside, other=0.0)", "tl.load(at)")), "mask the loads"),
        Mistake("state lost", steer(("(h + step * w).to", "(step * w).to")), "the state is lost"),
        Mistake("no bias", steer((", axis=0) + bias", ", axis=0)")), "the bias is missing"),
        Mistake("first gate", steer(("gate_ptr + row", "gate_ptr + 2 - 1 - 1")), "every row uses the first gate"),
        Mistake("no gate", steer(("target, gate,", "target, 1.0,")), "the gate is not used"),
        Mistake("wrong way", steer(("(h + step * w).to", "(h - step * w).to")), "the wrong way"),
        Mistake("always stored", steer(("if step != 0:", "if step >= 0:")), "shut rows are stored"),
        Mistake(
            "loaded twice",
            steer(("(h + step * w).to", "(tl.load(at, mask=inside, other=0.0).to(tl.float32) + step * w).to")),
            "more than once",
        ),
        Mistake(
            "bfloat16 arithmetic",
            steer(
                (
                    "(h + step * w).to(h_ptr.dtype.element_ty)",
                    "h.to(h_ptr.dtype.element_ty) + (step * w).to(h_ptr.dtype.element_ty)",
                )
            ),
            "too few digits",
        ),
    ],
    "5.7": [
        Mistake("no lanes", loads(LD, lanes=None), "v4 is overlooked"),
        Mistake("lanes only", lambda ptx: {int(v): 1 for v in re.findall(r"\.v(\d)", ptx)}, "lanes are counted"),
        Mistake("bytes", loads(LD, scale=8), "these are bytes"),
        Mistake("distinct lines", loads(LD, distinct=True), "are three loads"),
        Mistake("any memory", loads(r"\bld\.\w+([.\w:]*?)\.[bfsu](\d+)\s"), "shared memory and parameters"),
        Mistake("stores", loads(r"\b(?:ld|st)\.global([.\w:]*?)\.[bfsu](\d+)\s"), "stores are counted"),
        Mistake("predicates", loads(r"(?m)^\tld\.global([.\w:]*?)\.[bfsu](\d+)\s"), "behind a predicate"),
        Mistake("no modifiers", loads(r"\bld\.global((?:\.v\d)?)\.[bfsu](\d+)\s"), "a modifier may stand"),
        Mistake("a number", lambda ptx: len(re.findall(LD, ptx)), "a dictionary was wanted"),
        Mistake("bits only b", loads(r"\bld\.global([.\w:]*?)\.b(\d+)\s"), "of four loads"),
    ],
    "5.10": [
        Mistake("always none", fault("o"), "elements between the rows are overlooked"),
        Mistake("no bounds", fault("rw", write_clash=lambda s: []), "memory beyond the tensor is overlooked"),
        Mistake("mask first", fault("sorw"), "is the graver fault"),
        Mistake("cast first", fault("owsr"), "wrong values have a cause"),
        Mistake("race unasked", fault("osw"), "happened to give the right values"),
        Mistake("never compared", fault("osr"), "never compared"),
        Mistake("loads race", fault(write_clash=any_shared), "do not race"),
        Mistake("absolute", fault(relative=False), "must be relative"),
        Mistake("NaN passes", fault(nan_is_fault=False), "NaN passes"),
    ],
    "5.8": [
        Mistake("table not stored", pivot(("    tl.store(at, moved)\n", "")), "the table is not written back"),
        Mistake(
            "q not stored",
            pivot(
                ("    tl.store(q_ptr", "    tl.load(q_ptr"),
                ("here, -q_p / m, q - column * q_p / m)", "here, q > 0, q > 0)"),
            ),
            "q is not written back",
        ),
        Mistake(
            "shared",
            pivot(
                ("row * K * K", "row * K"),
            ),
            "programs share elements",
        ),
        Mistake("corner kept", pivot(("1.0 / m, moved", "m, moved")), "must become 1 / m"),
        Mistake(
            "column negative", pivot(("column[:, None] / m, moved", "-column[:, None] / m, moved")), "sign unchanged"
        ),
        Mistake("line positive", pivot(("-line[None, :] / m", "line[None, :] / m")), "sign changed"),
        Mistake("added", pivot(("table - column", "table + column")), "elsewhere subtract"),
        Mistake("q sign", pivot(("-q_p / m, q", "q_p / m, q")), "q[p] must become"),
        Mistake("other q", pivot(("q - column * q_p / m", "q")), "the other q must lose"),
        Mistake(
            "wrong p",
            pivot(("k == tl.load(here_ptr + row)", "k == K - 1 - tl.load(here_ptr + row)")),
            "no part of the table",
        ),
    ],
    "5.9": [
        Mistake(
            "probability",
            log_prob(("chosen - m - tl.log(total)", "tl.exp(chosen - m) / total")),
            "this is the probability",
        ),
        Mistake("loss", log_prob(("chosen - m - tl.log(total)", "tl.log(total) + m - chosen")), "this is the loss"),
        Mistake(
            "no sum", log_prob(("chosen - m - tl.log(total)", "chosen - m")), "the logarithm of the sum is missing"
        ),
        Mistake("logit", log_prob(("chosen - m - tl.log(total)", "chosen")), "this is the chosen logit"),
        Mistake("masked as 0", log_prob(('float("-inf")', "0.0")), "masked logits count as 0"),
        Mistake(
            "first row",
            log_prob(("logits_ptr + row * stride + target", "logits_ptr + target")),
            "read from the first row",
        ),
        Mistake("no shrink", log_prob(("total * tl.exp(m - higher) +", "total +")), "must shrink by"),
        Mistake(
            "last block", log_prob(("total * tl.exp(m - higher) + tl.sum", "tl.sum")), "only the last block is summed"
        ),
        Mistake(
            "overflow",
            log_prob(("higher = tl.maximum(m, tl.max(x, axis=0))", "higher = tl.maximum(0.0, 0.0)")),
            "it overflows",
        ),
        Mistake("from -inf", log_prob(("m = -1e30", 'm = float("-inf")')), "start m at -1e30"),
        Mistake("gap", log_prob((', mask=column < width, other=float("-inf")', "")), "mask with column < width"),
        Mistake(
            "read twice",
            log_prob(
                (
                    "m = higher",
                    "m = higher + 0 * tl.max(tl.load(logits_ptr + row * stride + column, "
                    "mask=column < width, other=0.0), axis=0)",
                )
            ),
            "more than once",
        ),
    ],
}
if interpreted():  # without Triton's interpreter there is nothing to refuse: this one is right in the twin and on a GPU
    masked = steer(
        ("    if step != 0:\n        tl.store", "    tl.store"), ("mask=inside)\n", "mask=inside & (step != 0))\n")
    )
    MISTAKES["5.6"].append(Mistake("mask and condition", masked, "a GPU would run it"))
assert torch.float32 is tl.float32  # the twin's language is torch's
