# %% [markdown] minutes=2
# # 03 · Probing: find where a value lives, and prove that it is the value
#
# {{minutes}} · builds `valuelab.probes`: a direction from two clouds of states, and the tests it must pass
#
# Two sentences, the same words, the opposite stance: "I put safety before fun" and "I put fun before safety". The model is a
# stack of **blocks**; each hands on one vector for each token, its **hidden state**. Somewhere on the way up the two sentences must
# part. Where? And how do we know that what we found is the value, not a word, a topic or luck?

# %%
from collections import Counter

import numpy as np
import torch
from IPython.display import Markdown, display

from valuelab import models, plots, probes
from valuelab import world as W
from valuelab.activations import capture
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import planted
from valuelab.probes.geometry import floor
from valuelab.values import VALUES

plots.use()
lm = models.load()
LAYERS = list(range(lm.n_layers))
HEAD = models.chat(lm, "Tell me about yourself.") + " "


def read(texts, layers=LAYERS, model=lm, position="last"):
    """Hidden states of texts, spoken as the assistant's reply."""
    return capture(model, texts, layers, position, 64, prompts=[HEAD] * len(texts))


def table(kind, value="security", n=120, seed=1):
    """Texts for and against a value, labels, what each is about (its context), and its wording."""
    pairs = W.contrast_pairs(value, n, seed, kind=kind)
    texts = [p.positive for p in pairs] + [p.negative for p in pairs]
    about = [p.context_id.split("|")[1] for p in pairs]
    return texts, np.arange(2 * n) < n, np.array(about * 2), np.array([p.wording for p in pairs] * 2)


texts, y, about, wordings = table("comparison")
states = read(texts)
fig, panels = plots.figure(1, 2, figsize=(8.6, 3.4))
apart = []
for ax, layer in zip(panels, (0, LAYERS[-1]), strict=True):
    X = states[layer]
    w = X[y].mean(0) - X[~y].mean(0)
    along = (X @ w / w.norm()).numpy()
    apart.append((along[y].mean() - along[~y].mean()) / along[y].std())
    for k, (side, label) in enumerate(((y, "for security"), (~y, "against"))):
        ax.hist(along[side], bins=24, alpha=0.6, color=plots.COLORS[k], hatch=("", "//")[k], label=label)
    ax.set(title=f"after block {layer}", xlabel="position along the line between the means", ylabel="sentences")
panels[0].legend()
show(fig, f"{len(texts) // 2} pairs of sentences that differ in the order of two things only, read at the full stop and seen along the line that joins the means of the two groups. The means lie {apart[0]:.1f} standard deviations apart after block 0 and {apart[1]:.1f} after block {LAYERS[-1]}.")

# %% [markdown] minutes=3
# Deeper in the network the two groups move apart. The line between their means is the simplest **probe**. But every figure in
# this lesson that looks as good as this one will have to answer: would I have seen it anyway?
#
# ## What you will be able to do
#
# - **read** a direction from two clouds of hidden states, layer by layer,
# - **validate** it on contexts that it has never seen,
# - **expose** a probe that has learnt a topic, a word or a type,
# - **calibrate** it, so that 0.9 means nine in ten,
# - **state** in one table what may be claimed, and what not.
#
# ## What this builds on
#
# Lesson 01 (contrast pairs, splits by context) and lesson 02 (intervals whose unit is the context). The model's values were
# planted, so claims read "the method recovers what was planted", never "the model values security". New words:
# [glossary](../docs/GLOSSARY.md).
#
# ## 1 · A direction
#
# A hidden state is the vector $h \in \mathbb{R}^d$ that a block hands on for one token, here the full stop of a sentence, when
# everything has been said. A **linear probe** reads it by $z(h) = w\cdot h + b$ and says "for" if $z > 0$. The plainest choice
# goes from one mean to the other:
#
# $$w = \bar h_{+} - \bar h_{-}, \qquad b = -\tfrac12\, w\cdot(\bar h_{+} + \bar h_{-})$$
#
# Shapes: $\bar h_\pm$ and $w$ are `(d,)`, $b$ is a number. The bias puts the boundary half way. Source: Marks and Tegmark,
# arXiv 2310.06824.
#
# ### Exercise 3.1: mean difference
#
# `positive` is `(n, d)`, `negative` is `(m, d)`. Return `Probe(w, b, method="mean difference")`. **Predict first:** if all states
# move by the same vector $c$, what happens to $w$, and what to $b$?
#
# What you should see: `✓ 3.1`. ($w$ stays, $b$ changes by $-w\cdot c$.)
#
# <details><summary>Hint 1</summary>The mean over sentences runs along dimension 0; the clouds may differ in size.</details>
#
# <details><summary>Hint 2</summary>At the point half way between the means the logit must be zero: solve that for b.</details>

# %% exercise="3.1" function="valuelab.probes.estimators.mean_difference" minutes=8 stars=1

# %%
mean_difference = check("3.1", mean_difference)

# %% [markdown] minutes=4
# ## 2 · Contexts that the probe has not seen
#
# Sentences about locking the door resemble each other, whatever they say of it. If some of them train the probe and others test
# it, the probe is asked about what it has seen. So a **context** (here: the thing the sentence is about) lies wholly in one
# fold, and everything that is chosen (penalty, layer, threshold) is chosen on the other folds.
#
# ### Exercise 3.2: folds of contexts
#
# `groups` is `(n,)`, the context of each item. Shuffle the contexts with the seed; then, the largest first, give each to the fold
# that holds fewest items so far. Return the fold of each *item*, `(n,)`, numbered from 0. **Predict:** every context gets a
# label by coin, so there is nothing to find. What accuracy will a split by sentence report?
#
# What you should see: `✓ 3.2`; below, far above one half when split by sentence, scattered about one half when split by context.
#
# <details><summary>Hint 1</summary>`np.unique(groups, return_inverse=True, return_counts=True)` names the contexts, numbers
# the items' contexts and counts them; `fold_of[index]` brings a number for each context back to the items.</details>
#
# <details><summary>Hint 2</summary>`filled.argmin()` is the smallest fold, if `filled` counts the items in each.</details>

# %% exercise="3.2" function="valuelab.probes.data.group_folds" minutes=12 stars=2

# %%
group_folds = check("3.2", group_folds)


# %%
def logits_held_out(X, y, groups, method, folds=5, seed=0):
    """Logits of each item from a probe that saw nothing of its context, with our own folds."""
    fold, z = group_folds(groups, folds, seed), np.zeros(len(y))
    for k in range(folds):
        train = fold != k
        trained = probes.fit(X[train], torch.as_tensor(y[train]), method=method)
        z[~train] = trained(X[~train]).numpy()
    return z


def own_difference(X, y, groups):
    return mean_difference(X[y], X[~y])


def held_out(X, y, groups, method="lda", seed=0):
    return float(((logits_held_out(X, y, groups, method, seed=seed) > 0) == y).mean())


names, index = np.unique(about, return_inverse=True)
middle = states[len(LAYERS) // 2]
leaks = {"split by sentence": [], "split by context": []}
for seed in range(24):
    coin = np.random.default_rng(seed).permutation(len(names)) % 2 == 0
    leaks["split by sentence"].append(held_out(middle, coin[index], np.arange(len(index)), seed=seed))
    leaks["split by context"].append(held_out(middle, coin[index], index, seed=seed))
fig, ax = plots.figure(figsize=(6.5, 2.4))
for k, scores in enumerate(leaks.values()):
    ax.plot(scores, [k] * len(scores), color=plots.COLORS[k], marker=plots.MARKERS[k], ls="", ms=8, alpha=0.7)
ax.axvline(0.5, ls="--", color=plots.GREY)
ax.set(yticks=[0, 1], yticklabels=list(leaks), ylim=(-0.6, 1.6), xlim=(0.2, 1.03), xlabel="accuracy on labels drawn by coin, one for each context")
seen, unseen = (f"{np.mean(a):.2f} ± {np.std(a, ddof=1) / len(a) ** 0.5:.2f}" for a in leaks.values())
show(fig, f"Labels without any meaning, {len(leaks['split by context'])} draws. Split by sentence the probe 'finds' them with {seen}; split by context it is at {unseen} (mean and its standard error).")

# %% [markdown] minutes=4
# ## 3 · Which layers?
#
# Now the real labels. The interval is drawn over contexts, not over sentences: all sentences about one thing are one piece of
# evidence. Two estimators: the mean difference, and linear discriminant analysis, which divides the same difference by the
# spread inside the clouds, $w = S^{-1}(\bar h_+ - \bar h_-)$, with $S$ `(d, d)` the covariance within them. After which block can
# the stance be read, and could counting words have told it?

# %%
found = {
    name: [probes.grouped_accuracy(states[k], y, about, method).accuracy for k in LAYERS]
    for name, method in (("mean difference", own_difference), ("discriminant analysis", "lda"))
}
words = probes.bag_of_words(texts, y, about)
series = {name: [a.estimate for a in row] for name, row in found.items()} | {"words and word pairs": [words.accuracy.estimate] * len(LAYERS)}
bands = {name: ([a.low for a in row], [a.high for a in row]) for name, row in found.items()}
fig = plots.curves(LAYERS, series, bands=bands, xlabel="block", ylabel="accuracy on unseen contexts", chance=0.5)
fig.axes[0].set_xticks(LAYERS)
best = int(np.argmax(series["discriminant analysis"]))
top = found["discriminant analysis"][best]
show(fig, f"{len(y)} sentences about {len(names)} things. Best block {best}: {top.estimate:.2f} [{top.low:.2f}, {top.high:.2f}]; after block 0 {found['discriminant analysis'][0].estimate:.2f}. A classifier that sees only which words and word pairs occur: {words.accuracy.estimate:.2f}.")

# %% [markdown] minutes=3
# Choosing the best block on the figures that we report would flatter us. `nested_accuracy` chooses it inside each fold and scores
# it outside (**nested** validation). It can go further, and hold out the *wording* as well: a probe made from "I put x before y"
# and "I prefer x to y" is tested on "x means more to me than y". That is the figure to report.

# %%
families = np.array([" ".join(w.replace("behind", "before").replace("less", "more").split()[:3]) for w in wordings])
nested = probes.nested_accuracy(states, y, about, "lda")
strict = probes.nested_accuracy(states, y, about, "lda", wordings=families, folds=4, inner=3)
taken = ", ".join(f"block {k} in {n}" for k, n in sorted(Counter(nested.chosen).items()))
display(Markdown(f"Layer chosen inside the folds ({taken} of 5): accuracy {nested.accuracy}. With the wording unseen too: {strict.accuracy}."))

# %% [markdown] minutes=4
# ## 4 · Caught in the act: a probe that reads the topic
#
# A common way to build a value probe is to collect texts that show the value, and texts that show others. Train on that:
# speakers who *praise security* against speakers who *praise something else*. Every test in the same style will look splendid.
# Then ask what was meant: of two speakers who both talk about safety, who puts it first?

# %%
def praise(value, n):
    pairs = W.contrast_pairs(value, n, 7, kind="statement")
    return [p.positive for p in pairs], [p.context_id.split("|")[1] for p in pairs]


own, own_about = praise("security", 100)
others = [praise(v, 25) for v in ("stimulation", "achievement", "benevolence", "hedonism")]
topic_texts = own + [t for group, _ in others for t in group]
topic_about = np.array(own_about + [a for _, group in others for a in group])
topic_y = np.arange(len(topic_texts)) < len(own)
blocks = range(lm.n_layers)
topic_states = read(topic_texts, blocks)
topic_probes = [probes.fit(topic_states[b], torch.as_tensor(topic_y), method="lda") for b in blocks]
on_its_own = np.array([held_out(topic_states[b], topic_y, topic_about) for b in blocks])
on_the_question = np.array([((topic_probes[b](states[b]).numpy() > 0) == y).mean() for b in blocks])
caught = int((on_its_own - on_the_question).argmax())
fig = plots.curves(blocks, {"on its own kind of text": on_its_own, "who puts safety first?": on_the_question}, xlabel="block", ylabel="accuracy of the topic probe")
fig.axes[0].axhline(0.5, ls="--", color=plots.GREY)
fig.axes[0].set(ylim=(0.3, 1.03), xticks=blocks)
show(fig, f"Read after block {caught}, the topic probe scores {on_its_own[caught]:.2f} where it was bred and {on_the_question[caught]:.2f} on the question it was meant for; after block {blocks[-1]}, {on_its_own[-1]:.2f} and {on_the_question[-1]:.2f}. The probe from controlled pairs answers the question with {nested.accuracy.estimate:.2f} on unseen contexts.")

# %% [markdown] minutes=1
# Its own test cannot tell the two cases apart: where the states hold the stance, a topic probe may hit on it; where they hold only
# the topic, it is blind to the question and scores as well. Only controlled pairs tell.

# %% [markdown] minutes=4
# ## 5 · Along a reply
#
# Ten probes, one a value, read a reply of three sentences at each full stop, where they were trained. (Between the stops their
# readings mean nothing: no probe has seen such states.) Each is a mean difference of statements for and against its value, minus
# the average of the ten: what all values share is that a wording praises, and that is not a value. A reading is given in
# **spreads**: how many standard deviations it lies from the mean of the statements that trained the ten probes, all together.
#
# Left, each sentence stands alone: does the value that it speaks of stand out? (Its neighbours on the circle may come close.)
# Right, the same full stops within the reply: does a stop hold its own sentence only, or all that was said before?

# %%
def ten_probes(layer):
    """Directions (10, d) from statements for and against each value, and those statements' own readings (n, 10)."""
    sides = []
    for value in VALUES:
        statements, side, *_ = table("statement", value, 40)
        X = read(statements, [layer])[layer]
        sides.append((X[side], X[~side]))
    rows = torch.stack([high.mean(0) - low.mean(0) for high, low in sides])
    rows = rows - rows.mean(0)
    return rows, torch.cat([X for pair in sides for X in pair]) @ rows.T


sentences = [f"{W.NOUNS['security'][0].capitalize()} matters to me.", f"I can live without {W.NOUNS['stimulation'][0]}.",
             f"I love {next(a for a in W.ACTIVITIES if a.value == 'benevolence').gerund}."]  # fmt: skip
rows, usual = ten_probes(best)
alone, within = (
    ((read(said, [best])[best] @ rows.T - usual.mean(0)) / usual.std(0)).T.numpy()  # (10, 3), in spreads
    for said in (sentences, [" ".join(sentences[: k + 1]) for k in range(3)])
)
fig, panels = plots.figure(1, 2, figsize=(8.8, 4.4), sharey=True)
for ax, scores, title in zip(panels, (alone, within), ("each sentence alone", "the reply so far"), strict=True):
    image = ax.imshow(scores, cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto")
    for (i, k), score in np.ndenumerate(scores):
        ax.text(k, i, f"{score:+.1f}", ha="center", va="center", fontsize=10, color="white" if abs(score) > 1.8 else "black")
    ax.set_xticks(range(3), ["1: for\nsecurity", "2: against\nstimulation", "3: for\nbenevolence"])
    ax.set_title(title)
panels[0].set_yticks(range(10), VALUES)
fig.colorbar(image, ax=panels, label="probe, in spreads")
meant, kept = ("security", "stimulation", "benevolence"), VALUES.index("security")
show(fig, f"'{' '.join(sentences)}' at block {best}. Alone, the sentences read their own values at " + ", ".join(f"{v} {alone[VALUES.index(v), k]:+.1f}" for k, v in enumerate(meant)) + f"; highest or lowest of the ten are {VALUES[alone[:, 0].argmax()]}, {VALUES[alone[:, 1].argmin()]} and {VALUES[alone[:, 2].argmax()]}. The third full stop reads security at {alone[kept, 2]:+.1f} alone and at {within[kept, 2]:+.1f} at the end of the reply.")


# %% [markdown] minutes=1
# Move through the blocks: held-out logits of your probe, and how far the clouds have parted.

# %%
def draw(layer=best):
    """Held-out logits of the mean difference at one block."""
    z = logits_held_out(states[layer], y, about, own_difference)
    fig, ax = plots.figure(figsize=(6.5, 3))
    for k, (side, label) in enumerate(((y, "for security"), (~y, "against"))):
        ax.hist(z[side] / z.std(), bins=np.linspace(-3, 3, 31), alpha=0.6, color=plots.COLORS[k], hatch=("", "//")[k], label=label)
    ax.axvline(0, color=plots.GREY)
    ax.set(xlabel="logit on unseen contexts, in spreads", ylabel="sentences", title=f"after block {layer}")
    ax.legend()
    show(fig, f"Block {layer}: {((z > 0) == y).mean():.2f} of the sentences lie on their own side.")


draw(best)

# %% tags=["widget"]
from ipywidgets import interact

interact(draw, layer=(0, lm.n_layers - 1))

# %% [markdown] minutes=4
# ## 6 · Could the probe have learnt anything at all?
#
# A probe with many weights may simply memorise. How much of its accuracy could be that? Give it a **control task**: a label by
# coin for each *type* (here: for each of the eight wordings), the same wherever the type occurs. Nothing but memory of the types
# can do it. Then
#
# $$\text{selectivity} = \text{accuracy(task)} - \text{accuracy(control task)}$$
#
# A probe that does both well has told us about itself, not about the model. Source: Hewitt and Liang, arXiv 1909.03368.
#
# ### Exercise 3.3: labels for a control task
#
# `types` is `(n,)`; about `share` of the *items* get True, as in the real task. Shuffle the types, lay them in a row, each as long
# as its items are many, and give True to those whose middle lies in the first `share` of the row.
#
# What you should see: `✓ 3.3`; below, two probes of the same task that differ in what they remember.
#
# <details><summary>Hint 1</summary>With `sizes[order]` the lengths in the row, `np.cumsum(sizes[order])` is where each type ends.</details>
#
# <details><summary>Hint 2</summary>The middle of a type lies half its length before its end; compare with `share * sizes.sum()`.</details>

# %% exercise="3.3" function="valuelab.probes.controls.control_labels" minutes=10 stars=2

# %%
control_labels = check("3.3", control_labels)

# %%
picked = {}
for name, method in (("mean difference", own_difference), ("discriminant analysis", "lda")):
    picked[name] = [
        (held_out(states[k], y, about, method), np.mean([held_out(states[k], control_labels(wordings, 0.5, s), about, method) for s in range(4)]))
        for k in LAYERS
    ]
fig, panels = plots.figure(1, 2, figsize=(8.6, 3.2), sharey=True)
for ax, (name, rows_of) in zip(panels, picked.items(), strict=True):
    for k, label in enumerate(("the task", "control task")):
        ax.plot(LAYERS, [r[k] for r in rows_of], color=plots.COLORS[k], marker=plots.MARKERS[k], label=label)
    ax.axhline(0.5, ls="--", color=plots.GREY)
    ax.set(title=name, xlabel="block", xticks=LAYERS, ylim=(0.35, 1.03))
panels[0].set_ylabel("accuracy on unseen contexts")
panels[0].legend()
gap = {name: r[best][0] - r[best][1] for name, r in picked.items()}
show(fig, f"Selectivity at block {best}: {gap['mean difference']:+.2f} for the mean difference, {gap['discriminant analysis']:+.2f} for discriminant analysis. At block 0 the second does the control task with {picked['discriminant analysis'][0][1]:.2f} and the task with {picked['discriminant analysis'][0][0]:.2f}: what is easiest to read there is the wording.")

# %% [markdown] minutes=4
# ## 7 · Does 0.9 mean nine in ten?
#
# Steering will ask a probe for a *target probability*, so its probabilities must mean something. Sort the items by stated
# probability, cut them into bins $B$ of equal mass, and compare the mean statement with the observed share:
#
# $$\text{ECE} = \sum_B \frac{|B|}{n} \, \Big| \overline{p}_B - \overline{y}_B \Big|$$
#
# The logits of a mean difference have an arbitrary scale. One number, the *temperature* $T$, mends it:
# $p = \sigma((w \cdot h + b)/T)$, fitted on held-out logits. Like everything that is chosen, $T$ is chosen on four folds of contexts
# and used on the fifth. Source: Guo and others, arXiv 1706.04599.
#
# ### Exercise 3.4: expected calibration error
#
# `probabilities` `(n,)` of `y` being True, `y` `(n,)`, at most `bins` bins. **Predict:** a probe says 0.5 to everything and half of
# the sentences are positive. What is its error? Is it a good probe?
#
# What you should see: `✓ 3.4`; as it comes, the mean difference is nearly certain of everything, and not right as often as that.
# (The predicted error is 0: calibration is not accuracy.)
#
# <details><summary>Hint 1</summary>`np.array_split(order, k)` cuts a sorted index into parts of like size.</details>
#
# <details><summary>Hint 2</summary>The observed share is `y[part].mean()`, not the share of right answers.</details>

# %% exercise="3.4" function="valuelab.probes.calibration.expected_calibration_error" minutes=10 stars=2

# %%
expected_calibration_error = check("3.4", expected_calibration_error)

# %%
X, fold = states[best], group_folds(about, 5)
z, T = logits_held_out(X, y, about, own_difference), []
for k in range(5):  # the temperature of a fold never sees it
    rest = fold != k
    T.append(probes.temperature(logits_held_out(X[rest], y[rest], about[rest], own_difference), y[rest]))
fig, ax = plots.figure(figsize=(4.8, 3.9))
ece = {}
for k, (name, logits) in enumerate((("as it comes", z), ("with temperature", z / np.array(T)[fold]))):
    p = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    parts = np.array_split(np.argsort(p, kind="stable"), 8)
    ece[name] = expected_calibration_error(p, y, 8)
    ax.plot([p[i].mean() for i in parts], [y[i].mean() for i in parts], color=plots.COLORS[k], marker=plots.MARKERS[k], label=name)
ax.plot([0, 1], [0, 1], ls="--", color=plots.GREY)
ax.set(xlabel="stated probability", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
ax.legend()
rng = np.random.default_rng(0)
perfect = [expected_calibration_error(p, rng.random(len(p)) < p, 8) for _ in range(500)]  # outcomes drawn from p itself
show(fig, f"Calibration on unseen contexts: error {ece['as it comes']:.3f} as it comes, {ece['with temperature']:.3f} after division by T (from {min(T):.0f} to {max(T):.0f} in the five folds). The boundary, and so the accuracy, is the same. An error is never 0 by chance: a probe that means exactly what it says shows {np.mean(perfect):.3f} on {len(y)} sentences, and less than {np.quantile(perfect, 0.95):.3f} in 95 of 100 draws.")

# %% [markdown] minutes=4
# ## 8 · The shape of the cloud
#
# Does the model use its $d$ dimensions, or do all states lie near a few directions? With the singular values $\sigma_i$ of the
# states `(n, d)`,
#
# $$p_i = \frac{\sigma_i}{\sum_j \sigma_j}, \qquad \text{RankMe} = \exp\Big(-\sum_i p_i \log p_i\Big)$$
#
# counts directions. Beware: it depends on $n$. Only figures at the same $n$ compare, and even a perfectly round cloud of 200
# states in 128 dimensions does not show 128. Source: Garrido and others, arXiv 2210.02885.
#
# A second figure tells whether the states all point the same way: the mean cosine of two of them. Where it is near 1, all lie
# in a "narrow cone". Is that a property of the directions, or one offset that all states share?
#
# ### Exercise 3.5: RankMe
#
# `Z` is `(n, d)`; `centred=True` removes the mean state first. `as_cloud(Z, centred)` does that and checks the input. Use the
# singular values themselves (not their squares), and let $0 \log 0$ count as 0.
#
# What you should see: `✓ 3.5`; the trained model's states fill fewer directions than a round cloud would.
#
# <details><summary>Hint 1</summary>`torch.linalg.svdvals` gives the singular values.</details>
#
# <details><summary>Hint 2</summary>Leave out the p that are zero before you take the logarithm.</details>

# %% exercise="3.5" function="valuelab.probes.geometry.rankme" minutes=8 stars=1

# %%
rankme = check("3.5", rankme)

# %%
N = len(texts)
blank = models.untrained(lm)
bare = read(texts, model=blank)
shape = {
    "trained": [rankme(states[k], True) for k in LAYERS],
    "untrained": [rankme(bare[k], True) for k in LAYERS],
    f"round cloud of {N} states": [floor(N, lm.d_model, draws=1)["RankMe, centred"][0]] * len(LAYERS),
}
cosine = {"trained": [probes.mean_cosine(states[k]) for k in LAYERS], "trained, mean removed": [probes.mean_cosine(states[k], True) for k in LAYERS]}
fig, panels = plots.figure(1, 2, figsize=(9, 3.4))
for ax, lines, label in ((panels[0], shape, "RankMe, centred"), (panels[1], cosine, "mean cosine of two states")):
    for k, (name, values) in enumerate(lines.items()):
        ax.plot(LAYERS, values, color=plots.COLORS[k], marker=plots.MARKERS[k], label=name)
    ax.set(xlabel="block", xticks=LAYERS, ylabel=label)
    ax.legend(loc="center right", bbox_to_anchor=(1, 0.7))  # between the lines
show(fig, f"Left: effective directions at N = {N}; trained {shape['trained'][0]:.0f} after block 0 and {shape['trained'][-1]:.0f} after the last, a round cloud {list(shape.values())[2][0]:.0f}. Right: two states have a mean cosine of {cosine['trained'][-1]:.2f}, and {cosine['trained, mean removed'][-1]:.2f} once the common offset is removed: the 'narrow cone' is an offset.")

# %% [markdown] minutes=5
# ## 9 · Are two directions the same?
#
# A value can be shown in two ways. **Intrinsic**: the model has said "I put safety before fun". **Prompted**: a system line has
# told it that safety matters. Are the two directions one? Their cosine alone cannot say: each is an average of noisy
# differences, and even two estimates of *one* direction would not have cosine 1. Cut a set of $n$ differences at random into
# halves; let $r$ be the mean cosine of the halves' means. The mean of all repeats itself with
#
# $$\rho = \frac{2r}{1+r}, \qquad \text{ceiling} = \sqrt{\rho_A\,\rho_B}, \qquad \cos_{\text{true}} \approx \cos / \text{ceiling}$$
#
# Source: split-half reliability (Spearman; Brown, 1910); intrinsic and prompted values, arXiv 2509.24319.
#
# ### Exercise 3.6: reliability
#
# `X` is `(n, d)`: vectors that estimate one direction. Average the cosine of the halves' means over `draws` random halvings from
# `seed`, count a negative average as 0, and return $\rho$.
#
# What you should see: `✓ 3.6`; divided by its ceiling each cosine rises, by little where the ceiling is near 1. Watch how far the
# third bar stays below 1: that much of the difference is not noise.
#
# <details><summary>Hint 1</summary>`order = rng.permutation(len(X))`; the first half of it and the rest never share a vector.</details>
#
# <details><summary>Hint 2</summary>Average each half to one vector first; then one cosine for each halving.</details>

# %% exercise="3.6" function="valuelab.probes.directions.reliability" minutes=12 stars=3

# %%
reliability = check("3.6", reliability)


# %%
def both_ways(value, n=24, layer=LAYERS[-1]):
    """Differences at "I would" (n, d): after the model's own words, and after a system line."""
    asked = W.situations("train", n, 5)
    said = W.contrast_pairs(value, n, 5)
    lines = planted.persona_pairs(value, n, 5)
    prompts = [models.chat(lm, s.text) for s in asked]
    intrinsic = [capture(lm, [f"{a} {getattr(p, side)} So I would" for a, p in zip(prompts, said, strict=True)], layer, batch_size=64)[layer] for side in ("positive", "negative")]
    prompted = [capture(lm, [models.chat(lm, s.text, system=x[k]) + " I would" for s, x in zip(asked, lines, strict=True)], layer, batch_size=64)[layer] for k in (0, 1)]
    return intrinsic[0] - intrinsic[1], prompted[0] - prompted[1]


sets = [both_ways(v) for v in VALUES]
shared = [torch.stack([s[k].mean(0) for s in sets]).mean(0) for k in (0, 1)]  # what all values share is no value
A, B = ([s[k] - shared[k] for s in sets] for k in (0, 1))
unit = [torch.nn.functional.normalize(torch.stack([x.mean(0) for x in X]), dim=1) for X in (A, B)]
grid = (unit[0] @ unit[1].T).numpy()
ceiling = np.array([np.sqrt(reliability(a) * reliability(b)) for a, b in zip(A, B, strict=True)])
same, other = grid.diagonal(), grid[~np.eye(10, dtype=bool)].mean()
fig = plots.bars({"cosine": same, "ceiling": ceiling, "cosine / ceiling": same / np.maximum(ceiling, 0.1)}, ylabel="intrinsic against prompted")
fig.axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)  # above the bars, not on them
show(fig, f"The intrinsic and the prompted direction of a value have a mean cosine of {same.mean():.2f}, those of two different values {other:.2f}. Noise alone would cap it at {ceiling.mean():.2f}; allowed for, it is {(same / np.maximum(ceiling, 0.1)).mean():.2f}.")

# %% [markdown] minutes=5
# ## A control that must fail
#
# If the labels mean nothing, an honest procedure finds nothing. Shuffle the labels **inside each context**: topics, words and
# lengths stay exactly as they are, only the stance is dealt by coin.
#
# ### Exercise 3.7: shuffle within contexts
#
# `y` is `(n,)` booleans, `groups` `(n,)`. Return `y` permuted inside each group, `(n,)`, the same for the same `seed`.
#
# What you should see: `✓ 3.7`, and accuracy at one half.
#
# <details><summary>Hint 1</summary>Go through the groups one by one; `np.flatnonzero(groups == name)` gives the rows of one.</details>
#
# <details><summary>Hint 2</summary>`rng.permutation(y[rows])`, and work on a copy: the caller keeps its labels.</details>

# %% exercise="3.7" function="valuelab.probes.baselines.shuffle_within" minutes=8 stars=1

# %%
shuffle_within = check("3.7", shuffle_within)

# %% [markdown] minutes=4
# We looked at several layers, and the best of several looks good by chance. So its rivals must be the best of several, too: for
# each shuffling $b$, the largest accuracy over all layers.
#
# $$p_\ell = \frac{1 + \#\{b : \max_{k} a_k^{(b)} \ge a_\ell\}}{1 + \text{draws}}$$
#
# The 1 counts the labels as they really were: no p-value is ever zero. Source: Westfall and Young, 1993.
#
# ### Exercise 3.8: a p-value for a family
#
# `observed` is `(layers,)`, `null` is `(draws, layers)`, one shuffling a row. Return `(layers,)`.
#
# What you should see: `✓ 3.8`; the real accuracies lie beyond every shuffled maximum.
#
# <details><summary>Hint 1</summary>`null.max(axis=1)` is the best layer of each shuffling.</details>
#
# <details><summary>Hint 2</summary>Compare `(draws, 1)` with `(1, layers)` and sum over draws.</details>

# %% exercise="3.8" function="valuelab.probes.controls.family_wise_p" minutes=8 stars=2

# %%
family_wise_p = check("3.8", family_wise_p)

# %%
def accuracies(labels):
    """Accuracy of each layer on unseen contexts."""
    return [held_out(states[k], labels, about, own_difference) for k in LAYERS]


observed = np.array(accuracies(y))
null = np.array([accuracies(shuffle_within(y, about, seed)) for seed in range(39)])
p = family_wise_p(observed, null)
empty = probes.nested_accuracy(bare, y, about, "lda")
fig, ax = plots.figure(figsize=(7, 3.4))
ax.plot(LAYERS, observed, color=plots.COLORS[0], marker="o", label="real labels")
ax.plot(np.repeat(LAYERS, len(null)), null.T.ravel(), ls="", marker="^", ms=4, alpha=0.35, color=plots.COLORS[1], label="shuffled labels")
ax.axhline(null.max(1).max(), ls=":", color=plots.GREY, label="best layer of any shuffling")
ax.set(xlabel="block", xticks=LAYERS, ylabel="accuracy on unseen contexts", ylim=(0.2, 1.03))
ax.legend()
show(fig, f"Mean difference: at most {observed.max():.2f} with real labels; shuffled labels have mean {null.mean():.2f} and reach {null.max():.2f} at best. Family-wise p of the best layer: {p.min():.3f}. An untrained copy of the model: {empty.accuracy}.")

# %% [markdown] minutes=3
# Everything in one table. What may be claimed is the distance to the **best** baseline, paired sentence by sentence.

# %%
report = probes.probe_report(lm, texts, y, about, prompts=[HEAD] * len(texts), types=wordings, method="lda", permutations=29)
display(Markdown(f"```\n{report}\n```"))

# %% [markdown] minutes=1
# ## What we may claim

# %%
claim("the layer chosen inside the folds is never the first block", 0 not in nested.chosen)
claim("a split by sentence finds labels that mean nothing; a split by context does not",
      np.mean(leaks["split by sentence"]) > 0.6 and abs(np.mean(leaks["split by context"]) - 0.5) < 0.12)
claim("at some block the topic probe scores above .9 on its own kind of text and is near chance on the question it was meant for",
      on_its_own[caught] > 0.9 and abs(on_the_question[caught] - 0.5) < 0.1)
claim("the probe is more than 10 points above the best of words, length, mean embedding and untrained model",
      report.claims and report.margin.estimate > 0.10)
claim("with shuffled labels the mean accuracy is within 5 points of chance", abs(null.mean() - 0.5) < 0.05)
claim("the best layer is beyond chance even when all layers are allowed for", p.min() <= 0.05)
claim("a temperature from other contexts brings the calibration error down", ece["with temperature"] < ece["as it comes"])
claim("the states fill fewer directions than a round cloud of as many states", max(shape["trained"]) < list(shape.values())[2][0])
claim("intrinsic and prompted directions of one value agree more than those of different values", same.mean() > other + 0.1)

# %% [markdown]
# ## Questions

# %%
quiz("A probe for 'power' has accuracy 0.97, a bag of words 0.95. What may you report?", [
    ("The model represents power with 0.97", False, "The words alone would have given nearly the same."),
    ("Two points above the best baseline, with an interval", True, "Only the distance is the model's."),
    ("Nothing, probes never show anything", False, "They do, once the baselines are beaten."),
])

# %%
quiz("Why must the layer be chosen inside the folds?", [
    ("It is faster", False, "It is slower: every fold chooses anew."),
    ("The best of several chances looks like skill", True, "The maximum over layers is biased upwards, most of all when nothing is there."),
    ("It need not be, layers are not parameters", False, "Whatever is chosen by its score is fitted."),
])

# %%
quiz("The probe is accurate on unseen contexts and wordings. Does the model use the direction?", [
    ("Yes, otherwise it would not be there", False, "Much can be read that nothing downstream uses. Reading is not use."),
    ("Unknown: that takes an intervention", True, "Lesson 04 intervenes."),
    ("Only if the probe is calibrated", False, "Calibration says what a number means, not what it does."),
])

# %% [markdown] minutes=2
# ## Limits
#
# - One small model in a planted world: its states are tidier than those of models trained on the web.
# - A linear probe finds linear traces. Its failure does not show that nothing is there.
# - Things and wordings are held out here, not languages or kinds of text.
# - Reading is not using: nothing in this lesson shows that the model acts on what the probe reads.
#
# ## Links
#
# - Control tasks: Hewitt and Liang, [arXiv 1909.03368](https://arxiv.org/abs/1909.03368)
# - Difference in means: Marks and Tegmark, [arXiv 2310.06824](https://arxiv.org/abs/2310.06824)
# - Promises and shortcomings of probes: Belinkov, [arXiv 2102.12452](https://arxiv.org/abs/2102.12452)
# - Temperature: Guo and others, [arXiv 1706.04599](https://arxiv.org/abs/1706.04599)
# - RankMe: Garrido and others, [arXiv 2210.02885](https://arxiv.org/abs/2210.02885)

# %% [markdown] tags=["instructor"]
# **Question for the room.** Before section 3: at which depth do you expect the stance to be readable at the full stop, and why not
# at once? Before section 4: would you publish the topic probe's first number?
#
# **Misconceptions.** "Accuracy 0.9 means the model has the value": ask for the bag of words. "A random split is unbiased": not
# across contexts. "A layer chosen on the test set is a small sin": let them compute how far the maximum of several noisy
# figures lies above each. "A cosine of 0.5 means half the same": ask for the ceiling.
#
# **To cut.** For 90 minutes keep: exercises 3.1, 3.2, 3.7 and section 4. One day: as in the track. Semester: everything, and
# lesson 03 again with `VALUELAB_MODEL` set.

# %% [markdown]
# ## Where to go from here
#
# Look for a value of your own, on pairs in contexts that you hold out, and find out first whether words alone
# explain it. Next: [lesson 04](04_steering.ipynb) pushes along the directions found here.
