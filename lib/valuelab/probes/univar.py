"""A value embedding across several models, and whether it is about values at all.

Models (or personas, or versions of a model) answer the same questions. An embedding is trained so
that a model's answers to different value questions lie together and apart from other models'. It
then tells models apart, but so would handwriting: the same embedding must do clearly worse on
answers to questions that no value decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from valuelab.measure.intervals import Interval, cluster_bootstrap, interval_of_draws, mean_interval


@dataclass(frozen=True, eq=False)
class ValueEmbedding:
    """Linear map of answer features to the unit sphere: x -> W (x − mean) / scale, length one.

    weight: (k, d). mean, scale: (d,), of the answers it was trained on.
    """

    weight: Tensor
    mean: Tensor
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Features of views, (..., d) -> unit vectors (..., k)."""
        z = (x.to(self.weight) - self.mean) / self.scale
        return torch.nn.functional.normalize(z @ self.weight.T, dim=-1)


def views(answers: Tensor, size: int, seed: int = 0) -> Tensor:
    """Means over `size` answers to different questions, the same for each source; no answer twice.

    Args:
        answers: features (sources, questions, d).

    Returns:
        (sources, questions // size, d).
    """
    order = torch.randperm(answers.shape[1], generator=torch.Generator().manual_seed(seed))
    n = answers.shape[1] // size
    return answers[:, order[: n * size]].unflatten(1, (n, size)).mean(2)


def info_nce(e: Tensor, temperature: float = 0.1) -> Tensor:
    """Each view should find the other views of its source among all views.

        L = − mean over i, and over j ≠ i of the same source, of
              log( exp(e_i·e_j/τ) / Σ_{m ≠ i} exp(e_i·e_m/τ) )

    Args:
        e: unit vectors (sources, views, k), at least two views each.

    Source: InfoNCE, arXiv 1807.03748; with several positives, arXiv 2004.11362.
    """
    sources, n, k = e.shape
    flat = e.reshape(-1, k)
    alike = flat @ flat.T / temperature
    alone = torch.eye(len(flat), dtype=torch.bool)
    log_share = alike - alike.masked_fill(alone, -torch.inf).logsumexp(1, keepdim=True)
    owner = torch.arange(sources).repeat_interleave(n)
    positive = (owner[:, None] == owner) & ~alone
    return -log_share[positive].mean()


def value_embedding(
    answers: Tensor,
    k: int = 8,
    *,
    size: int = 4,
    steps: int = 50,
    temperature: float = 0.1,
    seed: int = 0,
) -> ValueEmbedding:
    """Train the embedding; every step deals the questions anew into views of `size` answers.

    All sources answer the same questions, so what a question is about cannot tell them apart.

    Args:
        answers: features (sources, questions, d) of answers to value questions.
        k: dimensions of the embedding.
        steps: few, for with some dozens of questions more of them learn the questions by heart.

    Raises:
        ValueError: fewer than two sources or than two views, or features that are not finite.

    Source: UniVaR, arXiv 2404.07900 (there the encoder is a language model; here the features
    are given and the map is linear).
    """
    check_answers(answers, 2 * size)
    x = answers.detach().cpu().float()
    mean = x.mean((0, 1))
    scale = x.std((0, 1)).clamp(min=1e-6 * float(x.std()) or 1.0)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(k, x.shape[2], generator=draw) / x.shape[2] ** 0.5
    weight.requires_grad_()
    optimiser = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.1)
    for step in range(steps):
        e = ValueEmbedding(weight, mean, scale)(views(x, size, seed + step))
        optimiser.zero_grad()
        info_nce(e, temperature).backward()
        optimiser.step()
    return ValueEmbedding(weight.detach(), mean, scale)


@dataclass(frozen=True)
class SourceTest:
    """Share of views whose source is found, on questions not trained on, and what it may mean.

    value: on value questions. control: on questions that no value decides. gap: their difference.
    chance: one over the number of sources. Intervals resample views' questions.
    """

    value: Interval
    control: Interval
    gap: Interval
    chance: float

    @property
    def verdict(self) -> str:
        """What may be claimed."""
        if self.value.low <= self.chance:
            return "nothing: the sources are not told apart on new value questions"
        if self.gap.low <= 0:
            return "authorship: the sources are told apart as well where no value decides"
        if self.control.low > self.chance:
            return "values and authorship: told apart better on value questions than elsewhere"
        return "values: told apart on value questions and not elsewhere"


def source_test(
    answers: Tensor,
    control: Tensor,
    k: int = 8,
    *,
    size: int = 4,
    held_out: float = 0.5,
    seed: int = 0,
    **options,
) -> SourceTest:
    """Train on some value questions; find the source on the others, and on control questions.

    A view is given to the source with the nearest centre. Centres come from the training questions
    for values, and for the control from as many control questions, so both have the same chance.

    Args:
        answers: features (sources, questions, d) of answers to value questions.
        control: (sources, questions', d) of answers to questions that no value decides.
        held_out: share of the value questions kept for the test.
        options: for `value_embedding`.

    Raises:
        ValueError: sources or widths that differ, too few questions for two views on either side.
    """
    if answers.shape[::2] != control.shape[::2]:
        raise ValueError(
            f"source_test: answers {tuple(answers.shape)} and control {tuple(control.shape)}; both "
            "need the same sources and the same features."
        )
    train, test = divide(answers, held_out, seed, size)
    embed = value_embedding(train, k, size=size, seed=seed, **options)
    found = [
        found_sources(embed, train, test, size, seed),
        found_sources(embed, *divide(control, held_out, seed, size), size, seed),
    ]
    means = [mean_interval(f.reshape(-1), np.tile(np.arange(f.shape[1]), len(f))) for f in found]
    # the two sets hold different questions, so each is resampled by itself
    drawn = [
        cluster_bootstrap(lambda w, f=f: np.average(f.mean(0), weights=w), np.arange(f.shape[1]), seed=seed + i)
        for i, f in enumerate(found)
    ]  # fmt: skip
    low, high = interval_of_draws(drawn[0] - drawn[1])
    spread = float((drawn[0] - drawn[1]).std(ddof=1))
    n, clusters = sum(f.size for f in found), sum(f.shape[1] for f in found)
    estimate = means[0].estimate - means[1].estimate
    gap = Interval(estimate, float(low), float(high), spread, n, clusters)
    return SourceTest(*means, gap, 1 / len(answers))


def found_sources(
    embed: ValueEmbedding, known: Tensor, new: Tensor, size: int, seed: int
) -> np.ndarray:
    """(sources, views) of 0 and 1: whether the nearest centre is that of the source."""
    centres = embed(views(known, size, seed)).mean(1)  # (sources, k)
    nearest = (embed(views(new, size, seed)) @ centres.T).argmax(-1)
    return (nearest == torch.arange(len(new))[:, None]).double().numpy()


def divide(answers: Tensor, held_out: float, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Questions for training and for the test, each enough for two views."""
    n = answers.shape[1]
    cut = round(n * (1 - held_out))
    if not 2 * size <= cut <= n - 2 * size:
        raise ValueError(
            f"source_test: {n} questions do not divide into two parts of at least {2 * size}; ask "
            "more questions, or lower `size`."
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return answers[:, order[:cut]], answers[:, order[cut:]]


def check_answers(answers: Tensor, least: int) -> None:
    """ValueError unless answers are finite and (sources ≥ 2, questions ≥ `least`, d)."""
    if answers.ndim != 3 or answers.shape[0] < 2 or answers.shape[1] < least:
        raise ValueError(
            f"value_embedding: answers have shape {tuple(answers.shape)}; give (sources, questions, "
            f"d) with at least two sources and {least} questions."
        )
    if not torch.isfinite(answers).all():
        raise ValueError("value_embedding: some features are not finite; look at those answers.")
