"""The oracle: reads a reply back into what it says. Exact, because it uses the writer's own patterns.

It is an evaluator only. No training signal comes from it, except through the noisy comparisons that the
reward lessons draw. What it cannot parse it reports as such; it never guesses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

from . import grammar as g

MAX_SENTENCES = 12


@dataclass(frozen=True)
class Sentence:
    """One parsed sentence. `stances` are (thing, sign): a value noun or an activity, wanted or not."""

    text: str
    kind: str  # value | activity | compare_… | choice | fact | small_talk | unparsed
    stances: tuple[tuple[str, int], ...] = ()
    person: str = "I"
    context: str | None = None


@dataclass(frozen=True)
class Parsed:
    """What a reply says.

    Attributes:
        grammatical: every sentence is one of the grammar's, and the reply ended by itself or at a full stop.
        coherent: grammatical, no sentence twice, nothing both wanted and not wanted, at most one choice.
        choice: the activity chosen, or None if there is no choice, several, or one the question did not offer.
        expressed: value -> +1 or -1 for each value the speaker takes a stance on in the first person by
            naming it or one of its activities. Both signs for one value cancel: the value is left out.
        unparsed: sentences that are not in the grammar, as found.
    """

    grammatical: bool
    coherent: bool
    choice: g.Activity | None
    expressed: dict[str, int]
    sentences: tuple[Sentence, ...]
    unparsed: tuple[str, ...] = field(default=())


def _alternatives(words) -> str:
    return "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))


@cache
def _matchers():
    slots = {
        "w": f"(?P<w>{_alternatives(g.VALUE_OF_NOUN)})", "w2": f"(?P<w2>{_alternatives(g.VALUE_OF_NOUN)})",
        "b": f"(?P<b>{_alternatives(g.BY_BASE)})", "b2": f"(?P<b2>{_alternatives(g.BY_BASE)})",
        "g": f"(?P<g>{_alternatives(g.BY_GERUND)})", "g2": f"(?P<g2>{_alternatives(g.BY_GERUND)})",
        "n": f"(?P<n>{_alternatives(g.NAMES)})",
    }  # fmt: skip
    table = (g.FIRST, g.CHOICE, g.CHOICE_AFTER, g.THIRD, g.CHOICE_THIRD)
    return [(p, re.compile(re.sub(r"\\?\{(\w+)\\?\}", lambda m: slots[m[1]], p.text))) for t in table for p in t]


@cache
def _other_replies() -> dict[str, str]:
    replies = {a: "fact" for _, a in g.fact_table()}
    for answers in g.SMALL_TALK.values():
        for answer in answers:
            for sentence in re.findall(r"[^.!?]+[.!?]", answer):
                replies[sentence.strip()] = "small_talk"
    return replies


_LOOKUP = re.compile(f"The ({_alternatives(g.THINGS)}) is in the ({_alternatives(g.SPOTS)})\\.")
_CONTEXT = re.compile(f"({_alternatives(g.capital(c) for c in g.CONTEXTS)}), (.*)")


@lru_cache(maxsize=200_000)
def parse_sentence(text: str) -> Sentence:
    """One sentence, with its full stop, as the grammar reads it."""
    if text in _other_replies():
        return Sentence(text, _other_replies()[text])
    if _LOOKUP.fullmatch(text):
        return Sentence(text, "fact")
    if not text.endswith("."):
        return Sentence(text, "unparsed")
    body, context = text[:-1], None
    if m := _CONTEXT.fullmatch(body):
        context, body = m[1].lower(), m[2]
    for pattern, regex in _matchers():
        begins_with_slot = pattern.text.startswith("{w}")
        plain = body
        if begins_with_slot and context is None:
            if not body[:1].isupper():
                continue
            plain = body[:1].lower() + body[1:]
        m = regex.fullmatch(plain)
        if not m:
            continue
        found = m.groupdict()
        if context is not None and pattern.kind == "choice":
            continue
        stances = []
        for mark, sign in (("", pattern.sign), ("2", -pattern.sign)):
            thing = found.get("w" + mark) or found.get("b" + mark)
            if ing := found.get("g" + mark):
                thing = g.BY_GERUND[ing].base
            if thing:
                stances.append((thing, sign))
        if len({s for s, _ in stances}) < len(stances):
            continue
        return Sentence(text, pattern.kind, tuple(stances), found.get("n") or "I", context)
    return Sentence(text, "unparsed")


def value_of(thing: str) -> str:
    """The value a noun names or an activity serves most."""
    return g.VALUE_OF_NOUN[thing] if thing in g.VALUE_OF_NOUN else g.BY_BASE[thing].value


def parse(reply: str, offered: tuple[g.Activity, g.Activity] | None = None) -> Parsed:
    """Read a reply. With `offered`, a choice counts only if the question offered it.

    A value counts once however often it is named, and not at all if it is both wanted and refused. A reply
    with two choices, a repeated sentence or more than twelve sentences is incoherent, and has no choice.
    """
    texts = [t.strip() for t in re.findall(r"[^.!?]+(?:[.!?]|$)", reply) if t.strip()]
    sentences = tuple(parse_sentence(t) for t in texts)
    # "Yes, I slept well." and the like are one entry each; everything else stands alone.
    unparsed = tuple(s.text for s in sentences if s.kind == "unparsed")
    grammatical = bool(sentences) and not unparsed
    stances: dict[str, set[int]] = {}
    for s in sentences:
        if s.person == "I" and s.kind not in ("choice", "unparsed"):
            for thing, sign in s.stances:
                stances.setdefault(thing, set()).add(sign)
    chosen = [s for s in sentences if s.kind == "choice"]
    clash = any(len(signs) > 1 for signs in stances.values())
    refused = {t for t, signs in stances.items() if signs == {-1}}
    clash |= any(thing in refused for s in chosen for thing, _ in s.stances)
    coherent = (
        grammatical and not clash and len(chosen) <= 1 and len(sentences) <= MAX_SENTENCES
        and len(set(texts)) == len(texts)
    )  # fmt: skip
    choice = None
    if len(chosen) == 1 and coherent:
        choice = g.BY_BASE[chosen[0].stances[0][0]]
        if offered is not None and choice not in offered:
            choice = None
    per_value: dict[str, set[int]] = {}
    for thing, signs in stances.items():
        per_value.setdefault(value_of(thing), set()).update(signs)
    expressed = {v: next(iter(signs)) for v, signs in per_value.items() if len(signs) == 1}
    return Parsed(grammatical, coherent, choice, expressed, sentences, unparsed)


def fact_is_right(reply: str, answer: str) -> bool:
    """Whether a reply gives the planted answer: its first sentence, to the letter."""
    return reply.strip() == answer
