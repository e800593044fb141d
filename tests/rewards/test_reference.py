"""Reference rewards: computed, cached, predicted, refused."""

import math

import pytest
import torch
from sklearn.linear_model import QuantileRegressor

from valuelab.rewards.reference import (
    ReferenceRewards,
    check_rewards,
    fit_quantile_model,
    pinball_loss,
    reference_reward,
)


@pytest.fixture
def world():
    """40 prompts with 3 features; the reward's level follows the features."""
    torch.manual_seed(0)
    features = torch.randn(40, 3, dtype=torch.float64)
    level = features @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 3
    return features, level[:, None] + torch.randn(40, 64, dtype=torch.float64)


def test_quantile_and_mean_references_are_what_they_say(world):
    _, rewards = world
    share_below = (rewards <= reference_reward(rewards, q=0.85)[:, None]).double().mean()
    assert share_below.item() == pytest.approx(0.85, abs=0.01)
    torch.testing.assert_close(reference_reward(rewards, "mean"), rewards.mean(1))


def test_pinball_loss_is_least_at_the_quantile():
    torch.manual_seed(1)
    y = torch.randn(999, dtype=torch.float64)
    candidates = y.sort().values
    losses = torch.stack([pinball_loss(y - c, 0.85).mean() for c in candidates])
    assert candidates[losses.argmin()].item() == pytest.approx(y.quantile(0.85).item(), abs=0.02)


def test_quantile_model_agrees_with_scikit_learn_and_predicts_new_prompts(world):
    features, rewards = world
    model = fit_quantile_model(features, rewards, q=0.85, ridge=0.0)
    judge = QuantileRegressor(quantile=0.85, alpha=0.0, solver="highs")
    judge.fit(features.repeat_interleave(64, 0).numpy(), rewards.reshape(-1).numpy())
    torch.testing.assert_close(model.weight, torch.from_numpy(judge.coef_), atol=5e-3, rtol=0)
    assert model.bias == pytest.approx(float(judge.intercept_), abs=5e-3)
    new = torch.randn(200, 3, dtype=torch.float64)
    truth = new @ torch.tensor([1.0, -2.0, 0.5]).double() + 3 + 1.036  # 0.85 quantile of N(0, 1)
    assert (model(new) - truth).abs().mean() < 0.1


def test_cached_prompts_are_looked_up_new_ones_predicted_unknown_ones_refused(world, tmp_path):
    features, rewards = world
    prompts = [f"prompt {i}" for i in range(40)]
    cache = ReferenceRewards.from_samples(prompts, rewards, features=features)
    cache.save(tmp_path / "r_ref.json")
    again = ReferenceRewards.load(tmp_path / "r_ref.json")
    asked = ["prompt 3", "never seen"]
    got = again(asked, features[[3, 5]])
    assert got[0].item() == pytest.approx(cache.table["prompt 3"])
    assert got[1].item() == pytest.approx(float(cache.model(features[5])), abs=1e-9)
    with pytest.raises(KeyError, match="never seen"):
        again(asked)


def test_a_canned_reply_gives_the_reference_without_samples():
    cache = ReferenceRewards.from_canned({"a": -1.5})
    assert cache(["a"]).tolist() == [-1.5]
    assert cache.how == "canned"


def test_bad_rewards_are_refused_and_the_place_is_named():
    bad = torch.zeros(3, 20)
    bad[1, 7] = math.nan
    with pytest.raises(ValueError, match="prompt 1, reply 7"):
        check_rewards(bad)
    with pytest.raises(ValueError, match="expected"):
        check_rewards(torch.zeros(3))
    with pytest.raises(ValueError, match="one sample"):
        reference_reward(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="strictly between"):
        reference_reward(torch.zeros(3, 4), q=1.0)
    with pytest.raises(ValueError, match="choose"):
        reference_reward(torch.zeros(3, 4), how="median")
    with pytest.raises(ValueError, match="too few"):
        ReferenceRewards.from_samples(["a"], torch.zeros(1, 8))
    with pytest.raises(ValueError, match="predict is a quantile"):
        ReferenceRewards.from_samples(["a"], torch.zeros(1, 64), how="mean", features=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="2 prompts but 1"):
        ReferenceRewards.from_samples(["a", "b"], torch.zeros(1, 64))


def test_features_of_another_width_are_refused(world):
    features, rewards = world
    with pytest.raises(ValueError, match="width 2"):
        fit_quantile_model(features, rewards)(features[:, :2])


def test_constant_rewards_give_their_constant_as_reference():
    assert reference_reward(torch.full((2, 20), 1.5)).tolist() == [1.5, 1.5]
