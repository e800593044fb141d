"""Decomposed rewards: uncentred directions keep the common preference, centred ones lose it."""

import pytest
import torch
from tiny_models import tiny_lm

from valuelab.rewards.decomposed import DecomposedReward, directions, fit_mixture
from valuelab.rewards.relevance import cosine_relevance, distinct_trigrams, relevance_reward


def differences(n=2000, d=16, seed=0):
    """z with a common preference on axis 0 and larger, undecided variance on axes 1 to 3."""
    g = torch.Generator().manual_seed(seed)
    z = 0.3 * torch.randn(n, d, generator=g, dtype=torch.float64)
    spread = torch.tensor([2.5, 2.1, 1.2], dtype=torch.float64)  # apart, or the axes could rotate
    z[:, 1:4] += spread * torch.randn(n, 3, generator=g, dtype=torch.float64)
    z[:, 0] += 1.7
    return z


def best_head_accuracy(z, heads):
    return float(((z @ heads.T) > 0).double().mean(0).max())


def test_centring_loses_the_preference_that_everyone_shares():
    z = differences()
    train, test = z[:1000], z[1000:]
    kept = best_head_accuracy(test, directions(train, 3))
    lost = best_head_accuracy(test, directions(train, 3, centred=True))
    assert kept > 0.9
    assert lost < 0.6


def test_directions_are_orthonormal_and_point_to_the_chosen():
    z = differences()
    v = directions(z, 4)
    torch.testing.assert_close(v @ v.T, torch.eye(4).double(), atol=1e-10, rtol=0)
    assert ((z @ v.T).mean(0) >= 0).all()
    with pytest.raises(ValueError, match="at most"):
        directions(z, 17)


def test_a_few_pairs_of_a_new_judge_find_his_direction():
    z = differences()
    model = DecomposedReward.fit(z, k=4)
    judge = torch.zeros(16, dtype=torch.float64)
    judge[2] = -1.0  # wants the opposite of an axis on which the others are undecided
    raw = differences(seed=1)
    his = raw * torch.sign(raw @ judge)[:, None]
    w = model.adapt(his[:15], temperature=0.5)
    assert ((his[15:] @ w) > 0).double().mean() > 0.9
    assert ((his[15:] @ model.heads[0]) > 0).double().mean() < 0.7


def test_mixture_weights_sum_to_one_and_ignore_the_scale_of_a_head():
    torch.manual_seed(0)
    scores = torch.randn(20, 3, dtype=torch.float64) + torch.tensor([1.0, 0.0, -1.0])
    w = fit_mixture(scores)
    assert w.sum().item() == pytest.approx(1) and w.argmax() == 0
    torch.testing.assert_close(fit_mixture(scores * torch.tensor([5.0, 1.0, 0.2])), w)


def test_relevance_reward_punishes_repetition_and_pays_for_length_on_the_subject():
    assert distinct_trigrams("a b c a b c a b c") < 0.5
    assert distinct_trigrams("a b") == 1.0

    def fixed(prompts, replies):
        return torch.tensor([1.0 if p in r else 0.0 for p, r in zip(prompts, replies, strict=True)])

    replies = ["tea is good in the morning", "tea tea tea tea tea tea", "rain falls in the sea"]
    on, repeated, off = relevance_reward(["tea"] * 3, replies, fixed).tolist()
    assert on > repeated > off == 0
    with pytest.raises(ValueError, match="2 prompts"):
        relevance_reward(["a", "b"], ["c"], fixed)


def test_relevance_is_centred_on_its_batch_and_so_needs_more_than_one_pair():
    relevance = cosine_relevance(tiny_lm("llama"))
    asked, said = ["help the man ?", "keep money ?"], ["i always help .", "we never keep money ."]
    first, second = relevance(asked, said).tolist()
    assert first == pytest.approx(second, abs=1e-5) and 0 < abs(first) <= 1  # two pairs lie opposite each other
    with pytest.raises(ValueError, match="two pairs or more"):
        relevance(asked[:1], said[:1])
