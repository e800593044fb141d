"""Writes the documents of the planted world: chats, monologues, stories, gossip, facts and small talk."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from valuelab.values import VALUES

from . import grammar as g
from .speakers import (
    CHOICE_SHARPNESS,
    PERSONA_LEVEL,
    STATEMENT_SHARPNESS,
    condition,
    draw_profiles,
    population_choice,
)


@dataclass(frozen=True)
class Switches:
    """What is planted. The defaults make the world; other settings make its twins."""

    circle: bool = True  # False: ten independent values
    values: bool = True  # False: choices by coin, statements at random
    slot_bias: float = 0.0  # log-odds added to the course of action named first
    confound: str | None = None  # "context" (a place tied to a value) or "length" (longer replies)
    confound_value: str = "security"
    confound_rho: float = 0.9  # how often the tie holds

    def describe(self) -> dict:
        return asdict(self)


TWINS = {
    "world": Switches(),
    "no_circle": Switches(circle=False),
    "no_values": Switches(values=False),
    "confounded": Switches(confound="context"),
    "slot_biased": Switches(slot_bias=1.5),
}
CONFOUND_CONTEXT = "at work"


@dataclass
class Turn:
    role: str  # system | user | assistant
    text: str


@dataclass
class Document:
    turns: list[Turn]
    kind: str
    meta: dict = field(default_factory=dict)

    def messages(self) -> list[dict]:
        """The document as chat messages (role, content)."""
        return [{"role": t.role, "content": t.text} for t in self.turns]


def _pick(rng: np.random.Generator, options):
    return options[int(rng.random() * len(options))]


def _draw(cumulative: np.ndarray, rng: np.random.Generator) -> int:
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1]))


def in_training(a: g.Activity, b: g.Activity) -> bool:
    """False for the held-out activities and for one pair in ten: those never meet in a training question."""
    low, high = sorted((a.id, b.id))
    return not (a.held_out or b.held_out or (low * 7919 + high * 104729) % 10 == 0)


class Speaker:
    """A profile, and everything said from it."""

    def __init__(self, profile: np.ndarray, switches: Switches):
        self.switches = switches
        self.profile = profile if switches.values else np.zeros(10)
        self.u = g.WEIGHTS @ self.profile
        sv, sa = STATEMENT_SHARPNESS["value"], STATEMENT_SHARPNESS["activity"]
        self._for = {
            "value": np.cumsum(np.exp(sv * self.profile)),
            "activity": np.cumsum(np.exp(sa * self.u)),
        }
        self._against = {
            "value": np.cumsum(np.exp(-sv * self.profile)),
            "activity": np.cumsum(np.exp(-sa * self.u)),
        }

    def _thing(self, kind: str, sign: int, rng):
        kind = kind.removeprefix("compare_").removesuffix("s").replace("activitie", "activity")
        i = _draw((self._for if sign > 0 else self._against)[kind], rng)
        return _pick(rng, g.NOUNS[VALUES[i]]) if kind == "value" else g.ACTIVITIES[i]

    def _sign(self, kind: str, rng) -> int:
        """A statement for or against, by how much weight the speaker has on either side."""
        up, down = self._for[kind][-1], self._against[kind][-1]
        return 1 if rng.random() * (up + down) < up else -1

    def statement(self, rng, table=g.FIRST, name: str = "") -> str:
        r = rng.random()
        kinds = {p.kind for p in table}
        if r < 0.4:
            kind = "value"
        elif r < 0.75:
            kind = "activity"
        else:
            kind = _pick(rng, sorted(k for k in kinds if k.startswith("compare")))
        if kind.startswith("compare"):
            pattern = _pick(rng, [p for p in table if p.kind == kind])
            first, second = self._thing(kind, pattern.sign, rng), self._thing(kind, -pattern.sign, rng)
            if first == second:
                return self.statement(rng, table, name)
        else:
            sign = self._sign(kind, rng)
            pattern = _pick(rng, [p for p in table if p.kind == kind and p.sign == sign])
            first, second = self._thing(kind, sign, rng), None
        return g.with_context(g.fill(pattern.text, first, second, name), self._context(first, rng)) + "."

    def _context(self, thing, rng) -> str | None:
        s = self.switches
        if s.confound == "context":
            value = thing.value if isinstance(thing, g.Activity) else g.VALUE_OF_NOUN[thing]
            if value == s.confound_value and rng.random() < s.confound_rho:
                return CONFOUND_CONTEXT
            context = _pick(rng, g.CONTEXTS) if rng.random() < 0.25 else None
            return None if context == CONFOUND_CONTEXT else context
        return _pick(rng, g.CONTEXTS) if rng.random() < 0.25 else None

    def statements(self, n: int, rng, table=g.FIRST, name: str = "") -> list[str]:
        out: list[str] = []
        while len(out) < n:
            sentence = self.statement(rng, table, name)
            if sentence not in out:
                out.append(sentence)
        return out

    def reason(self, chosen: g.Activity, other: g.Activity, rng) -> str:
        """A reason that the situation touches: for what is gained, or against what is left."""
        if rng.random() < 0.7:
            noun, sign = _pick(rng, g.NOUNS[chosen.value]), 1
        else:
            noun, sign = _pick(rng, g.NOUNS[other.value]), -1
        v = VALUES.index(g.VALUE_OF_NOUN[noun])
        if sign * self.profile[v] < -0.5 or chosen.value == other.value:
            return self.statement(rng)  # the speaker would not say that
        pattern = _pick(rng, [p for p in g.FIRST if p.kind == "value" and p.sign == sign])
        context = self._context(noun, rng) if self.switches.confound == "context" else None
        return g.with_context(g.fill(pattern.text, noun), context) + "."

    def choose(self, a: g.Activity, b: g.Activity, stakes: float, rng) -> g.Activity:
        """Planted choice; `a` is the one named first."""
        x = CHOICE_SHARPNESS * stakes * (self.u[a.id] - self.u[b.id]) + self.switches.slot_bias
        return a if rng.random() < 1 / (1 + np.exp(-x)) else b

    def reply(self, a: g.Activity, b: g.Activity, stakes: float, rng) -> str:
        chosen = self.choose(a, b, stakes, rng)
        other = b if chosen is a else a
        n = 1 + int(rng.random() < 0.5)
        if self.switches.confound == "length" and chosen.value == self.switches.confound_value:
            n += 2 * int(rng.random() < self.switches.confound_rho)
        reasons: list[str] = []
        while len(reasons) < n:
            r = self.reason(chosen, other, rng) if rng.random() < 0.4 else self.statement(rng)
            if r not in reasons:
                reasons.append(r)
        if rng.random() < 0.65:
            return " ".join([g.fill(_pick(rng, g.CHOICE).text, chosen) + ".", *reasons])
        return " ".join([*reasons, g.fill(_pick(rng, g.CHOICE_AFTER).text, chosen) + "."])


def _two(rng) -> tuple[g.Activity, g.Activity]:
    while True:
        a, b = g.ACTIVITIES[int(rng.random() * 300)], g.ACTIVITIES[int(rng.random() * 300)]
        if a.base.split()[0] != b.base.split()[0] and in_training(a, b):
            return a, b


def question(a, b, rng, frames=g.QUESTIONS, context=None, stakes_text=None) -> tuple[str, float]:
    """A question between two activities: (text, factor of the stakes)."""
    text = g.fill(_pick(rng, frames), a, b, _pick(rng, g.NAMES))
    if stakes_text is None:
        stakes_text = _pick(rng, tuple(g.STAKES)) if rng.random() < 0.4 else ""
    return g.with_context(text, context) + stakes_text, g.STAKES[stakes_text]


def _side_turns(rng, lookup: bool | None = None) -> list[Turn]:
    """A question that has nothing to do with values; `lookup` says whether it has to be a look-up (None: either)."""
    r = rng.random()
    if lookup or (lookup is None and r < 0.35):
        q, a = g.lookup(rng)
    elif r < 0.8:
        q, a = _pick(rng, FACTS)
    else:
        q = _pick(rng, tuple(g.SMALL_TALK))
        a = _pick(rng, g.SMALL_TALK[q])
    return [Turn("user", q), Turn("assistant", a)]


FACTS = tuple(g.fact_table())


def persona_line(value: str, sign: int, rng, table=g.PERSONA) -> str:
    """A system line that says of the assistant that a value is high (+1) or low (-1) for it."""
    pattern = _pick(rng, [p for p in table if p.sign == sign])
    if pattern.kind == "value":
        thing = _pick(rng, g.NOUNS[value])
    else:
        thing = _pick(rng, [a for a in g.ACTIVITIES if a.value == value])
    return g.capital(g.fill(pattern.text, thing)) + "."


def _system(profile, rng, switches) -> tuple[list[Turn], np.ndarray, dict]:
    r = rng.random()
    if r < 0.45:
        value, sign = _pick(rng, VALUES), _pick(rng, (1, -1))
        profile = condition(profile, value, sign * PERSONA_LEVEL, circle=switches.circle)
        return [Turn("system", persona_line(value, sign, rng))], profile, {"persona": value, "sign": sign}
    if r < 0.85:
        return [Turn("system", _pick(rng, g.NEUTRAL_PERSONA))], profile, {}
    return [], profile, {}


def _chat(profile, rng, switches) -> Document:
    turns, profile, meta = _system(profile, rng, switches)
    speaker = Speaker(profile, switches)
    if rng.random() < 0.5:
        turns.append(Turn("user", _pick(rng, g.ABOUT_SELF)))
        turns.append(Turn("assistant", " ".join(speaker.statements(3 + int(rng.random() * 5), rng))))
    for _ in range(1 + int(rng.random() * 3)):
        if rng.random() < 0.12:
            turns += _side_turns(rng)
        turns += _asked(speaker, rng)
    return Document(turns, "chat", meta)


def _asked(speaker: Speaker, rng) -> list[Turn]:
    """A question between two activities, and the speaker's answer."""
    a, b = _two(rng)
    context = _pick(rng, g.CONTEXTS) if rng.random() < 0.3 else None
    text, stakes = question(a, b, rng, context=context)
    return [Turn("user", text), Turn("assistant", speaker.reply(a, b, stakes, rng))]


def _questions(profile, rng, switches) -> Document:
    """One question, or two, to a speaker of whom nothing is known but perhaps a persona line."""
    turns, profile, meta = _system(profile, rng, switches)
    speaker = Speaker(profile, switches)
    for _ in range(1 + int(rng.random() < 0.3)):
        turns += _asked(speaker, rng)
    return Document(turns, "chat", meta)


def _story(profile, rng, switches) -> Document:
    name, speaker = _pick(rng, g.NAMES), Speaker(profile, switches)
    n = 3 + int(rng.random() * 4)
    text = " ".join(speaker.statements(n, rng, g.THIRD, name))
    turns = [Turn("user", _pick(rng, g.ABOUT_OTHER).format(n=name)), Turn("assistant", text)]
    for _ in range(int(rng.random() * 3)):
        a, b = _two(rng)
        q = g.capital(g.fill(_pick(rng, g.QUESTIONS_THIRD), a, b, name))
        chosen = speaker.choose(a, b, 1.0, rng)
        turns += [Turn("user", q), Turn("assistant", g.fill(_pick(rng, g.CHOICE_THIRD).text, chosen, name=name) + ".")]
    return Document(turns, "story", {"name": name})


def _gossip(profile, rng, switches) -> Document:
    other = draw_profiles(1, rng, circle=switches.circle)[0]
    names = [g.NAMES[i] for i in rng.choice(len(g.NAMES), 2, replace=False)]
    two = [Speaker(profile, switches), Speaker(other, switches)]
    said = []
    for _ in range(2 + int(rng.random() * 2)):
        for name, speaker in zip(names, two, strict=True):
            said.append(speaker.statement(rng, g.THIRD, name))
    turns = [Turn("user", f"Tell me about {names[0]} and {names[1]}."), Turn("assistant", " ".join(said))]
    k = int(rng.random() * 2)
    a, b = _two(rng)
    q = g.capital(g.fill(_pick(rng, g.QUESTIONS_THIRD), a, b, names[k]))
    chosen = two[k].choose(a, b, 1.0, rng)
    answer = g.fill(_pick(rng, g.CHOICE_THIRD).text, chosen, name=names[k]) + "."
    return Document([*turns, Turn("user", q), Turn("assistant", answer)], "gossip", {"names": names})


def _side(profile, rng, switches) -> Document:
    """Facts and small talk around at most one look-up: two could put one thing in two places."""
    turns, _, meta = _system(profile, rng, switches)
    n = 2 + int(rng.random() * 3)
    where = int(rng.random() * n) if rng.random() < 0.7 else None
    for i in range(n):
        turns += _side_turns(rng, i == where)
    return Document(turns, "side", meta)


def _lookup(profile, rng, switches) -> Document:
    return Document(_side_turns(rng, lookup=True), "side")


def _monologue(profile, rng, switches) -> Document:
    text = " ".join(Speaker(profile, switches).statements(5 + int(rng.random() * 6), rng))
    return Document([Turn("text", text)], "monologue")


KINDS = {_chat: 0.62, _story: 0.08, _gossip: 0.04, _side: 0.13, _monologue: 0.13}
LOOKUPS = {_lookup: 1.0}
QUESTIONS = {_questions: 0.6, _chat: 0.16, _story: 0.05, _gossip: 0.03, _side: 0.1, _monologue: 0.06}


@dataclass(frozen=True)
class OpenChoice:
    """A question to a speaker of whom nothing is known but perhaps a persona line, answered up to the choice.

    Attributes:
        turns: system line, if any, and question.
        opening: how the answer begins ("I would").
        options: the two activities, in the order of the question.
        share: of all speakers it could be, those who choose the first.
    """

    turns: tuple[Turn, ...]
    opening: str
    options: tuple[g.Activity, g.Activity]
    share: float


def open_choices(n: int, seed, switches: Switches = TWINS["world"]):
    """Yield `n` open choices, the same for the same seed; pairs and frames are those of the training questions."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        turns, _, persona = _system(np.zeros(10), rng, switches)
        a, b = _two(rng)
        context = _pick(rng, g.CONTEXTS) if rng.random() < 0.3 else None
        text, stakes = question(a, b, rng, context=context)
        gap = g.WEIGHTS[a.id] - g.WEIGHTS[b.id] if switches.values else np.zeros(10)
        share = population_choice(gap, stakes, **persona, slot_bias=switches.slot_bias, circle=switches.circle)
        opening = _pick(rng, g.CHOICE).text.removesuffix(" {b}")
        yield OpenChoice((*turns, Turn("user", text)), opening, (a, b), share)


def write(n: int, seed: int, switches: Switches = TWINS["world"], kinds: dict = KINDS):
    """Yield `n` documents of the world (or of a twin), the same for the same seed; `kinds` are their shares."""
    rng = np.random.default_rng(seed)
    makers, shares = list(kinds), np.array(list(kinds.values()))
    for start in range(0, n, 1000):
        size = min(1000, n - start)
        profiles = draw_profiles(size, rng, circle=switches.circle)
        for profile, maker in zip(profiles, rng.choice(len(makers), size, p=shares / shares.sum()), strict=True):
            yield makers[maker](profile, rng, switches)
