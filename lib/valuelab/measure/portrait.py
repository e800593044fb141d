"""Portrait questionnaires: how much is this person like you, 1 to 6.

Only keys and arithmetic live here. The official items are their authors'; load them from a path of
your own, or use the course's self-written portraits.
"""

from __future__ import annotations

import numpy as np

from valuelab.measure.profile import Profile, value_profile

__all__ = ["KEYS", "centred_scores", "portrait_profile", "reverse_code", "z_profile"]

# Item numbers (1-based) of each basic value. Source: the scoring instructions of each instrument;
# in the 57-item form the items on face and on humility belong to none of the ten.
KEYS: dict[str, dict[str, tuple[int, ...]]] = {
    "PVQ-21": {
        "self-direction": (1, 11),
        "stimulation": (6, 15),
        "hedonism": (10, 21),
        "achievement": (4, 13),
        "power": (2, 17),
        "security": (5, 14),
        "conformity": (7, 16),
        "tradition": (9, 20),
        "benevolence": (12, 18),
        "universalism": (3, 8, 19),
    },
    "PVQ-40": {
        "self-direction": (1, 11, 22, 34),
        "stimulation": (6, 15, 30),
        "hedonism": (10, 26, 37),
        "achievement": (4, 13, 24, 32),
        "power": (2, 17, 39),
        "security": (5, 14, 21, 31, 35),
        "conformity": (7, 16, 28, 36),
        "tradition": (9, 20, 25, 38),
        "benevolence": (12, 18, 27, 33),
        "universalism": (3, 8, 19, 23, 29, 40),
    },
    "PVQ-RR": {
        "self-direction": (1, 23, 39, 16, 30, 56),
        "stimulation": (10, 28, 43),
        "hedonism": (3, 36, 46),
        "achievement": (17, 32, 48),
        "power": (6, 29, 41, 12, 20, 44),
        "security": (13, 26, 53, 2, 35, 50),
        "conformity": (15, 31, 42, 4, 22, 51),
        "tradition": (18, 33, 40),
        "benevolence": (11, 25, 47, 19, 27, 55),
        "universalism": (5, 37, 52, 8, 21, 45, 14, 34, 57),
    },
}


def reverse_code(answers, low: float = 1, high: float = 6) -> np.ndarray:
    """Turn a scale round: low + high - answer. The ESS form of PVQ-21 has 1 = very much like me."""
    return low + high - np.asarray(answers, float)


def centred_scores(answers: np.ndarray, item_values: np.ndarray, values) -> np.ndarray:
    """Each respondent's value scores, less that respondent's mean over all items.

        raw_v = mean of the items of v;   MRAT = mean of ALL items;   score_v = raw_v - MRAT

    People differ in how high they answer whatever is asked. What they put above what is the
    profile. MRAT is over items, not over the ten means: values with more items count more.

    Args:
        answers: (respondents, items), 6 = very much like me; nan = invalid, left out of all means.
        item_values: (items,) the value each item portrays.
        values: names of the k values, the order of the columns returned.

    Returns:
        (respondents, k). nan where a respondent gave no valid answer for a value.

    Raises:
        ValueError: one label per item is needed, and each value needs an item.

    Source: Schwartz, instructions for scoring the PVQ.
    """
    a, labels = np.atleast_2d(np.asarray(answers, float)), np.asarray(item_values)
    if a.shape[1] != len(labels):
        raise ValueError(
            f"centred_scores: answers has {a.shape[1]} items but item_values {len(labels)}."
            " Give one value per item."
        )
    member = np.array([labels == v for v in values], float)  # (k, items)
    if not member.any(1).all():
        empty = [v for v, m in zip(values, member, strict=True) if not m.any()]
        raise ValueError(f"centred_scores: no item for {', '.join(empty)}. Leave it out of values.")
    valid = np.isfinite(a)
    filled = np.where(valid, a, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = filled @ member.T / (valid @ member.T)  # (respondents, k)
        mrat = filled.sum(1) / valid.sum(1)  # (respondents,)
    return raw - mrat[:, None]


def portrait_profile(
    answers, item_values, values, clusters=None, *, level: float = 0.95, centre: bool = True
) -> Profile:
    """Profile of a population of respondents from their portrait answers.

    A respondent (a persona, a seed, a wording of the whole questionnaire) is the unit; `clusters`
    (respondents,) groups those that are not independent. One deterministic model is one row and
    gets scores without intervals, and the outcome says so. `centre=False` gives raw means, whose
    acquiescence is left in; the null is then the mean of all items.
    """
    a = np.atleast_2d(np.asarray(answers, float))
    scores = centred_scores(a, item_values, values)
    if not centre:
        valid = np.isfinite(a)
        scores = scores + (np.where(valid, a, 0).sum(1) / np.maximum(valid.sum(1), 1))[:, None]
    who = np.arange(len(a)) if clusters is None else np.asarray(clusters)
    null = 0.0 if centre or not np.isfinite(a).any() else float(np.nanmean(a))
    profile = value_profile(
        scores.T.reshape(-1),
        np.repeat(list(values), len(a)),
        np.tile(who, len(values)),
        names=values,
        null=null,
        level=level,
    )
    same = np.isfinite(a).any() and np.nanmax(a) == np.nanmin(a)
    outcome = profile.outcome
    if same and outcome == "ok" or same and outcome.startswith("zero variance"):
        outcome = f"flat: every item got the answer {np.nanmax(a):g}, so no value stands out"
    return Profile(
        profile.values,
        profile.intervals,
        profile.p_holm,
        null,
        int((~np.isfinite(a)).sum()),
        outcome,
        profile.flags,
    )


def z_profile(
    log_probs, item_values, contexts=None, values=None, *, level: float = 0.95
) -> Profile:
    """Profile from how likely the model finds value-laden replies (generation readout).

    log_probs (n,) are length-normalised log-probabilities log p(reply | query) / tokens; they are
    z-scored within each query, so that a query with long or odd replies weighs no more than
    another, then averaged by value. Queries whose replies all score alike carry no information and
    are dropped and counted as invalid. Source: Value Portrait, arXiv 2505.01015.
    """
    lp = np.asarray(log_probs, float).reshape(-1)
    c = np.zeros(lp.size, int) if contexts is None else np.asarray(contexts).reshape(-1)
    _, index = np.unique(c, return_inverse=True)
    n = np.maximum(np.bincount(index, weights=np.isfinite(lp)), 1)
    filled = np.where(np.isfinite(lp), lp, 0)
    mean = np.bincount(index, weights=filled) / n
    square = np.where(np.isfinite(lp), (lp - mean[index]) ** 2, 0)
    sd = np.sqrt(np.bincount(index, weights=square) / n)[index]
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(sd > 1e-12, (lp - mean[index]) / sd, np.nan)
    return value_profile(z, item_values, c, names=values, level=level)
