"""Claims about what is measured of steering, and about its gate."""

import numpy as np
import pytest
import torch

from valuelab.steering import (
    anti_steerable_share,
    circle_correlation,
    gain_kept,
    gated,
    leakage_matrix,
    level_probe,
    minimal_shift,
    opens,
)
from valuelab.values import ANGLES


def test_the_leakage_matrix_recovers_planted_effects_of_unequal_sign():
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(4, 4)) / 10
    before = rng.uniform(0.3, 0.7, (4, 9))
    after = before[None] + effect[:, :, None] + 0.01 * (np.arange(9) - 4)  # noise of mean zero
    np.testing.assert_allclose(leakage_matrix(before, after), effect, atol=1e-12)


def test_the_leakage_matrix_refuses_other_situations():
    with pytest.raises(ValueError, match="same situations"):
        leakage_matrix(np.zeros((4, 9)), np.zeros((4, 9)))
    with pytest.raises(ValueError, match="same situations"):
        leakage_matrix(np.zeros((4, 9)), np.zeros((4, 4, 8)))


def test_circle_correlation_is_one_on_the_circle_and_ignores_the_diagonal():
    circle = 0.2 * np.cos(np.subtract.outer(ANGLES, ANGLES)) - 0.05
    assert circle_correlation(circle) == pytest.approx(1)
    assert circle_correlation(-circle) == pytest.approx(-1)
    assert circle_correlation(circle + 9 * np.eye(10)) == pytest.approx(1)


def test_circle_correlation_finds_nothing_where_only_the_diagonal_stands_out():
    rng = np.random.default_rng(1)
    found = [circle_correlation(np.eye(10) + 0.1 * rng.normal(size=(10, 10))) for _ in range(200)]
    assert abs(np.mean(found)) < 0.03
    assert circle_correlation(np.eye(10)) == 0


def test_circle_correlation_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one row and one column"):
        circle_correlation(np.zeros((3, 4)), np.zeros(3))


def test_anti_steerable_counts_falls_and_nothing_else():
    before = np.array([0.5, 0.5, 0.5, 0.5])
    after = np.array([0.9, 0.5, 0.45, 0.1])
    assert anti_steerable_share(before, after) == 0.5
    assert anti_steerable_share(before, after, tolerance=0.1) == 0.25
    with pytest.raises(ValueError, match="same"):
        anti_steerable_share(before, after[:3])
    with pytest.raises(ValueError, match="at least one"):
        anti_steerable_share([], [])


def test_gain_kept_is_a_ratio_of_gains_each_from_its_own_start():
    neutral = np.array([0.4, 0.6]), np.array([0.7, 0.9])
    opposed = np.array([0.0, 0.2, 0.1]), np.array([0.3, 0.3, 0.3])
    assert gain_kept(neutral, opposed) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="neutral gain"):
        gain_kept((neutral[1], neutral[0]), opposed)


def test_the_gate_opens_inside_the_band_with_its_ends():
    reading = torch.logit(torch.tensor([0.0, 0.2, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64))
    assert opens(reading, 0.3 - 1e-12, 0.8 + 1e-12).tolist() == [False, False, True, True, True, False]
    assert opens(reading, 0.3 + 1e-9, 0.8 - 1e-9, invert=True).tolist() == [
        True, True, True, False, True, True,
    ]  # fmt: skip
    assert opens(reading, 0, 1).all() and opens(reading, 0.5).tolist()[3:] == [True] * 3


def test_a_reading_that_is_no_number_never_opens_a_gate():
    broken = torch.tensor([float("nan")])
    assert not opens(broken, 0).any() and not opens(broken, 0.5, invert=True).any()


def test_a_closed_gate_is_bit_exact_even_for_shifts_that_are_not_finite():
    h = torch.tensor([[[-0.0, 1.0]], [[-0.0, 1.0]]])
    shift = torch.full_like(h, float("inf"))
    moved = gated(h, shift, torch.tensor([False, True]))
    assert torch.equal(moved[0].view(torch.int32), h[0].view(torch.int32))
    assert torch.isinf(moved[1]).all()
    half = gated(h.half(), torch.ones_like(h), torch.tensor([True, True]))
    assert half.dtype == torch.float16 and torch.equal(half.float(), h + 1)


def test_a_level_probe_reads_its_reach_at_the_two_means_and_one_half_between():
    draw = torch.Generator().manual_seed(0)
    low, high = torch.randn(30, 8, generator=draw), 2 + torch.randn(20, 8, generator=draw)
    for direction in (None, torch.randn(8, generator=draw) + 1):
        probe = level_probe(low, high, layer=2, value="security", direction=direction, reach=0.9)
        means = torch.stack([low.mean(0), high.mean(0), (low.mean(0) + high.mean(0)) / 2])
        torch.testing.assert_close(probe.probability(means), torch.tensor([0.1, 0.9, 0.5]))
        assert (probe.layer, probe.value) == (2, "security")
        moved = low + minimal_shift(low, probe.weight, probe.bias, 0.9, "exactly")
        u = probe.direction
        torch.testing.assert_close(moved @ u, (high.mean(0) @ u).expand(30))


def test_a_level_probe_refuses_means_that_do_not_differ_the_right_way():
    low, high = torch.zeros(3, 4), torch.ones(3, 4)
    with pytest.raises(ValueError, match="exchange them"):
        level_probe(low, high, layer=0, direction=-torch.ones(4))
    with pytest.raises(ValueError, match="exchange them"):
        level_probe(low, low, layer=0)
    with pytest.raises(ValueError, match="reach=0.5"):
        level_probe(low, high, layer=0, reach=0.5)
