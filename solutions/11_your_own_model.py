# %% [markdown] minutes=2
# # 11 · Capstone: your own model
#
# {{minutes}} · builds `valuelab.evaluate.capstone`: a plan, its run, its verdict, its card
#
# Everything so far ran on a model whose values we planted. Now take one that you did not make. Which one fits your machine?

# %%
import numpy as np

from valuelab import models, plots
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import capstone
from valuelab.evaluate.bench import choose_bench
from valuelab.evaluate.report import measure

plots.use()
TOKENS = 256
batches = np.array([1, 4, 16, 64])
fig, ax = plots.figure(figsize=(8, 3.8))
for k, shape in enumerate(capstone.WELL_KNOWN):
    gigabytes = [capstone.memory_needed(shape, int(b), TOKENS) / 1e9 for b in batches]
    ax.plot(batches, gigabytes, color=plots.COLORS[k % len(plots.COLORS)], marker=plots.MARKERS[k % len(plots.MARKERS)],
            label=shape.name.split("/")[1])  # fmt: skip
free = models.free_memory(models.best_device())
ax.axhline(free / 1e9, color=plots.GREY, linestyle="--", label="free on this machine")
ax.set(xscale="log", yscale="log", xlabel=f"texts of {TOKENS} tokens at once", ylabel="memory, GB")
ax.set_xticks(batches, batches)
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
show(fig, f"Memory to score or write texts in half precision, for five well-known models; {free / 1e9:.0f} GB are free here.")

# %% [markdown] minutes=3
# A line above the dashed one does not fit; the dashed one is the memory of the GPU if there is one, else main memory. With
# one text the weights are nearly all; with many, the logits of a large vocabulary take over. On a processor `models.load`
# takes float32 where the weights leave room, which doubles their share; `dtype="bfloat16"` keeps them as drawn.
#
# ## What you will be able to do
#
# - **choose** a model, a precision and a batch that fit your machine,
# - **plan** a run before you look: the smallest gain that would matter, the items it takes, the controls,
# - **decide** by the plan what may be claimed, and what the data leave open,
# - **write** a card that a stranger can trust.
#
# ## What this builds on
#
# Lesson 02 (intervals), lesson 04 (steering), lesson 10 (control success, random push, retention, leakage).
#
# Words of the field: [glossary](../docs/GLOSSARY.md).
#
# ## 1 · Choose
#
# Three things lie in memory while texts are scored or written: the weights, the keys and values of every token (the
# **cache**), and the logits. For $P$ parameters, $L$ blocks, $H$ key-value heads of width $d_h$, vocabulary $V$, $B$ texts of $T$ tokens and $b$
# bytes a number (2 in half precision):
#
# $$M = P\,b \;+\; 2\,L\,H\,d_h\,B\,T\,b \;+\; B\,T\,V\cdot 4 \quad\text{bytes}$$
#
# The 2 stands for keys and values, the 4 for logits in float32. What a block holds while it computes is left out. `valuelab`
# stays below: while it scores it keeps no cache, and it takes half-precision logits to float32 a few positions at a time.
#
# The download is about $P\,b$ as well. A model marked *gated* asks on its hub page for your consent and then for a token
# (`hf auth login`); the others need none.

# %%
header = f"{'model':40s} {'parameters':>11s} {'download':>9s} {'one text':>9s} {'32 texts':>9s}  gated"
print(header)
for shape in capstone.WELL_KNOWN:
    one, many = (capstone.memory_needed(shape, b, TOKENS) / 1e9 for b in (1, 32))
    print(f"{shape.name:40s} {shape.parameters / 1e9:9.2f} B {2 * shape.parameters / 1e9:6.1f} GB {one:6.1f} GB {many:6.1f} GB"
          f"  {'yes' if shape.gated else 'no'}")  # fmt: skip

# %% [markdown] minutes=2
# How long will it take? A token costs about two operations a parameter. This cell measures how many this machine does in a
# second, and from that the time to read 1000 texts once.

# %% tags=["nbval-ignore-output"]
import time

import torch

a = torch.randn(1024, 1024)
for _ in range(3):
    a @ a
began = time.perf_counter()
for _ in range(10):
    a @ a
speed = 10 * 2 * 1024**3 / (time.perf_counter() - began)
for shape in capstone.WELL_KNOWN:
    print(f"{shape.name:40s} about {2 * shape.parameters * TOKENS * 1000 / speed / 60:7.1f} minutes")

# %% [markdown] minutes=1
# ### Exercise 11.1: does it fit?
#
# Return the bytes of the equation above. `shape` has `parameters`, `layers`, `kv_heads`, `head_dim` and `vocabulary`.
#
# What you should see: `✓ 11.1`.
#
# <details><summary>Hint 1</summary>Three terms; only the first does not grow with the batch.</details>
#
# <details><summary>Hint 2</summary>The cache: <code>2 * shape.layers * shape.kv_heads * shape.head_dim * batch * tokens *
# bytes_each</code>. The logits: <code>batch * tokens * shape.vocabulary * 4</code>, whatever the weights are.</details>

# %% exercise="11.1" function="valuelab.evaluate.capstone.memory_needed" minutes=8 stars=1

# %%
memory_needed = check("11.1", memory_needed)

# %% [markdown] minutes=1
# ### Exercise 11.2: the largest batch
#
# Powers of two, because they are easy to halve when memory runs out after all. Leave a tenth free. If not even one text fits,
# say so with a `MemoryError`: an error before the run is cheaper than one in its middle.
#
# What you should see: `✓ 11.2`.
#
# <details><summary>Hint 1</summary>Ask about one text first, then double while the doubled batch still fits.</details>
#
# <details><summary>Hint 2</summary><code>while 2 * batch &lt;= most and memory_needed(shape, 2 * batch, ...) &lt;= 0.9 * free</code></details>

# %% exercise="11.2" function="valuelab.evaluate.capstone.largest_batch" minutes=8 stars=2

# %%
largest_batch = check("11.2", largest_batch)

# %% [markdown] minutes=5
# ## 2 · Plan before you look
#
# A result that could not have come out otherwise is no result. So write down, before any figure is drawn: which value, which
# method, **the smallest gain that would matter**, the largest loss of ability that would not, and the controls (a random push
# of equal size comes with every run).
#
# Then ask how many items that takes. Scores are 0 or 1; two conditions differ on a share $q$ of the items, and a paired
# difference has a variance of at most $q$. With $n$ independent items, a true gain is likely (with probability *power*) to end in
# an interval above zero if it is at least
#
# $$g = (z_{0.975} + z_{\text{power}})\,\sqrt{q / n}$$
#
# where $z_p$ is the point below which a share $p$ of the standard normal distribution lies. To end above a bar $c$ instead of
# above zero, the true gain has to be $c + g$: a plan that asks for more than "some gain" needs more items.
#
# Two warnings. Items of one context rise and fall together: take the number of *contexts* for $n$, and the promise is kept
# however alike they are. And no gain exceeds $q$: where $g$ is larger, the plan leaves the question open.
#
# Source: the usual sample-size formula for paired data; see arXiv 2411.00640 for evaluations.
#
# ### Exercise 11.3: what can n items show?
#
# **Predict first.** Four times the items: how much smaller is the gain that can be seen?
#
# What you should see: `✓ 11.3`, and a curve that falls with the square root. (Half as large.)
#
# <details><summary>Hint 1</summary>The interval has two sides, power has one: which p has each z? <code>stats.norm.ppf(p)</code> is
# $z_p$.</details>
#
# <details><summary>Hint 2</summary><code>stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power)</code>, times
# <code>math.sqrt(disagreement / n)</code>.</details>

# %% exercise="11.3" function="valuelab.evaluate.capstone.detectable_gain" minutes=8 stars=2

# %%
detectable_gain = check("11.3", detectable_gain)


# %%
def draw(disagreement=0.4):
    """The gain that can be seen, by the number of items."""
    n = np.array([25, 50, 100, 200, 400, 800])
    fig = plots.curves(n, {f"{p:.0%} power": [100 * detectable_gain(int(k), disagreement, p) for k in n] for p in (0.8, 0.95)},
                       xlabel="independent items", ylabel="smallest gain likely to be seen, points")  # fmt: skip
    fig.axes[0].axhline(100 * disagreement, color=plots.GREY, linestyle=":")
    show(fig, f"If the conditions differ on {disagreement:.0%} of the items, 100 items are likely to show a gain of "
         f"{100 * detectable_gain(100, disagreement):.0f} points, 400 one of {100 * detectable_gain(400, disagreement):.0f}. "
         "Dotted: no gain can be larger.")  # fmt: skip


draw()

# %% tags=["widget"]
from ipywidgets import interact

interact(draw, disagreement=(0.1, 1.0, 0.1))

# %% [markdown] minutes=3
# ## 3 · Run
#
# The plan stands first in the cell, and the run follows it. Before you look: will the gain end above its bar, by what the last
# section says of this number of items? `models.load()` takes the embedded model; in front of
# `make lab`, `VALUELAB_MODEL=Qwen/Qwen2.5-0.5B-Instruct` (or a folder) makes this the model of your choice. The same run as a
# page: `python -m valuelab report --model <id or folder> --values achievement`.

# %%
plan = capstone.Plan(value="achievement", method="mean difference", smallest_gain=0.10, margin=0.10)
ITEMS, DIFFER = 120, 0.4
contexts = choose_bench(models.load(), items=ITEMS, seed=0).contexts(plan.value)
likely = detectable_gain(len(set(contexts)), DIFFER)
print(f"If the conditions differ on {DIFFER:.0%} of {len(contexts)} items in {len(set(contexts))} contexts, a true gain of "
      f"{100 * likely:.0f} points is likely to be seen, one of {100 * (plan.smallest_gain + likely):.0f} to end above the bar of "
      f"{100 * plan.smallest_gain:.0f}." + (" No gain exceeds the share that differs: with so few contexts the question is "
      "likely to stay open." if plan.smallest_gain + likely > DIFFER else ""))  # fmt: skip
results = measure([plan.value], items=ITEMS)
found, comparison = results["values"][plan.value], capstone.comparison_of(results, plan)
names = ["unsteered", plan.method, f"random, as {plan.method}"]
fig, ax = plots.figure(figsize=(6.4, 2.6))
for row, name in enumerate(names):
    s = found["conditions"][name]["success"]
    ax.errorbar(100 * s["estimate"], row, xerr=[[100 * (s["estimate"] - s["low"])], [100 * (s["high"] - s["estimate"])]],
                color=plots.COLORS[row], marker=plots.MARKERS[row], markersize=9, capsize=4)  # fmt: skip
ax.set_yticks(range(3), names)
ax.set(xlabel=f"items for which the model {results['score']}, %", xlim=(0, 100), ylim=(2.4, -0.4))
shares = ", ".join(f"{n} {100 * found['conditions'][n]['success']['estimate']:.0f} %" for n in names)
show(fig, f"{results['model']['model']}: {shares}; {found['conditions']['unsteered']['items']} items, 95 % intervals.")

# %% [markdown] minutes=4
# ## 4 · Decide by the plan
#
# For each point of the plan the interval of the effect is held against a bar that was fixed before: the whole interval above it,
# shown; the whole interval below it, refuted; the bar inside the interval, **not decided**. The third answer is the one that
# is most often left out.
#
# ### Exercise 11.4: the verdict
#
# `comparison` is one method's part of the report. Return three `Finding`s, in this order: control success (its gain against
# `plan.smallest_gain`), direction (the advantage over the random push against zero), ability (its change against
# minus `plan.margin`). `decide` and `read_interval` are there to be used.
#
# What you should see: `✓ 11.4`, and below it three lines.
#
# <details><summary>Hint 1</summary>The ability may fall a little: its bar is negative. Each interval is stored as a dictionary,
# under <code>"gain"</code>, <code>"advantage"</code> and <code>"ability_change"</code>.</details>
#
# <details><summary>Hint 2</summary><code>interval = read_interval(comparison["gain"])</code>;
# <code>Finding("control success", decide(interval, plan.smallest_gain), interval)</code>; the other two in the same way.</details>

# %% exercise="11.4" function="valuelab.evaluate.capstone.verdict" minutes=10 stars=2

# %%
verdict = check("11.4", verdict)

# %%
lines = verdict(comparison, plan)
fig, ax = plots.figure(figsize=(6.4, 2.6))
for row, (line, bar) in enumerate(zip(lines, (plan.smallest_gain, 0.0, -plan.margin), strict=True)):
    i = line.interval
    ax.errorbar(100 * i.estimate, row, xerr=[[100 * (i.estimate - i.low)], [100 * (i.high - i.estimate)]], capsize=4,
                color=plots.COLORS[row], marker=plots.MARKERS[row], markersize=9)  # fmt: skip
    ax.plot([100 * bar] * 2, [row - 0.3, row + 0.3], color=plots.GREY, linestyle="--")
ax.set_yticks(range(3), [line.name for line in lines])
ax.invert_yaxis()
ax.set(xlabel="points; dashed: the bar of the plan")
show(fig, "; ".join(f"{line.name}: {capstone.SAID[line.holds]}" for line in lines) + ".")

# %% [markdown] minutes=3
# Nine other values were measured too. With nine independent tests at 5 %, at least one of them "moves" by chance alone in
# nearly four runs of ten: $1 - 0.95^9 \approx 0.37$. Holm's correction (lesson 10) is in the report's `holm_p`.
#
# ### Exercise 11.5: side effects
#
# `row` is the report's part on one method: `row["holm_p"][u]` is the corrected p of value `u`, `row["effects"][u]["estimate"]`
# its change. Return the names of the other values whose corrected p lies below `alpha`, largest effect first.
#
# What you should see: `✓ 11.5`.
#
# <details><summary>Hint 1</summary>An effect of −0.3 is larger than one of 0.1. The value steered is no side effect.</details>
#
# <details><summary>Hint 2</summary>Keep <code>u</code> where <code>p &lt; alpha</code> and <code>u != value</code>; then
# <code>sorted(moved, key=lambda u: -abs(row["effects"][u]["estimate"]))</code></details>

# %% exercise="11.5" function="valuelab.evaluate.capstone.side_effects" minutes=6 stars=1

# %%
side_effects = check("11.5", side_effects)

# %%
from IPython.display import Markdown, display

display(Markdown(capstone.model_card(results, plan)))

# %% [markdown] minutes=3
# ## A control that must fail
#
# The random push goes through the same plan: same size, same items, same bars. If it passed, the plan would be worthless. And a
# plan with fewer items should leave the question open rather than answer it.

# %%
random_gain = capstone.read_interval(comparison["random_gain"])
passed = capstone.decide(random_gain, plan.smallest_gain)
few = capstone.detectable_gain(8, 0.5)
fig, ax = plots.figure(figsize=(6.4, 1.9))
for row, i in enumerate((lines[0].interval, random_gain)):
    ax.errorbar(100 * i.estimate, row, xerr=[[100 * (i.estimate - i.low)], [100 * (i.high - i.estimate)]], capsize=4,
                color=plots.COLORS[row], marker=plots.MARKERS[row], markersize=9)  # fmt: skip
ax.axvline(100 * plan.smallest_gain, color=plots.GREY, linestyle="--")
ax.set_yticks([0, 1], [plan.method, "random push"])
ax.invert_yaxis()
ax.set(xlabel="gain, points", ylim=(1.5, -0.5))
show(fig, f"The random push gains {100 * random_gain.estimate:+.0f} points [{100 * random_gain.low:.0f}, {100 * random_gain.high:.0f}]. "
     f"Eight items that differ on half would need a gain of {100 * few:.0f} points, and no gain exceeds the share that "
     "differs: such a plan leaves the question open.")  # fmt: skip

# %% [markdown] minutes=1
# ## What we may claim

# %%
claim("the direction does more than a random push of its size", lines[1].holds is True)
claim("the random push does not pass the plan's bar", passed is not True)
claim("more than half of the memory of a batch of 64 is logits, for the smallest of the five models",
      64 * TOKENS * capstone.WELL_KNOWN[0].vocabulary * 4 > 0.5 * capstone.memory_needed(capstone.WELL_KNOWN[0], 64, TOKENS))  # fmt: skip

# %% [markdown] minutes=15
# ## Defend it
#
# Five questions that a reviewer will ask. Write an answer to each, in two sentences, beside your card.
#
# 1. Which number would have made you give up the claim, and where is it written that you chose it before?
# 2. What does your score reward that is not the value?
# 3. Which prompt in use differs most from those that you measured on?
# 4. Who is harmed if the ability figure is five points too kind?
# 5. What would you have to repeat, and how often, to speak of the method and not of this one run?
#
# ## Questions

# %%
quiz(
    "The gain is 12 points with an interval from 4 to 20; the plan asked for 10. What do you report?",
    [
        ("Shown: 12 is more than 10", False, "The estimate is above the bar, the interval is not: 5 points are as compatible with the data."),
        ("Not decided: the bar lies inside the interval", True, "More items can decide it. Moving the bar cannot."),
        ("Refuted: the lower end is below 10", False, "Refuted would be a whole interval below the bar."),
    ],
)

# %%
quiz(
    "Memory runs out at batch 64 although the weights take a tenth of it. What is the first suspect?",
    [
        ("The weights, in a second copy", False, "They do not grow with the batch."),
        ("The logits: batch times tokens times vocabulary", True, "In float32, and larger than the cache for a large vocabulary."),
        ("The random directions", False, "A few vectors of the width of the model."),
    ],
)

# %%
quiz(
    "After the run you notice that another value moved by 30 points, p below 0.001 before correction. May you make it the headline?",
    [
        ("Yes, the p-value is tiny", False, "It was chosen after looking, among nine."),
        ("As a side effect found, corrected for nine tests, and as the plan of the next run", True, "What was not planned is a finding to test, not one that was tested."),
        ("No, what was not planned must not be mentioned", False, "Leaving it out would hide a side effect from whoever uses the model."),
    ],
)

# %% [markdown] minutes=1
# ## Limits
#
# Memory is counted for scoring and writing texts; training with Adam keeps gradients and two moments of each weight as well, at least three
# times the weights more. The score of a real model is a
# log-probability over contrast pairs: what it finds likely, not what it would do. One run is one model, one seed, one plan.
#
# ## Links
#
# - Model cards: [arXiv 1810.03993](https://arxiv.org/abs/1810.03993)
# - Error bars for evaluations: [arXiv 2411.00640](https://arxiv.org/abs/2411.00640)
# - ConVA: [arXiv 2507.11316](https://arxiv.org/abs/2507.11316)

# %% [markdown] tags=["instructor"]
# **For marks.** The card and the five answers, 20 points each: plan fixed before the run (its commit is older than the
# report's), controls present, verdict follows from the plan, limits named, answers specific to the model chosen.
#
# **Questions for the room.** Who would accept a plan that its author could still change? Which of the three findings would you
# put on the first line of the card, and which would your employer?
#
# **Misconceptions.** "'Not decided' means that I failed": it is an answer, and often the right one. "A plan may be loosened
# after the run": then it was none. "Ability +0, so nothing is lost": not one
# answer changed, which is no certainty, and the interval says how much could be lost (10, section 2).
#
# **To cut.** The lesson is in neither of the two short tracks, and fits a session of 90 minutes of its own. In less, keep 11.1,
# 11.3, 11.4 and the card. Semester: all, in groups of two, one model each.

# %% [markdown]
# ## Where to go from here
#
# Hand your card to someone who will try to break its claims, and revise it. The [map](../docs/MAP.md) shows
# what you left out on the way; the [public datasets](../datasets/sources.toml) are where the planted world
# ends.
