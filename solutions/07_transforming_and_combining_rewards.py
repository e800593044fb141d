# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 07 · Transforming and combining rewards
#
# {{minutes}}
#
# Four hundred replies to one question, each with two rewards that pull against each other. The
# usual recipe adds the two up; the one of this lesson asks for both. Watch where their favourites lie.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from valuelab import models, plots
from valuelab.course import check, claim, quiz, show
from valuelab.measure.intervals import paired_difference
from valuelab.rewards import laboratory
from valuelab.rewards.combination import (
    pareto_front,
    reachable_region,
    relax_palette,
    sequential_palette,
    solve_palette,
)
from valuelab.rewards.exact import (
    at_kl,
    best_of_n_kl,
    best_of_n_win_rate,
    expected,
    kl_from_base,
    win_rate,
)
from valuelab.rewards.preferences import gold_reward, world_comparisons
from valuelab.rewards.reward_model import fit_linear_reward, pair_features, reply_features
from valuelab.rewards.transforms import centre, value_weighted, weighted_sum
from valuelab.world import situations

plots.use()
torch.set_num_threads(min(2, torch.get_num_threads()))

world = laboratory.simulate_two(seed=0, rho=-0.5, prompts=1, replies=400)
helpful, harmless = world.first[0], world.second[0]
u_each = [laboratory.lsc(r)[0] for r in (world.first, world.second)]
favourites = {
    "sum of raw rewards": (helpful + harmless).topk(20).indices,
    "AND of transforms": (u_each[0] + u_each[1]).topk(20).indices,
}
fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
for ax, (name, best), marker in zip(axes, favourites.items(), "s^", strict=True):
    ax.scatter(helpful, harmless, s=8, color="0.75")
    ax.scatter(helpful[best], harmless[best], s=36, marker=marker, color="C0" if marker == "s" else "C1")
    ax.axhline(harmless.median(), lw=0.8, color="0.4")
    ax.axvline(helpful.median(), lw=0.8, color="0.4")
    ax.set(title=name, xlabel="reward: helpful", ylabel="reward: harmless")
one_sided = {n: int((~world.good[0][b]).sum()) for n, b in favourites.items()}
show(
    fig,
    "The 20 favourites of either recipe among the same 400 replies; lines are the medians. "
    f"Of the sum's favourites {one_sided['sum of raw rewards']} lie below one of the medians, "
    f"of the AND's {one_sided['AND of transforms']}.",
)

# %% [markdown]
# ## What you will be able to do
#
# - **derive** the log-sigmoid-centred transform from the probability that a reply is good
# - **combine** several rewards so that one cannot buy off another
# - **compute** best-of-n and the KL-optimal policy exactly, and compare them at equal KL
# - **solve** a palette of constraints, and prove it when a palette cannot be met
# - **recognise** the default of a popular trainer that undoes all of this
#
# ## What this builds on
#
# Lesson 06, where the rewards come from; logarithms and the sigmoid. Every policy here lives on a
# finite set of replies, so each number is exact. Most sets are simulated; in section 6 the language
# model writes them.
#
# Three words first (all others: [glossary](../docs/GLOSSARY.md)). A **policy** $\pi(y|x)$ is a language model seen as a distribution over replies $y$ to
# a prompt $x$. The **base** $\pi_0$ is the policy before anything is optimised. And how far the one has
# moved from the other is the **KL divergence**, in nats, 0 only where they are equal:
#
# $$KL(\pi\|\pi_0) = \sum_y \pi(y|x)\,\log\frac{\pi(y|x)}{\pi_0(y|x)}$$

# %% [markdown] minutes=6
# ## 1 · From a reward to the probability of being good
#
# A reward model trained on comparisons says, by Bradley and Terry, how likely one reply is to beat
# another: $P(y \succ y') = \sigma(r(x,y) - r(x,y'))$. Call a reply **good** when it beats a
# *reference* with reward $r_{ref}(x)$:
#
# $$p(\text{good} \mid x, y) = \sigma\big(r(x,y) - r_{ref}(x)\big)$$
#
# We would like a policy that says what the base model says, *given that it is good*. By Bayes,
# $\pi(y|x) \propto \pi_0(y|x)\; p(\text{good}|x,y)$. Policy optimisation with a KL penalty
# $\tfrac1s\,KL(\pi\|\pi_0)$ on a *utility* $u$ has the optimum $\pi \propto \pi_0 \exp(s\,u)$ (section 3; trainers
# write $\beta = 1/s$). The two agree, at strength $s = 1$, up to a constant for each prompt, when
#
# $$u(x,y) = \log p(\text{good}|x,y) = \log\sigma\big(r - r_{ref}\big), \qquad
# \frac{du}{dr} = \sigma(r_{ref} - r)$$
#
# Below the reference a gain counts in full; far above it counts for nothing. This is the
# **log-sigmoid-centred** transform, LSC for short.
# Source: Wang and others, *Transforming and Combining Rewards*, arXiv 2402.00742.

# %% [markdown]
# ### Exercise 7.1 · The transform
#
# Rewards $r$ are `(prompts, replies)`, references a number or `(prompts, 1)`.
#
# 1. **Predict**: a reply sits exactly at its reference. What is $u$?
# 2. **Write** the body. One line does it; the second line guards against a silent trap: a reference
#    of shape `(prompts,)` would run along the *replies*, so raise `ValueError` there.
#
# <details><summary>Hint 1: what is it made of?</summary>The logarithm of a sigmoid of a difference.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>F.logsigmoid(r - r_ref)</code>: for x = -200 the sigmoid is 0
# in float32 and its logarithm minus infinity, and <code>F.logsigmoid</code> gives -200. Before that,
# <code>r_ref = torch.as_tensor(r_ref)</code>, for a plain number has no <code>ndim</code>; then a
# <code>ValueError</code> unless <code>r_ref.ndim</code> is 0 or <code>r.ndim</code>.</details>
#
# What you should see: $u = -\log 2 \approx -0.69$ at the reference, slope one half.

# %% exercise="7.1" function="valuelab.rewards.transforms.log_sigmoid_centered" minutes=8 stars=1

# %%
log_sigmoid_centered = check("7.1", log_sigmoid_centered)

# %% [markdown]
# What does a reference do to the curve: its height, its slope, or the place where it bends?

# %%
r = torch.linspace(-6, 6, 200, dtype=torch.float64)
fig, ax = plt.subplots(figsize=(6, 3.5))
for ref, style in ((-2.0, ":"), (0.0, "-"), (2.0, "--")):
    ax.plot(r, log_sigmoid_centered(r, ref), style, label=f"reference {ref:+.0f}")
ax.plot(r, r - 6, color="0.7", lw=1, label="raw reward, shifted")
ax.set(xlabel="reward r", ylabel="utility u = log p(good)", ylim=(-8, 0.3))
ax.legend(fontsize=10)
at_reference = float(log_sigmoid_centered(torch.zeros(1), 0.0))
show(fig, f"Each curve bends at its own reference, where u = {at_reference:.2f}, and flattens above.")

# %% [markdown] minutes=3
# ## 2 · What is "good" measured against?
#
# Comparisons fix a reward only up to a function of the prompt: $r(x,y) + f(x)$ predicts the same
# preferences. So the reference must come from *the same reward model*, prompt by prompt. This course
# takes a high quantile of the rewards of sampled base replies, 0.85 of 64. The reward of a canned reply
# ("I cannot answer that") can serve where anything worse than silence is bad.

# %% [markdown]
# ### Exercise 7.2 · A reference for each prompt
#
# `rewards` is `(prompts, samples)`; return `(prompts,)`: the `q`-quantile, or the mean.
#
# <details><summary>Hint 1: which axis?</summary>The samples of one prompt lie along <code>dim=1</code>.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>torch.quantile(rewards, q, dim=1)</code>, or
# <code>rewards.mean(dim=1)</code> for the mean.</details>
#
# What you should see: about 15 % of the replies lie above a reference with q = 0.85.

# %% exercise="7.2" function="valuelab.rewards.reference.reference_reward" minutes=8 stars=1

# %%
reference_reward = check("7.2", reference_reward)

# %% [markdown]
# Now shift each prompt's rewards by a number of its own, as a reward model may. Predict which of the
# two utilities notices: the one with the old references, or the one with references taken anew.

# %%
rewards = laboratory.simulate_gold(seed=0, prompts=50, replies=64)
shift = 5 * torch.randn(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def transform(r, reference):
    return log_sigmoid_centered(r, reference_reward(reference)[:, None])


before = transform(rewards, rewards)
anew = (transform(rewards + shift, rewards + shift) - before).abs().max()
stale = (transform(rewards + shift, rewards) - before).abs().max()
claim("with references taken anew, a shift per prompt changes nothing", anew < 1e-9)
claim("with stale references the same shift changes utilities by more than 1", stale > 1)

# %% [markdown] minutes=4
# ## 3 · The policy that a utility asks for
#
# On a finite set of replies nothing needs to be trained. The policy that maximises
# $E_\pi[u] - \tfrac1s KL(\pi\|\pi_0)$ is
#
# $$\log\pi(y|x) = \log\pi_0(y|x) + s\,u(x,y) - \log Z(x), \qquad Z(x) = \sum_y \pi_0(y|x)\,e^{s\,u(x,y)}$$
#
# Shapes: all but $Z$ `(prompts, replies)`, $Z$ `(prompts, 1)`. Why: $E_\pi[u] - \tfrac1s KL(\pi\|\pi_0)$ equals
# $\tfrac1s\log Z$ minus $\tfrac1s$ times the KL from $\pi$ to this policy, which is 0 just there.

# %% [markdown]
# ### Exercise 7.3 · The KL-optimal policy
#
# Return log-probabilities `(prompts, replies)`, normalised over the replies. Without `log_base` the
# base is uniform.
#
# <details><summary>Hint 1: where is Z?</summary>It is what makes the probabilities sum to one. Never leave the
# logarithms to find it: exp(10 000) is infinite.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>torch.log_softmax(strength * u + log_base, dim=-1)</code>; a
# uniform base is a constant, and may be left out.</details>
#
# What you should see: strength 0 gives back the base; the KL grows with the strength.

# %% exercise="7.3" function="valuelab.rewards.exact.kl_optimal" minutes=10 stars=2

# %%
kl_optimal = check("7.3", kl_optimal)

# %% [markdown]
# Three utilities that order the replies of each prompt alike. **Predict**: at the same strength, do they lead equally far?

# %%
strengths = torch.linspace(0, 4, 17).tolist()
kls = {
    "raw reward": [float(kl_from_base(kl_optimal(rewards, s)).mean()) for s in strengths],
    "ten times the raw reward": [
        float(kl_from_base(kl_optimal(10 * rewards, s)).mean()) for s in strengths
    ],
    "log-sigmoid-centred": [
        float(kl_from_base(kl_optimal(before, s)).mean()) for s in strengths
    ],
}
fig, ax = plt.subplots(figsize=(6, 3.5))
for (name, values), style in zip(kls.items(), ("o-", "s--", "^:"), strict=True):
    ax.plot(strengths, values, style, ms=5, label=name)
ax.set(xlabel="strength s = 1 / β", ylabel="KL from the base (nats)")
ax.legend(fontsize=10, loc="lower center", bbox_to_anchor=(0.45, 1), ncols=3)
show(
    fig,
    f"At strength 1 the three are {kls['raw reward'][4]:.2f}, "
    f"{kls['ten times the raw reward'][4]:.2f} and {kls['log-sigmoid-centred'][4]:.2f} nats away "
    "from the base: a comparison at equal β compares distances, not utilities.",
)

# %% [markdown]
# So from here on every comparison is at **equal KL**: `at_kl` finds the strength by bisection.

# %%
same = (at_kl(rewards, 1.0) - at_kl(10 * rewards, 1.0)).abs().max()
claim("at equal KL a raw reward and ten times that reward give the same policy", same < 1e-5)

# %% [markdown] minutes=4
# ## 4 · Why a sum of logarithms is an AND
#
# A reply should be helpful **and** harmless. If the two judgements are independent given the reply,
# $p(\text{both}) = p_1 p_2$, so
#
# $$u_{AND} = \log p_1 + \log p_2 = \log\sigma(r_1 - r_1^{ref}) + \log\sigma(r_2 - r_2^{ref})$$
#
# A sum of raw rewards cannot tell (3, 3) from (6, 0). This sum can: beyond its reference the first
# reward has nothing left to pay with. (OR is $\log(1 - \prod(1-p_i))$: `any_of`.)

# %% [markdown]
# ### Exercise 7.4 · All of them
#
# `log_p` is a list of k tensors or one tensor `(k, prompts, replies)`. `stack_terms` makes it the
# latter. Refuse raw rewards: a log-probability is never above 0.
#
# <details><summary>Hint 1: which operation?</summary>Probabilities multiply, so their logarithms add.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>terms = stack_terms(log_p)</code>; a <code>ValueError</code> if
# <code>(terms > 0).any()</code>; else <code>terms.sum(dim=0)</code>, for the first axis counts the properties.</details>
#
# What you should see: the AND is never above its weakest term.

# %% exercise="7.4" function="valuelab.rewards.transforms.all_of" minutes=8 stars=1

# %%
all_of = check("7.4", all_of)

# %% [markdown]
# Here a reply counts as good in both if each reward lies above the median of its prompt. The two rewards are correlated at
# -0.5. **Predict**: will some weight of the sum do as well as the AND?

# %%
pairs = laboratory.simulate_two(seed=1, rho=-0.5, prompts=200, replies=256)
both = [pairs.first, pairs.second]
conjunction = all_of([transform(r, r) for r in both])
good = pairs.good.double()
weights = torch.linspace(0, 1, 21).tolist()
by_weight = [
    float(expected(at_kl(weighted_sum(both, [w, 1 - w]), 1.0), good).mean()) for w in weights
]
by_and = float(expected(at_kl(conjunction, 1.0), good).mean())
fig, ax = plt.subplots(figsize=(6, 3.5))
ax.plot(weights, by_weight, "s-", ms=4, label="weighted sum of raw rewards")
ax.axhline(by_and, color="C1", ls="--", label="AND of transforms (no weight to tune)")
ax.axhline(float(good.mean()), color="0.5", ls=":", label="base policy")
ax.set(xlabel="weight of the first reward", ylabel="replies good in both", ylim=(0, 1))
ax.legend(fontsize=10)
show(
    fig,
    f"At one nat, the AND makes {by_and:.0%} of the replies good in both respects, the best of 21 "
    f"weights {max(by_weight):.0%}, the base {float(good.mean()):.0%}.",
)
claim("at equal KL the AND beats every weight of the raw sum by 5 points", by_and - max(by_weight) > 0.05)

# %% [markdown] minutes=5
# ## 5 · Best-of-n by hand
#
# The cheapest policy that follows a reward: draw $n$ replies, keep the best. Let $F(s)$ be the base
# probability of a score of at most $s$. All $n$ draws are at most that good with probability
# $F(s)^n$, so the *winner* has exactly score $s$ with probability $F(s)^n - F(s^-)^n$, where
# $F(s^-)$ counts the replies that are worse. Replies that tie share it in proportion to the base:
#
# $$\pi_n(y) = \pi_0(y)\,\frac{F(s_y)^n - F(s_y^-)^n}{F(s_y) - F(s_y^-)}$$
#
# For scores without ties, $KL(\pi_n\|\pi_0) = \log n - \frac{n-1}{n}$, and a winner beats a fresh
# base reply with probability $\frac{n}{n+1}$.

# %% [markdown]
# ### Exercise 7.5 · The winner's distribution
#
# **Predict** on paper: three replies with scores 1, 2, 3 and equal base probability, n = 2. How often
# does the best one win? **Write** `best_of_n(scores, n, log_base)`: log-probabilities of the winner. All are
# `(..., replies)`, for one prompt or many; without `log_base` the base is uniform.
#
# <details><summary>Hint 1: how do I get F?</summary>Sort the scores, add up the sorted base probabilities.
# <code>torch.searchsorted</code> on the sorted scores finds where a block of ties begins
# (<code>right=False</code>) and ends (<code>right=True</code>).</details>
#
# <details><summary>Hint 2: how do I get back to the old order?</summary><code>empty.scatter(-1, order, sorted_values)</code>
# undoes a sort.</details>
#
# What you should see: n = 1 gives back the base; here 5/9, as 1 - (2/3)².

# %% exercise="7.5" function="valuelab.rewards.exact.best_of_n" minutes=20 stars=3

# %%
best_of_n = check("7.5", best_of_n)

# %% [markdown]
# Do the two formulas for scores without ties hold, and what does a larger n still buy?

# %%
by_hand = best_of_n(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), 2).exp()
claim("of three equally likely replies the best wins 5 times in 9", abs(float(by_hand[2]) - 5 / 9) < 1e-9)

many = torch.arange(1000, dtype=torch.float64)
draws = (1, 2, 4, 8, 16, 32)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.5))
exact_kl = [float(kl_from_base(best_of_n(many, n))) for n in draws]
exact_win = [float(win_rate(best_of_n(many, n), many)) for n in draws]
axes[0].plot(draws, exact_kl, "o", label="exact, 1000 replies")
axes[0].plot(draws, [best_of_n_kl(n) for n in draws], "-", label="log n - (n-1)/n")
axes[1].plot(draws, exact_win, "o", label="exact")
axes[1].plot(draws, [best_of_n_win_rate(n) for n in draws], "-", label="n / (n+1)")
for ax, y in zip(axes, ("KL from the base (nats)", "win rate against the base"), strict=True):
    ax.set(xscale="log", xlabel="n", ylabel=y)
    ax.set_xticks(draws, draws)
    ax.minorticks_off()
    ax.legend(fontsize=10)
fig.tight_layout()
show(fig, f"Best of 32 costs {exact_kl[-1]:.2f} nats and beats a base reply {exact_win[-1]:.0%} of the time.")

# %% [markdown]
# Does the transform change best-of-n? **Predict** for one reward, then for a sum of two.

# %%
single = (best_of_n(pairs.first, 8) - best_of_n(transform(pairs.first, pairs.first), 8)).abs().max()
rates = {
    "sum of raw rewards": float(expected(best_of_n(pairs.first + pairs.second, 8), good).mean()),
    "AND of transforms": float(expected(best_of_n(conjunction, 8), good).mean()),
}
display(Markdown("Both good: " + ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())))
claim("on one reward best-of-8 is the same raw and transformed: only the order counts", single < 1e-6)
claim(
    "on two rewards it is not: AND lifts the both-good rate by 5 points or more",
    rates["AND of transforms"] - rates["sum of raw rewards"] > 0.05,
)

# %% [markdown] minutes=5
# ## 6 · Best-of-n from the language model
#
# Now the replies come from the model: it answers each of 30 questions 32 times. Two judges score the
# answers: linear rewards fitted to noisy comparisons, as in lesson 06, one for security and one for
# stimulation, which lie on opposite sides of the circle. Neither sees the other, and neither is
# perfect. Whether a reply *is* good is read by the oracle that planted the world: its gold reward is
# above 0 in **both** values.
#
# The 32 replies are a finite set again, so what best-of-n keeps of them is computed, not sampled. The
# raw sum may use the best of five weights, chosen afterwards with the gold reward in hand. The AND has
# no weight to tune. **Predict** who wins, and whether the two pay the same KL.

# %%
lm = models.load()
PAIR = ("security", "stimulation")
SAMPLES = 32


def judge(value):
    """A linear reward for one value, from 400 noisy comparisons."""
    won, lost = pair_features(lm, world_comparisons(value, 400, seed=0))
    return fit_linear_reward((won - lost).double(), ridge=0.05)


asked = [s for s in situations("held_out", 30, seed=7, value=PAIR[0]) for _ in range(SAMPLES)]
replies = models.generate(lm, [models.chat(lm, s.text) for s in asked], max_new_tokens=40, seed=0)
replies = [r or "." for r in replies]  # an empty reply has no state to read
states = reply_features(lm, [s.text for s in asked], replies)
scored = [judge(value)(states).view(-1, SAMPLES) for value in PAIR]
gold = [
    torch.tensor([gold_reward(r, s, v) for r, s in zip(replies, asked, strict=True)], dtype=torch.float64)
    .view(-1, SAMPLES)
    for v in PAIR
]
good_in_both = ((gold[0] > 0) & (gold[1] > 0)).double()
weaker = torch.minimum(*gold)

# %%
sums = {w: weighted_sum(scored, [w, 1 - w]) for w in laboratory.RAW_WEIGHTS}
conjoined = all_of([transform(r, r) for r in scored])
drawn = (1, 2, 4, 8, 16)


def kept_by(u, n):
    """Per question: chance of a reply good in both, gold of its weaker value, and KL, of best-of-n."""
    log_p = best_of_n(u, n)
    return expected(log_p, good_in_both), expected(log_p, weaker), kl_from_base(log_p)


by_n = {"best raw weight": [], "AND of transforms": []}
for n in drawn:
    by_n["best raw weight"].append(max((kept_by(u, n) for u in sums.values()), key=lambda k: float(k[0].mean())))
    by_n["AND of transforms"].append(kept_by(conjoined, n))
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
for (name, rows_of_n), style in zip(by_n.items(), ("s-", "^--"), strict=True):
    axes[0].plot(drawn, [float(k[0].mean()) for k in rows_of_n], style, ms=5, label=name)
    axes[1].plot(drawn, [float(torch.quantile(k[1], 0.1)) for k in rows_of_n], style, ms=5, label=name)
for ax, y in zip(axes, ("replies good in both", "gold of the weaker value, worst tenth"), strict=True):
    ax.set(xscale="log", xlabel="n", ylabel=y)
    ax.set_xticks(drawn, drawn)
    ax.minorticks_off()
    ax.legend(fontsize=10)
fig.tight_layout()
raw8, and8 = (rows_of_n[drawn.index(8)] for rows_of_n in by_n.values())
gain = paired_difference(and8[0], raw8[0])
verdict = (
    "the AND keeps more of them" if gain.low > 0
    else "the raw sum keeps more of them" if gain.high < 0
    else "30 questions do not decide between the two"
)
costs = [float(k[2].mean()) for k in (raw8, and8)]
show(
    fig,
    f"Of the model's own replies {float(good_in_both.mean()):.0%} are good in both values. Best-of-8 by the best "
    f"raw weight: {float(raw8[0].mean()):.1%}, by the AND: {float(and8[0].mean()):.1%}; difference in points "
    f"{100 * gain.estimate:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over questions: {verdict}. In the worst tenth of "
    f"the questions the weaker value has {float(torch.quantile(raw8[1], 0.1)):.2f} and "
    f"{float(torch.quantile(and8[1], 0.1)):.2f}. KL {costs[0]:.3f} and {costs[1]:.3f} nats, bound {best_of_n_kl(8):.3f}.",
)
claim("at the same n the two recipes pay the same KL to a twentieth of a nat", abs(costs[0] - costs[1]) < 0.05)
claim("and not more than log n - (n-1)/n", max(costs) <= best_of_n_kl(8) + 1e-9)
claim("best-of-8 by the AND keeps more replies that are good in both than the model writes", float((and8[0] - good_in_both.mean(1)).mean()) > 0)

# %% [markdown]
# Who won stands in the caption. Compare it with section 4, where the AND was clearly ahead: there the rewards
# *were* the truth and good replies were common; here judges err, few replies are good in both, and there are 30
# questions. The KL is the same because each recipe only decides *which* of eight replies is kept. It lies a little
# below the bound, which is for scores without ties among endlessly many replies: here there are 32. Replies
# written twice would lower it further.

# %% [markdown] minutes=6
# ## 7 · The honest table
#
# Is the transform always better? No. If the reward is right, no other utility has a higher mean of the truth at
# the same KL: that is what section 3 maximises. In life we have a **proxy**, a reward that errs around the
# true one, the **gold** reward. Here the proxy errs in three ways: not at all, by a normal error, or by a
# heavy-tailed one (Student's t with 3 degrees of freedom: now and then far off). The scale of gold differs
# from prompt to prompt; both utilities follow the proxy at the same KL. "Lower tail" is the gain of the prompt
# at the 10th percentile, in that prompt's own standard deviations. **Predict** row by row who wins.

# %%
rows = laboratory.proxy_error_table(seeds=range(6), prompts=200)
lines = [
    f"| {row['error']} | {row['kl']:.0f} | {row['mean_raw'].mean:.2f} | {row['mean_lsc'].mean:.2f} "
    f"| {row['tail_raw'].mean:.2f} | {row['tail_lsc'].mean:.2f} |"
    for row in rows
]
head = "| proxy error | KL | mean gold, raw | mean gold, LSC | lower tail, raw | lower tail, LSC |"
display(Markdown("\n".join([head, "|---|---|---|---|---|---|", *lines])))
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
names = [f"{row['error']}, KL {row['kl']:.0f}" for row in rows]
for ax, key, title in zip(axes, ("mean_gain", "tail_gain"), ("mean of gold", "lower tail"), strict=True):
    mid = [row[key].mean for row in rows]
    half = [row[key].high - row[key].mean for row in rows]
    ax.errorbar(mid, range(len(rows)), xerr=half, fmt="o", capsize=4)
    ax.axvline(0, color="0.5", lw=1)
    ax.set(title=f"{title}: LSC minus raw", xlabel="gain of the transform")
axes[0].set_yticks(range(len(rows)), names)
fig.tight_layout()
show(
    fig,
    "Gains of the transform, paired, with 95 % intervals over 6 seeds. Mean of gold: "
    + "; ".join(f"{n} {row['mean_gain'].mean:+.2f}" for n, row in zip(names, rows, strict=True))
    + ". Lower tail: " + "; ".join(f"{n} {row['tail_gain'].mean:+.2f}" for n, row in zip(names, rows, strict=True))
    + ". Above 0 the transform wins, below 0 the raw reward.",
)
claim("with a right proxy, and with a normal error, the raw reward has the higher mean", max(r["mean_gain"].high for r in rows[:2]) < 0)
claim("with heavy-tailed errors the transform has", min(r["mean_gain"].low for r in rows[2:]) > 0)
claim("the transform lifts the lower tail in all four cases", all(r["tail_gain"].low > 0 for r in rows))

# %% [markdown] minutes=8
# ## 8 · Palettes: promises instead of weights
#
# Nobody knows what weight honesty deserves against kindness. A **palette** states what is wanted:
# $E_\pi[r_i] \ge c_i$ for every value $i$. Among all policies that keep these promises take the one
# nearest to the base. It is
#
# $$\pi_\lambda(y) \propto \pi_0(y)\,e^{\lambda\cdot r(y)}, \quad \lambda \ge 0 \text{ maximises }\;
# g(\lambda) = \lambda\cdot c - \log E_{\pi_0}\big[e^{\lambda\cdot r}\big], \quad
# \nabla g = c - E_{\pi_\lambda}[r]$$
#
# So the weights exist after all; the promises determine them. And if no policy can keep the
# promises, the dual proves it. At a feasible optimum $g$ equals the KL, and no policy on $n$ equally
# likely replies is further than $\log n$ from the base. A dual above $\log n$ is therefore a
# **certificate** of infeasibility. Source: MAP, arXiv 2410.19198.

# %% [markdown]
# ### Exercise 7.6 · The dual and its gradient
#
# `weights` λ is `(k,)`, `rewards` `(n, k)`, `target` c `(k,)`; the base is uniform over the n replies.
# Return the dual (a scalar) and its gradient `(k,)`.
#
# <details><summary>Hint 1: the expectation</summary>Under a uniform base it is a mean over replies. The logarithm of a
# mean of exponentials is a log-sum-exp minus log n.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>logits = rewards @ weights</code>; the dual is
# <code>weights @ target</code> minus <code>torch.logsumexp(logits, 0) - math.log(n)</code>. The policy is
# <code>torch.softmax(logits, 0)</code>, and its mean reward that <code>@ rewards</code>.</details>
#
# What you should see: at λ = 0 the dual is 0 and the gradient is what the base falls short of.

# %% exercise="7.6" function="valuelab.rewards.combination.map_dual" minutes=15 stars=2

# %%
map_dual = check("7.6", map_dual)

# %%
VALUES3 = ("benevolence", "achievement", "security")
generator = torch.Generator().manual_seed(3)
mixing = torch.tensor([[1.0, -0.6, 0.1], [0.0, 0.8, 0.3], [0.0, 0.0, 0.95]])
palette_rewards = (torch.randn(400, 3, generator=generator) @ mixing).double()

wish = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
solved = solve_palette(palette_rewards, wish)
greedy = solve_palette(palette_rewards, torch.full((3,), 2.5))
granted, relaxed = relax_palette(palette_rewards, torch.full((3,), 2.5))
claim("a modest palette is met to 1e-4", solved.feasible and solved.shortfall < 1e-4)
claim("at its optimum the dual is the KL", abs(solved.dual - solved.kl) < 1e-6)
claim("a greedy palette is refuted: its dual exceeds log n", greedy.dual > math.log(400))
display(Markdown(f"Of the greedy palette {granted:.0%} can be granted, at {relaxed.kl:.1f} nats."))

# %% [markdown]
# A slider for each promise. Raise them one after another and watch the square leave the region: the
# weights explode, then the certificate appears. The shaded region is what *any* policy can reach for
# the first two values while the third promise is kept.

# %%
def draw(benevolence=0.5, achievement=0.3, security=0.2):
    """Feasible region, achieved rewards and weights of a palette of three promises."""
    target = torch.tensor([benevolence, achievement, security], dtype=torch.float64)
    p = solve_palette(palette_rewards, target)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4))
    left.scatter(*palette_rewards[:, :2].T, s=6, color="0.75")
    region = reachable_region(palette_rewards, security)
    if len(region) > 2:
        left.fill(*region.T, alpha=0.15, color="C0", label="reachable")
    left.plot(benevolence, achievement, "s", ms=10, color="C3", label="promised")
    if p.feasible:
        left.plot(*p.achieved[:2], "^", ms=9, color="C2", label="achieved")
    left.set(xlabel=f"E[{VALUES3[0]}]", ylabel=f"E[{VALUES3[1]}]")
    left.legend(fontsize=10, loc="lower left")
    right.barh(VALUES3, p.weights if p.feasible else torch.zeros(3), color="C0")
    right.set(xlabel="weight λ that the promise costs")
    verdict = (
        f"met at {p.kl:.2f} nats"
        if p.feasible
        else f"impossible: dual {p.dual:.1f} > log n = {p.max_dual:.1f}, and no reply reaches "
        f"λ·c = {float(p.weights @ p.target):.0f} (best {float((palette_rewards @ p.weights).max()):.0f})"
    )
    fig.suptitle(verdict, fontsize=11)
    fig.tight_layout()
    weights = ", ".join(f"{v} {w:.2f}" for v, w in zip(VALUES3, p.weights, strict=True))
    show(fig, f"Promised {benevolence:.1f}, {achievement:.1f}, {security:.1f}: {verdict}. "
         f"Weights: {weights}.")


draw()

# %% tags=["widget"]
from ipywidgets import interact  # noqa: E402

interact(draw, **{v: (-1.0, 3.0, 0.1) for v in VALUES3})

# %% [markdown]
# Must the values be aligned *together*? Aligning to one value after another is coordinate ascent on
# the same concave dual. One round is not enough; several rounds are.

# %%
rounds = sequential_palette(palette_rewards, wish, rounds=12)
distance = [float((w - solved.weights).abs().max()) for w in rounds]
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.semilogy(range(1, len(distance) + 1), distance, "o-")
ax.set(xlabel="rounds of one value after another", ylabel="largest distance to joint λ")
show(fig, f"After one round the weights are {distance[0]:.2f} off; after {len(rounds)} they are {distance[-1]:.0e} off.")
claim("one round of sequential alignment misses the joint solution", distance[0] > 1e-2)
claim("twelve rounds reach it", distance[-1] < 1e-4)

# %% [markdown]
# What do two opposed values cost each other? The policies that no other one beats in both at a given KL form a
# **Pareto front**, and each of its points is a
# weighted sum (the reachable expectations are a convex set). So weighted sums are enough for
# promises *in expectation*. The AND asks for something else: that *each reply* be good in all.

# %%
fig, ax = plt.subplots(figsize=(5.5, 4))
weaker_at_best = []
for kl, style in ((0.25, "o-"), (1.0, "s-"), (2.0, "^-")):
    front = pareto_front(palette_rewards[:, :2], kl)
    points = torch.stack([p.achieved for p in front])
    weaker_at_best.append(float(points.amin(dim=1).max()))
    ax.plot(*points.T, style, ms=4, label=f"KL {kl:g}")
ax.set(xlabel=f"E[{VALUES3[0]}]", ylabel=f"E[{VALUES3[1]}]")
ax.legend(fontsize=10)
show(fig, "Three Pareto fronts of two opposed values. The weaker of the two can be lifted to "
     + ", ".join(f"{m:.2f}" for m in weaker_at_best) + " at 0.25, 1 and 2 nats: more KL buys more of both, with less and less return for each nat.")

# %% [markdown] minutes=4
# ## A control that must fail
#
# A trainer (lesson 08) weighs each sampled reply by its **advantage**: its reward minus the mean reward of its
# *group*, the replies to the same prompt. GRPO then divides by the group's standard deviation; in TRL's
# `GRPOTrainer` this is the default. The control is this division. Take two kinds of prompts: **saturated** ones, where every reply is
# already fine ($r - r_{ref} \approx 6$), and **poor** ones ($\approx -2$). The transform says: work
# on the poor ones. **Predict** what is left of that after dividing.

# %% [markdown]
# ### Exercise 7.7 · Group-scaled advantages
#
# $(r - \text{mean}) / (\text{std} + \epsilon)$ along the group. Write what the trainers write, so that
# we can see what it does.
#
# <details><summary>Hint 1: shapes</summary>The mean of a group must be subtracted from the replies of that group: keep
# its axis, or the subtraction runs along the wrong one. The standard deviation is torch's default, with n - 1.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>(r - r.mean(dim=dim, keepdim=True))</code> over
# <code>(r.std(dim=dim, keepdim=True) + eps)</code>; a group of one reply has no spread, so raise a
# <code>ValueError</code> there.</details>
#
# What you should see: advantages of size about one for *every* prompt, whatever was at stake.

# %% exercise="7.7" function="valuelab.rewards.transforms.standardise" minutes=8 stars=1

# %%
standardise = check("7.7", standardise)

# %%
generator = torch.Generator().manual_seed(0)
noise = torch.randn(2, 300, 8, generator=generator, dtype=torch.float64)
utilities = {
    "saturated": log_sigmoid_centered(6 + noise[0], 0.0),
    "poor": log_sigmoid_centered(-2 + noise[1], 0.0),
}
kept = {k: float(centre(u).abs().mean()) for k, u in utilities.items()}
scaled = {k: float(standardise(u).abs().mean()) for k, u in utilities.items()}
fig, ax = plt.subplots(figsize=(6, 3.5))
place = np.arange(2)
ax.bar(place - 0.2, list(kept.values()), 0.4, label="centred only", hatch="//")
ax.bar(place + 0.2, list(scaled.values()), 0.4, label="group-scaled (GRPO default)")
ax.set_xticks(place, [f"{k} prompts" for k in kept])
ax.set(ylabel="mean |advantage|", ylim=(0, 1.1))
ax.legend(fontsize=10)
show(
    fig,
    f"Centred advantages are {kept['saturated']:.3f} on saturated and {kept['poor']:.2f} on poor "
    f"prompts. After group scaling they are {scaled['saturated']:.2f} and {scaled['poor']:.2f}: "
    "the emphasis is gone.",
)
claim("centred: poor prompts pull over 100 times as hard as saturated ones", kept["poor"] / kept["saturated"] > 100)
claim("group-scaled: the two pull about equally hard, so the transform was in vain", scaled["poor"] / scaled["saturated"] < 1.5)

# %% [markdown]
# The same division erases explicit value weights, by which a prompt that matters more pays more (RLEV, arXiv
# 2510.20187): a factor per prompt cancels, up to $\epsilon$. Use a leave-one-out baseline (lesson 08), which is
# centring times $n/(n-1)$ for $n$ replies, or TRL's `scale_rewards="none"`.

# %%
correct = (torch.rand(100, 8, generator=generator, dtype=torch.float64) < 0.5).double()
value = torch.rand(100, 1, generator=generator, dtype=torch.float64) * 0.1
weighted = value_weighted(correct, value)
erased = (standardise(weighted) - standardise(correct)).abs().max()
respected = (centre(weighted) - centre(correct)).abs().max()
claim("group scaling erases explicit value weights up to its epsilon", erased < 1e-3)
claim("centring keeps them", respected > 0.1)

# %% [markdown]
# ## What we may claim
#
# About these finite worlds, and with both outcomes of the honest table on record.

# %%
display(Markdown(f"On replies of the language model (section 6), AND against the best raw weight: {verdict}."))
claim("in simulation, at equal KL, the AND beats every raw weight when two rewards pull apart", by_and - max(by_weight) > 0.05)
claim("it is no free lunch: with a right proxy the raw reward earns the higher mean", rows[0]["mean_gain"].high < 0)
claim("a palette is met, or proved impossible", solved.shortfall < 1e-4 and greedy.dual > greedy.max_dual)
claim("group scaling takes back what the transform gave", scaled["poor"] / scaled["saturated"] < 1.5)

# %% [markdown]
# ## Questions

# %%
quiz(
    "A team adds z-scored helpfulness and z-scored harmlessness and maximises the sum. What follows?",
    [
        ("Nothing can go wrong: z-scores make the two comparable.", False,
         "A common scale does not stop one from buying off the other: (6, 0) and (3, 3) still tie."),
        ("Very helpful but somewhat harmful replies can win.", True,
         "Raw rewards never saturate, so a surplus of one pays for a lack of the other."),
        ("Both count, so the sum is an AND.", False,
         "A sum is an AND only of log-probabilities, which stop paying beyond their reference."),
    ],
)

# %%
quiz(
    "At β = 0.1 the transformed reward ends with a lower KL and a lower gold reward than the raw one.",
    [
        ("The raw reward is better.", False,
         "It went further from the base: distance and not direction may explain all of it."),
        ("The transform is safer.", False,
         "Any reward divided by ten would look as safe at the same β."),
        ("Nothing follows yet: compare the two at equal KL.", True,
         "The same β means another strength for each utility; the KL is what both pay."),
    ],
)

# %%
quiz(
    "A palette's dual climbs past log n. What do we know?",
    [
        ("No policy on these n replies keeps all promises.", True,
         "A feasible dual is a KL, and none of n equally likely replies is further than log n."),
        ("The optimiser diverged; a smaller step would help.", False,
         "The value itself is the proof, however it was found: any λ ≥ 0 with g(λ) > log n will do."),
        ("The promises cost more than log n nats.", False,
         "There is nothing to pay more with: no policy on these replies is further away."),
    ],
)

# %% [markdown]
# ## Limits
#
# What this does not show:
#
# - Outside section 6 the replies are drawn from bell curves, not from a language model, and nowhere is
#   a policy trained. Lesson 08 trains them, with the same utilities.
# - In section 6 the set of replies is what the model happened to write, and "good" means above 0 on
#   two planted scales. With other values, questions or thresholds the verdict may be another.
# - $\sigma(r - r_{ref})$ is a probability only if the reward model is calibrated (lesson 06).
# - "Good in both" has a threshold, and a saturating utility fits a yardstick with a threshold. Even
#   for rewards that agree (ρ = 0.8) part of the gain remains.
# - The AND assumes that the judgements are independent given the reply. Two judges with one shared
#   fault are counted twice.
# - A palette holds on average over replies; single replies may still break every promise.
#
# ## Links
#
# - Wang and others 2024, Transforming and Combining Rewards: arXiv 2402.00742
# - Wang and others 2024, MAP, multi-human-value alignment palette: arXiv 2410.19198
# - Maura-Rivero and others 2025, utility-inspired transformations: arXiv 2501.06248
# - Explicit human values, RLEV: arXiv 2510.20187
# - Shao and others 2024, where GRPO and its group scaling come from: arXiv 2402.03300

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "A sum of two rewards means both count" (4): let the room place the point (6, 0)
# in the first figure. "Equal β is a fair comparison" (3): ask what multiplying the reward by ten does.
# "The transform is always better" (7): have the table predicted row by row before running it.
#
# **Questions for the room.** Whose refusal is the canned reply? Who sets the reference, and what
# happens to people whose good is another's bad? Which promises of a palette should be per reply?
#
# **To cut.** 90 minutes: 7.1, 7.4, 7.7 and the widget; show 5 to 7 as figures. One day: all but the
# sequential rounds. Semester: all, with the derivation of section 1 on the board.

# %% [markdown]
# ## Where to go from here
#
# Combine three rewards that disagree, and say before you look which reply the sum prefers and which the AND.
# Next: [lesson 08](08_reinforcement_learning.ipynb) trains a policy with them.
