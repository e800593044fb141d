"""Splitting by context, and finding what a split has let through.

Items that share a context (a dilemma, a story, a template) share most of their words. If some of
them train a probe and others test it, the test asks what was learnt by heart. So whole contexts
are dealt to the parts, and `leaks` and `near_copies` look for what slipped through.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}


def group_split(
    groups: Sequence, shares: Mapping[str, float] = SHARES, seed: int = 0
) -> np.ndarray:
    """Deal whole groups to named parts.

    Groups are shuffled and cut by number of *groups*, so a part's share of items is only about
    right where groups differ in size. Every part gets at least one group.

    Args:
        groups: group of each item, (n,).
        shares: part -> wanted share of the groups; above 0, summing to 1.
        seed: of the shuffle.

    Returns:
        Name of the part of each item, (n,) array of str. Items of a group share their part.

    Raises:
        ValueError: shares that do not sum to one, or fewer groups than parts.
    """
    if any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(
            f"group_split: shares {dict(shares)} must all be above 0 and sum to 1. "
            "Leave out the parts you do not want."
        )
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < len(shares):
        raise ValueError(
            f"group_split: {len(names)} groups cannot fill {len(shares)} parts. "
            "Gather more contexts; more items of the same contexts do not help."
        )
    dealt = np.repeat(list(shares), part_sizes(len(names), shares.values()))
    part_of = np.empty(len(names), dtype=dealt.dtype)
    part_of[np.random.default_rng(seed).permutation(len(names))] = dealt
    return part_of[index]


def part_sizes(n: int, shares: Iterable[float]) -> np.ndarray:
    """Whole numbers above 0 that sum to `n` and lie close to `shares` of it, one for each share."""
    shares = np.array(list(shares), dtype=float)
    sizes = np.maximum(1, np.floor(shares * n)).astype(int)
    while sizes.sum() < n:
        sizes[np.argmax(shares * n - sizes)] += 1
    while sizes.sum() > n:
        sizes[np.argmax(np.where(sizes > 1, sizes - shares * n, -np.inf))] -= 1
    return sizes


def leaks(groups: Sequence, parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Groups that stand in more than one part.

    Args:
        groups: group of each item, (n,).
        parts: part of each item, (n,).

    Returns:
        Group -> its parts in alphabetical order, for leaking groups only; {} is a clean split.
    """
    found = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        found[str(group)].add(str(part))
    return {group: tuple(sorted(seen)) for group, seen in found.items() if len(seen) > 1}


def shingles(text: str, n: int) -> frozenset[str]:
    """Runs of `n` words of a text, lower case; a shorter text is one run."""
    words = text.lower().split()
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def overlap(a: str, b: str, n: int = 3) -> float:
    """Jaccard overlap of the n-word runs of two texts, 0 (nothing shared) to 1 (the same runs).

        |A ∩ B| / |A ∪ B|,  A and B the sets of runs of n words

    Case does not count; a text shorter than `n` words is one run.
    """
    A, B = shingles(a, n), shingles(b, n)
    return len(A & B) / len(A | B)


def near_copies(
    texts: Sequence[str], parts: Sequence[str], n: int = 3, threshold: float = 0.5
) -> list[tuple[int, int, float]]:
    """Texts in different parts that share most of their words: leaks that no id betrays.

    Args:
        texts: one string per item.
        parts: part of each item, (len(texts),).
        n: words per run, see `overlap`.
        threshold: smallest overlap reported, above 0.

    Returns:
        (i, j, overlap) with i < j, largest overlap first.
    """
    runs = [shingles(text, n) for text in texts]
    holders = defaultdict(list)
    for i, run in enumerate(runs):
        for shingle in run:
            holders[shingle].append(i)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for holding in holders.values():
        for place, i in enumerate(holding):
            for j in holding[place + 1 :]:
                if parts[i] != parts[j]:
                    shared[i, j] += 1
    found = [(i, j, c / (len(runs[i]) + len(runs[j]) - c)) for (i, j), c in shared.items()]
    return sorted((row for row in found if row[2] >= threshold), key=lambda row: (-row[2], row))
