"""Calibration of gaps, on gaps whose calibration is known."""

import math

import pytest
import torch

from valuelab.rewards.calibration import (
    accuracy,
    benchmark,
    calibration,
    disagreement,
    fit_temperature,
    length_correlation,
    pair_nll,
)
from valuelab.rewards.preferences import Comparison


@pytest.fixture
def calibrated():
    """Gaps of a perfectly calibrated judge: chosen wins with probability sigmoid(gap)."""
    g = torch.Generator().manual_seed(0)
    gap = 2 * torch.randn(20_000, generator=g, dtype=torch.float64)
    right = torch.rand(20_000, generator=g, dtype=torch.float64) < torch.sigmoid(gap)
    return torch.where(right, gap, -gap)


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_temperature_undoes_whatever_the_rewards_were_multiplied_by(calibrated, overconfidence):
    assert fit_temperature(overconfidence * calibrated) == pytest.approx(overconfidence, rel=0.05)


def test_calibrated_gaps_have_little_error_and_inflated_ones_much(calibrated):
    assert calibration(calibrated).ece < 0.01
    inflated = calibration(4 * calibrated)
    assert inflated.ece > 0.1
    assert calibration(4 * calibrated, temperature=4.0).ece < 0.01
    assert inflated.count.sum() == 20_000


def test_accuracy_counts_ties_half_and_its_interval_covers():
    gaps = torch.tensor([1.0, -1.0, 0.0, 2.0])
    share, low, high = accuracy(gaps)
    assert share == pytest.approx(2.5 / 4)
    assert 0 < low < share < high < 1
    assert pair_nll(torch.zeros(5)) == pytest.approx(math.log(2))


def test_temperature_without_a_finite_answer_and_empty_gaps_are_refused():
    with pytest.raises(ValueError, match="0 or infinite"):
        fit_temperature(torch.ones(10))
    with pytest.raises(ValueError, match="at least one"):
        accuracy(torch.empty(0))
    with pytest.raises(ValueError, match="NaN"):
        pair_nll(torch.tensor([math.nan]))


def pair(chosen_words, rejected_words, head="a", margin=0.0):
    return Comparison("q", "w " * chosen_words, "w " * rejected_words, head, margin)


def test_length_correlation_finds_a_reward_that_is_length():
    pairs = [pair(i % 7, (3 * i) % 5) for i in range(60)]
    by_length = torch.tensor([float(i % 7 - (3 * i) % 5) for i in range(60)])
    assert length_correlation(by_length, pairs) == pytest.approx(1)
    torch.manual_seed(0)
    assert abs(length_correlation(torch.randn(60), pairs)) < 0.35
    with pytest.raises(ValueError, match="do not vary"):
        length_correlation(torch.randn(3), [pair(1, 1)] * 3)


def test_benchmark_shows_the_length_judge_up():
    pairs = [pair(5, 2), pair(2, 5), pair(6, 1, "b", 2.0), pair(1, 6, "b", 0.5)]
    gaps = torch.tensor([3.0, -3.0, 5.0, -5.0])
    rows = benchmark(gaps, pairs)
    assert rows["longer won"][0] == 1 and rows["shorter won"][0] == 0
    assert rows["all"][0] == 0.5 and rows["b"][3] == 2
    assert set(rows) == {"all", "a", "b", "longer won", "shorter won", "clear", "close"}


def test_disagreement_is_the_share_of_split_votes():
    a, b = torch.tensor([1.0, 1.0, -1.0]), torch.tensor([1.0, -1.0, -1.0])
    assert disagreement([a, b]) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="two seeds"):
        disagreement([a])
