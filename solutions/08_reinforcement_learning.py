# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 08 · Reinforcement learning from feedback
#
# {{minutes}}
#
# A language model is trained on a reward that a program hands out. The program counts how often a
# reply *mentions* security. The dashed line is what we really wanted: replies that choose security
# and stand by it, in whole sentences. Watch where the two part.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from scipy.stats import t as student

from valuelab import models, plots
from valuelab.course import check, claim, quiz, show
from valuelab.rlhf import experiment, laws
from valuelab.rlhf.kl import exact_kl, k1, k2
from valuelab.rlhf.loop import Trainer, sample_groups
from valuelab.rlhf.losses import kl_cov_loss, kl_in_reward

plots.use()
torch.set_num_threads(min(2, torch.get_num_threads()))
lm = models.load()
sweep, made = experiment.stored(), experiment.stored_record()
SEEDS = made["seeds"]
BETA = 0.02


def half(x):
    """Half a 95 % interval of the mean over seeds."""
    return student.ppf(0.975, len(x) - 1) * np.std(x, ddof=1) / np.sqrt(len(x))


fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
for seed, marker in zip(SEEDS, "os^Dv", strict=False):
    run = experiment.curve(sweep, "one", BETA, seed)
    axes[0].plot(run["kl"], run["proxy_a"], marker + "-", color="C0", ms=5)
    axes[1].plot(run["kl"], run["gold_a"], marker + "--", color="C1", ms=5)
axes[0].set(title="proxy: mentions of security", xlabel="KL from the base (nats)", ylabel="mean of replies", xscale="symlog")
axes[1].set(title="gold: what was wanted", xlabel="KL from the base (nats)")
fig.tight_layout()
everything = experiment.curve(sweep, "one", BETA)
best = np.array([experiment.curve(sweep, "one", BETA, s)["gold_a"].max() for s in SEEDS])
last = np.array([experiment.curve(sweep, "one", BETA, s)["gold_a"][-1] for s in SEEDS])
base_gold = everything["gold_a"][everything["step"] == 0].mean()
first_proxy = everything["proxy_a"][everything["step"] == 0].mean()
last_proxy = np.array([experiment.curve(sweep, "one", BETA, s)["proxy_a"][-1] for s in SEEDS])
show(
    fig,
    f"{len(SEEDS)} runs (a marker each), judged on held-out questions. The proxy climbs from {first_proxy:.2f} to "
    f"{last_proxy.mean():.1f} mentions a reply. Gold starts at {base_gold:.2f}, reaches {best.mean():.2f} at the "
    f"best evaluation of a run, on average, and ends at {last.mean():.2f}.",
)

# %% [markdown]
# ## What you will be able to do
#
# - **derive** the policy gradient and a baseline that leaves it unbiased
# - **place** a KL penalty where it works, and tell why elsewhere it does nothing
# - **run** RLOO and GRPO, and say what each one's scaling does
# - **detect** over-optimisation by comparing gold and proxy at measured KL
# - **find** the tokens that cost entropy, and hold them
#
# ## What this builds on
#
# Lesson 06 (where rewards come from) and lesson 07 (the log-sigmoid-centred transform, the KL-optimal
# policy). The gold reward is planted and read by the oracle; training never sees it. *The method is
# shown on a small model in a known world*; nothing here says what large models do.
#
# Words of the field: [glossary](../docs/GLOSSARY.md).

# %% [markdown] minutes=6
# ## 1 · A gradient without looking inside the judge
#
# We want a policy $\pi$ with a high expected reward $J = E_{y\sim\pi}[R(y)]$. The judge is a black
# box, and sampling a word cannot be differentiated. The way round is one line of algebra:
#
# $$\nabla J = \sum_y R(y)\,\nabla\pi(y) = \sum_y \pi(y)\,R(y)\,\nabla\log\pi(y) = E_{y\sim\pi}\big[(R(y)-b)\,\nabla\log\pi(y)\big]$$
#
# The **baseline** $b$ is free, because $E[\nabla\log\pi] = \nabla\sum_y\pi(y) = \nabla 1 = 0$. It
# changes nothing on average and a lot in one batch. With $n$ replies $y_i$ of tokens $y_{it}$, a mask $m_{it}$
# that is 1 on a reply's own tokens and 0 behind its end, and the **advantage** $A_i = R_i - b$, a loss whose
# gradient is $-\nabla J$ on average is
#
# $$L = -\frac1n\sum_i A_i \sum_t m_{it}\log\pi(y_{it})$$
#
# Source: Williams 1992 (REINFORCE).

# %% [markdown]
# ### Exercise 8.1 · REINFORCE
#
# `log_p` and `mask` are `(n, t)`, `advantage` is `(n,)`; return one number. The mask holds numbers or True and False.
#
# 1. **Predict**: all advantages are 0. What is the gradient?
# 2. **Write** two lines: the log-probability of each reply, then the mean.
#
# <details><summary>Hint 1: a reply's log-probability</summary>The sum over its own tokens: multiply by the mask first.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>(log_p * mask).sum(dim=1)</code> times
# <code>advantage.detach()</code>, the mean of that, a minus. Detached, because the rule holds for a number, not for
# something that moves with the weights.</details>
#
# What you should see: on a policy with six replies, the gradient of the exact expected reward.

# %% exercise="8.1" function="valuelab.rlhf.losses.reinforce_loss" minutes=10 stars=2

# %%
reinforce_loss = check("8.1", reinforce_loss)

# %% [markdown]
# Six replies, so that every expectation is a finite sum. How noisy is the gradient of one batch of
# eight, with three baselines?

# %%
g = torch.Generator().manual_seed(0)
logits = torch.randn(6, generator=g, dtype=torch.float64, requires_grad=True)
R = 3 + torch.randn(6, generator=g, dtype=torch.float64)
p = torch.softmax(logits, 0)
exact = torch.autograd.grad(-(p * R).sum(), logits)[0]


def batch_gradient(advantage_of, n=8):
    """Gradient of one sampled batch of n replies."""
    y = torch.multinomial(p.detach(), n, replacement=True, generator=g)
    log_p = torch.log_softmax(logits, 0)[y][:, None]
    loss = reinforce_loss(log_p, advantage_of(R[y]), torch.ones(n, 1))
    return torch.autograd.grad(loss, logits)[0]


baselines = {
    "none": lambda r: r,
    "mean of all": lambda r: r - r.mean(),
    "mean of the others": lambda r: r - (r.sum() - r) / (len(r) - 1),
}
samples = {k: torch.stack([batch_gradient(f) for _ in range(1500)]) for k, f in baselines.items()}
noise = {k: float(s.var(0).sum().sqrt()) for k, s in samples.items()}
size = {k: float((s.mean(0) @ exact) / (exact @ exact)) for k, s in samples.items()}
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].barh(list(noise), list(noise.values()), color="C0")
axes[0].set(xlabel="noise of one batch's gradient")
axes[1].barh(list(size), list(size.values()), color="C1", hatch="//")
axes[1].axvline(1, color="0.4", lw=1)
axes[1].set(xlabel="mean gradient, as a share of the exact one")
axes[1].set_yticks([])
fig.tight_layout()
show(
    fig,
    f"Without a baseline the gradient of a batch has a noise of {noise['none']:.2f}, with one "
    f"{noise['mean of the others']:.2f}. The mean of all eight shrinks the gradient to "
    f"{size['mean of all']:.2f} of its size (7/8 in theory), the mean of the others leaves it at "
    f"{size['mean of the others']:.2f}.",
)
claim("a baseline takes away more than half of the noise", noise["mean of the others"] < 0.5 * noise["none"])

# %% [markdown] minutes=3
# ## 2 · The other replies as a baseline
#
# A cheap and good baseline is at hand: the other of the $K$ replies to the same prompt. They must be *other* ones.
# If $R_i$ is part of its own baseline, the two are no longer independent, and the gradient shrinks by a factor
# $(K-1)/K$. Leaving it out is RLOO, "REINFORCE, leave one out":
#
# $$A_i = R_i - \frac{1}{K-1}\sum_{j\ne i} R_j$$
#
# Source: Kool and others 2019; Ahmadian and others 2024, arXiv 2402.14740.

# %% [markdown]
# ### Exercise 8.2 · Leave one out
#
# `rewards` is `(prompts, replies)`; so are the advantages.
#
# 1. **By hand**: rewards 1, 2, 6. What are the three advantages?
# 2. **Write** it without a loop.
#
# <details><summary>Hint 1: without a loop</summary>How do you get from the sum of a whole row to the mean of all but one?</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>(rewards.sum(dim=-1, keepdim=True) - rewards) / (k - 1)</code>
# is the mean of the others; <code>keepdim</code> keeps a column to subtract from.</details>
#
# What you should see: -3, -1.5 and 4.5, which sum to 0.

# %% exercise="8.2" function="valuelab.rlhf.losses.leave_one_out" minutes=8 stars=1

# %%
leave_one_out = check("8.2", leave_one_out)

# %%
by_hand = leave_one_out(torch.tensor([[1.0, 2.0, 6.0]]))
claim("by hand and by function: -3, -1.5 and 4.5", torch.allclose(by_hand, torch.tensor([[-3.0, -1.5, 4.5]])))
claim("equal rewards teach nothing", bool((leave_one_out(torch.ones(2, 4)) == 0).all()))

# %% [markdown] minutes=6
# ## 3 · The leash, and where to tie it
#
# A policy that only chases the reward forgets how to speak, so we charge for distance from the base:
# $J = E[R] - \beta\,KL(\pi\|\pi_{ref})$. The KL is estimated from the sampled replies. With
# $\rho = \log\pi(y) - \log\pi_{ref}(y)$,
#
# $$k_1 = \rho, \qquad k_2 = \tfrac12\rho^2, \qquad k_3 = e^{-\rho} - 1 + \rho$$
#
# There are two places for it. **In the reward**: $R_i - \beta k_1$, a number that the score function
# multiplies. **In the loss**: add $\beta k$ and let autograd differentiate it. They are *not* the
# same. A trainer draws first and differentiates afterwards, so what it follows on average is
# $\sum_y \pi(y)\,\nabla k(y)$ with $\pi(y)$ held fixed. (Schulman 2020 for the estimators.)

# %% [markdown]
# ### Exercise 8.3 · What a trainer would follow
#
# Return that mean gradient for the `logits` `(n,)` of a policy over n replies.
#
# 1. **Predict** it for $k_1$, using the identity of section 1.
# 2. **Write** it with autograd; the estimator is a function of `log_p` and `log_ref`.
#
# <details><summary>Hint 1: held fixed</summary><code>log_p.detach().exp()</code> are the weights.</details>
#
# <details><summary>Hint 2: nearly the whole</summary>Work on <code>logits.detach().clone().requires_grad_()</code>;
# <code>log_p</code> is its <code>log_softmax</code>; the loss is the weights times <code>estimator(log_p, log_ref)</code>,
# summed; <code>torch.autograd.grad</code> leaves no traces.</details>
#
# What you should see: for $k_1$ nothing but zeros.

# %% exercise="8.3" function="valuelab.rlhf.kl.gradient_as_loss" minutes=12 stars=3

# %%
gradient_as_loss = check("8.3", gradient_as_loss)

# %% [markdown]
# ### Exercise 8.4 · A steadier estimate
#
# $e^{-\rho} - 1$ averages to 0 over samples of $\pi$ (its mean is $\sum\pi_{ref} - 1$), so adding it
# to $\rho$ leaves the mean alone; and $e^{-\rho} - 1 + \rho \ge 0$ always. `log_p` and `log_ref` are log-probabilities
# of the samples, of any one shape; return $k_3$ of each.
#
# <details><summary>Hint 1: two traps</summary>The sign: ρ = log π - log π_ref, for samples of π. And small numbers: early in
# training ρ is tiny, and exp(-ρ) - 1 cancels to noise in float32.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>torch.expm1(-rho) + rho</code></details>
#
# What you should see: the same mean as $k_1$ and a fraction of its spread.

# %% exercise="8.4" function="valuelab.rlhf.kl.k3" minutes=6 stars=1

# %%
k3 = check("8.4", k3)

# %% [markdown]
# Forty replies, so that all means and gradients are exact. Which estimator would you trust as a number, and which as a loss?

# %%
torch.manual_seed(0)
ref = torch.log_softmax(torch.randn(40, dtype=torch.float64), 0)
near = (ref + 0.5 * torch.randn(40, dtype=torch.float64)).requires_grad_()
log_pi = torch.log_softmax(near, 0)
weight = log_pi.exp().detach()
truth = float(exact_kl(log_pi, ref).detach())
wanted = torch.autograd.grad(exact_kl(log_pi, ref), near)[0]
forward = torch.autograd.grad(exact_kl(ref, torch.log_softmax(near, 0)), near)[0]
table = {}
for name, f in {"k1": k1, "k2": k2, "k3": k3}.items():
    values = f(log_pi, ref).detach()
    mean = float((weight * values).sum())
    table[name] = (mean, float((weight * (values - mean) ** 2).sum().sqrt()), gradient_as_loss(f, near, ref))
rows = [f"| {n} | {m:.3f} | {s:.3f} | {float(v @ wanted / (v.norm() * wanted.norm()).clamp(min=1e-9)):.2f} |"
        for n, (m, s, v) in table.items()]
head = ["| estimator | mean | spread | as a loss: cosine with the gradient of KL(π ‖ ref) |", "|---|---|---|---|"]
display(Markdown("\n".join([*head, *rows, "", f"The exact KL is {truth:.3f} nats."])))
claim("k1 and k3 have the exact KL as their mean, k2 has not",
      abs(table["k1"][0] - truth) < 1e-9 and abs(table["k3"][0] - truth) < 1e-9 and abs(table["k2"][0] - truth) > 1e-3)
claim("k3 spreads less than k1", table["k3"][1] < 0.7 * table["k1"][1])
claim("as a loss k1 has no gradient at all", table["k1"][2].abs().max() < 1e-12)
claim("as a loss k2 has the gradient of KL(π ‖ ref)", torch.allclose(table["k2"][2], wanted))
claim("as a loss k3 has the gradient of the other KL, KL(ref ‖ π)", torch.allclose(table["k3"][2], forward))

# %% [markdown]
# So RLOO puts $k_1$ in the *reward* (`kl_in_reward`), where the score function multiplies it.

# %%
paid = kl_in_reward(torch.zeros(40, dtype=torch.float64), log_pi[:, None], ref[:, None], torch.ones(40, 1), 1.0)
again = torch.log_softmax(near, 0)
through_reward = torch.autograd.grad(-(weight * paid * again).sum(), near)[0]
claim("in the reward, k1 pulls with the exact gradient", torch.allclose(through_reward, wanted))

# %% [markdown] minutes=5
# ## 4 · GRPO: scale, then clip
#
# GRPO takes the mean of the whole group and divides by the group's standard deviation. That makes
# every prompt count alike, the one where all replies are nearly equal and the one where everything is
# at stake (lesson 07 showed what that does to a transform). It also updates several times on one
# batch. The policy then is no longer the one that was sampled, and the ratio $\pi/\pi_{old}$ corrects
# for that, but only within a clip, $1-\epsilon_{low}$ to $1+\epsilon_{high}$ (0.2 each is usual). At token $t$ of reply $i$,
# with the reply's advantage $A_i$ at each of its tokens:
#
# $$L_{it} = -\min\big(\tfrac{\pi}{\pi_{old}} A_i,\; \mathrm{clip}(\tfrac{\pi}{\pi_{old}}, 1-\epsilon_{low}, 1+\epsilon_{high})\,A_i\big)$$
#
# Sources: GRPO, arXiv 2402.03300; PPO's clip, arXiv 1707.06347.

# %% [markdown]
# ### Exercise 8.5 · Group scaling
#
# $(R - \text{mean}) / (\text{std} + \epsilon)$ for `rewards` `(prompts, replies)`. The mean is always the group's; `scale`
# says whose standard deviation: the group's, the batch's, or none. The group's is `standardise` of exercise 7.7, and
# `centre` of lesson 07 takes the mean away; both are there for use.
#
# <details><summary>Hint 1: centre first</summary><code>centre(rewards)</code>, that is,
# <code>rewards - rewards.mean(dim=-1, keepdim=True)</code></details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>standardise(rewards, eps=eps)</code> for "group". For "batch" the
# centred rewards over <code>rewards.std() + eps</code>: torch divides by n - 1, as the trainers do. For "none" only the
# mean goes.</details>
#
# What you should see: with "group" a prompt whose replies differ by a hundredth pulls as hard as one
# where they differ by ten.

# %% exercise="8.5" function="valuelab.rlhf.losses.group_normalised" minutes=8 stars=1

# %%
group_normalised = check("8.5", group_normalised)

# %%
spread = torch.tensor([0.01, 0.1, 1.0, 10.0])[:, None]
rewards = spread * torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
pull = {s: group_normalised(rewards, s).abs().mean(1) for s in ("group", "batch", "none")}
fig, ax = plt.subplots(figsize=(6, 3.4))
for (name, values), style in zip(pull.items(), ("o-", "s--", "^:"), strict=True):
    ax.loglog(spread[:, 0], values, style, label=f"scale = {name}")
ax.set(xlabel="how much the replies to a prompt differ", ylabel="mean |advantage|")
ax.legend(fontsize=10)
show(fig, f"From the dullest to the liveliest prompt the pull grows {pull['none'][3] / pull['none'][0]:.0f}-fold "
     f"without scaling and {pull['group'][3] / pull['group'][0]:.2f}-fold with the group's.")
claim("group scaling makes a spread of a hundredth count as much as a spread of ten", pull["group"][3] < 2 * pull["group"][0])

# %% [markdown]
# ### Exercise 8.6 · The clip
#
# `log_ratio` is $\log\pi - \log\pi_{old}$, any shape; return the loss of each element.
#
# **Predict** the gradient in four cases: the ratio has gone beyond the clip upwards or downwards, and
# the advantage is positive or negative.
#
# <details><summary>Hint 1: first the ratio</summary><code>log_ratio.exp()</code>, then <code>clamp</code>.</details>
#
# <details><summary>Hint 2: nearly the whole</summary>Minus <code>torch.minimum(ratio * advantage, kept * advantage)</code>,
# where <code>kept</code> is clamped: the worse of the two products. A profit beyond the clip is not believed, a loss
# always is.</details>
#
# What you should see: no gradient where the policy has already moved far in the wanted direction;
# full gradient where it has moved far in the wrong one.

# %% exercise="8.6" function="valuelab.rlhf.losses.clipped_loss" minutes=10 stars=2

# %%
clipped_loss = check("8.6", clipped_loss)

# %%
far = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
slope = torch.autograd.grad(clipped_loss(far, torch.tensor([1.0, -1.0, 1.0, -1.0])).sum(), far)[0]
claim("far up with A > 0 and far down with A < 0 have no gradient left", bool(slope[0] == 0 and slope[3] == 0))
claim("moves in the wrong direction are always called back", bool(slope[1] > 0 and slope[2] < 0))

# %% [markdown] minutes=8
# ## 5 · The loop, for one minute
#
# Everything is there. One step of `valuelab.rlhf.loop`: draw replies, score them, `kl_in_reward`,
# `leave_one_out`, the clipped loss of whole replies, one step of AdamW. The curves in the first figure
# come from a sweep that is stored with the course (`python -m valuelab sweep` makes it again;
# stopped half-way, it goes on where it was). Is it what your machine does? Here are the first steps of one
# of its runs, made afresh.

# %%
cell = next(c for c in experiment.sweep() if c.arm == "one" and c.config.beta == BETA and c.config.seed == 0)
SLICE = 4
slice_rows, _ = experiment.run_cell(lm, cell, every=SLICE, steps=SLICE)
kept = experiment.curve(sweep, "one", BETA, 0)
band = [experiment.curve(sweep, "one", BETA, s) for s in SEEDS]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4))
for ax, key, title in zip(axes, ("kl", "proxy_a"), ("KL from the base", "mentions of security"), strict=True):
    for run in band:
        ax.plot(run["step"], run[key], "-", color="0.6", lw=1)
    ax.plot(kept["step"], kept[key], "o", color="C0", label="stored, seed 0")
    ax.plot([r["step"] for r in slice_rows], [r[key] for r in slice_rows], "*", ms=14, color="C1", label="just now")
    ax.set(title=title, xlabel="step")
    ax.legend(fontsize=10)
fig.tight_layout()
now, then = slice_rows[-1], {k: v[kept["step"] == SLICE][0] for k, v in kept.items()}
show(fig, f"After {SLICE} steps: KL {now['kl']:.2f} now and {then['kl']:.2f} stored; mentions {now['proxy_a']:.2f} "
     f"and {then['proxy_a']:.2f}. Grey: the stored runs.")
reached = np.array([run["proxy_a"][run["step"] == SLICE][0] for run in band])
width = reached.max() - reached.min() + 0.15 * (reached.mean() - first_proxy)
claim("the slice lies on the stored curve", abs(now["proxy_a"] - then["proxy_a"]) < width)

# %% [markdown] minutes=6
# ## 6 · Goodhart, seen happening
#
# Goodhart's law: a measure that becomes a target stops being a good measure. The proxy tells something about the
# base model's replies, and little about replies that were made to please it. A law fitted to many such curves
# takes the distance as $d = \sqrt{KL}$: $\text{gain} = d\,(\alpha - \gamma\log d)$, with its top at
# $d = e^{\alpha/\gamma - 1}$ (Gao and others 2022, arXiv 2210.10760, who write $\beta$ for $\gamma$). Three strengths of
# the leash, each run judged by its *measured* KL. Does the distance alone decide how much gold is left? Then all
# three would lie on one curve. **Predict.**

# %%
BETAS = sorted({r["beta"] for r in sweep if r["arm"] == "one"})
runs_of = {b: experiment.curve(sweep, "one", b) for b in BETAS}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharex=True)
turns = []
for (b, run), marker, colour in zip(runs_of.items(), "os^", ("C0", "C1", "C2"), strict=True):
    axes[0].plot(run["kl"], run["proxy_a"], marker, color=colour, label=f"β = {b:g}")
    axes[1].plot(run["kl"], run["gold_a"], marker, color=colour, label=f"β = {b:g}")
    speaking = run["coherent"] > 0.5  # beyond, nothing is left to judge: gold stands at its floor
    walked, gain = run["kl"][speaking], run["gold_a"][speaking] - base_gold
    alpha, bend = laws.fit_overoptimisation(walked, gain)
    grid = np.geomspace(0.02, walked.max(), 200)
    axes[1].plot(grid, base_gold + np.sqrt(grid) * (alpha - bend * np.log(np.sqrt(grid))), color=colour, lw=1)
    top = laws.turning_point(alpha, bend)
    turns.append(f"at {top:.1f} nats for β = {b:g}" if top < walked.max() else
                 f"for β = {b:g} not within the {walked.max():.1f} nats of its runs")
bon = experiment.curve(sweep, "best-of-n one")
axes[0].plot(bon["kl"], bon["proxy_a"], "k--", lw=1.2, label="best-of-n")
axes[1].plot(bon["kl"], bon["gold_a"], "k--", lw=1.2, label="best-of-n")
risen = experiment.at_kl(sweep, "one", "gold_a", 0.75, BETA) - base_gold
for ax, title in zip(axes, ("proxy: mentions", "gold"), strict=True):
    ax.set(title=title, xlabel="KL from the base (nats)", xscale="symlog")
    ax.legend(fontsize=10)
fig.tight_layout()
sense = [experiment.curve(sweep, "one", BETA, s)["coherent"][-1] for s in SEEDS]
show(fig, f"Proxy and gold over measured KL. Lines: the law, fitted to the runs of one leash as far as more than half of the replies "
     f"are still coherent. It turns {'; '.join(turns)}. At the end of the runs with β = {BETA:g} {np.mean(sense):.0%} of the replies "
     f"still make sense, and gold is {last.mean():.2f}; a reply that falls apart counts -2. Best-of-{bon['step'][-1]:.0f} is "
     f"{bon['kl'][-1]:.1f} nats away, where its gold is {bon['gold_a'][-1]:.2f} ({bon['gold_a'].max():.2f} at best). At 0.75 nats "
     f"the gain in gold is {np.mean(risen):.2f} ± {half(risen):.2f} (β = {BETA:g}, 95 %, {len(SEEDS)} seeds).")

# %%
reached_by_all = 0.9 * min(experiment.curve(sweep, "one", b, s)["kl"].max() for b in BETAS for s in SEEDS)
gold_there = {b: experiment.at_kl(sweep, "one", "gold_a", reached_by_all, b) for b in BETAS}
apart = gold_there[BETAS[-1]] - gold_there[BETAS[0]]
display(Markdown(
    f"Gold where each run passes {reached_by_all:.1f} nats: "
    + ", ".join(f"{x.mean():.2f} (β = {b:g})" for b, x in gold_there.items())
    + f". The tightest leash minus the loosest: {apart.mean():+.2f} ± {half(apart):.2f} (95 %, {len(SEEDS)} seeds). "
    + ("At the same distance a much tighter leash has more gold, so the distance alone does not decide." if apart.mean() > half(apart)
       else "No difference was shown at the same distance.")
))

# %% [markdown]
# What does a judged reply look like? Of 64 replies of the base model to each question, the one with most mentions:

# %%
asked = experiment.situations("held_out", 24, 8)[:4]
replies = sample_groups(lm, [models.chat(lm, s.text) for s in asked], 64, max_new_tokens=experiment.TOKENS,
                        generator=torch.Generator().manual_seed(3)).texts
scores = experiment.proxies(replies)[0].view(4, 64)
golds = experiment.golds([s for s in asked for _ in range(64)], replies)[0].view(4, 64)
lines = ["| question | most mentions of 64 replies | mentions | gold |", "|---|---|---|---|"]
for i, s in enumerate(asked):
    k = int(scores[i].argmax())
    lines.append(f"| {s.text} | {replies[64 * i + k]} | {scores[i, k] / experiment.SCALE:.0f} | {golds[i, k]:.1f} |")
agree = float(np.corrcoef(scores.flatten(), golds.flatten())[0, 1])
lines += ["", f"The judge counts a mention whatever the reply says of it. Over all {scores.numel()} replies proxy and gold "
          f"correlate at {agree:.2f}."]
display(Markdown("\n".join(lines)))
claim("on replies of the base model proxy and gold are correlated, above 0.2", agree > 0.2)
claim("in the end the proxy is more than twice its start in every run", bool((last_proxy > 2 * first_proxy).all()))
claim("in the end gold lies below its best in every run", bool((last < best - 0.3).all()))

# %% [markdown] minutes=6
# ## 7 · Two values: the transform at work in the lower tail
#
# Now a reply should stand for security **and** benevolence. Two counting judges; five ways to make one
# reward of them: the raw sum; two weighted sums; the sum with the weights of a palette (lesson 07's MAP:
# the nearest policy that lifts both judges half-way to their references, solved on replies of the base);
# and lesson 07's AND, $\sum_i \log\sigma(r_i - r_i^{ref})$. All trained by RLOO with the same β; compared
# where each run passes the same KL. "Both good" counts replies whose gold is positive for both; "lower tail" is the
# question at the 10th percentile. **Predict**: does the lead of the AND in lesson 07's simulation show here, too?

# %%
METHODS = {"w0.5": "raw sum", "w0.33": "sum, 1 : 2", "w0.67": "sum, 2 : 1", "map": "palette", "and": "AND of transforms"}
reach = min(experiment.curve(sweep, m, seed=s)["kl"].max() for m in METHODS for s in SEEDS)
KL = min(1.0, 0.95 * reach)


def compare(kl):
    """Mean over seeds and half a 95 % interval of both-good rate and lower tail of each method."""
    out = {}
    for m in METHODS:
        for key in ("both_good", "tail_both", "gold_a", "gold_b", "coherent"):
            x = experiment.at_kl(sweep, m, key, kl)
            out[m, key] = (x.mean(), half(x), x)
    return out


def draw(kl=KL):
    """Both-good rate and lower tail of the methods where their runs pass a KL of `kl`."""
    found = compare(kl)
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), sharey=True)
    start = experiment.curve(sweep, "and")
    for ax, key, title in zip(axes, ("both_good", "tail_both"), ("share of replies good in both", "gold, 10th percentile of questions"), strict=True):
        mean = [found[m, key][0] for m in METHODS]
        width = [found[m, key][1] for m in METHODS]
        ax.errorbar(mean, range(len(METHODS)), xerr=width, fmt="o", capsize=4)
        ax.axvline(start[key][start["step"] == 0].mean(), color="0.5", ls=":", label="base")
        ax.set(title=title)
        ax.legend(fontsize=10)
    axes[0].set_yticks(range(len(METHODS)), list(METHODS.values()))
    fig.tight_layout()
    text = "; ".join(f"{label}: both good {found[m, 'both_good'][0]:.0%}, tail {found[m, 'tail_both'][0]:.2f}"
                     for m, label in METHODS.items())
    show(fig, f"At {kl:.1f} nats, means and 95 % intervals of {len(SEEDS)} seeds. {text}.")


draw()
share = np.array(made["map"]["weights"]) / sum(made["map"]["weights"])
display(Markdown(f"The palette's weights: {share[0]:.2f} for security, {share[1]:.2f} for benevolence. Nobody chose them; "
                 "they follow from what the base model says and from how much was asked of it."))

# %% tags=["widget"]
from ipywidgets import interact

interact(draw, kl=(0.25, float(np.floor(4 * reach) / 4), 0.25))

# %%
found = compare(KL)
sums = [m for m in METHODS if m != "and"]
best_sum = max(sums, key=lambda m: found[m, "both_good"][0])


def verdict(gap):
    """A difference over seeds in words: its interval decides."""
    if abs(gap.mean()) <= half(gap):
        return f"{gap.mean():+.3f} ± {half(gap):.3f}: the interval holds 0, nothing was shown either way"
    return f"{gap.mean():+.3f} ± {half(gap):.3f}: the {'AND' if gap.mean() > 0 else 'sum'} is ahead"


gaps = {key: found["and", key][2] - found[best_sum, key][2] for key in ("both_good", "tail_both")}
display(Markdown(
    f"AND minus the best of {len(sums)} sums ({METHODS[best_sum]}, chosen with hindsight) at {KL:.2f} nats, 95 %, "
    f"{len(SEEDS)} seeds.\n\n- Both good: {verdict(gaps['both_good'])}.\n- Lower tail: {verdict(gaps['tail_both'])}."
))

# %% [markdown]
# Did training with each reward do good at all, before asking which did most? The gold of the values it was paid for, at
# the same distance from the base, minus the base's own: one number a seed.

# %%
NEAR = 0.5


def rise(arm, gold, kl=NEAR):
    """Mean gain in `gold` at a KL of `kl` over the base, (seeds,)."""
    start = {k: np.array([experiment.curve(sweep, arm, BETA, seed=s)[k][0] for s in SEEDS]) for k in gold}
    return sum(experiment.at_kl(sweep, arm, k, kl, beta=BETA) - start[k] for k in gold) / len(gold)


gains = {"one value": rise("one", ("gold_a",)), **{label: rise(m, ("gold_a", "gold_b")) for m, label in METHODS.items()}}
display(Markdown(f"| reward | gain in gold at {NEAR} nats | beyond 0? |\n|---|---|---|\n" + "\n".join(
    f"| {label} | {x.mean():+.2f} ± {half(x):.2f} | {'yes' if x.mean() > half(x) else 'not shown'} |" for label, x in gains.items())))
claim("near to the base each reward raised the gold it was paid for, beyond chance", all(x.mean() > half(x) for x in gains.values()))

# %% [markdown]
# Equal distance is the fair question about *direction*. Here is the other one: how far does each reward
# drive the policy in the same number of steps? A raw sum pays the fifth mention like the first. The
# terms of the AND are spent once both references are passed.

# %%
ends = {m: [experiment.curve(sweep, m, seed=s) for s in SEEDS] for m in METHODS}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
for (m, label), style in zip(METHODS.items(), ("o-", "s--", "^:", "v--", "d-."), strict=True):
    for ax, key in zip(axes, ("kl", "coherent"), strict=True):
        ax.plot(ends[m][0]["step"], np.mean([r[key] for r in ends[m]], 0), style, ms=5, label=label)
axes[0].set(xlabel="step", ylabel="KL from the base (nats)", yscale="symlog")
axes[1].set(xlabel="step", ylabel="replies that make sense")
axes[1].legend(fontsize=10, loc="lower left")
fig.tight_layout()
final = {m: {k: np.array([r[k][-1] for r in ends[m]]) for k in ("kl", "coherent", "both_good", "tail_both")} for m in METHODS}
show(fig, f"After {int(ends['and'][0]['step'][-1])} steps of the same size: "
     + "; ".join(f"{label}: KL {final[m]['kl'].mean():.1f}, {final[m]['coherent'].mean():.0%} make sense, both good "
                 f"{final[m]['both_good'].mean():.0%}, tail {final[m]['tail_both'].mean():.2f}" for m, label in METHODS.items())
     + f". Means of {len(SEEDS)} seeds.")
claim("in the same steps the AND drives the policy less far than the raw sum",
      final["and"]["kl"].mean() < final["w0.5"]["kl"].mean())

# %% [markdown] minutes=5
# ## 8 · Entropy: what it is spent on
#
# The **entropy** of a policy, $H = -\sum_v \pi(v)\log\pi(v)$ over the next token $v$, in nats, says how open its choice
# still is. Each step makes rewarded replies likelier, and a policy that was sure of them already gets surer. To first
# order in a natural-gradient step of size $\eta$ the entropy changes by minus the covariance of log-probability and
# advantage (arXiv 2505.22617; after a plain gradient step $A$ carries a factor $\pi$):
#
# $$\Delta H \approx -\eta\,\mathrm{Cov}\big(\log\pi,\ A\big), \qquad
# \mathrm{Cov}_i = (A_i - \bar A)(\log\pi_i - \overline{\log\pi})$$
#
# The bars are means over the sampled tokens $i$. The covariance is spread unevenly over them. **KL-Cov** holds the top
# ones back with a penalty on their change, **Clip-Cov** leaves some of them out of the loss. A penalty needs several
# updates a batch: on the first one $\pi = \pi_{old}$, and there is no change to penalise.

# %% [markdown]
# ### Exercise 8.7 · Each token's part
#
# `log_p` and `mask` are `(n, t)`, `advantage` `(n,)`; return `(n, t)`, zero outside the mask.
#
# <details><summary>Hint 1: one advantage for all tokens of a reply</summary><code>advantage[:, None].expand_as(log_p)</code></details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>masked_mean(x, mask)</code> leaves padding out: subtract it from
# both, multiply, and multiply by the mask. No gradient is wanted: <code>.detach()</code> both.</details>
#
# What you should see: summed up and divided by the tokens, an ordinary covariance.

# %% exercise="8.7" function="valuelab.rlhf.losses.token_covariance" minutes=10 stars=2

# %%
token_covariance = check("8.7", token_covariance)

# %% [markdown]
# ### Exercise 8.8 · The tokens to hold
#
# Choose the tokens with the largest covariance and count them. Their number is the `share` of all tokens of replies,
# rounded to the nearest whole number, and at least one. Return `Selection(tokens, count, of)`.
#
# <details><summary>Hint 1: padding must not win</summary><code>covariance.masked_fill(~mask.bool(), -torch.inf)</code></details>
#
# <details><summary>Hint 2: the largest k of a matrix</summary><code>.flatten().topk(k).indices</code>, then a mask of
# the flat shape, then <code>view_as</code>.</details>
#
# What you should see: below, how much two tokens in a hundred carry.

# %% exercise="8.8" function="valuelab.rlhf.losses.kl_cov" minutes=10 stars=2

# %%
kl_cov = check("8.8", kl_cov)

# %%
train_on = experiment.situations("train", 64, 7)[:8]
batch = sample_groups(lm, [models.chat(lm, s.text) for s in train_on], 8, max_new_tokens=experiment.TOKENS,
                      generator=torch.Generator().manual_seed(0))
advantage = leave_one_out(experiment.proxies(batch.texts)[0].view(8, 8)).flatten()
cov = token_covariance(batch.log_old, advantage, batch.mask)
chosen = kl_cov(cov, batch.mask, share=0.02)
ordered = cov[batch.mask].sort(descending=True).values
costs = ordered.clamp(min=0).sum()
carried = float(cov[chosen.tokens].sum() / costs)
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(np.linspace(0, 100, len(ordered)), ordered.cumsum(0) / costs)
ax.axvline(2, color="0.5", ls=":")
ax.set(xlabel="tokens, largest Cov first (%)", ylabel="running sum of Cov,\nas a share of the positive ones")
show(fig, f"In one batch of {len(batch.texts)} replies KL-Cov takes {chosen.count} of {chosen.of} tokens; they carry {carried:.0%} of "
     f"the positive covariance, which costs entropy. It comes from {float((ordered > 0).double().mean()):.0%} of the tokens; the negative "
     f"ones give entropy back, and leave {float(ordered.sum() / costs):.0%} of it.")
claim("two tokens in a hundred carry more than a tenth of the covariance that costs entropy", carried > 0.1)

# %% [markdown]
# Now the collapse and its repair, where all of it can be watched: a policy of six positions and thirty
# words, every word with a fixed worth, three updates on each batch of 32 replies. The repair has a
# price: it slows learning down. So compare at the *same reward*, not at the same step.

# %%
POSITIONS, WORDS = 6, 30


def learn(hold, steps=80, lr=0.5):
    """Mean reward and entropy before each step; `hold` is the share of tokens that KL-Cov penalises."""
    g = torch.Generator().manual_seed(0)
    table, worth = torch.randn(POSITIONS, WORDS, generator=g), torch.randn(POSITIONS, WORDS, generator=g)
    table.requires_grad_()
    g = torch.Generator().manual_seed(1)
    every, path = torch.ones(32, POSITIONS), []
    for _ in range(steps):
        pi = torch.softmax(table.detach(), -1)
        path.append((float((pi * worth).sum()), float(-(pi * pi.log()).sum(-1).mean())))
        words = torch.multinomial(pi, 32, replacement=True, generator=g)  # (positions, replies)
        old = pi.log().gather(1, words).T
        reward = worth.gather(1, words).sum(0) + torch.randn(32, generator=g)
        advantage = leave_one_out(reward[None])[0]
        for _ in range(3):
            log_p = torch.log_softmax(table, -1).gather(1, words).T
            cov = token_covariance(log_p, advantage, every)
            held = kl_cov(cov, every, hold).tokens if hold else torch.zeros_like(every, dtype=torch.bool)
            loss = kl_cov_loss(log_p, old, advantage, every, held, 3.0)
            with torch.no_grad():
                table -= lr * torch.autograd.grad(loss, table)[0]
    return np.array(path)


free, held = learn(0.0), learn(0.2)
goal = 0.95 * min(free[:, 0].max(), held[:, 0].max())


def entropy_at(path):
    """Entropy where the reward first passes the goal."""
    return path[np.argmax(path[:, 0] >= goal), 1]


fig, axes = plt.subplots(1, 2, figsize=(9, 3.4))
for path, style, label in ((free, "-", "no control"), (held, "--", "KL-Cov")):
    axes[0].plot(path[:, 1], style, label=label)
    axes[1].plot(path[:, 0], path[:, 1], style, label=label)
axes[0].set(xlabel="step", ylabel="entropy of a word (nats)")
axes[1].axvline(goal, color="0.5", ls=":")
axes[1].set(xlabel="expected reward", ylabel="entropy of a word (nats)")
axes[1].legend(fontsize=10)
fig.tight_layout()
show(fig, f"Entropy falls from {free[0, 1]:.2f} to {free[-1, 1]:.2f} nats without control. Where the reward passes "
     f"{goal:.1f}, it is {entropy_at(free):.2f} without and {entropy_at(held):.2f} with KL-Cov, which needed "
     f"{int(np.argmax(held[:, 0] >= goal))} steps instead of {int(np.argmax(free[:, 0] >= goal))}.")
claim("without control a third of the entropy is gone", free[-1, 1] < 0.67 * free[0, 1])
claim("at the same reward KL-Cov keeps more entropy", entropy_at(held) > entropy_at(free) + 0.1)
claim("and it learns more slowly", np.argmax(held[:, 0] >= goal) > np.argmax(free[:, 0] >= goal))

# %% [markdown] minutes=3
# ### The same on the model
#
# Four kinds of runs of the stored sweep: three updates a batch and nothing else; KL-Cov; Clip-Cov; and the
# oldest remedy, an **entropy bonus** added to what is maximised. The question is again what entropy is left
# at the same reward, here the same number of mentions on held-out questions. **Predict**: does the entropy
# collapse as in the toy?

# %%
CONTROLS = {"updates": "no control", "kl-cov": "KL-Cov", "clip-cov": "Clip-Cov", "bonus": "entropy bonus"}
trained = experiment.stored(experiment.STEPS)
paths = {a: [experiment.curve(trained, a, seed=s) for s in SEEDS] for a in CONTROLS}
level = 0.9 * min(experiment.curve(sweep, a, seed=s)["proxy_a"].max() for a in CONTROLS for s in SEEDS)
left = {a: {k: experiment.at_kl(sweep, a, k, level, by="proxy_a") for k in ("entropy", "kl", "gold_a", "distinct")} for a in CONTROLS}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
for (a, label), style in zip(CONTROLS.items(), ("-", "--", ":", "-."), strict=True):
    entropy, reward = (np.mean([p[k] for p in paths[a]], 0) for k in ("entropy", "reward"))
    axes[0].plot(entropy, style, label=label)
    axes[1].plot(reward / experiment.SCALE, entropy, style, label=label)
axes[0].set(xlabel="step", ylabel="entropy of a token (nats)")
axes[1].set(xlabel="mentions in the training replies", ylabel="entropy of a token (nats)")
axes[0].legend(fontsize=10)
fig.tight_layout()
show(fig, f"Means of {len(SEEDS)} runs. After {len(entropy)} steps: " + "; ".join(
    f"{label} {np.mean([p['entropy'][-1] for p in paths[a]]):.2f} nats" for a, label in CONTROLS.items())
    + f", from {np.mean([p['entropy'][0] for p in paths['updates']]):.2f} at the start.")
lines = ["| control | tokens held, of all in a batch | entropy | KL | gold | distinct word pairs |", "|---|---|---|---|---|---|"]
for a, label in CONTROLS.items():
    counts = np.mean([[p["selected"].mean(), p["tokens"].mean()] for p in paths[a]], 0)
    cells = " | ".join(f"{left[a][k].mean():.2f} ± {half(left[a][k]):.2f}" for k in left[a])
    held_tokens = f"{counts[0]:.0f} of {counts[1]:.0f}" if a in ("kl-cov", "clip-cov") else "none"
    lines.append(f"| {label} | {held_tokens} | {cells} |")
lines += ["", f"At {level:.1f} mentions a reply; ± is half a 95 % interval over seeds. Gold there is {left['updates']['gold_a'].mean():.2f} "
          f"without control, {base_gold:.2f} at the start: " + ("whatever entropy was kept, the reward it was kept for is no longer "
          "what was wanted." if left["updates"]["gold_a"].mean() < base_gold else "the reward is still worth having.")]
first, lowest, end = (np.mean([f(p["entropy"]) for p in paths["updates"]]) for f in (lambda h: h[0], min, lambda h: h[-1]))
lines.append(f"- Without control entropy goes from {first:.2f} over {lowest:.2f} at its lowest to {end:.2f}: "
             + ("it ends where it began or above, so here no collapse needed a repair; a policy that stops making sense is not sure of "
                "its next word." if end >= 0.95 * first else "it falls, as in the toy."))
for a, label in list(CONTROLS.items())[1:]:
    kept_more = left[a]["entropy"] - left["updates"]["entropy"]
    outcome = "the interval holds 0: no difference was shown" if abs(kept_more.mean()) <= half(kept_more) else \
        "it keeps more" if kept_more.mean() > 0 else "it keeps less"
    lines.append(f"- {label} against no control: entropy {kept_more.mean():+.3f} ± {half(kept_more):.3f} nats; {outcome}.")
display(Markdown("\n".join(lines)))

# %% [markdown] minutes=3
# ### A law for what entropy buys?
#
# The paper fits $R = -a\,e^{H} + b$ to runs of large models: reward is bought with entropy, and at
# $H = 0$ nothing is left to spend, so the ceiling is $b - a$. What we can do is smaller: a fit over a
# few short runs of one small model. A good fit to points that it has seen would say little. So fit the
# first half of each run, predict the second from its entropies, and compare with a guess that needs no
# law: the reward stays where it is.

# %%
RUNS = [(a, b, s) for a, b in (("one", BETA), ("updates", None)) for s in SEEDS]
fits = {}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True)
for a, b, s in RUNS:
    run = experiment.curve(trained, a, b, s)
    law, error, guess = fits[a, s] = laws.extrapolation(run["entropy"], run["reward"])
    ax, colour, seen = axes[int(a == "updates")], plots.COLORS[s], len(run["step"]) // 2
    ax.plot(run["entropy"][:seen], run["reward"][:seen], "o", color=colour, ms=5)
    ax.plot(run["entropy"][seen:], run["reward"][seen:], "x", color=colour, ms=6)
    across = np.linspace(run["entropy"].min(), run["entropy"].max(), 50)
    ax.plot(across, law(across), "-", color=colour, lw=1)
for ax, title in zip(axes, ("one update a batch", "three updates a batch"), strict=True):
    ax.set(title=title, xlabel="entropy of a token (nats)")
axes[0].set(ylabel="reward")
fig.tight_layout()
better = sum(error < guess for _, error, guess in fits.values())
bought = sum(law.a[0] > 0 for law, _, _ in fits.values())
errors = np.array([[e, g] for _, e, g in fits.values()])
whole = [laws.fit_entropy_law(*(experiment.curve(trained, "one", BETA, s)[k] for k in ("entropy", "reward"))) for s in SEEDS]
show(fig, f"Dots: the half of each run that was fitted; crosses: the half held out; lines: the law. It predicts the held-out half "
     f"better than the guess in {better} of {len(fits)} runs (median error {np.median(errors[:, 0]):.2f} against {np.median(errors[:, 1]):.2f}). "
     "Fitted to whole runs with one update: a = " + ", ".join(f"{w.a[0]:.1f} [{w.a[1]:.1f}, {w.a[2]:.1f}]" for w in whole) + ".")
display(Markdown(
    "So here " + ("the law carries over to the steps it has not seen in most runs." if better > 0.8 * len(fits) else
                  "the law is no reliable guide to the steps it has not seen." if better < 0.6 * len(fits) else
                  "the law helps in some runs and not in others.")
    + f" It needs $a > 0$, reward bought with entropy; the first halves say so in {bought} of {len(fits)} runs."
    + " Either way it is a fit over a few small runs, not a law of training."
))

# %% [markdown] minutes=4
# ## A control that must fail
#
# A reward that is noise: each reply gets a random number. The loop runs, the loss moves, gradients
# flow; nothing may be *learnt*. **Predict**: will the KL stay at zero? (The caption says what the seeds allow.)

# %%
noisy = np.random.default_rng(0)
questions = [s.text for s in experiment.situations("train", 64, 7)]
trainer = Trainer(lm, questions, lambda q, r: torch.tensor(2 * noisy.standard_normal(len(r))), cell.config)
for _ in range(4):
    row = trainer.step()
noise_runs = [experiment.curve(sweep, "noise", seed=s) for s in SEEDS]
noise_proxy = np.array([r["proxy_a"][-1] for r in noise_runs])
noise_gold = np.array([r["gold_a"][-1] for r in noise_runs])
noise_kl = np.array([r["kl"][-1] for r in noise_runs])
steps = int(noise_runs[0]["step"][-1])
real = np.array([experiment.curve(sweep, "one", BETA, s)["proxy_a"] for s in SEEDS])
same_step = np.array([experiment.curve(sweep, "one", BETA, s)["proxy_a"][kept["step"] == steps][0] for s in SEEDS])
fig, ax = plt.subplots(figsize=(6, 3.2))
for r in noise_runs:
    ax.plot(r["step"], r["proxy_a"], "s--", color="C1", label="noise" if r is noise_runs[0] else None)
for s in SEEDS:
    c = experiment.curve(sweep, "one", BETA, s)
    ax.plot(c["step"][c["step"] <= steps], c["proxy_a"][c["step"] <= steps], "o-", color="C0", label="counting judge" if s == 0 else None)
ax.set(xlabel="step", ylabel="mentions of security")
ax.legend(fontsize=10)
show(fig, f"After {steps} steps on noise: {noise_proxy.mean():.2f} mentions (base {first_proxy:.2f}), gold "
     f"{noise_gold.mean():.2f} (base {base_gold:.2f}), at a KL of {noise_kl.mean():.2f} ± {half(noise_kl):.2f} nats (95 %, "
     f"{len(SEEDS)} seeds): " + ("the policy has moved, at random" if noise_kl.mean() > half(noise_kl) else
                                 "too little for these samples to show that it moved")
     + f". Just now, four steps: gradient norm {row['grad_norm']:.2f}.")
claim("gradients flow on a noise reward, too", row["grad_norm"] > 0)
claim("noise does not teach the proxy", bool((noise_proxy < first_proxy + 0.3 * (same_step.mean() - first_proxy)).all()))
claim("noise does not raise gold", bool((noise_gold < base_gold + 0.3).all()))

# %% [markdown]
# ## What we may claim
#
# About one small model, one planted world and judges built to be fooled.

# %%
claim("a reward that counts is first a help and then a harm: proxy up, gold below its best", bool((last < best - 0.3).all() and (last_proxy > 2 * first_proxy).all()))
claim("k1 belongs in the reward: as a loss its gradient is zero", table["k1"][2].abs().max() < 1e-12)
claim("group scaling makes dull prompts as loud as lively ones", pull["group"][3] < 2 * pull["group"][0])
claim("a transform that saturates runs less far in the same steps than a raw sum",
      final["and"]["kl"].mean() < final["w0.5"]["kl"].mean())
claim("a noise reward teaches nothing", bool((noise_gold < base_gold + 0.3).all()))

# %% [markdown]
# ## Questions

# %%
quiz(
    "An RLOO run logs a loss of 0.000 on every first update. Is it broken?",
    [
        ("Yes: a loss of zero has no gradient.", False,
         "Value and gradient are different things: the advantages of a group sum to 0, so the value is 0 where "
         "π = π_old, while the gradient is not."),
        ("No: the surrogate's value says nothing, its gradient does.", True,
         "On the first update all ratios are 1 and the advantages sum to 0."),
        ("Yes: the learning rate is too small.", False,
         "The learning rate scales the step, it does not enter the loss."),
    ],
)

# %%
quiz(
    "A colleague adds β · k1 to the loss and reports that β hardly matters. Why?",
    [
        ("Her β is too small.", False, "Any β times a mean gradient of zero is zero; only noise grows."),
        ("As a loss k1 has a mean gradient of zero.", True,
         "Σ π ∇ log π = ∇ 1 = 0. Put k1 into the reward, or use k2 in the loss."),
        ("The KL is small anyway.", False, "It grows without a leash, and this one does not pull."),
    ],
)

# %%
quiz(
    "Method A reaches proxy 3.1 at KL 12, method B proxy 2.4 at KL 5, both at β = 0.05. Which one is better?",
    [
        ("A: its reward is higher.", False, "It went further, and the reward it climbed is the proxy, not what is wanted."),
        ("B: it stayed nearer.", False, "Being near is no aim in itself; the base is nearest of all."),
        ("Nothing follows: compare gold at the same KL.", True,
         "Equal β is not equal distance, and a proxy cannot tell its own failure."),
    ],
)

# %% [markdown]
# ## Limits
#
# What this does not show:
#
# - The judge was built to be gamed. Learnt judges fail less plainly, and later; that a law fits these
#   points does not carry its numbers anywhere else.
# - A few seeds, one small model, replies of 28 tokens. The intervals over seeds are wide and are meant
#   to be read.
# - "Gold" is what the oracle can parse. A reply it cannot read counts as a failure even where a person
#   would understand it.
# - Interpolating a run between evaluations to a KL assumes that it went straight. Where a run leaves
#   fast, few evaluations stand behind its curve.
# - Which way of combining rewards is better at equal distance, a few seeds may not settle; lesson 07
#   shows it where it can be computed exactly.
# - That entropy control helps reasoning in large models is not tested here, nor is the entropy law: the
#   strengths of the four controls were set once and not tuned.
#
# ## Links
#
# - Ahmadian and others 2024, back to basics, RLOO: arXiv 2402.14740
# - Gao and others 2022, scaling laws for reward model over-optimisation: arXiv 2210.10760
# - Wang and others 2024, transforming and combining rewards: arXiv 2402.00742
# - Cui and others 2025, the entropy mechanism: arXiv 2505.22617
# - TRL, where the same losses run on large models: https://huggingface.co/docs/trl

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "The loss must fall" (5, first question): have the room compute Σ A. "A KL term is
# a KL term wherever it stands" (3): let half of the room predict the gradient of k1. "More reward is
# better" (6): cover the right half of the first figure and ask for a stopping point.
#
# **Questions for the room.** Who could have noticed the turn without the oracle, and by what? Which of
# your organisation's measures is a counting judge? Whose values does the reference reward encode?
#
# **To cut.** 90 minutes: 8.2, 8.3, section 6 and the control. One day: all but 8.6 and section 8.
# Semester: all, and a run of the sweep with another pair of values (`VALUES` in `valuelab/rlhf/experiment.py`).

# %% [markdown]
# ## Where to go from here
#
# Repeat a run with TRL on a model of your own, and draw reward against KL as here:
# `valuelab.rewards.plugins.trl_rewards` turns your rewards and their references into the AND for TRL's trainers, and
# puts back the end token that TRL strips from replies (`eos_token`, `eos_token_id`). Next: [lesson
# 09](09_values_in_the_weights.ipynb) looks at what training left in the weights.
