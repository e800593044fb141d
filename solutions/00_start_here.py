# %% [markdown] minutes=2
# # 00 · Start here
#
# {{minutes}} · builds nothing yet: you meet the machine, the model and the way of working
#
# A language model answers from values, whether or not anybody chose them. In this course you build, piece by piece, a
# system that **measures** those values, **finds** where they live inside the network, **steers** them, and **trains** with
# them. This first lesson walks the whole way once, in less than an hour, on a model small enough for any laptop.

# %%
from valuelab import models, plots
from valuelab import world as W
from valuelab.course import check, claim, quiz, show
from valuelab.evaluate import planted

plots.use()
lm = models.load()
questions = W.situations("held_out", 60, seed=4)
asked = planted.both_orders(lm, questions)
truth = [W.choice_probability(s) for s in questions]
measured, wanted = planted.read_profile(asked, questions), planted.read_profile(truth, questions)
show(
    plots.circle({"planted": wanted, "measured": measured}, "Ten values, planted and measured"),
    f"The model was asked {len(questions)} questions it had never seen. From its answers alone we read ten values "
    f"(dashed) and compare them with ten values read in the same way from the planted probabilities (solid).",
)

# %% [markdown] minutes=3
# **What do you see?** Ten basic values stand on a circle: neighbours share a motive, opposites pull apart. A point far from
# the centre is a value that wins when it meets others. The solid line is the truth, read in the same way: the model was
# trained on a small invented English, in which we know the probability of every choice because we wrote every speaker's
# values. The dashed line is what you will learn to measure.
#
# ## What you will be able to do
#
# - **check** that your machine is ready,
# - **ask** the model a question and **read** what its reply says about values,
# - **compare** a measured value profile with the planted one,
# - **steer** a reply with a slider, and **show** that a random push of the same size does not do it.
#
# ## What this builds on
#
# Python, and a little torch or numpy. Nothing about values, and nothing about language models beyond "it predicts the next
# word". Words that are new in a lesson stand in the [glossary](../docs/GLOSSARY.md).
#
# ## Is the machine ready?

# %% tags=["nbval-ignore-output"]
from valuelab.cli import diagnosis

for ok, line in diagnosis():
    print("ok " if ok else "FIX", line)

# %% [markdown] minutes=4
# Every line should begin with `ok`; a line that begins with `FIX` says what to do. No GPU is needed anywhere in the course.
#
# ## Ask the model
#
# The model has about a million parameters and knows about a thousand words and phrases. It was trained on the talk of
# invented people, each of whom has a **profile**: ten numbers, one for each value. Ask it something.

# %%
situation = W.situations("held_out", 12, seed=9, value="security")[3]
prompt = models.chat(lm, situation.text)
print("You:  ", situation.text)
for k, reply in enumerate(models.generate(lm, [prompt] * 3, temperature=0.7, seed=1, max_new_tokens=60)):
    print(f"Reply {k + 1}:", reply)

# %% [markdown] minutes=5
# The same question, three different speakers: without further information the model answers for *somebody* of its world.
#
# Because the world's English is small, an exact **oracle** reads each reply back: which course of action was chosen, which
# values were named, and with which sign. It never guesses: what it cannot read, it reports.

# %%
read = W.parse("I would lock the gate. Safety matters to me. I can live without fun.", None)
print("chosen: ", read.choice.base)
print("stances:", {value: "for" if sign > 0 else "against" for value, sign in read.expressed.items()})
print("could not read:", list(W.parse("I would lock the gate. Blah blah.").unparsed))

# %% [markdown] minutes=4
# ## From answers to a profile
#
# A speaker with profile $x \in \mathbb{R}^{10}$ who chooses between the actions $a$ and $b$ follows
#
# $$P(a \text{ over } b) = \sigma\big(3\,s\,(w_a - w_b)\cdot x\big),$$
#
# where $w_a \in \mathbb{R}^{10}$ says which values the action serves and which it costs, $s$ how much is at stake, and
# $\sigma(z) = 1/(1+e^{-z})$. Sixty answers give sixty equations for ten unknowns: that is how the figure above was made.
#
# Before anything else, one habit of this course: **ask in both orders.** A model that likes whatever is named first would
# otherwise look as if it had values.
#
# ### Exercise 0.1: take the order out
#
# You get two arrays of the same length. `there[i]` is the probability of choosing action $a$ when it was named first, `back[i]`
# the probability of choosing action **$b$** in the same question with $b$ named first. Return the probability of $a$, the order
# averaged out. One line. (Where the liking is strong, this average hides the answer too; lesson 02 mends that.)
#
# What you should see: `✓ 0.1`.
#
# <details><summary>Hint 1</summary>If there is no preference for a place, `back[i]` equals `1 - there[i]`.</details>
#
# <details><summary>Hint 2</summary>Turn `back` into a probability of $a$ first, then take the mean of the two.</details>

# %% exercise="0.1" function="valuelab.evaluate.planted.without_order" minutes=5 stars=1

# %%
without_order = check("0.1", without_order)

# %% [markdown] minutes=3
# `check` has three answers. `✓` means right. `○` means that you have not written it yet. `✗` names what is wrong. In the last
# two cases the cells below go on with **our** function, so that a notebook always runs to its end. When your own is right,
# the cells below run yours: what you write is what we run.
#
# How well does the measured profile fit the planted one, question by question?

# %%
import numpy as np

there, _ = planted.choice(lm, questions)
back, _ = planted.choice(lm, [W.swap(s) for s in questions])
asked = without_order(there, back)
fit = np.corrcoef(asked, truth)[0, 1]
fig, ax = plots.figure(figsize=(5.2, 4.4))
ax.plot([0, 1], [0, 1], color=plots.GREY, linestyle="--", label="perfect")
ax.scatter(truth, asked, s=26, marker="o", color=plots.COLORS[0], label="one question")
ax.set(xlabel="planted probability of the first action", ylabel="measured", xlim=(0, 1), ylim=(0, 1))
ax.legend()
show(fig, f"Each point is one question the model never saw. Correlation of planted and measured: {fit:.2f}.")

# %% [markdown] minutes=4
# ## Steer it
#
# Inside the model, each **token** (a word, or an activity such as "lock the gate" as one piece) becomes a vector (128 numbers
# in ours) that is passed through the model's **blocks**, each of which adds to it: the **residual stream**.
# If a value has a direction in that space, adding a little of the direction should make the model speak for the value.
#
# We read the direction from **contrast pairs**: the same question, put to a speaker who holds the value high and to one who
# holds it low. Who speaks is said in a line that stands before the question, the **persona line**.

# %%
for high, low in planted.persona_pairs("security", 3, seed=0):
    print("high:", high)
    print("low: ", low)

# %% [markdown] minutes=3
# The words are drawn afresh on either side, so over many pairs no single noun tells which side it is. We read the state where
# the model is about to choose, right after "I would": mean of the first kind, minus mean of the second, minus what all ten
# values share. One vector for each value. Adding it, `strength` times, is exercise two.
#
# ### Exercise 0.2: one push
#
# `h` holds hidden states, shape `(..., d)`; `v` is the direction, shape `(d,)`; $d$ is 128 in ours. Return the **shift** to
# be added to `h`: the same step for every state. (Lesson 04 replaces this by the shortest push that suffices.)
#
# What you should see: `✓ 0.2`, and further down, replies that change.
#
# <details><summary>Hint 1</summary>Return what is added, not the sum: the caller adds it.</details>
#
# <details><summary>Hint 2</summary>The result has the shape and the dtype of `h`; `expand` repeats a vector without copying it.</details>

# %% exercise="0.2" function="valuelab.steering.shift.additive_shift" minutes=5 stars=1

# %%
additive_shift = check("0.2", additive_shift)

# %%
from contextlib import nullcontext

import torch

from valuelab.steering import add, steer
from valuelab.values import VALUES

LAYER, STRENGTH = min(planted.LAYER, lm.n_layers - 1), planted.STRENGTH  # a model of your own may have fewer blocks
directions = dict(zip(VALUES, planted.mean_difference_vectors(lm, layers=[LAYER])[:, 0], strict=True))
probe_questions = W.situations("held_out", 24, seed=5)


def push(value, strength):
    """The plan that adds `strength` times the direction of `value` at one layer."""
    return add({LAYER: additive_shift(torch.zeros(lm.d_model), directions[value], strength)})


def profile(plan=None):
    """Ten values read from the answers, steered or not."""
    with steer(lm, plan) if plan else nullcontext():
        return planted.read_profile(planted.choice(lm, probe_questions)[0], probe_questions)


unsteered = profile()


def draw(value="security", strength=STRENGTH):
    """Ask, steered, and draw the profile beside the unsteered one."""
    plan = push(value, strength) if strength else None
    with steer(lm, plan) if plan else nullcontext():
        reply = models.generate(lm, [prompt], temperature=0.0, max_new_tokens=40)[0]
    print("You:  ", situation.text)
    print("Reply:", reply)
    show(
        plots.bars({"unsteered": unsteered, "steered": profile(plan)}, ylabel="value read from answers"),
        f"Profile read from {len(probe_questions)} answers while {value} is pushed with strength {strength:g}.",
    )


# %% tags=["widget"]
from ipywidgets import FloatSlider, interact

interact(draw, value=list(VALUES), strength=FloatSlider(STRENGTH, min=0, max=2 * STRENGTH, step=STRENGTH / 4, continuous_update=False))

# %% [markdown] minutes=4
# **Move the slider.** At 0 the model answers as it is. Further to the right the value you chose grows; its opposite on the
# circle shrinks. Far to the right replies begin to name what nobody offered: strength has a price.
#
# ## A control that must fail
#
# Any push of that size might change the answers somehow. So do the same with a **random direction of exactly the same
# length**, for all ten values. If it did as well, our direction would mean nothing.

# %%
random_state = torch.Generator().manual_seed(0)


def gains(value):
    """How far the choice for `value` rises: with its own direction, and with a random one of equal length."""
    asked_for = W.situations("held_out", 24, seed=6, value=value)
    chance = torch.randn(lm.d_model, generator=random_state)
    chance = chance / chance.norm() * directions[value].norm()

    def toward(plan):
        with steer(lm, plan) if plan else nullcontext():
            return planted.toward(planted.choice(lm, asked_for)[0], asked_for, value).mean()

    base = toward(None)
    return 100 * (toward(push(value, STRENGTH)) - base), 100 * (toward(add({LAYER: chance}, STRENGTH)) - base)


own, control = np.array([gains(value) for value in VALUES]).T
show(
    plots.bars({"its own direction": own, "random direction": control}, ylabel="choice for the value, points gained"),
    f"Mean over the ten values: {own.mean():+.0f} points with the value's own direction, {control.mean():+.0f} with a "
    f"random one of equal length, which moves the choice {abs(control).mean():.0f} points one way or the other.",
)

# %% [markdown] minutes=2
# ## What we may claim
#
# A claim in this course is a fixed sentence and a condition that is computed while you watch. `holds` stands in front of it
# if the condition is true here, on your machine.

# %%
claim("measured choices follow the planted ones, correlation above 0.8", fit > 0.8)
claim("on average, a value's own direction moves its choice by more than 10 points above a random one", (own - control).mean() > 10)
claim("a random direction moves the choice less than a third as far, whichever way", abs(control).mean() < own.mean() / 3)

# %% [markdown] minutes=1
# ## Questions
#
# Click a letter. A wrong answer tells you which misunderstanding it stands for.

# %%
quiz(
    "Why do we ask every question in both orders?",
    [
        ("To have twice as many answers", False, "More answers shrink chance error. A liking for the first place is no chance error and would stay."),
        ("To cancel a liking for whatever is named first", True, "Averaged over both orders, a pure liking for a place gives one half."),
        ("Because the model forgets the first option", False, "It may or may not. The average protects against any preference for a place, whatever its cause."),
    ],
)

# %%
quiz(
    "Pushed along security, the model chooses for it more often. What has been shown?",
    [
        ("That the model now holds the value security", False, "We showed a change in what it chooses, in a world that we wrote. Holding a value is a larger claim."),
        ("That this direction raises the choice for security more than a random one of equal length", True, "That is what the control was for."),
        ("That any strong push makes the model choose security", False, "A random direction, equally long, moves the choice less than a third as far on average."),
    ],
)

# %%
quiz(
    "Your answer to an exercise is wrong. What do the cells below it use?",
    [
        ("Your function, so their figures may be wrong", False, "check() returns the course's function until yours is right, so that the notebook runs to its end."),
        ("The course's function, and the mark ✗ tells you so", True, "The message also names what is wrong. Your function takes over as soon as it is right."),
        ("Nothing: the notebook stops", False, "It only stops under the grading tool, where falling back would earn marks."),
    ],
)

# %% [markdown] minutes=2
# ## Limits
#
# This model knows a thousand words and phrases of a world we invented. Everything above shows that **the method recovers what was
# planted**. It says nothing about the values of large language models, and nothing about people. From lesson 02 on, the same
# functions take any Hugging Face model: `VALUELAB_MODEL=<hub id or folder>` in front of `make lab`.
#
# ## Links
#
# - The model's card, with every measured figure: `lib/valuelab/world/model/README.md`
# - Context-controlled value vectors (ConVA): [arXiv 2507.11316](https://arxiv.org/abs/2507.11316)
# - The circle of ten values: S. H. Schwartz, *Universals in the content and structure of values*, 1992
# - Next: lesson 01, value data

# %% [markdown] tags=["instructor"]
# **Room.** Ask before the slider is moved: which value will *fall* when security rises? (Its opposite, self-direction.)
#
# **Misconceptions.** "The model has values": insist on the wording *recovers what was planted*. "Random directions do
# nothing": they do something, only not this.
#
# **To cut** when time is short: exercise 0.1, the scatter plot.

# %% [markdown]
# ## Where to go from here
#
# On to [lesson 01](01_value_data.ipynb), value data. Or run this one again with `VALUELAB_MODEL` set to a model
# of your own, and see which claims still hold: the [map](../docs/MAP.md) shows the ways through the course.
