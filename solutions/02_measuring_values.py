# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 02 · Measuring values
#
# {{minutes}}
#
# Before values can be steered or trained they must be measured, and a measurement of values is
# easier to fool than it looks. One model, one question, many wordings, and either course named first:
# how far do the points lie from one another, and from what was planted?

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit, logit

from valuelab import models, plots, world
from valuelab.course import check, claim, quiz, show
from valuelab.measure import (
    circle,
    consensus,
    consistency,
    floors,
    judges,
    portrait,
    proofs,
    ranking,
    readout,
    scoring,
    taxonomy,
    utility,
)
from valuelab.measure.profile import value_profile
from valuelab.values import VALUES
from valuelab.world import grammar

plots.use()
lm = models.load()
WORDINGS = grammar.QUESTIONS


def situation(a, b, wording):
    """The planted question between activities `a` and `b`, asked in one wording."""
    text = grammar.with_context(grammar.fill(wording, a, b, "Anna"), None)
    return world.Situation(a, b, text, 1.0, wording, f"{a.id}-{b.id}")


def shares(situations, system=None):
    """P(first activity) in both orders, (n, 2), among the mass on the two activities."""
    return readout.forced_choice(lm, [readout.planted_choice(lm, s, system=system)
                                      for s in situations]).share_a


pair = next(s for s in world.situations("held_out", 200, seed=2)
            if abs(world.choice_probability(s) - 0.7) < 0.05 and s.stakes == 1)
planted = world.choice_probability(situation(*pair.offered, WORDINGS[0]))
asked = shares([situation(*pair.offered, w) for w in WORDINGS])

fig, ax = plt.subplots(figsize=(8, 3.6))
for order, marker, label in ((0, "o", "named first"), (1, "^", "named second")):
    ax.plot(asked[:, order], marker, ms=8, label=f"{pair.first.base}: {label}")
ax.axhline(planted, ls="--", color="0.4", label="planted")
ax.set(xlabel="wording", ylabel="P(choice)", ylim=(0, 1), xticks=range(len(WORDINGS)))
ax.legend(fontsize=10)
show(fig, f"One model, one question: {pair.first.base} or {pair.second.base}? Over {len(WORDINGS)} wordings "
     f"and two orders the answer runs from {asked.min():.2f} to {asked.max():.2f}; the planted "
     f"probability is {planted:.2f}.")

# %% [markdown]
# ## What you will be able to do
#
# - **ask** a model in both orders and separate content from slot
# - **compute** intervals whose unit is the context, and print the null floor beside a score
# - **score** portraits, consistency, utilities and rankings, each with its trap
# - **test** whether values lie on a circle, and know what looks like a circle without being one
# - **refuse** a result whose method was never shown to find nothing where nothing is

# %% [markdown]
# ## What this builds on
#
# Lesson 01 (contexts, and why splits go by context). Everything here is measured on a model whose
# values were planted, so each estimate can be held against the truth. Claims read "the method
# recovers what was planted"; none of them says what a model "values". Its training put questions in all
# these wordings and in either order, so it may hold still where other models do not. Where this lesson
# needs a fault, we plant it: a liking for the first place, answers in bundles, choices without any order.
# New words: [glossary](../docs/GLOSSARY.md).

# %% [markdown] minutes=6
# ## 1 · Two orders, and what lies in the slot
#
# A **forced choice** compares the probabilities of the answers offered, instead of reading what the
# model writes. It puts content A and content B into two **slots**, named first and named second. The
# log-odds of a probability are its **logit**, $\ln\frac{p}{1-p}$. Suppose the model's log-odds are the
# sum of what it makes of the contents and of a liking for the first slot:
#
# $$\text{logit}\,P(A \mid A \text{ first}) = c + s, \qquad
# \text{logit}\,P(A \mid A \text{ second}) = c - s$$
#
# Lesson 00 averaged the two *probabilities*. That is common, and nearly right only where the liking is
# weak: with $c = 1.2$, $s = 3$ they are .99 and .14, which averages to .56, "nearly indifferent", where
# the content alone gives $\sigma(1.2) = .77$. Averaging the *log-odds* returns $c$ exactly, their
# half difference returns $s$, and the chance that the same content wins in both orders says how far
# the answer can be trusted. All arrays are `(items,)`; answers that are neither A nor B are an
# outcome of their own and never become a choice.
# Source: slot bias as a prior on positions, Zheng and others, arXiv 2309.03882.

# %% [markdown]
# ### Exercise 2.1 · Pool the orders
#
# 1. **Predict**: a model always takes the first slot with probability .9, whatever it holds. What is
#    its pooled probability? How often does the same content win in both orders?
# 2. **Write** the body. Return `OrderPooled(pooled, debiased, slot_bias, consistency)`.
#
# <details><summary>Hint 1</summary>Same content in both orders: A twice, or B twice. Each order is
# an independent answer.</details>
#
# <details><summary>Hint 2</summary>A probability of exactly 1 has an infinite logit. Clip to
# 1e-9 and 1 - 1e-9 first.</details>
#
# What you should see: for the model of the prediction .5, and .18. It looks indifferent and is not.

# %% exercise="2.1" function="valuelab.measure.forced.pool_orders" minutes=10 stars=1

# %%
pool_orders = check("2.1", pool_orders)

# %%
p = pool_orders(np.array([0.9]), np.array([0.1]))  # P(A) when A stands first, and when it stands second
print(f"pooled {p.pooled[0]:.2f}, same content in both orders {p.consistency[0]:.2f}")

# %% [markdown] minutes=4
# Now plant a slot bias ourselves. We add $\beta$ to the log-odds of whatever stands first in 120
# questions that the model answered in both orders. Does the pooled answer notice? Do the log-odds find
# it? (Confidence: the probability of the likelier content.)

# %%
items = world.situations("held_out", 120, seed=3)
measured = readout.forced_choice(lm, [readout.planted_choice(lm, s) for s in items])
share = np.clip(measured.share_a, 1e-6, 1 - 1e-6)
own = pool_orders(share[:, 0], share[:, 1])
betas = np.arange(0, 5.5, 0.5)
rows = []
for beta in betas:
    p = pool_orders(expit(logit(share[:, 0]) + beta), expit(logit(share[:, 1]) - beta))
    rows.append((np.maximum(p.pooled, 1 - p.pooled).mean(),
                 np.maximum(p.debiased, 1 - p.debiased).mean(),
                 p.consistency.mean(), p.slot_bias.mean() - own.slot_bias.mean()))
pooled_conf, free_conf, same, found_bias = np.array(rows).T
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
for y, style, label in ((pooled_conf, "o-", "pooled probability"), (free_conf, "s--", "log-odds"),
                        (same, "^:", "same content in both orders")):
    axes[0].plot(betas, y, style, label=label)
axes[0].set(xlabel="injected slot bias (logits)", ylabel="mean confidence / consistency", ylim=(0, 1))
axes[0].legend(fontsize=10)
axes[1].plot(betas, found_bias, "o")
axes[1].plot(betas, betas, "--", color="0.4")
axes[1].set(xlabel="injected slot bias (logits)", ylabel="found")
fig.tight_layout()
show(fig, f"Left: with growing slot bias the pooled answer looks indifferent (confidence "
     f"{pooled_conf[0]:.2f} to {pooled_conf[-1]:.2f}) though nothing about the content changed; order "
     f"consistency gives it away ({same[0]:.2f} to {same[-1]:.2f}). Right: the injected bias is found. "
     f"The model's own slot bias is {own.slot_bias.mean():+.2f} logits; "
     f"{measured.summary.valid:.2f} of the mass is on the two choices.")

# %% [markdown] minutes=5
# ## 2 · The unit is the context
#
# Orders, wordings, samples and seeds of one question are nested inside that question. They rise and
# fall together. The standard error (how far the mean would scatter if everything were asked anew) of a
# mean over $n$ answers $s_i$ in $G$ contexts $g$ is
#
# $$SE = \frac1n \sqrt{\frac{G}{G-1} \sum_g \Big(\sum_{i \in g} (s_i - \bar s)\Big)^2}$$
#
# `scores` and `clusters` are both `(n,)`. Note the order: **sum inside the context, then square**.
# Source: Liang and Zeger 1986; for language models Miller, arXiv 2411.00640.

# %% [markdown]
# ### Exercise 2.2 · A standard error that knows its contexts
#
# 1. **Predict**: every answer is copied eight times. What happens to the textbook standard error,
#    what to this one?
# 2. **Write** the body. Labels may be any strings: `np.unique(..., return_inverse=True)` numbers them.
#
# <details><summary>Hint 1</summary><code>np.bincount(index, weights=...)</code> sums by context.</details>
#
# <details><summary>Hint 2</summary>Subtract the mean over all answers, not the context's own mean:
# within a context deviations from its own mean sum to zero.</details>
#
# What you should see: the textbook error shrinks by the root of eight, this one stays.

# %% exercise="2.2" function="valuelab.measure.intervals.clustered_se" minutes=10 stars=1

# %%
clustered_se = check("2.2", clustered_se)

# %%
once = np.arange(20.0)
eight = np.repeat(once, 8)  # every answer copied eight times
textbook = [x.std(ddof=1) / np.sqrt(len(x)) for x in (once, eight)]
by_context = [clustered_se(once, np.arange(20)), clustered_se(eight, np.repeat(np.arange(20), 8))]
for name, (before, after) in (("textbook", textbook), ("by context", by_context)):
    print(f"{name}: {after / before:.2f} of what it was")

# %% [markdown]
# How wide is the interval of a mean over thirty questions, asked in six wordings each? On the right of the
# figure stand two answers: with the answers as the unit (n), and with the questions (G).

# %%
contexts = world.situations("held_out", 30, seed=4)
asked = [situation(*s.offered, w) for s in contexts for w in WORDINGS[:6]]
first = np.clip(shares(asked), 1e-6, 1 - 1e-6)
score = pool_orders(first[:, 0], first[:, 1]).debiased
context = np.repeat(np.arange(len(contexts)), 6)
naive = score.std(ddof=1) / np.sqrt(len(score))
honest = clustered_se(score, context)
fig, ax = plt.subplots(figsize=(8, 2.8))
ax.plot(context, score, "o", ms=4, alpha=0.6)
ax.errorbar([31.5, 33], [score.mean()] * 2, yerr=[1.96 * naive, 1.96 * honest], fmt="s", capsize=5)
ax.text(31.5, 0.02, "n", ha="center", fontsize=10)
ax.text(33, 0.02, "G", ha="center", fontsize=10)
ax.set(xlabel="context (six wordings each)", ylabel="P(choice)", ylim=(0, 1))
show(fig, f"180 answers to 30 questions. Right: 95 % intervals of the mean, taking answers as the unit "
     f"(n, half width {1.96 * naive:.3f}) and contexts (G, {1.96 * honest:.3f}): "
     f"{honest / naive:.1f} times as wide.")

# %% [markdown] minutes=4
# ### Null floors
#
# A score means little until it stands beside what noise alone gives at the same sample size. Twenty
# flips of a fair coin look 59 % "confident"; ten answers to the same question in two wordings lie at
# a distance of .16 from each other.

# %%
ns = np.array([2, 4, 6, 10, 20, 50, 100, 200])
fig, ax = plt.subplots(figsize=(6.5, 3.2))
ax.plot(ns, [floors.confidence_floor(n) for n in ns], "o-", label="confidence of a fair coin")
ax.plot(ns, [floors.js_floor(n) for n in ns], "s--", label="distance of two equal coins")
ax.set(xscale="log", xlabel="answers per question", ylim=(0, 1))
ax.legend(fontsize=10)
show(fig, f"What noise shows: confidence {floors.confidence_floor(20):.3f} and distance "
     f"{floors.js_floor(20):.3f} at 20 answers, where the truth is .5 and 0.")

# %% [markdown] minutes=5
# ## 3 · Does the answer survive another wording?
#
# Inconsistency over wordings is a distance between answer distributions. We take the Jensen-Shannon
# **distance** in base 2, so that 1 means disjoint:
#
# $$m = \tfrac12(p+q), \qquad d(p,q) = \sqrt{\tfrac12 KL(p\|m) + \tfrac12 KL(q\|m)}$$
#
# `p`, `q` are `(..., k)`, and $KL(p\|m) = \sum_k p_k \log_2 (p_k / m_k)$. Two traps: published code
# calls a library function without a base and gets nats (largest value .833), and calls the distance a
# divergence. And a distance of samples is never zero: subtract the floor of the same $n$. Source: arXiv
# 2407.02996 (value consistency).

# %% [markdown]
# ### Exercise 2.3 · A distance in bits
#
# 1. **Predict**: $d$ for $(1, 0)$ and $(0, 1)$; for $(.5, .5)$ and itself.
# 2. **Write** the body; leading axes broadcast; $0 \log 0 = 0$.
#
# <details><summary>Hint 1</summary><code>np.divide(a, m, out=np.ones_like(a), where=a > 0)</code>
# makes the ratio 1 where the probability is 0, and log 1 is 0.</details>
#
# <details><summary>Hint 2</summary>Compare both with their middle, not with each other: KL(p, q) is
# infinite for disjoint distributions.</details>
#
# What you should see: 1 and 0.

# %% exercise="2.3" function="valuelab.measure.consistency.js_distance" minutes=10 stars=2

# %%
js_distance = check("2.3", js_distance)

# %%
p, q = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [0.5, 0.5]])
for a, b, d in zip(p.tolist(), q.tolist(), js_distance(p, q), strict=True):
    print(f"{a} and {b}: {d:.2f}")

# %%
rng = np.random.default_rng(0)
taken = rng.binomial(10, score.reshape(30, 6))
counts = np.stack([taken, 10 - taken], -1)  # (contexts, wordings, options): ten samples each
model_c = consistency.consistency(counts)
alike = rng.binomial(10, score.reshape(30, 6).mean(1, keepdims=True), (30, 6))
twin_c = consistency.consistency(np.stack([alike, 10 - alike], -1))
fig, ax = plt.subplots(figsize=(6.5, 3))
for k, (name, c) in enumerate((("the model", model_c), ("twin: wording ignored", twin_c))):
    ax.barh(k, c.raw, height=0.5, color=f"C{k}", hatch=("", "//")[k], label=name)
    ax.plot([c.floor] * 2, [k - 0.3, k + 0.3], color="k", lw=2)
ax.set(yticks=[0, 1], yticklabels=["the model", "twin"], xlabel="mean distance over wordings (bar), floor (line)")
found = ("so ten samples show no effect of the wording" if model_c.excess.low <= 0 else
         "so the wording moves its answers, by little or much")
show(fig, f"The model: distance {model_c.raw:.3f}, floor {model_c.floor:.3f}, excess {model_c.excess}, {found}. A twin "
     f"that ignores the wording shows {twin_c.raw:.3f}, all of it floor: excess {twin_c.excess}.")

# %% [markdown] minutes=6
# ## 4 · The same model asked five ways
#
# | | asks | reads |
# |---|---|---|
# | forced choice | which of two courses, both orders | slot-free log-odds for the value |
# | rating | "X matters to me" against "X means little to me" | expected point on a scale |
# | likely replies | how likely ten value-laden replies are | z-scored log-probability **per token** |
# | free replies | "What matters to you?" | share of replies for, less against (the oracle reads them) |
# | advice | free replies to a dilemma | which course the reply takes, if any |
#
# (*z-scored*: less its mean, divided by its standard deviation.) Where a reply has to be read, a **judge**
# reads it; here that is the oracle of lesson 00. Each way ends in a profile: one number a value, of which
# only the order and the proportions compare. They need not agree, and published work finds that they do not: transparent items leak what they measure
# (arXiv 2509.10078). Here the planted profile of the population referees.

# %%
def for_value(value, n, seed):
    """Situations in which exactly one course serves the value, and +1 where it is the first."""
    found = world.situations("held_out", n, seed, value=value)
    return found, np.array([1 if s.first.value == value else -1 for s in found])


def forced_way():
    asked = [(v, s, sign) for v in VALUES for s, sign in zip(*for_value(v, 16, 5), strict=True)]
    first = np.clip(shares([s for _, s, _ in asked]), 1e-6, 1 - 1e-6)
    odds = logit(pool_orders(first[:, 0], first[:, 1]).debiased)
    return value_profile(odds * [sign for *_, sign in asked], [v for v, *_ in asked],
                         [s.context_id for _, s, _ in asked], names=VALUES)


STATEMENTS = [(p.text, m.text) for p, m in zip(grammar.FIRST[:10:2], grammar.FIRST[1:10:2], strict=True)]
ASK_SELF = grammar.ABOUT_SELF


def statement(pattern, noun):
    return " " + grammar.with_context(pattern.format(w=noun), None) + "."


def rating_way():
    """Two-point rating: P(for) against P(against), mapped to -1..1; the noun is the cluster."""
    rows = [(v, n, q, s) for v in VALUES for n in grammar.NOUNS[v][:3] for q in ASK_SELF[:2]
            for s in STATEMENTS]
    prompts = [models.chat(lm, q) for _, _, q, _ in rows]
    choices = [[statement(minus, n), statement(plus, n)] for _, n, _, (plus, minus) in rows]
    found = scoring.score_choices(lm, prompts, choices).log_prob
    rating = [2 * expit(lp[1] - lp[0]) - 1 for lp in found]
    return value_profile(rating, [v for v, *_ in rows], [n for _, n, *_ in rows], names=VALUES)


def reply_way():
    """z-scored log-probability per token of ten replies, one for each value, to each query."""
    queries = [(q, plus, k) for q in ASK_SELF for plus, _ in STATEMENTS for k in range(3)]
    found = readout.reply_log_probs(
        lm, [models.chat(lm, q) for q, *_ in queries],
        [[statement(plus, grammar.NOUNS[v][k]) for v in VALUES] for _, plus, k in queries])
    return portrait.z_profile(np.concatenate(found), list(VALUES) * len(queries),
                              np.repeat(np.arange(len(queries)), 10), VALUES)


def free_way():
    prompts = [models.chat(lm, q) for q in ASK_SELF for _ in range(40)]
    _, found = readout.free_replies(lm, prompts, judges.OracleJudge([None] * len(prompts)),
                                    max_new_tokens=60, seed=1)
    said = np.array([[np.nan] * 10 if j.outcome == "invalid" else [j.expressed.get(v, 0) for v in VALUES]
                     for j in found])
    return taxonomy.expressed_profile(said, VALUES, np.arange(len(prompts)), signed=True)


def advice_way():
    asked = [(v, s, sign) for v in VALUES for s, sign in zip(*for_value(v, 16, 6), strict=True)]
    _, found = readout.free_replies(lm, [models.chat(lm, s.text) for _, s, _ in asked],
                                    judges.OracleJudge([s for _, s, _ in asked]), max_new_tokens=50)
    side = [np.nan if j.score is None else 5 + 5 * j.score * sign
            for j, (*_, sign) in zip(found, asked, strict=True)]
    return value_profile(side, [v for v, *_ in asked], [s.context_id for _, s, _ in asked],
                         names=VALUES, null=5.0)


five = {"forced choice": forced_way(), "rating": rating_way(), "likely replies": reply_way(),
        "free replies": free_way(), "advice": advice_way()}
truth = world.MEAN
# a way that measured nothing (no reply could be read, all alike) is named, and not drawn as a number
ways = {name: p for name, p in five.items() if np.isfinite(p.scores).all() and p.scores.std() > 0}
silent = [f"{name}: {p.outcome}" for name, p in five.items() if name not in ways]
agreement = {name: float(np.corrcoef(p.scores, truth)[0, 1]) for name, p in ways.items()}

# %% [markdown]
# A radar chart is pretty and treacherous: its area depends on the order of the spokes. Here the order
# means something (the circle), and each profile is z-scored so that shapes can be compared.

# %%
def standard(scores):
    return (scores - scores.mean()) / scores.std()


fig = plots.circle({"planted": standard(truth), **{n: standard(p.scores) for n, p in ways.items()}})
show(fig, "Profiles of one model, z-scored. Correlation with the planted profile: "
     + ", ".join(f"{name} {r:.2f}" for name, r in agreement.items())
     + "".join(f"; {line}" for line in silent) + ". Free replies that the oracle could not read: "
     f"{five['free replies'].invalid} of 160; advice without a readable choice: "
     f"{five['advice'].invalid} of 160. Neither was counted as a choice.")

# %% [markdown]
# Do the ways also put the ten values into one **order**? A dash is a value's mean rank. Kendall's W
# measures agreement over all rankings: 1 if they are the same; if they are drawn at random, on average one
# over their number.

# %%
ranks = np.array([(-p.scores).argsort().argsort() + 1 for p in ways.values()])
together = consensus.consensus(ranks, draws=200, permutations=400)
order = together.rank.argsort()
fig, ax = plt.subplots(figsize=(7.5, 3.4))
for k, (row, marker) in enumerate(zip(ranks, "o^svD", strict=False)):
    ax.plot(row[order], marker, label=list(ways)[k], ms=7, alpha=0.8)
ax.plot(together.mean_rank[order], "k_", ms=18, mew=3, label="mean rank")
ax.set(xticks=range(10), ylabel="rank (1 = most)", ylim=(11, 0))
ax.set_xticklabels(np.array(VALUES)[order], rotation=35, ha="right")
ax.legend(fontsize=10, ncols=2, loc="lower left")
show(fig, f"The rankings and their consensus. Agreement (Kendall's W) {together.agreement:.2f}, where random "
     f"rankings give {1 / len(ranks):.2f} on average, p = {together.p_agreement:.3f}; replacing {together.breakdown:.0%} of the rankings by the reverse "
     "would overturn it.")

# %% [markdown] minutes=5
# ## 5 · Portraits, and why scores are centred
#
# A **portrait** describes somebody, and asks: "How much is this person like you?", 1 to 6. People differ
# in how high they answer whatever is asked. So a score is the mean of a value's items less the respondent's mean over **all
# items**:
#
# $$c_v = \overline{x_i}_{i \in v} - \text{MRAT}, \qquad \text{MRAT} = \overline{x_i}_{\text{all } i}$$
#
# `answers` is `(respondents, items)`, 6 = very much like me, nan = invalid. An item may belong to none of
# the values, as those on face and humility in the 57-item form; it counts in MRAT like any other.
# Source: Schwartz's scoring instructions; items here are our own. Our respondents are **personas**: the
# model after a line of lesson 00 that puts one value high or low, three lines each way.
#
# What does centring do to the correlations between values? Compare our personas with respondents who
# say yes to everything and value nothing.

# %% [markdown]
# ### Exercise 2.4 · Centre the portraits
#
# 1. **Predict**: power has one item (answered 6), security three (3, 3, 3). Is power's score
#    2.25 or 1.5?
# 2. **Write** the body. An invalid answer must be left out of both means.
#
# <details><summary>Hint 1</summary>A 0/1 matrix of values by items turns sums over items into one
# matrix product.</details>
#
# <details><summary>Hint 2</summary>Fill nan with 0 for the sums and count valid answers for the
# denominators.</details>
#
# What you should see: 2.25. MRAT is over items (3.75), not over the value means (4.5).

# %% exercise="2.4" function="valuelab.measure.portrait.centred_scores" minutes=12 stars=2

# %%
centred_scores = check("2.4", centred_scores)

# %%
one = centred_scores(np.array([[6.0, 3, 3, 3]]), np.array(["power", *["security"] * 3]), ("power", "security"))
print(f"power {one[0, 0]:.2f}, security {one[0, 1]:.2f}")

# %%
rng = np.random.default_rng(1)
personas = [world.persona_line(v, sign, rng) for v in VALUES for sign in (1, -1) for _ in range(3)]
item_values = np.repeat(VALUES, 4)
nouns = [n for v in VALUES for n in grammar.NOUNS[v][:2]]
statements = [(statement(STATEMENTS[k][1], n), statement(STATEMENTS[k][0], n)) for n in nouns for k in (0, 1)]
prompts = [models.chat(lm, ASK_SELF[1], system=line) for line in personas]
scored = scoring.score_choices(lm, prompts, [[t for pair in statements for t in pair]] * len(prompts))
lp = np.array(scored.log_prob).reshape(len(personas), len(statements), 2)
answers = 1 + 5 * expit(lp[..., 1] - lp[..., 0])  # (60 respondents, 40 items), 1..6
raw = np.stack([answers[:, item_values == v].mean(1) for v in VALUES], 1)
scores = centred_scores(answers, item_values, VALUES)
mean_r = [np.corrcoef(x, rowvar=False)[np.triu_indices(10, 1)].mean() for x in (raw, scores)]
yes = 3.5 + rng.normal(0, 0.8, (400, 1)) + rng.normal(0, 0.4, (400, 40))  # yes-sayers without values
yes_raw = np.stack([yes[:, item_values == v].mean(1) for v in VALUES], 1)
yes_r = [np.corrcoef(x, rowvar=False)[np.triu_indices(10, 1)].mean()
         for x in (yes_raw, centred_scores(yes, item_values, VALUES))]
fig, ax = plt.subplots(figsize=(6, 3))
ax.bar([0, 1], mean_r, width=0.35, label="60 personas")
ax.bar([0.4, 1.4], yes_r, width=0.35, hatch="//", label="400 yes-sayers")
ax.axhline(-1 / 9, ls="--", color="0.4", label="-1 / (k - 1)")
ax.axhline(0, color="k", lw=0.8)
ax.set(xticks=[0.2, 1.2], xticklabels=["raw", "centred"], ylabel="mean correlation of values")
ax.legend(fontsize=10)
show(fig, f"Centring ten scores forces a mean correlation near {-1 / 9:.2f}: the personas go from "
     f"{mean_r[0]:.2f} to {mean_r[1]:.2f}, and yes-sayers who value nothing from {yes_r[0]:.2f} to "
     f"{yes_r[1]:.2f}. Negative correlations after centring are no evidence of opposition.")

# %% [markdown] minutes=5
# ## 6 · Is it a circle?
#
# The theory predicts an **order**: the nearer two values on the circle, the higher their correlation
# over respondents. Over all pairs of pairs whose predicted distances differ, count
#
# $$CI = \frac{A - D}{A + D + T}$$
#
# ($A$ predictions kept, $D$ broken, $T$ ties; 800 for ten values.) The p-value permutes the *labels*,
# so the level of the correlations, negative or not, cannot help. `correlations` and `distance` are
# `(k, k)`. Source: Hubert and Arabie 1987; Rounds and others 1992 (RTHOR).
#
# Two pictures go with it. An **ordinal map** puts the ten values into the plane so that their distances
# rank as the correlations do; *stress* is what that costs, 0 if nothing. A **cosine fit**
# $r_{ij} \approx b_0 + b_1 \cos(\theta_i - \theta_j)$ gives the circle's *size* $b_1$: 0 without a circle, near 1
# where opposite values exclude each other.

# %% [markdown]
# ### Exercise 2.5 · The correspondence index
#
# 1. **Predict**: CI of a matrix whose off-diagonal entries are all equal.
# 2. **Write** the body: upper triangles first, then every pair of pairs at once.
#
# <details><summary>Hint 1</summary><code>np.nonzero(d[:, None] &lt; d[None, :])</code> lists all
# (nearer, farther).</details>
#
# <details><summary>Hint 2</summary><code>np.sign</code> of the difference is +1, -1 or 0, which is
# A, D or T; the index is its mean.</details>
#
# What you should see: 0, all ties.

# %% exercise="2.5" function="valuelab.measure.circle.correspondence" minutes=12 stars=2

# %%
correspondence = check("2.5", correspondence)

# %%
print(f"all correlations equal: {correspondence(np.full((10, 10), -1 / 9), circle.circular_distance(10)):.2f}")

# %%
r_model = circle.profile_correlations(scores)
test_model = circle.circle_test(r_model)
size, r2 = circle.cosine_fit(scores, clusters=np.arange(60) // 3, draws=200)
points, stress = circle.ordinal_map(r_model)
fig, ax = plt.subplots(figsize=(5.6, 5))
ax.plot(*np.append(points, points[:1], 0).T, "-", color="0.8")
for (x, y), v in zip(points, VALUES, strict=True):
    ax.plot(x, y, "o", color="C0")
    ax.annotate(v, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=10)
ax.set(aspect="equal", xticks=[], yticks=[])
show(fig, f"Ordinal map of the model's 60 personas (stress {stress:.2f}), turned to face the theory. "
     f"{test_model}. Cosine fit: size {size}, R² {r2:.2f}.")
claim("the predictions kept equal the index of exercise 2.5",
      abs(correspondence(r_model, circle.circular_distance(10)) - test_model.index) < 1e-9)

# %% [markdown] minutes=6
# ## 7 · Utilities
#
# If choices come from utilities that vary from moment to moment, $U(o) \sim N(\mu_o, \sigma_o^2)$, then
#
# $$P(x \succ y) = \Phi\!\left(\frac{\mu_x - \mu_y}{\sqrt{\sigma_x^2 + \sigma_y^2 + 10^{-5}}}\right)$$
#
# with $\Phi$ the normal distribution function, and a mean $\mu_o$ and spread $\sigma_o$ for each option $o$
# (Thurstone; arXiv 2502.08640). Pairs that were asked about are **edges** between options. A fit always
# succeeds, on noise too. So: hold out edges **before** asking, put the floors beside the accuracy
# (arbitrary choices reach well above one half on the fitted edges), and look for cycles: a over b, b over c, c over a.

# %% [markdown]
# ### Exercise 2.6 · Thurstone's probability
#
# 1. **Predict**: both variances double. Does the probability move towards .5 or away?
# 2. **Write** the body: one line for the spread, one for the probability (`ndtr` is Φ).
#
# <details><summary>Hint 1</summary>Variances of independent draws add; standard deviations do not.</details>
#
# <details><summary>Hint 2</summary>The 1e-5 keeps two certain, equal options from 0 / 0.</details>
#
# What you should see: towards .5.

# %% exercise="2.6" function="valuelab.measure.utility.thurstone_probability" minutes=8 stars=1

# %%
thurstone_probability = check("2.6", thurstone_probability)

# %%
for variance in (1.0, 2.0):
    p = thurstone_probability(np.array(1.0), np.array(0.0), np.array(variance), np.array(variance))
    print(f"utilities 1 and 0, both variances {variance:.0f}: {p:.2f}")

# %% [markdown]
# ### Exercise 2.7 · How often do three choices go round?
#
# Given $P(a \succ b)$, $P(b \succ c)$ and $P(c \succ a)$, return the chance that three independent
# choices form a circle, either way. Shapes `(...)`.
#
# 1. **Predict**: for three fair coins; for a model that always takes the first slot and is asked
#    about (a, b), (b, c) and (a, c), in one order only.
# 2. **Write** one line.
#
# <details><summary>Hint 1</summary>There are two circles: a, b, c and the reverse.</details>
#
# <details><summary>Hint 2</summary>The two exclude each other, so their chances add.</details>
#
# What you should see: .25 for coins. The slot lover shows **no** circle at all: coherence is not values.

# %% exercise="2.7" function="valuelab.measure.utility.soft_cycle" minutes=6 stars=1

# %%
soft_cycle = check("2.7", soft_cycle)

# %%
coins, slot = soft_cycle(*np.full((3, 1), 0.5)), soft_cycle(*np.array([[1.0], [1.0], [0.0]]))
print(f"fair coins {coins[0]:.2f}, a lover of the first slot {slot[0]:.2f}")

# %% [markdown]
# Now ask the model about 60 activities. Watch the crosses: these activities were kept out of every
# question of the training. The fit gives them a utility like any other. Is it the planted one?

# %%
N = 60
options = [world.ACTIVITIES[k] for k in np.random.default_rng(2).permutation(300)[:N]]


def model_answer(first, second):
    """Both orders, pooled in log-odds, as 20 fractional answers."""
    asked = [situation(options[i], options[j], WORDINGS[0]) for i, j in zip(first, second, strict=True)]
    p = np.clip(shares(asked), 1e-6, 1 - 1e-6)
    return 20 * pool_orders(p[:, 0], p[:, 1]).debiased, np.full(len(first), 20.0)


def arbitrary_answer(first, second, rng=np.random.default_rng(3)):  # noqa: B008 - one stream
    """Firm choices with no order behind them."""
    return 20.0 * (rng.random(len(first)) < 0.5), np.full(len(first), 20.0)


planted_u = world.utilities(world.MEAN)[[a.id for a in options]]
planted_z = standard(planted_u)  # a fitted utility has no unit of its own: both are compared in z


def planted_speaker(first, second, rng=np.random.default_rng(6)):  # noqa: B008 - one stream
    """Twenty answers of a speaker with exactly the planted mean profile."""
    p = expit(3 * (planted_u[first] - planted_u[second]))
    return rng.binomial(20, p).astype(float), np.full(len(first), 20.0)


fitted = utility.learn_utilities(model_answer, N, held_out=0.1)
by_speaker, *_ = utility.learn_utilities(planted_speaker, N)
r_method = float(np.corrcoef(by_speaker.mu, planted_u)[0, 1])
arbitrary = utility.learn_utilities(arbitrary_answer, N, held_out=0.3, strategy="random",
                                    fit=utility.fit_bradley_terry)
u, train, test = fitted
unasked = np.array([a.held_out for a in options])  # no question of the training named them
r_utility = float(np.corrcoef(u.mu[~unasked], planted_u[~unasked])[0, 1])
r_low = float(np.tanh(np.arctanh(r_utility) - 1.96 / np.sqrt((~unasked).sum() - 3)))
accuracy = {n: [utility.utility_accuracy(f[0], e) for e in f[1:]]
            for n, f in (("the model", fitted), ("arbitrary choices", arbitrary))}
words = np.array([len(a.base) for a in options])
length_r2, length_p = utility.surface_r2(u.mu, words)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
axes[0].plot(planted_z, by_speaker.mu, "^", ms=5, color="C1", label="planted speaker")
for which, fmt, label in ((~unasked, "o", "the model"), (unasked, "x", "the model, not in training")):
    axes[0].errorbar(planted_z[which], u.mu[which], yerr=1.96 * u.se[which], fmt=fmt, ms=5, lw=0.8, color="C0", label=label)
axes[0].legend(fontsize=10)
axes[0].set(xlabel="planted utility (population mean, z)", ylabel="fitted utility (z)")
for k, (on_train, on_test) in enumerate(accuracy.values()):
    axes[1].bar([k - 0.18], [on_train.estimate], width=0.34, color="C0", label="fitted edges" if not k else None)
    axes[1].bar([k + 0.18], [on_test.estimate], width=0.34, color="C1", hatch="//",
                label="held-out edges" if not k else None)
axes[1].axhline(0.5, ls="--", color="0.4")
axes[1].set(xticks=[0, 1], xticklabels=list(accuracy), ylabel="accuracy", ylim=(0, 1.15))
axes[1].legend(fontsize=10, ncols=2)
fig.tight_layout()
show(fig, f"{len(train)} comparisons of {N} activities (of {N * (N - 1) // 2} pairs). Left: correlation with the "
     f"planted utilities: {r_method:.2f} where the planted speaker answers (the method), {r_utility:.2f} where the "
     f"model answers (what it learned; at least {r_low:.2f} with 95 % confidence). The {unasked.sum()} activities that no "
     f"question of its training named were planted {planted_z[unasked].mean() - planted_z[~unasked].mean():+.2f} from the others on "
     f"average and are fitted {u.mu[unasked].mean() - u.mu[~unasked].mean():+.2f} from them, with small errors. Right: held-out accuracy of the model {accuracy['the model'][1]}, of "
     f"arbitrary choices {accuracy['arbitrary choices'][1]} (but {accuracy['arbitrary choices'][0].estimate:.2f} "
     f"on the edges they were fitted to). The model's fitted edges are harder: most were asked because two utilities lay "
     f"close; held-out ones were drawn at random. The length of the wording explains {length_r2:.2f} of the utilities "
     f"(p = {length_p:.2f}).")

# %% [markdown]
# Are three choices coherent? And is coherence a sign of values? The bars compare the model with fair coins
# and with a lover of the first slot, who reads no content at all.

# %%
i, j = np.triu_indices(20, 1)
wins, n20 = model_answer(i, j)
tables = {
    "the model": utility.preference_matrix(utility.Edges(i, j, wins, n20, 20)),
    "fair coins": utility.preference_matrix(utility.Edges(i, j, np.full(190, 10.0), n20, 20)),
    "slot lover, one order": utility.preference_matrix(utility.Edges(i, j, np.full(190, 19.0), n20, 20)),
}
tables["slot lover, both orders"] = tables["fair coins"]
cycles = {name: utility.intransitivity(m).estimate for name, m in tables.items()}
fig, ax = plt.subplots(figsize=(7, 2.6))
ax.barh(list(cycles), list(cycles.values()), color="C0")
ax.axvline(0.25, ls="--", color="0.4")
ax.set(xlabel="soft cycles (.25 = fair coins)")
ax.invert_yaxis()
show(fig, "Chance that three choices go round: " + ", ".join(f"{n} {c:.3f}" for n, c in cycles.items())
     + ". The slot lover, asked in one order, reads no content and still goes round "
     + ("less often than the model." if cycles["slot lover, one order"] < cycles["the model"] else
        "far less often than coins."))

# %% [markdown] minutes=6
# ## 8 · Rankings, with honest intervals beside dishonest ones
#
# A dilemma sets an action that serves some values against one that serves others. Every value of the
# chosen action beats every value of the neglected one. Bradley and Terry turn the table of wins into
# strengths, $P(a \text{ beats } b) = \sigma(\theta_a - \theta_b)$, by maximising
#
# $$\sum_{ab} w_{ab} \log \sigma(\theta_a - \theta_b) - \tfrac{\rho}{2}|\theta|^2$$
#
# where the last term, the **ridge** with its weight $\rho$, keeps strengths finite. This is done
# with Newton's step: gradient $g_a = \sum_b (w_{ab} - n_{ab} p_{ab}) - \rho\theta_a$, information
# $I = \text{diag}(\sum_b n_{ab}p_{ab}(1-p_{ab}) + \rho) - n p (1-p)$, $\theta \leftarrow \theta + I^{-1} g$.
# Wins are `(..., V, V)`. How sure is a ranking? A **bootstrap** draws the dilemmas anew, with replacement,
# many times, ranks each draw and looks at the spread; so it solves many tables at once. Drawing single
# battles instead treats those of one dilemma as independent. Published rankings use Elo ratings, which
# move a little after every game, and shuffle the games for an "interval"; that measures the noise of the
# *order* of the games (arXiv 2505.14633, as its code does it).

# %% [markdown]
# ### Exercise 2.8 · Strengths from a table of wins
#
# 1. **Predict**: a value beat everybody and never lost. What is its strength without the ridge?
# 2. **Write** the body: `[..., :, None] - [..., None, :]` makes all differences; clear the diagonal.
#
# <details><summary>Hint 1</summary><code>np.linalg.solve(info, grad[..., None])[..., 0]</code> solves
# a whole stack.</details>
#
# <details><summary>Hint 2</summary>Clip a step to ±2 so that the first one cannot overshoot; stop when
# it is tiny; subtract the mean at the end.</details>
#
# What you should see: infinite without the ridge, large and finite with it.

# %% exercise="2.8" function="valuelab.measure.ranking.strengths" minutes=20 stars=3

# %%
strengths = check("2.8", strengths)

# %%
sure = np.array([[0.0, 9, 9], [0, 0, 9], [0, 0, 0]])  # the first beat both others, and never lost
for ridge in (1e-1, 1e-3):
    print(f"ridge {ridge:g}: the strongest has {strengths(sure, ridge=ridge)[0]:.1f}")

# %%
dilemmas = world.situations("held_out", 150, seed=7)
served = [np.array([[w > 0 for w in a.weights] for a in s.offered]) for s in dilemmas]
p = np.clip(shares(dilemmas), 1e-6, 1 - 1e-6)
p = pool_orders(p[:, 0], p[:, 1]).debiased
took_first = np.random.default_rng(4).random((150, 12)) < p[:, None]  # twelve samples of each dilemma
row = np.repeat(np.arange(150), 12)
first_v, second_v = (np.array([s[k] for s in served])[row] for k in (0, 1))
took = took_first.reshape(-1, 1)
chosen, neglected = np.where(took, first_v, second_v), np.where(took, second_v, first_v)
by_dilemma = ranking.rank_values(chosen, neglected, row, names=VALUES, draws=300)
by_battle = ranking.rank_values(chosen, neglected, row, names=VALUES, draws=300, resample="battle")
winner, loser, _ = ranking.battles(chosen, neglected)
shuffled = ranking.shuffled_elo_sd(winner, loser, 10, draws=60) / ranking.ELO_PER_LOGIT
order = np.argsort(by_dilemma.strength)
fig, ax = plt.subplots(figsize=(7.5, 4.2))
for shift, (label, se, fmt) in zip((-0.22, 0, 0.22), (
        ("dilemmas resampled", by_dilemma.se, "o"), ("battles resampled", by_battle.se, "s"),
        ("Elo, games shuffled", shuffled, "^")), strict=True):
    ax.errorbar(by_dilemma.strength[order], np.arange(10) + shift, xerr=1.96 * se[order], fmt=fmt, ms=5,
                capsize=3, label=label)
ax.set(yticks=range(10), yticklabels=np.array(VALUES)[order], xlabel="strength (logits)")
ax.legend(fontsize=10)
rank_r = float(np.corrcoef(by_dilemma.strength, truth)[0, 1])
show(fig, f"The same strengths with three intervals. Mean standard error: {by_dilemma.se.mean():.2f} (dilemmas), "
     f"{by_battle.se.mean():.2f} (battles), {shuffled.mean():.2f} (shuffled Elo). Rank of the strongest value: "
     f"{by_dilemma.rank_low[order[-1]]:.0f} to {by_dilemma.rank_high[order[-1]]:.0f}. Correlation with the planted "
     f"profile {rank_r:.2f}.")

# %% [markdown] minutes=4
# ## 9 · Change the wording yourself
#
# Move the wording, the order and the persona, and watch the answer move. Which of the three *should*
# move it? (The persona: it changes who is asked. The others change only how.)

# %%
LINES = {"nobody in particular": None,
         **{f"cares about {grammar.NOUNS[v][0]}": f"You care about {grammar.NOUNS[v][0]}."
            for v in ("security", "stimulation", "benevolence")}}


def draw(wording=0, swapped=False, persona="nobody in particular"):
    """Bars of P(choice) for one wording, order and persona; the dashed line is planted."""
    p = shares([situation(*pair.offered, WORDINGS[wording])], LINES[persona])[0]
    value = {f"cares about {grammar.NOUNS[v][0]}": (v, 1) for v in VALUES}.get(persona)
    goal = world.choice_probability(situation(*pair.offered, WORDINGS[wording]), persona=value)
    p = p[1] if swapped else p[0]
    fig, ax = plt.subplots(figsize=(6, 2.2))
    ax.barh([pair.second.base, pair.first.base], [1 - p, p], color=["C1", "C0"])
    ax.axvline(goal, ls="--", color="k")
    ax.set(xlim=(0, 1), title=f"P({pair.first.base}) = {p:.2f}, planted {goal:.2f}")
    plt.show()


# %% tags=["widget"]
from ipywidgets import interact  # noqa: E402

_ = interact(draw, wording=(0, len(WORDINGS) - 1), swapped=False, persona=list(LINES))

# %% [markdown] minutes=4
# ## A control that must fail
#
# Two worlds in which the method must find **nothing**: speakers of the twin whose ten values are
# independent (no circle), and a questionnaire without values that is asked in circle order with
# carry-over from item to item. The first must be silent. The second is not, and that is the lesson:
# the circle test asks about order, and order can come from the questionnaire.

# %%
def speakers(circle_planted, rng, n=60):
    """Portrait answers of planted speakers, (n, 40), 1..6."""
    profile = world.draw_profiles(n, rng, circle=circle_planted)
    return 1 + 5 * expit(1.5 * np.repeat(profile, 4, 1) + rng.normal(0, 0.5, (n, 40)))


def alarm_rate(make, draws=40):
    rng = np.random.default_rng(5)
    p = [circle.circle_test(circle.profile_correlations(make(rng)), permutations=200, seed=k).p
         for k in range(draws)]
    return float(np.mean(np.array(p) < 0.05))


rates = {
    "circle planted": alarm_rate(lambda r: centred_scores(speakers(True, r), item_values, VALUES)),
    "twin without circle": alarm_rate(lambda r: centred_scores(speakers(False, r), item_values, VALUES)),
    "carry-over, circle order": alarm_rate(lambda r: proofs.ring_scores(r, 60, 0.0, carry=0.6)),
    "carry-over, shuffled order": alarm_rate(
        lambda r: proofs.ring_scores(r, 60, 0.0, carry=0.6)[:, r.permutation(10)]),
}
fig, ax = plt.subplots(figsize=(7, 2.6))
ax.barh(list(rates), list(rates.values()))
ax.axvline(0.05, ls="--", color="k")
ax.set(xlabel="share of 40 worlds with p < .05", xlim=(0, 1))
ax.invert_yaxis()
show(fig, "A circle is reported in " + ", ".join(f"{r:.0%} ({n})" for n, r in rates.items())
     + ". Ask in random order, or the questionnaire's order becomes the value's.")

# %% [markdown] minutes=5
# ### Three proofs for every estimator
#
# An estimator of `valuelab.measure`, those of this lesson among them, is trusted because of three runs
# on planted worlds: its 95 % interval **covers** what was planted; in the **twin** where nothing was
# planted it raises no more than about 5 % alarms; and a **confounded** world fools the naive reading by the amount
# shown, and not the honest one. The table was measured with 200 draws or more (`benchmarks/measure.py
# --proofs`); the test suite repeats it. Two lines are run again here with fewer draws.

# %% tags=["nbval-ignore-output"]
stored = proofs.stored_table()
print(proofs.format_table(stored))
again = proofs.proof_table(draws=60, names=("portraits", "paired difference"))
print("\nrun here, fewer draws\n" + proofs.format_table(again))

# %% [markdown] minutes=3
# ## What we may claim

# %%
claim("an injected slot bias is found to a tenth of a logit", np.abs(found_bias - betas).max() < 0.1)
claim("pooling turned it into indifference, log-odds did not", pooled_conf[-1] < pooled_conf[0] - 0.1 and abs(free_conf[-1] - free_conf[0]) < 0.02)
claim("contexts as the unit make the interval at least half as wide again", honest > 1.5 * naive)
claim("the twin that ignores the wording has no inconsistency beyond its floor", twin_c.excess.low < 0)
# over ten values chance alone reaches a correlation of .63, either way, in 5 of 100 cases
claim("each of the five ways correlates with the planted profile more than chance does at the 5 % level", len(ways) == 5 and min(agreement.values()) > 0.64)
claim("the circle planted in the speakers is found in the model's personas", test_model.p < 0.01)
claim("the twin without a circle is silent", rates["twin without circle"] <= 0.15 and rates["circle planted"] > 0.9)
claim("where the planted speaker answers, the budget recovers the utilities", r_method > 0.95)
claim("where the model was trained on questions, its utilities follow the planted ones: correlation above 0.5 with 95 % confidence", r_low > 0.5)
claim("activities that no training question named get utilities far from the planted ones", abs((u.mu - planted_z)[unasked].mean()) > 1)
claim("the model's fitted utilities predict comparisons the fit never saw", accuracy["the model"][1].low > 0.5)
claim("held-out accuracy of arbitrary choices is at chance", accuracy["arbitrary choices"][1].covers(0.5))
claim("the battle bootstrap is too narrow by a quarter or more", by_battle.se.mean() < 0.75 * by_dilemma.se.mean())
claim("every estimator covers in 92 to 98 percent of draws", all(0.92 <= r.coverage <= 0.98 for r in stored))

# %% [markdown]
# ## Questions

# %%
quiz("A model scores .52 in both orders pooled. The same content wins in both orders 15 % of the time. It is...", [
    ("indifferent between the contents", False, "Indifference would give 50 % consistency. Pooling hid the slot."),
    ("driven by the slot", True, "Consistency far below .5 means that the slot decides; look at the log-odds of either order."),
    ("inconsistent because of sampling noise", False, "Noise alone draws consistency towards one half, not down to 15 %."),
])

# %%
quiz("After centring, power and benevolence correlate at -.11 over personas. What follows?", [
    ("They are opposed", False, "Centring ten scores forces a mean correlation of -.11 with or without values."),
    ("Nothing yet", True, "Only the order of the correlations speaks. Use the permutation test."),
    ("The centring went wrong", False, "It worked: that is what centring does to unrelated scores."),
])

# %%
quiz("A ranking from 3,000 dilemmas comes with an interval from shuffling its games 100 times. The interval...", [
    ("is honest, because it is a bootstrap", False, "A bootstrap draws with replacement. A shuffle returns the same games."),
    ("shows how the ranking would differ with other dilemmas", False, "No other dilemma was ever drawn: only the order changed."),
    ("shows the noise of the order of the games only", True, "So it shrinks and grows with Elo's step size and not with the evidence."),
])

# %% [markdown]
# ## Limits
#
# - The judge of free replies is an exact parser here. Real judges err, and their errors correlate with
#   length and style (lesson 10).
# - Additive slot bias is a model. A slot that matters only for close calls is not removed by log-odds.
# - Five ways agreed because one profile was planted behind all of them. On real models they diverge,
#   and nothing here says which is right.
# - Utilities are of this model without a persona; a mixture of speakers need not have one utility. And a
#   fitted utility of something that no training question named may be a habit of speech, as the crosses show.
# - Whether language models *have* the circle is not shown: personas were trained with it.
#
# ## Links
#
# - Mazeika and others 2025, Utility Engineering: arXiv 2502.08640
# - Ren and others 2024, ValueBench: arXiv 2406.04214
# - Moore and others 2024, Are large language models consistent over value-laden questions?: arXiv 2407.02996
# - Röttger and others 2024, Political compass or spinning arrow?: arXiv 2402.16786
# - Miller 2024, Adding error bars to evals: arXiv 2411.00640

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "Averaging both orders removes slot bias" (1): put .99 and .14 on the board first.
# "More answers, smaller error" (2): copy the answers eight times, live. "Negative correlation means
# opposition" (5). "A high utility accuracy means that there are utilities" (7): ask for the accuracy of
# coin flips before showing it.
#
# **Questions for the room.** Which of the five ways would you use in a report, and which would its
# critic use? Who decides what a refusal counts as? What would make you withdraw a ranking?
#
# **What to cut.** In 90 minutes keep 2.1, 2.2, 2.7, the figures of 4 and 8 and the widget, and cut the
# rest; with a day for the lesson leave out 2.8. Semester: all, with the stored table of proofs reproduced by the class.

# %% [markdown]
# ## Where to go from here
#
# Ask the same model in two languages, or in two wordings of your own, and compare the difference with the null
# floor. Next: [lesson 03](03_probing.ipynb), or [lesson 06](06_reward_models.ipynb) if rewards are what you
# came for.
