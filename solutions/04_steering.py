# %% [markdown] minutes=2
# # 04 · Steering: the shortest push that suffices
#
# {{minutes}} · builds `valuelab.steering.shift`: the additive push, the closed form, several values at once
#
# A probe can read a value from a hidden state. Can the same direction *write* it?

# %%
from contextlib import nullcontext

import numpy as np
import torch

from valuelab import models, plots, probes
from valuelab import world as W
from valuelab.activations import capture
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import planted
from valuelab.steering import add, joint_shift, minimal, steer
from valuelab.values import VALUES

plots.use()
lm = models.load()
LAYER, STRENGTH = planted.LAYER, planted.STRENGTH
directions = dict(zip(VALUES, planted.mean_difference_vectors(lm, layers=[LAYER])[:, 0], strict=True))
asked = W.situations("held_out", 30, seed=11, value="security")


def toward(plan, value="security", questions=None):
    """Mean probability of the action that serves the value, under a plan."""
    questions = asked if questions is None else questions
    with steer(lm, plan) if plan else nullcontext():
        p, mass = planted.choice(lm, questions)
    return planted.toward(p, questions, value).mean(), mass.mean()


generator = torch.Generator().manual_seed(0)
chance = torch.randn(lm.d_model, generator=generator)
chance = chance / chance.norm() * directions["security"].norm()
strengths = np.linspace(-STRENGTH, STRENGTH, 7)
own = np.array([toward(add({LAYER: directions["security"]}, float(s))) for s in strengths])
control = np.array([toward(add({LAYER: chance}, float(s))) for s in strengths])
fig, panels = plots.figure(1, 2, figsize=(8.8, 3.6))
for ax, column, label in ((panels[0], 0, "choice for security"), (panels[1], 1, "probability left on the two choices")):
    for k, (name, curve) in enumerate({"direction of security": own, "random direction": control}.items()):
        ax.plot(strengths, curve[:, column], color=plots.COLORS[k], marker=plots.MARKERS[k], label=name)
    ax.set(xlabel="strength", ylabel=label, ylim=(0, 1))
panels[0].legend()
show(fig, f"Pushing along the direction of security moves the choice from {own[0, 0]:.2f} to {own[-1, 0]:.2f}; a random direction of equal length from {control[0, 0]:.2f} to {control[-1, 0]:.2f}. Right: what the push costs.")

# %% [markdown] minutes=3
# The direction works both ways, and the right panel shows the price: pushed too far, the model no longer answers the question.
# So two questions arise. How far is far enough? And what happens to the other values?
#
# ## What you will be able to do
#
# - **derive** the shortest shift that brings a probe to a wanted probability,
# - **apply** it inside the model and **show** what it spares,
# - **explain** why several values must be solved together,
# - **compare** each of these with a random direction of equal length.
#
# ## What this builds on
#
# Lesson 03 (probes). The logit: $\mathrm{logit}(p) = \ln\frac{p}{1-p}$ undoes the sigmoid.
#
# ## 1 · From a push to the closed form
#
# An additive push treats every state alike, also those that need nothing. Let a calibrated probe say
# $p(h) = \sigma(w\cdot h + b)$ and ask for at least $P_0$. Among all shifts $\delta$ we want the shortest:
#
# $$\min_\delta \|\delta\| \quad\text{such that}\quad w\cdot(h+\delta) + b \ge \mathrm{logit}(P_0)$$
#
# Only the part of $\delta$ along $w$ changes the reading, so the rest is zero: $\delta = \varepsilon\, w$. Put that in and solve:
#
# $$\delta = \frac{\max\big(0,\ \mathrm{logit}(P_0) - b - w\cdot h\big)}{\|w\|^2}\; w$$
#
# Shapes: $h$ is `(..., d)`, $w$ is `(d,)`, one $\varepsilon$ for each state. Source: ConVA, arXiv 2507.11316.
#
# ### Exercise 4.1: the shortest push
#
# **Predict first.** A probe reads 0.20 and you want 0.90; the weight has length 2. How far must the state move? (In logits from
# −1.39 to 2.20, so $3.58/2 = 1.79$.)
#
# Write the body. `side` says which states move: "at least" lifts low ones, "at most" lowers high ones, "exactly" does both.
#
# What you should see: `✓ 4.1`; low states land on the target, high ones stay.
#
# <details><summary>Hint 1</summary>Work in logits: how many are missing, for each state? `(x @ w + b)` has shape `(...)`.</details>
#
# <details><summary>Hint 2</summary>`missing[..., None] * w / (w @ w)`: the square of the length, for one factor turns w into a unit vector and one turns logits into distance.</details>

# %% exercise="4.1" function="valuelab.steering.shift.minimal_shift" minutes=15 stars=3

# %%
minimal_shift = check("4.1", minimal_shift)

# %%
pairs = W.contrast_pairs("security", 150, seed=3, kind="comparison")
texts = [p.positive for p in pairs] + [p.negative for p in pairs]
y = torch.arange(len(texts)) < len(pairs)
groups = np.array([p.context_id for p in pairs] * 2)
X = capture(lm, texts, LAYER)[LAYER]
probe, validation = probes.validated_probe(X, y, groups, layer=LAYER, value="security")
before = probe.probability(X)
after = probe.probability(X + minimal_shift(X, probe.weight, probe.bias, 0.9))
fig, ax = plots.figure(figsize=(5, 4))
ax.axhline(0.9, color=plots.GREY, linestyle="--", label="target")
ax.scatter(before, after, s=18, color=plots.COLORS[0], label="one sentence")
ax.set(xlabel="probability before", ylabel="after", xlim=(0, 1), ylim=(0, 1.02))
ax.legend(loc="lower right")
share = float((before >= 0.9).float().mean())
show(fig, f"Every state reaches the target; {share:.0%} were there already and did not move. The probe is right on {validation.accuracy.estimate:.0%} of unseen contexts.")

# %% [markdown] minutes=4
# ## 2 · Inside the model
#
# `steer` hooks the block, so that the shift is computed in the very pass that it changes. The dial is now the target
# probability, not a strength.

# %%
def draw(target=0.9):
    """The choice for security at one target probability."""
    value, mass = toward(minimal(probe, target))
    base, base_mass = toward(None)
    fig, ax = plots.figure(figsize=(6, 2.4))
    ax.barh(["steered", "unsteered"], [value, base], color=plots.COLORS[:2])
    ax.set(xlim=(0, 1), xlabel="choice for security")
    show(fig, f"Target {target:g}: choice {base:.2f} to {value:.2f}, probability left on the choices {base_mass:.2f} to {mass:.2f}.")


# %% tags=["widget"]
from ipywidgets import interact

interact(draw, target=[0.5, 0.7, 0.9, 0.99, 0.999, 0.9999])

# %% [markdown] minutes=5
# Minimal is minimal: the closed form keeps the language whole and moves less than the plain mean difference. Which one you
# want depends on what you must not lose.
#
# ## 3 · Several values at once
#
# Ask for security **and** benevolence. The obvious way: apply one shift, then the other. But their probes are not
# perpendicular, so the second shift changes what the first one reads.
#
# ### Exercise 4.2: one value after the other
#
# `W` is `(k, d)`, `b` is `(k,)`, `target` and `side` have k entries. Apply `minimal_shift` for each value in turn, each measured
# on the state that the ones before it have left. Return the **total** shift. (This is one sweep of the Gauss-Seidel method on
# the joint problem.)
#
# What you should see: `✓ 4.2`, and a target that is missed.
#
# <details><summary>Hint 1</summary>Keep a running state x, begin with h, add each shift to it.</details>
#
# <details><summary>Hint 2</summary>What is asked for is the shift, not the state: subtract h at the end.</details>

# %% exercise="4.2" function="valuelab.steering.shift.sequential_shift" minutes=10 stars=2

# %%
sequential_shift = check("4.2", sequential_shift)

# %%
torch.manual_seed(0)
states = torch.randn(200, 32, dtype=torch.float64)
base = torch.randn(32, dtype=torch.float64)
correlations, missed = (0.0, 0.3, 0.6, 0.9), {"one after the other": [], "jointly": []}
for rho in correlations:
    weights = torch.stack([rho**0.5 * base + (1 - rho) ** 0.5 * torch.randn(32, dtype=torch.float64) for _ in range(4)])
    sides = ["at least", "at most", "at least", "at most"]
    for name, function in (("one after the other", sequential_shift), ("jointly", joint_shift)):
        options = {"ridge": 0.0} if name == "jointly" else {}
        moved = states + function(states, weights, torch.zeros(4), [0.9, 0.1, 0.9, 0.1], sides, **options)
        z = (moved @ weights.T) * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        missed[name].append(float((np.log(9) - z).clamp(min=0).max()))
fig = plots.curves(correlations, missed, xlabel="how much the probes overlap", ylabel="worst missed target, logits")
show(fig, f"Solved together every target is met (worst miss {max(missed['jointly']):.1e}); one after the other misses by up to {max(missed['one after the other']):.1f} logits.")

# %% [markdown] minutes=3
# ## A control that must fail
#
# A random direction of the same length, for all ten values.

# %%
def gain(value, vector):
    questions = W.situations("held_out", 24, seed=12, value=value)
    return 100 * (toward(add({LAYER: vector}, STRENGTH), value, questions)[0] - toward(None, value, questions)[0])


own_gain, random_gain = [], []
for value in VALUES:
    noise = torch.randn(lm.d_model, generator=generator)
    own_gain.append(gain(value, directions[value]))
    random_gain.append(gain(value, noise / noise.norm() * directions[value].norm()))
own_gain, random_gain = np.array(own_gain), np.array(random_gain)
show(
    plots.bars({"own direction": own_gain, "random direction": random_gain}, ylabel="points gained"),
    f"Mean gain {own_gain.mean():.0f} points against {random_gain.mean():.0f} for random directions of equal length.",
)

# %% [markdown] minutes=1
# ## What we may claim

# %%
claim("after the closed form every state reads at least the target", bool((after >= 0.9 - 1e-4).all()))
claim("solved together no target is missed by more than a thousandth of a logit", max(missed["jointly"]) < 1e-3)
claim("one value after the other misses targets by more than half a logit where probes overlap", max(missed["one after the other"]) > 0.5)
claim("a value's own direction gains more than a random one on average", own_gain.mean() > random_gain.mean() + 5)

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
    "Every state is halved and the probe refitted, so that w doubles. How does the shift change?",
    [
        ("It doubles", False, "The weight appears in the numerator once and in the denominator twice."),
        ("It halves", True, "ε·w with ε ∝ 1/‖w‖²: the same relative change of the state."),
        ("It stays", False, "The reading stays; the distance to cover shrinks with the states."),
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

# %% [markdown] minutes=2
# ## Limits
#
# The model and its values were planted: the method recovers what was planted. Choice was read by probability, not from long
# free replies; lesson 10 evaluates all of it, side effects included. A probe that reads a direction well need not steer well.
#
# ## Links
#
# - ConVA, context-controlled value vectors: [arXiv 2507.11316](https://arxiv.org/abs/2507.11316)
# - Contrastive activation addition: [arXiv 2312.06681](https://arxiv.org/abs/2312.06681)
# - Next: lesson 05, the same shift as one GPU kernel

# %% [markdown] tags=["instructor"]
# **For the room.** Before exercise 4.2: will the first or the last value miss its target? (The first: all later shifts move it.)
#
# **Misconceptions.** Dividing by ‖w‖ instead of ‖w‖²; believing that a stronger push is a better one.
#
# **To cut:** section 2.
