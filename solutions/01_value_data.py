# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 · Value data
#
# Take a situation with two courses of action, of which one serves a value. Write down "Maria
# decided to …" once with either action: a pair, as most public sets have them. Or write sentences
# that name both actions and differ only in which one is chosen: a pair of this lesson. Below, a
# **probe** (a small classifier, here a logistic regression) guesses which member of a pair serves
# the value. It sees a **bag of words**: how often each word and each two neighbouring words occur,
# and nothing else. Watch the distance between the two markers in each row.
#
# {{minutes}}. CPU is enough; nothing is downloaded.

# %%
import json
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import interact
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from valuelab import data, plots, taxonomies
from valuelab.course import check, claim, quiz, show
from valuelab.data import own, pairs, splits
from valuelab.data.splits import SHARES
from valuelab.values import ANGLES, VALUES

plots.use()
seen = [pair for pair in pairs.load() if pair.split != "test"]  # test contexts stay unseen
context_of = {context.context_id: context for context in pairs.contexts()}


def usual_pairs(value):
    """One pair per context in the usual way: the positive tells one action, the negative the other."""
    texts, labels, groups = [], [], []
    for name in sorted({p.context_id for p in seen if p.value == value}):
        c = context_of[name]
        for label, action in ((c.value_a == value, c.action_a), (c.value_b == value, c.action_b)):
            texts.append(f"{c.setting}, {c.name} decided to {pairs.speak(action, c.pronoun)}.")
            labels.append(int(label))
            groups.append(name)
    return texts, np.array(labels), np.array(groups)


def our_pairs(value):
    return pairs.unpack([pair for pair in seen if pair.value == value])


uncontrolled = [pairs.ngram_probe(*usual_pairs(v), C=(1.0,)) for v in VALUES]
controlled = [pairs.ngram_probe(*our_pairs(v), C=(1.0,)) for v in VALUES]

fig, ax = plt.subplots(figsize=(7, 4))
rows = np.arange(len(VALUES))
ax.hlines(rows, controlled, uncontrolled, color="0.8", zorder=0)
ax.scatter(uncontrolled, rows, marker="s", color="C1", label="usual pairs: other words")
ax.scatter(controlled, rows, marker="o", color="C0", label="our pairs: same words")
ax.axvline(0.5, ls="--", lw=1, color="0.4")
ax.set(yticks=rows, yticklabels=VALUES, xlim=(0.4, 1), xlabel="accuracy on unseen contexts")
ax.invert_yaxis()
ax.legend(loc="lower right", fontsize=10)
show(
    fig,
    "The same probe on counts of one and two words, on situations it has not seen. Squares: usual "
    f"pairs, {min(uncontrolled):.2f} to {max(uncontrolled):.2f}. Circles: our pairs, "
    f"{min(controlled):.2f} to {max(controlled):.2f}. "
    "The dashed line is guessing.",
)

# %% [markdown]
# ## What you will be able to do
#
# - **name** the ten basic values and say which of them pull against each other
# - **read** value data of any kind into one record, and refuse what is damaged
# - **measure** how far annotators agree
# - **test** whether words alone give the answer away
# - **split** by context, and find what a split let through
#
# ## What this builds on
#
# Lesson 00 for the set-up, logistic regression, and cross-validation. A **context** below is a
# situation with its two courses of action; several sentences tell each. No language model is used
# here: this lesson is about the data that all later lessons stand on. New words: [glossary](../docs/GLOSSARY.md).

# %% [markdown] tags=["instructor"]
# **Misconceptions.** "Held-out accuracy is honest because the rows were held out." "More rows cure
# leakage." "Low agreement means bad annotators." "A balanced label is a controlled label."
#
# **For the room.** Show the first figure before anything else and let people guess what the squares
# read. Most say *the value*; some say *sentiment*. Come back to it after exercise 1.3.
#
# **What to cut.** In 90 minutes keep exercises 1.3, 1.4, 1.5 and the control, and cut the rest; with a
# day for the lesson leave out 1.6. The datasheet (1.7) makes a good homework with the group's own data.

# %% [markdown] minutes=6
# ## Ten values on a circle
#
# Schwartz's theory names ten basic values and orders them on a circle: neighbours share a
# motive, opposites pull against each other. Somebody who chooses *security* tends to forgo
# *stimulation*; *benevolence* sits easily with *universalism*. Nothing about a value is right or
# wrong here. The theory says which values go together, not which to have.
#
# There are other taxonomies. Nineteen refined values split the ten; moral foundations cut another
# way. A **crossmap** carries amounts from one to the other by a table in which each row sums
# to one:
#
# $$ y_j = \sum_i x_i \, W_{ij}, \qquad \sum_j W_{ij} = 1 $$
#
# with $x$ `(19,)`, $W$ `(19, 10)`, $y$ `(10,)`. So no mass appears and none is lost. Whether the
# weights are right is another matter: `basis` says whether the table follows from a definition or
# from somebody's judgement. (Schwartz 1992; Schwartz et al. 2012.)

# %%
refined = taxonomies.crossmap("schwartz19", "schwartz10")
face = refined.apply({"face": 1.0})
print("face goes to", {value: share for value, share in face.items() if share}, "by", refined.basis)
claim("the crossmap from nineteen to ten values preserves mass", np.allclose(refined.weights.sum(1), 1))

# %% [markdown]
# Choose a value in the next cell. Lines lead to the values it meets in our contrast pairs. Every
# value meets every other, so that a probe for one value cannot become a probe for its usual rival.

# %%
meets = Counter((p.value, p.other) for p in seen if p.form == "third" and p.chosen == "first")


def draw(value="tradition"):
    """The circle, with the number of contexts in which `value` meets each other value."""
    fig, ax = plt.subplots(figsize=(6, 4))
    x, y = np.cos(ANGLES), np.sin(ANGLES)
    here = VALUES.index(value)
    for i, other in enumerate(VALUES):
        chosen = i == here
        side = "center" if abs(x[i]) < 0.2 else "left" if x[i] > 0 else "right"
        ax.text(1.12 * x[i], 1.14 * y[i], other, ha=side, va="center", fontsize=10,
                weight="bold" if chosen else "normal")
        if not chosen:
            ax.plot([x[here], x[i]], [y[here], y[i]], lw=meets[value, other], color="C5")
    ax.scatter(x, y, s=40, color="C0", zorder=3)
    ax.scatter(x[here], y[here], s=160, marker="*", color="C1", zorder=4)
    ax.set(xlim=(-2, 2), ylim=(-1.3, 1.3), aspect="equal")
    ax.axis("off")
    opposite = VALUES[(here + 5) % 10]
    show(
        fig,
        f"{value} (star) meets each of the nine others in these contexts; line width counts "
        f"them. Its opposite on the circle is {opposite}: {meets[value, opposite]} contexts.",
    )


draw()

# %% tags=["widget"]
interact(draw, value=list(VALUES))

# %% [markdown] minutes=6
# ## One record for everything
#
# Datasets about values come as survey items, dilemmas, arguments, preference pairs and label
# counts. Later lessons do not want to know. Each reader therefore turns its files into one type:
#
# | field | holds |
# |---|---|
# | `id`, `source`, `licence`, `language` | where it comes from |
# | `context_id` | the situation it shares with other records: **split by this** |
# | `value`, `taxonomy`, `pole` | which value, in which taxonomy, for (+1) or against (−1) |
# | `prompt`, `choices`, `response`, `label` | what was asked, offered, answered |
# | `annotators` | who said what, how often: **not only the majority** |
# | `meta` | the rest, as JSON |
#
# Three public datasets follow: *ValueEval* (arguments and the values behind them), *MoralChoice*
# (dilemmas and the rules each action breaks) and *Scruples* (how many people gave which verdict).
# This notebook must run on any machine, so the cell below reads **small samples that we wrote by
# hand in the same file formats**. Figures about the real files stand in the text, where we
# measured them; the last cell of this section reads the real files where you have them.

# %%
SAMPLES = own.FOLDER / "samples"
public = {
    name: data.to_dataset(data.read(name, SAMPLES / name))
    for name in ("valueeval23", "moralchoice", "scruples")
}
for name, table in public.items():
    contexts = len(set(table["context_id"]))
    print(f"{name} (hand-made sample): {len(table)} records, {contexts} contexts")
row = public["valueeval23"][0]
print("\nprompt:  ", row["prompt"], "\nresponse:", row["response"], "\nlabel:   ", row["label"])

# %% [markdown]
# The course's own data come the same way: contrast pairs, dilemmas, portrait items, preferences.

# %%
for name in own.SCHEMAS:
    records = list(own.records(name))
    contexts = len({record.context_id for record in records})
    print(f"course_{name}: {len(records)} records, {contexts} contexts")

# %% [markdown]
# **Reading is strict.** A reader that skips what it cannot parse changes the data without telling
# anybody. Below, one label of the sample is damaged by a single letter.

# %%
import shutil
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder) / "valueeval23"
    shutil.copytree(SAMPLES / "valueeval23", copy)
    labels = copy / "data" / "labels-sample.tsv"
    lines = labels.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[7] = lines[7].replace("\t1", "\tl", 1)  # the letter l for the digit 1
    labels.write_text("".join(lines), encoding="utf-8")
    try:
        list(data.read("valueeval23", copy))
    except data.DataError as error:
        print(f"refused: {Path(error.file).name}, line {error.line}: {error.problem}; found {error.found}")

# %% [markdown]
# And the real files? The cell below looks in the folder that `VALUELAB_DATA` names, or else among the
# downloads, and says what it found. Its output is yours alone: the tests do not compare it.

# %% tags=["nbval-ignore-output"]
from valuelab.data.sources import cache_folder, local_folder

real = {}
for name in public:
    try:
        real[name] = list(data.read(name, local_folder(name) or cache_folder() / name))
        contexts = len({record.context_id for record in real[name]})
        print(f"{name}: {len(real[name])} records, {contexts} contexts (real files)")
    except FileNotFoundError:
        print(f"{name}: not at hand, the sample was used. To fetch it: python -m valuelab data get {name}")

# %% [markdown] minutes=5
# ## What annotators disagree on
#
# A value label is somebody's judgement. Take item $i$ with $c_{il}$ votes for label $l$. The
# **entropy** of its shares $p_{il} = c_{il} / \sum_l c_{il}$, divided by its maximum, says how
# divided the voters are on *this item*:
#
# $$ H_i = -\frac{1}{\log L} \sum_{l=1}^{L} p_{il} \log p_{il} \in [0, 1] $$
#
# ### Exercise 1.1: who is divided?
#
# `counts` is `(items, L)`; return `(items,)`. Predict first: with two labels, how divided are 3
# votes against 1, nearer to 0.5 or to 0.8?
#
# What you should see: 0 for an item on which all agree, 1 for an even split over all labels, about
# 0.81 for 3 against 1.
#
# <details><summary>Hint 1</summary> Sum along axis 1: one number for each item.</details>
# <details><summary>Hint 2</summary> 0 · log 0 is nan in numpy and 0 in the formula. Take the log of
# 1 wherever the share is 0.</details>

# %% exercise="1.1" function="valuelab.data.annotators.label_entropy" minutes=8 stars=1

# %%
label_entropy = check("1.1", label_entropy)

# %%
for votes in ([4, 0], [2, 2], [3, 1]):
    print(f"{votes[0]} votes against {votes[1]}: {label_entropy(np.array([votes]))[0] + 0:.2f}")  # + 0: no "-0.00"

# %%
verdicts = np.array([[a["weight"] for a in row["annotators"]] for row in public["scruples"]])
names = public["scruples"][0]["choices"]
divided = np.argsort(label_entropy(verdicts), kind="stable")
for i in (*divided[:2], *divided[-2:]):
    print(dict(zip(names, verdicts[i].astype(int).tolist(), strict=True)))
claim("two even camps are more divided than nine against one",
      label_entropy(np.array([[5, 5, 0]]))[0] > label_entropy(np.array([[9, 1, 0]]))[0])

# %% [markdown] minutes=6
# ### Agreement beyond chance
#
# If nine verdicts in ten are OTHER, two people who roll dice with that bias agree four times in
# five. **Krippendorff's α** compares the disagreement seen *within* items with what dealing
# the same votes at random would give:
#
# $$ \alpha = 1 - \frac{D_o}{D_e}, \quad
# D_o = \frac{1}{M} \sum_i \frac{m_i^2 - \sum_l c_{il}^2}{m_i - 1}, \quad
# D_e = \frac{M^2 - \sum_l C_l^2}{M (M - 1)} $$
#
# with $m_i$ votes on item $i$, $C_l$ votes for label $l$, $M$ votes in all. An item with one vote
# says nothing about agreement and is left out of every sum. (Krippendorff 2004, chapter 11.)
#
# ### Exercise 1.2: agreement, corrected
#
# `counts` is an array `(items, L)` again; return one number. What you should see: 1 when all agree on every item, about 0 for coins.
#
# <details><summary>Hint 1</summary> Drop the rows with fewer than two votes first, then take m, C
# and M from what is left.</details>
# <details><summary>Hint 2</summary> m² − Σ c² counts the ordered pairs of votes on one item that
# differ.</details>

# %% exercise="1.2" function="valuelab.data.annotators.krippendorff_alpha" minutes=12 stars=2

# %%
krippendorff_alpha = check("1.2", krippendorff_alpha)

# %%
coins = np.random.default_rng(0).multinomial(9, [0.9, 0.1], size=3000)
raw = (coins.max(1) / 9).mean()
claim("coins with a bias agree with their majority more than 85 times in 100", raw > 0.85)
claim("and their alpha is zero to within 0.02", abs(krippendorff_alpha(coins)) < 0.02)
claim("the hand-made verdicts lie well above chance and well below agreement",
      0.1 < krippendorff_alpha(verdicts) < 0.9)

# %% [markdown]
# On the published files we measured (with these functions):
#
# | dataset | items | votes | α |
# |---|---|---|---|
# | Scruples, verdicts on anecdotes (5 labels), dev | 2 500 | 52 433 | 0.43 |
# | Scruples, which of two actions is worse, dev | 2 340 | 11 700 | 0.34 |
#
# The cell below measures that column again if you have the files, with a few more items: those that
# Scruples keeps for its own tests.

# %% tags=["nbval-ignore-output"]
for many, what in ((5, "verdicts on anecdotes"), (2, "which of two actions is worse")):
    votes = [[a.weight for a in r.annotators] for r in real.get("scruples", ()) if len(r.choices) == many]
    print(f"{what}:", f"α = {krippendorff_alpha(np.array(votes)):.2f}" if votes else "not at hand")

# %% [markdown]
# Only a quarter of the anecdotes had one verdict. In MoralChoice, scenarios called highly ambiguous
# carry 0.55 disputed rules each, and those called clear carry none.
#
# Low agreement can mean careless annotators, an unclear question, or people who *hold different
# values*. The third is what this course is about, and a majority vote deletes it. So a record
# keeps all votes.

# %% [markdown] minutes=6
# ## Why context has to be controlled
#
# Look at what the squares of the first figure are made of. Both members of a usual pair share the
# situation, so the topic of the *place* is controlled. But one says *obey*, *rule*, *politely*, and
# the other does not. A probe trained on them has learnt which actions are talked about. In the public
# contrast set of ConVA (arXiv 2507.11316) the part called context-controlled is made in the same way:
# the situation stays, and one text helps where the other hurries past.
#
# In a **contrast pair** of ours both members name both actions. Setting and words are the same:

# %%
subject = "conformity"
mine = [pair for pair in seen if pair.value == subject]
timed = [p for p in mine if p.form == "third" and p.construction == "time"]
print("+", timed[0].positive)
print("−", timed[0].negative)

# %% [markdown]
# That is not enough. If the chosen action always came first, the word after "found time for" would
# give the answer away. So each context is told in **two mirrors**, and the words around both slots
# are the same in either:

# %%
twin = next(p for p in timed if p.context_id == timed[0].context_id and p.chosen == "second")
print("+", twin.positive)
print("−", twin.negative)

# %% [markdown]
# Now count. For every run of $n$ words $g$, take how often it stands in positive texts and subtract
# how often it stands in negative ones:
#
# $$ \text{imbalance}(g) = \sum_t (2 y_t - 1) \, \text{count}_t(g), \qquad y_t \in \{0, 1\} $$
#
# This is, up to a factor, the gradient of a logistic probe on counts at weight zero. If it is
# zero for every $g$, the probe starts at its optimum and learns nothing.
#
# ### Exercise 1.3: what can words know?
#
# `ngrams(text, n)` gives the runs of `n` words of a text. Return a `Counter` of imbalances, without
# those that are 0.
#
# What you should see: an empty Counter for the pairs up to three words, and a long one for four.
#
# <details><summary>Hint 1</summary> Add 1 for each occurrence where the label is 1, take away 1
# where it is 0. A run that stands twice in a text counts twice.</details>
# <details><summary>Hint 2</summary> `Counter - Counter` drops what is negative. Add and take away
# one at a time instead.</details>

# %% exercise="1.3" function="valuelab.data.pairs.ngram_imbalance" minutes=12 stars=2

# %%
ngram_imbalance = check("1.3", ngram_imbalance)

# %%
texts, labels, groups = pairs.unpack(mine)
left = {n: len(ngram_imbalance(texts, labels, n)) for n in (1, 2, 3, 4)}
print("runs of words out of balance:", {n: count > 0 for n, count in left.items()})
claim("no run of one, two or three words tells the pole", not any(left[n] for n in (1, 2, 3)))
claim("longer runs do: the pairs differ in something", left[4] > 0)
one_mirror = [p for p in mine if p.chosen == "first"]
claim("with a single mirror, two words would have told",
      len(ngram_imbalance(*pairs.unpack(one_mirror)[:2], 2)) > 0)

# %% [markdown] minutes=4
# ### A probe that learnt the topic
#
# Train a probe on usual pairs, then ask it about contexts it has not seen: once about their usual
# pairs, once about our pairs. Its logit (log-odds) is above zero where it guesses that the value was
# chosen. Watch how far the two histograms lie apart on the right.

# %%
from sklearn.model_selection import GroupKFold

usual_texts, usual_labels, usual_groups = usual_pairs(subject)
usual_logits, our_logits = np.zeros(len(usual_texts)), np.zeros(len(texts))
for held_in, held_out in GroupKFold(5, shuffle=True, random_state=0).split(
    usual_texts, usual_labels, usual_groups
):
    bag = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+")
    X = bag.fit_transform([usual_texts[i] for i in held_in])
    topic_probe = LogisticRegression(C=1.0, max_iter=2000).fit(X, usual_labels[held_in])
    usual_logits[held_out] = topic_probe.decision_function(
        bag.transform([usual_texts[i] for i in held_out])
    )
    there = np.flatnonzero(np.isin(groups, usual_groups[held_out]))
    our_logits[there] = topic_probe.decision_function(bag.transform([texts[i] for i in there]))

edge = abs(np.concatenate([usual_logits, our_logits])).max()
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True)
for ax, logits, y, title in (
    (axes[0], usual_logits, usual_labels, "usual pairs"),
    (axes[1], our_logits, labels, "our pairs"),
):
    bins = np.linspace(-edge, edge, 40)
    ax.hist(logits[y == 1], bins, color="C0", alpha=0.6, label=f"{subject} chosen")
    ax.hist(logits[y == 0], bins, histtype="step", color="C1", lw=2, label="forgone")
    ax.set(title=title, xlabel="logit of the topic probe")
axes[0].set_ylabel("sentences")
axes[1].set_ylim(0, 1.35 * axes[1].get_ylim()[1])  # room for the legend
axes[1].legend(loc="upper left", fontsize=10)
topic_right = ((usual_logits > 0) == (usual_labels == 1)).mean()
gap = our_logits[0::2] - our_logits[1::2]
show(
    fig,
    f"A topic probe for {subject} on unseen contexts. Left: {topic_right:.2f} right. Right: "
    f"{(abs(gap) < 1e-9).mean():.0%} of the pairs get the same logit twice, and the differences of the rest "
    f"cancel over the two mirrors (mean difference {abs(gap.mean()):.3f}).",
)
claim("the topic probe is right on more than 65 % of unseen usual pairs", topic_right > 0.65)
claim("on our pairs it knows nothing about who chose what", abs(gap.mean()) < 1e-6)

# %% [markdown]
# Is the value still in the pairs? Give a bag of words the **roles**: words of the chosen action
# count +1, those of the forgone action −1. That is no baseline, since roles are taken from the
# labels. It is a ceiling for reading single words once one knows who does what.

# %%
roles = pairs.baseline_accuracy(pairs.role_features(mine), labels, groups, C=(0.1,))
words = pairs.ngram_probe(texts, labels, groups, C=(0.1, 10.0))
claim("words without roles stay at or below .60", words <= 0.60)
claim("the same words with roles reach more than .65 on unseen contexts", roles > 0.65)

# %% [markdown] minutes=5
# ## Splits and leaks
#
# Twelve sentences about a value tell the same context. If eight of them train a probe and four test
# it, the test repeats the training. **Deal contexts, not rows.**
#
# ### Exercise 1.4: split by group
#
# `groups` holds the context of each row, `shares` is a dictionary from part to share.
# `part_sizes(n, shares.values())` turns shares into whole numbers of groups. Shuffle the groups with
# `np.random.default_rng(seed)`, deal them, and return the part of each *row*, as an array.
#
# What you should see: the contexts dealt about 3 : 1 : 1.
#
# <details><summary>Hint 1</summary> `np.unique(groups, return_inverse=True)` gives the groups and,
# for each row, which of them it belongs to.</details>
# <details><summary>Hint 2</summary> Fill `part_of[permutation] = dealt`, then index it with the
# inverse.</details>

# %% exercise="1.4" function="valuelab.data.splits.group_split" minutes=12 stars=2

# %%
group_split = check("1.4", group_split)

# %%
parts = group_split(groups, seed=0)
print({part: len(set(groups[parts == part])) for part in SHARES}, "contexts")

# %% [markdown]
# ### Exercise 1.5: find the leak
#
# A split often comes with the data, and you cannot see how it was made. Return every group that
# stands in more than one part, with its parts sorted.
#
# What you should see: `{}` for a clean split.
#
# <details><summary>Hint 1</summary> Collect a set of parts for each group.</details>
# <details><summary>Hint 2</summary> Keep the groups whose set has more than one member.</details>

# %% exercise="1.5" function="valuelab.data.splits.leaks" minutes=6 stars=1

# %%
leaks = check("1.5", leaks)

# %%
by_row = np.random.default_rng(0).permutation(parts)  # the same sizes, dealt by row
print("leaks of the split by group:", leaks(groups, parts))
claim("the split by group is clean", not leaks(groups, parts))
claim("dealing by row leaks in every single context", len(leaks(groups, by_row)) == len(set(groups)))

# %% [markdown] minutes=3
# Sometimes there is no context id, or it lies: the same story under two numbers. Then look at the
# text. With $A$ and $B$ the sets of runs of $n$ words of two texts,
#
# $$ \text{overlap} = \frac{|A \cap B|}{|A \cup B|} \in [0, 1] $$
#
# ### Exercise 1.6: near copies
#
# `shingles(text, n)` gives the set. What you should see: 1 for the same words, 0 for strangers,
# and case does not count.
#
# <details><summary>Hint 1</summary> Sets have `&` and `|`.</details>
# <details><summary>Hint 2</summary> The union counts what is shared once.</details>

# %% exercise="1.6" function="valuelab.data.splits.overlap" minutes=5 stars=1

# %%
overlap = check("1.6", overlap)

# %%
for other in ("Keep the night watch", "tune an old guitar"):
    print(f"{overlap('keep the night watch', other):.0f}: keep the night watch | {other}")

# %% [markdown]
# We plant a leak: the rows get fresh ids, so that exercise 1.5 sees nothing, and are dealt by row.
# The text gives it away.

# %%
fresh = np.array([f"row-{i}" for i in range(len(texts))])
claim("with fresh ids the leak detector is blind", not leaks(fresh, by_row))
caught = splits.near_copies(texts, by_row, threshold=0.5)
i, j, share = caught[0]
claim("near copies across parts are found by their text", overlap(texts[i], texts[j]) > 0.5)
clean = splits.near_copies(texts, parts, threshold=0.5)
claim("in the split by group there are none", not clean)

# %% [markdown] minutes=6
# ## A control that must fail
#
# How much can a leak be worth? Give every *context* a label by coin. There is nothing to learn.
# Then compare a split by row with a split by context.

# %%
rng = np.random.default_rng(1)
row_split, context_split = [], []
for _ in range(5):
    coin = {name: rng.integers(0, 2) for name in sorted(set(groups))}
    coin_labels = np.array([coin[g] for g in groups])
    options = {"n": 1, "C": (1.0,)}
    row_split.append(pairs.ngram_probe(texts, coin_labels, groups, split_by="row", **options))
    context_split.append(pairs.ngram_probe(texts, coin_labels, groups, **options))

fig, ax = plt.subplots(figsize=(6, 2.6))
ax.scatter(row_split, [1] * 5, marker="s", s=60, color="C1")
ax.scatter(context_split, [0] * 5, marker="o", s=60, color="C0")
ax.axvline(0.5, ls="--", lw=1, color="0.4")
ax.set(yticks=[0, 1], yticklabels=["split by context", "split by row"], xlim=(0, 1.05),
       ylim=(-0.6, 1.6), xlabel="accuracy on labels dealt by coin")
show(
    fig,
    f"Five deals of coin labels. Split by row: {np.mean(row_split):.2f} on average, where there is "
    f"nothing to find. Split by context: {np.mean(context_split):.2f}; it scatters around one half, "
    "since there are few contexts.",
)
claim("split by row, a probe 'finds' coin labels with more than 95 % accuracy", min(row_split) > 0.95)
claim("split by context, it does not get past 75 % in any deal", max(context_split) < 0.75)

# %% [markdown]
# Real data are no coin, but they leak in the same way. On the published ValueEval files (8 865
# arguments on 595 conclusions) we trained one probe per value on words weighted by their rarity
# (tf-idf) and measured the area under the ROC curve, the chance that it puts an argument with the
# value before one without: once with random rows held out, once with whole conclusions:
#
# | value | rows held out | conclusions held out |
# |---|---|---|
# | security: societal | 0.84 | 0.73 |
# | universalism: nature | 0.95 | 0.86 |
# | universalism: concern | 0.81 | 0.71 |
# | achievement | 0.80 | 0.71 |
#
# A fifth to a third of what looked like skill above guessing (0.5) was recognition, and we could
# only tell because the files say which conclusion an argument belongs to.

# %% [markdown] tags=["instructor"]
# **For the room.** Ask what the context accuracy should be if labels are coins: exactly one half?
# With 32 contexts it scatters by about ±0.09 (one standard error), because the context, not the
# sentence, is the unit. This is rule 1 of lesson 02.

# %% [markdown] minutes=6
# ## A datasheet of your own
#
# Numbers can be counted. Why the data exist, how they were collected, and what they must *not* be
# used for, only their author can say. A **datasheet** puts both on a page (Gebru et al. 2018).
#
# ### Exercise 1.7: what is in it, and what is it not for?
#
# `rows` have `context_id` and `split`; `prose` is a dictionary of sections. Return a dictionary
# with `rows`, `contexts`, `contexts per split` and `leaking contexts`, followed by all sections.
# Raise a `ValueError` that names **every** section of `SECTIONS` that is missing or blank.
#
# What you should see: the next cell refuses our lazy prose and names two sections.
#
# <details><summary>Hint 1</summary> A set of (context, split) counts contexts in splits.</details>
# <details><summary>Hint 2</summary> `leaks` of exercise 1.5 counts the leaking ones.</details>

# %% exercise="1.7" function="valuelab.data.datasheet.datasheet" minutes=12 stars=2

# %%
datasheet = check("1.7", datasheet)

# %%
preferences = own.preferences()
lazy = {"motivation": "To train on.", "collection": "", "use": "Rewards.", "licence": "CC BY 4.0"}
try:
    datasheet(preferences, lazy)
except ValueError as error:
    print(str(error).split(".")[0])

# %% [markdown]
# Now write it properly: **replace the sentences below by your own**, after reading a few rows.
# What would you tell a colleague who wants to train a chat model on these pairs?

# %%
example = preferences[3]
print(example.prompt, "\n a)", example.response_a, "\n b)", example.response_b)
prose = {
    "motivation": "To practise reward models that weigh two attributes against each other.",
    "collection": "One author wrote two attitudes and two contents for each of fifty prompts.",
    "use": "Bradley–Terry models, trade-offs, position and length bias.",
    "not for": "Training a model to be rude; nobody was asked what they prefer.",
    "licence": "CC BY 4.0",
}
sheet = datasheet(preferences, prose)
print("\n" + json.dumps(sheet, indent=1, ensure_ascii=False))

# %% [markdown]
# ## What we may claim

# %%
train = pairs.load(split="train")
claim("every basic value has at least 100 training pairs", min(Counter(p.value for p in train).values()) >= 100)
claim("a bag of one and two words reads no value from the pairs above .60", max(controlled) <= 0.60)
claim("the same bag reads every value from usual pairs better than from ours",
      all(u > c for u, c in zip(uncontrolled, controlled, strict=True)))
claim("our own splits do not leak",
      not leaks([p.context_id for p in pairs.load()], [p.split for p in pairs.load()]))

# %% [markdown] minutes=4
# ## Questions

# %%
quiz(
    "A probe for 'security' scores .92 on held-out rows. What do you ask first?",
    [
        ("How many rows were held out?", False,
         "A bigger test set narrows the interval around a number that may be wrong."),
        ("Did rows of one context stand on both sides of the split?", True,
         "If they did, .92 can be reached with labels dealt by coin, as the control showed."),
        ("Was the penalty tuned?", False,
         "Tuning moves accuracy by points; a leak can create all of it."),
    ],
)

# %%
quiz(
    "Annotators of a dilemma split 50 to 50 between two actions. Best next step?",
    [
        ("Drop it: the label is noise.", False,
         "Disagreement about values is the signal. Dropping it leaves only what everybody shares."),
        ("Take a third annotator to break the tie.", False,
         "A majority of one hides that people hold different values."),
        ("Keep both votes and look at what divides the annotators.", True,
         "Unclear wording can be mended, careless answers can be found, and what remains are values."),
    ],
)

# %%
quiz(
    "Why is each context told in two mirrors?",
    [
        ("To double the amount of data.", False,
         "The mirrors share their words; contexts, not sentences, are the unit of evidence."),
        ("So that no word next to an action tells whether it was chosen.", True,
         "Across both mirrors each run of up to three words is as often positive as negative."),
        ("So that both values are chosen equally often.", False,
         "That is already so within each pair: the members exchange the roles."),
    ],
)

# %% [markdown]
# ## Limits
#
# - Balanced words do not make data natural. Our frames are few and rather formal, written by one
#   author, in one language; which value an action serves is that author's judgement.
# - A probe that fails on our pairs may fail because the *model* cannot read roles. A small sentence
#   encoder (22 million parameters) stays near one half on them.
# - Nothing here shows that a model holds values. It shows what data can and cannot separate.
# - The samples in the formats of public datasets are made up: no figure from them says anything
#   about those datasets. The tables above come from the published files.
# - α treats all disagreements alike; for ordered answers there are other versions.
#
# ## Links
#
# - Schwartz (2012), An overview of the Schwartz theory of basic values,
#   <https://doi.org/10.9707/2307-0919.1116>
# - Gebru et al. (2018), Datasheets for datasets, <https://arxiv.org/abs/1803.09010>
# - Hewitt & Liang (2019), Designing and interpreting probes with control tasks,
#   <https://arxiv.org/abs/1909.03368>
# - Mirzakhmedova et al. (2023), The Touché23-ValueEval dataset, <https://arxiv.org/abs/2301.13771>
# - Lourie et al. (2020), Scruples, <https://arxiv.org/abs/2008.09094>

# %% [markdown]
# ## Where to go from here
#
# Next: [lesson 02](02_measuring_values.ipynb) measures values, [lesson 03](03_probing.ipynb) looks for where
# they live. Or write the datasheet of a public set that you use; `python -m valuelab data list` names
# [some](../datasets/sources.toml).
