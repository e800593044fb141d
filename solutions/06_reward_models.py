# %% [markdown]
# # 06 · Reward models
#
# {{minutes}}
#
# A **judge** compares two replies to one question and names a winner. A **reward model** learns from
# many such pairs to give every reply a number, its *reward*, so that winners get the higher one. Below
# are two reward models, trained on the same pairs of replies. One judge looked at the value of
# security alone. The other also liked long replies, which nobody told you. Each dot is a pair; its
# *reward gap* is the reward of the winner minus that of the loser. Which model had which judge?

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from valuelab import models, plots
from valuelab.course import check, claim, quiz, show
from valuelab.rewards.calibration import (
    accuracy,
    benchmark,
    calibration,
    disagreement,
    fit_temperature,
    length_correlation,
)
from valuelab.rewards.preferences import bayes_rate, rejudge, shuffled, world_comparisons
from valuelab.rewards.relevance import cosine_relevance, relevance_reward
from valuelab.rewards.reward_model import fit_linear_reward, pair_features

plots.use()
torch.set_num_threads(min(2, torch.get_num_threads()))
lm = models.load()
VALUE = "security"
train = world_comparisons(VALUE, 900, seed=0, split="train")
test = world_comparisons(VALUE, 500, seed=1, split="held_out")
RIDGE = 0.05


def differences(comparisons):
    won, lost = pair_features(lm, comparisons)
    return (won - lost).double()


z_train, z_test = differences(train), differences(test)
BIAS = 0.5
biased_train, signs = rejudge(train, BIAS, seed=2)
z_biased = z_train * torch.from_numpy(signs)[:, None]
rewards = {
    "one model": fit_linear_reward(z_train, ridge=RIDGE),
    "the other model": fit_linear_reward(z_biased, ridge=RIDGE),
}
longer = np.array([len(c.chosen.split()) - len(c.rejected.split()) for c in test])
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
for ax, (name, reward), marker in zip(axes, rewards.items(), "os", strict=True):
    ax.scatter(longer, reward(z_test), s=10, marker=marker, alpha=0.5)
    ax.axhline(0, color="0.5", lw=1)
    ax.set(title=name, xlabel="words more in the winner", ylabel="reward gap")
rho = {name: length_correlation(reward(z_test), test) for name, reward in rewards.items()}
show(
    fig,
    f"Reward gaps of {len(test)} held-out pairs against their difference in length. Rank "
    f"correlation {rho['one model']:.2f} for one model, {rho['the other model']:.2f} for the other: "
    "the second one has learnt length.",
)

# %% [markdown]
# ## What you will be able to do
#
# - **derive** the pair loss and its gradient, and train a reward with it
# - **judge** a reward model by held-out accuracy against the best accuracy possible
# - **calibrate** it, so that gaps become probabilities
# - **catch** a reward that has learnt length
# - **decompose** rewards and mix them for a new judge
#
# ## What this builds on
#
# Lesson 01 (pairs and splits by context). The features are hidden states, the vectors that a model holds for
# each token; lesson 03 says more of them and is not needed here. The judges and their noise are planted, so every
# figure has a truth to be compared with: *the method recovers what was planted*. Nothing here says what any
# model or person values.
#
# Words of the field: [glossary](../docs/GLOSSARY.md).

# %% [markdown] minutes=5
# ## 1 · From comparisons to a loss
#
# A judge prefers reply $y$ to $y'$ with a probability that depends on the difference of their
# rewards (Bradley and Terry 1952):
#
# $$P(y \succ y' \mid x) = \sigma\big(r(x,y) - r(x,y')\big)$$
#
# Here $\sigma(x) = 1/(1+e^{-x})$, and a reward is in **logits**: a gap of 1 is odds of $e$ to 1. Write
# $r^+_i$ for the reward of the winner (*chosen*) and $r^-_i$ for that of the loser (*rejected*) of pair
# $i$, both `(n,)`. The reward that makes the observed choices most likely minimises, with $m_i = c = 0$,
#
# $$L = -\frac1n\sum_i \log\sigma\big(r^+_i - r^-_i - m_i\big) + \frac cn\sum_i (r^+_i + r^-_i)^2$$
#
# The first term sees differences only: $r + f(x)$ has the same loss for every $f$. The second, small
# term ($c = 0.01$ is usual) ties the middle of each pair to zero. A margin $m_i$ asks the winner for a lead.
# Sources: Bradley and Terry 1952; the margin, Llama 2, arXiv 2307.09288; the second term, arXiv 2312.09244.

# %% [markdown]
# ### Exercise 6.1 · The pair loss
#
# `r_chosen` and `r_rejected` are `(n,)`, `margin` is a number or `(n,)`, `centre` is $c$; return one number.
#
# 1. **Predict**: all rewards are equal. What is the loss?
# 2. **Write** the two terms.
#
# <details><summary>Hint 1: which term sees what?</summary>The first one looks at the lead of the winner, the
# second at the middle of the pair. With the difference in both, the second would pull the pair together
# and fight the first. And why not <code>log(sigmoid(x))</code>? Try x = -200.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>lead = r_chosen - r_rejected - margin</code>; minus the
# mean of <code>F.logsigmoid(lead)</code>; plus <code>centre</code> times the mean of the square of the
# <em>sum</em> of the two rewards.</details>
#
# What you should see: log 2 = 0.693 for equal rewards.

# %% exercise="6.1" function="valuelab.rewards.reward_model.pair_loss" minutes=12 stars=2

# %%
pair_loss = check("6.1", pair_loss)

# %%
even = pair_loss(torch.zeros(4), torch.zeros(4))
claim("a reward that knows nothing pays log 2 per comparison", abs(float(even) - np.log(2)) < 1e-6)
gap = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
moved = pair_loss(gap + 5, torch.full_like(gap, 5.0)) - pair_loss(gap, torch.zeros_like(gap))
claim("adding a function of the prompt to both rewards changes nothing", abs(float(moved)) < 1e-9)

# %% [markdown] minutes=3
# ## 2 · What a comparison teaches
#
# With $\frac{d}{dx}\log\sigma(x) = \sigma(-x)$ the gradient is
#
# $$\frac{\partial L}{\partial r^+_i} = -\frac1n\,\sigma(r^-_i - r^+_i) = -\frac{\partial L}{\partial r^-_i}$$
#
# $\sigma(r^- - r^+)$ is the probability with which the model would have chosen wrongly. Surprise
# teaches; pairs that are already told apart fall silent.

# %% [markdown]
# ### Exercise 6.2 · The gradient by hand
#
# Return both gradients, each `(n,)`, for no margin and no centring.
#
# <details><summary>Hint 1: how large, and which way?</summary>How large: the equation above. Which way: would
# raising the chosen reward raise or lower the loss?</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>surprise = torch.sigmoid(r_rejected - r_chosen) / n</code>
# is the size of both. The chosen reward has it with a minus.</details>
#
# What you should see: the same numbers as autograd, to the last digit.

# %% exercise="6.2" function="valuelab.rewards.reward_model.pair_loss_gradient" minutes=10 stars=2

# %%
pair_loss_gradient = check("6.2", pair_loss_gradient)

# %%
won = gap.clone().requires_grad_()
lost = torch.zeros_like(gap).requires_grad_()
by_autograd = torch.autograd.grad(pair_loss(won, lost), (won, lost))
by_hand = pair_loss_gradient(won.detach(), lost.detach())
worst = max(float((a - b).abs().max()) for a, b in zip(by_autograd, by_hand, strict=True))
claim("the gradient by hand is that of autograd", worst < 1e-9)

# %% [markdown] minutes=5
# ## 3 · How good can it get?
#
# The judge is noisy: a reply whose true (*gold*) reward is higher by $\Delta$ wins with probability
# $p = \sigma(2\Delta)$ only. So even the true reward is right in no more than $E[\max(p, 1-p)]$ of the
# comparisons, the **Bayes rate**. In the planted world it is known. Elsewhere let two equally noisy judges,
# who err independently, see the same pairs: if they agree in a share $a$, the Bayes rate lies between $a$ and
# $\tfrac12(1+\sqrt{2a-1})$, for $a = E[p^2 + (1-p)^2]$.
#
# The reward here is linear in the hidden states of the unchanged model (mean over the reply, all
# layers). That takes a second or so. `train_reward_model` trains the whole backbone.
#
# **Predict** three bars: what the noise allows, what the reward model gets, and what the same model gets
# when a coin decided the training pairs.

# %%
reward = rewards["one model"]
share, low, high = accuracy(reward(z_test))
best = bayes_rate(test)
half = [fit_linear_reward(z_train[i::2], ridge=RIDGE)(z_test) for i in (0, 1)]


def after_coin(seed):
    """Held-out accuracy after training on the same pairs, each decided by a coin."""
    kept = np.array([a == b for a, b in zip(train, shuffled(train, seed), strict=True)])
    signs = torch.from_numpy(np.where(kept, 1.0, -1.0))
    return accuracy(fit_linear_reward(z_train * signs[:, None], ridge=RIDGE)(z_test))[0]


coins = [after_coin(seed) for seed in range(4)]
coin = float(np.mean(coins))
names = ["Bayes rate", "reward model", "shuffled preferences"]
fig, ax = plt.subplots(figsize=(6.5, 2.6))
ax.barh(names, [best, share, coin], color=[plots.GREY, plots.COLORS[0], plots.COLORS[1]])
ax.errorbar([share], [1], xerr=[[share - low], [high - share]], color="black", capsize=4)
ax.axvline(0.5, color="0.3", lw=1, ls=":")
ax.set(xlim=(0, 1), xlabel="held-out accuracy")
ax.invert_yaxis()
show(
    fig,
    f"Held-out accuracy {share:.2f} [{low:.2f}, {high:.2f}] of at most {best:.2f}: "
    f"{share / best:.0%} of what the noise allows. With preferences decided by a coin {coin:.2f}, the mean of "
    f"{len(coins)} shufflings. Models from "
    f"two halves of the data disagree on {disagreement(half):.0%} of the pairs.",
)
claim("the reward model is better than a coin on questions it has not seen", low > 0.5)
claim("it does not beat the Bayes rate by more than noise", low <= best)

# %% [markdown] minutes=4
# ## 4 · Is the gap a probability?
#
# Lesson 07 reads $\sigma(r - r_{ref})$ as a probability. That is true only of a **calibrated** model:
# among pairs with confidence 0.8 the favoured reply should win 80 times in 100. Sort the pairs by
# confidence, cut them into bins of equal counts, compare. The expected calibration error is the
# average distance,
# $ECE = \sum_b \frac{n_b}{n}\,|\text{observed}_b - \text{predicted}_b|$.

# %% [markdown]
# ### Exercise 6.3 · The reliability curve
#
# `confidence` and `won` are `(n,)`; return mean confidence, share won and count, each `(bins,)`. Where n does not
# divide evenly, the counts differ by one at most; with fewer pairs than bins, take as many bins as pairs.
#
# <details><summary>Hint 1: what has to be sorted?</summary>Not the two tensors, each for itself: a pair must keep
# its confidence and its outcome. Find one <em>order</em>, and cut that into parts.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>order = confidence.argsort(stable=True)</code>;
# <code>torch.tensor_split(order, bins)</code> cuts it into parts of equal size; index both tensors with each part
# and take means.</details>
#
# What you should see: points near the diagonal if the model is calibrated, below it if it is too sure.

# %% exercise="6.3" function="valuelab.rewards.calibration.reliability" minutes=12 stars=2

# %%
reliability = check("6.3", reliability)

# %% [markdown]
# Does the curve of our reward model follow the diagonal? Two numbers help to read it. The
# **temperature** $T$ is one divisor for all rewards, $\sigma(\text{gap}/T)$, fitted by likelihood; above 1 it
# says that the model was too sure. And the **floor**: even a perfectly calibrated model shows an error,
# because a bin holds few pairs. Simulate it: let each pair be won with just the probability claimed.

# %%
gaps = reward(z_test)
fit, held = gaps[::2], gaps[1::2]
temperature = fit_temperature(fit)
fig, ax = plt.subplots(figsize=(4.6, 4))
error = {}
for (name, t), style in zip({"as trained": 1.0, "at the fitted temperature": temperature}.items(), ("o-", "s--"), strict=True):
    scaled = held / t
    predicted, observed, _ = reliability(torch.sigmoid(scaled.abs()), (scaled > 0).double(), 8)
    ax.plot(predicted, observed, style, label=name)
    error[name] = calibration(held, t, 8).ece
ax.plot([0.5, 1], [0.5, 1], color="0.6", lw=1)
ax.set(xlabel="confidence", ylabel="share in which the favoured reply won")
ax.legend()
sure, lots = torch.sigmoid(held.abs()), torch.Generator().manual_seed(0)
floor = []
for _ in range(200):
    predicted, observed, count = reliability(sure, (torch.rand(len(sure), generator=lots) < sure).double(), 8)
    floor.append(float((count * (observed - predicted).abs()).sum() / count.sum()))
usual = float(np.quantile(floor, 0.95))
show(
    fig,
    f"Calibration error {error['as trained']:.3f} as trained and "
    f"{error['at the fitted temperature']:.3f} with all rewards divided by {temperature:.2f}, a "
    f"number fitted on the other half of the held-out pairs. A perfectly calibrated model shows {np.mean(floor):.3f} on "
    f"{len(held)} pairs, and more than {usual:.3f} one time in twenty: "
    + ("no fault is shown." if error["as trained"] <= usual else "more than chance explains."),
)

# %% [markdown] minutes=2
# ## 5 · Not all comparisons are equally clear
#
# If the judge also says *how much* better the winner is, clear pairs can be allowed to speak louder.
# One form scales the difference inside the sigmoid, with a scale that levels off:
#
# $$s_i = 1 + w\,(1 - e^{-k\,m_i}), \qquad L = -\frac1n\sum_i\log\sigma\big(s_i\,(r^+_i - r^-_i)\big)$$
#
# All are `(n,)` but $w \ge 0$, the most that a clear pair adds to the scale, and $k > 0$, how soon a margin
# counts as clear. In the manner of MM-RLHF, arXiv 2502.10391.

# %% [markdown]
# ### Exercise 6.4 · The margin-scaled loss
#
# `margin` is $m$ `(n,)`, `weight` is $w$, `rate` is $k$; return one number.
#
# <details><summary>Hint 1: what is scaled?</summary>The difference, inside the sigmoid; not the loss.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>1 - exp(-x)</code> is <code>-torch.expm1(-x)</code>, so the
# scale is <code>1 + weight * -torch.expm1(-rate * margin)</code>; then the pair loss of the scaled difference.</details>
#
# What you should see: with margin 0 the plain pair loss.

# %% exercise="6.4" function="valuelab.rewards.reward_model.margin_scaled_loss" minutes=8 stars=1

# %%
margin_scaled_loss = check("6.4", margin_scaled_loss)

# %% [markdown]
# Where does a clear pair cost more than an even one, and where less?

# %%
lead = torch.linspace(-4, 4, 81)
fig, ax = plt.subplots(figsize=(6, 3.2))
for margin, style in ((0.0, "-"), (1.0, "--"), (5.0, ":")):
    losses = [float(margin_scaled_loss(x[None], torch.zeros(1), torch.tensor([margin]), 1.0, 0.5)) for x in lead]
    ax.plot(lead, losses, style, label=f"margin {margin:.0f}")
ax.set(xlabel="reward of the chosen minus the rejected", ylabel="loss of the pair")
ax.legend()
most = losses[0] / float(-torch.nn.functional.logsigmoid(lead[0]))
show(fig, f"A pair with a clear winner costs more when it is ordered wrongly, {most:.1f} times as much at the left end, and less when it is ordered rightly.")

# %% [markdown] minutes=4
# ## 6 · A reward model that learnt length, caught
#
# Accuracy on pairs from the *same* judge cannot tell: he likes length there, too. Two instruments
# can: the rank correlation with length (the first figure), and the accuracy on pairs **in which the
# shorter reply won**. "Clear" and "close" are the halves of the pairs about which the judge was more and
# less sure. **Predict**: in which group do the two models differ most?

# %%
biased = rewards["the other model"]
table = {name: benchmark(r(z_test), test) for name, r in zip(("honest", "biased"), rewards.values(), strict=True)}
kinds = ["all", "longer won", "shorter won", "clear", "close"]
fig, ax = plt.subplots(figsize=(7, 3.2))
place = np.arange(len(kinds))
for k, (name, rows) in enumerate(table.items()):
    ax.bar(place + 0.4 * k - 0.2, [rows[x][0] for x in kinds], 0.4, label=f"trained on the {name} judge", hatch=("", "//")[k])
ax.axhline(0.5, color="0.3", lw=1, ls=":")
ax.set_xticks(place, kinds)
ax.set(ylabel="accuracy, honest judge's pairs", ylim=(0, 1.02))
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
show(
    fig,
    f"On all pairs the two models reach {table['honest']['all'][0]:.2f} and "
    f"{table['biased']['all'][0]:.2f}. Where the shorter reply won, {table['honest']['shorter won'][0]:.2f} "
    f"and {table['biased']['shorter won'][0]:.2f}.",
)
claim(
    "the model of the biased judge does worse where the shorter reply won",
    table["biased"]["shorter won"][0] < table["honest"]["shorter won"][0],
)
claim("and better where the longer one won", table["biased"]["longer won"][0] > table["honest"]["longer won"][0])

# %% [markdown]
# Move the slider: from which bias on would you notice in the accuracy alone? (A bias of 0.5 says: each
# further word adds 0.5 to the judge's logit.)

# %%
def draw(log_odds_per_word=0.5):
    """Reward gaps against length, for a judge to whom each further word is worth so much."""
    _, s = rejudge(train, log_odds_per_word, seed=2)
    r = fit_linear_reward(z_train * torch.from_numpy(s)[:, None], ridge=RIDGE)
    gaps = r(z_test)
    rows = benchmark(gaps, test)
    fig, ax = plt.subplots(figsize=(5.5, 3.4))
    ax.scatter(longer, gaps, s=10, alpha=0.5)
    ax.axhline(0, color="0.5", lw=1)
    ax.set(xlabel="words more in the winner", ylabel="reward gap")
    show(
        fig,
        f"Bias {log_odds_per_word:.1f} per word: accuracy {rows['all'][0]:.2f}, where the shorter won "
        f"{rows['shorter won'][0]:.2f}, correlation with length {length_correlation(gaps, test):.2f}.",
    )


draw(0.5)

# %% tags=["widget"]
from ipywidgets import interact  # noqa: E402

interact(draw, log_odds_per_word=(0.0, 1.5, 0.1))

# %% [markdown] minutes=5
# ## 7 · Many rewards from one set of features
#
# People disagree, and one reward averages them away. Take the differences
# $z_i = \phi(x_i,y^+_i) - \phi(x_i,y^-_i)$ of many comparisons and their strongest directions
# $v_1,\dots,v_k$: the right singular vectors of the matrix $z$ `(n, d)`, each `(d,)` and of length 1. Here
# $\phi(x,y)$ `(d,)` are the features of a reply, such as hidden states. Each $v_j\cdot\phi$ is a candidate
# reward, called a *head*. A new judge gives a handful of pairs, and the heads are mixed for him; nothing
# is retrained (DRM, arXiv 2502.13131).
#
# **A fault to know.** The published code finds the directions with a standard PCA, which subtracts the
# mean of $z$ first. But the mean of $z$ is what all judges share: the way from rejected to chosen.

# %% [markdown]
# ### Exercise 6.5 · Directions, uncentred
#
# Return the `k` strongest right singular vectors of `z` `(n, d)`, one per row, each signed so that the
# chosen replies score higher on average. `centred=True` reproduces the fault.
#
# <details><summary>Hint 1: strongest in which sense?</summary>The direction along which the rows of z are longest,
# not along which they <em>vary</em> most: nothing is subtracted. A singular value decomposition sorts them so.
# Its signs are arbitrary.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>torch.linalg.svd(z, full_matrices=False).Vh[:k]</code>; flip a
# row whose mean score, <code>(z @ v.T).mean(0)</code>, is negative. The mean of z, also where
# <code>centred</code> decomposed something else.</details>
#
# What you should see: in the toy below, a printed line with the held-out accuracy of the best of three directions.

# %% exercise="6.5" function="valuelab.rewards.decomposed.directions" minutes=12 stars=2

# %%
directions = check("6.5", directions)

# %%
generator = torch.Generator().manual_seed(0)
toy = 0.3 * torch.randn(2000, 16, generator=generator, dtype=torch.float64)
toy[:, 1:4] += torch.tensor([2.5, 2.1, 1.2]).double() * torch.randn(2000, 3, generator=generator, dtype=torch.float64)
toy[:, 0] += 1.7  # what all judges share; the other axes vary more and decide nothing
toy_train, toy_test = toy[:1000], toy[1000:]
found = {
    name: float(((toy_test @ directions(toy_train, 3, centred).T) > 0).double().mean(0).max())
    for name, centred in (("uncentred", False), ("centred", True))
}
display(Markdown(f"Best of three directions: uncentred {found['uncentred']:.2f}, centred {found['centred']:.2f}."))
claim("uncentred directions keep the preference that all judges share", found["uncentred"] > 0.9)
claim("centred directions lose it", found["centred"] < 0.6)

# %% [markdown]
# ### Exercise 6.6 · Mixing for a new judge
#
# `scores` is $\Delta$ `(n, heads)`: the gap of each head on each of the new judge's comparisons. With $s_k$
# the root mean square of column $k$, and a temperature $T$, return the weights $w$ `(heads,)`:
#
# $$w_k \propto \exp\Big(\frac1T\sum_n\log\sigma\big(\Delta_{nk}/s_k\big)\Big), \qquad \sum_k w_k = 1$$
#
# <details><summary>Hint 1: why divide, and why not centre?</summary>A head with large numbers would be believed for
# being loud. But its mean must stay: that <em>is</em> the evidence.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>scores.square().mean(dim=0).sqrt()</code> is the scale;
# <code>F.logsigmoid(scores / scale).sum(dim=0)</code> the evidence; over the temperature, into
# <code>torch.softmax</code>.</details>
#
# What you should see: weights that sum to one; a low temperature picks one head.

# %% exercise="6.6" function="valuelab.rewards.decomposed.fit_mixture" minutes=10 stars=2

# %%
fit_mixture = check("6.6", fit_mixture)

# %% [markdown]
# How many pairs of his own does a new judge need, until the mixture serves him better than the direction
# that all the others share?

# %%
# a new judge who wants the opposite of an axis on which the others are undecided
his = toy_test * torch.sign(-toy_test[:, 2:3])
candidates = torch.cat([directions(toy_train, 4), -directions(toy_train, 4)])
shots = (2, 5, 15, 50)
mixed_shares = []
for n in shots:
    gaps_of_heads = his[:n] @ candidates.T
    scale = gaps_of_heads.square().mean(0).sqrt()
    weight = (fit_mixture(gaps_of_heads, 0.5) / scale) @ candidates
    mixed_shares.append(float((his[100:] @ weight > 0).double().mean()))
common_share = float((his[100:] @ toy_train.mean(0) > 0).double().mean())
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot([str(n) for n in shots], mixed_shares, "o-", label="mixed for this judge")
ax.axhline(common_share, color=plots.COLORS[1], ls="--", label="direction that the others share")
ax.axhline(0.5, color="0.3", lw=1, ls=":")
ax.set(xlabel="pairs seen of the new judge", ylabel="held-out accuracy", ylim=(0.4, 1.02))
ax.legend()
show(
    fig,
    f"The shared direction serves the new judge in {common_share:.0%} of his pairs; mixed from "
    f"{shots[2]} of his own comparisons the candidates serve {mixed_shares[2]:.0%}.",
)
claim("15 pairs of a new judge are enough to beat the shared direction by 15 points", mixed_shares[2] > common_share + 0.15)

# %% [markdown] minutes=3
# ## 8 · A rival without preferences
#
# Length, relevance to the question and lack of repetition make a reward without a single comparison
# (R³, arXiv 2402.03469): $r = \frac{\text{words}}{100}\cdot\text{relevance}\cdot\frac{\text{distinct trigrams}}{\text{trigrams}}$.
# A *trigram* is three words in a row. Relevance is here the cosine between the mean hidden states of question
# and reply, after the mean over all questions is subtracted from the one and that over all replies from the
# other; the paper has a retrieval model for it. Chosen and rejected replies are read together, so that both have
# the same mean subtracted. A reward model that does not beat this rival has not shown that it learnt anything
# about values.

# %% [markdown]
# ### Exercise 6.7 · Repetition
#
# The share of a text's word trigrams that are distinct; 1 where there is none. Capital letters do not
# count.
#
# <details><summary>Hint 1: what could go wrong?</summary>"The" and "the" are one word; and fewer than three words have
# no trigram: do not divide by zero.</details>
#
# <details><summary>Hint 2: nearly the whole</summary><code>words = text.lower().split()</code>; the trigrams are
# <code>zip(words, words[1:], words[2:])</code>, and a <code>set</code> keeps one of each.</details>
#
# What you should see: "a b c a b c" has four trigrams, three of them distinct.

# %% exercise="6.7" function="valuelab.rewards.relevance.distinct_trigrams" minutes=6 stars=1

# %%
distinct_trigrams = check("6.7", distinct_trigrams)

# %%
relevance = cosine_relevance(lm)
prompts = [c.prompt for c in test]
both = relevance_reward(prompts * 2, [c.chosen for c in test] + [c.rejected for c in test], relevance)
rival_share = accuracy(both[: len(test)] - both[len(test) :])
display(Markdown(f"The rival: {rival_share[0]:.2f} [{rival_share[1]:.2f}, {rival_share[2]:.2f}]; ours {share:.2f}."))
claim("the reward model beats the rival that never saw a preference", low > rival_share[2])

# %% [markdown]
# ## A control that must fail
#
# The same pairs, each preference decided by a coin. If accuracy is left *on average*, it leaks from the
# test pairs into training. **Predict**: does a single shuffling stay inside the interval that
# 500 test pairs allow a coin?

# %%
coins += [after_coin(seed) for seed in range(len(coins), 10)]
coin, spread = float(np.mean(coins)), float(np.std(coins, ddof=1))
of_a_coin = 1.96 * np.sqrt(0.25 / len(test))
fig, ax = plt.subplots(figsize=(6.5, 1.8))
ax.axvspan(0.5 - of_a_coin, 0.5 + of_a_coin, color="0.9", label="a coin's 95 %")
ax.plot(coins, np.zeros(len(coins)), "o", alpha=0.6, label="one shuffling each")
ax.plot([share], [0], "s", color=plots.COLORS[1], label="the judge's own preferences")
ax.set(xlabel="held-out accuracy", xlim=(0.35, 1), yticks=[])
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
outside = sum(abs(c - 0.5) > of_a_coin for c in coins)
show(
    fig,
    f"Ten shufflings: mean {coin:.2f}, from {min(coins):.2f} to {max(coins):.2f}. {outside} of ten lie outside the "
    f"{0.5 - of_a_coin:.2f} to {0.5 + of_a_coin:.2f} of a coin.",
)
claim("over ten shufflings the mean accuracy stays within 5 points of a coin", abs(coin - 0.5) < 0.05)

# %% [markdown]
# One shuffling is one arbitrary direction in the states, and all test pairs are scored by that same one. It
# may point along or against the value by luck, so it can miss one half by more than the number of test pairs
# explains. The interval that counts is over shufflings. Never judge a control by a single draw.

# %% [markdown]
# ## What we may claim

# %%
claim("a reward fitted to noisy comparisons recovers the planted judge well above chance", low > 0.55)
claim("a judge's liking for length is learnt along with the value", rho["the other model"] > rho["one model"] + 0.1)
claim("shuffled preferences teach nothing on average", abs(coin - 0.5) < 0.05)

# %% [markdown]
# ## Questions

# %%
quiz(
    "A reward model gives every reply a score near 65. Is it broken?",
    [
        ("Yes: rewards should lie around zero.", False,
         "Comparisons fix differences only; any function of the prompt can be added."),
        ("Not by that alone: only differences within a prompt mean something.", True,
         "Centring would tie the scores to zero without changing one preference."),
        ("No: high scores mean good replies.", False,
         "The zero is arbitrary; 65 says nothing about quality."),
    ],
)

# %%
quiz(
    "Held-out accuracy is 0.76 where the Bayes rate is 0.78. What next?",
    [
        ("A larger model: 0.76 leaves much to gain.", False,
         "The noise of the judges is the ceiling, and it is nearly reached."),
        ("Check length and calibration; little accuracy is left to gain.", True,
         "Near the ceiling, what the model uses matters more than how much it gets right."),
        ("Train longer, until the training pairs are all right.", False,
         "Getting the judges' mistakes right is learning noise."),
    ],
)

# %%
quiz(
    "Held-out accuracy is high on pairs of the same judge. Can the reward still be about length?",
    [
        ("No: held-out pairs show that it generalises.", False,
         "It generalises the judge, his liking for length included."),
        ("Yes: look at the pairs in which the shorter reply won.", True,
         "A reward that is length fails on exactly these."),
        ("Only if the training set was too small.", False,
         "More comparisons of the same judge teach the same liking more firmly."),
    ],
)

# %% [markdown]
# ## Limits
#
# - Judges, values and noise are planted, one sentence pattern at a time. Real judges drift, tire and
#   disagree for reasons.
# - The reward is linear on an unchanged backbone. Training the backbone (`train_reward_model`) is
#   stronger, and overfits sooner.
# - A length bias was looked for because it was planted. What a real reward has learnt besides values
#   is not on any list.
# - Calibration on held-out pairs says nothing about replies that an optimiser will find.
#
# ## Links
#
# - Bradley and Terry 1952, Rank analysis of incomplete block designs
# - Eisenstein and others 2023, reward ensembles and centring: arXiv 2312.09244
# - MM-RLHF, margin-aware scaling: arXiv 2502.10391
# - DRM, decomposed reward models: arXiv 2502.13131
# - R³, proxy rewards without preferences: arXiv 2402.03469

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "The reward of a reply is a number with a meaning" (1): only differences are. "A
# better fit is a better judge" (3): the Bayes rate is the ceiling. "Held-out means safe" (6).
#
# **Questions for the room.** Whose preferences are averaged in one reward? Would you rather have a
# calibrated reward of a biased judge or the reverse? What would you plant to test your own pipeline?
#
# **To cut.** 90 minutes: 6.1, 6.3 and section 6. One day: all but 6.4 and 6.7. Semester: all, and
# `train_reward_model` as homework.

# %% [markdown]
# ## Where to go from here
#
# Train a reward on a public preference set, and look first at what length explains. Next: [lesson
# 07](07_transforming_and_combining_rewards.ipynb) turns several rewards into one.
