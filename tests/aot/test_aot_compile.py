"""Every kernel compiles for seven GPUs that are not here, within budgets that a spill would break.

Each target compiles in a process of its own: an interpreted kernel cannot be compiled. The budgets
are ceilings, not counts: another Triton may choose other registers, but must not spill.
"""

import functools
import os
import sys

import pytest

from valuelab.kernels import aot, available

REGISTERS = {  # of 255 (NVIDIA) or 512 (AMD) that a thread may have
    "steer": 64, "steer_rows": 72, "steer_out": 80, "steer_odd_width": 72, "steer_wide": 80,
    "norm": 80, "logprob": 128, "logprob_backward": 80, "pairs": 48, "pairs_backward": 48,
    "joint4": 96, "joint8": 168, "programme8": 128, "programme16": 168,
}  # fmt: skip
SHARED = {  # bytes; a whole block shares 48 KiB
    "steer": 64, "steer_rows": 64, "steer_out": 64, "steer_odd_width": 8192, "steer_wide": 128,
    "norm": 64, "logprob": 64, "logprob_backward": 0, "pairs": 0, "pairs_backward": 0,
    "joint4": 8192, "joint8": 8192, "programme8": 8192, "programme16": 16384,
}  # fmt: skip
WIDE_LOADS = {  # fewest 16-byte loads; h in bfloat16 and w in float32 come in fours and eights
    "steer": 3, "steer_rows": 3, "steer_out": 3, "steer_wide": 6, "norm": 5, "logprob": 2,
    "logprob_backward": 2, "pairs": 2, "pairs_backward": 3, "joint4": 2, "joint8": 4,
}  # fmt: skip


QUICK = [name for name in aot.BUILDS if not name.startswith(("joint", "programme"))]
FEW = ["sm_75", "sm_90", "gfx942"]  # the joint kernels take seconds each: oldest, H200 and AMD
ALL = os.environ.get("VALUELAB_AOT") == "all"


@functools.cache
def whole_table():
    """All builds of the quick kernels for all targets, of the joint ones for a few (or for all)."""
    slow = [name for name in aot.BUILDS if name not in QUICK]
    return aot.report(QUICK) + aot.report(slow, None if ALL else FEW)


def table(target):
    return {row["build"]: row for row in whole_table() if row["target"] == target}


pytestmark = pytest.mark.skipif(
    not available(), reason=f"compiling needs Triton, which has no wheel for {sys.platform}"
)


@pytest.mark.parametrize("target", aot.TARGETS)
def test_every_kernel_compiles_within_its_budget(target):
    rows = table(target)
    assert set(rows) == set(aot.BUILDS if ALL or target in FEW else QUICK)
    broken = []
    for name, row in rows.items():
        if "error" in row:
            broken.append(f"{name}: {row['error']}")
            continue
        if row["spills"]:
            broken.append(f"{name}: {row['spills']} spilled")
        if row["registers"] > REGISTERS[name]:
            broken.append(f"{name}: {row['registers']} registers, budget {REGISTERS[name]}")
        if row["shared"] > SHARED[name]:
            broken.append(f"{name}: {row['shared']} B shared, budget {SHARED[name]}")
        if row["wide_loads"] < WIDE_LOADS.get(name, 0):
            broken.append(f"{name}: {row['wide_loads']} wide loads, fewest {WIDE_LOADS[name]}")
    assert not broken, f"{target}: " + "; ".join(broken)


def test_a_width_of_unknown_alignment_costs_all_wide_loads_of_the_states():
    aligned, odd = table("sm_90")["steer"], table("sm_90")["steer_odd_width"]
    assert odd["wide_loads"] == 0 and sum(odd["loads"].values()) > 3 * sum(aligned["loads"].values())


def test_loads_are_counted_by_width_from_ptx():
    ptx = """
    ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];
    @%p1 ld.global.L1::evict_last.v2.b64 { %rd4, %rd5 }, [ %rd2 + 0 ];
    ld.global.b16 { %rs1 }, [ %rd3 + 0 ];
    ld.shared.v4.b32 { %r1, %r2, %r3, %r4 }, [ %r9 ];
    st.global.v4.b32 [ %rd1 + 0 ], { %r1, %r2, %r3, %r4 };
    """
    assert aot.count_loads(ptx) == {16: 1, 128: 2}


def test_a_kernel_of_the_learner_compiles_and_a_broken_one_is_a_row_of_the_table():
    source = (
        "import triton\nimport triton.language as tl\n"
        "@triton.jit\ndef copy(x, y, n, B: tl.constexpr):\n"
        "    i = tl.program_id(0) * B + tl.arange(0, B)\n"
        "    tl.store(y + i, tl.load(x + i, mask=i < n), mask=i < n)\n"
        "@triton.jit\ndef wrong(x, B: tl.constexpr):\n    tl.store(x, no_such_name)\n"
    )
    good = aot.Build("", "copy", "bf bf i32", {"B": 1024}, 4)
    bad = aot.Build("", "wrong", "bf", {"B": 16}, 4)
    rows = aot.report(targets=["sm_90"], source=source, extra={"good": good, "bad": bad})
    assert rows[0]["wide_loads"] == 1 and rows[0]["spills"] == 0
    assert "no_such_name" in rows[1]["error"]


def test_the_report_comes_from_a_process_that_does_not_interpret(monkeypatch):
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1")
    rows = aot.report(["pairs"], ["sm_90"])
    assert "error" not in rows[0] and rows[0]["spills"] == 0
