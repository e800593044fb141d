"""Contrast pairs in which no word, only its role, tells which value was chosen.

A *context* sets two courses of action against each other, each serving one of the ten
basic values. A *construction* is a sentence frame with two slots and a role marker::

    {S}, {I} [refused|agreed] to trade {1ing} for {2ing}.

The left alternative makes the action mentioned first the chosen one, the right alternative
the one mentioned second. The words around both slots are the same on either side, so the
two mirrors of a construction cancel: within every context, every run of up to three words
occurs in as many positive as negative texts (`ngram_imbalance`). What is left is who does
what instead of what, and that takes reading.

Contexts and constructions are text files in ``datasets/pairs``; `build` turns them into
the pairs that `load` reads.
"""
from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from valuelab.data import own
from valuelab.data.kinds import free, one_of, text
from valuelab.data.own import FORMS, SPLITS, Pair
from valuelab.values import VALUES

FOLDER = own.FOLDER / "pairs"

# Words of a text that is written in the first person, and what others say instead.
_PERSONS = {
    "I": {"I": "I", "me": "me", "my": "my", "myself": "myself"},
    "you": {"I": "you", "me": "you", "my": "your", "myself": "yourself"},
    "she": {"I": "she", "me": "her", "my": "her", "myself": "herself"},
    "he": {"I": "he", "me": "him", "my": "his", "myself": "himself"},
    "they": {"I": "they", "me": "them", "my": "their", "myself": "themselves"},
}
# Longer verbs stressed on the last syllable, which double the last letter as short ones do.
_DOUBLING = {"babysit", "begin", "commit", "defer", "forget", "outrun", "refer", "revel", "submit"}

_POSITIVE = """admired best better brightly calm celebrated comfort enjoy enjoying finest free
freely gold good great happy help helping honour honouring impress impressing kind love relax
relaxing respect respecting revel safe safety savour shine shining sound succeed sweet sweetest
top trust wild win winning wins won wonderful""".split()
_NEGATIVE = """against attack bad brave burnt cold danger dark died dispute exhausted failing
feud flood floods grieving hard hardest heartbroken ill illness injured injustice lonely lose
lost lonely need poisoned quarrel sick storm struggling trouble twisted unsafe victims war
warning worried""".split()


@dataclass(frozen=True)
class Context:
    """Two courses of action in one place; texts in the first person, verbs in base form."""

    context_id: str
    value_a: str
    value_b: str
    name: str
    pronoun: str
    setting: str
    action_a: str
    action_b: str


@dataclass(frozen=True)
class Construction:
    """A sentence frame; `form` is "statement" or "question", see `sentence` for the template."""

    construction: str
    form: str
    avoid: str  # words, separated by spaces, that would blur the frame's own
    template: str

    def fits(self, context: Context) -> bool:
        """Whether no word to avoid stands in the context."""
        told = f"{context.setting} {context.action_a} {context.action_b}".lower()
        return not set(self.avoid.split()) & set(re.findall(r"\w+", told))


def contexts() -> list[Context]:
    """The hand-written contexts of ``datasets/pairs/contexts.csv``, in file order."""
    schema = dict.fromkeys((f.name for f in fields(Context)), text)
    schema |= {"value_a": one_of(*VALUES), "value_b": one_of(*VALUES)}
    return own.rows(FOLDER / "contexts.csv", Context, schema)


def constructions() -> list[Construction]:
    """The sentence frames of ``datasets/pairs/constructions.csv``, in file order."""
    schema = {
        "construction": text, "form": one_of("statement", "question"), "avoid": free,
        "template": text,
    }
    return own.rows(FOLDER / "constructions.csv", Construction, schema)


def gerund(phrase: str) -> str:
    """Put the first verb of a phrase into its -ing form: "keep the vigil" -> "keeping ..."."""
    verb, space, rest = phrase.partition(" ")
    if verb.endswith("ie"):
        stem = verb[:-2] + "y"
    elif verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        stem = verb[:-1]
    elif verb in _DOUBLING or re.fullmatch("[^aeiou]*[aeiou][bdfgklmnprtvz]", verb):
        stem = verb + verb[-1]
    else:
        stem = verb
    return f"{stem}ing{space}{rest}"


def speak(text: str, person: str) -> str:
    """Retell a first-person text: my, me, myself become those of `person`.

    Args:
        text: words in the first person.
        person: "I", "you", "she", "he" or "they".
    """
    if person not in _PERSONS:
        raise ValueError(f"speak: person={person!r} is unknown. Choose one of {list(_PERSONS)}.")
    words = _PERSONS[person]
    return re.sub(r"\b(my|me|myself)\b", lambda match: words[match[0]], text)


def sentence(
    context: Context, template: str, chosen: str, chosen_first: bool, person: str | None = None
) -> str:
    """One text: `context` told in the frame `template`.

    Args:
        context: setting and the two actions.
        template: frame with slots {1}, {1ing}, {2}, {2ing}, words {I}, {i}, {my}, {Me}, {My},
            {should}, and role markers [first chosen|second chosen].
        chosen: "a" or "b", the action that wins.
        chosen_first: whether the winning action is mentioned first; it also picks the marker.
        person: "I" or "you"; None tells it of the person named in the context.
    """
    if chosen not in ("a", "b"):
        raise ValueError(f"sentence: chosen={chosen!r} is no action. Pass 'a' or 'b'.")
    actions = {"a": context.action_a, "b": context.action_b}
    rival = "b" if chosen == "a" else "a"
    first, second = (chosen, rival) if chosen_first else (rival, chosen)
    told = person or context.pronoun
    words = _PERSONS[told]
    named = words if person else {"I": context.name, "me": context.name, "my": f"{context.name}'s"}
    fill = {
        "S": context.setting, "1": actions[first], "1ing": gerund(actions[first]),
        "2": actions[second], "2ing": gerund(actions[second]),
    }
    fill = {key: speak(text, told) for key, text in fill.items()}
    fill |= {
        "I": named["I"], "Me": named["me"], "My": named["my"], "i": words["I"], "my": words["my"],
        "should": "would" if person == "you" else "should",
    }
    fill["should i"] = f"{fill['should']} {words['I']}"
    marked = re.sub(r"\[([^|\]]*)\|([^\]]*)\]", r"\1" if chosen_first else r"\2", template)
    return re.sub(r"\{([^}]*)\}", lambda match: fill[match[1]], marked)


def _deal_splits(rows: Sequence[Context], rng: np.random.Generator) -> dict[str, str]:
    """Three contexts in five to train, one to dev, one to test, within each pair of values."""
    strata = defaultdict(list)
    for row in rows:
        strata[row.value_a, row.value_b].append(row.context_id)
    deal = ("train", "test", "dev", "train", "train")
    return {
        name: deal[place % len(deal)]
        for names in strata.values()
        for place, name in enumerate(rng.permutation(names).tolist())
    }


def _assign(
    rows: Sequence[Context], frames: Sequence[Construction], rng: np.random.Generator
) -> dict[str, Construction]:
    """A fitting construction for each context, all of them used about equally often."""
    used: Counter = Counter()
    chosen = {}
    for place in rng.permutation(len(rows)):
        fitting = [frame for frame in frames if frame.fits(rows[place])]
        least = min(used[frame.construction] for frame in fitting)
        rare = [frame for frame in fitting if used[frame.construction] == least]
        frame = rare[rng.integers(len(rare))]
        used[frame.construction] += 1
        chosen[rows[place].context_id] = frame
    return chosen


def build(seed: int = 0) -> list[Pair]:
    """Generate all pairs from contexts and constructions.

    Every context is told in three forms, each by one construction in both of its mirrors, and
    counts for both of its values: what is positive for one is negative for the other.

    Args:
        seed: chooses splits and which construction tells which context.
    """
    rng = np.random.default_rng(seed)
    rows, frames = contexts(), constructions()
    split = _deal_splits(rows, rng)
    moods = {"first": "statement", "third": "statement", "question": "question"}
    frame = {
        form: _assign(rows, [f for f in frames if f.form == mood], rng)
        for form, mood in moods.items()
    }
    pairs = []
    for place, context in enumerate(rows):
        told = {"first": "I", "third": None, "question": ("I", "you")[place % 2]}
        for form in FORMS:
            used = frame[form][context.context_id]
            for order in ("first", "second"):
                pairs += _both(context, used, form, order, told[form], split[context.context_id])
    return pairs


def _both(
    context: Context, frame: Construction, form: str, order: str, person: str | None, split: str
) -> list[Pair]:
    """The pair of one frame and mirror, once for each value of the context."""
    a, b = (sentence(context, frame.template, c, order == "first", person) for c in "ab")
    return [
        Pair(
            f"{context.context_id}.{value}.{form}.{order}", context.context_id, value, other,
            form, frame.construction, order, positive, negative, split,
        )
        for value, other, positive, negative in (
            (context.value_a, context.value_b, a, b),
            (context.value_b, context.value_a, b, a),
        )
    ]


def write(pairs: Iterable[Pair], path: str | Path) -> None:
    """Write pairs as UTF-8 CSV, one line each, in the order given."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(Pair)])
        writer.writerows(astuple(pair) for pair in pairs)


def load(
    value: str | None = None, split: str | None = None, form: str | None = None
) -> list[Pair]:
    """Read the course's own contrast pairs.

    Args:
        value: one of the ten basic values, or None for all. Each text stands in the file twice,
            once for each value of its context, with positive and negative exchanged.
        split: "train", "dev", "test", or None for all. Lessons never show "test".
        form: "first", "third", "question", or None for all.

    Raises:
        ValueError: an unknown value, split or form, or a damaged file.
    """
    wanted = {"value": (value, VALUES), "split": (split, SPLITS), "form": (form, FORMS)}
    for name, (given, known) in wanted.items():
        if given is not None and given not in known:
            raise ValueError(f"load: {name}={given!r} is unknown. Choose one of {list(known)}.")
    return [
        pair for pair in own.table("pairs")
        if all(given in (None, getattr(pair, name)) for name, (given, _) in wanted.items())
    ]


def unpack(pairs: Sequence[Pair]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, labels (1 positive, 0 negative) and context ids, both members of a pair adjacent."""
    texts = [text for pair in pairs for text in (pair.positive, pair.negative)]
    labels = np.tile([1, 0], len(pairs))
    return texts, labels, np.repeat([pair.context_id for pair in pairs], 2)


def ngrams(text: str, n: int) -> list[str]:
    """Runs of `n` neighbouring words of a text, lower case, punctuation dropped."""
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


def ngram_imbalance(texts: Sequence[str], labels: Sequence[int], n: int) -> Counter:
    """How much more often each n-gram stands in positive than in negative texts.

        imbalance(g) = count of g where label is 1 − count of g where label is 0

    Args:
        texts: one string each.
        labels: 0 or 1, same length.
        n: words per n-gram, at least 1.

    Returns:
        Counter n-gram -> imbalance, without the n-grams in balance; empty means that a linear
        model on counts of n-grams starts at its optimum with all weights zero.
    """
    total: Counter = Counter()
    for told, label in zip(texts, labels, strict=True):
        for gram in ngrams(told, n):
            total[gram] += 1 if label else -1
    return Counter({gram: count for gram, count in total.items() if count})


def baseline_accuracy(
    X, y: np.ndarray, groups: np.ndarray, *, C: Sequence[float] = (0.01, 1.0, 100.0),
    folds: int = 5, split_by: str = "group", seed: int = 0,
) -> float:
    """Cross-validated accuracy of a logistic probe, the best over the penalties `C`.

    Choosing C by the score that is reported makes the figure too high: use it for what a
    baseline can reach at most, not for a result of your own.

    Args:
        X: features, (n, d), dense or sparse.
        y: labels 0 or 1, (n,).
        groups: what must not be divided between training and test, (n,).
        C: inverse strengths of the L2 penalty.
        folds: number of parts.
        split_by: "group" keeps every group in one part; "row" deals rows at random and leaks.
        seed: of the random parts.

    Returns:
        Fraction right, 0 to 1. A tie (probability exactly one half) counts as half right.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, KFold

    if split_by not in ("group", "row"):
        raise ValueError(f"baseline_accuracy: split_by={split_by!r}. Pass 'group' or 'row'.")
    cut = (GroupKFold if split_by == "group" else KFold)(folds, shuffle=True, random_state=seed)
    parts = list(cut.split(X, y, groups if split_by == "group" else None))
    best = 0.0
    for strength in C:
        right = 0.0
        for train, test in parts:
            probe = LogisticRegression(C=strength, max_iter=2000, tol=1e-6).fit(X[train], y[train])
            logit = probe.decision_function(X[test])
            tie = np.abs(logit) < 1e-6  # a probe that learnt nothing answers by rounding error
            right += np.where(tie, 0.5, (logit > 0) == (y[test] == 1)).sum()
        best = max(best, right / len(y))
    return best


def ngram_probe(
    texts: Sequence[str], labels: np.ndarray, groups: np.ndarray, *, n: int = 2,
    weighting: str = "count", **options,
) -> float:
    """Accuracy of a logistic probe on n-grams of one up to `n` words: the bag-of-words bar.

    Args:
        texts, labels, groups: as `unpack` returns them.
        n: longest n-gram.
        weighting: "count" or "tfidf".
        options: passed to `baseline_accuracy`.

    Source: controls for probes, Hewitt & Liang, arXiv 1909.03368; here the control is lexical.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    kinds = {"count": CountVectorizer, "tfidf": TfidfVectorizer}
    if weighting not in kinds:
        raise ValueError(f"ngram_probe: weighting={weighting!r}. Choose one of {list(kinds)}.")
    X = kinds[weighting](ngram_range=(1, n), token_pattern=r"\w+").fit_transform(texts)
    return baseline_accuracy(X.astype(float), np.asarray(labels), np.asarray(groups), **options)


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """Length, punctuation and sentiment of each text, standardised, (n, 7).

    Columns: characters, words, commas, other punctuation, positive words, negative words,
    and their difference.
    """
    table = []
    for told in texts:
        words = re.findall(r"\w+", told.lower())
        good, bad = (sum(w in known for w in words) for known in (_POSITIVE, _NEGATIVE))
        marks = len(re.findall(r"[^\w\s,]", told))
        table.append([len(told), len(words), told.count(","), marks, good, bad, good - bad])
    X = np.array(table, dtype=float)
    spread = X.std(0)
    return (X - X.mean(0)) / np.where(spread > 0, spread, 1.0)


def role_features(pairs: Sequence[Pair]):
    """Words of the chosen action minus words of the forgone one: a reader that knows the roles.

    Takes the actions from the contexts and the roles from the labels of each text, so it is no
    baseline but a ceiling: what the same bag of words can do once roles are given to it.

    Returns:
        Sparse (2·len(pairs), words), rows in the order of `unpack`.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import CountVectorizer

    told = {context.context_id: context for context in contexts()}
    mine, others = [], []
    for pair in pairs:
        context = told[pair.context_id]
        both = {context.value_a: context.action_a, context.value_b: context.action_b}
        mine.append(both[pair.value])
        others.append(both[pair.other])
    bag = CountVectorizer(token_pattern=r"\w+").fit(mine + others)
    difference = (bag.transform(mine) - bag.transform(others)).astype(float)
    order = np.arange(2 * len(pairs)).reshape(2, -1).T.ravel()  # positive, negative, positive, ...
    return vstack([difference, -difference]).tocsr()[order]
