# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 05 · Kernels in Triton
#
# Steering a hidden state takes one dot product and one addition. As most people write it, the
# hidden states nevertheless pass through memory sixteen times. In this lesson you write the kernel
# that needs two passes, or one and a bit. You prove it right, and read what a compiler makes of it
# for a GPU that you need not have.
#
# A **hook** is a function that gets a block's output and may change it: the usual way to steer. A **kernel** is a program that
# a GPU runs many times at once, each on its own part of the data; it is **fused** if it does in one go what would otherwise
# be several. How many passes does each way need?
#
# {{minutes}}. CPU is enough; nothing is downloaded.

# %%
import json
from pathlib import Path

import numpy as np
import torch
from ipywidgets import interact

from valuelab import kernels, plots
from valuelab.course import check, claim, quiz, show
from valuelab.kernels import aot, lab, teaching, traffic
from valuelab.kernels.lab import trace

plots.use()
ways = {
    "float32 hook, as written": traffic.passes(traffic.EAGER_AS_WRITTEN),
    "best eager torch": traffic.passes(traffic.BEST_EAGER),
    "fused, out of place": 2.0,
    "fused, in place,\n1 gate in 10 open": 1.1,
}
fig, ax = plots.figure()
places = np.arange(len(ways))[::-1]
ax.barh(places, ways.values(), color=["C1", "C1", "C0", "C0"], hatch=None)
ax.plot(list(ways.values()), places, "ok")
ax.set_yticks(places, list(ways))
ax.set_xlabel("passes over the hidden states (reads + writes)")
show(
    fig,
    "Passes of the hidden states through memory in one steering step, counted: "
    + ", ".join(f"{name.replace(chr(10), ' ')} {n:.3g}" for name, n in ways.items())
    + ".",
)

# %% [markdown]
# ## What you will be able to do
#
# - **write** a Triton kernel: programs, blocks, pointers, masks
# - **count** the bytes of a computation before writing it, and say what can be gained at most
# - **fuse** score, gate and shift into one kernel that reads each state once
# - **read** PTX and a compiler's resource report without owning the GPU
# - **find** a race, a missing mask, a wrong cast and an access out of bounds
#
# ## What this builds on
#
# Lesson 04: a probe reads a score $w\cdot h + b$, and the closed-form shift lifts it to a target. New words:
# [glossary](../docs/GLOSSARY.md).

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "A GPU makes it fast": this step is bound by memory, so only fewer bytes make
# it fast. "The interpreter shows the speed": it shows nothing of it; its time follows the number of
# programs. "It gives the right numbers, so it is right": see the control, where every suspect does.
#
# **For the room.** Before exercise 5.2, let everybody guess the number of passes of the three-line
# hook. Guesses between 2 and 5 are usual; it is 16.
#
# **To cut.** For 90 minutes keep: 5.1, 5.2, 5.6 and the control. 5.8 and 5.9 are for the semester.

# %% [markdown] minutes=5
# ## 1 · A program, a block, a mask
#
# A CUDA kernel is written for one thread. A Triton kernel is written for one **program**, which
# works on a whole **block** of elements at once; the compiler deals the block out to threads. You
# launch a **grid** of programs. Each asks which one it is and works on its own part:
#
# | in Triton | what it is | shape |
# |---|---|---|
# | `tl.program_id(0)` | number of this program | scalar |
# | `tl.arange(0, BLOCK)` | 0, 1, …, BLOCK − 1 | (BLOCK,), a power of two |
# | `x_ptr + i` | where element $i$ lies | like `i` |
# | `tl.load(p, mask=m, other=0.0)` | the elements there; `other` where the mask is false | like `p` |
# | `tl.store(p, value, mask=m)` | write them | – |
# | `BLOCK: tl.constexpr` | known when the kernel is compiled | – |
#
# With 100 elements in blocks of 32, the fourth block hangs over the edge by 28. Nothing stops it
# from reading there. **Masks** do: an element whose mask is false is neither read nor written.
# Source: Tillet, Kung and Cox, *Triton* (MAPL 2019).
#
# There is no GPU here, so the kernels run in Triton's interpreter: the same source, program after
# program, on the CPU. Where there is no Triton either (macOS, Windows), the course's own twin of
# its language steps in. `tl` and `triton` come from `valuelab.kernels.lab`; with `import triton` and
# `import triton.language as tl` instead, the same source runs on a GPU.

# %% tags=["nbval-ignore-output"]
print(lab.start())

# %% [markdown]
# ### Exercise 5.1 · Add two vectors
#
# 1. **Predict**: with n = 100 and BLOCK = 32, which elements does program 3 touch?
# 2. **Write** the body: four lines.
#
# <details><summary>Hint 1</summary>Program p owns the elements p · BLOCK to p · BLOCK + BLOCK − 1.</details>
# <details><summary>Hint 2</summary>Compute <code>i</code> once and the mask <code>i &lt; n</code> once;
# use both three times.</details>
#
# What you should see: ✓, and below that four programs wrote 100 elements, none twice. (Answer to 1: 96 to 99.)

# %% exercise="5.1" function="valuelab.kernels.teaching.add_kernel" minutes=8 stars=1

# %%
add_kernel = check("5.1", add_kernel)

# %%
x, y, out = torch.arange(100.0), torch.ones(100), torch.zeros(100)
add_kernel[(4,)](x, y, out, 100, BLOCK=32)
seen = trace(add_kernel, (4,), x, y, out, 100, BLOCK=32)
writers = seen.elements("store", "out_ptr")
claim("the kernel adds", torch.equal(out, x + y))
claim("each element is written by exactly one program", all(len(w) == 1 for w in writers.values()))
claim("nothing outside the vectors is touched", not seen.outside())

# %% [markdown] minutes=6
# ## 2 · Count before you write
#
# A GPU computes far faster than it can fetch. With bandwidth $B$ (bytes a second) and peak $P$
# (operations a second), work that does $I$ operations for each byte it moves runs at no more than
#
# $$\min(P,\; I \cdot B)$$
#
# This is the **roofline** (Williams, Waterman and Patterson 2009). Steering does about four operations
# for each element of two bytes, which has to be read at least and mostly written: $I$ between 1 and 2 at
# best. For an H200 we take $P = 67 \cdot 10^{12}$ in float32 and $B = 4.3 \cdot 10^{12}$, so the roof bends near
# $I = P/B \approx 16$. So only bytes count. Write $S = N \cdot D \cdot 2$ bytes for one pass over $N$ states of
# width $D$ in bfloat16. The hook
#
# ```python
# x = h.float()                                    # reads 1 S, writes 2 S: float32 is twice as wide
# gap = (target - (x @ w + b)).clamp(min=0)        # reads 2 S
# return (x + (gap / (w @ w))[:, None] * w).to(h.dtype)    # writes 2 S; reads 4 S, writes 2 S; reads 2 S, writes 1 S
# ```
#
# moves 16 S. A fused kernel reads a state once, keeps it in **registers** (a thread's own fast storage), and writes it once:
# 2 S. In place it need not write what it did not change. With a share $p$ of gates open: $(1 + p)\,S$. (The library reads shut
# rows, too, because it reports their scores. A kernel that reports nothing can skip them: $2p\,S$.)

# %% [markdown]
# ### Exercise 5.2 · Bytes of the fused step
#
# Count everything for `n` rows of width `d`: the states read and written, one gate (1 byte), one
# score and one size (4 bytes each) a row, and the probe, 4 bytes an element, from memory **once**.
#
# 1. **Predict**: 65 536 rows, d = 4096, bfloat16. How many MiB is one S?
# 2. **Write** the body.
#
# <details><summary>Hint 1</summary>The states dominate: n · d · itemsize · (1 + share written).</details>
# <details><summary>Hint 2</summary>Out of place, shut rows must be copied: there the share written is 1.</details>
#
# What you should see: one gate in ten open moves 1.1 S, and the rest is under a thousandth of it. (Answer to 1: 512.)

# %% exercise="5.2" function="valuelab.kernels.traffic.steer_bytes" minutes=8 stars=1

# %%
steer_bytes = check("5.2", steer_bytes)

# %%
n, d, bandwidth = 65_536, 4096, 4.3e12
S = n * d * 2
points = {  # name: (operations, bytes)
    "hook as written": (4 * n * d, traffic.passes(traffic.EAGER_AS_WRITTEN) * S),
    "best eager": (4 * n * d, traffic.passes(traffic.BEST_EAGER) * S),
    "fused, out of place": (4 * n * d, steer_bytes(n, d)),
    "fused, in place, p = 0.1": (4 * n * d, steer_bytes(n, d, inplace=True, open_share=0.1)),
    "8 values jointly": (32 * n * d, 3 * S),
}
results = sorted(Path("../benchmarks/results").glob("kernels_*.json"))
measured = json.loads(results[-1].read_text()) if results else None
fig, ax = plots.figure()
intensity = np.logspace(-1.2, 2, 60)
ax.loglog(intensity, [traffic.roofline(i) / 1e12 for i in intensity], color="0.3", label="roof")
for marker, (name, (work, moved)) in zip("sov^D", points.items(), strict=True):
    ax.loglog(work / moved, traffic.roofline(work / moved) / 1e12, marker, ms=9, label=name)
told = "No GPU was to be had yet: every point is a bound, none is measured."
if measured:
    rows = [r for r in measured["rows"] if r.get("n") == n and r.get("d") == d and "median_us" in r]
    rows = [r for r in rows if r["kernel"] == "steer" and r.get("open", 0.1) == 0.1]
    for r in rows:
        speed = 4 * n * d / (r["median_us"] * 1e-6) / 1e12
        ax.loglog(4 * n * d / r["bytes"], speed, "xk", ms=9)
    told = f"Crosses are measured on {measured['machine']['gpu']}, {measured['machine']['date']}."
ax.set(xlabel="operations for each byte moved", ylabel="TFLOP/s at most", ylim=(0.1, 150))
ax.legend(fontsize=10)
slow, fast = (points[k][1] / bandwidth * 1e6 for k in ("hook as written", "fused, in place, p = 0.1"))
show(
    fig,
    f"Roofline of an H200. All steering lies on the slope, where bytes decide. At {n:,} states the "
    f"hook needs at least {slow:.0f} µs and the fused kernel {fast:.0f} µs. {told}",
)
claim("steering is bound by memory however it is written", all(
    work / moved < 67e12 / bandwidth for work, moved in points.values()
))

# %% [markdown] minutes=3
# ## 3 · One program, one row
#
# A hidden state is a row of a matrix `(rows, width)`. One program a row is the natural grid: a dot
# product then never leaves the program. In memory row $r$ begins at $r \cdot$ `stride`, which is the
# width if the rows touch, and more if they were cut from a wider matrix.
# `tl.sum(x, axis=0)` adds up a block. Careful: what was masked takes part in it, with its `other`.

# %% [markdown]
# ### Exercise 5.3 · Sum each row
#
# 1. **Predict**: what must `other` be for a sum? And for a maximum?
# 2. **Write** the body: BLOCK covers the whole row.
#
# <details><summary>Hint 1</summary>Here the program's number is the row; the block runs over columns.</details>
# <details><summary>Hint 2</summary>Without <code>other</code> a masked element is undefined. The twin makes it NaN.</details>
#
# What you should see: ✓, also for rows that lie apart. (Answer to 1: 0, and −∞: what changes nothing.)

# %% exercise="5.3" function="valuelab.kernels.teaching.row_sum_kernel" minutes=8 stars=1

# %%
row_sum_kernel = check("5.3", row_sum_kernel)

# %% [markdown] minutes=4
# ## 4 · Any width, any dtype
#
# A row may be wider than a block: then the program walks along it. And states are stored in
# bfloat16, with 8 significant bits. The habit that avoids most trouble is **load, convert to float32
# at once, compute, convert when storing**. (In the interpreter there is a second reason: it adds
# bfloat16 numbers by their bit patterns, silently.)

# %% [markdown]
# ### Exercise 5.4 · A masked dot product
#
# 1. **Predict**: if 4096 products near 1 were added one by one in bfloat16, where would the sum stop
#    growing?
# 2. **Write** the body: a loop over `range(0, width, BLOCK)`.
#
# <details><summary>Hint 1</summary>Keep a block of BLOCK partial sums in float32; reduce once, at the end.</details>
# <details><summary>Hint 2</summary><code>column = start + tl.arange(0, BLOCK)</code>, for h and for w alike.</details>
#
# What you should see: below, the error of the bfloat16 sum grows with the width; yours does not.
# (Answer to 1: at 256, where adding 1 no longer changes a number of 8 bits.)

# %% exercise="5.4" function="valuelab.kernels.teaching.row_dot_kernel" minutes=12 stars=2

# %%
row_dot_kernel = check("5.4", row_dot_kernel)

# %%
torch.manual_seed(0)
widths, ours, theirs = (16, 64, 256, 1024, 4096), [], []
for width in widths:
    h, w = torch.rand(4, width).bfloat16(), torch.rand(width)
    exact, out = h.double() @ w.double(), torch.empty(4)
    row_dot_kernel[(4,)](h, w, out, width, width, BLOCK=min(width, 1024))
    ours.append(((out - exact).abs() / exact).max().item())
    low = torch.zeros(4, dtype=torch.bfloat16)
    for column in (h * w.bfloat16()).T:  # one by one, each sum rounded to bfloat16
        low = low + column
    theirs.append(((low.double() - exact).abs() / exact).max().item())
fig, ax = plots.figure()
ax.loglog(widths, theirs, "s--", label="added up in bfloat16")
ax.loglog(widths, ours, "o-", label="added up in float32 (yours)")
ax.set(xlabel="width of a row", ylabel="largest relative error")
ax.legend()
show(fig, f"At width 4096 the bfloat16 sum is off by {theirs[-1]:.0%}, the float32 sum by {ours[-1]:.0e}.")
claim("adding in float32 costs no accuracy at any width", max(ours) < 1e-5)
claim("adding in bfloat16 loses most of a wide sum", theirs[-1] > 0.5)

# %% [markdown] minutes=3
# ## 5 · The gate
#
# The shift of lesson 04, for a row with score $z = w\cdot h + b$, target $t$ and gate $g$:
#
# $$h' = h + c\,w, \qquad c = g\,\frac{\max(0,\,t - z)}{|w|^2}$$
#
# As a kernel's helper, the step size $c$ is a function that other kernels call. Source: ConVA, arXiv
# 2507.11316.

# %% [markdown]
# ### Exercise 5.5 · The step size
#
# 1. **Predict**: $|w| = 2$ and the score lacks 3. How large is $c$, and how long is the step $|c\,w|$?
# 2. **Write** the body. A zero probe must give 0, not NaN.
#
# <details><summary>Hint 1</summary><code>tl.maximum</code> for the clamp, <code>tl.where</code> for the zero probe.</details>
# <details><summary>Hint 2</summary><code>tl.where</code> computes both sides: put the guard inside the division, too.</details>
#
# What you should see: ✓. (Answer to 1: 3/4 and 1.5.)

# %% exercise="5.5" function="valuelab.kernels.teaching.step_size" minutes=6 stars=1

# %%
step_size = check("5.5", step_size)

# %% [markdown] minutes=2
# ## 6 · The fused step
#
# Everything is there: load the row once, score it, size the step, and store, but only if there is a
# step. `if` on a number of the whole program is allowed: all its threads go the same way.

# %% [markdown]
# ### Exercise 5.6 · Steer in place
#
# 1. **Predict**: nine gates in ten are shut. What share of the 2 S is left?
# 2. **Write** the body. The row may be loaded **once** only.
#
# <details><summary>Hint 1</summary>The pointers of the row serve the load and the store: give them a name.</details>
# <details><summary>Hint 2</summary>Back to the dtype of the states: <code>.to(h_ptr.dtype.element_ty)</code>.</details>
#
# What you should see: your kernel and the library's give the same states, and open scores line up
# at the target. (Answer to 1: 1.1 of 2, so 55 %.)

# %% exercise="5.6" function="valuelab.kernels.teaching.steer_kernel" minutes=15 stars=3

# %%
steer_kernel = check("5.6", steer_kernel)

# %%
torch.manual_seed(1)
states, w = torch.randn(64, 200), torch.randn(200) / 14
gate = torch.rand(64) < 0.6
mine = states.clone()
steer_kernel[(64,)](mine, w, gate, -0.2, 1.0, 200, 200, BLOCK=256)
packed = kernels.settings(-0.2, 1.0, "at least")
library, before, size = kernels.steer(states, w, packed, gate=gate, report=True)
after = mine @ w - 0.2
fig, ax = plots.figure()
ax.axhline(1.0, color="0.4", ls="--", label="target")
for where, marker, name in ((gate, "o", "gate open"), (~gate, "x", "gate shut")):
    ax.plot(before[where], after[where], marker, label=name)
ax.set(xlabel="score before", ylabel="score after")
ax.legend()
lifted = int((size > 0).sum())
show(fig, f"{lifted} of 64 states had an open gate and a score below 1; exactly these moved, to the line.")
claim("your kernel and the library's give the same states", torch.allclose(mine, library, atol=1e-6))
claim("open gates end at the target or above", bool((after[gate] > 1 - 1e-5).all()))
claim("shut gates keep every bit", torch.equal(mine[~gate], states[~gate]))

# %% [markdown] minutes=3
# ### Walk through the programs
#
# Each frame is one program of the fused kernel on 12 states of width 20 that lie 24 apart. Colours
# and letters say what this program did: r for read, w for read and written. Grey is the gap between the rows.
# Move the slider: which programs do not write, and why?

# %% tags=["widget"]
small = torch.randn(12 * 24).as_strided((12, 20), (24, 1))
w_small = torch.randn(20) / 4
gates = torch.arange(12) % 3 > 0
frames = trace(steer_kernel, (12,), small, w_small, gates, 0.0, 0.5, 20, 24, BLOCK=32)


def draw(program=4):
    """Memory as program number `program` leaves it."""
    cells = np.full(12 * 24, np.nan)
    cells[sorted(frames.inside["h_ptr"])] = 0
    for a in frames.accesses:
        if a.name == "h_ptr" and a.program <= program:
            value = {"load": 2, "store": 3}[a.kind] if a.program == program else 1
            cells[a.elements.numpy()] = value
    cells = cells.reshape(12, 24)
    fig, ax = plots.figure()
    ax.set_facecolor("0.85")
    ax.imshow(cells, cmap="viridis", vmin=-1.5, vmax=3, aspect="auto")
    row = cells[program]
    for column in range(24):
        letter = {2: "r", 3: "w"}.get(row[column])
        if letter:
            ax.text(column, program, letter, ha="center", va="center", color="black", fontsize=10)
    ax.set(xlabel="column (block of 32, masked to 20)", ylabel="program = row")
    done = {a.kind for a in frames.accesses if a.name == "h_ptr" and a.program == program and a.elements.numel()}
    show(fig, f"Program {program} " + ("read its row and " if "load" in done else "skipped its row and ")
         + ("wrote it back." if "store" in done else "stored nothing: its step was 0."))  # fmt: skip


interact(draw, program=(0, 11))

# %% [markdown] minutes=5
# ## 7 · What the compiler makes of it
#
# You cannot time a kernel without a GPU, but you can compile it for one: Triton's wheel carries
# NVIDIA's assembler. A GPU runs 32 threads in step, a **warp**; a program has several. What comes out is **PTX**, an assembly language in which every memory access is
# spelled out, and a resource report. Four things tell most:
#
# - **wide loads**: `ld.global.v4.b32` fetches 4 × 32 bits = 16 bytes a thread, the widest there is;
# - **registers** a thread (of 255): more of them, fewer programs at a time on a processor;
# - **spills**: registers that did not fit and went to memory. Wanted: none;
# - **shared memory** and **barriers**: what warps hand each other, and how often they wait for it.
#
# Three builds for an H200 at width 4096: a block of 4 rows a program (two-dimensional), one row a
# program (the course's solution of 5.6), and the same with nothing known of the width.

# %% [markdown]
# ### Exercise 5.7 · Count the loads
#
# PTX has lines like these; only the first two load from global memory:
#
#     ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];
#     @%p1 ld.global.L1::evict_last.b16 { %rs1 }, [ %rd2 + 0 ];
#     ld.shared.b32 %r5, [ %r6 ];
#     st.global.v4.b32 [ %rd3 + 0 ], { %r1, %r2, %r3, %r4 };
#
# 1. **Predict**: 8 warps of 32 threads load a row of 4096 bfloat16 numbers. How many 16-byte loads a
#    thread is that?
# 2. **Write** the body: a dictionary from bits to the number of loads, here `{16: 1, 128: 1}`.
#
# <details><summary>Hint 1</summary>A regular expression: <code>ld.global</code>, modifiers, a type letter
# (b, f, s or u), the bits.</details>
# <details><summary>Hint 2</summary>Look for <code>.v2</code> or <code>.v4</code> within the modifiers afterwards.</details>
#
# What you should see: 4096 · 2 bytes / 256 threads = 32 bytes, so 2 for h, and 4 for w in float32.

# %% exercise="5.7" function="valuelab.kernels.aot.count_loads" minutes=12 stars=2

# %%
count_loads = check("5.7", count_loads)

# %%
report = {row["build"]: row for row in aot.lesson_report()}
fig, axes = plots.figure(1, 3, figsize=(10, 3.2))
for ax, what in zip(axes, ("registers", "shared", "barriers"), strict=True):
    values = [row[what] for row in report.values()]
    ax.bar(range(3), values, color=["C1", "C0", "C2"])
    ax.bar_label(ax.containers[0])
    ax.margins(y=0.12)
    ax.set_xticks(range(3), ["4 rows", "1 row", "1 row,\nwidth ?"])
    ax.set_title({"shared": "shared memory, bytes"}.get(what, what))
wide = {name: count_loads(row["ptx"]).get(128, 0) for name, row in report.items()}
two, one, odd = (report[k] for k in report)
show(
    fig,
    f"Compiled for an H200. A block of rows takes {two['registers']} registers a thread and "
    f"{two['shared']} bytes of shared memory, one row {one['registers']} and {one['shared']}. "
    f"16-byte loads in each: {list(wide.values())}. With nothing known of the width there are none.",
)
claim("one row a program needs fewer registers than a block of rows", one["registers"] < two["registers"])
claim("and less shared memory", one["shared"] < two["shared"])
claim("no build spills", not any(row["spills"] for row in report.values()))
claim("one row is read in 16-byte loads alone, but for its gate", set(count_loads(one["ptx"])) == {8, 128})
claim("an unknown width costs every wide load", wide["one row, width unknown"] == 0)

# %% [markdown] minutes=6
# ## 8 · Several values at once
#
# Applying values one after another missed a target in lesson 04. How much does it miss, and does a joint
# step meet all? To steer $K$ values together, find the shortest $d$ with $s_k(w_k\cdot(h + d) + b_k - t_k) \ge 0$
# for all $k$. Then $d = \sum_k s_k \lambda_k w_k$, and $\lambda$ solves
#
# $$y = G\lambda - r, \qquad \lambda \ge 0,\; y \ge 0,\; \lambda\cdot y = 0$$
#
# with $G_{kl} = s_k s_l\, w_k\cdot w_l$ `(K, K)` and $r_k = s_k(t_k - z_k)$ `(K,)`: a **linear complementarity
# problem**. Each constraint either pushes ($\lambda_k > 0$, met exactly) or idles ($y_k > 0$).
# Applying the values one after another is one sweep of Gauss–Seidel on it, and stops short
# when probes are correlated.
#
# **Principal pivoting** is exact. Start with all idle: $y = M x + q$ with $M = G$, $q = -r$, $x =
# \lambda = 0$. While some $q_p < 0$, take the first such $p$ and let $y_p$ and $x_p$ change places.
# Solving row $p$ for $x_p$ and inserting it elsewhere gives the rules in the docstring below. With
# $K \le 16$ the whole table fits in registers. Source: Murty 1974; Cottle, Pang and Stone 1992.

# %% [markdown]
# ### Exercise 5.8 · One pivot
#
# 1. **Predict**: $K = 1$, $M = 4$, $q = -2$. What are $M$ and $q$ after the pivot? Which one is
#    $\lambda$, and is it the step of exercise 5.5?
# 2. **Write** the body. Blocks may be two-dimensional: `k[:, None] * K + k[None, :]`.
#
# <details><summary>Hint 1</summary>Get column p, row p and the corner by summing against a mask.</details>
# <details><summary>Hint 2</summary>Begin with the rule for "elsewhere" everywhere, then overwrite column,
# row and corner with <code>tl.where</code>, in this order.</details>
#
# What you should see: the figure below, where the joint step meets every target. (Answer to 1:
# 1/4 and 1/2. λ = q = 2/4, gap over |w|²: yes.)

# %% exercise="5.8" function="valuelab.kernels.teaching.pivot_kernel" minutes=18 stars=3

# %%
pivot_kernel = check("5.8", pivot_kernel)


# %%
def solve(gram, need):
    """λ of each row by least-index pivoting, one launch of your kernel a pivot."""
    n, k = need.shape
    table, q = gram.expand(n, k, k).contiguous(), -need
    pushes = torch.zeros(n, k, dtype=torch.bool)
    while (q < -1e-5).any():
        todo = (q < -1e-5).any(1)
        first = (q < -1e-5).int().argmax(1)
        t, v = table[todo].contiguous(), q[todo].contiguous()
        pivot_kernel[(int(todo.sum()),)](t, v, first[todo], K=k)
        table[todo], q[todo] = t, v
        pushes[todo] ^= torch.nn.functional.one_hot(first[todo], k).bool()
    return torch.where(pushes, q, 0.0)


torch.manual_seed(2)
K, width = 4, 32
base = torch.linalg.qr(torch.randn(width, K + 1))[0].T
h, target = torch.randn(12, width), torch.full((K,), 1.0)
correlations, missed = (0.0, 0.3, 0.6, 0.9), {"one after another": [], "jointly": []}
for c in correlations:
    W = c**0.5 * base[:1] + (1 - c) ** 0.5 * base[1:]
    W[2] = -W[2]  # one value pulls the other way
    one_by_one = h
    for w_k in W:
        one_by_one = kernels.steer(one_by_one, w_k, kernels.settings(0.0, 1.0, "at least"))
    together = h + solve(W @ W.T, target - h @ W.T) @ W
    for name, result in (("one after another", one_by_one), ("jointly", together)):
        missed[name].append((target - result @ W.T).clamp(min=0).max().item())
fig, ax = plots.figure()
ax.plot(correlations, missed["one after another"], "s--", label="one after another")
ax.plot(correlations, missed["jointly"], "o-", label="jointly (your pivots)")
ax.set(xlabel="correlation of the probes", ylabel="worst logit still missing")
ax.legend()
show(fig, f"Four values, one of them against the rest. At correlation 0.9 the sequence misses a "
     f"target by {missed['one after another'][-1]:.1f} logits, the joint step by {missed['jointly'][-1]:.0e}.")  # fmt: skip
ready, packed4 = kernels.prepare(W), kernels.settings(torch.zeros(K), target, ["at least"] * K)
library = kernels.steer_joint(h, ready, packed4, ridge=0.0)
claim("pivoting meets every target at every correlation", max(missed["jointly"]) < 1e-3)
claim("one after another misses when probes are correlated", missed["one after another"][-1] > 0.5)
claim("the library's kernel finds the same step", torch.allclose(together, library, atol=1e-3))

# %% [markdown] minutes=4
# ## 9 · A log-probability without a softmax in memory
#
# Training with feedback needs $\log p(y) = x_y - \log\sum_j e^{x_j}$ for each token. `log_softmax`
# and `gather` write a whole matrix (rows × vocabulary) for one number a row: with 8 192 tokens and
# 128 256 words in float32, 4.2 GB. In one pass, keep the largest logit so far $m$ and $s = \sum
# e^{x-m}$. When a block raises the maximum to $m'$:
#
# $$s \leftarrow s\,e^{m - m'} + \sum_{\text{block}} e^{x - m'}, \qquad \log p = x_y - m - \log s$$
#
# Source: Milakov and Gimelshein 2018, arXiv 1805.02867.

# %% [markdown]
# ### Exercise 5.9 · Token log-probability
#
# 1. **Predict**: why start $m$ at −1e30 and not at −∞? (What is −∞ − (−∞)?)
# 2. **Write** the body.
#
# <details><summary>Hint 1</summary>Masked logits must count as e^x = 0: which <code>other</code> is that?</details>
# <details><summary>Hint 2</summary>The target's logit is one more load, outside the loop.</details>
#
# What you should see: ✓, also for logits near 300, where e^x alone overflows. (Answer to 1: −∞ − (−∞) is NaN. It happens where
# a whole first block is −∞, as for tokens that are barred.)

# %% exercise="5.9" function="valuelab.kernels.teaching.log_prob_kernel" minutes=15 stars=3

# %%
log_prob_kernel = check("5.9", log_prob_kernel)

# %%
torch.manual_seed(3)
logits, tokens, out = 5 * torch.randn(8, 1000), torch.randint(1000, (8,)), torch.empty(8)
log_prob_kernel[(8,)](logits, tokens, out, 1000, 1000, BLOCK=256)
seen = trace(log_prob_kernel, (8,), logits, tokens, torch.empty(8), 1000, 1000, BLOCK=256)
claim("it is the log-softmax", torch.allclose(out, logits.log_softmax(1)[torch.arange(8), tokens], atol=1e-4))
again = seen.bytes("load", "logits_ptr") - 4 * len(seen.elements("load", "logits_ptr"))
claim("every logit is read, and none twice but the chosen one",
      len(seen.elements("load", "logits_ptr")) == logits.numel() and again <= 8 * 4)  # fmt: skip
claim("only one number a row is written", seen.bytes("store") == 8 * 4)

# %% [markdown] minutes=5
# ## A control that must fail
#
# Five colleagues each wrote a dot product. Four of their kernels are broken: one loses digits to a
# wrong cast, one lacks a mask, one has a **race** (two programs touch one element, and one of them
# writes), one runs out of bounds. The test that they wrote
# draws a comfortable input: 8 rows of width 64, one after another in memory, float32. It must
# fail to find anything, and it does.

# %%
def launch(kernel, grid, h, w, n, block):
    """Trace and result of one launch."""
    out = torch.zeros(n)
    seen = trace(kernel, grid(n), h, w, out, n, h.shape[1], h.stride(0), BLOCK=block)
    return seen, out, h.double() @ w.double()


torch.manual_seed(4)
for letter, (kernel, grid) in teaching.SUSPECTS.items():
    _, got, exact = launch(kernel, grid, torch.randn(8, 64), torch.randn(64), 8, 32 if letter == "C" else 64)
    claim(f"suspect {letter} gives the right values on a comfortable input",
          torch.allclose(got.double(), exact, atol=1e-4))  # fmt: skip

# %% [markdown]
# ### Exercise 5.10 · Find the faults
#
# Make the input uncomfortable: 6 rows of width 50, in bfloat16, with gaps of NaN between them. And do not look at
# values alone. A trace knows more:
#
# - `seen.outside()`: accesses beyond the memory of their tensor
# - `seen.strangers()`: accesses to elements that lie between the rows
# - `seen.shared_writes()`: elements that one program stores and another loads or stores
#
# 1. **Predict**: which of the four can give right values on every input, in the interpreter?
# 2. **Write** the body: name the fault that explains most.
#
# <details><summary>Hint 1</summary>Gravest first: memory of others, then elements that are not in the matrix,
# then chance, then plain error.</details>
# <details><summary>Hint 2</summary>Ask <code>not error &lt;= allowed</code>: a comparison with NaN is always false.</details>
#
# What you should see: each suspect with a name of its own. (Answer to 1: two. The race, because programs here run one after
# another and on a GPU do not; and the one out of bounds, whose damage lies outside its own result.)

# %% exercise="5.10" function="valuelab.kernels.lab.find_fault" minutes=12 stars=2

# %%
find_fault = check("5.10", find_fault)

# %%
rows = torch.full((6 * 60,), float("nan"), dtype=torch.bfloat16).as_strided((6, 50), (60, 1))
rows.copy_(torch.randn(6, 50))
found = {}
for letter, (kernel, grid) in teaching.SUSPECTS.items():
    found[letter] = find_fault(*launch(kernel, grid, rows, torch.randn(50), 6, 32 if letter == "C" else 64))
    print(f"suspect {letter}: {found[letter]}")

# %% [markdown]
# Now read each suspect's source (`import inspect; print(inspect.getsource(teaching.suspect_a.fn))`)
# and point at the line.

# %% [markdown]
# ## What we may claim

# %%
steer_seen = trace(steer_kernel, (64,), states.clone(), w, gate, -0.2, 1.0, 200, 200, BLOCK=256)
claim("the fused kernel reads no state twice",
      steer_seen.bytes("load", "h_ptr") == 4 * len(steer_seen.elements("load", "h_ptr")))  # fmt: skip
claim("it writes only the states that move", steer_seen.bytes("store", "h_ptr") == lifted * states.shape[1] * 4)
claim("a hook as written moves about eight times the bytes of the fused step",
      traffic.passes(traffic.EAGER_AS_WRITTEN) * S / steer_bytes(n, d) > 7.9)  # fmt: skip
claim("each of the four faults has its own name, and the innocent kernel has none",
      len(set(found.values())) == 5 and found["E"] == "none")  # fmt: skip

# %% [markdown]
# ## Questions

# %%
quiz(
    "The fused step moves 2 S where the hook moves 16 S. A model of 8 billion parameters is steered at every layer "
    "while it reads a prompt. How much faster does it get?",
    [
        ("Eight times", False, "The step is eight times cheaper, but it is a small part: matrix products take some 40 µs a "
         "token (16 billion operations at 400 TFLOP/s, computed), the hooks of all layers about 1 µs."),
        ("By two or three per cent", True, "About 1 µs of 41 µs a token is saved. Fusion pays in accuracy, in the "
         "gate that skips writes, and in decoding inside CUDA graphs."),
        ("Not at all: it does the same arithmetic", False, "Time follows bytes here, not arithmetic, so there is a gain; "
         "it is just small beside the matrix products."),
    ],
)  # fmt: skip
quiz(
    "A kernel passes every test in the interpreter. What may still be wrong with it on a GPU?",
    [
        ("Nothing: it is the same source", False, "The source is the same, the order of programs is not: the "
         "interpreter runs them one after another."),
        ("A race between programs", True, "Run one after another, two programs never meet. A trace finds it; values do not."),
        ("A missing mask", False, "Canaries and NaN between the rows find that in the interpreter as well."),
    ],
)  # fmt: skip
quiz(
    "Why does the build with an unknown width load single elements?",
    [
        ("The rows do not fit into registers", False, "It is the same width and as many registers."),
        ("The GPU has no wide loads at that width", False, "It has; they need an address that is a multiple of 16 bytes."),
        ("Row starts might not be multiples of 16 bytes", True, "A 16-byte load must be aligned. If the stride may be odd, "
         "the compiler cannot promise that."),
    ],
)  # fmt: skip

# %% [markdown]
# ## Limits
#
# - **No speed is shown here.** Bytes are counted, registers compiled; times are bounds, unless the roofline has
#   crosses. `make gpu` on a machine with a GPU measures; `benchmarks/results` has what was measured.
# - `torch.compile` can fuse the hook to 2 S as well. What it does not do by itself is to skip the writes of shut
#   gates, or to solve the joint programme.
# - In bfloat16 a steered state misses its target by the rounding of its storage, the more the larger the states.
# - `row * stride` is computed in 32 bits here: beyond 2³¹ elements it overflows, and no small test shows it. The library's
#   kernels turn the number of the row into 64 bits first.
# - The interpreter truncates to bfloat16 where a GPU rounds, and knows nothing of races.
#
# ## Links
#
# - [Triton tutorials](https://triton-lang.org/main/getting-started/tutorials/)
# - [Triton-Puzzles](https://github.com/srush/Triton-Puzzles)
# - [Online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867)
# - [Liger-Kernel](https://github.com/linkedin/Liger-Kernel)
# - [Roofline](https://doi.org/10.1145/1498765.1498785)

# %% [markdown]
# ## Where to go from here
#
# On a machine with a GPU, `make gpu` runs the kernels compiled and fills the [table of
# bandwidths](../benchmarks/results/README.md). Next: [lesson 06](06_reward_models.ipynb) begins the half of the
# course about rewards.
