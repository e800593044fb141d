"""Hand-made features and domain knowledge: a prior decides while comparisons are few, and then no more."""

import pytest
import torch

from valuelab.rewards.features import text_features
from valuelab.rewards.reward_model import fit_linear_reward


def test_features_count_words_repetition_and_whole_words_of_a_list():
    texts = ["Safety first, and a safe home.", "a b c a b c", ""]
    found = text_features(texts, {"security": ["safety", "safe", "safe home"]})
    wanted = [[0.06, 1.0, 2.0], [0.06, 0.75, 0.0], [0.0, 1.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    assert text_features([], {"a": ["b"]}).shape == (0, 3)
    with pytest.raises(ValueError, match="'kindness' holds no word"):
        text_features(texts, {"kindness": []})


def judged(n, w, seed):
    """Differences z of n comparisons by a judge with weights w, signed so that z is chosen - rejected."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, len(w), generator=g, dtype=torch.float64)
    won = torch.rand(n, generator=g, dtype=torch.float64) < torch.sigmoid(z @ w)
    return torch.where(won[:, None], z, -z)


def right(reward, w, seed=99):
    """Share of fresh pairs that a reward orders as the judge's own weights do."""
    z = torch.randn(4000, len(w), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return float((torch.sign(reward(z)) == torch.sign(z @ w)).double().mean())


def test_a_good_prior_helps_with_few_pairs_and_a_wrong_one_is_overruled_by_many():
    w = torch.tensor([2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    few = [judged(8, w, seed) for seed in range(20)]
    plain = sum(right(fit_linear_reward(z, ridge=0.1), w) for z in few) / 20
    informed = sum(right(fit_linear_reward(z, ridge=0.1, prior=w), w) for z in few) / 20
    misled = sum(right(fit_linear_reward(z, ridge=0.1, prior=-w), w) for z in few) / 20
    assert misled < plain < informed - 0.05
    many = judged(20_000, w, 1)
    assert right(fit_linear_reward(many, ridge=1e-3, prior=-w), w) > 0.97


def test_without_pairs_that_speak_the_prior_stands_and_its_shape_is_checked():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)  # they cancel, and say nothing of axis 1
    found = fit_linear_reward(z, ridge=1.0, prior=torch.tensor([0.0, 3.0])).weight
    torch.testing.assert_close(found, torch.tensor([0.0, 3.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="one weight for each"):
        fit_linear_reward(z, prior=torch.zeros(3))
