"""Three proofs for every estimator, on worlds whose truth is planted.

recover: draws of (interval, truth); the 95 % interval must cover in 92 to 98 % of draws.
null:    p-values in a twin where nothing was planted; about 5 % may fall below .05.
fooled:  a world built to mislead the usual reading; returns what the naive and the honest reading
         say and what is true, so that a reader sees the size of the mistake.

Run `proof_table()`; the tests run it with at least 200 draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import expit

from valuelab.measure import (
    circle,
    consensus,
    consistency,
    forced,
    orientation,
    portrait,
    ranking,
    stance,
    taxonomy,
    utility,
)
from valuelab.measure.intervals import Interval, mean_interval, paired_difference

__all__ = [
    "PROOFS",
    "STORED",
    "Fooled",
    "Proof",
    "Row",
    "format_table",
    "proof_table",
    "stored_table",
]

STORED = Path(__file__).with_name("proofs.json")  # written by benchmarks/measure.py --proofs

Draw = Callable[[int], list[tuple[Interval, float]]]


@dataclass(frozen=True)
class Fooled:
    """One confounded world: the true figure, what the naive reading says, what the honest says."""

    what: str
    truth: float
    naive: float
    honest: float


@dataclass(frozen=True)
class Proof:
    """name; recover(seed) -> [(interval, truth)]; null(seed) -> [p]; fooled() -> Fooled."""

    name: str
    recover: Draw
    null: Callable[[int], list[float]]
    fooled: Callable[[], Fooled]


@dataclass(frozen=True)
class Row:
    """A line of the table: coverage over `intervals` intervals in `draws` draws, share of false
    alarms in the null twin over `tests` tests, and the confounded world."""

    name: str
    draws: int
    intervals: int
    coverage: float
    tests: int
    false_alarms: float
    fooled: Fooled


K = 10
VALUES = tuple(f"v{k}" for k in range(K))
PLANTED = np.array([0.5, -0.2, 0.1, 0.0, -0.8, 0.3, 0.1, -0.4, 0.3, 0.1])


def _rng(seed: int, salt: int) -> np.random.Generator:
    return np.random.default_rng([seed, salt])


# --- forced choice ---------------------------------------------------------------------------


def _choices(rng, mean: float, slot: float, contexts: int = 60, per: int = 3) -> tuple:
    """Masses of two-choice items in both orders; content log-odds share a part per context."""
    context = np.repeat(np.arange(contexts), per)
    content = mean + rng.normal(0, 0.8, contexts)[context] + rng.normal(0, 0.6, len(context))
    a_first, a_second = expit(content + slot), expit(content - slot)
    valid = rng.uniform(0.7, 1.0, (len(context), 2))
    share = np.stack([a_first, a_second], 1)
    return np.stack([share * valid, (1 - share) * valid], 2), context


@cache
def _choice_truth(mean: float) -> float:
    rng = np.random.default_rng(1)
    return float(expit(mean + rng.normal(0, 1.0, 400_000)).mean())


def _forced_recover(seed: int):
    mass, context = _choices(_rng(seed, 1), 0.6, 0.5)
    s = forced.summarise_orders(mass, context)
    return [(s.debiased, _choice_truth(0.6))]


def _forced_null(seed: int):
    s = forced.summarise_orders(*_choices(_rng(seed, 2), 0.0, 0.7))
    return [s.debiased.p]


def _forced_fooled() -> Fooled:
    mass, context = _choices(_rng(0, 3), 1.2, 3.0, contexts=2000)
    s = forced.summarise_orders(mass, context)
    return Fooled(
        "slot bias of 3 logits: P(A) pooled (naive) and slot-free (honest)",
        _choice_truth(1.2),
        s.pooled.estimate,
        s.debiased.estimate,
    )


# --- portraits, orientation, authors, replies ------------------------------------------------


def _portraits(rng, planted, respondents: int = 40, yes_saying: float = 0.0):
    items = np.repeat(np.arange(K), 2)
    latent = (
        3.5
        + yes_saying
        + rng.normal(0, 0.5, (respondents, 1))
        + (planted + rng.normal(0, 0.3, (respondents, K)))[:, items]
        + rng.normal(0, 0.3, (respondents, len(items)))
    )
    answers = np.clip(np.floor(latent + rng.random(latent.shape)), 1, 6)  # unbiased rounding
    return answers, np.array(VALUES)[items]


def _portrait_recover(seed: int):
    answers, items = _portraits(_rng(seed, 4), PLANTED * 0.8)
    profile = portrait.portrait_profile(answers, items, VALUES)
    truth = PLANTED * 0.8 - (PLANTED * 0.8).mean()
    return list(zip(profile.intervals, truth, strict=True))


def _portrait_null(seed: int):
    answers, items = _portraits(_rng(seed, 5), PLANTED * 0)
    return [min(portrait.portrait_profile(answers, items, VALUES).p_holm)]


def _portrait_fooled() -> Fooled:
    shy, items = _portraits(_rng(0, 6), PLANTED * 0.5, 400)
    loud, _ = _portraits(_rng(1, 6), PLANTED * 0.5, 400, yes_saying=0.6)
    gaps = [
        np.mean(
            [
                b.estimate - a.estimate
                for a, b in zip(
                    portrait.portrait_profile(shy, items, VALUES, centre=c).intervals,
                    portrait.portrait_profile(loud, items, VALUES, centre=c).intervals,
                    strict=True,
                )
            ]
        )
        for c in (False, True)
    ]
    return Fooled(
        "yes-sayers against others, same values: mean gap, raw (naive) and centred",
        0.0,
        gaps[0],
        gaps[1],
    )


def _advice(rng, lean, yes: float, keys, items: int = 12):
    value = np.repeat(np.arange(K), items)
    key = np.tile(keys, K * items // len(keys))
    item = np.arange(len(value))
    score = lean[value] + rng.normal(0, 1.2, len(value))
    judged = 5 + key * score + yes + rng.normal(0, 0.4, (2, len(value)))  # two judges
    return (
        np.clip(judged, 0, 10).reshape(-1),
        np.tile(key, 2),
        np.array(VALUES)[np.tile(value, 2)],
        np.tile(item, 2),
    )


def _orientation_recover(seed: int):
    profile = orientation.orientation(*_advice(_rng(seed, 7), 2 * PLANTED, 0.2, [1, -1]))
    return list(zip(profile.intervals, 5 + 2 * PLANTED, strict=True))


def _orientation_null(seed: int):
    return [min(orientation.orientation(*_advice(_rng(seed, 8), 0 * PLANTED, 0.2, [1, -1])).p_holm)]


def _orientation_fooled() -> Fooled:
    one_way, balanced = (
        orientation.orientation(*_advice(_rng(0, 9), 0 * PLANTED, 1.5, keys, 40)).scores.mean()
        for keys in ([1], [1, -1])
    )
    return Fooled(
        "a judge that says yes: orientation, items keyed one way and balanced",
        5.0,
        float(one_way),
        float(balanced),
    )


def _perceptions(rng, mean: float, texts: int = 50, picky: bool = False):
    text = np.repeat(np.arange(texts), rng.integers(3, 8, texts))
    x = np.clip(
        mean + rng.normal(0, 0.2, texts)[text] + rng.normal(0, 0.25, len(text)), -0.89, 0.89
    )
    valence = np.stack([(0.9 + x) / 2, (0.9 - x) / 2, np.full(len(x), 0.1)], 1)
    drive = 4 * x if picky else rng.normal(0, 1, len(x))
    return expit(drive + rng.normal(0, 0.5, len(x))), valence, np.full(len(x), "v0"), text


def _author_recover(seed: int):
    return [(orientation.author_scores(*_perceptions(_rng(seed, 10), 0.2))[0].raw, 0.2)]


def _author_null(seed: int):
    return [orientation.author_scores(*_perceptions(_rng(seed, 11), 0.0))[0].raw.p]


def _author_fooled() -> Fooled:
    relevance, valence, v, text = _perceptions(_rng(0, 12), 0.0, 2000, picky=True)
    naive = orientation.author_scores(relevance, valence, v, text)[0].raw.estimate
    honest = orientation.author_scores(relevance, valence, v, text, threshold=-1)[0].raw.estimate
    return Fooled(
        "a judge that finds a value relevant only where it is praised: author score",
        0.0,
        naive,
        honest,
    )


def _reply_log_probs(rng, planted, queries: int = 40, per_token: bool = True, longer=None):
    query = np.repeat(np.arange(queries), K)
    value = np.tile(np.arange(K), queries)
    tokens = rng.integers(8, 16, len(value)) + (0 if longer is None else longer[value])
    mean = (
        -2
        + rng.normal(0, 0.5, queries)[query]
        + 0.3 * planted[value]
        + rng.normal(0, 0.25, len(value))
    )
    return (mean if per_token else mean * tokens), np.array(VALUES)[value], query


@cache
def _reply_truth() -> np.ndarray:
    lp, value, query = _reply_log_probs(_rng(0, 13), PLANTED, 40_000)
    return portrait.z_profile(lp, value, query, VALUES).scores


def _replies_recover(seed: int):
    lp, value, query = _reply_log_probs(_rng(seed, 14), PLANTED)
    profile = portrait.z_profile(lp, value, query, VALUES)
    return list(zip(profile.intervals, _reply_truth(), strict=True))


def _replies_null(seed: int):
    lp, value, query = _reply_log_probs(_rng(seed, 15), 0 * PLANTED)
    return [min(portrait.z_profile(lp, value, query, VALUES).p_holm)]


def _replies_fooled() -> Fooled:
    longer = np.where(np.arange(K) == 0, 12, 0)
    scores = [
        portrait.z_profile(*_reply_log_probs(_rng(0, 16), 0 * PLANTED, 1000, per, longer), VALUES)[
            "v0"
        ].estimate
        for per in (False, True)
    ]
    return Fooled(
        "one value's replies are longer: z-score, summed (naive) and per token", 0.0, *scores
    )


# --- consistency and stance ------------------------------------------------------------------


def _wordings(rng, spread: float, topics: int = 60, wordings: int = 4, n: int = 20, slot=0.0):
    """Counts (T, W, 3) and the planted distributions. `slot` alternates sign over wordings."""
    base = rng.normal(0, 0.7, (topics, 1, 3))
    turn = np.where(np.arange(wordings) % 2 == 0, slot, -slot)[None, :, None] * np.array([1, 0, -1])
    score = base + spread * rng.normal(0, 1, (topics, wordings, 3)) + turn
    p = np.exp(score) / np.exp(score).sum(-1, keepdims=True)
    return rng.multinomial(n, p), p


@cache
def _wording_truth(spread: float) -> float:
    _, p = _wordings(_rng(0, 17), spread, 40_000)
    return float((consistency.js_distance(p, p.mean(1, keepdims=True)) ** 2).mean())


def _consistency_recover(seed: int):
    counts, _ = _wordings(_rng(seed, 18), 0.5, n=40)
    found = consistency.consistency(counts, floor_draws=10, seed=seed)
    return [(found.divergence, _wording_truth(0.5))]


def _consistency_null(seed: int):
    counts, _ = _wordings(_rng(seed, 19), 0.0)
    return [consistency.consistency(counts, floor_draws=10, seed=seed).excess.p]


def _consistency_fooled() -> Fooled:
    counts, _ = _wordings(_rng(0, 20), 0.0, 1000, n=10)
    c = consistency.consistency(counts)
    return Fooled(
        "ten answers, all wordings alike: raw distance (naive) and above the floor",
        0.0,
        c.raw,
        c.excess.estimate,
    )


def _stances(
    rng,
    valid_odds: float,
    stance_odds: float,
    items: int = 60,
    per: int = 5,
    selective: float = 0.0,
):
    item = np.repeat(np.arange(items), per)
    side = rng.random(len(item)) < expit(stance_odds + rng.normal(0, 1, items)[item])
    odds = valid_odds + rng.normal(0, 1, items)[item] + selective * np.where(side, 1, -1)
    ok = rng.random(len(item)) < expit(odds)
    said = np.where(side, "support", "oppose")
    return np.where(ok, said, "refusal"), np.full(len(item), "free"), item, side


def _stance_recover(seed: int):
    answers, levels, item, _ = _stances(_rng(seed, 21), 0.5, 0.4)
    row = stance.stance_table(answers, levels, item)[0]
    return [(row.valid, _choice_truth(0.5)), (row.stance, 2 * _choice_truth(0.4) - 1)]


def _stance_null(seed: int):
    rng = _rng(seed, 22)
    forced_, _, item, _ = _stances(rng, 2.0, 0.8, per=1)
    opened, _, _, _ = _stances(rng, 2.0, 0.8, per=1)
    return [stance.open_agreement(forced_, opened, item).p]


def _stance_fooled() -> Fooled:
    answers, levels, item, side = _stances(_rng(0, 23), 0.0, 0.0, 4000, selective=1.5)
    row = stance.stance_table(answers, levels, item)[0]
    truth = float(np.where(side, 1, -1).mean())
    inside = float(np.clip(truth, *row.bounds))
    return Fooled(
        "only one side is refused: stance among the valid; the bounds hold the truth",
        truth,
        row.stance.estimate,
        inside,
    )


# --- utilities -------------------------------------------------------------------------------


def planted_answers(mu, sigma2, n: int, seed: int = 0):
    """answer(first, second) -> (wins, n): Thurstonian choices with planted mu and variances."""
    rng = np.random.default_rng(seed)

    def answer(first, second):
        p = utility.thurstone_probability(mu[first], mu[second], sigma2[first], sigma2[second])
        return rng.binomial(n, p).astype(float), np.full(len(first), float(n))

    return answer


def _options(options: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(24)
    mu = rng.normal(0, 1, options)
    return (mu - mu.mean()) / mu.std(), np.exp(rng.normal(-0.3, 0.3, options))


def _all_pairs(mu, sigma2, n: int, seed: int) -> utility.Edges:
    i, j = np.triu_indices(len(mu), 1)
    return utility.Edges(i, j, *planted_answers(mu, sigma2, n, seed)(i, j), len(mu))


def _thurstone_recover(seed: int):
    mu, sigma2 = _options(12)
    u = utility.fit_thurstone(_all_pairs(mu, sigma2, 40, seed), ridge=0.01)
    return list(zip(u.intervals(), mu, strict=True))


def _accuracy_null(seed: int):
    rng = _rng(seed, 25)

    def coin(first, second):  # arbitrary but firm choices, no order behind them
        return 20.0 * (rng.random(len(first)) < 0.5), np.full(len(first), 20.0)

    u, _, test = utility.learn_utilities(
        coin, 30, strategy="random", held_out=0.3, seed=seed, fit=utility.fit_bradley_terry
    )
    return [utility.utility_accuracy(u, test).p]


def _thurstone_fooled() -> Fooled:
    rng = _rng(0, 26)

    def coin(first, second):
        return 20.0 * (rng.random(len(first)) < 0.5), np.full(len(first), 20.0)

    train, held = [], []
    for seed in range(8):
        u, edges, test = utility.learn_utilities(
            coin, 60, strategy="random", held_out=0.3, seed=seed, fit=utility.fit_bradley_terry
        )
        train.append(utility.utility_accuracy(u, edges).estimate)
        held.append(utility.utility_accuracy(u, test).estimate)
    return Fooled(
        "arbitrary choices: accuracy on fitted edges (naive) and on held-out ones",
        0.5,
        float(np.mean(train)),
        float(np.mean(held)),
    )


def _bt_recover(seed: int):
    rng = _rng(seed, 27)
    theta = PLANTED * 1.5 - PLANTED.mean() * 1.5
    i, j = (np.tile(x, 20) for x in np.triu_indices(K, 1))
    context = rng.integers(0, 100, len(i))
    wins = rng.binomial(4, expit(theta[i] - theta[j])).astype(float)
    u = utility.fit_bradley_terry(
        utility.Edges(i, j, wins, np.full(len(i), 4.0), K), clusters=context
    )
    return list(zip(u.intervals(), theta, strict=True))


def _bt_null(seed: int):
    i, j = np.triu_indices(K, 1)
    rng = _rng(seed, 28)
    u = utility.fit_bradley_terry(
        utility.Edges(i, j, rng.binomial(40, 0.5, len(i)).astype(float), np.full(len(i), 40.0), K)
    )
    from scipy.stats import norm

    return [float(2 * norm.sf(abs(u.mu[0]) / u.se[0]))]


def _bt_fooled() -> Fooled:
    rng = _rng(0, 29)
    length, mu = rng.normal(0, 1, 60), rng.normal(0, 1, 60)
    i, j = np.triu_indices(60, 1)
    wins = rng.binomial(20, expit(2 * (length[i] - length[j]))).astype(float)
    edges = utility.Edges(i, j, wins, np.full(len(i), 20.0), 60)
    u = utility.fit_bradley_terry(edges)
    return Fooled(
        "takes the longer option: coherence (1 - 4 x cycles) and utility explained by value",
        0.0,
        1 - 4 * utility.intransitivity(utility.preference_matrix(edges)).estimate,
        utility.surface_r2(u.mu, mu)[0],
    )


@cache
def _cycle_truth() -> float:
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(0, 1, (3, 400_000))
    return float(utility.soft_cycle(expit(a - b), expit(b - c), expit(c - a)).mean())


def _cycle_recover(seed: int):
    rng = _rng(seed, 30)
    mu = rng.normal(0, 1, 25)
    i, j = np.triu_indices(25, 1)
    wins = rng.binomial(10, expit(mu[i] - mu[j])).astype(float)
    m = utility.preference_matrix(utility.Edges(i, j, wins, np.full(len(i), 10.0), 25))
    return [(utility.intransitivity(m), _cycle_truth())]


def _cycle_null(seed: int):
    rng = _rng(seed, 31)
    i, j = np.triu_indices(25, 1)
    wins = rng.binomial(10, 0.5, len(i)).astype(float)
    m = utility.preference_matrix(utility.Edges(i, j, wins, np.full(len(i), 10.0), 25))
    return [utility.intransitivity(m).p]


def _cycle_fooled() -> Fooled:
    i, j = np.triu_indices(25, 1)
    one = utility.Edges(i, j, np.full(len(i), 19.0), np.full(len(i), 20.0), 25)
    both = one.join(utility.Edges(j, i, one.wins, one.n, 25))
    scores = [utility.intransitivity(utility.preference_matrix(e)).estimate for e in (one, both)]
    return Fooled(
        "takes the first slot: cycles when asked in one order, and in both", 0.25, *scores
    )


def _lotteries(rng, mu, lotteries: int, noise: float, rule: str = "mean"):
    pick = rng.random((lotteries, len(mu))).argpartition(3, axis=1)[:, :3]
    p = rng.dirichlet(np.ones(3), lotteries)
    expected = (p * mu[pick]).sum(1)
    read = mu[pick][np.arange(lotteries), p.argmax(1)] if rule == "likeliest" else expected
    return read + rng.normal(0, noise, lotteries), pick, p


@cache
def _lottery_truth() -> float:
    mu, _ = _options(40)
    rng = np.random.default_rng(3)
    lottery, pick, p = _lotteries(rng, mu, 40_000, 0.5)
    return float(np.corrcoef(lottery, (p * mu[pick]).sum(1))[0, 1])


def _lottery_recover(seed: int):
    mu, _ = _options(40)
    lottery, pick, p = _lotteries(_rng(seed, 32), mu, 100, 0.5)
    return [
        (utility.expected_utility(mu, lottery, pick, p, draws=200)["r_interval"], _lottery_truth())
    ]


def _lottery_null(seed: int):
    mu, _ = _options(40)
    rng = _rng(seed, 33)
    lottery, pick, p = _lotteries(rng, mu, 100, 0.5)
    return [
        utility.expected_utility(mu, rng.permutation(lottery), pick, p, draws=200)["r_interval"].p
    ]


def _lottery_fooled() -> Fooled:
    mu, _ = _options(40)
    lottery, pick, p = _lotteries(_rng(0, 34), mu, 2000, 0.1, "likeliest")
    fit = utility.expected_utility(mu, lottery, pick, p)
    return Fooled(
        "reads only the likeliest outcome: r with expected utility, and with the rest",
        0.0,
        fit["r"],
        fit["rest"],
    )


# --- rankings and consensus ------------------------------------------------------------------


def _dilemmas(rng, theta, dilemmas: int = 200, repeats: int = 1, mood: float = 0.0):
    """Two actions, each serving 1 to 3 values; returns chosen, neglected (n, V), dilemma (n,)."""
    size = len(theta)
    order = rng.random((dilemmas, size)).argsort(1)
    first, second = np.zeros((2, dilemmas, size), bool)
    for k in range(3):
        first[np.arange(dilemmas), order[:, k]] = rng.random(dilemmas) < (1 if k == 0 else 0.6)
        second[np.arange(dilemmas), order[:, k + 3]] = rng.random(dilemmas) < (1 if k == 0 else 0.6)
    odds = (first.astype(float) - second) @ theta + mood * rng.normal(0, 1, dilemmas)
    row = np.repeat(np.arange(dilemmas), repeats)
    took = rng.random(len(row)) < expit(odds[row])
    chosen = np.where(took[:, None], first[row], second[row])
    return (
        chosen,
        np.where(took[:, None], second[row], first[row]),
        row,
        first[row],
        second[row],
        took,
    )


@cache
def _ranking_truth() -> np.ndarray:
    chosen, neglected, *_ = _dilemmas(_rng(0, 35), 1.5 * PLANTED, 200_000, mood=0.5)
    wins = chosen.astype(float).T @ neglected
    return ranking.strengths(wins)


def _ranking_recover(seed: int):
    chosen, neglected, d, *_ = _dilemmas(_rng(seed, 36), 1.5 * PLANTED, 120, 3, mood=0.5)
    r = ranking.rank_values(chosen, neglected, d, draws=100, seed=seed)
    return list(zip(r.intervals(), _ranking_truth(), strict=True))


def _ranking_null(seed: int):
    chosen, neglected, d, *_ = _dilemmas(_rng(seed, 37), 0 * PLANTED, 120, 3, mood=0.5)
    r = ranking.rank_values(chosen, neglected, d, draws=100, seed=seed)
    from scipy.stats import norm

    return (2 * norm.sf(np.abs(r.strength) / r.se)).tolist()


def _ranking_fooled() -> Fooled:
    truth, naive, honest = [], [], []
    for seed in range(60):
        chosen, neglected, d, *_ = _dilemmas(_rng(seed, 38), 1.5 * PLANTED, 150, 3, mood=0.5)
        wins = chosen.astype(float).T @ neglected
        truth.append(ranking.strengths(wins))
        if seed < 6:
            by = [
                ranking.rank_values(chosen, neglected, d, draws=150, resample=r, seed=seed).se
                for r in ("battle", "dilemma")
            ]
            naive.append(by[0].mean())
            honest.append(by[1].mean())
    return Fooled(
        "SD of a strength over fresh dilemmas; battle bootstrap and dilemma bootstrap",
        float(np.std(truth, 0, ddof=1).mean()),
        float(np.mean(naive)),
        float(np.mean(honest)),
    )


def _regression_recover(seed: int):
    *_, d, first, second, took = _dilemmas(_rng(seed, 39), 1.5 * PLANTED, 600)
    r = ranking.choice_regression(first, second, took, d, ridge=1e-4)
    i = r.intervals()
    return [*zip(i[:K], 1.5 * PLANTED, strict=True), (i[K], 0.0)]


def _regression_null(seed: int):
    *_, d, first, second, took = _dilemmas(_rng(seed, 40), 0 * PLANTED, 600)
    return [ranking.choice_regression(first, second, took, d).intervals()[0].p]


def _regression_fooled() -> Fooled:
    rng, theta = _rng(0, 41), np.zeros(K)
    theta[0] = 2.0
    chosen, neglected, d, first, second, _ = _dilemmas(rng, theta, 4000)
    first[:, 1], second[:, 1] = first[:, 0], second[:, 0]  # v1 always keeps v0 company ...
    alone = rng.random(len(d)) < 0.2
    first[alone, 1] = rng.random(alone.sum()) < 0.5  # ... but for one dilemma in five
    took = rng.random(len(d)) < expit((first.astype(float) - second) @ theta)
    wins = np.where(took[:, None], first, second).astype(float).T @ np.where(
        took[:, None], second, first
    )
    marginal = ranking.strengths(wins)[1]
    return Fooled(
        "a value without weight in good company: marginal strength and regression",
        0.0,
        float(marginal),
        float(ranking.choice_regression(first, second, took, d).coefficient[1]),
    )


def _rankings(rng, spread: float, sources: int = 20, copies: int = 3):
    source = np.repeat(np.arange(sources), copies)
    score = (
        PLANTED * spread
        + rng.normal(0, 0.5, (sources, K))[source]
        + rng.normal(0, 0.2, (len(source), K))
    )
    return (-score).argsort(1).argsort(1) + 1.0, source


@cache
def _rank_truth() -> np.ndarray:
    return _rankings(_rng(0, 42), 1.0, 40_000, 1)[0].mean(0)


def _consensus_recover(seed: int):
    ranks, source = _rankings(_rng(seed, 43), 1.0)
    return [(mean_interval(ranks[:, k], source), t) for k, t in enumerate(_rank_truth())]


def _consensus_null(seed: int):
    ranks, source = _rankings(_rng(seed, 44), 0.0)
    return [
        consensus.consensus(
            ranks, clusters=source, draws=20, permutations=300, seed=seed
        ).p_agreement
    ]


def _consensus_fooled() -> Fooled:
    p = [
        [
            consensus.consensus(r, clusters=c, draws=20, permutations=300).p_agreement < 0.05
            for r, s in (_rankings(_rng(seed, 45), 0.0, 5, 6) for seed in range(60))
            for c in (s if by else None,)
        ]
        for by in (False, True)
    ]
    return Fooled(
        "five sources, six copies each: share of false agreement, copies counted or not",
        0.05,
        float(np.mean(p[0])),
        float(np.mean(p[1])),
    )


# --- circle and taxonomy ---------------------------------------------------------------------


def ring_scores(rng, respondents: int, size: float, carry: float = 0.0):
    """Scores (respondents, K) of values on a circle of the given size; `carry` passes noise on."""
    angle = 2 * np.pi * np.arange(K) / K
    wave = rng.normal(0, 1, (respondents, 2)) @ np.stack([np.cos(angle), np.sin(angle)])
    noise = rng.normal(0, 1, (respondents, K))
    for k in range(1, K):
        noise[:, k] = carry * noise[:, k - 1] + np.sqrt(1 - carry**2) * noise[:, k]
    return np.sqrt(size) * wave + noise


def _circle_recover(seed: int):
    scores = ring_scores(_rng(seed, 46), 80, 1.0)
    return [(circle.cosine_fit(scores, draws=150, seed=seed)[0], 0.5)]


def _circle_null(seed: int):
    r = circle.profile_correlations(ring_scores(_rng(seed, 47), 40, 0.0))
    return [circle.circle_test(r, permutations=500, seed=seed).p]


def _circle_fooled() -> Fooled:
    alarms = []
    for carry in (0.6, 0.0):
        p = [
            circle.circle_test(
                circle.profile_correlations(ring_scores(_rng(seed, 48), 40, 0.0, carry)),
                permutations=300,
            ).p
            for seed in range(60)
        ]
        alarms.append(float(np.mean(np.array(p) < 0.05)))
    return Fooled(
        "no circle, but asked in circle order with carry-over: false alarms; shuffled",
        0.05,
        *alarms,
    )


def _mentions(rng, rate, prompts: int = 60, per: int = 4, alike: float = 0.7):
    prompt = np.repeat(np.arange(prompts), per)
    theme = rng.normal(0, alike, (prompts, K))[prompt]
    sign = np.where(rng.random((len(prompt), K)) < 0.8, 1, -1)
    said = rng.random((len(prompt), K)) < expit(rate + theme)
    return said * sign, prompt


@cache
def _mention_truth() -> np.ndarray:
    rng = np.random.default_rng(4)
    return expit(PLANTED[:, None] - 0.5 + rng.normal(0, 0.7, (K, 200_000))).mean(1)


def _taxonomy_recover(seed: int):
    said, prompt = _mentions(_rng(seed, 49), PLANTED - 0.5)
    profile = taxonomy.expressed_profile(said, VALUES, prompt)
    return list(zip(profile.intervals, _mention_truth(), strict=True))


def _taxonomy_null(seed: int):
    said, prompt = _mentions(_rng(seed, 50), PLANTED - 0.5)
    return [float(taxonomy.value_by_context(said, prompt % 2, VALUES, prompt).p_bonferroni.min())]


def _taxonomy_fooled() -> Fooled:
    alarms = []
    for seed in range(60):
        said, prompt = _mentions(_rng(seed, 51), PLANTED - 0.5, 40, 12, 2.0)
        a = taxonomy.value_by_context(said, prompt % 2, VALUES, prompt)
        alarms.append([np.abs(a.naive_z).max() > 3.02, a.p_bonferroni.min() < 0.05])
    naive, honest = np.mean(alarms, 0)
    return Fooled(
        "replies of one prompt are alike: share of false associations, by reply, by prompt",
        0.05,
        float(naive),
        float(honest),
    )


def _pair_recover(seed: int):
    a, b, c = _two_systems(_rng(seed, 52), 0.1)
    return [(paired_difference(a, b, c), 0.1)]


def _pair_null(seed: int):
    return [paired_difference(*_two_systems(_rng(seed, 53), 0.0)).p]


def _pair_fooled() -> Fooled:
    wide, narrow = [], []
    for seed in range(200):
        a, b, c = _two_systems(_rng(seed, 54), 0.0)
        wide.append(paired_difference(a, b).p < 0.05)
        narrow.append(paired_difference(a, b, c).p < 0.05)
    return Fooled(
        "answers nested in contexts: false alarms, answers as the unit, contexts as the unit",
        0.05,
        float(np.mean(wide)),
        float(np.mean(narrow)),
    )


def _two_systems(rng, gap: float, contexts: int = 40, per: int = 6):
    c = np.repeat(np.arange(contexts), per)
    hard = rng.normal(0, 1, contexts)[c]
    a = hard + gap + rng.normal(0, 0.3, contexts)[c] + rng.normal(0, 0.4, len(c))
    return a, hard + rng.normal(0, 0.4, len(c)), c


PROOFS: tuple[Proof, ...] = (
    Proof("paired difference", _pair_recover, _pair_null, _pair_fooled),
    Proof("forced choice", _forced_recover, _forced_null, _forced_fooled),
    Proof("portraits", _portrait_recover, _portrait_null, _portrait_fooled),
    Proof("reply log-probability", _replies_recover, _replies_null, _replies_fooled),
    Proof("orientation", _orientation_recover, _orientation_null, _orientation_fooled),
    Proof("author score", _author_recover, _author_null, _author_fooled),
    Proof("consistency", _consistency_recover, _consistency_null, _consistency_fooled),
    Proof("stance", _stance_recover, _stance_null, _stance_fooled),
    Proof("Thurstone utility", _thurstone_recover, _accuracy_null, _thurstone_fooled),
    Proof("Bradley-Terry utility", _bt_recover, _bt_null, _bt_fooled),
    Proof("intransitivity", _cycle_recover, _cycle_null, _cycle_fooled),
    Proof("expected utility", _lottery_recover, _lottery_null, _lottery_fooled),
    Proof("value ranking", _ranking_recover, _ranking_null, _ranking_fooled),
    Proof("choice regression", _regression_recover, _regression_null, _regression_fooled),
    Proof("consensus", _consensus_recover, _consensus_null, _consensus_fooled),
    Proof("circle", _circle_recover, _circle_null, _circle_fooled),
    Proof("taxonomy profile", _taxonomy_recover, _taxonomy_null, _taxonomy_fooled),
)


def prove(proof: Proof, *, draws: int = 200) -> Row:
    """Run one estimator's three proofs with seeds 0..draws-1.

    A proof with one interval a draw is drawn three times as often: 200 intervals know their
    coverage to 1.5 points only.
    """
    recover = draws * (3 if len(proof.recover(0)) == 1 else 1)
    pairs = [x for seed in range(recover) for x in proof.recover(seed)]
    covered = [interval.covers(float(truth)) for interval, truth in pairs]
    alarms = [p < 0.05 for seed in range(draws) for p in proof.null(seed)]
    return Row(
        proof.name,
        recover,
        len(covered),
        float(np.mean(covered)),
        len(alarms),
        float(np.mean(alarms)),
        proof.fooled(),
    )


def proof_table(*, draws: int = 200, names=None) -> list[Row]:
    """Rows for every estimator (or those in `names`)."""
    return [prove(p, draws=draws) for p in PROOFS if names is None or p.name in names]


def stored_table() -> list[Row]:
    """The table measured with 200 draws, as stored with the package."""
    rows = json.loads(STORED.read_text(encoding="utf-8"))["rows"]
    return [Row(**{**r, "fooled": Fooled(**r["fooled"])}) for r in rows]


def format_table(rows: list[Row]) -> str:
    """The table as text."""
    lines = [
        f"{'estimator':22s} {'coverage':>9s} {'of':>6s} {'null<.05':>9s} {'of':>5s}   "
        "confounded world: truth | naive | honest"
    ]
    for r in rows:
        f = r.fooled
        lines.append(
            f"{r.name:22s} {r.coverage:9.3f} {r.intervals:6d} {r.false_alarms:9.3f} "
            f"{r.tests:5d}   {f.truth:.2f} | {f.naive:.2f} | {f.honest:.2f}  {f.what}"
        )
    return "\n".join(lines)
