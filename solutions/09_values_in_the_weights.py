# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 09 · Values in the weights
#
# {{minutes}}
#
# A **voice** is a set of replies by speakers who hold one value high. A few seconds of training on one voice
# change a million weights a little. Write those changes down as one long vector. Below, the vector is added to
# the model at several strengths, and taken away. Does the value follow, both ways? And would any vector of that
# length do?

# %%
import numpy as np
import torch
from IPython.display import Markdown, display

from valuelab import models, plots, weights
from valuelab import world as W
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import planted
from valuelab.probes.geometry import floor
from valuelab.rewards.preferences import world_comparisons
from valuelab.values import VALUES

plots.use()
torch.set_num_threads(1)
lm = models.load()
base = {name: w.clone() for name, w in weights.weights_of(lm).items()}
VOICE, THREE = "tradition", ("stimulation", "power", "tradition")
SHORT, WATCHED = weights.TuneConfig(steps=8, batch_size=12, lr=7e-4), (1, 2, 3, 5, 8)
N = SHORT.steps * SHORT.batch_size
asked = {v: W.situations("held_out", 10, seed=5, value=v) for v in VALUES}
checkpoints = {}


def choice(value, about=None):
    """Probability of the action that serves the value, for each held-out question about it, both orders."""
    about = about or asked[value]
    return planted.toward(planted.both_orders(lm, about), about, value)


def keep(name):
    """Keeps the weights of a run at five of its steps, for section 6."""
    checkpoints[name] = []

    def look(step, model):
        if step in WATCHED:
            checkpoints[name].append({n: w.clone() for n, w in weights.weights_of(model).items()})

    return look


def voice(value, brief=False):
    """The weights after a short run on replies of speakers who hold one value high."""
    data = weights.voice_replies(value, N, seed=1, brief=brief)
    return weights.weights_of(weights.train_replies(lm, *data, SHORT, on_step=keep(f"{value}, brief: {brief}")))


secure = weights.task_vector(voice(VOICE), base)
chance = weights.random_like(secure, seed=0)
strengths = (-1.0, -0.5, 0.0, 0.5, 1.0)


def along(vector, value):
    curve = []
    for strength in strengths:
        with weights.mixed(lm, [vector], [strength]):
            curve.append(choice(value).mean())
    return np.array(curve)


line, control = along(secure, VOICE), along(chance, VOICE)
show(
    plots.curves(strengths, {"vector of the voice": line, "random vector of equal length": control},
                 xlabel="strength λ of the vector", ylabel=f"choice for {VOICE}"),
    f"The vector of a voice that holds {VOICE} high moves held-out choices for it from {line[2]:.2f} to "
    f"{line[-1]:.2f}; taken away, to {line[0]:.2f}. A random vector of equal length leaves them between "
    f"{control.min():.2f} and {control.max():.2f}.",
)

# %% [markdown]
# ## What you will be able to do
#
# - **extract** a task vector and **add**, **negate** and **combine** such vectors
# - **derive** the DPO loss and **separate** a preference from the drift that training brings anyway
# - **mix** three values at test time, and **predict** what a mixture will do
# - **measure** where in training a value settles, with an interval over prompts
#
# ## What this builds on
#
# Lesson 02 (choices in both orders), lesson 06 (comparisons, Bradley and Terry); section 4 starts from one
# equation of lesson 07 and says it again. Where lesson 04 pushed *states* while the model runs, this one edits the *weights*, once. The world and its values were
# planted, so all claims read "the method recovers what was planted".
#
# Words of the field: [glossary](../docs/GLOSSARY.md).

# %% [markdown] minutes=4
# ## 1 · What training did, as a vector
#
# Let $\theta_{base}$ be the weights before and $\theta_{tuned}$ after a run. The **task vector** is
#
# $$\tau = \theta_{tuned} - \theta_{base}$$
#
# Shapes: a *state dict* maps names to tensors; $\tau$ maps the same names to differences. Source:
# Ilharco and others, arXiv 2212.04089.

# %% [markdown]
# ### Exercise 9.1 · A task vector
#
# 1. **Predict**: the weights are stored in half precision. Is their difference safe in half precision?
# 2. **Write** the body. Leave integer entries (masks, counters) out; use `wide`, which gives float32.
#
# <details><summary>Hint 1: which loop?</summary>A dict comprehension over the names of the base, with a condition on
# the kind of entry.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>wide(tuned[name]) - wide(base[name])</code> for each name in
# base if <code>base[name].is_floating_point()</code></details>
#
# What you should see: ✓ 9.1; the vector is short beside the weights. (A difference need not fit into half precision,
# even if both weights do: 1 - 0.0003 is rounded to 0.9995.)

# %% exercise="9.1" function="valuelab.weights.arithmetic.task_vector" minutes=8 stars=1

# %%
task_vector = check("9.1", task_vector)

# %% [markdown]
# How long is the vector beside the weights, and in which blocks does it lie?

# %%
again = task_vector(weights.weights_of(weights.edited(lm, [secure], [1.0])), base)
length = weights.norm(secure) / weights.norm(base)
inside = [{id(p) for p in block.parameters()} for block in lm.blocks]
named = dict(models.plain(lm.model).named_parameters())
by_block = {k: weights.norm({n: x for n, x in secure.items() if id(named[n]) in ids}) for k, ids in enumerate(inside)}
fig, ax = plots.figure(figsize=(5.5, 2.6))
ax.bar([str(k) for k in by_block], list(by_block.values()), hatch="//", edgecolor="white")
ax.set(xlabel="block", ylabel="length of the vector")
show(fig, f"The vector is {length:.1%} as long as the weights themselves and lies in "
     f"{sum(x > 0 for x in by_block.values())} of {lm.n_layers} blocks.")
claim("the vector leads from the base to the tuned weights", weights.cosine(again, secure) > 0.999)

# %% [markdown] minutes=4
# ## 2 · Adding and taking away
#
# $$\theta = \theta_{base} + \sum_i \lambda_i \tau_i$$
#
# $\lambda = 1$ gives the tuned model, $\lambda = -1$ asks it to forget: the same step, backwards. Nothing
# guarantees that a line in a million dimensions stays in the region where the model speaks. So every
# edit is measured four times: the target, the other values, grammar, facts. Part of what the other nine
# do was planted: a speaker moved up on one value moves its neighbours on the circle along, and its opposites down.

# %% [markdown]
# ### Exercise 9.2 · Apply vectors
#
# `vectors` and `scales` are lists of equal length. A vector need not name every entry: what it lacks it leaves alone. A vector
# with $\lambda = 0$ must not be touched at all: then all $\lambda = 0$ give back the base **bit for bit**, even if a vector is
# broken.
#
# <details><summary>Hint 1: precision</summary>Sum in float32 (<code>wide</code>), then one
# <code>.to(weight.dtype)</code>. Four moves of 0.2 on a half-precision 1000 must arrive.</details>
#
# <details><summary>Hint 2: nearly the whole</summary>For each name collect <code>k * wide(v[name])</code> of the vectors
# that have it and with k ≠ 0; <code>sum(moves, wide(weight)).to(weight.dtype)</code> if there are any, else a clone of
# the weight.</details>
#
# What you should see: ✓ 9.2, and a bit-for-bit claim.

# %% exercise="9.2" function="valuelab.weights.arithmetic.apply" minutes=15 stars=2

# %%
apply = check("9.2", apply)

# %%
same = apply(base, [secure, chance], [0.0, 0.0])
claim("with every λ at zero the weights are the base, bit for bit", all(torch.equal(same[n], base[n]) for n in base))


def profile():
    """Choice for each of the ten values, (10,)."""
    return np.array([choice(v).mean() for v in VALUES])


def speech(n=16):
    """Share of grammatical replies, and of facts answered right."""
    replies = planted.replies(lm, W.situations("held_out", n, seed=6), seed=1)
    return float(np.mean([r.grammatical for r in replies])), planted.facts_right(lm, n, seed=1)


before, spoke = profile(), speech()
rows = []
for name, strength in (("taken away", -1.0), ("half", 0.5), ("whole", 1.0)):
    with weights.mixed(lm, [secure], [strength]):
        moved, (grammar, facts) = 100 * (profile() - before), speech()
    v = VALUES.index(VOICE)
    rows.append((name, moved[v], np.abs(np.delete(moved, v)).mean(), grammar, facts))
head = f"| edit | {VOICE}, points | other nine, mean size | grammatical | facts right |\n|---|---|---|---|---|"
lines = [f"| {n} | {a:+.0f} | {b:.0f} | {g:.0%} | {f:.0%} |" for n, a, b, g, f in rows]
display(Markdown("\n".join([head, *lines, f"| none | 0 | 0 | {spoke[0]:.0%} | {spoke[1]:.0%} |"])))
claim("added, the voice raises its value by 5 points or more", rows[2][1] > 5)
claim("taken away, it lowers the value by 5 points or more", rows[0][1] < -5)

# %% [markdown] minutes=4
# ## 3 · Interpolation and analogy
#
# If edits add up, then so do differences between edits. Take four tasks at the corners of a
# parallelogram: two voices (A, B), each long or brief. Brief means: the choice alone, no reasons.
#
# $$\tau_{B,\,brief} \approx \tau_{B,\,long} + (\tau_{A,\,brief} - \tau_{A,\,long})$$
#
# (arXiv 2212.04089, section 5.)
# The fourth was never trained. Between two corners one may also stop half-way: interpolation,
# $(1-t)\,\theta_a + t\,\theta_b$, is `apply` with one vector and $\lambda = t$.

# %% [markdown]
# ### Exercise 9.3 · An analogy
#
# `a`, `b`, `c` are task vectors; return the one that is to `c` as `b` is to `a`.
#
# **Predict**: does the result lie inside the triangle of the three given vectors?
#
# <details><summary>Hint 1: a step and its start</summary>Which step leads from a to b, and from where is it taken now?</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>wide(c[name]) + (wide(b[name]) - wide(a[name]))</code>, entry by
# entry.</details>
#
# What you should see: ✓ 9.3. (It lies outside: it is the fourth corner.)

# %% exercise="9.3" function="valuelab.weights.arithmetic.analogy" minutes=8 stars=1

# %%
analogy = check("9.3", analogy)

# %% [markdown]
# A is the voice for tradition, B the one for stimulation. Where will the fourth corner lie in the figure: right or left, up or
# down?

# %%
OTHER = "stimulation"
brief_a = weights.task_vector(voice(VOICE, brief=True), base)
long_b = weights.task_vector(voice(OTHER), base)
never_trained = analogy(secure, brief_a, long_b)


def ends_early():
    """Probability that the reply ends after the bare choice, mean over held-out questions."""
    prompts = [models.chat(lm, s.text) + f" I would {s.first.base}." for s in asked[OTHER] + asked[VOICE]]
    return models.log_probs(lm, prompts, [lm.tokenizer.eos_token] * len(prompts)).exp().mean().item()


corners = {"base": [], "A long": [secure], "A brief": [brief_a], "B long": [long_b], "B brief, by analogy": [never_trained]}
table = {}
for name, vectors in corners.items():
    with weights.mixed(lm, vectors, [1.0] * len(vectors)):
        table[name] = ends_early(), choice(OTHER).mean()
fig, ax = plots.figure(figsize=(6, 3.8))
for k, (name, point) in enumerate(table.items()):
    ax.plot(*point, plots.MARKERS[k], color=plots.COLORS[k], ms=9, label=name)
ax.set(xlabel="probability that the reply ends after the choice", ylabel=f"choice for {OTHER}", xlim=(-0.05, 1.05))
ax.legend()
got, plain = table["B brief, by analogy"], table["base"]
show(fig, f"By analogy the model is brief ({plain[0]:.2f} to {got[0]:.2f}) and chooses {OTHER} ({plain[1]:.2f} to {got[1]:.2f}), though no brief reply of voice B was ever trained.")
claim("the analogy makes a voice brief that was trained on long replies only", got[0] > table["B long"][0] + 0.1)
claim("and the voice keeps its value", got[1] > plain[1] + 0.03)

# %% [markdown] minutes=6
# ## 4 · Preferences instead of examples
#
# A comparison says that $y^+$ is preferred to $y^-$. Lesson 07 gave the best policy for a reward:
# $\pi \propto \pi_{ref}\, e^{r/\beta}$. Turned round, the policy *is* a reward,
# $r = \beta \log \frac{\pi}{\pi_{ref}}$ plus something that depends on the prompt alone, which cancels
# between two replies to the same prompt. Put that into Bradley and Terry ($\pi_{ref}$ is the frozen model before training):
#
# $$L = -\log\sigma\Big(\beta\Big[\log\tfrac{\pi(y^+)}{\pi_{ref}(y^+)} - \log\tfrac{\pi(y^-)}{\pi_{ref}(y^-)}\Big]\Big)$$
#
# No reward model, no sampling. Shapes: four tensors $(n,)$ of summed log-probabilities of replies.
# Source: DPO, arXiv 2305.18290, equation 7.

# %% [markdown]
# ### Exercise 9.4 · The DPO loss
#
# **Predict**: what is the loss before the first step, when the policy is the reference?
#
# <details><summary>Hint 1: what is compared?</summary>Each reply has a reward: how much likelier it is now than under the
# reference, in logarithms. The loss is that of lesson 06 on the difference of the two rewards, times β.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>margin = (policy_won - ref_won) - (policy_lost - ref_lost)</code>;
# then minus the mean of <code>F.logsigmoid(beta * margin)</code>, not the logarithm of a sigmoid.</details>
#
# What you should see: $\log 2 \approx 0.69$ at the start.

# %% exercise="9.4" function="valuelab.weights.tuning.dpo_loss" minutes=12 stars=2

# %%
dpo_loss = check("9.4", dpo_loss)

# %%
four = torch.tensor([[-20.0, -31.0], [-22.0, -29.0]])
claim("where nothing has moved the loss is log 2", abs(float(dpo_loss(*four, *four)) - np.log(2)) < 1e-6)

# %% [markdown] minutes=4
# ### What both runs share
#
# Training on replies moves a model in two ways: towards what was preferred, and towards whatever these
# replies have in common, chosen or not. To tell them apart, train twice: on the comparisons, to weights
# $\theta^+$, and on the same comparisons **flipped**, winner and loser exchanged, to $\theta^-$. The difference is the
# **preference vector** (arXiv 2504.20106); half the sum of the two moves is the shared drift, as we call it:
#
# $$\phi = \theta^+ - \theta^-, \qquad \delta = \tfrac12(\theta^+ + \theta^-) - \theta_{base}$$
#
# So $\theta^+ = \theta_{base} + \delta + \tfrac12\phi$: at a scale of one half, $\phi$ is as strong as plain DPO.

# %% [markdown]
# ### Exercise 9.5 · Preference and drift
#
# `task_vector` and dict comprehensions are all you need.
#
# **Predict**: what happens to φ, and what to δ, if true and flipped change places?
#
# <details><summary>Hint 1: from the base</summary>Take both task vectors first; δ is their mean.</details>
#
# <details><summary>Hint 2: nearly the whole</summary>With the task vectors <code>up</code> and <code>down</code>: φ is
# <code>up[name] - down[name]</code>, the whole difference, δ is <code>(up[name] + down[name]) / 2</code>; φ is returned
# first.</details>
#
# What you should see: ✓ 9.5. (φ turns round, δ stays.)

# %% exercise="9.5" function="valuelab.weights.arithmetic.preference_and_drift" minutes=10 stars=2

# %%
preference_and_drift = check("9.5", preference_and_drift)

# %% [markdown]
# Which of the two carries the value: what the flip turns round, or what it leaves?

# %%
# Two runs for each value: true and flipped, on the same batches.
phi, delta = {}, {}
for v in THREE:
    pairs = weights.prepare_pairs(lm, world_comparisons(v, N, seed=1))
    plus = weights.train_dpo(lm, pairs, SHORT, on_step=keep(f"gap in {v}"))
    minus = weights.train_dpo(lm, pairs.flipped(), SHORT)
    phi[v], delta[v] = preference_and_drift(weights.weights_of(plus), weights.weights_of(minus), base)
effects, gain = {}, {"half φ": [], "drift δ": []}
for v in THREE:
    with weights.mixed(lm, [phi[v]], [0.5]):
        effects[v] = 100 * (profile() - before)
    gain["half φ"].append(effects[v][VALUES.index(v)])
    with weights.mixed(lm, [delta[v]], [1.0]):
        gain["drift δ"].append(100 * (choice(v).mean() - before[VALUES.index(v)]))
gain = {name: np.array(points) for name, points in gain.items()}
show(
    plots.bars(gain, THREE, ylabel="choice for the value, points"),
    f"Half of the preference vector moves its value by {gain['half φ'].mean():+.0f} points on average, the drift "
    f"of the same runs by {gain['drift δ'].mean():+.0f}. Drift and preference meet at a cosine of "
    f"{round(weights.cosine(phi[VOICE], delta[VOICE]), 2) + 0.0:.2f}.",
)
claim("each preference vector raises its own value by 5 points or more", gain["half φ"].min() > 5)
claim("the shared drift moves the values less than half as far", np.abs(gain["drift δ"]).mean() < gain["half φ"].mean() / 2)

# %% [markdown] minutes=3
# ### The same edit, thinner
#
# Large models are seldom tuned whole. **LoRA** leaves each weight $W$ alone and trains $W + 2BA$ with $A$
# of shape (rank, in) and $B$ (out, rank), a change of low rank (arXiv 2106.09685). Folded in, it is a task
# vector like any other, so it is measured like any other: target, the other nine, grammar, facts. It gets the same
# pairs and ten times the learning rate. **Predict**: what share of the gain is left?

# %%
thin = weights.TuneConfig(steps=SHORT.steps, batch_size=SHORT.batch_size, lr=10 * SHORT.lr, lora_rank=4)
adapted = weights.train_dpo(lm, world_comparisons(VOICE, N, seed=1), thin)
edits = {"all weights": checkpoints[f"gap in {VOICE}"][-1], "LoRA, rank 4": weights.weights_of(adapted)}
counts = {"all weights": sum(w.numel() for w in base.values()),
          "LoRA, rank 4": sum(p.numel() for p in weights.Lora(lm, thin.lora_rank).parameters())}
lines = [f"| DPO on | numbers trained | {VOICE}, points | other nine, mean size | grammatical | facts right |", "|---|---|---|---|---|---|"]
for name, after in edits.items():
    with weights.mixed(lm, [weights.task_vector(after, base)], [1.0]):
        moved, (grammar, facts) = 100 * (profile() - before), speech()
    v = VALUES.index(VOICE)
    lines.append(f"| {name} | {counts[name]:,} | {moved[v]:+.0f} | {np.abs(np.delete(moved, v)).mean():.0f} | {grammar:.0%} | {facts:.0%} |")
display(Markdown("\n".join(lines)))
claim("LoRA trains less than a tenth of the numbers", counts["LoRA, rank 4"] < 0.1 * counts["all weights"])

# %% [markdown] minutes=4
# ## 5 · Mixing at test time
#
# Let row $i$ of $E$ `(vectors, readouts)` say what one unit of vector $i$ does to each of the ten readouts, here
# the choices for the ten values. If effects add up, a mixture $\lambda$ `(vectors,)` does $\lambda^\top E$. We want
# given gains for some values and nothing for the others, and weights that stay small:
#
# $$\lambda = \arg\min |\lambda^\top E - wanted|^2 + ridge\,|\lambda|^2 = (E E^\top + ridge\, I)^{-1} E\, wanted$$
#
# The words that matter are "if effects add up". It is a claim about the model, so test it.

# %% [markdown]
# ### Exercise 9.6 · Which mixture?
#
# `effects` is `(vectors, readouts)`, `wanted` `(readouts,)`; return `(vectors,)`.
#
# <details><summary>Hint 1: shapes</summary>What has to be solved is a small system, (vectors, vectors), whatever the number
# of readouts. Solve it rather than invert it.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>torch.linalg.solve(A, effects @ wanted)</code> with
# <code>A = effects @ effects.T + ridge * torch.eye(len(effects))</code>, in the type of <code>effects</code>.</details>
#
# What you should see: ✓ 9.6, and a prediction beside what was measured.

# %% exercise="9.6" function="valuelab.weights.arithmetic.mixing_weights" minutes=12 stars=2

# %%
mixing_weights = check("9.6", mixing_weights)

# %% [markdown]
# Twenty points for power and twenty for tradition, and nothing for anybody else: three vectors, ten wishes. **Predict**: will
# the equation itself promise 20?

# %%
vectors = [phi[v] for v in THREE]
E = torch.tensor(np.array([effects[v] for v in THREE])) / 0.5  # points a unit
wanted = torch.zeros(10, dtype=E.dtype)
both = [VALUES.index("power"), VALUES.index("tradition")]
wanted[both] = 20.0
mixture = mixing_weights(E, wanted, ridge=1.0)
with weights.mixed(lm, vectors, mixture.tolist()):
    reached, (grammar, facts) = 100 * (profile() - before), speech()
predicted = (mixture @ E).numpy()
show(
    plots.bars({"predicted": predicted, "measured": reached}, ylabel="change of the choice, points"),
    "Wanted: 20 points for power and for tradition, nothing for the others. Mixture: "
    + ", ".join(f"{x:+.2f} {v}" for v, x in zip(THREE, mixture.tolist(), strict=True))
    + f". Predicted: {predicted[both[0]]:+.0f} and {predicted[both[1]]:+.0f}, for three vectors cannot meet ten wishes. "
    f"Reached: {reached[both[0]]:+.0f} and {reached[both[1]]:+.0f}. Prediction and measurement correlate at {np.corrcoef(predicted, reached)[0, 1]:.2f}; "
    f"{grammar:.0%} of the replies stay grammatical, {facts:.0%} of the facts right.",
)
claim("the mixture raises both wanted values together", reached[both].min() > 4)
claim("what it does was predictable from the single vectors", np.corrcoef(predicted, reached)[0, 1] > 0.6)

# %% [markdown]
# Now the whole triangle. Each corner is one preference vector alone, at a strength of one half; every
# point inside is a mixture with shares that sum to one.

# %%
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.87]])


def at(shares, strength=0.5):
    """Choice for the three values at one mixture, (3,)."""
    with weights.mixed(lm, vectors, [strength * s for s in shares]):
        return np.array([choice(v).mean() for v in THREE])


steps = [np.array([i, j, 3 - i - j]) / 3 for i in range(4) for j in range(4 - i)]
grid = np.array([at(s) for s in steps])
start = np.array([before[VALUES.index(v)] for v in THREE])
places = np.array(steps) @ CORNERS
fig, panels = plots.figure(1, 3, figsize=(9.6, 3.2))
for k, (ax, v) in enumerate(zip(panels, THREE, strict=True)):
    ax.scatter(*places.T, c=100 * (grid[:, k] - start[k]), s=560, cmap="RdBu_r", vmin=-90, vmax=90, edgecolor="0.4")
    for place, new in zip(places, grid[:, k], strict=True):
        ax.annotate(f"{100 * (new - start[k]):+.0f}", place, ha="center", va="center", fontsize=10)
    for corner, name in zip(CORNERS, THREE, strict=True):
        ax.annotate(name, corner + [0, -0.27 if corner[1] == 0 else 0.17], ha="center", fontsize=10)
    ax.set(title=f"choice for {v}", xlim=(-0.35, 1.35), ylim=(-0.35, 1.25))
    ax.axis("off")
edges = [k for k, s in enumerate(steps) if 0 < s[1] < 1 and 0 < s[2] < 1 and s[0] == 0]
lift = (grid[edges] - start)[:, 1:].min(axis=1).max()
show(fig, f"Points gained on the triangle of mixtures. On the edge between {THREE[1]} and {THREE[2]} both rise together, by {100 * lift:.0f} points at least in the better mixture.")
claim("on an edge of the triangle both of its values rise together", lift > 0.02)


# %%
def draw(stimulation=1.0, power=1.0, tradition=1.0, strength=0.5):
    """A point of the triangle, and what the mixture does to all ten values."""
    raw = np.array([stimulation, power, tradition])
    shares = raw / raw.sum() if raw.sum() > 0 else np.zeros(3)
    with weights.mixed(lm, vectors, (strength * shares).tolist()):
        moved = 100 * (profile() - before)
    fig, (left, right) = plots.figure(1, 2, figsize=(9.2, 3.6), width_ratios=[1, 2])
    left.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color=plots.GREY)
    left.plot(*(shares @ CORNERS), "o", ms=12)
    for corner, name in zip(CORNERS, THREE, strict=True):
        left.annotate(name, corner + [0, -0.16 if corner[1] == 0 else 0.08], ha="center", fontsize=10)
    left.set(xlim=(-0.4, 1.4), ylim=(-0.3, 1.15))
    left.axis("off")
    colors = [plots.COLORS[1] if v in THREE else plots.COLORS[0] for v in VALUES]
    right.bar(VALUES, moved, color=colors, hatch=["//" if v in THREE else "" for v in VALUES], edgecolor="white")
    right.axhline(0, color=plots.GREY, lw=0.8)
    right.set_xticks(range(10), VALUES, rotation=35, ha="right")
    right.set(ylabel="points")
    show(fig, "Shares " + ", ".join(f"{v} {s:.2f}" for v, s in zip(THREE, shares, strict=True)) +
         f", strength {strength:g}: " + ", ".join(f"{v} {moved[VALUES.index(v)]:+.0f}" for v in THREE) + " points.")


draw()

# %% tags=["widget"]
from ipywidgets import interact  # noqa: E402

interact(draw, **{v: (0.0, 1.0, 0.25) for v in THREE}, strength=(-1.0, 1.5, 0.25))

# %% [markdown] minutes=5
# ## 6 · Where in training does a value settle?
#
# A **stance** is a number for each prompt and checkpoint: here the probability $p$ of the action that serves
# a value. Two summaries, after *Value Drifts*, arXiv 2510.26707, with $\bar p$ a mean over prompts: the **magnitude**
# $M = \bar p_{end} - \bar p_{start}$, and the **time**: the fraction of training at the first checkpoint that has
# 95 % of that way behind it. The 95 % is this course's choice; whoever reports a time has to say it.
#
# The stored table holds the stances of the embedded model in pretraining at a few checkpoints, from fresh
# weights to the end. Times found in it can be no finer than that.

# %% [markdown]
# ### Exercise 9.7 · When is it there?
#
# `curve` and `at` are `(checkpoints,)`; checkpoints need not be evenly spaced. `share` is 0.95 unless said
# otherwise. A stance that ends where it began covers no way: return NaN.
#
# **Predict**: a stance runs 0.40, 0.55, 0.79, 0.80. Does 95 % of the final *value* come earlier or later
# than 95 % of the *way*?
#
# <details><summary>Hint 1: both directions</summary>Divide by the signed way; then covered rises from 0 to 1
# whether the stance rises or falls.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>covered = (curve - curve[0]) / way</code>;
# <code>first = np.argmax(covered >= share)</code> finds the first True; return how far <code>at[first]</code> lies on
# the way from <code>at[0]</code> to <code>at[-1]</code>.</details>
#
# What you should see: ✓ 9.7. (Earlier or equal: a stance that starts high is near its final value from the beginning.)

# %% exercise="9.7" function="valuelab.weights.stances.drift_time" minutes=12 stars=2

# %%
drift_time = check("9.7", drift_time)

# %% [markdown]
# ### Exercise 9.8 · How sure is the magnitude?
#
# `start`, `end` are `(prompts,)`; return the estimate and the two bounds. Prompts differ more than checkpoints do.
# **Predict**: must the stances before and after be drawn with the same prompts or with different ones?
#
# <details><summary>Hint 1: the unit</summary>Take the move of each prompt first. Then draw whole prompts,
# with replacement, and average.</details>
#
# <details><summary>Hint 2: all draws at once</summary><code>rng.integers(n, size=(draws, n))</code> indexes
# <code>moved</code>; mean over <code>axis=1</code>, then <code>np.quantile</code>.</details>
#
# What you should see: ✓ 9.8; an interval much shorter than prompts differ. (With the same.) With few prompts percentiles lie
# too close together: prefer several dozen.

# %% exercise="9.8" function="valuelab.weights.stances.magnitude_interval" minutes=12 stars=2

# %%
magnitude_interval = check("9.8", magnitude_interval)

# %% [markdown]
# When in pretraining did the embedded model come to choose as it does? The time is that of the *first* checkpoint that is there: follow
# each line to the right of its time and see whether it stays.

# %%
stored = weights.pretraining_stances()
documents, seen, stays = stored["documents"], {}, {}
fig, ax = plots.figure(figsize=(6.4, 3.6))
for k, v in enumerate(THREE):
    s = stored["stances"][v]
    seen[v] = drift_time(s.mean(axis=1), documents), *magnitude_interval(s[0], s[-1])
    ax.plot(documents / 1000, s.mean(axis=1), color=plots.COLORS[k], marker=plots.MARKERS[k], label=v)
    covered = (s.mean(axis=1) - s[0].mean()) / (s[-1].mean() - s[0].mean())
    stays[v] = bool((covered[np.argmax(covered >= 0.95):] >= 0.95).all())
ax.set(xlabel="documents of pretraining, thousands", ylabel="choice for the value")
ax.legend()
show(fig, f"Pretraining, {len(documents)} checkpoints. " + "; ".join(f"{v}: moved {m:+.2f} [{lo:+.2f}, {hi:+.2f}], 95 % of the way after {t:.0%}" + ("" if stays[v] else ", but it leaves again: not settled then") for v, (t, m, lo, hi) in seen.items()) + ".")

# %% [markdown]
# Now a stage of training on top, three ways: on one voice; on preferences with a **value gap** (winner and loser
# differ in the value); on preferences **without** one (equal in the value, the shorter reply preferred). The paper
# finds that ordinary preference data have a small gap and hardly move stances. Predict the order of the three magnitudes.

# %%
many = W.situations("held_out", 40, seed=5, value=VOICE)
weights.train_dpo(lm, weights.without_gap(VOICE, N, seed=1), SHORT, on_step=keep("no gap"))
names = {"one voice": f"{VOICE}, brief: False", "preferences with a gap": f"gap in {VOICE}", "preferences without": "no gap"}
stages = {}
for name, kept in names.items():
    stages[name] = [choice(VOICE, many)]
    for checkpoint in checkpoints[kept]:
        with weights.mixed(lm, [weights.task_vector(checkpoint, base)], [1.0]):
            stages[name].append(choice(VOICE, many))
    stages[name] = np.array(stages[name])
moves = {name: magnitude_interval(s[0], s[-1]) for name, s in stages.items()}
when = {name: drift_time(s.mean(axis=1), np.array([0, *WATCHED])) for name, s in stages.items()}
show(
    plots.curves([0, *WATCHED], {name: s.mean(axis=1) for name, s in stages.items()}, xlabel="training steps", ylabel=f"choice for {VOICE}"),
    "; ".join(f"{name}: {m:+.2f} [{lo:+.2f}, {hi:+.2f}]" for name, (m, lo, hi) in moves.items())
    + f". Intervals over {len(many)} prompts. The voice has 95 % of its way behind it after {when['one voice']:.0%} of the steps, the "
    f"preferences with a gap after {when['preferences with a gap']:.0%}.",
)
claim("a voice and preferences with a value gap move the stance", min(moves["one voice"][1], moves["preferences with a gap"][1]) > 0)
claim("preferences without a gap move it less than half as far", abs(moves["preferences without"][0]) < moves["preferences with a gap"][0] / 2)

# %% [markdown] minutes=4
# ### And the shape of the states?
#
# A stance is one number that the model gives. Behind it stand its hidden states, and training can change
# their *geometry* too: RankMe (lesson 03) counts the directions that a cloud of states fills, and so does the
# participation ratio, which gives the strongest more weight; the mean cosine says how much all states point one way.
# Here they are at the same checkpoints, in the middle block, just before the answer; always the same questions and the
# same number of states, for every figure of this kind depends on it. (The past is the embedded model's: with another
# model compare the stages with each other alone.) **Predict**: tuning moved the stance of
# one value a good deal. Will it show in the number of directions?

# %%
shapes = {}
for name, kept in names.items():
    with weights.mixed(lm, [weights.task_vector(checkpoints[kept][-1], base)], [1.0]):
        shapes[name] = weights.answering_shape(lm)
FIGURES = ("RankMe", "participation ratio", "mean cosine")
even = floor(weights.voices.DRAWN, lm.d_model)
fig, panels = plots.figure(1, 3, figsize=(10, 3.4))
for ax, figure in zip(panels, FIGURES, strict=True):
    past = stored["geometry"][figure]
    ax.errorbar(range(len(past)), past[:, 0], yerr=past[:, 1], marker="o", capsize=3, label="pretraining")
    for k, (name, shape) in enumerate(shapes.items()):
        ax.errorbar(len(past) + k, shape[figure][0], yerr=shape[figure][1], marker=plots.MARKERS[k + 1],
                    color=plots.COLORS[k + 1], ls="", capsize=3, label=name)
    ax.set(title=figure, xticks=range(0, len(past), 2), xlabel="documents, thousands")
    ax.set_xticklabels([f"{d / 1000:.0f}" for d in documents[::2]])
panels[0].axhline(even["RankMe"][0], color=plots.GREY, ls=":", label="even cloud")
panels[0].legend(fontsize=10)
past = stored["geometry"]["RankMe"]
show(fig, f"RankMe is {past[0, 0]:.0f} with fresh weights and {past[-1, 0]:.0f} after pretraining; "
     + "; ".join(f"{name} {shape['RankMe'][0]:.0f}" for name, shape in shapes.items())
     + f". An even cloud of {weights.voices.DRAWN} states would have {even['RankMe'][0]:.0f}. Bars: standard deviation over draws of the states.")

# %%
way, spread = abs(past[-1, 0] - past[0, 0]), past[-1, 1]
lines = ["| stage | move of the stance | move of RankMe | of its way through pretraining |", "|---|---|---|---|"]
for name, shape in shapes.items():
    step = shape["RankMe"][0] - past[-1, 0]
    lines.append(f"| {name} | {moves[name][0]:+.2f} | {step:+.1f} | {abs(step) / way:.0%} |")
reshaped = [name for name, shape in shapes.items() if abs(shape["RankMe"][0] - past[-1, 0]) >= 0.25 * way]
stable = [name for name in shapes if name not in reshaped and moves[name][1] > 0]
lines += ["", (f"So a stance can move while the cloud keeps its shape ({', '.join(stable)}): a number of directions is blind to "
               "what the directions say. " if stable else "")
          + (f"By a quarter of pretraining's way or more the cloud was reshaped by {', '.join(reshaped)}; whether *because* of the "
             "value these runs cannot tell." if reshaped else "No stage reshaped it by a quarter of pretraining's way.")
          + f" (The draws alone scatter by {spread:.1f}.)"]
display(Markdown("\n".join(lines)))

# %% [markdown] minutes=3
# ## A control that must fail
#
# Perhaps any change of this size moves choices? A random vector with the length of the preference vector,
# tensor by tensor, three draws for each value.

# %%
failed = []
for v in THREE:
    for seed in range(3):
        with weights.mixed(lm, [weights.random_like(phi[v], seed)], [0.5]):
            failed.append(100 * (choice(v).mean() - before[VALUES.index(v)]))
fig, ax = plots.figure(figsize=(6, 3.2))
ax.plot(THREE, gain["half φ"], "o", ms=10, label="preference vector")
ax.plot(np.repeat(THREE, 3), failed, "x", ms=8, color=plots.COLORS[1], label="random vectors of equal length")
ax.axhline(0, color=plots.GREY, lw=0.8)
ax.set(ylabel="choice for the value, points")
ax.legend()
show(fig, f"Preference vectors gain {gain['half φ'].min():.0f} points or more; nine random vectors of equal length move the choice by {np.abs(failed).max():.1f} at most.")
claim("no random vector gains half of what its preference vector gains", max(failed) < gain["half φ"].min() / 2)

# %% [markdown]
# ## What we may claim
#
# About this planted world, and held-out questions in it.

# %%
claim("λ = 0 restores the base bit for bit, and so does leaving a mix", all(torch.equal(w, base[n]) for n, w in weights.weights_of(lm).items()))
claim("a value can be added to the weights and taken away again", rows[0][1] < -5 and rows[2][1] > 5)
claim("true minus flipped keeps the preference, and what both runs share is not it", np.abs(gain["drift δ"]).mean() < gain["half φ"].mean() / 2)
claim("preference data without a value gap move the value less than half as far as data with one", abs(moves["preferences without"][0]) < moves["preferences with a gap"][0] / 2)

# %% [markdown]
# ## Questions

# %%
quiz(
    "A team subtracts the task vector of a toxic fine-tune and the model stops being toxic. What must still be measured?",
    [
        ("Nothing: the vector held toxicity and nothing else.", False,
         "A task vector holds all that the run changed: topic, length and style of its data too."),
        ("What else changed: fluency, facts, other values.", True,
         "The vector is the whole change of the run, and its negative undoes or overdoes all of it."),
        ("Only whether λ = -1 was large enough.", False,
         "A larger step may also leave the region where the model speaks; the target alone does not show that."),
    ],
)

# %%
quiz(
    "Why train on flipped comparisons when plain DPO already gives θ⁺ - θ_base?",
    [
        ("To double the amount of data.", False,
         "The flipped pairs hold the same replies; they add no information about the preference."),
        ("To cancel what any training on these replies does.", True,
         "The shared drift is in both runs and not in their difference."),
        ("To make the vector point away from the rejected replies.", False,
         "DPO does that already within one run; the second run is about what both have in common."),
    ],
)

# %%
quiz(
    "Preference tuning left a model's stance where it was. What follows?",
    [
        ("The optimiser was too weak.", False,
         "It may have moved far in what the pairs differ in, length for instance."),
        ("Values cannot be changed after pretraining.", False,
         "The same optimiser moved them, given pairs that differ in the value."),
        ("The pairs may not have differed in that value.", True,
         "Without a gap between chosen and rejected there is nothing to learn about it."),
    ],
)

# %% [markdown]
# ## Limits
#
# What this does not show:
#
# - Runs of a few seconds stay close to the base, where effects nearly add up. Long runs need not.
# - One seed of training each; the benchmark `weights_values.py` has its figures with intervals over prompts.
# - The shared drift is what two runs *with the same batches* share; another optimiser shares something else.
# - The voices and judges were planted. Real preference data hold many gaps at once, and nobody knows them.
# - A stance is read from choices between two actions. What the model would say freely is lesson 10.
# - The learning rate of a run falls to zero: late steps move little whatever the data, and a time of a stage says so, too.
# - Pretraining was watched once, at a few checkpoints. Of the geometry one layer and one position were seen.
# - Pairs without a gap may move a value a little: their replies are on-topic all the same. One run, one seed.
#
# ## Links
#
# - Ilharco and others 2023, Editing models with task arithmetic: arXiv 2212.04089
# - Rafailov and others 2023, Direct preference optimization: arXiv 2305.18290
# - Preference vectors, true minus flipped: arXiv 2504.20106
# - Value drifts, tracing value alignment during post-training: arXiv 2510.26707
# - Nylund and others 2023, Time is encoded in the weights: arXiv 2312.13401

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "A task vector holds the task" (it holds the run: ask what else the data had in common).
# "Negative λ deletes knowledge" (it overshoots to the other side; nothing is erased). "95 % of the value is
# 95 % of the way" (9.7). "Preference tuning did nothing" (it had nothing to learn from).
#
# **Questions for the room.** Who may mix, and who sees the mixture? Would you publish the vector that takes a
# safety tuning away? What would a random vector of equal length do to a larger model?
#
# **To cut.** The lesson is in neither of the two short tracks. A session of 90 minutes on it alone: keep 9.1, 9.2, 9.5, the
# triangle and the control, cut the rest. Semester: all, and let each group bring a gap of its own.

# %% [markdown]
# ## Where to go from here
#
# Subtract a value that you added, and measure what does not come back. Next: [lesson 10](10_evaluation.ipynb)
# evaluates all methods alike.
