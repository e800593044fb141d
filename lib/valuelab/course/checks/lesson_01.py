"""Checks of lesson 01: value data."""

from __future__ import annotations

import copy
from collections import Counter, namedtuple
from collections.abc import Callable

import numpy as np

from valuelab.course.check import Refused, exercise
from valuelab.data import annotators, datasheet, pairs, splits


def same(got, wanted, tolerance: float = 1e-9) -> bool:
    got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    return got.shape == wanted.shape and np.allclose(got, wanted, atol=tolerance, equal_nan=True)


def something(got, what: str):
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}.")
    return got


def number(got, what: str) -> float:
    something(got, what)
    if np.ndim(got) != 0 or isinstance(got, (str, dict)):
        raise Refused(f"one number was wanted, {what}; shape {np.shape(got)} came back.")
    return float(got)


# ------------------------------------------------------------------------ 1.1 label entropy


def _some_counts(seed: int, items: int, labels: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 6, (items, labels))
    table[:, 0] += 1  # somebody has answered
    table[0] = 0
    table[0, -1] = 7  # and one item on which all agree
    return table


@exercise("1.1", reference=annotators.label_entropy)
def label_entropy(f: Callable) -> None:
    for seed, (items, labels) in enumerate([(9, 3), (4, 5)]):
        counts = _some_counts(seed, items, labels)
        if labels == 5:
            counts[:, 2] = 0  # a label that nobody ever chose still counts in L
        with np.errstate(all="ignore"):
            got = something(f(counts), "one number per item, (items,)")
        got = np.asarray(got, dtype=float)
        p = counts / counts.sum(1, keepdims=True)
        H = np.array([-sum(x * np.log(x) for x in row if x > 0) for row in p])
        if got.ndim == 0:
            raise Refused("one number came back for all items; wanted one each: sum over axis 1")
        down = counts / np.maximum(counts.sum(0, keepdims=True), 1)
        if got.shape == (labels,) != (items,) or same(
            got, -(down * np.log(np.where(down > 0, down, 1))).sum(0)[:items] / np.log(items)
        ):
            raise Refused("the sum runs down the items; wanted one number per item, along axis 1")
        if got.shape != (items,):
            raise Refused(f"shape {got.shape} came back; wanted one number per item, ({items},)")
        if np.isnan(got).any():
            raise Refused("0 · log 0 gave nan: a label nobody chose must count as 0")
        if same(got, -H / np.log(labels)):
            raise Refused("sign flipped: entropy is the minus of the sum")
        if same(got, H):
            raise Refused("not normalised: divide by log L, so that an even split gives 1")
        if same(got, H / np.log(2)):
            raise Refused("in bits: divide by log L, not by log 2, so that an even split gives 1")
        in_use = int((counts.sum(0) > 0).sum())
        if in_use < labels and same(got, H / np.log(in_use)):
            raise Refused(
                f"divided by the log of the {in_use} labels in use; L is {labels}, the number of "
                "columns: a label that nobody chose was on offer too"
            )
        if same(got, 1 - p.max(1)):
            raise Refused("that is the share outside the majority, not the entropy of all shares")
        if not same(got, H / np.log(labels)):
            raise Refused(
                f"item 0 has all votes on one label and should be 0, yours is {got[0]:.3f}; "
                f"item 1 with votes {counts[1].tolist()} should be {H[1] / np.log(labels):.3f}, "
                f"yours is {got[1]:.3f}"
            )


# ------------------------------------------------------------------------ 1.2 alpha


def _alpha_terms(counts: np.ndarray) -> dict[str, float]:
    """α written out vote by vote, and what the likely mistakes give."""

    def alpha(table, replace=False, weight_items=False):
        votes = [np.repeat(np.arange(table.shape[1]), row) for row in table]
        pool = np.concatenate(votes)
        apart = [(v[:, None] != v).sum() for v in votes]
        each = [a / (len(v) - 1) for a, v in zip(apart, votes, strict=True)]
        seen = sum(each) / len(pool)
        if weight_items:
            seen = np.mean([e / len(v) for e, v in zip(each, votes, strict=True)])
        total = len(pool) * (len(pool) if replace else len(pool) - 1)
        return seen, (pool[:, None] != pool).sum() / total

    kept = counts[counts.sum(1) > 1]
    seen, expected = alpha(kept)
    _, replaced = alpha(kept, replace=True)
    by_item, _ = alpha(kept, weight_items=True)
    return {
        "right": 1 - seen / expected, "ratio": seen / expected, "raw": 1 - seen,
        "kappa": ((1 - seen) - expected) / (1 - expected), "replace": 1 - seen / replaced,
        "by_item": 1 - by_item / expected,
    }


@exercise("1.2", reference=annotators.krippendorff_alpha)
def krippendorff_alpha(f: Callable) -> None:
    if not same(number(f(np.array([[3, 0], [0, 3]])), "alpha"), 1.0):
        raise Refused("two items, on each of which all agree, have α = 1; yours differs")
    full = np.array([[3, 1, 0], [0, 4, 1], [2, 2, 2], [5, 0, 0]])
    for counts in (full, _some_counts(5, 12, 4) + np.eye(12, 4, dtype=int)):
        got = number(f(counts), "alpha")
        terms = _alpha_terms(counts)
        if same(got, terms["raw"]):
            raise Refused("that is raw agreement 1 − D_o; divide by what chance gives, D_e")
        if same(got, terms["ratio"]):
            raise Refused("D_o / D_e came back: α is one minus that ratio")
        if same(got, terms["replace"]):
            raise Refused("D_e pairs a vote with itself: divide by M (M − 1), not M²")
        if same(got, terms["kappa"]):
            raise Refused("D_o and D_e are disagreements; you treated D_e as an agreement")
        if same(got, terms["by_item"]):
            raise Refused("items count alike in yours; each vote counts alike, so divide by M")
        if not same(got, terms["right"]):
            raise Refused(f"on {counts[:4].tolist()} … α is {terms['right']:.4f}, yours {got:.4f}")
    lonely = np.vstack([full, [[1, 0, 0], [0, 0, 1]]])
    with np.errstate(all="ignore"):
        got = number(f(lonely), "alpha")
    if not same(got, _alpha_terms(full)["right"]):
        raise Refused("items with a single vote must be left out of every sum, also of C and M")


# ------------------------------------------------------------------------ 1.3 n-gram imbalance


@exercise("1.3", reference=pairs.ngram_imbalance)
def ngram_imbalance(f: Callable) -> None:
    texts = ["The cat saw the dog.", "The dog saw the cat.", "A cat, a cat!"]
    labels = [1, 0, 0]
    one = something(f(texts, labels, 1), "a Counter from n-gram to imbalance")
    if not isinstance(one, dict):
        raise Refused(f"a {type(one).__name__} came back; wanted a Counter from n-gram to number")
    wanted = {"a": -2, "cat": -2}
    if dict(one) == {k: -v for k, v in wanted.items()}:
        raise Refused("sign flipped: label 1 adds, label 0 takes away")
    if any(v == 0 for v in one.values()):
        raise Refused("n-grams in balance are still listed: leave out those that sum to 0")
    if dict(one) == {"a": -1, "cat": -1}:
        raise Refused("each text counts a repeated n-gram once; count every occurrence")
    if one and all(v > 0 for v in one.values()) and "the" in one:
        raise Refused("everything was added: texts with label 0 must be taken away")
    if dict(one) == {}:
        raise Refused("negative counts were lost: Counter − Counter keeps only positive ones")
    if dict(one) != wanted:
        raise Refused(f"words of {texts}, labels {labels}, give {wanted}, yours {dict(one)}")
    two = dict(f(texts, labels, 2))
    if two == wanted:
        raise Refused("n is ignored: runs of two words were asked for")
    right = Counter()
    for told, label in zip(texts, labels, strict=True):
        right.update({g: 0 for g in pairs.ngrams(told, 2)})
        for gram in pairs.ngrams(told, 2):
            right[gram] += 2 * label - 1
    if two != {g: c for g, c in right.items() if c}:
        raise Refused(f"runs of two words of {texts} give {dict(right)}, yours {two}")


# ------------------------------------------------------------------------ 1.4 group split


@exercise("1.4", reference=splits.group_split)
def group_split(f: Callable) -> None:
    for seed, per in ((0, 4), (1, 7)):
        groups = np.array([f"c{i:02d}" for i in range(20) for _ in range(per)])
        shuffled = groups[np.random.default_rng(seed + 100).permutation(len(groups))]
        parts = something(f(shuffled, seed=seed), "one part name per item, (n,)")
        if not isinstance(parts, np.ndarray):
            raise Refused(
                f"a {type(parts).__name__} came back; wanted an array, so that `parts == \"train\"` "
                "picks rows in the cells below"
            )
        if parts.shape == (20,):
            raise Refused("one part per group came back; wanted one per item")
        if parts.shape != shuffled.shape:
            raise Refused(f"shape {parts.shape} came back; wanted one part per item")
        if not set(parts.tolist()) <= {"train", "dev", "test"}:
            named = sorted(set(parts.tolist()))[:3]
            raise Refused(f"parts are named {named}; wanted the keys of shares")
        leaking = splits.leaks(shuffled, parts)
        if leaking:
            raise Refused(
                f"it leaks: {len(leaking)} of 20 groups stand in several parts. Deal groups whole"
            )
        sizes = {name: len(set(shuffled[parts == name])) for name in splits.SHARES}
        if sizes != {"train": 12, "dev": 4, "test": 4}:
            raise Refused(f"20 groups at .6, .2, .2 are 12, 4, 4; yours are {list(sizes.values())}")
        by_name = parts[np.argsort(shuffled, kind="stable")].tolist()
        if by_name == ["train"] * 12 * per + ["dev"] * 4 * per + ["test"] * 4 * per:
            raise Refused("groups are not shuffled: the first twelve by name all went to train")
        if (np.asarray(f(shuffled, seed=seed)) != parts).any():
            raise Refused("not reproducible: the same seed must give the same split")
        if (np.asarray(f(shuffled, seed=seed + 1)) == parts).all():
            raise Refused("the seed is ignored: seeds 0 and 1 gave the same split")
    halves = np.asarray(f(groups, {"a": 0.5, "b": 0.5}))
    if set(halves.tolist()) != {"a", "b"}:
        raise Refused("shares is ignored: parts a and b were asked for")
    if set(np.asarray(f(["x", "y", "z"])).tolist()) != {"train", "dev", "test"}:
        raise Refused("three groups can fill three parts, but yours left one empty: use part_sizes")


# ------------------------------------------------------------------------ 1.5 leaks


@exercise("1.5", reference=splits.leaks)
def leaks(f: Callable) -> None:
    groups = ["b", "a", "a", "b", "c", "c", "d"]
    parts = ["train", "train", "test", "dev", "dev", "dev", "test"]
    got = something(f(groups, parts), "a dictionary from group to its parts")
    if not isinstance(got, dict):
        raise Refused(f"a {type(got).__name__} came back; wanted a dictionary from group to parts")
    if "c" in got and "d" not in got:
        raise Refused("group c has two items but one part: count parts, not items")
    if "d" in got or "c" in got:
        raise Refused("clean groups are listed too: keep only those with more than one part")
    if set(got) != {"a", "b"}:
        raise Refused(f"groups a and b leak; yours names {sorted(map(str, got))}")
    if any(isinstance(v, (int, np.integer)) for v in got.values()):
        raise Refused("a number came back for a group; wanted the names of its parts")
    if {k: set(v) for k, v in got.items()} != {"a": {"train", "test"}, "b": {"train", "dev"}}:
        raise Refused(f"a stands in train and test, b in train and dev; yours says {got}")
    if any(len(v) != 2 for v in f(groups * 2, parts * 2).values()):
        raise Refused("a part is named once for each item; name each part once")
    if not all(isinstance(v, tuple) for v in got.values()):
        raise Refused("the parts of a group must be a tuple: sets and lists compare differently")
    if any(v != tuple(sorted(v)) for v in got.values()):
        raise Refused("the parts of a group must be sorted, whatever order the items have")
    if f(groups[4:], parts[4:]) != {}:
        raise Refused("a clean split gives an empty dictionary")


# ------------------------------------------------------------------------ 1.6 overlap


@exercise("1.6", reference=splits.overlap)
def overlap(f: Callable) -> None:
    a, b = "the old man kept the night watch again", "the old man kept a night bus waiting too"
    for n in (2, 3):
        A, B = splits.shingles(a, n), splits.shingles(b, n)
        both, either = len(A & B), len(A | B)
        got = number(f(a, b, n), "the overlap, 0 to 1")
        if same(got, both):
            raise Refused("the number of shared runs came back: divide by the size of the union")
        if same(got, 1 - both / either):
            raise Refused("that is the distance: 1 must mean the same runs")
        if same(got, both / (len(A) + len(B))):
            raise Refused("the shared runs are counted twice below the line: take the union")
        if same(got, 2 * both / (len(A) + len(B))):
            raise Refused("that is Dice's coefficient; Jaccard divides by the union")
        if same(got, both / len(A)) or same(got, both / min(len(A), len(B))):
            raise Refused("divided by one text only, so a short text inside a long one scores 1")
        words = set(a.split()), set(b.split())
        if same(got, len(words[0] & words[1]) / len(words[0] | words[1])):
            raise Refused("single words were compared: use runs of n words, shingles(text, n)")
        if n == 2 and same(got, len(splits.shingles(a, 3) & splits.shingles(b, 3)) / len(
            splits.shingles(a, 3) | splits.shingles(b, 3)
        )):
            raise Refused("n is ignored: runs of two words were asked for")
        if not same(got, both / either):
            raise Refused(f"{both} shared runs of {either} in all make {both / either:.3f}, not {got:.3f}")
    if not same(f("Keep The Vigil", "keep the vigil", 2), 1.0):
        raise Refused("case counts in yours: Keep and keep are the same word")


# ------------------------------------------------------------------------ 1.7 datasheet


_Row = namedtuple("_Row", "context_id split")


@exercise("1.7", reference=datasheet.datasheet)
def datasheet_(f: Callable) -> None:
    rows = [_Row(c, s) for c, s in [("a", "train")] * 3 + [("b", "dev")] * 2 + [("c", "train")] * 4]
    rows.append(_Row("b", "test"))
    prose = {name: f"We wrote this about {name}." for name in datasheet.SECTIONS}
    prose["thanks"] = "To nobody."
    before = copy.deepcopy(prose)
    got = something(f(rows, prose), "a dictionary")
    if prose != before:
        raise Refused("your function changed the prose that it was given; build a new dictionary")
    lost = [name for name in prose if got.get(name) != prose[name]]
    if lost:
        raise Refused(f"sections of the prose are lost: {', '.join(lost)}")
    if got.get("rows") != 10:
        raise Refused(f"10 rows were given, yours counts {got.get('rows')}")
    if got.get("contexts") == 10:
        raise Refused("contexts counts rows: ten rows here come from three contexts")
    if got.get("contexts") != 3:
        raise Refused(f"3 contexts were given, yours counts {got.get('contexts')}")
    found = got.get("contexts per split")
    if found == {"train": 7, "dev": 2, "test": 1}:
        raise Refused("contexts per split counts rows; train has 7 rows but 2 contexts")
    if found != {"train": 2, "dev": 1, "test": 1}:
        raise Refused(f"contexts per split are train 2, dev 1, test 1; yours {found}")
    for name, count in {**got, **found}.items():
        if isinstance(count, np.integer):
            raise Refused(f"\"{name}\" is a numpy number: wrap it in int(), so that JSON can write it")
    if not isinstance(got.get("leaking contexts"), int):
        raise Refused("leaking contexts is to be a number: how many, not which")
    if got.get("leaking contexts") != 1:
        raise Refused(
            f"one context, b, stands in two splits; yours reports {got.get('leaking contexts')}"
        )
    for harm, phrase in ((None, "missing"), ("   ", "blank")):
        damaged = dict(prose)
        del damaged["not for"]
        if harm is not None:
            damaged["not for"] = harm
        try:
            f(rows, damaged)
        except ValueError as error:
            if "not for" not in str(error):
                raise Refused("the error does not name the section that is missing") from None
            continue
        except KeyError:
            raise Refused("a missing section ends in a KeyError; raise a ValueError with its name"
                          ) from None
        raise Refused(f"a {phrase} section passes: raise ValueError and name it")
    try:
        f(rows, {"thanks": "none"})
    except ValueError as error:
        unnamed = [name for name in datasheet.SECTIONS if name not in str(error)]
        if unnamed:
            raise Refused("the error stops at the first missing section; name all") from None
