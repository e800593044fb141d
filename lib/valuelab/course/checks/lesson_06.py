"""Checks of lesson 06: reward models.

Each check tries the shape, then the likely mistakes in order of likelihood, then values on two
seeds against a formula written another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from valuelab.course.check import Refused, exercise
from valuelab.course.checks.lesson_07 import SEEDS, as_tensor, close, diagnose
from valuelab.rewards import calibration, decomposed, relevance, reward_model


@exercise("6.1", reference=reward_model.pair_loss)
def pair_loss(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        won = torch.randn(7, generator=g, dtype=torch.float64)
        lost = torch.randn(7, generator=g, dtype=torch.float64)
        gap = won - lost
        p = 1 / (1 + (-gap).exp())
        wanted = -p.log().mean()
        got = as_tensor(f(won, lost), wanted, "one number, the mean over the comparisons")
        diagnose(
            got,
            wanted,
            [
                (-(1 - p).log().mean(), "chosen and rejected are swapped: this loss is small when "
                 "the *rejected* reply scores higher"),
                (p.log().mean(), "the minus is missing: this would be maximised, not minimised"),
                (-p.log().sum(), "this is the sum over comparisons; take the mean, or the step "
                 "grows with the batch"),
                (-gap.mean(), "the log-sigmoid is missing: without it one easy pair can be pushed "
                 "apart for ever"),
                (-p.mean(), "the logarithm is missing: a likelihood is maximised in logarithms"),
                (-p.mean().log(), "mean and logarithm are in the wrong order: log each "
                 "probability, then average"),
            ],
            "-mean log sigmoid(r_chosen - r_rejected).",
        )
        margin, centre = 0.7, 0.3
        q = 1 / (1 + (-(gap - margin)).exp())
        wanted = -q.log().mean() + centre * ((won + lost) ** 2).mean()
        got = as_tensor(f(won, lost, margin, centre), wanted, "one number")
        more = 1 / (1 + (-(gap + margin)).exp())
        diagnose(
            got,
            wanted,
            [
                (-q.log().mean() + centre * (gap**2).mean(), "the centring term takes the "
                 "difference; that would pull apart pairs together. It takes the *sum*"),
                (-more.log().mean() + centre * ((won + lost) ** 2).mean(), "the margin is added to "
                 "the lead; it must be subtracted, so that a lead of less than it still costs"),
                (-p.log().mean() + centre * ((won + lost) ** 2).mean(), "the margin is ignored"),
                (-q.log().mean(), "the centring term is missing"),
                (-q.log().mean() + centre * (won + lost).mean() ** 2, "the square is taken after "
                 "the mean: each pair has its own middle"),
            ],
            "-mean log sigmoid(gap - margin) + centre · mean (r_chosen + r_rejected)².",
        )
    far = f(torch.tensor([-300.0]), torch.tensor([0.0]))
    if not close(far, torch.tensor(300.0), 1e-3):
        raise Refused(
            f"a pair that is wrong by 300 costs {float(far):g}: the sigmoid underflows before the "
            "logarithm. Use F.logsigmoid"
        )


@exercise("6.2", reference=reward_model.pair_loss_gradient)
def pair_loss_gradient(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        won = torch.randn(5, generator=g, dtype=torch.float64)
        lost = torch.randn(5, generator=g, dtype=torch.float64)
        wrong = 1 / (1 + (won - lost).exp())
        back = f(won, lost)
        if not isinstance(back, tuple | list) or len(back) != 2:
            raise Refused("return two tensors: the gradient for the chosen and for the rejected")
        first = as_tensor(back[0], won, "one number per chosen reply")
        second = as_tensor(back[1], won, "one number per rejected reply")
        diagnose(
            first,
            -wrong / 5,
            [
                (wrong / 5, "sign: raising the chosen reward *lowers* the loss, so its gradient "
                 "is negative"),
                (-wrong, "not divided by n: the loss is a mean over n comparisons"),
                (-(1 - wrong) / 5, "this is the probability of being right; pairs already told "
                 "apart should teach *least*: sigmoid(r_rejected - r_chosen)"),
                (-wrong * (1 - wrong) / 5, "this is the slope of the sigmoid, not of its "
                 "logarithm: a pair that is badly wrong would teach nothing"),
                (torch.full_like(won, -0.2), "the same for every pair: the sigmoid is missing"),
            ],
            "-sigmoid(r_rejected - r_chosen) / n.",
        )
        diagnose(
            second,
            wrong / 5,
            [(-wrong / 5, "both gradients have one sign: what lifts the chosen reply must lower "
              "the rejected one"),
             (torch.zeros_like(won), "the rejected reply has a gradient as well")],
            "The second gradient is minus the first.",
        )


@exercise("6.3", reference=calibration.reliability)
def reliability(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        confidence = 0.5 + 0.5 * torch.rand(24, generator=g, dtype=torch.float64)
        won = (torch.rand(24, generator=g, dtype=torch.float64) < confidence).double()
        order = sorted(range(24), key=lambda i: float(confidence[i]))
        parts = [order[:6], order[6:12], order[12:18], order[18:]]
        predicted = torch.stack([sum(confidence[i] for i in part) / 6 for part in parts])
        observed = torch.stack([sum(won[i] for i in part) / 6 for part in parts])
        back = f(confidence, won, 4)
        if not isinstance(back, tuple | list) or len(back) != 3:
            raise Refused("return three tensors: mean confidence, share won and count of each bin")
        got_p = as_tensor(back[0], predicted, "mean confidence per bin, (bins,)")
        got_o = as_tensor(back[1], observed, "share won per bin, (bins,)")
        unsorted = confidence.view(4, 6).mean(1)
        edges = torch.bucketize(confidence, torch.linspace(0.5, 1, 5).double()[1:-1])
        wide = torch.stack([confidence[edges == k].mean() for k in range(4)])
        diagnose(
            got_p,
            predicted,
            [
                (unsorted, "the comparisons were not sorted by confidence before they were cut "
                 "into bins"),
                (predicted.flip(0), "the bins run from the most to the least confident; turn "
                 "them round"),
                (wide, "bins of equal *width*; with equal counts no bin runs empty"),
                (observed, "first comes the mean confidence, then the share won"),
                (torch.stack([confidence[torch.tensor(part)].median() for part in parts]),
                 "this is the median of each bin; the mean was asked for"),
            ],
            "Sort by confidence, cut into bins of equal counts, average each.",
        )
        diagnose(
            got_o,
            observed,
            [
                (won.view(4, 6).mean(1), "`won` was not put into the same order as the "
                 "confidence: index both with the same order"),
                (observed * 6, "this counts the wins; divide by the size of the bin"),
                (1 - observed, "this is the share *lost*"),
            ],
            "The share won is the mean of `won` in the bin.",
        )
        count = as_tensor(back[2], torch.full((4,), 6), "comparisons per bin, (bins,)")
        if not close(count, torch.full((4,), 6)):
            raise Refused(f"24 comparisons in 4 bins are 6 each, yours are {count.tolist()}")
    for n, bins in ((27, 8), (3, 5)):
        _uneven(f, n, bins)


def _uneven(f: Callable, n: int, bins: int) -> None:
    """n comparisons that do not divide evenly into bins."""
    given = f"{n} comparisons in {bins} bins"
    fair = [len(part) for part in torch.arange(n).tensor_split(min(bins, n))]
    try:
        back = f(torch.linspace(0.99, 0.5, n).double(), (torch.arange(n) % 2).double(), bins)
        count = [int(c) for c in back[2]]
    except Exception as error:
        raise Refused(
            f"{given}: they do not divide evenly, and your function stops with {type(error).__name__}. Sizes may "
            f"differ by one, here {fair}"
        ) from None
    if 0 in count:
        raise Refused(f"{given}: a bin stays empty and has no mean. Take as many bins as comparisons, {len(fair)}")
    if sum(count) < n:
        raise Refused(f"{given}: yours hold {sum(count)}, the rest is dropped. Sizes may differ by one, here {fair}")
    if len(count) != len(fair):
        raise Refused(f"{given}: {len(count)} bins came back. Sizes may differ by one, here {fair}")
    if sorted(count) != sorted(fair):
        raise Refused(f"{given}: yours are {count}. Sizes differ by one at most, here {fair}")


@exercise("6.4", reference=reward_model.margin_scaled_loss)
def margin_scaled_loss(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        won = torch.randn(6, generator=g, dtype=torch.float64)
        lost = torch.randn(6, generator=g, dtype=torch.float64)
        margin = 3 * torch.rand(6, generator=g, dtype=torch.float64)
        weight, rate = 0.8, 0.6

        def loss(scale):
            return (1 + (-scale * (won - lost)).exp()).log().mean()  # noqa: B023

        s = 1 + weight * (1 - (-rate * margin).exp())
        got = as_tensor(f(won, lost, margin, weight, rate), loss(s), "one number")
        plain = (1 + (-(won - lost)).exp()).log()
        diagnose(
            got,
            loss(s),
            [
                (loss(torch.ones(())), "the margin is ignored: this is the plain pair loss"),
                (loss(s - 1), "the 1 is missing: a pair with margin 0 must still count as in the "
                 "plain loss"),
                (loss(1 + weight * (-rate * margin).exp()), "upside down: clear pairs get the "
                 "smaller scale; it is 1 - exp(-rate · margin)"),
                ((s * plain).mean(), "the *loss* is scaled; here the difference inside the "
                 "sigmoid is"),
                (-(1 / (1 + (-(won - lost - margin)).exp())).log().mean(), "the margin is "
                 "subtracted, as in 6.1; here it sets the scale"),
                (loss(1 + weight * margin), "this grows without end; 1 - exp(-rate · margin) "
                 "levels off at 1"),
                (-loss(s), "the minus is missing"),
            ],
            "-mean log sigmoid(s · (r_chosen - r_rejected)), s = 1 + weight·(1 - exp(-rate·margin)).",
        )


@exercise("6.5", reference=decomposed.directions)
def directions(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        spread = torch.tensor([3.0, 2.0, 0.5, 0.2, 0.1], dtype=torch.float64)
        z = torch.randn(40, 5, generator=g, dtype=torch.float64) * spread
        z = z + torch.tensor([0.5, 0.2, 2.5, 0.1, 0.0]).double()
        values, vectors = torch.linalg.eigh(z.T @ z)
        v = vectors.flip(1).T[:3]
        v = v * torch.where((z @ v.T).mean(0) < 0, -1.0, 1.0)[:, None]
        got = as_tensor(f(z, 3), v, "k directions, one per row, (k, d)")
        c = z - z.mean(0)
        w = torch.linalg.svd(c, full_matrices=False).Vh[:3]
        w_signed = w * torch.where((z @ w.T).mean(0) < 0, -1.0, 1.0)[:, None]
        raw = torch.linalg.svd(z, full_matrices=False).Vh[:3]
        if close(got.abs(), w.abs()) and not close(w.abs(), v.abs()):
            raise Refused(
                "z was centred first. Its mean is what all comparisons agree on, the way from "
                "rejected to chosen: centring deletes it"
            )
        if close(got.abs(), v.abs()) and not close(got, v):
            raise Refused(
                "some directions point to the rejected replies: flip those whose mean score on z "
                "is negative"
            )
        scaled = v * values.flip(0)[:3].sqrt()[:, None]
        diagnose(
            got,
            v,
            [
                (scaled, "directions have length one; yours carry the singular values"),
                (vectors.T[:3], "these are the directions in which z varies *least*"),
                (z[:3], "these are comparisons, not directions"),
                (raw.flip(0), "the order is reversed: the strongest direction comes first"),
                (w_signed, "z was centred first"),
            ],
            "Right singular vectors of z itself, strongest first, signed towards the chosen.",
        )
        for way in (1, -1):  # both ways, for signs by the centred mean are rounding and may be right by chance
            both = as_tensor(f(way * z, 3, True), w_signed, "with centred=True the same, after centring")
            if close(both, way * w_signed):
                continue
            if close(both.abs(), w_signed.abs()):
                raise Refused(
                    "with centred=True some signs are wrong: centred scores have mean 0, so sign by the mean score "
                    "of z itself"
                )
            raise Refused("`centred` is ignored: with True the mean of z is subtracted first")


@exercise("6.6", reference=decomposed.fit_mixture)
def fit_mixture(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        scores = torch.randn(9, 4, generator=g, dtype=torch.float64) + 0.3
        scores = scores * torch.tensor([1.0, 3.0, 0.5, 2.0]).double()
        t = 2.0

        def weights(x, t=t, reduce=torch.sum):
            e = (reduce(-(1 + (-x).exp()).log(), dim=0) / t).exp()
            return e / e.sum()

        x = scores / (scores**2).mean(0).sqrt()
        got = as_tensor(f(scores, t), weights(x), "one weight per head, (heads,)")
        even = torch.full((4,), 0.25).double()
        diagnose(
            got,
            weights(x),
            [
                (weights(scores), "a head that shouts is believed: divide each head's scores by "
                 "their root mean square first"),
                (weights(x, 1.0), "the temperature is ignored"),
                (weights(x, 1 / t), "multiplied by the temperature; divide, so that a high one "
                 "mixes evenly"),
                (weights(-x), "sign: the heads that contradict the judge get the most weight"),
                (weights(x, reduce=torch.mean), "the evidence is averaged; log-likelihoods of "
                 "independent comparisons add up"),
                (weights((scores - scores.mean(0)) / scores.std(0)), "the scores were centred: "
                 "their mean is the evidence"),
                (even, "all heads get the same weight, whatever the comparisons say"),
            ],
            "softmax over heads of Σ_n log sigmoid(score / rms) / temperature.",
        )
        if not math.isclose(float(got.sum()), 1, abs_tol=1e-6):
            raise Refused(f"the weights sum to {float(got.sum()):.3g}, not to 1")


@exercise("6.7", reference=relevance.distinct_trigrams)
def distinct_trigrams(f: Callable) -> None:
    cases = [("a b c d e", 1.0), ("a b c a b c", 3 / 4), ("A b c a B c", 3 / 4), ("a a a a", 1 / 2)]
    likely = [
        (lambda w, g: len(set(w)) / len(w), "these are distinct *words*; a trigram is three in a "
         "row"),
        (lambda w, g: len(set(zip(w, w[1:], strict=False))) / (len(w) - 1), "these are pairs of "
         "words; a trigram has three"),
        (lambda w, g: float(len(set(g))), "this is a number of trigrams; divide by how many there "
         "are in all"),
        (lambda w, g: len(set(g)) / len(w), "divided by the number of words; a text of n words has "
         "n - 2 trigrams"),
        (lambda w, g: 1 - len(set(g)) / len(g), "this is the share that is *repeated*"),
    ]
    got = []
    for text, _ in cases:
        value = f(text)
        if not isinstance(value, (int, float)):
            raise Refused(f"a {type(value).__name__} came back for a text; wanted a number")
        got.append(float(value))
    wanted = [w for _, w in cases]
    if got == [1.0, 1.0 * 3 / 4, 1.0, 1 / 2]:
        raise Refused("capital letters make words different: lower the text first")
    if not all(math.isclose(a, b) for a, b in zip(got, wanted, strict=True)):
        for wrong, message in likely:
            seen = []
            for text, _ in cases:
                words = text.lower().split()
                grams = list(zip(words, words[1:], words[2:], strict=False))
                seen.append(wrong(words, grams))
            if all(math.isclose(a, b) for a, b in zip(got, seen, strict=True)):
                raise Refused(message)
        raise Refused(f"for {cases[1][0]!r} the share is {cases[1][1]}, yours is {got[1]:.3g}")
    for short in ("", "one", "one two"):
        try:
            value = f(short)
        except ZeroDivisionError:
            raise Refused(
                f"{short!r} has no trigram and your function divides by zero: return 1.0, nothing "
                "is repeated"
            ) from None
        if value != 1:
            raise Refused(f"{short!r} has no trigram, so nothing is repeated: 1.0, not {value}")
