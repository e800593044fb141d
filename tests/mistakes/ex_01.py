"""Wrong answers to lesson 01, as a tired student would write them, and the words against each."""

from collections import Counter, defaultdict

import numpy as np

from mistakes.planted import Mistake
from valuelab.data.annotators import krippendorff_alpha
from valuelab.data.datasheet import SECTIONS, datasheet
from valuelab.data.pairs import ngram_imbalance, ngrams
from valuelab.data.splits import SHARES, group_split, leaks, part_sizes, shingles


def _p(counts, axis=1):
    counts = np.asarray(counts, float)
    return counts / counts.sum(axis, keepdims=True)


def _xlogx(p):
    return p * np.log(np.where(p > 0, p, 1.0))


# ------------------------------------------------------------------------------- 1.2


def _alpha(counts, *, by_item=False, replace=False, keep_single=False, kappa=False):
    table = np.asarray(counts, float)
    kept = table[table.sum(1) > 1]
    pool = table if keep_single else kept
    m, C, M = kept.sum(1), pool.sum(0), pool.sum()
    each = (m**2 - (kept**2).sum(1)) / (m - 1)
    seen = (each / m).mean() if by_item else each.sum() / M
    expected = (M**2 - (C**2).sum()) / (M * (M if replace else M - 1))
    return ((1 - seen) - expected) / (1 - expected) if kappa else 1 - seen / expected


def _seen(counts):
    table = np.asarray(counts, float)
    table = table[table.sum(1) > 1]
    m = table.sum(1)
    return ((m**2 - (table**2).sum(1)) / (m - 1)).sum() / m.sum()


# ------------------------------------------------------------------------------- 1.3


def _zeros_kept(texts, labels, n):
    total = Counter()
    for told, label in zip(texts, labels, strict=True):
        for gram in ngrams(told, n):
            total[gram] += 1 if label else -1
    return total


def _once_per_text(texts, labels, n):
    total = Counter()
    for told, label in zip(texts, labels, strict=True):
        for gram in set(ngrams(told, n)):
            total[gram] += 1 if label else -1
    return Counter({g: c for g, c in total.items() if c})


def _all_added(texts, labels, n):
    return Counter(g for told in texts for g in ngrams(told, n))


def _counter_minus(texts, labels, n):
    good = Counter(g for t, y in zip(texts, labels, strict=True) if y for g in ngrams(t, n))
    bad = Counter(g for t, y in zip(texts, labels, strict=True) if not y for g in ngrams(t, n))
    return good - bad


# ------------------------------------------------------------------------------- 1.4


def _rows_dealt(groups, shares=SHARES, seed=0):
    sizes = part_sizes(len(groups), shares.values())
    return np.random.default_rng(seed).permutation(np.repeat(list(shares), sizes))


def _unshuffled(groups, shares=SHARES, seed=0):
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    return np.repeat(list(shares), part_sizes(len(names), shares.values()))[index]


def _per_group(groups, shares=SHARES, seed=0):
    names = np.unique(np.asarray(groups))
    dealt = np.repeat(list(shares), part_sizes(len(names), shares.values()))
    return np.random.default_rng(seed).permutation(dealt)


_endless = np.random.default_rng(7)


def _unseeded(groups, shares=SHARES, seed=0):
    return group_split(groups, shares, seed=int(_endless.integers(1 << 30)))


def _floored(groups, shares=SHARES, seed=0):
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    edges = np.floor(np.cumsum(list(shares.values())) * len(names) + 1e-9)
    part = np.searchsorted(edges, np.arange(len(names)), side="right")
    part = np.random.default_rng(seed).permutation(np.minimum(part, len(shares) - 1))
    return np.array(list(shares))[np.where(len(names) == 3, np.minimum(part, 1), part)[index]]


def _each_group_rolls(groups, shares=SHARES, seed=0):
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    return rng.choice(list(shares), size=len(names), p=list(shares.values()))[index]


# ------------------------------------------------------------------------------- 1.5


def _parts_of(groups, parts):
    found = defaultdict(list)
    for group, part in zip(groups, parts, strict=True):
        found[group].append(part)
    return found


def _leaks(keep, give):
    def wrong(groups, parts):
        return {g: give(p) for g, p in _parts_of(groups, parts).items() if keep(p)}

    return wrong


def _several(parts):
    return len(set(parts)) > 1


# ------------------------------------------------------------------------------- 1.6


def _jaccard(A, B):
    return len(A & B) / len(A | B)


def _cased(a, b, n=3):
    def runs(text):
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}

    return _jaccard(runs(a), runs(b))


# ------------------------------------------------------------------------------- 1.7


def _sheet(**changes):
    def wrong(rows, prose):
        sheet = datasheet(rows, prose)
        return sheet | {name: value(rows) for name, value in changes.items()}

    return wrong


def _filled(prose):
    """Prose in which nothing is missing, so that `datasheet` never complains."""
    return {name: "-" for name in SECTIONS} | {k: v for k, v in prose.items() if v.strip()}


def _accepts_blank(rows, prose):
    missing = [name for name in SECTIONS if name not in prose]
    if missing:
        raise ValueError(f"missing: {missing}")
    return datasheet(rows, _filled(prose)) | prose


def _accepts_missing(rows, prose):
    return datasheet(rows, _filled(prose)) | dict(prose)


def _key_error(rows, prose):
    for name in SECTIONS:
        prose[name].strip()
    return datasheet(rows, prose)


def _first_only(rows, prose):
    for name in SECTIONS:
        if not prose.get(name, "").strip():
            raise ValueError(f"nothing is said under {name}")
    return datasheet(rows, prose)


def _nameless(rows, prose):
    if any(not prose.get(name, "").strip() for name in SECTIONS):
        raise ValueError("something is missing")
    return datasheet(rows, prose)


def _changes_prose(rows, prose):
    sheet = datasheet(rows, prose)
    prose["rows"] = sheet["rows"]
    return sheet


def _only_sections(rows, prose):
    sheet = datasheet(rows, prose)
    return {k: v for k, v in sheet.items() if k not in prose or k in SECTIONS}


MISTAKES = {
    "1.1": [
        Mistake("sign", lambda c: _xlogx(_p(c)).sum(1) / np.log(np.shape(c)[1]), "sign flipped"),
        Mistake("not normalised", lambda c: -_xlogx(_p(c)).sum(1), "not normalised"),
        Mistake("bits", lambda c: -_xlogx(_p(c)).sum(1) / np.log(2), "in bits"),
        Mistake(
            "0 log 0",
            lambda c: -(_p(c) * np.log(_p(c))).sum(1) / np.log(np.shape(c)[1]),
            "0 · log 0 gave nan",
        ),
        Mistake(
            "down the items",
            lambda c: -_xlogx(_p(c, 0)).sum(0) / np.log(len(c)),
            "runs down the items",
        ),
        Mistake(
            "one number", lambda c: -_xlogx(_p(c)).sum() / np.log(np.shape(c)[1]), "for all items"
        ),
        Mistake(
            "labels in use",
            lambda c: -_xlogx(_p(c)).sum(1) / np.log((np.sum(c, 0) > 0).sum()),
            "labels in use",
        ),
        Mistake("majority", lambda c: 1 - _p(c).max(1), "outside the majority"),
        Mistake(
            "smoothed",
            lambda c: -_xlogx(_p(np.asarray(c) + 1)).sum(1) / np.log(np.shape(c)[1]),
            "should be 0, yours is",
        ),
        Mistake("no return", lambda c: None, "nothing came back"),
    ],
    "1.2": [
        Mistake("raw agreement", lambda c: 1 - _seen(c), "raw agreement"),
        Mistake("ratio", lambda c: 1 - krippendorff_alpha(c), "two items, on each of which all"),
        Mistake("M squared", lambda c: _alpha(c, replace=True), "pairs a vote with itself"),
        Mistake("kappa", lambda c: _alpha(c, kappa=True), "treated D_e as an agreement"),
        Mistake("by item", lambda c: _alpha(c, by_item=True), "items count alike"),
        Mistake("single votes", lambda c: _alpha(c, keep_single=True), "single vote must be"),
        Mistake("per item", lambda c: np.ones(len(c)), "one number was wanted"),
        Mistake("no return", lambda c: None, "nothing came back"),
    ],
    "1.3": [
        Mistake(
            "sign",
            lambda t, y, n: Counter({g: -c for g, c in ngram_imbalance(t, y, n).items()}),
            "sign flipped",
        ),
        Mistake("zeros kept", _zeros_kept, "still listed"),
        Mistake("once a text", _once_per_text, "counts a repeated n-gram once"),
        Mistake("all added", _all_added, "everything was added"),
        Mistake("Counter minus Counter", _counter_minus, "negative counts were lost"),
        Mistake("n ignored", lambda t, y, n: ngram_imbalance(t, y, 1), "n is ignored"),
        Mistake("a list", lambda t, y, n: list(ngram_imbalance(t, y, n)), "a list came back"),
        Mistake("no return", lambda t, y, n: None, "nothing came back"),
    ],
    "1.4": [
        Mistake("rows dealt", _rows_dealt, "it leaks"),
        Mistake("not shuffled", _unshuffled, "not shuffled"),
        Mistake("one per group", _per_group, "one part per group"),
        Mistake("no seed", _unseeded, "not reproducible"),
        Mistake(
            "seed ignored", lambda g, shares=SHARES, seed=0: group_split(g, shares), "seed is ignored"
        ),
        Mistake(
            "shares ignored", lambda g, shares=SHARES, seed=0: group_split(g, seed=seed),
            "shares is ignored",
        ),
        Mistake("each group rolls", _each_group_rolls, "are 12, 4, 4"),
        Mistake("an empty part", _floored, "left one empty"),
        Mistake(
            "numbers",
            lambda g, shares=SHARES, seed=0: np.unique(
                group_split(g, shares, seed), return_inverse=True
            )[1],
            "wanted the keys of shares",
        ),
        Mistake(
            "a list", lambda g, shares=SHARES, seed=0: group_split(g, shares, seed).tolist(),
            "wanted an array",
        ),
        Mistake("no return", lambda g, shares=SHARES, seed=0: None, "nothing came back"),
    ],
    "1.5": [
        Mistake(
            "items counted", _leaks(lambda p: len(p) > 1, lambda p: tuple(sorted(set(p)))),
            "count parts, not items",
        ),
        Mistake(
            "all listed", _leaks(lambda p: True, lambda p: tuple(sorted(set(p)))),
            "clean groups are listed",
        ),
        Mistake("repeats", _leaks(_several, lambda p: tuple(sorted(p))), "once for each item"),
        Mistake("how many", _leaks(_several, lambda p: len(set(p))), "a number came back"),
        Mistake(
            "unsorted", _leaks(_several, lambda p: tuple(dict.fromkeys(p))), "must be sorted"
        ),
        Mistake("a set", _leaks(_several, set), "must be a tuple"),
        Mistake("yes or no", lambda g, p: bool(leaks(g, p)), "a bool came back"),
        Mistake(
            "train and test only",
            lambda g, p: {k: v for k, v in leaks(g, p).items() if set(v) == {"train", "test"}},
            "groups a and b leak",
        ),
        Mistake("no return", lambda g, p: None, "nothing came back"),
    ],
    "1.6": [
        Mistake(
            "count", lambda a, b, n=3: len(shingles(a, n) & shingles(b, n)), "number of shared runs"
        ),
        Mistake(
            "distance", lambda a, b, n=3: 1 - _jaccard(shingles(a, n), shingles(b, n)),
            "that is the distance",
        ),
        Mistake(
            "sum below",
            lambda a, b, n=3: len(shingles(a, n) & shingles(b, n))
            / (len(shingles(a, n)) + len(shingles(b, n))),
            "counted twice below",
        ),
        Mistake(
            "Dice",
            lambda a, b, n=3: 2 * len(shingles(a, n) & shingles(b, n))
            / (len(shingles(a, n)) + len(shingles(b, n))),
            "Dice",
        ),
        Mistake(
            "one text below",
            lambda a, b, n=3: len(shingles(a, n) & shingles(b, n)) / len(shingles(a, n)),
            "divided by one text",
        ),
        Mistake(
            "words", lambda a, b, n=3: _jaccard(shingles(a, 1), shingles(b, 1)), "single words"
        ),
        Mistake(
            "n ignored", lambda a, b, n=3: _jaccard(shingles(a, 3), shingles(b, 3)), "n is ignored"
        ),
        Mistake("case", _cased, "case counts"),
        Mistake("no return", lambda a, b, n=3: None, "nothing came back"),
    ],
    "1.7": [
        Mistake("rows as contexts", _sheet(contexts=len), "counts rows: ten rows"),
        Mistake(
            "rows per split",
            _sheet(**{"contexts per split": lambda rows: dict(Counter(r.split for r in rows))}),
            "per split counts rows",
        ),
        Mistake("no leaks", _sheet(**{"leaking contexts": lambda rows: 0}), "stands in two splits"),
        Mistake(
            "names of leaks",
            _sheet(**{"leaking contexts": lambda rows: ["b"]}), "how many, not which",
        ),
        Mistake(
            "numpy number",
            _sheet(**{"leaking contexts": lambda rows: np.sum([1])}), "\"leaking contexts\" is a numpy",
        ),
        Mistake(
            "numpy contexts",
            _sheet(contexts=lambda rows: np.int64(len({r.context_id for r in rows}))),
            "\"contexts\" is a numpy",
        ),
        Mistake("blank accepted", _accepts_blank, "a blank section passes"),
        Mistake("missing accepted", _accepts_missing, "a missing section passes"),
        Mistake("KeyError", _key_error, "ends in a KeyError"),
        Mistake("first only", _first_only, "stops at the first"),
        Mistake("nameless", _nameless, "does not name the section"),
        Mistake("changes the prose", _changes_prose, "changed the prose"),
        Mistake("only the sections", _only_sections, "are lost: thanks"),
        Mistake("no return", lambda rows, prose: None, "nothing came back"),
    ],
}
