# %% [markdown] minutes=2
# # 03 · Probing: find where a value lives
#
# {{minutes}} · builds `valuelab.probes`: a direction from two clouds of states, and the tests it must pass
#
# Two sentences, the same words, the opposite stance. Somewhere inside the model they must part. Where?

# %%
import numpy as np
import torch

from valuelab import models, plots, probes
from valuelab import world as W
from valuelab.activations import capture
from valuelab.course import check, claim, quiz, show

plots.use()
lm = models.load()
pairs = W.contrast_pairs("security", 120, seed=1, kind="comparison")
high = capture(lm, [p.positive for p in pairs])
low = capture(lm, [p.negative for p in pairs])
layer = lm.n_layers - 2
cloud = torch.cat([high[layer], low[layer]])
axes = torch.pca_lowrank(cloud, 2, niter=8)[2]
fig, panels = plots.figure(1, 2, figsize=(8.6, 3.8))
for ax, states, name in ((panels[0], (high[0], low[0]), "block 0"), (panels[1], (high[layer], low[layer]), f"block {layer}")):
    w = states[0].mean(0) - states[1].mean(0)
    for k, (group, label) in enumerate(zip(states, ("for security", "against"), strict=True)):
        ax.hist((group @ w / w.norm()).numpy(), bins=24, alpha=0.6, color=plots.COLORS[k], hatch=("", "//")[k], label=label)
    ax.set(title=f"after {name}", xlabel="position along the line between the means", ylabel="sentences")
panels[0].legend()
show(fig, f"{len(pairs)} pairs of sentences that differ in the order of two things only, seen along the line that joins the means of the two groups.")

# %% [markdown] minutes=3
# Deeper in the network the two groups move apart. The line between their means is the simplest **probe**.
#
# ## What you will be able to do
#
# - **read** a direction from two clouds of hidden states,
# - **validate** it on contexts it has never seen,
# - **choose** a layer without cheating,
# - **show** which simpler explanations it beats, and that it fails where it must.
#
# ## What this builds on
#
# Lesson 01 (contrast pairs, split by context). Vectors, means, a dot product.
#
# ## 1 · A direction
#
# A hidden state is the vector $h \in \mathbb{R}^d$ that a block hands on for one token, here the last one of a sentence, when
# everything has been said. A **linear probe** reads it by $z(h) = w\cdot h + b$ and calls the sentence "for" if $z > 0$.
# The plainest choice goes from one mean to the other:
#
# $$w = \bar h_{+} - \bar h_{-}, \qquad b = -\tfrac12\, w\cdot(\bar h_{+} + \bar h_{-})$$
#
# Shapes: $\bar h_\pm$ and $w$ are `(d,)`, $b$ is a number. The bias puts the boundary half way.
#
# ### Exercise 3.1: mean difference
#
# `positive` is `(n, d)`, `negative` is `(m, d)`. Return `Probe(w, b, method="mean difference")`.
#
# What you should see: `✓ 3.1`, and below, accuracy that rises with depth.
#
# <details><summary>Hint 1</summary>The mean over sentences runs along dimension 0.</details>
#
# <details><summary>Hint 2</summary>At the point half way between the means the logit must be zero: solve that for b.</details>

# %% exercise="3.1" function="valuelab.probes.estimators.mean_difference" minutes=10 stars=2

# %%
mean_difference = check("3.1", mean_difference)

# %% [markdown] minutes=5
# ## 2 · Unseen contexts
#
# A pair's two sentences share place, words and topic. If one is in the training set and the other in the test set, the
# probe can recognise the *topic*. So whole contexts go to one fold (`groups`), and the interval is drawn over contexts.
#
# Where does the value become readable?

# %%
def table(kind, seed):
    """States of all layers, labels and contexts of one kind of pairs."""
    made = W.contrast_pairs("security", 120, seed=seed, kind=kind)
    texts = [p.positive for p in made] + [p.negative for p in made]
    groups = np.array([p.context_id for p in made] * 2)
    return texts, torch.arange(2 * len(made)) < len(made), groups


def fitted(X, y, groups):
    return mean_difference(X[y], X[~y])


texts, y, groups = table("comparison", 1)
states = capture(lm, texts)
by_layer = {layer: probes.grouped_accuracy(states[layer], y, groups, fitted).accuracy for layer in states}
words = probes.bag_of_words(texts, y, groups).accuracy
layers = sorted(by_layer)
fig = plots.curves(
    layers,
    {"mean difference": [by_layer[k].estimate for k in layers], "words and word pairs": [words.estimate] * len(layers)},
    bands={"mean difference": ([by_layer[k].low for k in layers], [by_layer[k].high for k in layers])},
    xlabel="block", ylabel="accuracy on unseen contexts", chance=0.5,
)
fig.axes[0].set_xticks(layers)
best = max(layers, key=lambda k: by_layer[k].estimate)
show(fig, f"Best block {best}: {by_layer[best].estimate:.2f} [{by_layer[best].low:.2f}, {by_layer[best].high:.2f}]. A probe that sees only which words occur: {words.estimate:.2f}.")

# %% [markdown] minutes=4
# Choosing the best layer on the same figures that we report would flatter us. `nested_accuracy` chooses the layer inside
# each fold and scores it outside.

# %%
nested = probes.nested_accuracy(states, y, groups, fitted)
claim("the layer chosen inside the folds is never the first block in all of them", set(nested.chosen) != {0})

# %% [markdown] minutes=4
# Now look inside one sentence. The probe was read at the full stop; at which word does the stance appear?

# %%
probe = fitted(states[best], y, groups)


def draw(layer=best, order=1):
    """Probe scores along one sentence, read at one layer."""
    text = "I put safety before fun." if order == 1 else "I put fun before safety."
    along = capture(lm, [text], layer, position="every")[layer][0]
    here = fitted(states[layer], y, groups)
    spread = here(states[layer]).std()
    fig, ax = plots.figure(figsize=(7.2, 2.8))
    tokens = lm.tokenizer.convert_ids_to_tokens(models.encode(lm, [text])[0])
    ax.bar(range(len(tokens)), (here(along) / spread).numpy(), color=plots.COLORS[0])
    ax.axhline(0, color=plots.GREY, linewidth=0.8)
    ax.set_xticks(range(len(tokens)), [t.strip() for t in tokens])
    ax.set(ylabel="probe, in spreads", title=text)
    show(fig, f"Probe score after each token, block {layer}.")


# %% tags=["widget"]
from ipywidgets import interact

interact(draw, layer=(0, lm.n_layers - 1), order=[("safety first", 1), ("fun first", 2)])

# %% [markdown] minutes=4
# ## A control that must fail
#
# If the labels mean nothing, an honest procedure finds nothing. Shuffle the labels **inside each context**: topics, words and
# lengths stay exactly as they are, only the stance is dealt by coin.
#
# ### Exercise 3.2: shuffle within contexts
#
# `y` is `(n,)` booleans, `groups` `(n,)`. Return `y` permuted inside each group, `(n,)`, the same for the same `seed`.
#
# What you should see: `✓ 3.2`, and accuracy at one half.
#
# <details><summary>Hint 1</summary>Go through the groups one by one; `np.flatnonzero(groups == name)` gives the rows of one.</details>
#
# <details><summary>Hint 2</summary>`rng.permutation(y[rows])`, and work on a copy: the caller keeps its labels.</details>

# %% exercise="3.2" function="valuelab.probes.baselines.shuffle_within" minutes=8 stars=1

# %%
shuffle_within = check("3.2", shuffle_within)

# %%
def accuracy(states, labels):
    return probes.grouped_accuracy(states, torch.as_tensor(labels), groups, fitted).accuracy.estimate


shuffled = [accuracy(states[best], shuffle_within(y, groups, seed)) for seed in range(20)]
blank = models.untrained(lm)
untrained = accuracy(capture(blank, texts, best)[best], y)
rows = {"probe": by_layer[best].estimate, "words": words.estimate, "untrained model": untrained, "shuffled labels": float(np.mean(shuffled))}
fig, ax = plots.figure(figsize=(7, 3))
ax.barh(list(rows)[::-1], list(rows.values())[::-1], color=[plots.COLORS[1]] * 3 + [plots.COLORS[0]])
ax.axvline(0.5, color=plots.GREY, linestyle="--")
ax.set(xlim=(0, 1), xlabel="accuracy on unseen contexts")
show(fig, "; ".join(f"{name} {value:.2f}" for name, value in rows.items()) + f". Shuffled labels range from {min(shuffled):.2f} to {max(shuffled):.2f}.")

# %% [markdown] minutes=1
# ## What we may claim

# %%
claim("the probe beats the words of the sentence by more than 10 points on unseen contexts", by_layer[best].estimate - words.estimate > 0.10)
claim("with shuffled labels the mean accuracy is within 5 points of chance", abs(np.mean(shuffled) - 0.5) < 0.05)
claim("the trained model beats its untrained copy", by_layer[best].estimate > untrained)

# %% [markdown] minutes=1
# ## Questions

# %%
quiz(
    "A probe reaches 0.95 with a random split and 0.60 with a split by context. Which number counts?",
    [
        ("0.95, it used more data", False, "Both used the same data. The random split lets the probe recognise contexts."),
        ("0.60, the contexts were unseen", True, "Only that number says something about the value rather than the topic."),
        ("Their mean", False, "An average of a right and a wrong measurement is a wrong measurement."),
    ],
)

# %%
quiz(
    "Why shuffle inside contexts and not over the whole set?",
    [
        ("It is faster", False, "It is not, and speed is not the point."),
        ("Everything but the stance stays as it was, so nothing else can explain a difference", True, "A control should change one thing."),
        ("Otherwise the labels would not be balanced", False, "A global shuffle keeps the balance too; it destroys more than the stance."),
    ],
)

# %%
quiz(
    "The probe is accurate. Does the model use the direction?",
    [
        ("Yes, otherwise it would not be there", False, "Much can be read that nothing downstream uses. Reading is not use."),
        ("Unknown: that takes an intervention", True, "Lesson 04 intervenes."),
        ("No, models do not use directions", False, "Some they do; a probe alone cannot tell."),
    ],
)

# %% [markdown] minutes=2
# ## Limits
#
# One value, one small model with planted values: the method recovers what was planted. A high accuracy shows that the stance can
# be read, not that the model acts on it, and not that the same direction works on other wordings.
#
# ## Links
#
# - Difference in means: Marks and Tegmark, [arXiv 2310.06824](https://arxiv.org/abs/2310.06824)
# - Control tasks for probes: Hewitt and Liang, [arXiv 1909.03368](https://arxiv.org/abs/1909.03368)
# - Next: lesson 04, steering

# %% [markdown] tags=["instructor"]
# **Question for the room.** Before the layer plot: at which depth do you expect the stance to be readable, and why not at once?
#
# **Misconceptions.** "Accuracy 0.9 means the model has the value"; "a layer chosen on the test set is a small sin" (let them
# compute how far the maximum of several noisy figures lies above each).
#
# **To cut:** the token-level widget.
