# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 10 · Evaluation
#
# {{minutes}}
#
# We push a model towards a value and its answers change. Does that mean that the direction *is* the
# value? Watch the third mark of the figure: the same model, pushed just as hard, in directions
# drawn at random.

# %%
import numpy as np
from ipywidgets import interact

from valuelab import models, plots
from valuelab import world as W
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import bench as benches
from valuelab.evaluate import chain, judges, metrics
from valuelab.evaluate.push import random_push
from valuelab.measure.intervals import mean_interval
from valuelab.probes import Probe
from valuelab.steering.controller import steer
from valuelab.steering.plan import Shift
from valuelab.values import VALUES

plots.use()
VALUE = "achievement"
lm = models.load()
bench = benches.choose_bench(lm, items=120, seed=0)
states = chain.Reader(lm, bench, None)


def vector_shift(layer, strength):
    """One step along the mean difference; strength 1 is as long as the states themselves."""
    v = states.difference(VALUE, layer)
    probe = Probe(v / v.norm(), layer=layer, value=VALUE, method="mean difference")
    return Shift(probe, "add", strength=strength * states.length(VALUE, layer))


def answers_under(context):
    with context:
        return bench.ask(VALUE)


# layer and strength are chosen on items of their own, never on those that we report
before = bench.quick(VALUE)
tried = {}
for layer in chain.layers_to_try(lm.n_layers):
    for strength in chain.STRENGTHS:
        with steer(lm, vector_shift(layer, strength)):
            tried[layer, strength] = bench.quick(VALUE)
sound = {k: q for k, q in tried.items() if bench.form_is_kept(before, q)} or tried
LAYER, STRENGTH = max(sound, key=lambda k: sound[k].score.mean())
shift = vector_shift(LAYER, STRENGTH)

unsteered = bench.ask(VALUE)
steered = answers_under(steer(lm, shift))
random = answers_under(random_push(lm, shift, seed=1, group=bench.rows_per_item))

conditions = {"unsteered": unsteered, "steered": steered, "random": random}
shares = {k: mean_interval(a.success, a.contexts) for k, a in conditions.items()}
fig, ax = plots.figure(figsize=(6.4, 2.6))
for row, found in enumerate(shares.values()):
    ax.errorbar(100 * found.estimate, row, color=plots.COLORS[row], marker=plots.MARKERS[row],
                xerr=[[100 * (found.estimate - found.low)], [100 * (found.high - found.estimate)]],
                markersize=9, capsize=4)  # fmt: skip
ax.set_yticks(range(3), list(shares))
ax.invert_yaxis()
ax.set(xlabel=f"items for which the model {bench.score_name}, %", xlim=(0, 100))
show(
    fig,
    "Share of successes with 95 % intervals: "
    + ", ".join(f"{k} {100 * s.estimate:.0f} %" for k, s in shares.items())
    + f". Layer {LAYER}, step {STRENGTH:g} times the length of a state.",
)

# %% [markdown]
# ## What you will be able to do
#
# - **report** control success as a paired gain with an interval, beside a random direction
# - **price** it: fluency, abilities kept, leakage to the other nine values
# - **judge a judge** by its sensitivity and specificity, and correct the share that it reports
# - **expose** an evaluator that looks at something else than the value
#
# ## What this builds on
#
# Lesson 02 (intervals whose unit is the context), lesson 03 (the mean difference), lesson 04
# (steering).

# %% [markdown] minutes=5
# ## 1 · Control success is a paired difference
#
# Every item $i$ is answered three times: as the model is, $s_i^0$; steered, $s_i^v$; pushed as hard
# in a random direction, $s_i^r$. Scores are 1 or 0. All three share the item, so what makes an item
# easy cancels in a difference:
#
# $$\text{gain} = \frac1n \sum_i (s_i^v - s_i^0), \qquad
# \text{advantage} = \frac1n \sum_i (s_i^v - s_i^r)$$
#
# A push of any kind can change an answer. So the gain is *not* evidence for the direction: only the
# advantage is. Items of one context rise and fall together, so the standard error sums inside a
# context before it squares (lesson 02). An empty or unreadable reply is a failure, not a gap.
#
# Source: the control success rate of ConVA, arXiv 2507.11316; clustered errors, arXiv 2411.00640.

# %% [markdown]
# ### Exercise 10.1 · Control success
#
# `unsteered`, `steered`, `random` are scores `(n,)` of the same items; `contexts` are labels `(n,)`.
# `paired_difference(a, b, contexts)` gives the mean of `a − b` as an `Interval`.
#
# 1. **Predict**: the random push lifts success by 10 points and the direction by 12. What have you
#    shown?
# 2. **Write** the body: three intervals, one `ControlSuccess`.
#
# <details><summary>Hint 1: which is which?</summary>Each name says what is taken from what: the gain
# takes the unsteered scores away, the advantage those of the random direction.</details>
#
# <details><summary>Hint 2: the whole shape</summary><code>return ControlSuccess(gain=paired_difference(steered,
# unsteered, contexts), random_gain=..., advantage=...)</code></details>
#
# What you should see: three intervals; the one of the advantage stays clear of zero here.

# %% exercise="10.1" function="valuelab.evaluate.metrics.control_success" minutes=10 stars=2

# %%
control_success = check("10.1", control_success)

# %%
found = control_success(unsteered.success, steered.success, random.success, unsteered.contexts)
parts = {"gain": found.gain, "gain of the random push": found.random_gain, "advantage": found.advantage}
fig, ax = plots.figure(figsize=(6.4, 2.6))
for row, one in enumerate(parts.values()):
    ax.errorbar(100 * one.estimate, row, color=plots.COLORS[row], marker=plots.MARKERS[row],
                xerr=[[100 * (one.estimate - one.low)], [100 * (one.high - one.estimate)]],
                markersize=9, capsize=4)  # fmt: skip
ax.axvline(0, color=plots.GREY, lw=0.8)
ax.set_yticks(range(3), list(parts))
ax.invert_yaxis()
ax.set(xlabel="points")
show(
    fig,
    "Paired differences in points: "
    + "; ".join(f"{k} {100 * i.estimate:+.0f} [{100 * i.low:.0f}, {100 * i.high:.0f}]"
                for k, i in parts.items()) + ".",
)  # fmt: skip

# %% [markdown] minutes=5
# ## 2 · The price: fluency, abilities, the other nine values
#
# Success alone can be bought. A model that repeats one sentence for ever may score well on it. So
# beside the gain stand
#
# - **fluency**: perplexity of the steered replies under the *unsteered* model, and the share of
#   trigrams that a reply repeats (low perplexity with much repetition is a stuck model);
# - **retention**: facts answered rightly. It is shown to be kept when the *lower end* of the
#   interval of the change lies above a margin that was fixed before looking;
# - **leakage**: $E_{v,u}$, the change of value $u$ when value $v$ is steered.

# %%
for answers in conditions.values():
    bench.score(answers)
kept = metrics.retention(unsteered.ability, steered.ability, margin=chain.MARGIN)
fig, axes = plots.figure(1, 3, figsize=(9, 2.9))
for ax, (label, values) in zip(axes, {
    "perplexity": [a.fluency["perplexity"] for a in conditions.values()],
    "repeated trigrams, %": [100 * a.fluency["repetition"] for a in conditions.values()],
    "abilities, % right": [100 * a.ability.mean() for a in conditions.values()],
}.items(), strict=True):  # fmt: skip
    ax.bar(range(3), values, color=plots.COLORS[:3], hatch=None)
    ax.set_xticks(range(3), list(conditions), rotation=25)
    ax.set_title(label)
show(
    fig,
    "Price of the push. "
    + "; ".join(f"{k}: perplexity {a.fluency['perplexity']:.1f}, repeated trigrams "
                f"{100 * a.fluency['repetition']:.1f} %, right {100 * a.ability.mean():.0f} %"
                for k, a in conditions.items())
    + f". Change of the abilities {100 * kept.change.estimate:+.1f} points "
    f"[{100 * kept.change.low:.1f}, {100 * kept.change.high:.1f}].",
)  # fmt: skip

# %% [markdown]
# ### Exercise 10.2 · One number for leakage
#
# `matrix[v, u]` is the change of value `u` when `v` is steered; `targets[row]` says which column a
# row meant to move (row by row, 0, 1, 2, … if `None`).
#
# 1. **Predict**: one neighbour rises by 0.3 and the opposite falls by 0.3. Is that no side effect?
# 2. **Write** the body: mean absolute side effect over mean absolute intended effect.
#
# <details><summary>Hint 1: how to tell the two apart?</summary>A table of booleans of the same shape,
# True where the row meant to move the column.</details>
#
# <details><summary>Hint 2: when nothing moved as meant</summary>The ratio is infinite:
# <code>math.inf</code>.</details>
#
# What you should see: a number below 1 where steering moves what it aims at more than the rest.

# %% exercise="10.2" function="valuelab.evaluate.metrics.off_target_ratio" minutes=8 stars=2

# %%
off_target_ratio = check("10.2", off_target_ratio)

# %%
row = np.array([(steered.by_value[u][0] - unsteered.by_value[u][0]).mean() for u in VALUES])
chance = np.array([(random.by_value[u][0] - unsteered.by_value[u][0]).mean() for u in VALUES])
ratio = off_target_ratio(row[None], [VALUES.index(VALUE)])
fit = metrics.circle_fit(row, VALUE)
show(
    plots.bars({"steered": row, "random": chance}, ylabel="change of the score"),
    f"Change of each value's score when {VALUE} is steered ({row[VALUES.index(VALUE)]:+.2f} on target). "
    f"Off-target ratio {ratio:.2f}; correlation of the nine side effects with the circle "
    f"{fit.correlation:+.2f}.",
)

# %% [markdown] minutes=5
# ## 3 · Who judges the judge?
#
# An exact parser reads the replies of this small world. Everywhere else a judge is a person or
# another model, and it errs. On replies whose truth is known its errors have two rates:
#
# $$\text{sensitivity} = P(\text{yes} \mid \text{shown}), \qquad
# \text{specificity} = P(\text{no} \mid \text{not shown})$$
#
# Their sum minus 1 is the *informedness*: 1 for the oracle, 0 for a coin, whatever the mixture of
# replies. Accuracy has no such zero. The share $q$ that a judge reports mixes both errors:
#
# $$q = \pi \cdot \text{sens} + (1-\pi)(1-\text{spec})
# \quad\Rightarrow\quad \pi = \frac{q + \text{spec} - 1}{\text{sens} + \text{spec} - 1}$$
#
# Source: Youden 1950; Rogan and Gladen 1978.

# %% [markdown]
# ### Exercise 10.3 · The two rates of a judge
#
# `verdicts` are 1, 0 or NaN (no readable verdict), `truth` is True where the value is shown.
#
# 1. **Predict**: a judge always says "no", and 1 reply in 10 shows the value. Its accuracy? Its
#    informedness?
# 2. **Write** the body. An unreadable verdict is wrong, whatever the truth.
#
# <details><summary>Hint 1: two groups</summary>Look at the replies with truth True alone, then at the
# others alone.</details>
#
# <details><summary>Hint 2: what about NaN?</summary>NaN equals neither 1 nor 0, so
# <code>(said[shown] == 1).mean()</code> already counts it as wrong.</details>
#
# What you should see: the simulated judge below gets back the two rates that it was given.

# %% exercise="10.3" function="valuelab.evaluate.judges.judge_rates" minutes=8 stars=1

# %%
judge_rates = check("10.3", judge_rates)

# %% [markdown]
# ### Exercise 10.4 · What the judge would have said with open eyes
#
# 1. **Predict**: nobody shows the value, and specificity is 0.7. Which share does the judge report?
# 2. **Write** the body: solve the equation above for $\pi$, keep it inside 0 to 1, and raise a
#    `ValueError` where the two rates add up to 1 or less.
#
# <details><summary>Hint 1: first take off the false alarms</summary>$q - (1 - \text{spec})$ is what
# is left of the yes.</details>
#
# <details><summary>Hint 2: why an error?</summary>With informedness 0 every true share gives the same
# report, so nothing can be said about it.</details>
#
# What you should see: corrected shares close to the true ones, with wider intervals than before.

# %% exercise="10.4" function="valuelab.evaluate.judges.corrected_share" minutes=8 stars=1

# %%
corrected_share = check("10.4", corrected_share)

# %%
# replies whose truth is known: the oracle's verdicts on sampled replies of the planted world
world = lm if lm.embedded else models.load(models.EMBEDDED)
world_bench = bench if lm.embedded else benches.PlantedBench(world, items=120, seed=0)
asked = world_bench.situations(VALUE, "report")
replies = unsteered.replies if lm.embedded else world_bench.ask(VALUE).replies


def oracle(texts):
    """1 where a reply chooses the course that serves the value."""
    return np.array([
        float(benches.serves(W.parse(t, s.offered), VALUE)) for t, s in zip(texts, asked, strict=True)
    ])  # fmt: skip


truth = oracle(replies) == 1
rng = np.random.default_rng(0)
TRUE_SENSITIVITY, TRUE_SPECIFICITY = 0.8, 0.7
reported, corrected, shares_shown = [], [], np.linspace(0.05, 0.95, 10)
many = rng.random((10, 4000)) < shares_shown[:, None]
said = np.where(many, rng.random(many.shape) < TRUE_SENSITIVITY,
                rng.random(many.shape) > TRUE_SPECIFICITY).astype(float)  # fmt: skip
rates = judge_rates(said.ravel(), many.ravel())
for line in said:
    reported.append(line.mean())
    corrected.append(corrected_share(line.mean(), rates.sensitivity, rates.specificity))
fig, ax = plots.figure(figsize=(5.2, 4.2))
ax.plot([0, 1], [0, 1], color=plots.GREY, lw=1, label="truth")
ax.plot(shares_shown, reported, "--", color=plots.COLORS[1], marker="s", label="as reported")
ax.plot(shares_shown, corrected, color=plots.COLORS[0], marker="o", label="corrected")
ax.set(xlabel="true share", ylabel="share", xlim=(0, 1), ylim=(0, 1))
ax.legend()
worst = np.abs(np.array(corrected) - shares_shown).max()
show(
    fig,
    f"A judge of sensitivity {rates.sensitivity:.2f} and specificity {rates.specificity:.2f} flattens "
    f"the line; the corrected shares are off by at most {100 * worst:.1f} points.",
)

# %% [markdown]
# ## Try it
#
# Move the strength. Watch where success stops rising and where the price begins.

# %%
grid = (0.0, 0.1, 0.2, 0.4, 0.8, 1.2)
small = benches.choose_bench(lm, items=40, seed=1)
dose = {}
for strength in grid:
    with steer(lm, vector_shift(LAYER, max(strength, 1e-6))):
        one = small.ask(VALUE)
    small.score(one)
    dose[strength] = (100 * one.success.mean(), 100 * one.ability.mean(), one.fluency["perplexity"])

# %% tags=["widget"]
def draw(strength=0.2):
    fig, (left, right) = plots.figure(1, 2, figsize=(8.4, 3.2))
    table = np.array([dose[s] for s in grid])
    left.plot(grid, table[:, 0], color=plots.COLORS[0], marker="o", label="control success")
    left.plot(grid, table[:, 1], "--", color=plots.COLORS[1], marker="s", label="abilities")
    right.plot(grid, table[:, 2], color=plots.COLORS[2], marker="^")
    for ax in (left, right):
        ax.axvline(strength, color=plots.GREY)
        ax.set(xlabel="strength")
    left.set(ylabel="%", ylim=(0, 105))
    left.legend()
    right.set(ylabel="perplexity of the replies")
    success, right_share, perplexity = (np.interp(strength, grid, table[:, k]) for k in range(3))
    show(fig, f"Strength {strength:g}: success {success:.0f} %, abilities {right_share:.0f} %, "
         f"perplexity {perplexity:.1f}.")  # fmt: skip


interact(draw, strength=(0.0, 1.2, 0.1))

# %% [markdown] minutes=4
# ## A control that must fail
#
# An evaluator that only sees length: "yes" if a reply has more words than the median. It looks like
# a judge, and it gives numbers. Now we steer nothing at all and add two sentences of small talk to
# every reply.

# %%
by_length = judges.length_judge(np.median([len(metrics.words(r)) for r in replies]))
PADDING = "I am fine today. It is late."
padded = [f"{r} {PADDING}" for r in replies]
contexts = np.array([s.context_id for s in asked])
nothing = np.zeros(len(replies))
fooled = metrics.control_success(by_length(replies), by_length(padded), by_length(replies), contexts)
sober = metrics.control_success(oracle(replies), oracle(padded), oracle(replies), contexts)
blind = judge_rates(by_length(replies), truth)
seeing = judge_rates(oracle(replies), truth)
fig, (left, right) = plots.figure(1, 2, figsize=(8.4, 3.0))
left.bar([0, 1], [seeing.informedness, blind.informedness], color=plots.COLORS[:2])
left.set_xticks([0, 1], ["oracle", "length"])
left.set(ylabel="informedness", ylim=(-0.3, 1.05))
left.axhline(0, color=plots.GREY, lw=0.8)
right.bar([0, 1], [100 * sober.gain.estimate, 100 * fooled.gain.estimate], color=plots.COLORS[:2])
right.set_xticks([0, 1], ["oracle", "length"])
right.set(ylabel="'gain' from padding, points")
show(
    fig,
    f"Informedness: oracle {seeing.informedness:.2f}, length {blind.informedness:+.2f}. 'Gain' from two "
    f"sentences of small talk: oracle {100 * sober.gain.estimate:+.0f} points, length "
    f"{100 * fooled.gain.estimate:+.0f} points with p = {fooled.gain.p:.0e}.",
)

# %% [markdown]
# The interval of that false gain is short and its p-value tiny. Statistics protect against noise,
# not against measuring the wrong thing. Only the audit on known truth, or a padding test, finds it.

# %% [markdown]
# ## What we may claim

# %%
claim("the mean difference does more than a random push of the same size", found.advantage.low > 0)
claim("other values move less, on average, than the one that is steered", ratio < 1)
claim("correction takes a judge's two kinds of error out of the share", worst < 0.06)
claim("a judge of length reports a large gain where nothing was steered", fooled.gain.low > 0.2)
claim("the oracle sees no gain from padding", abs(sober.gain.estimate) < 0.05)
claim("the audit on known truth finds the judge of length", abs(blind.informedness) < 0.35)

# %% [markdown]
# ## Questions

# %%
quiz(
    "Steering lifts success from 40 % to 55 %. A random push of the same size lifts it to 53 %. "
    "What is shown?",
    [
        ("A gain of 15 points for the direction.", False,
         "Most of it comes with any push: the model was shaken, not steered."),
        ("At most an advantage of 2 points, and the interval decides whether even that.", True,
         "Only what goes beyond the random push is due to the direction."),
        ("Nothing, because random directions should do nothing.", False,
         "They may do something; that is why they are measured and taken off."),
    ],
)

# %%
quiz(
    "Steered replies have half the perplexity of unsteered ones. Is the model more fluent?",
    [
        ("Yes: low perplexity is fluency.", False,
         "A model that repeats one phrase is very predictable, and so has low perplexity."),
        ("No: perplexity must rise under steering.", False,
         "Nothing forces it to; it depends on what is said."),
        ("Not to be said without the repetition and the diversity beside it.", True,
         "Low perplexity with many repeated trigrams is a stuck model."),
    ],
)

# %%
quiz(
    "A judge agrees with people on 90 % of replies, of which 1 in 10 shows the value. A good judge?",
    [
        ("Yes, 90 % is close to perfect.", False,
         "Always saying no agrees as often: accuracy has no zero for a blind judge."),
        ("Cannot be told: ask for sensitivity and specificity.", True,
         "Always saying no has specificity 1 and sensitivity 0, so informedness 0."),
        ("No, a judge must reach 95 %.", False,
         "No fixed accuracy is enough while it can be had by ignoring the replies."),
    ],
)

# %% [markdown]
# ## Limits
#
# What this does not show:
#
# - One model, one training seed, one value. The interval is over situations, not over models: for a
#   claim about the method repeat it over seeds and all ten values, with Holm's correction.
# - The oracle is exact because the world is planted. No real judge is, and rates measured on one kind
#   of reply need not hold on another, such as steered ones.
# - The random control shows that the direction matters, not that it is the best way. Instructions in
#   the prompt are compared in the report card, `python -m valuelab report`.
# - "Abilities" are facts, sums and look-ups of a small world.
#
# ## Links
#
# - ConVA, control success and fluency: arXiv 2507.11316
# - AxBench, steering against its baselines: arXiv 2501.17148
# - Steerability and anti-steerable items: arXiv 2407.12404
# - Error bars for evaluations: arXiv 2411.00640
# - Diversity of generated text, distinct-n: arXiv 1510.03055

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "The random push should do nothing" (1): have it predicted before the first
# figure is shown. "A small p-value means the measurement is right" (the control): the length judge
# has the smallest p of the lesson. "Opposite side effects cancel" (10.2).
#
# **Questions for the room.** Who fixed the margin of five points, and when? Which replies would you
# label to audit a judge, steered or unsteered ones? What would a judge that sees only politeness do?
#
# **To cut.** 90 minutes: 10.1, the first figure and the control. One day: all but 10.4. Semester:
# all, then the report card on a model of the group's choice.

# %% [markdown]
# ## Where to go from here
#
# Label a hundred replies yourself and audit a judge with them. Next: [lesson 11](11_your_own_model.ipynb), the
# whole course on a model of your own.
