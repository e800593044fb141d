# %% [markdown] minutes=2
# # 04 · Steering: the shortest push that suffices
#
# {{minutes}} · builds `valuelab.steering`: from adding a vector to the closed form, several values at once, the gate, and an account of the side effects
#
# A probe can read a value from a hidden state. Can the same kind of direction *write* it? Below, a multiple of it (the
# **strength**) is added to the states after one block while the model answers.

# %%
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from IPython.display import Markdown, display

from valuelab import models, plots, probes
from valuelab import world as W
from valuelab.activations import capture
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import planted
from valuelab.steering import Gate, add, joint_shift, level_probe, logit, minimal, remove, solve_lcp, steer
from valuelab.values import ANGLES, VALUES

plots.use()
lm = models.load()
LAYER, STRENGTH, N = min(planted.LAYER, lm.n_layers - 1), planted.STRENGTH, 12  # a model of your own may have fewer blocks
asked = [s for v in VALUES for s in W.situations("held_out", N, seed=11, value=v)]  # N questions for each value
owner = np.repeat(VALUES, N)
rng = np.random.default_rng(0)
WANTED, OPPOSED = ([W.persona_line(v, sign, rng) for v in owner] for sign in (1, -1))


def read(value, n=40):
    """States at "I would", the same questions after persona lines that put the value low, and high."""
    lines, questions = planted.persona_pairs(value, n, 0), W.situations("train", n, 1000)
    chats = [[models.chat(lm, q.text, system=x[k]) + " I would" for q, x in zip(questions, lines, strict=True)] for k in (1, 0)]
    return [capture(lm, texts, LAYER)[LAYER] for texts in chats]


@contextmanager
def steered(plans, rows=True):
    """One plan for every row, or {value: plan}, each for the rows that ask about its value."""
    plans = plans if isinstance(plans, dict) else {None: plans}
    with ExitStack() as stack:
        for value, plan in plans.items():
            if plan is not None:
                gate = None if value is None else torch.tensor((owner == value) & rows)
                stack.enter_context(steer(lm, plan, gate=gate))
        yield


def chats(lines=None):
    return [models.chat(lm, s.text, system=line) for s, line in zip(asked, lines or [None] * len(asked), strict=True)]


def choices(plans=None, lines=None, rows=True):
    """Probability of the course that serves the value, and mass left on the two courses: (values, N) each."""
    prompts = [c + " I would" for c in chats(lines)]
    served = [s.offered if s.first.value == v else s.offered[::-1] for s, v in zip(asked, owner, strict=True)]
    with steered(plans, rows):
        ours, other = (models.log_probs(lm, prompts, [f" {x[k].base}." for x in served], batch_size=128) for k in (0, 1))
    return torch.sigmoid(ours - other).numpy().reshape(10, N), (ours.exp() + other.exp()).numpy().reshape(10, N)


states = {v: read(v) for v in VALUES}
apart = torch.stack([high.mean(0) - low.mean(0) for low, high in states.values()])
directions = dict(zip(VALUES, apart - apart.mean(0), strict=True))  # what all ten share is the wording's polarity, not a value
generator = torch.Generator().manual_seed(0)
noise = {v: torch.randn(lm.d_model, generator=generator) for v in VALUES}
noise = {v: x / x.norm() * directions[v].norm() for v, x in noise.items()}


def added(vectors, strength):
    return {v: add({LAYER: x}, strength) for v, x in vectors.items()}


neutral, neutral_mass = choices()
strengths = np.array([-3, -1, 0, 1, 3]) * STRENGTH
own = [choices(added(directions, float(s))) for s in strengths]
control = [choices(added(noise, float(s))) for s in strengths]
fig, panels = plots.figure(1, 2, figsize=(8.8, 3.6))
for ax, k, label in ((panels[0], 0, "choice for the value"), (panels[1], 1, "probability left on the two choices")):
    ax.plot(strengths, [x[k].mean() for x in own], color=plots.COLORS[0], marker="o", label="the value's direction")
    ax.plot(strengths, [x[k].mean() for x in control], color=plots.COLORS[1], marker="s", linestyle="--", label="random direction")
    ax.set(xlabel="strength", xticks=strengths, ylabel=label, ylim=(0, 1))
panels[0].legend()
show(fig, f"Pushing along a value's direction moves the choice for it from {own[1][0].mean():.2f} at strength {strengths[1]:g} to {own[3][0].mean():.2f} at {strengths[3]:g}, mean of ten values; a random direction of equal length from {control[1][0].mean():.2f} to {control[3][0].mean():.2f}. Right: what a harder push costs.")

# %% [markdown] minutes=3
# The direction works both ways, and the right panel shows the price: pushed too far, the model no longer answers the question.
# So three questions arise. How far is far enough? What happens to the other values, and to questions that have nothing to do
# with values? And does it hold when a prompt demands the opposite?
#
# ## What you will be able to do
#
# - **derive** the shortest shift that brings a probe to a wanted probability,
# - **explain** why several values must be solved together, and solve them,
# - **gate** a shift so that everything else stays bit for bit as it was,
# - **measure** leakage, anti-steerable situations and resistance to opposing prompts,
# - **compare** each method with a prompt and with a random direction of equal length.
#
# ## What this builds on
#
# Lesson 03 (probes, contrast pairs). The logit $\mathrm{logit}(p) = \ln\frac{p}{1-p}$ undoes the sigmoid. New words: [glossary](../docs/GLOSSARY.md).
#
# ## 1 · One step for all
#
# The plainest way: take the same step at every token. $v$ is a difference of means, so strength 1 goes as far as the two groups
# lie apart.
#
# $$\delta = s\,v \qquad\text{for every state } h$$
#
# Shapes: $h$ is `(..., d)`, $v$ is `(d,)`, $s$ a number; the shift has the shape of $h$. Source: CAA, arXiv 2312.06681.
#
# ### Exercise 4.1: the additive shift
#
# Return the shift, not the new state. Compute in float32 or wider (`wide(h)`), return in the dtype of `h`.
#
# What you should see: `✓ 4.1`.
#
# <details><summary>Hint 1</summary>The state's values do not enter; only its shape and dtype do.</details>
#
# <details><summary>Hint 2</summary>`.expand(h.shape)` gives every state its row without copying.</details>

# %% exercise="4.1" function="valuelab.steering.shift.additive_shift" minutes=5 stars=1

# %%
additive_shift = check("4.1", additive_shift)

# %% [markdown] minutes=6
# ## 2 · From a push to the closed form
#
# An additive push treats every state alike, also those that need nothing. Let a probe say $p(h) = \sigma(w\cdot h + b)$ and ask
# for at least $P_0$. Among all shifts $\delta$ we want the shortest:
#
# $$\min_\delta \|\delta\| \quad\text{such that}\quad w\cdot(h+\delta) + b \ge \mathrm{logit}(P_0)$$
#
# Split $\delta$ into a part along $w$ and a part across it. The part across changes the length and not the reading, so it is
# zero: $\delta = \varepsilon\, w$. Put that in and solve for the smallest $\varepsilon \ge 0$:
#
# $$\delta = \frac{\max\big(0,\ \mathrm{logit}(P_0) - b - w\cdot h\big)}{\|w\|^2}\; w$$
#
# Shapes: $h$ is `(..., d)`, $w$ is `(d,)`, one $\varepsilon$ for each state. Source: ConVA, arXiv 2507.11316.
#
# ### Exercise 4.2: the shortest push
#
# **Predict first.** A probe reads 0.20 and you want 0.90; the weight has length 2. How far must the state move? (In logits from
# −1.39 to 2.20, so $3.58/2 = 1.79$.)
#
# Write the body. `side` says which states move: "at least" lifts low ones, "at most" lowers high ones, "exactly" does both. As
# in 4.1, compute in float32 or wider, `wide(h)`: in bfloat16 the product over a wide state alone would miss the target.
#
# | You see | Likely cause |
# |---|---|
# | 0.997 instead of 0.90 | divided by ‖w‖, not ‖w‖² |
# | high states fell to 0.90 | no `max(0, ·)` |
#
# What you should see: `✓ 4.2`; low states land on the target, high ones stay.
#
# <details><summary>Hint 1</summary>Work in logits: how many are missing, for each state? `(x @ w + b)` has shape `(...)`.</details>
#
# <details><summary>Hint 2</summary>`missing[..., None] * w / (w @ w)`: the square of the length, for one factor turns w into a unit vector and one turns logits into distance.</details>

# %% exercise="4.2" function="valuelab.steering.shift.minimal_shift" minutes=15 stars=3

# %%
minimal_shift = check("4.2", minimal_shift)

# %% [markdown] minutes=3
# Which probe? A target should mean something to the model. `level_probe` is a ruler along the value's direction: it says 0.05 at
# the mean of the states after a persona line that puts the value low, and 0.95 at the mean after one that puts it high. "At
# least 0.95" then means: as far as a prompt would go, and not farther.

# %%
levels = {v: level_probe(low, high, layer=LAYER, value=v, direction=directions[v]) for v, (low, high) in states.items()}
probe = levels["security"]
X = torch.cat(states["security"])
before = probe.probability(X)
after = probe.probability(X + minimal_shift(X, probe.weight, probe.bias, 0.9))
fig, ax = plots.figure(figsize=(5, 4))
ax.axhline(0.9, color=plots.GREY, linestyle="--", label="target")
ax.scatter(before, after, s=18, color=plots.COLORS[0], label="one state")
ax.set(xlabel="level before", ylabel="level after", xlim=(0, 1), ylim=(0, 1.02))
ax.legend(loc="lower right")
show(fig, f"Every state reaches the target; {float((before >= 0.9).float().mean()):.0%} were there already and did not move.")

# %% [markdown] minutes=4
# ## 3 · Set it, or take it away
#
# The same geometry answers a third wish: whatever the state, let its component along $v$ be exactly $c$. With $u = v/\|v\|$
#
# $$h' = h + (c - h\cdot u)\,u$$
#
# and $c = 0$ **ablates** the direction. All that is perpendicular to $v$ stays. Source: arXiv 2406.11717.
#
# ### Exercise 4.3: project
#
# Return the new states. `level` is a length in the units of $h$, not a probability.
#
# What you should see: `✓ 4.3`.
#
# <details><summary>Hint 1</summary>Normalise first. Then `x @ u` has shape `(...)`, one component for each state.</details>
#
# <details><summary>Hint 2</summary>`(level - x @ u)[..., None] * u` is the change.</details>

# %% exercise="4.3" function="valuelab.steering.shift.project" minutes=6 stars=1

# %%
project = check("4.3", project)

# %%
v = directions["security"]
ablated = project(X, v, 0.0)
across = torch.eye(lm.d_model) - torch.outer(v, v) / (v @ v)
claim("after ablation nothing is left along the direction", bool(((ablated @ v).abs() < 1e-3 * X.norm(dim=1) * v.norm()).all()))
claim("after ablation everything across the direction is as it was", torch.allclose(ablated @ across, X @ across, atol=1e-3))
wanted, _ = choices(lines=WANTED)
without, chance = ({x: remove(p) for x, p in found.items()} for found in (levels, {x: probes.Probe(n, layer=LAYER) for x, n in noise.items()}))
bare, removed, spared = choices(without)[0], choices(without, lines=WANTED)[0], choices(chance, lines=WANTED)[0]
left = (removed.mean() - bare.mean()) / (wanted.mean() - neutral.mean())
display(Markdown(f"In the model: a persona line that wants the value lifts the choice from {neutral.mean():.2f} to {wanted.mean():.2f}. With the value's direction removed at block {LAYER} both ends fall: the line lifts it from {bare.mean():.2f} to {removed.mean():.2f}. So {left:.0%} of the line's effect is left; it does not run through this one direction of this block. With a random direction removed instead, the choice after the line is {spared.mean():.2f}."))

# %% [markdown] minutes=5
# ## 4 · Several values at once
#
# Ask for security, and at the same time for **less** conformity, its neighbour on the circle. The obvious way: apply one shift,
# then the other. But the two probes are not perpendicular, so the second shift changes what the first one reads.
#
# ### Exercise 4.4: one value after the other
#
# `W` is `(k, d)`, `b` is `(k,)`, `target` and `side` have k entries. Apply `minimal_shift` for each value in turn, each measured
# on the state that the ones before it have left. Return the **total** shift.
#
# **Predict first.** Which target will be missed, the first or the last?
#
# What you should see: `✓ 4.4`, and below, a target that is missed. (Answer: the first. Every later shift moves it, and nothing
# moves the last.)
#
# <details><summary>Hint 1</summary>Keep a running state x, begin with h, add each shift to it.</details>
#
# <details><summary>Hint 2</summary>What is asked for is the shift, not the state: subtract h at the end.</details>

# %% exercise="4.4" function="valuelab.steering.shift.sequential_shift" minutes=10 stars=2

# %%
sequential_shift = check("4.4", sequential_shift)

# %% [markdown] minutes=5
# To meet all targets by the shortest shift is a small quadratic programme. Give each weight its sign, $s_k w_k$ with $s_k=-1$ for
# "at most", and call the missing logits at the unmoved state $r_k$:
#
# $$\min_\delta \tfrac12\|\delta\|^2 \ \text{ such that }\ s_k w_k\cdot\delta \ge r_k
# \qquad\Longrightarrow\qquad \delta = \sum_k \lambda_k s_k w_k,\quad \lambda\ge 0$$
#
# With the Gram matrix $G_{kj} = s_k s_j\, w_k\cdot w_j$, target $k$ still lacks $r_k - \sum_j G_{kj}\lambda_j$. Give $\lambda_k$ just
# that much, and never less than nothing in all:
#
# $$\lambda_k \leftarrow \max\Big(0,\ \lambda_k + \frac{r_k - \sum_j G_{kj}\lambda_j}{G_{kk}}\Big)\qquad k = 1,\dots,m$$
#
# That is one **sweep** of Gauss and Seidel's method. From $\lambda = 0$ it does what exercise 4.4 did. Do not stop there: sweep
# again. Source: Hildreth 1957. (`joint_shift` pivots to the exact end instead.)
#
# ### Exercise 4.5: one sweep
#
# `gram` is `(m, m)`, `need` and `lam` are `(..., m)`. Return the new multipliers; leave `lam` as it was.
#
# What you should see: `✓ 4.5`, and below, the distance to the joint solution fall with every sweep.
#
# <details><summary>Hint 1</summary>`lam @ gram[k]` is the sum over j, for every row at once.</details>
#
# <details><summary>Hint 2</summary>Clamp the multiplier, not its correction: a multiplier must be able to shrink again.</details>

# %% exercise="4.5" function="valuelab.steering.shift.gauss_seidel_sweep" minutes=15 stars=3

# %%
gauss_seidel_sweep = check("4.5", gauss_seidel_sweep)

# %%
names, sides, targets = ("security", "conformity"), ["at least", "at most"], [0.95, 0.3]
Wk = torch.stack([levels[x].weight for x in names]).double()
bk = torch.tensor([levels[x].bias for x in names], dtype=torch.float64)
sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
H = torch.cat([s for pair in states.values() for s in pair])[::4].double()
goal = torch.tensor([logit(p) for p in targets], dtype=torch.float64)


def missed(shift):
    """Worst missed target, in logits."""
    return float((sign * (goal - ((H + shift) @ Wk.T + bk))).clamp(min=0).max())


in_turn = sequential_shift(H, Wk, bk, targets, sides)
together = joint_shift(H, Wk, bk, targets, sides, ridge=0.0)
signed = sign[:, None] * Wk
gram, need = signed @ signed.T, sign * (goal - (H @ Wk.T + bk))
lam, path = torch.zeros_like(need), []
for _ in range(100):
    lam = gauss_seidel_sweep(gram, need, lam)
    path.append(missed(lam @ signed))
claim("the first sweep is one value after the other", torch.allclose(gauss_seidel_sweep(gram, need, torch.zeros_like(need)) @ signed, in_turn, atol=1e-6))
claim("the sweeps end where the exact solver ends", torch.allclose(lam @ signed, solve_lcp(gram, need) @ signed, atol=1e-3))
fig, ax = plots.figure(figsize=(6, 3.4))
ax.semilogy(range(1, 31), np.maximum(path[:30], 1e-8), color=plots.COLORS[0], marker="o", markersize=4)
ax.set(xlabel="sweeps", ylabel="worst missed target, logits")
cosine = torch.nn.functional.cosine_similarity(Wk[0], Wk[1], dim=0)
show(fig, f"Security up, conformity down, on {len(H)} states of the model; the cosine of the two probes is {cosine:.2f}. One value after the other misses a target by {missed(in_turn):.2f} logits; solved together the worst miss is {missed(together):.0e}.")

# %% [markdown] minutes=4
# ### Three dials
#
# The same inside the model: three target levels, solved together at every token of the pass that is being steered. Set them
# against each other: what happens to a value when the other two pull the other way?

# %%
trio = ("security", "benevolence", "stimulation")


def draw(security=0.95, benevolence=0.5, stimulation=0.5):
    """Choice for each of the ten values with three levels asked for at once (0.5: left alone)."""
    plan = None
    for name, level in zip(trio, (security, benevolence, stimulation), strict=True):
        if level != 0.5:
            one = minimal(levels[name], level, "at least" if level > 0.5 else "at most")
            plan = one if plan is None else plan + one
    p, mass = choices(plan)
    fig, ax = plots.figure(figsize=(8.4, 3.2))
    ax.bar(np.arange(10) - 0.2, neutral.mean(1), 0.4, color=plots.GREY, label="unsteered")
    ax.bar(np.arange(10) + 0.2, p.mean(1), 0.4, color=plots.COLORS[0], hatch="//", edgecolor="white", label="steered")
    ax.set_xticks(range(10), VALUES, rotation=30, ha="right")
    ax.set(ylim=(0, 1), ylabel="choice for the value")
    ax.legend(ncols=2, loc="upper right")
    moved = ", ".join(f"{x} {neutral[VALUES.index(x)].mean():.2f} to {p[VALUES.index(x)].mean():.2f}" for x in trio)
    show(fig, f"Levels {security:g}, {benevolence:g}, {stimulation:g}: {moved}. Probability left on the choices {neutral_mass.mean():.2f} to {mass.mean():.2f}.")


# %%
draw()

# %% tags=["widget"]
from ipywidgets import interact

dial = [0.05, 0.2, 0.5, 0.8, 0.95, 0.99]
interact(draw, security=dial, benevolence=dial, stimulation=dial)

# %% [markdown] minutes=4
# ## 5 · The gate
#
# "Three plus seven is ten" needs no security: what does a push do to answers that have nothing to do with values, and can they be
# spared? A **gate** reads a second probe on the prompt, in the same pass and before the
# first steered block, and decides for each row whether it is steered at all. The user sets the threshold.
#
# ### Exercise 4.6: which rows pass
#
# `reading` holds one logit for each row. A row passes where its probability lies in the band from `threshold` to `ceiling`, both
# ends included; with `invert`, where it lies outside. A reading that is NaN never passes.
#
# What you should see: `✓ 4.6`.
#
# <details><summary>Hint 1</summary>Compare logits with logits: `bound(p)` is the logit of p, infinite at 0 and 1.</details>
#
# <details><summary>Hint 2</summary>`inside ^ invert` flips booleans; `reading.isnan()` finds what is no number.</details>

# %% exercise="4.6" function="valuelab.steering.gate.opens" minutes=8 stars=2

# %%
opens = check("4.6", opens)

# %% [markdown] minutes=2
# ### Exercise 4.7: what a closed gate preserves
#
# `h` and `shift` are `(rows, tokens, d)`, `gate` is `(rows,)`. Behind a closed gate the states must be the same **bit for bit**,
# whatever the shift holds.
#
# What you should see: `✓ 4.7`.
#
# <details><summary>Hint 1</summary>`gate[:, None, None]` lines a row's boolean up with its tokens.</details>
#
# <details><summary>Hint 2</summary>What is 0 · ∞? Choose (`torch.where`), do not multiply.</details>

# %% exercise="4.7" function="valuelab.steering.gate.gated" minutes=5 stars=1

# %%
gated = check("4.7", gated)

# %%
training = [models.chat(lm, s.text) for s in W.situations("train", 60, seed=7)], [models.chat(lm, q) for q, _ in W.facts(60, seed=7)]
topic = probes.logistic(torch.cat([capture(lm, t, 0)[0] for t in training]), torch.arange(120) < 60).with_(layer=0, value="a choice is asked for")
table = W.facts(60, seed=8)
questions = [models.chat(lm, q) for q, _ in table]
readings = {name: topic(capture(lm, texts, 0)[0]) for name, texts in {"choices": chats(), "facts": questions}.items()}
passed = {name: float(opens(z, 0.5).float().mean()) for name, z in readings.items()}


def facts(plan=None, line=None, **options):
    """Answers to questions of fact, greedy, and the share that is right to the letter."""
    prompts = questions if line is None else [models.chat(lm, q, system=line) for q, _ in table]
    with steer(lm, plan, **options) if plan else ExitStack():
        said = models.generate(lm, prompts, max_new_tokens=16, temperature=0.0, batch_size=128)
    return said, np.mean([W.fact_is_right(x, a) for x, (_, a) in zip(said, table, strict=True)])


hard_push = add({LAYER: directions["power"]}, 4 * STRENGTH)
answered = {"unsteered": facts(), "no gate": facts(hard_push), "gate": facts(hard_push, gate=Gate(topic, 0.5))}
said, right = ({k: x[i] for k, x in answered.items()} for i in (0, 1))
fig, panels = plots.figure(1, 2, figsize=(8.8, 3.2))
for k, (name, z) in enumerate(readings.items()):
    panels[0].hist(z.numpy(), bins=20, alpha=0.7, color=plots.COLORS[k], hatch=("", "//")[k], label=name)
panels[0].axvline(0, color=plots.GREY, linestyle="--")
panels[0].set(xlabel="gate probe, logits", ylabel="prompts")
panels[0].legend()
panels[1].bar(list(right), list(right.values()), color=plots.COLORS[:3])
panels[1].set(ylabel="facts answered to the letter", ylim=(0, 1))
show(fig, f"The gate opens for {passed['choices']:.0%} of the questions that ask for a choice and for {passed['facts']:.0%} of the facts. Facts right: {right['unsteered']:.0%} unsteered, {right['no gate']:.0%} pushed at four times the strength of the table below, without a gate, {right['gate']:.0%} with it.")

# %% [markdown] minutes=4
# ## 6 · Side effects
#
# Steer one value, and look at the choices for all ten.
#
# $$E_{ij} = \operatorname{mean}_s\big(p_j(s \mid i \text{ steered}) - p_j(s)\big)$$
#
# with $p_j(s)$ the probability of the course that serves value $j$ in situation $s$. $E$ is `(10, 10)`. What happens off its diagonal
# is called **leakage**.
#
# ### Exercise 4.8: the leakage matrix
#
# `unsteered` is `(values, situations)`, `steered` is `(steered values, values, situations)`.
#
# **Predict first.** In a circle of values, which entries of a row will be negative?
#
# What you should see: `✓ 4.8`, and a red band along the diagonal, not a red line: a value takes its neighbours along, and what lies
# across the circle falls.
#
# <details><summary>Hint 1</summary>numpy lines shapes up from the right, so the difference needs no loop.</details>
#
# <details><summary>Hint 2</summary>Average over the last axis.</details>

# %% exercise="4.8" function="valuelab.steering.effects.leakage_matrix" minutes=6 stars=1

# %%
leakage_matrix = check("4.8", leakage_matrix)

# %%
leak = leakage_matrix(neutral, np.stack([choices(add({LAYER: directions[x]}, STRENGTH))[0] for x in VALUES]))
off = ~np.eye(10, dtype=bool)
show(plots.matrix(leak, label="change of the choice"), f"Row: the value that is pushed; column: the value whose choices move. Diagonal {np.diag(leak).mean():+.2f} on average, opposite values {np.mean([leak[i, (i + 5) % 10] for i in range(10)]):+.2f}, neighbours {np.mean([leak[i, (i + k) % 10] for i in range(10) for k in (1, 9)]):+.2f}.")

# %% [markdown] minutes=3
# The circle was planted: neighbours share a motive, opposites exclude each other, and the likeness of two values is
# $\cos(\theta_i - \theta_j)$. Does leakage follow it?
#
# ### Exercise 4.9: leakage against the circle
#
# Correlate the entries off the diagonal with the cosine of the angle between the two values. Where all entries are equal, return 0.
#
# What you should see: `✓ 4.9`, and a correlation that deals of the ten names at random do not reach.
#
# <details><summary>Hint 1</summary>`np.subtract.outer(angles, angles)` holds all differences; a boolean mask picks what is off the diagonal.</details>
#
# <details><summary>Hint 2</summary>Subtract both means, then $x\cdot y / \sqrt{(x\cdot x)(y\cdot y)}$.</details>

# %% exercise="4.9" function="valuelab.steering.effects.circle_correlation" minutes=8 stars=2

# %%
circle_correlation = check("4.9", circle_correlation)

# %%
circle = circle_correlation(leak)
shuffles = [circle_correlation(leak[np.ix_(o, o)]) for o in (np.random.default_rng(s).permutation(10) for s in range(500))]
cosine = np.cos(np.subtract.outer(ANGLES, ANGLES))
fig, ax = plots.figure(figsize=(5.4, 3.4))
ax.scatter(cosine[off], leak[off], s=16, color=plots.COLORS[0])
ax.axhline(0, color=plots.GREY, linewidth=0.8)
ax.set(xlabel="cosine of the angle on the circle", ylabel="side effect")
show(fig, f"Correlation {circle:.2f}; with the ten names dealt at random it stays below {np.quantile(shuffles, 0.95):.2f} in 95 of 100 deals.")

# %% [markdown] minutes=3
# ## 7 · Who is moved the wrong way, and who resists
#
# ### Exercise 4.10: the anti-steerable share
#
# A mean gain hides those it moves the wrong way. Count them: the share of situations whose choice falls by more than `tolerance`.
# Source: arXiv 2407.12404.
#
# What you should see: `✓ 4.10`.
#
# <details><summary>Hint 1</summary>Each situation is compared with itself.</details>
#
# <details><summary>Hint 2</summary>The mean of booleans is a share.</details>

# %% exercise="4.10" function="valuelab.steering.effects.anti_steerable_share" minutes=5 stars=1

# %%
anti_steerable_share = check("4.10", anti_steerable_share)

# %% [markdown] minutes=3
# ### Exercise 4.11: the share of the gain that is kept
#
# Now the prompt demands the opposite ("Safety means little to you."). Measure the gain of steering there, from its own start, as
# a share of the neutral gain. No neutral gain: raise `ValueError`. The fair rival of the push is a prompt: a persona line that
# wants the value, behind the one that does not.
#
# What you should see: `✓ 4.11`.
#
# <details><summary>Hint 1</summary>Two gains, each steered minus unsteered, each a difference of means.</details>
#
# <details><summary>Hint 2</summary>The opposing prompt has lowered the start already; that is not the fault of steering.</details>

# %% exercise="4.11" function="valuelab.steering.effects.gain_kept" minutes=6 stars=1

# %%
gain_kept = check("4.11", gain_kept)

# %%
best = added(directions, STRENGTH)
plain, (hard, _), (hard_steered, _) = own[3][0], choices(lines=OPPOSED), choices(best, lines=OPPOSED)
rival, _ = choices(lines=[f"{o} {w}" for o, w in zip(OPPOSED, WANTED, strict=True)])
share, line_share = gain_kept((neutral, plain), (hard, hard_steered)), gain_kept((neutral, wanted), (hard, rival))
rows = {"push": (neutral, plain), "push, opposite persona": (hard, hard_steered), "persona line": (neutral, wanted), "persona line, opposite persona": (hard, rival)}
fig, ax = plots.figure(figsize=(7.8, 3.2))
for k, pair in enumerate(rows.values()):
    color = plots.COLORS[k // 2]
    ax.plot([x.mean() for x in pair], [k, k], color=color, linewidth=2)
    ax.scatter([pair[0].mean()], [k], marker="o", s=60, facecolor="white", edgecolor=color, zorder=3)
    ax.scatter([pair[1].mean()], [k], marker="D", s=60, color=color, zorder=3)
ax.set_yticks(range(4), list(rows))
ax.set(xlim=(0, 1), ylim=(3.6, -0.6), xlabel="choice for the value (open: without, filled: with push or line)")
show(fig, f"The opposite persona lowers the choice from {neutral.mean():.2f} to {hard.mean():.2f}. The push lifts it to {hard_steered.mean():.2f}: of its neutral gain {share:.0%} is kept. A persona line for the value, set behind the opposite one, lifts it to {rival.mean():.2f} and keeps {line_share:.0%} of its own. Moved the wrong way by the push without a persona: {anti_steerable_share(neutral.ravel(), plain.ravel(), 0.02):.0%} of the situations.")

# %% [markdown] minutes=5
# ## 8 · Control against fluency, and all methods side by side
#
# Until now we read probabilities. Now the model writes, and the oracle reads: a reply **succeeds** if it takes the value's side or
# speaks for it; it is **grammatical** if the oracle can parse every sentence. How far can the strength be turned up before the
# sentences break?


# %%
def speak(plans=None, lines=None, rows=True):
    """Success of each reply (values, N), and the share of grammatical replies."""
    with steered(plans, rows):
        texts = models.generate(lm, chats(lines), max_new_tokens=60, seed=1, batch_size=128)
    parsed = [W.parse(t, s.offered) for t, s in zip(texts, asked, strict=True)]
    won = [p.expressed.get(v, 0) > 0 or (p.choice is not None and p.choice.value == v) for p, v in zip(parsed, owner, strict=True)]
    return np.array(won).reshape(10, N), np.mean([p.grammatical for p in parsed])


doses = np.array([0, 0.5, 1, 1.5, 2, 3, 5])
dosed = [speak(added(directions, float(s * STRENGTH)) if s else None) for s in doses]
fig = plots.curves(doses * STRENGTH, {"success": [w.mean() for w, _ in dosed], "grammatical": [g for _, g in dosed]}, xlabel="strength", ylabel="share of replies")
fig.axes[0].axvline(STRENGTH, color=plots.GREY, linestyle="--", linewidth=1)
show(fig, f"Success rises from {dosed[0][0].mean():.2f} to {dosed[2][0].mean():.2f} at the strength used here (dashed), while {dosed[2][1]:.0%} of the replies stay grammatical. At {doses[4]:g} times that strength {dosed[4][1]:.0%} do, at {doses[5]:g} times {dosed[5][1]:.0%}, at {doses[-1]:g} times {dosed[-1][1]:.0%}: the sentences break, and success falls with them, to {dosed[-1][0].mean():.2f}.")

# %% [markdown] minutes=3
# The table compares the methods on the same questions. *Minimal*: level 0.95 of the value's ruler. *Gated*: the additive push,
# where the gate opens. *Joint*: the value at least 0.95 and its opposite at most 0.05, two demands that agree. *Joint, against
# its neighbours*: the value at least 0.95 while both neighbours on the circle stay at one half at most, demands that pull against
# each other. **Predict first:** which of the two joint plans moves choices the wrong way?

# %%
def beside(value, steps, level):
    """The value up, and those `steps` away on the circle held down, solved together."""
    i = VALUES.index(value)
    return minimal(levels[value], 0.95) + minimal([levels[VALUES[(i + k) % 10]] for k in steps], level, "at most")


open_rows = opens(readings["choices"], 0.5).numpy()  # the gate reads the prompt, so it can be read beforehand
plans = {
    "minimal": {x: minimal(levels[x], 0.95) for x in VALUES}, "joint": {x: beside(x, (5,), 0.05) for x in VALUES},
    "joint, against its neighbours": {x: beside(x, (1, -1), 0.5) for x in VALUES}, "random direction": added(noise, STRENGTH),
}  # fmt: skip
spoken = {"unsteered": dosed[0], "persona prompt": speak(lines=WANTED), "additive": dosed[2], "gated": speak(best, rows=open_rows)}
spoken |= {name: speak(plan) for name, plan in plans.items()}
probability = {"unsteered": neutral, "persona prompt": wanted, "additive": plain, "gated": choices(best, rows=open_rows)[0]}
probability |= {name: choices(plan)[0] for name, plan in plans.items()}
fact_share = {
    "unsteered": right["unsteered"], "persona prompt": facts(line=W.persona_line("power", 1, np.random.default_rng(1)))[1],
    "additive": facts(best["power"])[1], "gated": facts(best["power"], gate=Gate(topic, 0.5))[1],
}  # fmt: skip
fact_share |= {name: facts(plan["power"])[1] for name, plan in plans.items()}
lines = ["| method | choice for the value | success | grammatical | moved the wrong way | facts |", "|---|---|---|---|---|---|"]
wrong_way = {name: anti_steerable_share(neutral.ravel(), p.ravel(), 0.02) for name, p in probability.items()}
for name, (won, grammatical) in spoken.items():
    lines.append(f"| {name} | {probability[name].mean():.2f} | {won.mean():.2f} | {grammatical:.0%} | {wrong_way[name]:.0%} | {fact_share[name]:.0%} |")
display(Markdown("\n".join(lines)))

# %% [markdown] minutes=4
# Read the table against your favourite. The **prompt** needs no vector, and where it wins it wins honestly: on many tasks
# prompting beats steering (AxBench, arXiv 2501.17148). It can stand behind the same gate, too, if the question is read once
# without the line, and section 7 saw it hold against a line that demands the opposite. What the lesson showed of pushes alone
# is the dial of section 4: any level in between, for several values at once. **Minimal** is minimal: it keeps the language whole
# and moves less. And no solver saves a plan whose demands pull against each other: the joint plan against the neighbours meets
# its targets and pays for it elsewhere, in choices that move the wrong way and in sentences.
#
# ## A control that must fail
#
# A random direction of the same length: it must not gain what the value's own direction gains, and its leakage must know nothing of
# the circle. (It does move choices, one way or the other: see its column of choices moved the wrong way.)

# %%
random_leak = leakage_matrix(neutral, np.stack([choices(add({LAYER: noise[x]}, STRENGTH))[0] for x in VALUES]))
random_circle = circle_correlation(random_leak)
gains = {name: 100 * (probability[name] - neutral).mean(1) for name in ("additive", "random direction")}
show(
    plots.bars({"own direction": gains["additive"], "random direction": gains["random direction"]}, ylabel="points gained"),
    f"Mean gain {gains['additive'].mean():.0f} points against {gains['random direction'].mean():.0f} for random directions of equal length. Leakage against the circle: correlation {circle:.2f} against {random_circle:.2f}.",
)

# %% [markdown] minutes=1
# ## What we may claim

# %%
claim("after the closed form every state reads at least the target", bool((after >= 0.9 - 1e-4).all()))
claim("solved together no target is missed by more than a thousandth of a logit", missed(together) < 1e-3)
claim("one value after the other misses a target by more than a quarter of a logit", missed(in_turn) > 0.25)
claim("a value's own direction gains at least 10 points more than a random one", gains["additive"].mean() > gains["random direction"].mean() + 10)
claim("with the gate every answer to a fact is word for word the unsteered one", said["gate"] == said["unsteered"])
claim("the gate opens for more than nine of ten questions of choice and for fewer than one of ten facts", passed["choices"] > 0.9 and passed["facts"] < 0.1)
claim("leakage follows the circle better than 95 of 100 random orders of the names", circle > np.quantile(shuffles, 0.95))
claim("leakage of random directions follows the circle less", random_circle < circle - 0.2)
claim("the persona prompt moves choices further than any push in the table", wanted.mean() > max(p.mean() for name, p in probability.items() if name != "persona prompt"))
claim("at five times the strength fewer replies stay grammatical", dosed[-1][1] < dosed[2][1] - 0.2)
claim("demands that pull against each other move more choices the wrong way than demands that agree", wrong_way["joint, against its neighbours"] > wrong_way["joint"] + 0.05)
claim("under opposing personas more than half of the neutral gain is kept", share > 0.5)
claim("a persona line behind an opposing one keeps more than half of its gain as well", line_share > 0.5)

# %% [markdown] minutes=1
# ## Questions

# %%
quiz(
    "A state already reads 0.95 and the target is 'at least 0.90'. What does the closed form do?",
    [
        ("Pull it down to 0.90", False, "That would be 'exactly'. The max(0, ·) leaves states alone that need nothing."),
        ("Nothing", True, "The missing logits are negative, so the shift is zero."),
        ("Push it a little further, to be safe", False, "An additive push would. The closed form spends nothing where nothing is missing."),
    ],
)

# %%
quiz(
    "Why not simply add the shifts of several values?",
    [
        ("It would take too long", False, "Adding is the fastest of all."),
        ("Probes overlap: one value's shift already changes another's reading", True, "So the sum over- or undershoots; the joint problem accounts for it."),
        ("Shifts cannot be added", False, "They are vectors; they can. The sum is only not the shortest shift that meets all targets."),
    ],
)

# %%
quiz(
    "A method gains 20 points on average. What do you ask next?",
    [
        ("Nothing: the mean says it all", False, "A mean of 20 may be +40 for most and −20 for some, and a random push may gain as well."),
        ("What a random direction of equal length gains, and how many situations fell", True, "The control tells what is due to the direction, the share who pays for the mean."),
        ("Whether a larger strength gains more", False, "It may, until the replies fall apart: look at grammar before you turn the dial."),
    ],
)

# %% [markdown] minutes=2
# ## Limits
#
# The model and its values were planted: the method recovers what was planted, and the circle in the leakage is the circle that was
# planted. Layer and strength were chosen once on other situations. The steered block is the embedded model's last: a push there
# changes the scores of the next token, and no later block or token reads the pushed state. A push at a lower block may act
# otherwise. Ten values with a dozen questions each leave sampling noise of some points in every cell of the table; the benchmark
# `steering_control` repeats it with more questions and intervals. A probe that reads a direction well need not steer well, and a
# steered choice says nothing about what a model "wants".
#
# ## Links
#
# - ConVA, context-controlled value vectors: [arXiv 2507.11316](https://arxiv.org/abs/2507.11316)
# - Contrastive activation addition: [arXiv 2312.06681](https://arxiv.org/abs/2312.06681)
# - Anti-steerable samples: [arXiv 2407.12404](https://arxiv.org/abs/2407.12404)
# - AxBench, prompting as the rival: [arXiv 2501.17148](https://arxiv.org/abs/2501.17148)
# - Next: lesson 05, the same shift as one GPU kernel

# %% [markdown] tags=["instructor"]
# **For the room.** Before exercise 4.4: will the first or the last value miss its target? (The first: all later shifts move it.)
# Before exercise 4.8: which entries of a row will be negative? (The far side of the circle.) After the table: which row would you
# ship, and what would you want to know first?
#
# **Misconceptions.** Dividing by ‖w‖ instead of ‖w‖²; believing that a stronger push is a better one; multiplying by a gate instead
# of choosing; reading a mean gain without its control; taking a level of a ruler for a frequency.
#
# **To cut:** section 3, exercises 4.5 and 4.9, the table's joint rows. In 90 minutes: exercises 4.2, 4.4 and 4.7, the widget, the table.

# %% [markdown]
# ## Where to go from here
#
# Search for a better direction than the mean difference and report it on held-out situations only; the one to beat is
# `valuelab.steering.distil`, which learns a vector for each block by gradient until the model answers without the persona
# line as it answers with it. Next: [lesson 05](05_kernels_in_triton.ipynb) makes the shift fast,
# [lesson 10](10_evaluation.ipynb) asks what it costs.
