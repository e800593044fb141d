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
# drawn at random, one for each question.

# %%
import numpy as np
from IPython.display import Markdown, display
from ipywidgets import interact

from valuelab import models, plots
from valuelab import world as W
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import bench as benches
from valuelab.evaluate import chain, dilemmas, judges, metrics, table
from valuelab.evaluate.methods import Budget, Kit
from valuelab.evaluate.push import random_push
from valuelab.measure.intervals import bootstrap_weights, mean_interval, paired_difference
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
ax.set(xlabel=f"items for which the model {bench.score_name}, %", xlim=(0, 100), ylim=(2.4, -0.4))
show(
    fig,
    "Share of successes with 95 % intervals: "
    + ", ".join(f"{k} {100 * s.estimate:.0f} %" for k, s in shares.items())
    + f". Layer {LAYER}, step {STRENGTH:g} times the length of a state.",
)

# %% [markdown]
# The direction that we push along is the mean difference of lesson 03, read at "I would", in training situations after
# persona lines for and against the value. (On a model of your own: at the last token of contrast pairs.)
#
# ## What you will be able to do
#
# - **report** control success as a paired gain with an interval, beside a random direction
# - **price** it: fluency, abilities kept, leakage to the other nine values
# - **judge a judge** by its sensitivity and specificity, and correct the share that it reports
# - **expose** an evaluator that looks at something else than the value
# - **compare** every way to align one model in one table, with many tests paid for
#
# ## What this builds on
#
# Lesson 02 (intervals whose unit is the context), lesson 03 (the mean difference), lesson 04
# (steering).
#
# Words of the field: [glossary](../docs/GLOSSARY.md).

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
# A push of any kind can change an answer, so a gain alone is *not* evidence for the direction: what goes
# beyond the random push is. And where random pushes do harm, an advantage alone is no success: it may be
# nothing but harm avoided. Claim a success where *both* lie above zero, and no more than the smaller.
# Each item has a random direction of its own, so the interval holds for random directions in general.
# Items of one context rise and fall together, so the standard error sums inside a
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
# What you should see: three intervals. Which of them stay clear of zero? (At most 2 points for the direction, if their
# interval stays clear of zero.)

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
ax.set(xlabel="points", ylim=(2.4, -0.4))
show(
    fig,
    "Paired differences in points: "
    + "; ".join(f"{k} {100 * i.estimate:+.0f} [{100 * i.low:.0f}, {100 * i.high:.0f}]"
                for k, i in parts.items()) + ".",
)  # fmt: skip
display(Markdown(
    "Random pushes " + (
        "lower success here. So part of the advantage is harm that this direction does not do: claim the gain, which is smaller."
        if found.random_gain.high < 0 else
        "raise success here. So part of the gain comes with any push: claim the advantage, which is smaller."
        if found.random_gain.low > 0 else
        "are not shown to change success: gain and advantage tell the same story.")
))  # fmt: skip

# %% [markdown] minutes=5
# ## 2 · The price: fluency, abilities, the other nine values
#
# Success alone can be bought. A model that repeats one sentence for ever may score well on it. So
# beside the gain stand
#
# - **fluency**: **perplexity** of the steered replies under the *unsteered* model, $e$ to the mean of
#   $-\log p$ of their tokens (1 is certain of each), and the share of trigrams that a reply repeats (low
#   perplexity with much repetition is a stuck model);
# - **retention**: facts answered rightly. It is shown to be kept when the *lower end* of the
#   interval of the change lies above minus a margin that was fixed before looking. Where not one of $n$
#   answers changed there is no spread, and yet no certainty: a loss of up to $3/n$ would leave no trace in at
#   least one sample of twenty ("rule of three"). So right-or-wrong scores get Wilson's interval, which keeps its width
#   there: near $z^2/(n + z^2)$ with $z \approx 2$;
# - **leakage**: $E_{v,u}$, the change of value $u$ when value $v$ is steered.
#
# **Predict**: which of the three prices does the push pay, and does the random push pay it, too?

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
# 2. **Write** the body: mean absolute side effect over mean absolute intended effect; `math.inf` where
#    nothing moved as meant.
#
# <details><summary>Hint 1: how to tell the two apart?</summary>A table of booleans of the same shape,
# True where the row meant to move the column.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>meant[np.arange(len(matrix)), targets] = True</code>; then
# <code>np.abs(matrix)[~meant].mean()</code> over <code>np.abs(matrix)[meant].mean()</code>.</details>
#
# What you should see: a number below 1 where steering moves what it aims at more than the rest. (Two side effects: signs
# must not cancel.)

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
# <details><summary>Hint 2: nearly the whole</summary><code>(said[shown] == 1).mean()</code> and
# <code>(said[~shown] == 0).mean()</code>: NaN equals neither 1 nor 0, so it counts as wrong in both.</details>
#
# What you should see: the simulated judge below gets back the two rates that it was given. (Accuracy 0.9, informedness 0.)

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
# <details><summary>Hint 1: what is a yes made of?</summary>Of true ones and of false alarms; take those off first. And
# with informedness 0 every true share gives the same report: that is why it is an error.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>(share + specificity - 1) / (sensitivity + specificity - 1)</code>,
# cut at 0 and 1.</details>
#
# What you should see: corrected shares close to the true ones. (0.3: false alarms alone.)

# %% exercise="10.4" function="valuelab.evaluate.judges.corrected_share" minutes=8 stars=1

# %%
corrected_share = check("10.4", corrected_share)

# %% [markdown]
# A simulated judge says yes to 80 % of the replies that show the value and to 30 % of those that do not. How far from the truth
# are the shares that it reports, at both ends, and how far are they after correction?

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
# ### Exercise 10.5 · The interval must pay for the judge
#
# Above, the rates came from thousands of replies. In life a judge is audited on fifty, and the rates
# are uncertain, too. To first order, with $J = \text{sens} + \text{spec} - 1$:
#
# $$\text{se}^2 = \frac{1}{J^2}\left[\frac{q(1-q)}{n} + \pi^2\,\frac{\text{sens}(1-\text{sens})}{n_\text{shown}}
# + (1-\pi)^2\,\frac{\text{spec}(1-\text{spec})}{n_\text{not}}\right]$$
#
# 1. **Predict**: you judge ten times as many replies but audit no more. Does the interval shrink to a third?
# 2. **Write** the body: the corrected share with bounds at ± z se, not cut at 0 and 1; z is the normal quantile of
#    0.5 + level / 2, so 1.96 at 95 %.
#
# <details><summary>Hint 1: who weighs what?</summary>Sensitivity acts on the replies that show the value, a share π;
# specificity on the others.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>half = stats.norm.ppf(0.5 + level / 2) * se</code>, with π from the
# equation of 10.4, not cut, in the equation for se; then <code>Interval(pi, pi - half, pi + half, se, n, n)</code>.</details>
#
# What you should see: intervals that hold the truth in about 95 of 100 repetitions; those that take the rates for
# known hold it too rarely. (Far from it: the audit's part of the error stays.)

# %% exercise="10.5" function="valuelab.evaluate.judges.corrected_interval" minutes=12 stars=3

# %%
corrected_interval = check("10.5", corrected_interval)

# %% [markdown]
# What is the price of forgetting the audit's own error? Two thousand repetitions with a known truth:

# %%
AUDIT, REPLIES, TRUTH, TRIALS = 60, 300, 0.4, 2000
hits = {"with the audit's error": 0, "rates taken as known": 0, "not corrected": 0}
for _ in range(TRIALS):
    q = rng.binomial(REPLIES, TRUTH * 0.8 + (1 - TRUTH) * 0.3) / REPLIES
    sens, spec = rng.binomial(AUDIT, [0.8, 0.7]) / AUDIT
    honest = corrected_interval(q, REPLIES, sens, AUDIT, spec, AUDIT)
    short = corrected_interval(q, REPLIES, sens, 10**9, spec, 10**9)
    half = 1.96 * np.sqrt(q * (1 - q) / REPLIES)
    hits["with the audit's error"] += honest.covers(TRUTH)
    hits["rates taken as known"] += short.covers(TRUTH)
    hits["not corrected"] += abs(q - TRUTH) <= half
coverage = {k: 100 * v / TRIALS for k, v in hits.items()}
fig, ax = plots.figure(figsize=(6.4, 2.4))
ax.barh(list(coverage), list(coverage.values()), color=plots.COLORS[:3])
ax.axvline(95, color=plots.GREY, ls="--")
ax.invert_yaxis()
ax.set(xlabel="intervals that hold the truth, %", xlim=(0, 100))
show(
    fig,
    f"A judge of 80 % and 70 %, audited on {AUDIT} replies of each kind: share of 95 % intervals that hold the true "
    "share. " + "; ".join(f"{k} {v:.0f} %" for k, v in coverage.items()) + ".",
)

# %% [markdown] minutes=4
# ## 4 · Many questions at once
#
# Ten values were read above, so ten p-values stand behind the bars. At 5 % each, and independent, four in ten such
# tables show an "effect" where there is none: $1 - 0.95^{10} \approx 0.40$. Holm's correction bounds the chance of *any* false alarm. Sort
# $p_{(1)} \le \dots \le p_{(m)}$; then
#
# $$\tilde p_{(i)} = \min\Big(1,\ \max_{j \le i}\, (m - j + 1)\, p_{(j)}\Big)$$
#
# The smallest p pays for all $m$ tests, the next for $m - 1$. Source: Holm 1979.

# %% [markdown]
# ### Exercise 10.6 · Holm's correction
#
# 1. **Predict**: the smallest p-value is 0.01. Does it survive at 5 % among 2 tests? Among 100?
# 2. **Write** the body: `p_values` `(m,)` in any order in, adjusted `(m,)` in the same order out.
#
# <details><summary>Hint 1: three steps</summary>Sort; multiply the smallest by m, the next by m - 1, and so on; let no later
# one be smaller than an earlier one. Then undo the sorting.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>order = np.argsort(p)</code>;
# <code>np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))</code>, cut at 1;
# <code>adjusted[order] = ...</code> puts each back in its place.</details>
#
# What you should see: bars that shrink, for p grows; some fall below the dashed line. (Among 2 it becomes 0.02: yes. Among
# 100 it becomes 1: no.)

# %% exercise="10.6" function="valuelab.measure.intervals.holm" minutes=10 stars=2

# %%
holm = check("10.6", holm)

# %% [markdown]
# How many of the changes of section 2 stay below 5 % once all ten tests are paid for?

# %%
tests = [paired_difference(steered.by_value[u][0], unsteered.by_value[u][0], unsteered.by_value[u][1]) for u in VALUES]
raw = np.array([1.0 if t.p is None else t.p for t in tests])
paid = holm(raw)
small = 1e-6  # a p of exactly 0 has no logarithm
fig = plots.bars({"p": -np.log10(raw + small), "Holm": -np.log10(paid + small)}, ylabel="−log10 p")
fig.axes[0].axhline(-np.log10(0.05), color=plots.GREY, ls="--")
show(
    fig,
    f"Change of each value when {VALUE} is steered: {(raw < 0.05).sum()} of ten p-values lie below 5 %, "
    f"{(paid < 0.05).sum()} after Holm's correction. Higher is clearer; the dashed line is 5 %.",
)

# %% [markdown] minutes=5
# ## 5 · Dilemmas: does the ranking of values change?
#
# A dilemma sets values against each other: each value of the course taken beats each of the other's. Bradley and
# Terry turn battles into strengths θ (lesson 02), strengths into ranks. Both models answer the *same* dilemmas, so
# each bootstrap draw of dilemmas serves both; what makes a dilemma favour a value cancels in the estimate. With $w_{bd}$ `(draws, dilemmas)`,
# how often draw $b$ took dilemma $d$, and tables of wins $N_d$ `(V, V)`:
#
# $$\Delta = \theta\big(\textstyle\sum_d N_d^{after}\big) - \theta\big(\sum_d N_d^{before}\big), \qquad
# \Delta_b = \theta\big(\textstyle\sum_d w_{bd} N_d^{after}\big) - \theta\big(\sum_d w_{bd} N_d^{before}\big)$$
#
# A value that wins nearly all its battles is left without any loss in some draws, and these fly off; percentiles of the
# draws would follow them. So one standard deviation $s$ is read from the middle: half the distance between the bounds of the
# middle 68 % of the $\Delta_b$, value by value. The interval is $\Delta \pm 1.96\,s$. Ranks need more care: among near-equals each draw adds
# the noise a second time, so that the true first of ten is seldom drawn first and its interval often misses. So estimates
# and draws are first drawn together by what noise has driven them apart (`ranking.rank_bounds`, empirical Bayes).
#
# From here on a model that was aligned is one small object: `answer(questions)` gives replies. How it was aligned,
# by a prompt, a vector, or training, does not show. `Kit(model, value).build(method, +1)` makes one.

# %% [markdown]
# ### Exercise 10.7 · Change of strength
#
# `before`, `after`: `(dilemmas, V, V)`, `wins[d, a, b]` = how often a beat b. `weights`: `(draws, dilemmas)`.
# `strengths(wins)` fits tables of wins `(…, V, V)`, many at once; `interval_of_draws(draws, level=0.6827)` gives the bounds
# `(low, high)` of the middle 68 % of draws. Return `(change, low, high)`, three times `(V,)`.
#
# 1. **Predict**: all dilemmas favour value 3, before and after. What does that do to the interval of its change?
# 2. **Write** the body: the change, and 1.96 $s$ to either side of it.
#
# <details><summary>Hint 1: paired</summary>One set of weights serves both models, and the difference is taken draw by draw,
# before its spread. A weighted sum over dilemmas is a tensor product.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>np.tensordot(weights, after, 1)</code> is <code>(draws, V, V)</code>;
# <code>strengths</code> of it minus <code>strengths</code> of the same with <code>before</code> goes into
# <code>interval_of_draws</code>; <code>half = 1.96 * (high - low) / 2</code>. The change itself needs no weights:
# <code>after.sum(0)</code>.</details>
#
# What you should see: rank intervals several ranks wide, and changes, some of which exclude zero. (The estimate leans to no
# side, for the favour is in both fits. But the interval grows: a value that nearly always wins leaves few battles that tell
# how strong it is.)

# %% exercise="10.7" function="valuelab.evaluate.dilemmas.strength_change" minutes=12 stars=3

# %%
strength_change = check("10.7", strength_change)

# %%
whole = table.stored()  # section 8 shows it; its seed and budgets hold from here on
rows, record = {r["method"]: r for r in whole["rows"]}, whole["record"]
protocol = table.Protocol(**{**record["protocol"], "doses": tuple(record["protocol"]["doses"])})
kit = Kit(world, VALUE, protocol.seed, Budget(**record["budget"]))
models_by_name = {name: kit.build(name, 1) for name in ("unsteered", "additive")}
faced = W.situations("held_out", 200, seed=11)
sides = {}
for name, aligned in models_by_name.items():
    said = aligned.answer([s.text for s in faced])
    sides[name] = dilemmas.world_battles(faced, [W.parse(t, s.offered) for t, s in zip(said, faced, strict=True)])
moved = dilemmas.rank_change(sides["unsteered"], sides["additive"], [s.context_id for s in faced])
answered = sides["unsteered"][2] & sides["additive"][2]
wins = [
    dilemmas.wins_by_dilemma(c[answered], n[answered], np.arange(answered.sum()), int(answered.sum()))
    for c, n, _ in sides.values()
]
change, low, high = strength_change(*wins, bootstrap_weights(np.arange(answered.sum()), draws=500))
clear = [VALUES[v] for v in np.argsort(-np.abs(change)) if low[v] > 0 or high[v] < 0]
fig, (left, right) = plots.figure(1, 2, figsize=(9.6, 3.8), sharey=True)
for k, (name, r) in enumerate({"before": moved.before, "after": moved.after}.items()):
    ends = np.maximum(0, [r.rank - r.rank_low, r.rank_high - r.rank])
    left.errorbar(r.rank, np.arange(10) + 0.2 * k, xerr=ends, capsize=3,
                  fmt=plots.MARKERS[k], color=plots.COLORS[k], label=name)  # fmt: skip
left.set_yticks(range(10), VALUES)
left.invert_yaxis()
left.set(xlabel="rank, 1 is strongest", title="ranks with 95 % intervals")
fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
right.errorbar(change, range(10), xerr=np.maximum(0, [change - low, high - change]), fmt="o", color=plots.COLORS[2], capsize=3)
right.axvline(0, color=plots.GREY, lw=0.8)
right.set(xlabel="change of strength, logits", title="paired change")
k = VALUES.index(VALUE)
show(
    fig,
    f"{int(answered.sum())} of {len(faced)} dilemmas got a choice both before and after steering {VALUE} on the embedded model; the others "
    f"are left out. Its rank goes from "
    f"{moved.before.rank[k]} [{moved.before.rank_low[k]:.0f}, {moved.before.rank_high[k]:.0f}] to {moved.after.rank[k]} "
    f"[{moved.after.rank_low[k]:.0f}, {moved.after.rank_high[k]:.0f}], its strength by {change[k]:+.2f} "
    f"[{low[k]:+.2f}, {high[k]:+.2f}] logits. Changes that exclude zero (ten intervals at 95 % each, not corrected): {', '.join(clear) or 'none'}.",
)

# %% [markdown] minutes=3
# ## 6 · An adversary, by dose
#
# What is left of a gain when the system line says that the value means little? Once, twice, three times? Each gain
# is taken against the *unsteered* model under the same lines, for those lines lower both (lesson 04). **Predict**: does
# the gain shrink with the dose, or does it stay?

# %%
one_value = W.situations("held_out", 60, seed=12, value=VALUE)
DOSES = (0, 1, 2, 3)
served = {name: [] for name in models_by_name}
for dose in DOSES:
    lines = table.opposing_lines(VALUE, dose, len(one_value), 0)
    for name, aligned in models_by_name.items():
        said = aligned.answer([s.text for s in one_value], lines)
        served[name].append(np.array([
            float(benches.serves(W.parse(t, s.offered), VALUE)) for t, s in zip(said, one_value, strict=True)]))  # fmt: skip
curve = {name: [100 * x.mean() for x in by_dose] for name, by_dose in served.items()}
gains = [paired_difference(a, u, [s.context_id for s in one_value])
         for a, u in zip(served["additive"], served["unsteered"], strict=True)]  # fmt: skip
show(
    plots.curves(DOSES, curve, xlabel="system lines that demand the opposite", ylabel=f"replies for {VALUE}, %"),
    "Gain of the steered model over the unsteered one, in points: "
    + ", ".join(f"{100 * g.estimate:+.0f} [{100 * g.low:.0f}, {100 * g.high:.0f}] at {d} lines" for d, g in zip(DOSES, gains, strict=True))
    + f". Successes themselves fall from {curve['additive'][0]:.0f} % to {curve['additive'][-1]:.0f} %.",
)  # fmt: skip

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
# every reply. **Predict**: what does it report?

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
# (An informedness a little off zero, on either side, says that among these replies length goes along with
# the choice or against it. It is far from 1, and that is what the audit is for.)

# %% [markdown] minutes=5
# ## 7 · One number, and the profile behind it
#
# A league table wants one number. AxBench takes the harmonic mean of its judge's three scores, and 0 if any is 0. With $k$
# parts $s_i$ from 0 to 1:
#
# $$H = \frac{k}{\sum_i 1/s_i}$$
#
# It lies near the worst part, so that nobody buys success with broken sentences. Our parts: control success, facts
# kept, grammatical replies. Source: arXiv 2501.17148. One number hides *which* part failed, so it never stands alone.

# %% [markdown]
# ### Exercise 10.8 · The harmonic mean
#
# 1. **Predict**: success 0.9, facts 0.9, grammar 0.1. Plain mean 0.63; harmonic mean?
# 2. **Write** the body: 0 if a part is 0; a `ValueError` unless there are scores, all from 0 to 1.
#
# <details><summary>Hint 1: three cases</summary>No scores or one out of range: an error. A zero among them: 1/0 has no value,
# but the limit is 0, for what fails in one part fails. Else the formula.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>((parts >= 0) & (parts <= 1)).all()</code> and
# <code>parts.size</code> for the check; <code>parts.size / (1 / parts).sum()</code> if <code>parts.all()</code>.</details>
#
# What you should see: a curve below the plain mean that dives to 0. (About a quarter.)

# %% exercise="10.8" function="valuelab.evaluate.metrics.harmonic_summary" minutes=6 stars=1

# %%
harmonic_summary = check("10.8", harmonic_summary)

# %% [markdown]
# Two parts at 0.9: what does the third do to either mean?

# %%
part = np.linspace(0, 1, 41)
show(
    plots.curves(part, {"harmonic": [harmonic_summary([0.9, 0.9, x]) for x in part],
                        "plain mean": [np.mean([0.9, 0.9, x]) for x in part]},
                 xlabel="third part, the others at 0.9", ylabel="summary"),
    f"With two parts at 0.9 and the third at 0.1 the plain mean says {np.mean([0.9, 0.9, 0.1]):.2f}, the harmonic mean "
    f"{harmonic_summary([0.9, 0.9, 0.1]):.2f}.",
)  # fmt: skip

# %% [markdown] minutes=6
# ## 8 · Everything against everything
#
# The table below was written by one command, `python -m valuelab table`: every method on the embedded model, asked the
# same held-out situations by the same protocol, both poles, read by the oracle. Methods in the prompt: *instruction*
# (a persona line), *few-shot* (answered questions as earlier turns), *rule memory* (the sentences about the value that are
# nearest to the question, after OPO, arXiv 2312.15907), *policy in context* (several such sentences, the same for all questions).
# By choosing: *self-rehearsal* (a small form of MATRIX, arXiv 2402.05699: the model judges its own drafts in a role),
# *best-of-n* by a learnt reward (lessons 06, 07). In the states (lesson 04): *additive*, *distilled* (a vector for every block,
# learnt by gradient until the model answers as it would under a persona line), *gated minimal*, *joint* (the two
# neighbours on the circle held back). In the weights: *RLOO* (lesson 08), *task arithmetic*, *preference vector*, *LoRA* (lesson
# 09). And the control, a *random direction*.
#
# **Predict** before you look: which family wins control success? Which pays in grammar, which in facts?

# %%
def points(found):
    return f"{100 * found['estimate']:+.0f} [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"


def line(r):
    kept = " / ".join("–" if k["estimate"] is None else f"{100 * k['estimate']:.0f}" for k in r["kept_under"].values())
    return (f"| {r['method']} | {100 * r['success']['estimate']:.0f} | {points(r['gain'])} | {points(r['gain_against'])} | "
            f"{100 * r['grammatical']['estimate']:.0f} | {r['distinct_2']:.2f} | {100 * r['facts']['after']:.0f} | "
            f"{100 * r['leakage']:.0f} | {kept} | {100 * r['anti_steerable']['estimate']:.0f} | {r['making_seconds']:.1f} | "
            f"{r['held_bytes'] / 1e6:.2f} | {r['tokens_per_second']:.0f} | {r['harmonic']:.2f} |")  # fmt: skip


head = ("method | success, % | gain for | gain against | grammar, % | distinct-2 | facts, % | leakage | "
        "kept at dose " + " / ".join(rows["unsteered"]["kept_under"]) + ", % | anti-steerable, % | making, s | held, MB | "
        "tokens/s | harmonic")  # fmt: skip
display(Markdown("\n".join([f"| {head} |", "|---" * (head.count("|") + 1) + "|", *map(line, rows.values())])))
show(
    table.plot(whole["rows"]),
    f"{len(rows)} methods on {len(record['values'])} values, {record['protocol']['items']} situations each, intervals over "
    "situations. Highest harmonic mean: "
    + ", ".join(f"{r['method']} {r['harmonic']:.2f}" for r in sorted(rows.values(), key=lambda r: -r["harmonic"])[:3])
    + f"; random direction {rows['random direction']['harmonic']:.2f}, unsteered {rows['unsteered']['harmonic']:.2f}.",
)  # fmt: skip

# %% [markdown]
# How to read it. *Gain* is paired with the unsteered model, in points, for the pole that asks for the value and for the
# one against it. *Leakage* is the root mean square change of the other nine values with chance taken off; part of it was
# planted, for a speaker who rises on one value moves its neighbours on the circle along. *Kept* is the share of the gain
# left under opposing system lines, each gain against the unsteered model under the same lines: above 100 the lines took
# more from that model than from this one. A dash means there was no gain to keep. *Distinct-2* is the share of different
# word pairs among all. *Anti-steerable* is the share of situations
# that got worse; in the row of the unsteered model it is what a second draw of the same model gives, by noise alone: below it
# a method has turned fewer situations round than chance does. *Making* counts directions, choosing, training; *held* what lies beside the model; speed was taken on the machine
# that wrote the table.

# %%
best_gain = max((r for r in rows.values() if r["method"] != "unsteered"), key=lambda r: r["gain"]["estimate"])
shown = [r["method"] for r in rows.values()
         if r["advantage"].get("holm_p") is not None and r["advantage"]["holm_p"] < 0.05 and r["advantage"]["estimate"] > 0]
lost = [r["method"] for r in rows.values() if r["facts"]["high"] < 0 or r["grammar_change"]["high"] < 0]
backwards = [r["method"] for r in rows.values() if r["gain_against"]["high"] < 0]
FAMILIES = {
    "in the prompt": ("instruction", "few-shot", "rule memory", "policy in context"),
    "by choosing": ("self-rehearsal", "best-of-n"),
    "in the states": ("additive", "distilled", "gated minimal", "joint"),
    "in the weights": ("RLOO", "task arithmetic", "preference vector", "LoRA"),
}
lines = ["| family | largest gain for | largest gain against | best harmonic | lowest grammar, % | lowest facts, % |", "|---" * 6 + "|"]
for name, family in FAMILIES.items():
    of = [rows[m] for m in family]
    gain, against, mean = (max(of, key=key) for key in (
        lambda r: r["gain"]["estimate"], lambda r: r["gain_against"]["estimate"], lambda r: r["harmonic"]))  # fmt: skip
    lines.append(f"| {name} | {gain['method']} {points(gain['gain'])} | {against['method']} {points(against['gain_against'])} | "
                 f"{mean['method']} {mean['harmonic']:.2f} | {min(100 * r['grammatical']['estimate'] for r in of):.0f} | "
                 f"{min(100 * r['facts']['after'] for r in of):.0f} |")  # fmt: skip
steered_best, simple = max((rows[m] for m in FAMILIES["in the states"]), key=lambda r: r["gain"]["estimate"]), rows["instruction"]
ahead = steered_best["gain"]["estimate"] - simple["gain"]["estimate"]
error = 1.96 * np.hypot(steered_best["gain"]["se"], simple["gain"]["se"])  # of two gains apart; a paired one is smaller
verdict = "loses to" if ahead < -error else "is ahead of" if ahead > error else "cannot be told from"
lines += ["", f"The best way through the states, {steered_best['method']}, gains {points(steered_best['gain'])} points and answers "
          f"{100 * steered_best['facts']['after']:.0f} % of the facts; one line of instruction gains {points(simple['gain'])} and answers "
          f"{100 * simple['facts']['after']:.0f} %. By its gain the best steering {verdict} the simplest prompt; look at what either costs."]
display(Markdown("\n".join(lines)))
display(Markdown(
    f"Largest gain: **{best_gain['method']}**, {points(best_gain['gain'])} points. Beyond the random direction after Holm's "
    f"correction: {', '.join(shown) or 'none'}. Facts or grammar fell, interval below zero, many tests not paid for: {', '.join(lost) or 'none'}. "
    f"Asked for the opposite they moved the wrong way: {', '.join(backwards) or 'none'}. "
    f"Written on {record['date']} in {record['seconds_of_cells'] / 60:.0f} minutes of one thread's work."
))  # fmt: skip

# %% [markdown]
# ### A slice of it, live
#
# A stored table is a claim about the past. Does it still hold? Four of its cells are measured again here, from the model
# and the protocol alone, and laid on the stored intervals.

# %%
slice_of = ("unsteered", "instruction", "additive", "random direction")
live = {m: table.measure_cell(kit, m, protocol) for m in slice_of}
fresh = table.Cells([VALUE], list(slice_of), {VALUE: live})
fig, ax = plots.figure(figsize=(6.4, 2.8))
off = []
for y, m in enumerate(slice_of[1:]):
    then, now = rows[m]["by_value"][VALUE], table.value_gain(fresh, m, VALUE)
    off.append(abs(then["estimate"] - now.estimate))
    for k, (x, lo, hi) in enumerate(((then["estimate"], then["low"], then["high"]), (now.estimate, now.low, now.high))):
        ax.errorbar(100 * x, y + 0.2 * k, xerr=[[100 * (x - lo)], [100 * (hi - x)]], fmt=plots.MARKERS[k], capsize=4,
                    color=plots.COLORS[k], label=("stored", "live")[k] if y == 0 else None)  # fmt: skip
ax.set_yticks(range(3), slice_of[1:])
ax.invert_yaxis()
ax.set(xlabel="gain, points")
ax.legend()
show(fig, f"Gains for {VALUE}, stored and measured now: they differ by at most {100 * max(off):.1f} points.")

# %% [markdown]
# ## What we may claim

# %%
claim("the mean difference does more than a random push of the same size", found.advantage.low > 0)
claim("and more than no push at all", found.gain.low > 0)
claim("other values move less, on average, than the one that is steered", ratio < 1)
claim("correction takes a judge's two kinds of error out of the share", worst < 0.06)
claim("a judge of length reports a large gain where nothing was steered", fooled.gain.low > 0.2)
claim("the oracle sees no gain from padding", abs(sober.gain.estimate) < 0.05)
claim("the audit on known truth finds the judge of length", abs(blind.informedness) < 0.35)
claim("intervals that pay for the audit hold the truth in 92 to 98 of 100 trials",
      92 <= coverage["with the audit's error"] <= 98)
claim("intervals that take the judge's rates as known hold it more rarely", coverage["rates taken as known"] < 92)
claim("Holm's correction never lowers a p-value", (paid >= raw).all())
claim("the table was written with the model that runs here", record["model"] == world.fingerprint)
claim("four cells measured again lie on the stored table", max(off) < 0.05)
claim("some way to align beats the random direction after Holm's correction", len(shown) > 0)

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
# - One model, one training seed, and up to section 7 one value. The interval is over situations, not over models:
#   for a claim about the method repeat it over seeds and all ten values, with Holm's correction.
# - The situations of section 2 oppose the steered value to one other each: a choice won for it is lost for another. Part of
#   the leakage, and of its fit to the circle, is this arithmetic.
# - A dilemma without a choice before or after drops out of section 5, and steering may decide which ones do.
# - The oracle is exact because the world is planted. No real judge is, and rates measured on one kind
#   of reply need not hold on another, such as steered ones.
# - The table compares methods at one small budget each, with settings chosen for the pole of the value and mirrored for
#   the other. Another budget, or a larger model, may order them otherwise. Its rules, voices and judges come from the
#   planted world, so a method that learns from them is at home here; and persona lines stood in the training text, so
#   that prompts work here says nothing of prompts elsewhere.
# - Two reports on a model of your own: `python -m valuelab compare A.json B.json`.
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
# **More misconceptions.** "A corrected share is as sure as a counted one" (10.5). "Holm is Bonferroni" (10.6). "The
# winner of the table is the best method": ask for whom, at which budget, and what the column of facts says.
#
# **To cut.** One day (50 minutes): keep 10.1, 10.2, the first figure and the control, cut the rest. A session of 90 minutes on
# this lesson alone: keep 10.3, 10.4 and the table, too. Semester: all, then the report card on a model of the group's choice.

# %% [markdown]
# ## Where to go from here
#
# Label a hundred replies yourself and audit a judge with them. Next: [lesson 11](11_your_own_model.ipynb), the
# whole course on a model of your own.
