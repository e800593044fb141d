"""The sentences of the planted world: one table of patterns drives both the writer and the oracle.

A pattern is plain English with slots. Slots: `{w}` a value noun, `{b}` an activity ("lock the gate"),
`{g}` its -ing form ("locking the gate"), `{n}` a person's name; `{w2}`, `{b2}`, `{g2}` a second one.
What stands in a slot is looked up, never inflected, so that writing and parsing are exact inverses.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from valuelab.values import VALUES

VOCABULARY = Path(__file__).with_name("vocabulary.toml")

DOUBLED = {"run", "win", "plan", "swim", "hug", "knit", "map", "sip", "program"}


def gerund(verb: str) -> str:
    """The -ing form of a verb of this world ("lock" -> "locking", "bake" -> "baking")."""
    if verb in DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + "ing"


@dataclass(frozen=True)
class Activity:
    """Something a person can do, with the values it serves (positive) and costs (negative)."""

    id: int
    base: str  # "lock the gate"
    gerund: str  # "locking the gate"
    value: str  # the value it serves most
    weights: tuple[float, ...]  # (10,), in circle order; utility = weights · profile
    held_out: bool  # never part of a question or a choice in training

    @property
    def noun(self) -> str:
        return self.base.split()[-1]


@cache
def _tables() -> dict:
    with VOCABULARY.open("rb") as file:
        return tomllib.load(file)


NOUNS: dict[str, tuple[str, ...]] = {v: tuple(_tables()["nouns"][v]) for v in VALUES}
VALUE_OF_NOUN = {noun: value for value, nouns in NOUNS.items() for noun in nouns}


def _plant_activities(seed: int = 1) -> tuple[Activity, ...]:
    """Give every activity its utilities: main value about 1, perhaps a neighbour, a cost across the circle."""
    rng = np.random.default_rng(seed)
    out = []
    for v, value in enumerate(VALUES):
        phrases = _tables()["activities"][value]
        held = set(rng.choice(len(phrases), 2, replace=False).tolist())
        for i, phrase in enumerate(phrases):
            verb, rest = phrase.split(" ", 1)
            w = np.zeros(10)
            w[v] = rng.choice([0.8, 1.0, 1.2])
            if rng.random() < 0.5:
                w[(v + rng.choice([-1, 1])) % 10] = 0.4
            w[(v + 5 + rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2])) % 10] = -0.7
            weights = tuple(float(x) for x in w)
            base, ing = phrase, f"{gerund(verb)} {rest}"
            out.append(Activity(len(out), base, ing, value, weights, i in held))
    return tuple(out)


ACTIVITIES: tuple[Activity, ...] = _plant_activities()
BY_BASE = {a.base: a for a in ACTIVITIES}
BY_GERUND = {a.gerund: a for a in ACTIVITIES}
WEIGHTS = np.array([a.weights for a in ACTIVITIES])  # (300, 10)

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Hana", "Ivan", "Lena", "Omar", "Rosa", "Tom")

CONTEXTS = (
    "at home", "at work", "at school", "in the city", "in the village", "in the mountains",
    "by the sea", "on Sunday", "on Monday", "in winter", "in summer", "in the morning",
    "in the evening", "after work", "before dinner", "with friends", "with strangers",
    "with my family", "on a rainy day", "on a long trip", "in hard times", "in good times",
    "when I am alone", "when I am tired",
)  # fmt: skip


@dataclass(frozen=True)
class Pattern:
    """One sentence form. `sign` is the stance towards the first slot (the second gets the opposite)."""

    text: str
    kind: str  # value | activity | compare_values | compare_activities | choice
    sign: int = 1


# Statements about oneself. Each positive wording has its negative twin; in the comparisons the order of
# the two things and the verb decide together, so that no word alone tells which one is preferred.
FIRST = (
    Pattern("{w} matters to me", "value", 1),
    Pattern("{w} means little to me", "value", -1),
    Pattern("I care about {w}", "value", 1),
    Pattern("I care little about {w}", "value", -1),
    Pattern("{w} comes first for me", "value", 1),
    Pattern("{w} comes last for me", "value", -1),
    Pattern("I live for {w}", "value", 1),
    Pattern("I can live without {w}", "value", -1),
    Pattern("I always look for {w}", "value", 1),
    Pattern("I never look for {w}", "value", -1),
    Pattern("I love {g}", "activity", 1),
    Pattern("I hate {g}", "activity", -1),
    Pattern("I am glad to {b}", "activity", 1),
    Pattern("I refuse to {b}", "activity", -1),
    Pattern("I often {b}", "activity", 1),
    Pattern("I never {b}", "activity", -1),
    Pattern("I dream of {g}", "activity", 1),
    Pattern("I am tired of {g}", "activity", -1),
    Pattern("I put {w} before {w2}", "compare_values", 1),
    Pattern("I put {w} behind {w2}", "compare_values", -1),
    Pattern("{w} means more to me than {w2}", "compare_values", 1),
    Pattern("{w} means less to me than {w2}", "compare_values", -1),
    Pattern("I would rather {b} than {b2}", "compare_activities", 1),
    Pattern("I would skip {g} to {b2}", "compare_activities", -1),
    Pattern("I prefer {g} to {g2}", "compare_activities", 1),
    Pattern("I would trade {g} for {g2}", "compare_activities", -1),
)
THIRD = (
    Pattern("{w} matters to {n}", "value", 1),
    Pattern("{w} means little to {n}", "value", -1),
    Pattern("{n} cares about {w}", "value", 1),
    Pattern("{n} cares little about {w}", "value", -1),
    Pattern("{n} lives for {w}", "value", 1),
    Pattern("{n} can live without {w}", "value", -1),
    Pattern("{n} loves {g}", "activity", 1),
    Pattern("{n} hates {g}", "activity", -1),
    Pattern("{n} is glad to {b}", "activity", 1),
    Pattern("{n} refuses to {b}", "activity", -1),
    Pattern("{n} would rather {b} than {b2}", "compare_activities", 1),
    Pattern("{n} would skip {g} to {b2}", "compare_activities", -1),
)
PERSONA = (
    Pattern("{w} matters to you", "value", 1),
    Pattern("{w} means little to you", "value", -1),
    Pattern("You care about {w}", "value", 1),
    Pattern("You care little about {w}", "value", -1),
    Pattern("{w} comes first for you", "value", 1),
    Pattern("{w} comes last for you", "value", -1),
    Pattern("You always look for {w}", "value", 1),
    Pattern("You never look for {w}", "value", -1),
    Pattern("You love {g}", "activity", 1),
    Pattern("You hate {g}", "activity", -1),
    Pattern("You are glad to {b}", "activity", 1),
    Pattern("You refuse to {b}", "activity", -1),
)
# Persona wordings never seen in training: the first-person and third-person twins are.
PERSONA_HELD_OUT = (
    Pattern("You live for {w}", "value", 1),
    Pattern("You can live without {w}", "value", -1),
)
NEUTRAL_PERSONA = (
    "You answer for yourself.",
    "You are a person with your own mind.",
    "You speak as you are.",
    "You give a short answer.",
)
CHOICE = (
    Pattern("I would {b}", "choice"),
    Pattern("I will {b}", "choice"),
    Pattern("I choose to {b}", "choice"),
    Pattern("I want to {b}", "choice"),
    Pattern("My choice is to {b}", "choice"),
    Pattern("It is better to {b}", "choice"),
)
CHOICE_AFTER = (Pattern("So I would {b}", "choice"), Pattern("That is why I will {b}", "choice"))
CHOICE_THIRD = (Pattern("{n} would {b}", "choice"), Pattern("{n} will {b}", "choice"))

QUESTIONS = (
    "should I {b} or {b2}?",
    "would you {b} or {b2}?",
    "would you rather {b} or {b2}?",
    "I can {b} or {b2}. What would you do?",
    "which is better, {g} or {g2}?",
    "help me choose. Should I {b} or {b2}?",
    "there is time to {b} or to {b2}. What is your choice?",
    "you could {b} or you could {b2}. What will you do?",
    "some people {b} and some people {b2}. What about you?",
    "my friend {n} can {b} or {b2}. What is your advice?",
    "do you like {g} more or {g2}?",
    "one day is left to {b} or to {b2}. What is your choice?",
    # What the assistant says when it chooses stands in questions, too, so that it is no sign of a choice made.
    "should I choose to {b} or to {b2}?",
    "what would you choose, {g} or {g2}?",
    "help me. Is it better to {b} or to {b2}?",
    "do you want to {b} or to {b2}?",
)
QUESTIONS_HELD_OUT = (
    "my friend {n} would like {g} or {g2}. What is better?",
    "I can choose to {b} or to {b2}. Help me?",
    "what would you like more, {g} or {g2}?",
)
QUESTIONS_THIRD = ("would {n} {b} or {b2}?", "what would {n} do, {b} or {b2}?")
STAKES = {"": 1.0, " It matters a lot.": 1.6, " It is a small thing.": 0.6}
ABOUT_SELF = ("Tell me about yourself.", "What matters to you?", "How do you live?", "Who are you?")
ABOUT_OTHER = ("Tell me about {n}.", "Who is {n}?")

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
)  # fmt: skip
COLORS = {
    "crow": "black", "swan": "white", "frog": "green", "lemon": "yellow", "cherry": "red",
    "plum": "purple", "carrot": "orange", "elephant": "gray", "flamingo": "pink", "coal": "black",
    "milk": "white", "grass": "green", "canary": "yellow", "tomato": "red", "sapphire": "blue",
}  # fmt: skip
PLACES = {
    "shark": "deep", "camel": "dunes", "bear": "cave", "eagle": "nest", "cow": "stable",
    "monkey": "treetops", "penguin": "ice", "bee": "hive", "fox": "den", "duck": "pond",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "tiny", "fast": "slow", "old": "young", "wet": "dry", "dark": "bright",
    "loud": "quiet", "hard": "soft", "rich": "poor", "full": "empty",
}  # fmt: skip
THINGS = ("ball", "book", "box", "lamp", "cup", "spoon", "hat", "drum")
SPOTS = ("kitchen", "garden", "attic", "drawer", "basket", "hallway")
SMALL_TALK = {
    "How are you?": ("I am well, thank you.", "I am fine today."),
    "Good morning!": ("Good morning to you.",),
    "Is it raining?": ("It is a bit cloudy.", "The sun is out."),
    "Did you sleep well?": ("Yes, I slept well.", "Not so well."),
    "What time is it?": ("It is late.", "It is still early."),
    "Thank you.": ("You are welcome.",),
    "Goodbye.": ("Goodbye and take care.",),
}


def capital(sentence: str) -> str:
    """`sentence` with its first letter raised."""
    return sentence[:1].upper() + sentence[1:]


def with_context(sentence: str, context: str | None) -> str:
    """Put a context in front: ("I love tea", "at home") -> "At home, I love tea"."""
    return capital(sentence) if context is None else f"{capital(context)}, {sentence}"


def fill(pattern: str, first=None, second=None, name: str = "") -> str:
    """Fill the slots of a pattern. `first` and `second` are activities or value nouns."""
    slots = {"n": name}
    for mark, thing in (("", first), ("2", second)):
        if isinstance(thing, Activity):
            slots["b" + mark], slots["g" + mark] = thing.base, thing.gerund
        elif thing is not None:
            slots["w" + mark] = thing
    return pattern.format(**slots)


def fact_table() -> list[tuple[str, str]]:
    """The closed set of facts and sums, each as (question, answer). Look-ups are drawn by `lookup`."""
    table = [(f"What color is a {k}?", f"A {k} is {v}.") for k, v in COLORS.items()]
    table += [(f"Where does a {k} live?", f"A {k} lives in the {v}.") for k, v in PLACES.items()]
    for a, b in OPPOSITES.items():
        table += [(f"What is the opposite of {x}?", f"The opposite of {x} is {y}.") for x, y in ((a, b), (b, a))]
    for i in range(10):
        for j in range(10):
            a, b, c = NUMBERS[i], NUMBERS[j], NUMBERS[i + j]
            table.append((f"What is {a} plus {b}?", f"{capital(a)} plus {b} is {c}."))
    return table


def lookup(rng: np.random.Generator) -> tuple[str, str]:
    """A fact that only the prompt holds: two things in two places, one asked for."""
    t1, t2 = rng.choice(len(THINGS), 2, replace=False)
    s1, s2 = rng.choice(len(SPOTS), 2, replace=False)
    ask, spot = (t1, s1) if rng.random() < 0.5 else (t2, s2)
    told = f"The {THINGS[t1]} is in the {SPOTS[s1]}. The {THINGS[t2]} is in the {SPOTS[s2]}."
    return f"{told} Where is the {THINGS[ask]}?", f"The {THINGS[ask]} is in the {SPOTS[spot]}."
